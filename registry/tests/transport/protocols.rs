//! What is spoken, with TLS and without.

use berth_config::{H2c, Http2, Tls, TlsVersion};
use http::Method;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::pki::{self, Authority};
use crate::support::Server;
use crate::wire::{HTTP1, HTTP2, Offer, Wire, full, handshake};

static ONLY_TLS12: [&SupportedProtocolVersion; 1] = [&TLS12];
static ONLY_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

/// A server with a certificate for `localhost`.
async fn start(change: impl FnOnce(&mut berth_config::Http, &mut Tls)) -> (Server, Authority) {
    let authority = Authority::new("test");
    let directory = tempfile::tempdir().unwrap();
    authority.issue("localhost").write(directory.path());
    let mut tls = pki::settings(directory.path());
    let server = Server::start(true, |config| {
        change(&mut config.http, &mut tls);
        config.http.tls = Some(tls);
    })
    .await;
    (server, authority)
}

#[tokio::test]
async fn the_client_chooses_between_http_1_and_2() {
    for (disabled, offered, agreed) in [
        (false, &[HTTP2, HTTP1][..], Some(HTTP2)),
        (false, &[HTTP1], Some(HTTP1)),
        (false, &[], None),
        (true, &[HTTP2, HTTP1], Some(HTTP1)),
    ] {
        let (server, authority) = start(|http, _| http.http2 = Http2 { disabled }).await;
        let config = Offer { protocols: offered, ..Offer::to(&authority) }.config();
        let stream = handshake(server.running.address(), config.clone()).await.unwrap();
        let found = stream.get_ref().1.alpn_protocol().map(|protocol| std::str::from_utf8(protocol).unwrap());
        assert_eq!(found, agreed, "{offered:?}, HTTP/2 disabled: {disabled}");
        drop(stream);

        // A push and a pull, and an address that leads back here.
        let mut wire = Wire::tls(server.running.address(), config).await.unwrap();
        let content = "a".repeat(300_000);
        let digest = berth_oci::Digest::sha256(content.as_bytes());
        let begun = wire.send(Method::POST, "/v2/a/blobs/uploads/", full("")).await.unwrap().expect(202);
        let location = begun.header("location").strip_prefix("https://localhost").expect("no address over TLS");
        let target = format!("{location}&digest={digest}");
        wire.send(Method::PUT, &target, full(content.clone())).await.unwrap().expect(201);
        let pulled = wire.send(Method::GET, &format!("/v2/a/blobs/{digest}"), full("")).await.unwrap().expect(200);
        assert_eq!(pulled.body, content);
        drop(wire);
        server.running.stop().await;
    }
}

#[tokio::test]
async fn versions_and_suites_are_those_of_the_configuration() {
    let (server, authority) = start(|_, tls| {
        tls.minimumtls = TlsVersion::Tls13;
    })
    .await;
    let address = server.running.address();
    let old = Offer { versions: &ONLY_TLS12, ..Offer::to(&authority) };
    let error = handshake(address, old.config()).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    handshake(address, Offer::to(&authority).config()).await.unwrap();
    server.running.stop().await;

    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let (server, authority) = start(|_, tls| tls.ciphersuites = vec![suite.into()]).await;
    let address = server.running.address();
    let old = Offer { versions: &ONLY_TLS12, ..Offer::to(&authority) };
    let stream = handshake(address, old.config()).await.unwrap();
    let found = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(found, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let new = Offer { versions: &ONLY_TLS13, ..Offer::to(&authority) };
    handshake(address, new.config()).await.unwrap();
    drop(stream);
    server.running.stop().await;
}

#[tokio::test]
async fn a_client_that_speaks_http_to_a_port_of_tls_is_told_so() {
    let (server, _) = start(|_, _| ()).await;
    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"), "{answer}");
    server.running.stop().await;
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_where_it_is_enabled() {
    for enabled in [true, false] {
        let server = Server::start(true, |config| config.http.h2c = H2c { enabled }).await;
        let stream = TcpStream::connect(server.running.address()).await.unwrap();
        let outcome = Wire::http2(stream).await.get("/v2/").await;
        assert_eq!(outcome.is_ok_and(|status| status == 200), enabled);
        // HTTP/1.1 always, also for a client that would rather change to HTTP/2 (RFC 9113 has done away with that).
        let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
        let upgrade = "GET /v2/ HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABkAAQAAP__\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        server.running.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_use_its_files_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |change: &dyn Fn(&mut Tls), expected: &str| {
        let mut config = crate::support::config(berth_config::Driver::InMemory);
        let mut tls = pki::settings(directory.path());
        change(&mut tls);
        config.http.tls = Some(tls);
        let error = berth_registry::start(&config).await.err().expect("it starts");
        let error = format!("{error:#}").replace(directory.path().to_str().unwrap(), "DIR");
        assert!(error.contains(expected), "{error}");
    };
    check(&|_| (), "http.tls.certificate: cannot read DIR/tls.crt: No such file").await;
    let authority = Authority::new("test");
    let (one, two) = (authority.issue("localhost"), authority.issue("localhost"));
    one.write(directory.path());
    std::fs::write(directory.path().join("tls.key"), &two.key_pem).unwrap();
    check(&|_| (), "http.tls.key: DIR/tls.key is not the key of the certificate in DIR/tls.crt").await;
    one.write(directory.path());
    check(&|tls| tls.clientcas = vec![directory.path().join("ca")], "http.tls.clientcas: cannot read DIR/ca").await;
    check(&|tls| tls.ciphersuites = vec!["X".into()], "http.tls.ciphersuites: X is not offered").await;
}
