//! Whole repositories are deleted while others push to them, collect garbage, and serve the same directory.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth_oci::Digest;
use berth_registry::Running;
use berth_registry::verify::{Options, Report, run};
use berth_storage::{Filesystem, LockMode};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Document, Server, TOKEN, config_of};

const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that lies in a repository, without the repositories below it.
fn inside(data: &Path, name: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(data.join("docker/registry/v2/repositories").join(name)) else {
        return BTreeSet::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('_')).collect()
}

/// Pushes an image; gives whether it was acknowledged. Something of it may be deleted in the middle of the push.
async fn push(client: &mut Client, name: &str, tag: &str, layers: &[&str]) -> bool {
    let config = config_of(tag);
    for content in layers.iter().copied().chain([config.as_str()]) {
        let digest = Digest::sha256(content.as_bytes());
        let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = client.post(&target, content.to_owned()).await;
        // Another server that deletes the repository does not know of the upload.
        if answer.codes() == "404 BLOB_UPLOAD_UNKNOWN" {
            return false;
        }
        answer.expect(201);
    }
    let answer = client.push_manifest(name, tag, &Document::image(tag, layers)).await;
    let is_acknowledged = answer.status == 201;
    assert!(is_acknowledged || answer.codes().starts_with("400 MANIFEST_BLOB_UNKNOWN"), "{answer:?}");
    is_acknowledged
}

/// Whether an image comes back whole.
async fn pulls(client: &mut Client, name: &str, tag: &str) -> Result<(), String> {
    let found = client.get(&format!("/v2/{name}/manifests/{tag}")).await;
    if found.status != 200 {
        return Err(format!("{name}:{tag}: {}", found.codes()));
    }
    let manifest = found.json();
    for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let digest = blob["digest"].as_str().unwrap();
        let found = client.get(&format!("/v2/{name}/blobs/{digest}")).await;
        if found.status != 200 || Digest::sha256(&found.body).as_str() != digest {
            return Err(format!("{name}:{tag}: blob {digest}: {}", found.codes()));
        }
    }
    Ok(())
}

async fn delete(client: &mut Client, name: &str) {
    let answer = client.delete(&format!("/v2/{name}/")).await;
    assert!(answer.status == 202 || answer.codes() == "404 NAME_UNKNOWN", "{answer:?}");
}

async fn tags(client: &mut Client, name: &str) -> Vec<String> {
    let answer = client.get(&format!("/v2/{name}/tags/list")).await;
    match answer.status.as_u16() {
        200 => answer.json()["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect(),
        _ => {
            assert_eq!(answer.codes(), "404 NAME_UNKNOWN");
            Vec::new()
        }
    }
}

async fn repositories(client: &mut Client) -> Value {
    client.get("/v2/_catalog").await.expect(200).json()["repositories"].clone()
}

async fn collect(debug: &mut Client) -> Value {
    let authorization = format!("Bearer {TOKEN}");
    let asked = json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 });
    let headers = [("authorization", authorization.as_str())];
    let answer = debug.send(Method::POST, "/admin/v1/gc", &headers, asked.to_string().into()).await.expect(200);
    serde_json::from_slice(answer.body.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap()
}

async fn verified(data: &Path) -> Report {
    let store = Filesystem::open(data, 25, LockMode::ReadOnly).unwrap();
    run(&store, Options { repair: false, content: true, jobs: 2, tells: false }).await.unwrap()
}

/// A repository is deleted while a collection runs with no grace period, and while others are pushed to: what was not
/// deleted stays whole, of what was deleted nothing is left, and no collection stumbles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_collections_nothing_is_half_left_and_nothing_else_is_lost() {
    const ROUNDS: usize = 40;
    let server = Arc::new(Server::start(false, |_| ()).await);
    let data = server.directory.path().join("data");
    let mut client = server.client().await;
    let (mut deleted, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let layer = format!("layer {round}");
        for name in ["a", "a/b"] {
            // The same layers in all of them, so that one relies on what goes with another.
            assert!(push(&mut client, name, "v1", &["shared", &layer]).await);
        }
        let collecting = {
            let server = server.clone();
            tokio::spawn(async move { collect(&mut server.debug_client().await).await })
        };
        let pushing = {
            let (server, layer) = (server.clone(), layer.clone());
            tokio::spawn(async move {
                let (mut client, mut refused) = (server.client().await, 0);
                while !push(&mut client, "a-b", "v1", &["shared", &layer]).await {
                    refused += 1;
                    assert!(refused < 100, "one collection does not refuse a push this often");
                }
                refused
            })
        };
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        client.delete("/v2/a/").await.expect(202);
        assert_eq!(inside(&data, "a"), BTreeSet::new(), "round {round}");
        refused += pushing.await.unwrap();
        let last = collecting.await.unwrap();
        assert_eq!(last["report"]["outcome"], json!("Clean"), "{last}");
        deleted += last["report"]["blobsDeleted"].as_u64().unwrap();
        for name in ["a/b", "a-b"] {
            assert_eq!(pulls(&mut client, name, "v1").await, Ok(()), "round {round}");
        }
        assert_eq!(repositories(&mut client).await, json!(["a-b", "a/b"]), "round {round}");
    }
    println!("{ROUNDS} collections deleted {deleted} blobs beside as many deletions; {refused} pushes were refused");
    for name in ["a/b", "a-b"] {
        client.delete(&format!("/v2/{name}/")).await.expect(202);
    }
    drop(client);
    assert_eq!(collect(&mut server.debug_client().await).await["report"]["blobsKept"], json!(0));
    let report = verified(&data).await;
    assert!(report.clean && report.looked.repositories == 0 && report.looked.blobs == 0, "{report:?}");
    Arc::into_inner(server).unwrap().running.stop().await;
}

/// Pushes to a repository and deletions of it, through one server or through two on the same directory. Whatever was
/// acknowledged is whole, or gone as a whole.
async fn pushes_beside_deletions(pushing: &Running, deleting: &Running, data: &Path) {
    const ROUNDS: usize = 40;
    const PUSHERS: usize = 3;
    let (mut client, mut deleter) =
        (Client::connect(pushing.address()).await, Client::connect(deleting.address()).await);
    let (mut acknowledged, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let address = pushing.address();
        let begun = Arc::new(AtomicUsize::new(0));
        let pushers = (0..PUSHERS).map(|n| {
            let begun = begun.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                begun.fetch_add(1, Ordering::SeqCst);
                let tag = format!("v{n}");
                (push(&mut client, "team/app", &tag, &["shared", &tag]).await, tag)
            })
        });
        let pushers: Vec<_> = pushers.collect();
        while begun.load(Ordering::SeqCst) < PUSHERS {
            tokio::task::yield_now().await;
        }
        for _ in 0..1 + round % 3 {
            delete(&mut deleter, "team/app").await;
        }
        let outcomes: Vec<(bool, String)> =
            futures::future::join_all(pushers).await.into_iter().map(Result::unwrap).collect();
        let acknowledged_now = outcomes.iter().filter(|(pushed, _)| *pushed).count();
        acknowledged += acknowledged_now;
        refused += PUSHERS - acknowledged_now;
        let listed = tags(&mut client, "team/app").await;
        // Whether or not its push was acknowledged.
        for tag in &listed {
            assert_eq!(pulls(&mut client, "team/app", tag).await, Ok(()), "round {round}");
        }
        // One that is pushed when the deletion has been acknowledged stays.
        assert!(push(&mut client, "team/app", "last", &["shared"]).await);
        assert_eq!(pulls(&mut client, "team/app", "last").await, Ok(()), "round {round}");
        delete(&mut deleter, "team/app").await;
        assert_eq!(inside(data, "team/app"), BTreeSet::new(), "round {round}");
    }
    println!("{acknowledged} pushes were acknowledged and {refused} refused beside deletions");
    assert!(acknowledged > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_at_the_same_moment_is_whole_or_gone() {
    let server = Server::start(false, |_| ()).await;
    let data = server.directory.path().join("data");
    pushes_beside_deletions(&server.running, &server.running, &data).await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_through_another_server_at_the_same_moment_is_whole_or_gone() {
    let server = Server::start(false, |_| ()).await;
    let data = server.directory.path().join("data");
    let other = berth_registry::start(&support::config(support::filesystem(&data))).await.unwrap();
    pushes_beside_deletions(&server.running, &other, &data).await;
    other.stop().await;
    server.running.stop().await;
}

/// What another server remembers of a deleted repository it forgets within a second, by itself.
#[tokio::test]
async fn another_server_on_the_directory_misses_what_was_deleted() {
    let server = Server::start(false, |_| ()).await;
    let data = server.directory.path().join("data");
    let other = berth_registry::start(&support::config(support::filesystem(&data))).await.unwrap();
    let (mut client, mut reader) = (server.client().await, Client::connect(other.address()).await);
    let image = client.push_image("a", "v1", &["one"]).await;
    client.push_image("a/b", "v1", &["one"]).await;
    let blob = Digest::sha256(b"one");
    let targets = [
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{}", image.digest()),
        format!("/v2/a/blobs/{blob}"),
        "/v2/a/tags/list".to_owned(),
    ];
    for target in &targets {
        // Twice, so that it is answered from memory.
        reader.get(target).await.expect(200);
        reader.get(target).await.expect(200);
    }
    assert_eq!(repositories(&mut reader).await, json!(["a", "a/b"]));
    client.delete("/v2/a/").await.expect(202);
    let deadline = Instant::now() + PATIENCE;
    for (target, code) in targets.iter().zip(["MANIFEST_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NAME_UNKNOWN"]) {
        while reader.get(target).await.status != 404 {
            assert!(Instant::now() < deadline, "{target} is served still");
        }
        assert_eq!(reader.get(target).await.codes(), format!("404 {code}"), "{target}");
    }
    while repositories(&mut reader).await != json!(["a/b"]) {
        assert!(Instant::now() < deadline, "the catalog has it still");
    }
    assert_eq!(reader.delete("/v2/a/").await.codes(), "404 NAME_UNKNOWN");
    assert_eq!(pulls(&mut reader, "a/b", "v1").await, Ok(()));
    // A push through the other server finds none of what this one has deleted.
    assert_eq!(
        reader.push_manifest("a", "v1", &image).await.codes(),
        "400 MANIFEST_BLOB_UNKNOWN MANIFEST_BLOB_UNKNOWN"
    );
    assert!(push(&mut reader, "a", "v1", &["one"]).await);
    assert_eq!(pulls(&mut client, "a", "v1").await, Ok(()));
    other.stop().await;
    server.running.stop().await;
}

/// Who asks for referrers lets the server look for what others have written, and it notes what it finds: not in a
/// repository that is gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_of_referrers_goes_with_its_repository() {
    const ROUNDS: usize = 30;
    let server = Server::start(false, |_| ()).await;
    let data = server.directory.path().join("data");
    let mut client = server.client().await;
    let subject = Digest::sha256(b"subject");
    for round in 0..ROUNDS {
        // A name of its own each time: a server looks once in a while.
        let name = format!("team/app{round}");
        client.push_image(&name, "v1", &["one"]).await;
        let asking = {
            let (mut client, target) = (server.client().await, format!("/v2/{name}/referrers/{subject}"));
            tokio::spawn(async move { client.send(Method::GET, &target, &[], Bytes::new()).await.expect(200) })
        };
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        client.delete(&format!("/v2/{name}/")).await.expect(202);
        asking.await.unwrap();
        assert_eq!(inside(&data, &name), BTreeSet::new(), "round {round}");
    }
    server.running.stop().await;
}

/// Runs both at about the same moment, the first a little later in every round, and gives both answers.
async fn at_once<A, B>(round: usize, first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let later = async {
        for _ in 0..round % 40 {
            tokio::task::yield_now().await;
        }
        first.await
    };
    tokio::join!(later, second)
}

/// Of these two servers on one directory one deletes what the other is pushing.
async fn tags_beside_deletions(pushing: &Running, deleting: &Running, data: &Path) {
    const ROUNDS: usize = 120;
    let mut pusher = Client::connect(pushing.address()).await;
    let mut deleter = Client::connect(deleting.address()).await;
    let before = pusher.push_image("a", "v", &["kept"]).await.digest().to_string();
    let names = async |client: &mut Client, tag: &str| {
        let found = client.head(&format!("/v2/a/manifests/{tag}")).await;
        (found.status == 200).then(|| found.header("docker-content-digest").to_owned())
    };
    for round in 0..ROUNDS {
        // A layer of its own, which is deleted: the tags stay as they were if the push is refused.
        let layer = format!("layer {round}");
        let blob = pusher.push_blob("a", layer.clone()).await;
        let image = Document::image("v", &[&layer]);
        let path = format!("/v2/a/blobs/{blob}");
        let (pushed, deleted) = at_once(round, pusher.push_manifest("a", "v", &image), deleter.delete(&path)).await;
        deleted.expect(202);
        if pushed.status == 201 {
            assert_eq!(names(&mut pusher, "v").await, Some(image.digest().to_string()), "round {round}");
            deleter.delete(&format!("/v2/a/manifests/{}", image.digest())).await.expect(202);
            pusher.push_image("a", "v", &["kept"]).await;
        } else {
            assert_eq!(names(&mut pusher, "v").await.as_ref(), Some(&before), "round {round}: {}", pushed.codes());
        }

        // A manifest that is deleted takes the tags along, and one that is pushed again has its tag.
        let image = pusher.push_image("a", "w", &[&format!("other {round}")]).await;
        let path = format!("/v2/a/manifests/{}", image.digest());
        let (pushed, deleted) = at_once(round, pusher.push_manifest("a", "x", &image), deleter.delete(&path)).await;
        pushed.expect(201);
        deleted.expect(202);
        let found = deleter.get("/v2/a/tags/list?n=100").await.json();
        for tag in found["tags"].as_array().unwrap() {
            assert!(names(&mut pusher, tag.as_str().unwrap()).await.is_some(), "round {round}: {tag} names nothing");
        }
    }
    let report = verified(data).await;
    assert!(!report.problems.iter().any(|problem| format!("{problem:?}").contains("DanglingTag")), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_name_what_was_acknowledged() {
    let server = Server::start(false, |_| ()).await;
    let data = server.directory.path().join("data");
    tags_beside_deletions(&server.running, &server.running, &data).await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_name_what_was_acknowledged_by_another_server() {
    let server = Server::start(false, |_| ()).await;
    let data = server.directory.path().join("data");
    let other = berth_registry::start(&support::config(support::filesystem(&data))).await.unwrap();
    tags_beside_deletions(&server.running, &other, &data).await;
    other.stop().await;
    server.running.stop().await;
}
