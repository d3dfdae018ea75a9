//! A store that takes nothing new: who is to write says so and is not ready, and who only reads serves.

use std::time::{Duration, Instant};

use berth_config::{Admin, Config, Debug, Prometheus};
use berth_stores::{Fault, Faults, Kind, Programs, Versitygw};

use crate::bench::Bench;
use crate::support::{Client, TOKEN};

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

/// What it could not get while it only read, it gets before it takes the first write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn who_was_started_to_only_read_takes_writes_when_the_store_does() {
    let bench = Bench::start().await;
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let refusing = bench.server.that_only_reads(&Programs::from_env()).await.unwrap();
    let admin = |config: &mut Config| {
        config.storage.maintenance.readonly.enabled = true;
        let prometheus = Prometheus { enabled: false, path: "/metrics".into() };
        config.http.debug =
            Some(Debug { addr: "127.0.0.1:0".into(), prometheus, admin: Some(Admin { tokenfile: token.clone() }) });
    };
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let path = "/admin/v1/read-only";

    let reading = bench
        .replica(|config| {
            admin(config);
            config.storage.driver = bench.driver_at(&refusing);
        })
        .await;
    let mut debug = Client::connect(reading.debug_address().unwrap()).await;
    let refused = debug.put(path, &headers, "{\"readOnly\": false}").await.expect(503);
    let said = refused.json()["error"].clone();
    assert_eq!(said["code"], "NOT_WRITABLE", "{said}");
    assert!(said["message"].as_str().unwrap().contains("AccessDenied"), "{said}");
    bench.client(&reading).await.post("/v2/team/app/blobs/uploads/", "").await.expect(405);

    // The same store, where the permission to write comes later.
    bench.proxy.set_faults(Faults::of_seed(1).share(Fault::Deny, 1.0).only(&http::Method::PUT, Kind::Object));
    let (one, other) = (bench.replica(admin).await, bench.replica(admin).await);
    let mut clients = Vec::new();
    for replica in [&one, &other] {
        let mut debug = Client::connect(replica.debug_address().unwrap()).await;
        debug.put(path, &headers, "{\"readOnly\": false}").await.expect(503);
        clients.push((bench.client(replica).await, debug));
    }
    bench.proxy.set_faults(Faults::none());
    for (_, debug) in &mut clients {
        debug.put(path, &headers, "{\"readOnly\": false}").await.expect(200);
    }
    let [(one, _), (other, _)] = &mut clients[..] else { unreachable!("there are two") };
    let begun = one.post("/v2/team/app/blobs/uploads/", "").await.expect(202);
    let taken = other.patch(begun.header("location"), &[], "content").await.expect(202);
    let digest = berth_oci::Digest::sha256(b"content");
    one.put(&format!("{}&digest={digest}", taken.header("location")), &[], "").await.expect(201);
}
