//! Ten thousand repositories and tags, page by page, on every store: none is lost and none comes twice.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use berth_oci::{Digest, RepositoryName};
use berth_registry::gc::Guard;
use berth_registry::registry::{Permissions, Registry};
use berth_storage::{Filesystem, LockMode, Memory, Store, layout};
use support::Server;

const COUNT: usize = 10_000;
/// As many as are worth a request each.
const FEW: usize = 1_000;
const REPOSITORY: &str = "team/app";

/// Names that the order of keys would have otherwise, and many more.
fn names(count: usize) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["a", "a-b", "a/b", "ab"].map(str::to_owned).into();
    // Parents and children, and siblings that only a separator tells apart.
    names.extend((0..count).map(|n| match n % 5 {
        0 => format!("a/b/r{n}"),
        1 => format!("r{n}"),
        2 => format!("r{}/x", n - 1),
        3 => format!("r{}-x", n - 2),
        _ => format!("r{}.x", n - 3),
    }));
    names
}

fn tags(count: usize) -> BTreeSet<String> {
    let mut tags: BTreeSet<String> = ["a", "a-b", "a.b", "ab", "A", "_"].map(str::to_owned).into();
    tags.extend((0..count).map(|n| match n % 3 {
        0 => format!("v{n}"),
        1 => format!("v{}-rc", n - 1),
        _ => format!("v{}.0", n - 2),
    }));
    tags
}

/// What is to be listed, in its order.
fn expected(count: usize) -> (Vec<String>, Vec<String>) {
    let mut names = names(count);
    names.insert(REPOSITORY.to_owned());
    (names.into_iter().collect(), tags(count).into_iter().collect())
}

/// The link of a tag, for every name and every tag.
fn links(count: usize) -> Vec<(String, String)> {
    let digest = Digest::sha256(b"{}").to_string();
    let link = |name: &str, tag: &str| {
        let key = layout::tag_current_link(&name.parse().unwrap(), &tag.parse().unwrap());
        (key.to_string(), digest.clone())
    };
    let (names, tags) = (names(count), tags(count));
    names.iter().map(|name| link(name, "v1")).chain(tags.iter().map(|tag| link(REPOSITORY, tag))).collect()
}

/// Written past the store, whose every write is durable before the next.
fn fill(root: &Path, count: usize) {
    for (key, content) in links(count) {
        let path = root.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn on(store: Arc<impl Store + berth_storage::Exclude>) -> Registry {
    let permissions = Permissions { delete: false, read_only: false };
    Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions)
}

async fn all_names(registry: &Registry, limit: usize) -> Vec<String> {
    let (mut found, mut last): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let page = registry.catalog(limit, last.as_deref()).await.unwrap();
        found.extend(page.entries.iter().map(ToString::to_string));
        if !page.more {
            return found;
        }
        assert_eq!(page.entries.len(), limit);
        last = found.last().cloned();
    }
}

async fn all_tags(registry: &Registry, limit: usize) -> Vec<String> {
    let name: RepositoryName = REPOSITORY.parse().unwrap();
    let (mut found, mut last): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let page = registry.tags(&name, Some(limit), last.as_deref()).await.unwrap();
        found.extend(page.entries.iter().map(ToString::to_string));
        if !page.more {
            return found;
        }
        assert_eq!(page.entries.len(), limit);
        last = found.last().cloned();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_size_from_1_to_50_loses_and_repeats_none() {
    let memory = Arc::new(Memory::new());
    for (key, content) in links(COUNT) {
        memory.put(&key.parse().unwrap(), content.into()).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), COUNT);
    let filesystem = Arc::new(Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap());
    let (names, tags) = expected(COUNT);
    for (driver, registry) in [("inmemory", on(memory)), ("filesystem", on(filesystem))] {
        let begin = Instant::now();
        let first = registry.catalog(100, None).await.unwrap();
        assert_eq!((first.entries.len(), first.more), (100, true));
        println!("{driver}: the first page of 100 of {} repositories took {:?}", names.len(), begin.elapsed());
        let begin = Instant::now();
        let mut pages = 0;
        // All at once, as many clients do it: they share what is remembered, and none may notice.
        let listings = (1..=50).map(|limit| {
            let registry = &registry;
            async move { (limit, all_names(registry, limit).await, all_tags(registry, limit).await) }
        });
        for (limit, found_names, found_tags) in futures::future::join_all(listings).await {
            // Compared without printing ten thousand names.
            assert!(found_names == names, "{driver}: repositories in pages of {limit}");
            assert!(found_tags == tags, "{driver}: tags in pages of {limit}");
            pages += names.len().div_ceil(limit) + tags.len().div_ceil(limit);
        }
        println!("{driver}: {pages} pages of 1 to 50 took {:?}", begin.elapsed());
    }
}

/// The same over a socket, as a client does it: from one `Link` to the next.
#[tokio::test]
async fn the_links_lead_from_the_first_page_to_the_last() {
    let server = Server::start(false, |_| ()).await;
    fill(&server.directory.path().join("data"), FEW);
    let mut client = server.client().await;
    let (names, tags) = expected(FEW);
    let tag_list = format!("/v2/{REPOSITORY}/tags/list?n=333");
    for (begin, field, expected) in [
        ("/v2/_catalog", "repositories", &names),
        ("/v2/_catalog?n=333", "repositories", &names),
        ("/v2/_catalog?n=1000", "repositories", &names),
        (tag_list.as_str(), "tags", &tags),
    ] {
        let (mut found, mut target): (Vec<String>, String) = (Vec::new(), begin.to_owned());
        loop {
            let page = client.get(&target).await.expect(200);
            let entries = page.json()[field].as_array().unwrap().clone();
            found.extend(entries.iter().map(|entry| entry.as_str().unwrap().to_owned()));
            match page.header("link").strip_prefix('<').and_then(|link| link.split_once('>')) {
                Some((next, _)) => target = next.to_owned(),
                None => break,
            }
        }
        assert!(found == *expected, "{begin}");
    }
    server.running.stop().await;
}

#[tokio::test]
async fn a_repository_is_deleted_whole_and_emptied_ones_leave_the_catalog() {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |_| ()).await;
        let mut client = server.client().await;
        for name in ["a", "a-b", "a/b", "ab"] {
            client.push_image(name, "v1", &["one"]).await;
            client.push_image(name, "v2", &["one", "two"]).await;
        }
        let begun = client.post("/v2/a/blobs/uploads/", "").await.expect(202).header("location").to_owned();
        client.delete("/v2/a/").await.expect(202);
        for (target, code) in [
            ("/v2/a/tags/list", "404 NAME_UNKNOWN"),
            ("/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN"),
            (begun.as_str(), "404 BLOB_UPLOAD_UNKNOWN"),
        ] {
            assert_eq!(client.get(target).await.codes(), code, "{target}");
        }
        let blob = Digest::sha256(b"one");
        assert_eq!(client.head(&format!("/v2/a/blobs/{blob}")).await.status, 404);
        client.get(&format!("/v2/a/b/blobs/{blob}")).await.expect(200);
        assert_eq!(client.delete("/v2/a/").await.codes(), "404 NAME_UNKNOWN");
        let listed =
            async |client: &mut support::Client| client.get("/v2/_catalog").await.json()["repositories"].clone();
        assert_eq!(listed(&mut client).await, serde_json::json!(["a-b", "a/b", "ab"]));

        let tags = ["v1", "v2"];
        for tag in tags {
            let digest =
                client.get(&format!("/v2/ab/manifests/{tag}")).await.header("docker-content-digest").to_owned();
            assert!(listed(&mut client).await.as_array().unwrap().contains(&"ab".into()));
            client.delete(&format!("/v2/ab/manifests/{digest}")).await.expect(202);
        }
        assert_eq!(listed(&mut client).await, serde_json::json!(["a-b", "a/b"]));
        client.push_image("a", "v3", &["one"]).await;
        assert_eq!(listed(&mut client).await, serde_json::json!(["a", "a-b", "a/b"]));
        server.running.stop().await;
    }
    let server = Server::start(true, |config| config.storage.delete.enabled = false).await;
    let mut client = server.client().await;
    client.push_image("a", "v1", &["one"]).await;
    assert_eq!(client.delete("/v2/a/").await.codes(), "405 UNSUPPORTED");
    server.running.stop().await;
}
