//! How many requests the store gets for one of a client.

use berth_oci::Digest;
use berth_storage::bucket::Bucket as _;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;

use crate::bench::Bench;
use crate::support::{Client, Document, config_of};

/// A quarter of what Distribution 3.1.2 asks for a push of ten layers, a configuration and a manifest: 303.
const MAX_PUSH: u64 = 75;

/// A push as most clients do it: POST, PATCH and PUT for each blob.
async fn push(client: &mut Client, name: &str, content: &[u8]) {
    let begun = client.post(&format!("/v2/{name}/blobs/uploads/"), "").await.expect(202);
    let sent = client.patch(begun.header("location"), &[], content.to_vec()).await.expect(202);
    let location = format!("{}&digest={}", sent.header("location"), Digest::sha256(content));
    client.put(&location, &[], "").await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_is_warm_costs_next_to_nothing_and_a_push_little() {
    let bench = Bench::start().await;
    // The looks of the health check are not what is counted.
    let replica = bench.replica(|config| config.health.storagedriver.enabled = false).await;
    let mut client = bench.client(&replica).await;
    let counted = |what: &str| {
        let counts = bench.proxy.counts();
        println!("{what}: {} requests to the store ({counts:?})", counts.total());
        bench.proxy.forget_counts();
        counts.total()
    };
    let layers: Vec<String> = (0..10).map(|layer| format!("layer {layer} ").repeat(5000)).collect();
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let image = Document::image("v1", &layers);
    // A repository of more links than a page of a listing has.
    let bucket = bench.bucket().await;
    let planted = stream::iter(0..2_500).map(|number: u32| {
        let digest = Digest::sha256(number.to_string().as_bytes());
        let link = format!("docker/registry/v2/repositories/team/large/_layers/sha256/{}/link", digest.hex());
        let bucket = &bucket;
        async move { bucket.put(&link.parse().unwrap(), digest.to_string().into()).await }
    });
    planted.buffer_unordered(8).try_collect::<Vec<_>>().await.unwrap();
    for name in ["team/app", "team/large"] {
        // None of the blobs is there.
        let tag = name.trim_start_matches("team/");
        let layers: Vec<String> = layers.iter().map(|layer| format!("{tag} {layer}")).collect();
        let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
        bench.proxy.forget_counts();
        push(&mut client, name, config_of(tag).as_bytes()).await;
        for layer in &layers {
            push(&mut client, name, layer.as_bytes()).await;
        }
        client.push_manifest(name, tag, &Document::image(tag, &layers)).await.expect(201);
        let pushed = counted(&format!("a push of ten layers, a configuration and a manifest to {name}"));
        assert!(pushed <= MAX_PUSH, "{name}: {pushed}");
    }
    client.push_image("team/app", "v1", &layers).await;

    let digest = image.digest();
    let (by_tag, by_digest) = ("/v2/team/app/manifests/v1", format!("/v2/team/app/manifests/{digest}"));
    let blob = format!("/v2/team/app/blobs/{}", Digest::sha256(layers[0].as_bytes()));
    let large: Bytes = vec![7; 3 << 20].into();
    let large_digest = client.push_blob("team/app", large.clone()).await;
    let large_blob = format!("/v2/team/app/blobs/{large_digest}");
    client.get(&by_digest).await.expect(200);
    bench.proxy.forget_counts();
    for _ in 0..10 {
        client.get(&by_digest).await.expect(200);
        client.head(&by_digest).await.expect(200);
    }
    assert_eq!(counted("ten manifests by digest"), 0);
    for _ in 0..10 {
        client.get(by_tag).await.expect(200);
    }
    assert!(counted("ten manifests by tag") <= 10);
    for _ in 0..10 {
        client.head(&large_blob).await.expect(200);
        assert!(client.get(&large_blob).await.expect(200).body == large);
    }
    assert!(counted("ten blobs of 3 MiB") <= 10);
    for _ in 0..10 {
        client.get(&blob).await.expect(200);
    }
    assert!(counted("ten small blobs") <= 10);

    let redirecting = bench
        .replica(|config| {
            config.storage.redirect.disable = false;
            config.health.storagedriver.enabled = false;
        })
        .await;
    let mut client = bench.client(&redirecting).await;
    let address = client.get(&large_blob).await.expect(307).header("location").to_owned();
    bench.proxy.forget_counts();
    for _ in 0..10 {
        client.send(Method::GET, &large_blob, &[], Bytes::new()).await.expect(307);
    }
    assert_eq!(counted("ten redirects"), 0);
    // The address is good for anybody.
    let at = bench.proxy.address().into();
    let path = address.strip_prefix(&bench.proxy.endpoint()).unwrap();
    assert!(Client::connect(at).await.get(path).await.expect(200).body == large);
}
