//! A server on a Unix socket.

use berth_config::{Driver, Net};
use berth_oci::Digest;
use berth_registry::Endpoint;
use http::Method;
use tokio::net::UnixStream;

use crate::support::{Server, config};
use crate::wire::{Wire, full};

#[tokio::test]
async fn a_push_and_a_pull_over_a_socket_that_ends_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.sock");
    let on_socket = |config: &mut berth_config::Config| {
        (config.http.net, config.http.addr) = (Net::Unix, path.to_str().unwrap().to_owned());
    };
    let server = Server::start(true, on_socket).await;
    assert_eq!(*server.running.endpoint(), Endpoint::Unix(path.clone()));
    let mut wire = Wire::http1(UnixStream::connect(&path).await.unwrap()).await;
    let digest = Digest::sha256(b"content");
    let pushed = wire.send(Method::POST, &format!("/v2/a/blobs/uploads/?digest={digest}"), full("content")).await;
    assert_eq!(pushed.unwrap().expect(201).header("location"), format!("http://localhost/v2/a/blobs/{digest}"));
    let pulled = wire.send(Method::GET, &format!("/v2/a/blobs/{digest}"), full("")).await.unwrap();
    assert_eq!(pulled.expect(200).body, "content");

    let mut second = config(Driver::InMemory);
    on_socket(&mut second);
    let error = format!("{:#}", berth_registry::start(&second).await.err().expect("both listen"));
    assert!(error.contains("http.addr: another process listens on"), "{error}");
    drop(wire);
    server.running.stop().await;
    assert!(!path.exists());
}
