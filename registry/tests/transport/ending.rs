//! A server that is told to stop while it is used.

use std::time::Duration;

use berth_oci::Digest;
use futures::SinkExt;
use http::Method;
use tokio::net::TcpStream;

use crate::pki::{self, Authority};
use crate::programs::until;
use crate::support::Server;
use crate::wire::{HTTP1, HTTP2, Offer, Wire, piecewise};

async fn start(protocol: &str, drain_seconds: u64) -> (Server, Wire) {
    let authority = Authority::new("test");
    let directory = tempfile::tempdir().unwrap();
    authority.issue("localhost").write(directory.path());
    let server = Server::start(true, |config| {
        config.http.tls = Some(pki::settings(directory.path()));
        config.http.draintimeout = berth_config::Duration::from_secs(drain_seconds);
    })
    .await;
    let config = Offer { protocols: &[protocol], ..Offer::to(&authority) }.config();
    let wire = Wire::tls(server.running.address(), config).await.unwrap();
    (server, wire)
}

#[tokio::test]
async fn a_push_in_flight_ends_well_and_nothing_new_begins() {
    for protocol in [HTTP1, HTTP2] {
        let (server, mut wire) = start(protocol, 60).await;
        let address = server.running.address();
        let digest = Digest::sha256(b"one two");
        let (mut sender, body) = piecewise();
        let target = format!("/v2/a/blobs/uploads/?digest={digest}");
        let mut again = wire.again();
        let pushing = tokio::spawn(async move { wire.send(Method::POST, &target, body).await });
        sender.send("one ".into()).await.unwrap();
        // The second piece is taken when the first has been: the request is with the server.
        sender.send("t".into()).await.unwrap();
        let stopping = tokio::spawn(server.running.stop());
        until(async || TcpStream::connect(address).await.is_err()).await;
        if let Some(again) = &mut again {
            // The server has said GOAWAY: this connection takes no further request.
            until(async || again.get("/v2/").await.is_err()).await;
        }
        assert!(!stopping.is_finished() && !pushing.is_finished());
        sender.send("wo".into()).await.unwrap();
        drop(sender);
        pushing.await.unwrap().unwrap().expect(201);
        tokio::time::timeout(Duration::from_secs(60), stopping).await.expect("it does not stop").unwrap();
    }
}

#[tokio::test]
async fn what_is_still_in_flight_after_the_drain_timeout_is_cut() {
    for protocol in [HTTP1, HTTP2] {
        let (server, mut wire) = start(protocol, 1).await;
        let (mut sender, body) = piecewise();
        let digest = Digest::sha256(b"never");
        let target = format!("/v2/a/blobs/uploads/?digest={digest}");
        let pushing = tokio::spawn(async move { wire.send(Method::POST, &target, body).await });
        sender.send("nev".into()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), server.running.stop()).await.expect("it does not stop");
        let cut = tokio::time::timeout(Duration::from_secs(60), pushing).await.expect("it is not cut");
        assert!(cut.unwrap().is_err());
    }
}
