//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::tls::Client;

/// The other end of a connection, and whether nobody in between can read or change what is said.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address; none on a Unix socket.
    pub address: Option<SocketAddr>,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// The certificate of the client, where one was verified.
    pub(crate) client: Option<Arc<Client>>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            // An IPv4 client of a listener for both looks like one of IPv6.
            Some(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(f),
            None => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_in_the_log() {
        let check = |address: Option<&str>, expected: &str| {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(Peer { address, secure: false, client: None }.to_string(), expected);
        };
        check(Some("[::ffff:10.0.0.1]:9"), "10.0.0.1:9");
        check(Some("[2001:db8::1]:9"), "[2001:db8::1]:9");
        check(None, "unix");
    }
}
