//! Certificates of a real ACME authority: pebble, which Let's Encrypt tests clients with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use berth_config::{Config, LetsEncrypt, Tls};
use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::pki::Authority;
use crate::programs::{Program, free_address, named, until, within};
use crate::support::Server;
use crate::wire::{Offer, Wire, full, handshake, shown};

/// An order has four steps, and pebble refuses some nonces on purpose.
const ORDER: Duration = Duration::from_secs(60);

/// A running pebble, which validates hosts at one port.
struct Pebble {
    _program: Program,
    directory_url: String,
    /// What the registry must trust to talk to it.
    ca: PathBuf,
    /// What signs the certificates that it issues.
    root: CertificateDer<'static>,
}

impl Pebble {
    async fn start(directory: &Path, validates_at: SocketAddr, validity_seconds: u64) -> Pebble {
        std::fs::create_dir_all(directory).unwrap();
        let own = Authority::new("pebble's own");
        own.issue("localhost").write(directory);
        let ca = directory.join("ca.pem");
        std::fs::write(&ca, &own.pem).unwrap();
        let (listen, management) = (free_address(), free_address());
        let config = json!({ "pebble": {
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": directory.join("tls.crt"),
            "privateKey": directory.join("tls.key"),
            "httpPort": 1,
            "tlsPort": validates_at.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "retryAfter": { "authz": 1, "order": 1 },
            "profiles": { "default": { "description": "test", "validityPeriod": validity_seconds } },
        }});
        let file = directory.join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(named("BERTH_PEBBLE"));
        command.arg("-config").arg(file).arg("-strict").env("PEBBLE_VA_NOSLEEP", "1");
        let program = Program::start(&mut command, &directory.join("pebble.log"), listen).await;
        // It listens there a moment later.
        let offer = Offer::to(&own).config();
        until(async || Wire::tls(management, offer.clone()).await.is_ok()).await;
        let mut wire = Wire::tls(management, offer).await.unwrap();
        let root = wire.send(Method::GET, "/roots/0", full("")).await.unwrap().expect(200).body;
        let root = CertificateDer::from_pem_slice(&root).unwrap();
        Pebble { _program: program, directory_url: format!("https://localhost:{}/dir", listen.port()), ca, root }
    }

    fn settings(&self, cache: &Path) -> Tls {
        let letsencrypt = LetsEncrypt {
            cachefile: cache.to_path_buf(),
            email: Some("admin@registry.example".into()),
            hosts: vec!["localhost".into()],
            directoryurl: Some(self.directory_url.clone()),
            directoryca: Some(self.ca.clone()),
        };
        Tls { letsencrypt: Some(letsencrypt), ..Tls::default() }
    }
}

async fn start(address: SocketAddr, tls: Tls) -> Server {
    Server::start(true, |config: &mut Config| {
        config.http.addr = address.to_string();
        config.http.tls = Some(tls);
    })
    .await
}

#[tokio::test]
#[ignore = "needs pebble: make transport"]
async fn a_certificate_is_ordered_used_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let address = free_address();
    let pebble = Pebble::start(&directory.path().join("pebble"), address, 3600).await;
    let server = start(address, pebble.settings(&cache)).await;
    let config = Offer::trusting(&pebble.root).config();
    let taken = within(ORDER, async || handshake(address, config.clone()).await.is_ok()).await;
    println!("a certificate of pebble was in force after {} ms", taken.as_millis());
    let mut wire = Wire::tls(address, config.clone()).await.unwrap();
    assert_eq!(wire.get("/v2/").await.unwrap(), 200);
    let first = shown(address, config.clone()).await;
    let metrics = server.debug_client().await.get("/metrics").await.body;
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    assert!(
        metrics.contains("registry_tls_certificate_expiry_timestamp_seconds{certificate=\"localhost\"} "),
        "{metrics}"
    );
    for file in ["acme_account+key", "localhost"] {
        assert!(cache.join(file).is_file(), "{file} was not kept");
    }
    drop(wire);
    server.running.stop().await;

    // The next start needs no authority.
    let settings = pebble.settings(&cache);
    drop(pebble);
    let server = start(address, settings).await;
    assert_eq!(shown(address, config).await, first);
    server.running.stop().await;
}

#[tokio::test]
#[ignore = "needs pebble: make transport"]
async fn a_certificate_that_ends_is_renewed_and_no_connection_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let pebble = Pebble::start(&directory.path().join("pebble"), address, 30).await;
    let server = start(address, pebble.settings(&directory.path().join("cache"))).await;
    let config = Offer::trusting(&pebble.root).config();
    within(ORDER, async || handshake(address, config.clone()).await.is_ok()).await;
    let first = shown(address, config.clone()).await;
    let mut kept = Wire::tls(address, config.clone()).await.unwrap();
    within(ORDER, async || {
        assert_eq!(kept.get("/v2/").await.unwrap(), 200);
        shown(address, config.clone()).await != first
    })
    .await;
    assert_eq!(kept.get("/v2/").await.unwrap(), 200);
    server.running.stop().await;
}
