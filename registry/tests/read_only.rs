//! A registry becomes read-only and writable again while it runs, over a socket, on every store.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth_oci::Digest;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Answer, Client, Document, Server, TOKEN, config_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATH: &str = "/admin/v1/read-only";
const PATIENCE: Duration = Duration::from_secs(30);

async fn ask(client: &mut Client, method: Method, body: &Value) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    client.send(method, PATH, &[("authorization", &bearer)], body).await
}

async fn switch(client: &mut Client, read_only: bool) -> Answer {
    ask(client, Method::PUT, &json!({ "readOnly": read_only })).await
}

#[tokio::test]
async fn every_write_is_refused_with_the_reason_and_every_read_answered() {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |_| ()).await;
        let (mut client, mut admin) = (server.client().await, server.debug_client().await);
        let image = client.push_image("team/app", "v1", &["one"]).await;
        let begun = client.post("/v2/team/app/blobs/uploads/", "").await.expect(202).header("location").to_owned();
        let on = ask(&mut admin, Method::PUT, &json!({ "readOnly": true, "reason": "a backup" })).await.expect(200);
        let closed = json!({ "readOnly": true, "reason": "a backup", "writesInFlight": 0 });
        assert_eq!(on.json(), closed);
        assert_eq!(ask(&mut admin, Method::GET, &Value::Null).await.expect(200).json(), closed);

        let digest = image.digest();
        let blob = Digest::sha256(b"one");
        for (method, target) in [
            (Method::POST, "/v2/team/app/blobs/uploads/".to_owned()),
            (Method::POST, format!("/v2/team/app/blobs/uploads/?digest={blob}")),
            (Method::POST, format!("/v2/other/blobs/uploads/?mount={blob}&from=team/app")),
            (Method::PATCH, begun.clone()),
            (Method::PUT, format!("{begun}&digest={blob}")),
            (Method::DELETE, begun.clone()),
            (Method::PUT, "/v2/team/app/manifests/v2".to_owned()),
            (Method::DELETE, "/v2/team/app/manifests/v1".to_owned()),
            (Method::DELETE, format!("/v2/team/app/manifests/{digest}")),
            (Method::DELETE, format!("/v2/team/app/blobs/{blob}")),
        ] {
            let answer = client.send(method.clone(), &target, &[], Bytes::new()).await;
            assert_eq!(answer.codes(), "405 UNSUPPORTED", "{method} {target}");
            assert_eq!(answer.header("retry-after"), "60", "{method} {target}");
            let detail = &answer.json()["errors"][0]["detail"];
            assert_eq!(detail, "the registry is read-only: a backup", "{method} {target}");
        }
        client.get("/v2/team/app/manifests/v1").await.expect(200);
        client.head(&format!("/v2/team/app/blobs/{blob}")).await.expect(200);
        client.get(&begun).await.expect(204);

        assert_eq!(
            switch(&mut admin, false).await.expect(200).json(),
            json!({ "readOnly": false, "writesInFlight": 0 })
        );
        client.put(&format!("{begun}&digest={}", Digest::sha256(b"two")), &[], "two").await.expect(201);
        server.running.stop().await;
    }
}

#[tokio::test]
async fn what_the_configuration_says_can_be_switched_too() {
    let server = Server::start(false, |config| config.storage.maintenance.readonly.enabled = true).await;
    let (mut client, mut admin) = (server.client().await, server.debug_client().await);
    let refused = client.post("/v2/a/blobs/uploads/", "").await;
    assert_eq!(refused.codes(), "405 UNSUPPORTED");
    let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("storage.maintenance.readonly"), "{detail}");
    switch(&mut admin, false).await.expect(200);
    client.push_image("a", "v1", &["one"]).await;
    server.running.stop().await;
}

#[tokio::test]
async fn only_the_token_switches() {
    let server = Server::start(true, |_| ()).await;
    let mut admin = server.debug_client().await;
    admin.put(PATH, &[], "{\"readOnly\":true}").await.expect(401);
    admin.get(PATH).await.expect(401);
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let refused = admin.put(PATH, &headers, "{\"readonly\":true}").await.expect(400);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("readonly"), "{refused:?}");
    assert_eq!(admin.delete(PATH).await.expect(405).header("allow"), "GET, HEAD, PUT");
    assert_eq!(ask(&mut admin, Method::GET, &Value::Null).await.json()["readOnly"], false);
    server.running.stop().await;
}

/// A chunk that has begun is taken to its end and acknowledged; the switch says that it is still going on.
#[tokio::test]
async fn a_chunk_in_flight_ends_as_it_would_have() {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |_| ()).await;
        let (mut client, mut admin) = (server.client().await, server.debug_client().await);
        let begun = client.post("/v2/a/blobs/uploads/", "").await.expect(202).header("location").to_owned();
        let path = begun.strip_prefix(&format!("http://{}", client.address)).unwrap_or(&begun).to_owned();
        let mut chunk = tokio::net::TcpStream::connect(client.address).await.unwrap();
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: 6\r\nconnection: close\r\n\r\nfir",
            client.address
        );
        chunk.write_all(head.as_bytes()).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while ask(&mut admin, Method::GET, &Value::Null).await.json()["writesInFlight"] != 1 {
            assert!(Instant::now() < deadline, "the chunk does not begin");
        }
        let on = ask(&mut admin, Method::PUT, &json!({ "readOnly": true, "timeoutSeconds": 0 })).await.expect(202);
        assert_eq!(on.json()["writesInFlight"], 1);
        assert_eq!(client.post("/v2/a/blobs/uploads/", "").await.codes(), "405 UNSUPPORTED");
        // Whoever asks with more patience is answered when the chunk has ended.
        let address = admin.address;
        let waiting = tokio::spawn(async move {
            let mut admin = Client::connect(address).await;
            switch(&mut admin, true).await
        });
        chunk.write_all(b"st!").await.unwrap();
        let mut text = String::new();
        chunk.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
        assert_eq!(waiting.await.unwrap().expect(200).json()["writesInFlight"], 0);
        let location = text.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_owned();
        let digest = Digest::sha256(b"first!");
        let target = format!("{location}&digest={digest}");
        assert_eq!(client.put(&target, &[], "").await.codes(), "405 UNSUPPORTED");
        switch(&mut admin, false).await.expect(200);
        client.put(&target, &[], "").await.expect(201);
        assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, "first!");
        server.running.stop().await;
    }
}

/// Every file below a directory but what belongs to the server itself, with its length.
fn files(root: &std::path::Path) -> BTreeMap<std::path::PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.join("docker")];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path(), metadata.len());
            }
        }
    }
    found
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    refused: AtomicUsize,
    accepted: AtomicUsize,
}

impl Load {
    /// Whether an answer is the one hoped for. The other one that may be is the refusal.
    fn took(&self, answer: &Answer, expected: u16) -> bool {
        if answer.status == 405 {
            assert_eq!(answer.header("retry-after"), "60");
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        assert_eq!(answer.status.as_u16(), expected, "{answer:?}");
        self.accepted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Pushes images, each in an upload of two chunks, one at once and a manifest, until told to stop. Gives the tags
    /// that were acknowledged. A chunk that was acknowledged is gone on behind, however often the end is refused.
    async fn push(self: Arc<Self>, mut client: Client, name: String) -> Vec<(String, Document, Bytes)> {
        let mut acknowledged = Vec::new();
        for n in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let tag = format!("v{n}");
            let layer: Bytes = format!("{name} {n} ").repeat(2000).into();
            let text = String::from_utf8(layer.to_vec()).unwrap();
            let image = Document::image(&tag, &[&text]);
            let config = config_of(&tag);
            let target = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::sha256(config.as_bytes()));
            if !self.took(&client.post(&target, config).await, 201) {
                continue;
            }
            let begun = client.post(&format!("/v2/{name}/blobs/uploads/"), "").await;
            if !self.took(&begun, 202) {
                continue;
            }
            let half = layer.len() / 2;
            let mut location = begun.header("location").to_owned();
            for chunk in [layer.slice(..half), layer.slice(half..)] {
                location = loop {
                    let answer = client.patch(&location, &[], chunk.clone()).await;
                    if self.took(&answer, 202) {
                        break answer.header("location").to_owned();
                    }
                };
            }
            let target = format!("{location}&digest={}", Digest::sha256(&layer));
            while !self.took(&client.put(&target, &[], "").await, 201) {}
            if self.took(&client.push_manifest(&name, &tag, &image).await, 201) {
                acknowledged.push((tag, image, layer));
            }
        }
        acknowledged
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_is_switched_under_load() {
    const PUSHERS: usize = 4;
    const ROUNDS: usize = 15;
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |_| ()).await;
        let root = server.directory.path().join("data");
        let load = Arc::new(Load::default());
        let mut pushers = Vec::new();
        for n in 0..PUSHERS {
            let pushing = load.clone().push(server.client().await, format!("team/app{n}"));
            pushers.push(tokio::spawn(pushing));
        }
        let mut admin = server.debug_client().await;
        for _ in 0..ROUNDS {
            let (accepted, refused) = (load.accepted.load(Ordering::Relaxed), load.refused.load(Ordering::Relaxed));
            wait_until(|| load.accepted.load(Ordering::Relaxed) > accepted + 20).await;
            assert_eq!(switch(&mut admin, true).await.expect(200).json()["writesInFlight"], 0);
            let quiet = files(&root);
            wait_until(|| load.refused.load(Ordering::Relaxed) > refused + 20).await;
            assert_eq!(files(&root), quiet, "something was written while the registry was read-only");
            switch(&mut admin, false).await.expect(200);
        }
        load.stop.store(true, Ordering::Relaxed);
        let mut client = server.client().await;
        let mut images = 0;
        for (n, pusher) in pushers.into_iter().enumerate() {
            for (tag, image, layer) in pusher.await.unwrap() {
                let found = client.get(&format!("/v2/team/app{n}/manifests/{tag}")).await.expect(200);
                assert_eq!(found.body, image.raw);
                let digest = Digest::sha256(&layer);
                assert_eq!(client.get(&format!("/v2/team/app{n}/blobs/{digest}")).await.expect(200).body, layer);
                images += 1;
            }
        }
        for (path, _) in files(&root).iter().filter(|(path, _)| path.ends_with("data")) {
            let hex = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            if path.to_str().unwrap().contains("/blobs/sha256/") {
                assert_eq!(Digest::sha256(&std::fs::read(path).unwrap()).hex(), hex, "half a write");
            }
        }
        let refused = load.refused.load(Ordering::Relaxed);
        assert!(images > 0 && refused > 0);
        println!(
            "in memory: {in_memory}: {ROUNDS} switches, {images} images acknowledged and read back, {refused} writes refused"
        );
        server.running.stop().await;
    }
}

async fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "nothing happens");
        tokio::task::yield_now().await;
    }
}
