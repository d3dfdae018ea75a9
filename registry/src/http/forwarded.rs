//! Where a client is, behind proxies.
//!
//! It is what the client, or the proxy in front, says, as with Distribution. So nothing may be allowed because of it: it is
//! asked for the shorter of two ways to content that the client gets on either.

use std::net::IpAddr;

use http::HeaderMap;

use crate::server::Peer;

/// The first address of `X-Forwarded-For`, or that of `X-Real-Ip`, or the other end of the connection; none on a Unix socket
/// without a proxy that says more. What is no address is passed over.
pub(super) fn client(headers: &HeaderMap, peer: &Peer) -> Option<IpAddr> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let first = text("x-forwarded-for").and_then(|list| list.split(',').next());
    let said = [first, text("x-real-ip")].into_iter().flatten().find_map(|text| text.trim().parse().ok());
    said.or_else(|| peer.address.map(|address| address.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_proxy_is_believed() {
        fn check(forwarded: &str, real: &str, peer: Option<&str>, expected: Option<&str>) {
            let headers = [("x-forwarded-for", forwarded), ("x-real-ip", real)].into_iter();
            let headers = headers.filter(|(_, value)| !value.is_empty());
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let peer = Peer { address: peer.map(|address| address.parse().unwrap()), secure: false, client: None };
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(client(&headers, &peer), expected, "{forwarded:?} {real:?}");
        }
        let peer = Some("[::ffff:10.0.0.9]:443");
        check("", "", peer, Some("10.0.0.9"));
        check("192.0.2.1, 10.0.0.7", "192.0.2.2", peer, Some("192.0.2.1"));
        check(" 2001:db8::1 ", "", peer, Some("2001:db8::1"));
        check("::ffff:192.0.2.1", "", peer, Some("192.0.2.1"));
        check("unknown, 192.0.2.1", "192.0.2.2", peer, Some("192.0.2.2"));
        check("192.0.2.1:4711", "nobody", peer, Some("10.0.0.9"));
        check("", "", None, None);
        check("192.0.2.1", "", None, Some("192.0.2.1"));
    }
}
