//! A store of whose requests a fifth fails: nothing that was acknowledged is lost or corrupt, and what a client is told of a
//! failure is an error of the API.

use berth_oci::Digest;
use berth_stores::{Fault, Faults};

use crate::bench::Bench;
use crate::support::{Answer, Client, Document, config_of};

/// How many pushes and pulls; `BERTH_ROUNDS` says otherwise.
fn rounds() -> usize {
    std::env::var("BERTH_ROUNDS").ok().map_or(150, |count| count.parse().unwrap())
}

async fn push_at_once(client: &mut Client, content: String) -> Answer {
    let target = format!("/v2/team/app/blobs/uploads/?digest={}", Digest::sha256(content.as_bytes()));
    client.post(&target, content).await
}

/// POST, two PATCH and PUT; the answer is the last, or the first that is an error.
async fn push_in_chunks(client: &mut Client, content: String) -> Answer {
    let mut answer = client.post("/v2/team/app/blobs/uploads/", "").await;
    let (first, second) = content.split_at(content.len() / 2);
    for chunk in [first, second] {
        if answer.status != 202 {
            return answer;
        }
        let location = answer.header("location").to_owned();
        answer = client.patch(&location, &[], chunk.to_owned()).await;
    }
    if answer.status != 202 {
        return answer;
    }
    let location = answer.header("location").to_owned();
    client.put(&format!("{location}&digest={}", Digest::sha256(content.as_bytes())), &[], "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_was_acknowledged_is_there_although_a_fifth_of_the_requests_fails() {
    let bench = Bench::start().await;
    let replica = bench.replica(|config| config.health.storagedriver.enabled = false).await;
    let mut client = bench.client(&replica).await;
    let share = 0.2 / 6.0;
    let faults = [Fault::Error, Fault::SlowDown, Fault::Reset, Fault::Lost, Fault::Stall, Fault::Truncate]
        .into_iter()
        .fold(Faults::of_seed(7), |faults, fault| faults.share(fault, share));
    bench.proxy.set_faults(faults.stall_for(std::time::Duration::from_millis(200)));
    let (mut acknowledged, mut failed) = (Vec::new(), 0);
    for round in 0..rounds() {
        let (tag, layer) = (format!("v{round}"), format!("layer {round} ").repeat(1 + round % 500));
        let image = Document::image(&tag, &[&layer]);
        let mut is_pushed = true;
        for content in [config_of(&tag), layer.clone()] {
            let answer = match round % 2 {
                0 => push_at_once(&mut client, content).await,
                _ => push_in_chunks(&mut client, content).await,
            };
            if answer.status != 201 {
                assert!(answer.codes().starts_with("503 UNAVAILABLE"), "{answer:?}");
                is_pushed = false;
            }
        }
        let answer = client.push_manifest("team/app", &tag, &image).await;
        match answer.status.as_u16() {
            201 => acknowledged.push((tag, layer, image)),
            _ => {
                assert!(!is_pushed || answer.codes().starts_with("503 UNAVAILABLE"), "{answer:?}");
                failed += 1;
            }
        }
        // Whatever was pushed at some time before.
        if let Some((tag, layer, image)) = acknowledged.get(round * 7 / 10) {
            let pulled = client.get(&format!("/v2/team/app/manifests/{tag}")).await;
            match pulled.status.as_u16() {
                200 => assert!(pulled.body == image.raw),
                _ => assert!(pulled.codes().starts_with("503 UNAVAILABLE"), "{pulled:?}"),
            }
            let pulled = client.get(&format!("/v2/team/app/blobs/{}", Digest::sha256(layer.as_bytes()))).await;
            match pulled.status.as_u16() {
                200 => assert!(pulled.body == layer.as_bytes()),
                _ => assert!(pulled.codes().starts_with("503 UNAVAILABLE"), "{pulled:?}"),
            }
        }
    }
    let broken = bench.proxy.counts().faults();
    bench.proxy.set_faults(Faults::none());
    println!("{} pushes acknowledged, {failed} failed; {broken} requests broken", acknowledged.len());
    assert!(acknowledged.len() > rounds() / 2 && broken > 100);
    let fresh = bench.replica(|_| ()).await;
    let mut client = bench.client(&fresh).await;
    for (tag, layer, image) in acknowledged {
        assert!(client.get(&format!("/v2/team/app/manifests/{tag}")).await.expect(200).body == image.raw);
        let blob = format!("/v2/team/app/blobs/{}", Digest::sha256(layer.as_bytes()));
        assert!(client.get(&blob).await.expect(200).body == layer.as_bytes());
    }
}
