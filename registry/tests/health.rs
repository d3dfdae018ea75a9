//! The checks of a configuration, as `/debug/health` tells of them and every route follows them.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, Server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the debug port says this.
async fn until(debug: &mut Client, expected: &Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = debug.get("/debug/health").await;
        if answer.json() == *expected {
            let status = if *expected == json!({}) { 200 } else { 503 };
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("content-type"), "application/json");
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?} is not {expected}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_failing_check_takes_every_route_out_of_service() {
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("out-of-service");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().to_string();
    let other = Server::start(true, |_| ()).await;
    let uri = format!("http://{}/v2/", other.running.address());
    let yaml = format!(
        "version: 0.1\nstorage: inmemory\nhealth:\n  file: [{{file: {file}, interval: 100ms}}]\n  \
         tcp: [{{addr: \"{port}\", interval: 100ms, timeout: 5s, threshold: 2}}]\n  \
         http: [{{uri: \"{uri}\", interval: 100ms, timeout: 5s, statuscode: 200, headers: {{x-check: [a]}}}}]\n",
        file = file.display()
    );
    let health = berth_config::Config::load(&yaml, Vec::new()).unwrap().config.health;
    let server = Server::start(true, |config| config.health = health).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    until(&mut debug, &json!({})).await;
    client.get("/v2/").await.expect(200);

    std::fs::write(&file, "").unwrap();
    let path = file.display().to_string();
    until(&mut debug, &json!({ path.as_str(): "file exists" })).await;
    for target in ["/", "/v2/", "/v2/_catalog", "/v2/a/tags/list", "/elsewhere"] {
        let answer = client.get(target).await;
        assert_eq!(answer.codes(), "503 UNAVAILABLE", "{target}");
        let detail = &answer.json()["errors"][0]["detail"];
        assert_eq!(detail, "health check failed: please see /debug/health", "{target}");
    }
    assert_eq!(client.post("/v2/a/blobs/uploads/", "").await.codes(), "503 UNAVAILABLE");
    std::fs::remove_file(&file).unwrap();
    until(&mut debug, &json!({})).await;
    client.get("/v2/").await.expect(200);

    drop(listener);
    other.running.stop().await;
    let deadline = Instant::now() + PATIENCE;
    let failures = loop {
        let answer = debug.get("/debug/health").await.json();
        if answer.as_object().unwrap().len() == 2 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::task::yield_now().await;
    };
    let said = |name: &str| failures[name].as_str().unwrap();
    assert!(said(&port).starts_with(&format!("{port}: connection failed: ")), "{failures}");
    assert!(said(&uri).starts_with(&format!("{uri}: error while checking: ")), "{failures}");
    server.running.stop().await;
}
