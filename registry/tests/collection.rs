//! Garbage collection: over the admin route, offline, and while people push.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Document, Server, TOKEN, config_of};

/// Runs a collection over the admin route, and gives the last line of the answer.
async fn collect(debug: &mut Client, asked: &Value) -> Value {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let answer = debug.send(Method::POST, "/admin/v1/gc", &headers, asked.to_string().into()).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let mut lines: Vec<Value> =
        answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect();
    let last = lines.pop().unwrap();
    for line in &lines {
        let progress = &line["progress"];
        assert!(["list", "mark", "sweep"].contains(&progress["phase"].as_str().unwrap()), "{line}");
        assert!(progress["done"].as_u64().unwrap() <= progress["total"].as_u64().unwrap(), "{line}");
    }
    last
}

fn parse(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

/// The figures of a report that do not depend on the time.
fn figures(last: &Value) -> String {
    let report = &last["report"];
    assert!(report["start"].as_str().unwrap() <= report["end"].as_str().unwrap());
    format!(
        "{} manifests {}-{} blobs {}-{}",
        report["outcome"].as_str().unwrap(),
        report["manifestsKept"],
        report["manifestsDeleted"],
        report["blobsKept"],
        report["blobsDeleted"]
    )
}

/// Whether an image comes back whole: every manifest and blob with its digest.
async fn pulls(client: &mut Client, name: &str, reference: &str) -> Result<(), String> {
    let mut waiting = vec![reference.to_owned()];
    while let Some(reference) = waiting.pop() {
        let found = client.get(&format!("/v2/{name}/manifests/{reference}")).await;
        if found.status != 200 {
            return Err(format!("{name}:{reference}: {}", found.codes()));
        }
        if found.header("docker-content-digest") != Digest::sha256(&found.body).as_str() {
            return Err(format!("{name}:{reference}: wrong content"));
        }
        let manifest = found.json();
        let entries = |field: &str| manifest[field].as_array().cloned().unwrap_or_default();
        for child in entries("manifests") {
            waiting.push(child["digest"].as_str().unwrap().to_owned());
        }
        let config = manifest.get("config").cloned();
        for blob in entries("layers").into_iter().chain(config) {
            let digest = blob["digest"].as_str().unwrap();
            let found = client.get(&format!("/v2/{name}/blobs/{digest}")).await;
            if found.status != 200 || Digest::sha256(&found.body).as_str() != digest {
                return Err(format!("{name}:{reference}: blob {digest}: {}", found.codes()));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_image_frees_its_bytes_and_the_rest_still_pulls() {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |_| ()).await;
        let (mut client, mut debug) = (server.client().await, server.debug_client().await);
        client.push_image("a", "keep", &["base", "own"]).await;
        let gone = client.push_image("a", "gone", &["base", "other"]).await;
        let asked = json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 });
        assert_eq!(figures(&collect(&mut debug, &asked).await), "Clean manifests 2-0 blobs 7-0");

        client.delete("/v2/a/manifests/gone").await.expect(202);
        let dry =
            collect(&mut debug, &json!({ "dryRun": true, "deleteUntagged": true, "gracePeriodSeconds": 0 })).await;
        assert_eq!(figures(&dry), "Clean manifests 1-1 blobs 4-3");
        assert_eq!(dry["report"]["dryRun"], json!(true));
        assert_eq!(pulls(&mut client, "a", gone.digest().as_str()).await, Ok(()), "a dry run deletes nothing");

        let tags_only = collect(&mut debug, &json!({ "gracePeriodSeconds": 0 })).await;
        assert_eq!(figures(&tags_only), "Clean manifests 2-0 blobs 7-0", "untagged manifests stay unless asked for");
        let kept = collect(&mut debug, &json!({ "deleteUntagged": true })).await;
        assert_eq!(figures(&kept), "Clean manifests 2-0 blobs 7-0", "all of it is younger than the grace period");

        let swept = collect(&mut debug, &asked).await;
        assert_eq!(figures(&swept), "Clean manifests 1-1 blobs 4-3");
        let freed = "other".len() + config_of("gone").len() + gone.raw.len();
        assert_eq!(swept["report"]["bytesFreed"], json!(freed));
        assert_eq!(pulls(&mut client, "a", "keep").await, Ok(()));
        client.get(&format!("/v2/a/manifests/{}", gone.digest())).await.expect(404);
        client.head(&format!("/v2/a/blobs/{}", Digest::sha256(b"other"))).await.expect(404);
        client.push_image("a", "gone", &["base", "other"]).await;
        assert_eq!(pulls(&mut client, "a", "gone").await, Ok(()), "what was collected can be pushed again");
        server.running.stop().await;
    }
}

#[tokio::test]
async fn indexes_and_referrers_stay_with_what_keeps_them() {
    let server = Server::start(false, |_| ()).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    let name = "team/app";
    let (one, two) = (Document::image("one", &["x"]), Document::image("two", &["y"]));
    for content in [config_of("one"), config_of("two"), config_of("sig"), "x".into(), "y".into()] {
        client.push_blob(name, content).await;
    }
    for image in [&one, &two] {
        client.push_manifest(name, image.digest().as_str(), image).await.expect(201);
    }
    let index = Document::index(media_type::OCI_INDEX, &[(&one, "amd64"), (&two, "arm64")]);
    client.push_manifest(name, "v1", &index).await.expect(201);
    let signature = Document::image_about("sig", &[], Some(&index));
    client.push_manifest(name, signature.digest().as_str(), &signature).await.expect(201);
    let asked = json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 });
    assert_eq!(figures(&collect(&mut debug, &asked).await), "Clean manifests 4-0 blobs 9-0");
    assert_eq!(pulls(&mut client, name, "v1").await, Ok(()));
    client.delete(&format!("/v2/{name}/manifests/v1")).await.expect(202);
    assert_eq!(figures(&collect(&mut debug, &asked).await), "Clean manifests 0-4 blobs 0-9");
    client.get(&format!("/v2/{name}/tags/list")).await.expect(404);
    server.running.stop().await;
}

#[tokio::test]
async fn a_damaged_manifest_protects_its_repository() {
    let server = Server::start(false, |_| ()).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    let damaged = client.push_image("a", "v1", &["one"]).await;
    client.push_image("b", "v1", &["two"]).await;
    for name in ["a", "b"] {
        client.delete(&format!("/v2/{name}/manifests/v1")).await.expect(202);
    }
    let hex = damaged.digest().hex().to_owned();
    let data = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    std::fs::write(server.directory.path().join(data), b"{}").unwrap();
    let last = collect(&mut debug, &json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 })).await;
    // The configuration is the same in both, so only the other layer and the other manifest go.
    assert_eq!(figures(&last), "Partial manifests 1-1 blobs 3-2");
    let problem = last["report"]["problems"][0].as_str().unwrap();
    assert!(problem.starts_with(&format!("manifest a@sha256:{hex}: ")), "{problem}");
    client.get(&format!("/v2/a/blobs/{}", Digest::sha256(b"one"))).await.expect(200);
    server.running.stop().await;
}

/// The link of a tag that is empty, as a power failure leaves one of a writer that does not sync.
#[tokio::test]
async fn an_empty_tag_is_unknown_and_keeps_no_manifest_from_being_deleted() {
    let server = Server::start(false, |_| ()).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    let (one, two) = (client.push_image("a", "one", &["1"]).await, client.push_image("a", "two", &["2"]).await);
    let link = "data/docker/registry/v2/repositories/a/_manifests/tags/two/current/link";
    std::fs::write(server.directory.path().join(link), b"").unwrap();
    for method in [Method::GET, Method::HEAD] {
        client.send(method, "/v2/a/manifests/two", &[], Bytes::new()).await.expect(404);
    }
    assert_eq!(client.get("/v2/a/manifests/two").await.codes(), "404 MANIFEST_UNKNOWN");
    client.delete(&format!("/v2/a/manifests/{}", one.digest())).await.expect(202);
    client.get("/v2/a/manifests/one").await.expect(404);
    // What the tag named is not known, so nothing goes.
    let last = collect(&mut debug, &json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 })).await;
    assert_eq!(last["report"]["outcome"], json!("Partial"));
    assert_eq!(pulls(&mut client, "a", two.digest().as_str()).await, Ok(()));
    // The tag can be written again.
    client.push_manifest("a", "two", &two).await.expect(201);
    assert_eq!(pulls(&mut client, "a", "two").await, Ok(()));
    server.running.stop().await;
}

#[tokio::test]
async fn an_upload_in_progress_is_left_alone() {
    let server = Server::start(false, |_| ()).await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
    let answer = client.patch(begun.header("location"), &[], "first ").await.expect(202);
    collect(&mut debug, &json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 })).await;
    let target = format!("{}&digest={}", answer.header("location"), Digest::sha256(b"first last"));
    client.put(&target, &[], "last").await.expect(201);
    server.running.stop().await;
}

#[tokio::test]
async fn the_admin_route_lets_in_only_the_token() {
    let server = Server::start(true, |_| ()).await;
    let mut debug = server.debug_client().await;
    let good = format!("Bearer {TOKEN}");
    for (authorization, body, expected) in [
        (None, "{}", "401 UNAUTHORIZED"),
        (Some("Bearer wrong"), "{}", "401 UNAUTHORIZED"),
        (Some(good.as_str()), "{", "400 BAD_REQUEST"),
        (Some(good.as_str()), "{\"dryrun\":true}", "400 BAD_REQUEST"),
        (Some(good.as_str()), &" ".repeat(65 * 1024), "400 BAD_REQUEST"),
    ] {
        let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let answer = debug.send(Method::POST, "/admin/v1/gc", &headers, body.to_owned().into()).await;
        let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
        assert_eq!(format!("{} {code}", answer.status.as_u16()), expected);
    }
    debug.get("/admin/v1/gc").await.expect(405);
    // A rotated token counts from the next request on.
    std::fs::write(server.directory.path().join("token"), "rotated").unwrap();
    let answer = debug.send(Method::POST, "/admin/v1/gc", &[("authorization", &good)], "{}".into()).await;
    assert_eq!(answer.status, 401);
    server.running.stop().await;

    let server = Server::start(true, |config| config.http.debug.as_mut().unwrap().admin = None).await;
    let mut debug = server.debug_client().await;
    debug.send(Method::POST, "/admin/v1/gc", &[("authorization", &good)], "{}".into()).await.expect(404);
    server.running.stop().await;
}

/// Three clients push images that share blobs, and delete some, while collections run one after another with no grace
/// period at all. Every image that was acknowledged and not deleted must pull.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_while_collections_run() {
    const PUSHERS: usize = 3;
    const ROUNDS: usize = 60;
    for in_memory in [true, false] {
        let server = Arc::new(Server::start(in_memory, |_| ()).await);
        let done = Arc::new(AtomicUsize::new(0));
        let runs = Arc::new(AtomicUsize::new(0));
        let lost = Arc::new(AtomicBool::new(false));
        let collector = {
            let (server, done, runs) = (server.clone(), done.clone(), runs.clone());
            tokio::spawn(async move {
                let mut debug = server.debug_client().await;
                let mut deleted = 0;
                while done.load(Ordering::SeqCst) < PUSHERS {
                    let asked = json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 });
                    let last = collect(&mut debug, &asked).await;
                    assert_eq!(last["report"]["outcome"], json!("Clean"), "{last}");
                    deleted += last["report"]["blobsDeleted"].as_u64().unwrap();
                    runs.fetch_add(1, Ordering::SeqCst);
                }
                deleted
            })
        };
        let pushers = (0..PUSHERS).map(|pusher| {
            let (server, done, lost) = (server.clone(), done.clone(), lost.clone());
            tokio::spawn(async move {
                let mut client = server.client().await;
                let mut refused = 0;
                for round in 0..ROUNDS {
                    // The same few layers over and over, in one repository, so that one pusher relies on what is just
                    // about to be deleted for another.
                    let layers = [format!("layer {}", round % 3), format!("layer {}", (round + pusher) % 5)];
                    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
                    let tag = format!("p{pusher}-{round}");
                    refused += push_as_clients_do(&mut client, "shared", &tag, &layers).await;
                    if let Err(problem) = pulls(&mut client, "shared", &tag).await {
                        eprintln!("lost: {problem}");
                        lost.store(true, Ordering::SeqCst);
                    }
                    if round % 4 != 0 {
                        client.delete(&format!("/v2/shared/manifests/{tag}")).await.expect(202);
                    }
                }
                done.fetch_add(1, Ordering::SeqCst);
                refused
            })
        });
        let refused: usize = futures::future::join_all(pushers).await.into_iter().map(Result::unwrap).sum();
        let deleted = collector.await.unwrap();
        assert!(!lost.load(Ordering::SeqCst), "an acknowledged image was lost");
        let mut client = server.client().await;
        for pusher in 0..PUSHERS {
            for round in (0..ROUNDS).filter(|round| round % 4 == 0) {
                assert_eq!(pulls(&mut client, "shared", &format!("p{pusher}-{round}")).await, Ok(()));
            }
        }
        let runs = runs.load(Ordering::SeqCst);
        println!("{runs} collections deleted {deleted} blobs; {refused} manifests had to be pushed again");
        assert!(runs >= 10 && deleted > 0, "the collector has hardly run: {runs} runs, {deleted} blobs");
    }
}

/// Pushes what `HEAD` says is missing, then the manifest; starts again if the manifest is refused because something was
/// collected in between. Gives how often that happened.
async fn push_as_clients_do(client: &mut Client, name: &str, tag: &str, layers: &[&str]) -> usize {
    let image = Document::image("config", layers);
    let config = config_of("config");
    for refused in 0..100 {
        for content in layers.iter().copied().chain([config.as_str()]) {
            let digest = Digest::sha256(content.as_bytes());
            if client.head(&format!("/v2/{name}/blobs/{digest}")).await.status != 200 {
                client.push_blob(name, content.to_owned()).await;
            }
        }
        let answer = client.push_manifest(name, tag, &image).await;
        if answer.status == 201 {
            return refused;
        }
        assert!(answer.codes().starts_with("400 MANIFEST_BLOB_UNKNOWN"), "{answer:?}");
    }
    panic!("{name}:{tag} was refused a hundred times");
}

/// A second server cannot be seen by the first one's guard, so neither of them collects.
#[tokio::test]
async fn servers_that_share_a_directory_do_not_collect() {
    let server = Server::start(false, |_| ()).await;
    let mut debug = server.debug_client().await;
    let config = support::config(support::filesystem(&server.directory.path().join("data")));
    let second = berth_registry::start(&config).await.unwrap();
    let last = collect(&mut debug, &json!({})).await;
    assert_eq!(last["error"]["code"], json!("IN_USE"), "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("another server holds the store"), "{last}");
    second.stop().await;
    assert_eq!(figures(&collect(&mut debug, &json!({})).await), "Clean manifests 0-0 blobs 0-0");
    server.running.stop().await;
}

fn berth(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_berth-registry")).args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_collects_in_a_server_and_offline_but_not_both() {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    client.push_image("a", "keep", &["one"]).await;
    client.push_image("a", "gone", &["two"]).await;
    client.delete("/v2/a/manifests/gone").await.expect(202);

    let path = |name: &str| server.directory.path().join(name).to_str().unwrap().to_owned();
    let (config, report, token) = (path("config.yml"), path("report.json"), path("token"));
    let root = path("data");
    let text = format!("version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root:?}}}}}\n");
    std::fs::write(&config, text).unwrap();
    let refused = berth(&["garbage-collect", "-m", &config]);
    assert_eq!(refused.status.code(), Some(1));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("berth/v1/lock: a server or a collector holds the store: stop it first"), "{message}");

    let url = format!("http://{}", server.running.debug_address().unwrap());
    let remote = ["garbage-collect", "--server", &url, "--token-file", &token, "--report-file", &report, "-d", "-m"];
    let dry = berth(&[&remote[..], &["--grace-period", "0s"]].concat());
    assert!(dry.status.success(), "{dry:?}");
    let found: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!((&found["dryRun"], &found["manifestsDeleted"]), (&json!(true), &json!(1)));
    assert_eq!(serde_json::from_slice::<Value>(&dry.stdout).unwrap(), found);

    std::fs::write(&token, "rotated").unwrap();
    std::fs::write(path("old"), TOKEN).unwrap();
    let old = path("old");
    let wrong = berth(&["garbage-collect", "--server", &url, "--token-file", &old, "--report-file", &report]);
    assert_eq!(wrong.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let message = found["error"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("answered 401 Unauthorized: UNAUTHORIZED: the admin token is missing or wrong"),
        "{message}"
    );
    assert!(!message.contains(TOKEN));

    drop(client);
    server.running.stop().await;
    let collected = berth(&["garbage-collect", "-m", &config]);
    assert!(collected.status.success(), "{collected:?}");
    let found: Value = serde_json::from_slice(&collected.stdout).unwrap();
    assert_eq!((&found["manifestsKept"], &found["manifestsDeleted"]), (&json!(1), &json!(1)));
}
