//! Several replicas on one bucket, any of which goes on with what another began.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_oci::{Digest, Hasher};
use berth_storage::bucket::Bucket as _;
use berth_storage::{Key, ObjectStore, layout, list_all};
use bytes::Bytes;

use crate::bench::Bench;

/// How long it may take on a busy machine until a replica knows what another has deleted; by itself it would find out after
/// half a minute.
const NOTICED: Duration = Duration::from_secs(20);

/// Content of so many bytes that is nowhere the same.
fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        content.extend_from_slice(&(state >> 11).to_le_bytes());
    }
    content.truncate(bytes);
    content
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn an_upload_goes_on_at_any_replica_in_chunks_of_any_size() {
    let bench = Bench::start().await;
    for (algorithm, chunks) in [
        (berth_oci::Algorithm::Sha256, vec![1_000, 2_000_000, 11_000_000, 5, 7_000_000, 30_000_000]),
        (berth_oci::Algorithm::Sha512, vec![6_000_000; 5]),
        (berth_oci::Algorithm::Sha256, vec![300_000; 60]),
    ] {
        let whole = content(chunks.iter().sum());
        let digest = Digest::of(algorithm, &whole);
        let mut replica = bench.replica(|_| ()).await;
        let mut client = bench.client(&replica).await;
        let begun = client.post("/v2/team/app/blobs/uploads/", "").await.expect(202);
        let (mut location, mut offset) = (begun.header("location").to_owned(), 0);
        for (number, size) in chunks.iter().enumerate() {
            // Each chunk goes to another process, for some of which the one before is only just gone.
            if number % 3 != 2 {
                let next = bench.replica(|_| ()).await;
                replica.stop().await;
                replica = next;
                client = bench.client(&replica).await;
            }
            let path = location.split_once("/v2/").map_or(location.clone(), |(_, path)| format!("/v2/{path}"));
            let range = format!("{offset}-{}", offset + size - 1);
            let chunk = Bytes::copy_from_slice(&whole[offset..offset + size]);
            let sent = client.patch(&path, &[("content-range", &range)], chunk).await.expect(202);
            offset += size;
            assert_eq!(sent.header("range"), format!("0-{}", offset - 1));
            location = sent.header("location").to_owned();
        }
        let path = location.split_once("/v2/").map_or(location.clone(), |(_, path)| format!("/v2/{path}"));
        client.put(&format!("{path}&digest={digest}"), &[], "").await.expect(201);
        let answer = client.get(&format!("/v2/team/app/blobs/{digest}")).await.expect(200);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&answer.body);
        assert_eq!(hasher.finish(), digest);
        replica.stop().await;
    }
}

/// A client that got no answer sends the same again, to another replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_is_sent_again_to_another_replica_is_answered_by_what_is_there() {
    let bench = Bench::start().await;
    let (one, other) = (bench.replica(|_| ()).await, bench.replica(|_| ()).await);
    let (mut one, mut other) = (bench.client(&one).await, bench.client(&other).await);
    let path = |location: &str| format!("/v2/{}", location.split_once("/v2/").unwrap().1);
    let digest = Digest::sha256(b"hello world");
    let begun = one.post("/v2/team/app/blobs/uploads/", "").await.expect(202);
    let first = path(begun.header("location"));
    let sent = one.patch(&first, &[("content-range", "0-4")], "hello").await.expect(202);
    let refused = other.patch(&first, &[("content-range", "0-4")], "hello").await.expect(416);
    assert_eq!((refused.codes().as_str(), refused.header("range")), ("416 RANGE_INVALID", "0-4"));
    let whole = other.put(&format!("{first}&digest={digest}"), &[("content-range", "0-10")], "hello world").await;
    assert_eq!((whole.codes().as_str(), whole.header("range")), ("416 RANGE_INVALID", "0-4"));
    // At the acknowledged byte it is taken, by whichever replica, and the end is answered however often it comes.
    let end = format!("{}&digest={digest}", path(sent.header("location")));
    for client in [&mut other, &mut one] {
        client.put(&end, &[("content-range", "5-10")], " world").await.expect(201);
        client.put(&end, &[("content-range", "5-10")], " world").await.expect(201);
    }
    let store = ObjectStore::new(Arc::new(bench.bucket().await));
    let left = list_all(&store, &layout::uploads(&"team/app".parse().unwrap()), false).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// An error between a blob and its link, as well as a kill there, loses nothing: any replica finishes the upload once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn an_upload_whose_end_failed_is_finished_by_another_replica() {
    let bench = Bench::start().await;
    let bucket = bench.bucket().await;
    let (one, other) = (bench.replica(|_| ()).await, bench.replica(|_| ()).await);
    let (mut one, mut other) = (bench.client(&one).await, bench.client(&other).await);
    for chunks in [vec![content(1_000)], vec![content(11_000_000), content(6_000_000)]] {
        let (whole, digest) = (chunks.concat(), Digest::sha256(&chunks.concat()));
        let begun = one.post("/v2/team/app/blobs/uploads/", "").await.expect(202);
        let mut location = begun.header("location").to_owned();
        for chunk in chunks {
            location = one.patch(&location, &[], chunk).await.expect(202).header("location").to_owned();
        }
        // Where the directory of the link would be is a file.
        let link = layout::layer_link(&"team/app".parse().unwrap(), &digest);
        let obstacle: Key = link.as_str().strip_suffix("/link").unwrap().parse().unwrap();
        bucket.put(&obstacle, Bytes::new()).await.unwrap();
        let target = format!("{location}&digest={digest}");
        let failed = one.put(&target, &[], "").await;
        assert!(failed.status.is_server_error(), "{failed:?}");
        bucket.delete(&obstacle).await.unwrap();
        let path = target.split_once("/v2/").map(|(_, path)| format!("/v2/{path}")).unwrap();
        other.put(&path, &[], "").await.expect(201);
        assert!(one.get(&format!("/v2/team/app/blobs/{digest}")).await.expect(200).body == whole);
    }
    let store = ObjectStore::new(Arc::new(bucket));
    let left = list_all(&store, &layout::uploads(&"team/app".parse().unwrap()), false).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// What a replica has deleted, another gives out for no longer than half a minute, and a push does not build on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_push_does_not_build_on_what_another_replica_has_deleted() {
    let bench = Bench::start().await;
    let (one, other) = (bench.replica(|_| ()).await, bench.replica(|_| ()).await);
    let (mut one, mut other) = (bench.client(&one).await, bench.client(&other).await);
    let layer = one.push_blob("team/app", "a layer").await;
    one.push_blob("team/app", crate::support::config_of("v1")).await;
    other.delete(&format!("/v2/team/app/blobs/{layer}")).await.expect(202);
    let image = crate::support::Document::image("v1", &["a layer"]);
    let refused = one.push_manifest("team/app", "v1", &image).await;
    assert_eq!(refused.codes(), "400 MANIFEST_BLOB_UNKNOWN", "{refused:?}");
    one.get("/v2/team/app/manifests/v1").await.expect(404);
    other.get(&format!("/v2/team/app/manifests/{}", image.digest())).await.expect(404);
}

/// Both are asked all the time, and remember what they have seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_one_replica_deletes_is_gone_at_the_other_a_moment_later() {
    let bench = Bench::start().await;
    let (one, other) = (bench.replica(|_| ()).await, bench.replica(|_| ()).await);
    let (mut at_one, mut at_other) = (bench.client(&one).await, bench.client(&other).await);
    let image = at_one.push_image("team/app", "v1", &["layer"]).await;
    let (manifest, blob) = (
        format!("/v2/team/app/manifests/{}", image.digest()),
        format!("/v2/team/app/blobs/{}", Digest::sha256(b"layer")),
    );
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(2) {
        for target in [&manifest, &blob] {
            at_other.get(target).await.expect(200);
        }
    }
    at_one.delete(&manifest).await.expect(202);
    at_one.delete(&blob).await.expect(202);
    let deleted = Instant::now();
    for target in [&manifest, &blob] {
        while at_other.get(target).await.status == 200 {
            assert!(deleted.elapsed() < NOTICED, "{target} is served still");
        }
    }
    println!("noticed after {} ms", deleted.elapsed().as_millis());
}
