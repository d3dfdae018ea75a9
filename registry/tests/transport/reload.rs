//! Certificates that are replaced while the server is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::pki::{self, Authority, Mount};
use crate::programs::until;
use crate::support::Server;
use crate::wire::{HTTP1, HTTP2, Offer, Wire, shown};

const REQUESTS: usize = 10_000;
const SWAPS: usize = 5;

/// What the clients share.
struct Load {
    address: std::net::SocketAddr,
    done: AtomicUsize,
    connections: AtomicUsize,
    /// Set when the last certificate was seen.
    enough: AtomicBool,
}

impl Load {
    fn goes_on(&self) -> bool {
        self.done.load(Ordering::Relaxed) < REQUESTS || !self.enough.load(Ordering::Relaxed)
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> Wire {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Wire::tls(self.address, config.clone()).await.expect("a handshake failed")
    }

    async fn request(&self, wire: &mut Wire) {
        assert_eq!(wire.get("/v2/").await.expect("a request failed"), 200);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// All requests over one connection, which must live as long.
    async fn keep(&self, config: Arc<ClientConfig>) {
        let mut wire = self.connect(&config).await;
        while self.goes_on() {
            self.request(&mut wire).await;
        }
    }

    /// A connection for every request.
    async fn renew(&self, config: Arc<ClientConfig>) {
        while self.goes_on() {
            let mut wire = self.connect(&config).await;
            self.request(&mut wire).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_load_and_no_request_fails() {
    let authority = Authority::new("test");
    let directory = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(&directory.path().join("tls"), &authority.issue("localhost"));
    let server = Server::start(true, |config| config.http.tls = Some(pki::settings(&mount.path))).await;
    let address = server.running.address();
    let load = Arc::new(Load {
        address,
        done: AtomicUsize::new(0),
        connections: AtomicUsize::new(0),
        enough: AtomicBool::new(false),
    });
    let mut clients = JoinSet::new();
    for protocol in [HTTP1, HTTP2, HTTP1, HTTP2] {
        let config = Offer { protocols: &[protocol], ..Offer::to(&authority) }.config();
        let (kept, renewed, other) = (load.clone(), load.clone(), config.clone());
        clients.spawn(async move { kept.keep(config).await });
        clients.spawn(async move { renewed.renew(other).await });
    }

    let config = Offer::to(&authority).config();
    let mut slowest = Duration::ZERO;
    for swap in 1..=SWAPS {
        // Each swap has its share of the requests before it.
        while load.done.load(Ordering::Relaxed) < REQUESTS * swap / (SWAPS + 1) && !clients.is_empty() {
            tokio::select! {
                Some(ended) = clients.join_next() => ended.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
        let next = authority.issue("localhost");
        mount.swap(&next);
        // At most ten seconds, or the wait ends the test.
        slowest = slowest.max(until(async || shown(address, config.clone()).await == next.certificate).await);
    }
    load.enough.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let (requests, connections) = (load.done.load(Ordering::Relaxed), load.connections.load(Ordering::Relaxed));
    println!(
        "certificate replaced {SWAPS} times under load: {requests} requests over {connections} connections, 0 failed; \
         a new certificate was shown after {} ms at most",
        slowest.as_millis()
    );
    assert!(requests >= REQUESTS && connections > 100, "{requests} requests, {connections} connections");
    server.running.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_together_changes_nothing_until_it_does() {
    let authority = Authority::new("test");
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (authority.issue("localhost"), authority.issue("localhost"));
    first.write(directory.path());
    let server = Server::start(true, |config| config.http.tls = Some(pki::settings(directory.path()))).await;
    let (address, config) = (server.running.address(), Offer::to(&authority).config());
    let mut debug = server.debug_client().await;
    let mut failures = async || {
        let text = debug.get("/metrics").await.body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = "registry_tls_certificate_loads_total{outcome=\"error\"} ";
        text.lines().find_map(|found| found.strip_prefix(line)?.parse::<u32>().ok()).unwrap_or(0)
    };
    let certificate = directory.path().join("tls.crt");
    for (number, wrong) in [&second.certificate_pem[..100], "", &second.certificate_pem].into_iter().enumerate() {
        std::fs::write(&certificate, wrong).unwrap();
        until(async || failures().await == number as u32 + 1).await;
        assert_eq!(shown(address, config.clone()).await, first.certificate);
    }
    std::fs::write(directory.path().join("tls.key"), &second.key_pem).unwrap();
    until(async || shown(address, config.clone()).await == second.certificate).await;
    assert_eq!(failures().await, 3, "what was complained of once is complained of again");
    server.running.stop().await;
}
