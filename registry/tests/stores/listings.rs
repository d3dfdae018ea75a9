//! A page of the catalog and of tags costs the store the same whatever lies behind it.

use std::sync::Arc;

use berth_storage::bucket::Bucket as _;
use berth_storage::layout;
use futures::{StreamExt, stream};

use crate::bench::Bench;
use crate::support::Client;

const WRITES_AT_ONCE: usize = 32;

/// How many there are; `BERTH_MANY` says otherwise.
fn many() -> usize {
    std::env::var("BERTH_MANY").ok().map_or(2_000, |count| count.parse().unwrap())
}

async fn names(client: &mut Client, target: &str, field: &str) -> Vec<String> {
    let answer = client.get(target).await.expect(200).json();
    answer[field].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn the_price_of_a_page_does_not_depend_on_how_much_there_is() {
    let bench = Bench::start().await;
    let bucket = Arc::new(bench.bucket().await);
    // The looks of a health check are not what is counted.
    let replica = bench.replica(|config| config.health.storagedriver.enabled = false).await;
    let mut client = bench.client(&replica).await;
    let digest = berth_oci::Digest::sha256(b"{}");
    let mut prices = Vec::new();
    let (mut begun, all) = (0, many());
    for count in [all / 4, all] {
        let keys = (begun..count).flat_map(|n| {
            let namespace = if n % 2 == 0 { "org/" } else { "" };
            let repository = format!("{namespace}r{n:06}-app/_manifests/tags/v1/current/link");
            let tag = format!("many/_manifests/tags/1.{n:06}-rc.{}/current/link", n % 7);
            [repository, tag]
        });
        let writes = stream::iter(keys.map(|key| {
            let (bucket, digest) = (bucket.clone(), digest.clone());
            async move {
                let key = layout::repositories().join(&key).unwrap();
                bucket.put(&key, digest.to_string().into()).await.unwrap();
            }
        }));
        writes.buffer_unordered(WRITES_AT_ONCE).collect::<Vec<()>>().await;
        begun = count;
        let mut price = Vec::new();
        for (target, field, last) in [
            ("/v2/_catalog?n=100", "repositories", "many".to_owned()),
            ("/v2/_catalog?n=100&last=org/r000050-app", "repositories", "org/r000052-app".to_owned()),
            ("/v2/_catalog?n=100&last=r000051", "repositories", "r000051-app".to_owned()),
            ("/v2/many/tags/list?n=100", "tags", "1.000000-rc.0".to_owned()),
            ("/v2/many/tags/list?n=100&last=1.000049-rc.0", "tags", "1.000050-rc.1".to_owned()),
        ] {
            // A fresh process, which remembers nothing.
            let replica = bench.replica(|config| config.health.storagedriver.enabled = false).await;
            let mut client = bench.client(&replica).await;
            bench.proxy.forget_counts();
            let found = names(&mut client, target, field).await;
            price.push(bench.proxy.counts().total());
            assert_eq!(found[0], last, "{target}");
            assert!(found.is_sorted(), "{target}");
        }
        println!("{count} repositories and {count} tags: {price:?} requests to the store");
        prices.push(price);
    }
    let [few, many] = &prices[..] else { panic!("two rounds") };
    assert_eq!(few[3..], many[3..], "of tags");
    for (few, many) in few.iter().zip(many) {
        // A level whose names do not fit into one page of the store's is read on once.
        assert!(*many <= few + 3, "{few} {many}");
    }
    // What can be no name is behind the same names, and no store is asked for it.
    let long = "r".repeat(2000);
    for last in ["r%00", "r%C3%A9%EF%BF%BF", &long] {
        for target in ["/v2/_catalog", "/v2/many/tags/list"] {
            client.get(&format!("{target}?n=1&last={last}")).await.expect(200);
        }
    }
    let tags = joined(&mut client, "/v2/many/tags/list", "tags", 1000).await;
    assert_eq!(tags.len(), begun);
    // A page of the catalog is a look at each name, so not at all of very many.
    if begun <= 5_000 {
        let repositories = joined(&mut client, "/v2/_catalog", "repositories", 97).await;
        assert_eq!(repositories.len(), begun + 1, "and the one that has the tags");
    }
}

/// Every page, one behind the other, in their order.
async fn joined(client: &mut Client, path: &str, field: &str, page_names: usize) -> Vec<String> {
    let (mut all, mut target) = (Vec::new(), format!("{path}?n={page_names}"));
    loop {
        let page = names(client, &target, field).await;
        let is_last = page.len() < page_names;
        all.extend(page);
        assert!(all.is_sorted_by(|one, next| one < next), "{target}");
        if is_last {
            return all;
        }
        target = format!("{path}?n={page_names}&last={}", all.last().unwrap());
    }
}
