//! Three replicas behind one address, each a process that is killed and started again while an image is pushed: nothing
//! that was acknowledged is lost, and no replica takes more memory than it may.
//!
//! Where a replica is killed is a number of bytes that have come to the Service, never a time.

mod content;
mod push;
mod replica;
mod service;

use std::sync::Arc;

use berth_oci::{Digest, media_type};
use berth_storage::{ObjectStore, layout, list_all};
use serde_json::json;

use self::content::Layer;
use self::push::{Pusher, Shape};
use self::service::{Kill, Service};
use crate::bench::Bench;
use crate::support::{Client, Document, config_of};

const REPLICAS: usize = 3;
const MIB: u64 = 1 << 20;
/// The most that a replica may ever have in memory.
const MAX_PEAK_BYTES: u64 = 128 * MIB;
const NAME: &str = "team/app";

/// How large the image is; `BERTH_IMAGE_MIB` says otherwise.
fn image_bytes() -> u64 {
    MIB * std::env::var("BERTH_IMAGE_MIB").ok().map_or(2048, |count| count.parse::<u64>().unwrap())
}

/// Pushes a layer for each shape at the same time, and an image of them; then pulls all of it.
async fn push_and_pull(bench: &Bench, service: &Arc<Service>, shapes: &[Shape], layer_bytes: u64) {
    let layers: Vec<Layer> = (0..shapes.len()).map(|number| Layer::new(number as u64, layer_bytes)).collect();
    let pushing = layers.iter().zip(shapes).map(|(layer, shape)| {
        let (service, layer, shape) = (service.clone(), layer.clone(), *shape);
        tokio::spawn(async move {
            let before = service.kills();
            let pushed = Pusher::new(service.address(), NAME).push(&layer, shape).await;
            let killed: Vec<usize> = service.kills().iter().zip(before).map(|(after, before)| after - before).collect();
            println!("{} MiB, {shape:?}: {pushed:?}; replicas killed meanwhile: {killed:?}", layer.bytes() / MIB);
            killed
        })
    });
    for killed in futures::future::join_all(pushing).await {
        assert!(killed.unwrap().iter().all(|count| *count > 0), "each replica was to be killed during each layer");
    }
    assert_eq!(service.kills_left(), 0);

    let mut client = Client::connect(service.address()).await;
    let config = config_of("v1");
    client.push_blob(NAME, config.clone()).await;
    let of = |kind: &str, digest: &Digest, size: u64| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size });
    let of_layers = layers.iter().map(|layer| of("layer.v1.tar", layer.digest(), layer.bytes()));
    let image = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_IMAGE,
        "config": of("config.v1+json", &Digest::sha256(config.as_bytes()), config.len() as u64),
        "layers": of_layers.collect::<Vec<_>>(),
    });
    let image = Document { media_type: media_type::OCI_IMAGE, raw: image.to_string().into() };
    client.push_manifest(NAME, "v1", &image).await.expect(201);
    assert!(client.get(&format!("/v2/{NAME}/manifests/v1")).await.expect(200).body == image.raw);
    for layer in &layers {
        let (size, digest) = push::pull(service.address(), NAME, layer.digest()).await;
        assert_eq!((size, &digest), (layer.bytes(), layer.digest()));
    }
    let store = ObjectStore::new(Arc::new(bench.bucket().await));
    let left = list_all(&store, &layout::repositories(), false).await.unwrap();
    let left: Vec<&str> =
        left.iter().map(|entry| entry.key.as_str()).filter(|key| key.contains("/_uploads/")).collect();
    assert!(left.is_empty(), "of finished uploads is left: {left:#?}");
}

/// The peaks of all processes, each under the limit.
fn check_memory(service: &Service) {
    for (number, peaks) in service.peaks().iter().enumerate() {
        let text: Vec<String> = peaks.iter().map(|peak| format!("{:.1}", *peak as f64 / MIB as f64)).collect();
        println!("replica {number}: {} processes, their peaks in MiB: {}", peaks.len(), text.join(" "));
        assert!(peaks.iter().all(|peak| *peak < MAX_PEAK_BYTES), "replica {number} took {text:?} MiB");
    }
}

/// As Docker pushes: all layers at once, but in chunks, so that any replica gets any of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn an_image_in_chunks_arrives_although_every_replica_is_killed() {
    let bench = Bench::start().await;
    // From chunks that are smaller than what the store takes as a part to some that are several.
    let shapes = [5_000_000, 8 * MIB, 20 * MIB, 32 * MIB].map(Shape::Chunks);
    let layer_bytes = image_bytes() / shapes.len() as u64;
    // Each replica three times, in the first three quarters of what comes: whose turn it is still gets some of the
    // rest.
    let count = 3 * REPLICAS as u64;
    let kill = |number: u64| Kill {
        replica: Some(number as usize % REPLICAS),
        at: image_bytes() * (number + 1) / (count + 4),
    };
    let service = Service::start(&bench, REPLICAS, (0..count).map(kill)).await;
    push_and_pull(&bench, &service, &shapes, layer_bytes).await;
    check_memory(&service);
}

/// As most clients push: a layer in one request whose length nobody is told, and which breaks off in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn a_layer_in_one_request_goes_on_where_it_was_cut() {
    let bench = Bench::start().await;
    let layer_bytes = image_bytes() / 4;
    // Whoever has it, which is another one each time.
    let count = REPLICAS as u64;
    let kill = |number: u64| Kill { replica: None, at: layer_bytes * (number + 1) / (count + 1) };
    let service = Service::start(&bench, REPLICAS, (0..count).map(kill)).await;
    push_and_pull(&bench, &service, &[Shape::Stream], layer_bytes).await;
    check_memory(&service);
}
