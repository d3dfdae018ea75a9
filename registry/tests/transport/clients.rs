//! What is asked of a client's certificate.

use std::sync::Arc;

use berth_config::ClientAuth;
use http::StatusCode;
use rustls::ClientConfig;

use crate::pki::{self, Authority, Mount};
use crate::support::Server;
use crate::wire::{Offer, Wire};

/// Whether a client gets an answer. Over TLS 1.3 a client learns of a refusal only after its handshake.
async fn is_served(server: &Server, config: Arc<ClientConfig>) -> bool {
    let Ok(mut wire) = Wire::tls(server.running.address(), config).await else { return false };
    wire.get("/v2/").await.is_ok_and(|status| status == StatusCode::OK)
}

#[tokio::test]
async fn every_mode_with_every_client() {
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    let directory = tempfile::tempdir().unwrap();
    known.issue("localhost").write(directory.path());
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &known.pem).unwrap();
    let (trusted, stranger) = (known.issue("client"), unknown.issue("client"));
    // Served without a certificate, with one of an unknown authority, and with one of a known authority.
    for (mode, expected) in [
        (ClientAuth::RequestClientCert, [true, true, true]),
        (ClientAuth::RequireAnyClientCert, [false, true, true]),
        (ClientAuth::VerifyClientCertIfGiven, [true, false, true]),
        (ClientAuth::RequireAndVerifyClientCert, [false, false, true]),
    ] {
        let server = Server::start(true, |config| {
            let mut tls = pki::settings(directory.path());
            (tls.clientcas, tls.clientauth) = (vec![ca.clone()], Some(mode));
            config.http.tls = Some(tls);
        })
        .await;
        for (certificate, expected) in [None, Some(&stranger), Some(&trusted)].into_iter().zip(expected) {
            for version in rustls::ALL_VERSIONS.chunks(1) {
                let config = Offer { certificate, versions: version, ..Offer::to(&known) }.config();
                let served = is_served(&server, config).await;
                assert_eq!(served, expected, "{mode:?}, {:?}", version[0].version);
            }
        }
        server.running.stop().await;
    }
}

/// An authority that is taken out lets nobody in again, whatever they agreed on before.
#[tokio::test]
async fn authorities_are_taken_up_when_their_file_changes() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let directory = tempfile::tempdir().unwrap();
    let mount = Mount::new(&directory.path().join("tls"), &first.issue("localhost"));
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &first.pem).unwrap();
    let server = Server::start(true, |config| {
        let mut tls = pki::settings(&mount.path);
        tls.clientcas = vec![ca.clone()];
        config.http.tls = Some(tls);
    })
    .await;
    let (old, new) = (first.issue("client"), second.issue("client"));
    let old = Offer { certificate: Some(&old), ..Offer::to(&first) }.config();
    let new = Offer { certificate: Some(&new), ..Offer::to(&first) }.config();
    assert!(is_served(&server, old.clone()).await);
    assert!(!is_served(&server, new.clone()).await);
    std::fs::write(&ca, &second.pem).unwrap();
    crate::programs::until(async || is_served(&server, new.clone()).await).await;
    assert!(!is_served(&server, old).await);
    server.running.stop().await;
}
