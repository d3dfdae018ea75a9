//! A store of whose requests a fifth fails: nothing that was acknowledged is lost or corrupt, and what a client is told of a
//! failure is an error of the API.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_oci::Digest;
use berth_stores::{Fault, Faults};
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};

use crate::bench::Bench;
use crate::support::{ACCEPT_ALL, Answer, Client, Document, config_of};

/// How many clients push and pull at once.
const CLIENTS: usize = 4;
/// How often a client goes on with an upload of which a chunk has failed.
const RESUMPTIONS: usize = 3;
const MIB: usize = 1 << 20;

/// How many pushes and pulls; `BERTH_ROUNDS` says otherwise.
fn rounds() -> usize {
    std::env::var("BERTH_ROUNDS").ok().map_or(150, |count| count.parse().unwrap())
}

/// The layer of a round: some kilobytes, and of every twentieth round so much that it is stored in parts.
fn layer(round: usize) -> String {
    let line = format!("layer {round} ");
    match round % 20 {
        19 => line.repeat(13 * MIB / line.len()),
        _ => line.repeat(1 + round % 500),
    }
}

fn blob(content: &str) -> String {
    format!("/v2/team/app/blobs/{}", Digest::sha256(content.as_bytes()))
}

async fn push_at_once(client: &mut Client, content: String) -> Answer {
    let target = format!("/v2/team/app/blobs/uploads/?digest={}", Digest::sha256(content.as_bytes()));
    client.post(&target, content).await
}

/// POST, two PATCH and PUT; a chunk that fails is sent again from the byte on that the upload has. The answer is the last,
/// or the first that is an error; beside it is how often the upload was gone on with.
async fn push_in_chunks(client: &mut Client, content: String) -> (Answer, usize) {
    let mut answer = client.post("/v2/team/app/blobs/uploads/", "").await;
    let (mut sent, mut resumptions) = (0, 0);
    let mut location = answer.header("location").to_owned();
    while answer.status == 202 && sent < content.len() {
        let end = if sent < content.len() / 2 { content.len() / 2 } else { content.len() };
        answer = client.patch(&location, &[], content[sent..end].to_owned()).await;
        if answer.status == 503 && resumptions < RESUMPTIONS {
            resumptions += 1;
            answer = client.get(&location).await;
            if answer.status != 204 {
                return (answer, resumptions);
            }
            answer.status = StatusCode::ACCEPTED;
        }
        if answer.status == 202 {
            let last: usize = answer.header("range").strip_prefix("0-").unwrap().parse().unwrap();
            // An upload of nothing says the same as one of a byte; no half here is one byte.
            sent = if last == 0 { 0 } else { last + 1 };
            location = answer.header("location").to_owned();
        }
    }
    if answer.status != 202 {
        return (answer, resumptions);
    }
    let finish = format!("{location}&digest={}", Digest::sha256(content.as_bytes()));
    (client.put(&finish, &[], "").await, resumptions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn what_was_acknowledged_is_there_although_a_fifth_of_the_requests_fails() {
    let bench = Bench::start().await;
    let replica = bench.replica(|config| config.health.storagedriver.enabled = false).await;
    let share = 0.199 / 6.0;
    let faults = [Fault::Error, Fault::SlowDown, Fault::Reset, Fault::Lost, Fault::Stall, Fault::Truncate]
        .into_iter()
        .fold(Faults::of_seed(7).share(Fault::Hang, 0.001), |faults, fault| faults.share(fault, share));
    bench.proxy.set_faults(faults.stall_for(Duration::from_millis(200)));
    let [next, failed, resumed, cut] = [const { AtomicUsize::new(0) }; 4];
    // The round of each, and its manifest.
    let acknowledged: Mutex<Vec<(usize, Document)>> = Mutex::default();
    let work = async || {
        let mut client = bench.client(&replica).await;
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds() {
                return;
            }
            let (tag, layer) = (format!("v{round}"), layer(round));
            let image = Document::image(&tag, &[&layer]);
            let mut is_pushed = true;
            for content in [config_of(&tag), layer] {
                // Of the large ones, half come in each way, too.
                let answer = match (round + round / 20) % 2 {
                    0 => push_at_once(&mut client, content).await,
                    _ => {
                        let (answer, resumptions) = push_in_chunks(&mut client, content).await;
                        resumed.fetch_add(resumptions, Ordering::Relaxed);
                        answer
                    }
                };
                if answer.status != 201 {
                    assert!(answer.codes().starts_with("503 UNAVAILABLE"), "{answer:?}");
                    is_pushed = false;
                }
            }
            let answer = client.push_manifest("team/app", &tag, &image).await;
            match answer.status.as_u16() {
                201 => acknowledged.lock().unwrap().push((round, image)),
                _ => {
                    assert!(!is_pushed || answer.codes().starts_with("503 UNAVAILABLE"), "{answer:?}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Whatever was pushed at some time before.
            let before =
                acknowledged.lock().unwrap().get(round * 7 / 10).map(|(round, image)| (*round, image.raw.clone()));
            let Some((before, raw)) = before else { continue };
            let content = self::layer(before);
            for (target, expected) in
                [(format!("/v2/team/app/manifests/v{before}"), raw), (blob(&content), content.into())]
            {
                match client.try_send(Method::GET, &target, &[("accept", ACCEPT_ALL)], Bytes::new()).await {
                    Ok(pulled) if pulled.status == 200 => assert!(pulled.body == expected, "{target}"),
                    Ok(pulled) => assert!(pulled.codes().starts_with("503 UNAVAILABLE"), "{pulled:?}"),
                    // Behind its beginning an answer has no other way to fail.
                    Err(_) => drop(cut.fetch_add(1, Ordering::Relaxed)),
                }
            }
        }
    };
    join_all((0..CLIENTS).map(|_| work())).await;
    let counts = bench.proxy.counts();
    let (broken, hung) = (counts.faults(), counts.of_fault(Fault::Hang));
    drop(counts);
    bench.proxy.set_faults(Faults::none());
    let acknowledged = acknowledged.into_inner().unwrap();
    let (failed, resumed, cut) = (failed.into_inner(), resumed.into_inner(), cut.into_inner());
    let whole = acknowledged.len();
    println!(
        "{whole} pushes acknowledged, {failed} failed, {resumed} uploads gone on with, {cut} pulls cut; {broken} requests broken, {hung} of them hung"
    );
    assert!(whole > rounds() / 2 && broken > 100);
    let fresh = bench.replica(|_| ()).await;
    let mut client = bench.client(&fresh).await;
    for (round, image) in acknowledged {
        assert!(client.get(&format!("/v2/team/app/manifests/v{round}")).await.expect(200).body == image.raw);
        let layer = layer(round);
        assert!(client.get(&blob(&layer)).await.expect(200).body == layer.as_bytes());
    }
}
