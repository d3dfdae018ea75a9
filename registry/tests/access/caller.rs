//! Who sends requests, over one connection that is made anew when the server has closed it, with or without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rcgen::DnType;
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;

use crate::pki::Authority;
use crate::support::Answer;
use crate::wire::{Offer, Wire, full};

/// The version of which a session can be gone on with as often as one likes.
static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// How a connection begins.
#[derive(Clone, Default)]
pub(crate) enum Handshake {
    /// There is none.
    #[default]
    Plain,
    /// With what this client shows.
    Tls(Arc<ClientConfig>),
    /// With what goes on with a session of before, whose certificate, of this authority and this name, has ended since.
    Outlived(Arc<Authority>, &'static str),
}

pub(crate) struct Caller {
    address: SocketAddr,
    /// None where there is no TLS.
    tls: Option<Arc<ClientConfig>>,
    wire: Option<Wire>,
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}

impl Caller {
    pub(crate) fn plain(address: SocketAddr) -> Caller {
        Caller { address, tls: None, wire: None }
    }

    pub(crate) async fn of(address: SocketAddr, handshake: &Handshake) -> Caller {
        match handshake {
            Handshake::Plain => Caller::plain(address),
            Handshake::Tls(config) => Caller { address, tls: Some(config.clone()), wire: None },
            Handshake::Outlived(authority, name) => Caller::outlived(address, authority, name).await,
        }
    }

    async fn outlived(address: SocketAddr, authority: &Authority, name: &str) -> Caller {
        // On a machine that is slow, it has ended before it is shown.
        for end in (0..10).map(|_| now() + 2) {
            let pair = authority.issue_until(&[(DnType::CommonName, name)], end);
            let config = Offer { certificate: Some(&pair), versions: TLS12, ..Offer::to(authority) }.config();
            let mut caller = Caller { address, tls: Some(config), wire: None };
            let answer = caller.send(&Method::GET, "/v2/", &[], Bytes::new()).await;
            if answer.is_none_or(|answer| answer.status != 200) {
                continue;
            }
            while now() <= end {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            return caller;
        }
        panic!("no certificate counts for two seconds");
    }

    /// The answer; none if there is no connection.
    pub(crate) async fn send(
        &mut self,
        method: &Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Option<Answer> {
        if let Some(wire) = &mut self.wire
            && let Ok(answer) = wire.send_with(method.clone(), target, headers, full(body.clone())).await
        {
            return Some(answer);
        }
        let mut wire = match &self.tls {
            Some(config) => Wire::tls(self.address, config.clone()).await.ok()?,
            None => Wire::http1(TcpStream::connect(self.address).await.unwrap()).await,
        };
        let answer = wire.send_with(method.clone(), target, headers, full(body)).await.ok()?;
        self.wire = Some(wire);
        Some(answer)
    }
}
