//! A store that takes nothing new: who is to write says so and is not ready, and who only reads serves.

use std::time::{Duration, Instant};

use berth_config::{Config, Debug, Prometheus};
use berth_stores::{Programs, Versitygw};

use crate::bench::Bench;
use crate::support::Client;

const PATIENCE: Duration = Duration::from_secs(30);

/// A registry on the bucket behind `server`, with its clients for the API and the debug port.
async fn start(bench: &Bench, server: &Versitygw, read_only: bool) -> (berth_registry::Running, Client, Client) {
    let change = |config: &mut Config| {
        config.storage.driver = bench.driver_at(server);
        config.storage.maintenance.readonly.enabled = read_only;
        let prometheus = Prometheus { enabled: false, path: "/metrics".into() };
        config.http.debug = Some(Debug { addr: "127.0.0.1:0".into(), prometheus, admin: None });
    };
    let running = bench.replica(change).await;
    let debug = Client::connect(running.debug_address().unwrap()).await;
    let client = bench.client(&running).await;
    (running, client, debug)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_store_that_takes_nothing_new_is_of_use_to_who_only_reads() {
    let bench = Bench::start().await;
    let usual = bench.replica(|_| ()).await;
    let image = bench.client(&usual).await.push_image("team/app", "v1", &["one"]).await;
    let refusing = bench.server.that_only_reads(&Programs::from_env()).await.unwrap();

    let (_running, mut client, mut debug) = start(&bench, &refusing, false).await;
    // Its own check finds the bucket there, again and again, and that changes nothing.
    let (deadline, mut looks) = (Instant::now() + PATIENCE, Vec::new());
    while looks.len() < 2 {
        assert!(Instant::now() < deadline, "it was not looked at");
        let health = debug.get("/debug/health").await.expect(503).json();
        let said = health["storagedriver_s3"].as_str().unwrap_or_default();
        assert!(said.contains("cannot use the store") && said.contains("AccessDenied"), "{health}");
        let looked = debug.get("/debug/storage").await.expect(200).json();
        assert_eq!((&looked["reachable"], &looked["reason"]), (&false.into(), &"AccessDenied".into()), "{looked}");
        assert_eq!(looked["transient"], false);
        let checked = looked["checked"].as_str().unwrap().to_owned();
        if !looks.contains(&checked) {
            looks.push(checked);
        }
        tokio::task::yield_now().await;
    }
    let refused = client.get("/v2/team/app/manifests/v1").await.expect(503);
    assert_eq!(refused.codes(), "503 UNAVAILABLE");

    let (_running, mut client, mut debug) = start(&bench, &refusing, true).await;
    assert_eq!(client.get("/v2/team/app/manifests/v1").await.expect(200).body, image.raw);
    client.post("/v2/team/app/blobs/uploads/", "").await.expect(405);
    debug.get("/debug/health").await.expect(200);
    let looked = debug.get("/debug/storage").await.expect(200).json();
    assert_eq!(looked["reachable"], true, "{looked}");
}
