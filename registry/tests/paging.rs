//! Ten thousand repositories and tags, page by page, on every store and over a socket: none is lost and none comes twice.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use berth_oci::{Digest, RepositoryName, media_type};
use berth_registry::gc::Guard;
use berth_registry::registry::{Permissions, Registry};
use berth_storage::{Filesystem, LockMode, Memory, Store, layout};
use support::{Client, Document, Server};

/// How many there are beside the few that sort badly.
const COUNT: usize = 10_000;
const REPOSITORY: &str = "team/app";
/// How many fill a store at once.
const FILLERS: usize = 8;
/// How many tags one push may bring.
const TAGS_OF_A_PUSH: usize = 50;
/// The sizes that are asked for over a socket; each is a request for each page.
const OVER_A_SOCKET: [Option<usize>; 7] = [Some(1), Some(7), Some(10), Some(49), Some(50), Some(1000), None];

/// Names that the order of keys would have otherwise, and many more.
fn names() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["a", "a-b", "a/b", "ab", REPOSITORY].map(str::to_owned).into();
    // Parents and children, siblings that only a separator tells apart, and a way down with nothing on it.
    names.extend((0..COUNT).map(|n| match n % 8 {
        0 => format!("a/b/r{n}"),
        1 => format!("r{n}"),
        2 => format!("r{}/x", n - 1),
        3 => format!("r{}-x", n - 2),
        4 => format!("r{}.x", n - 3),
        5 => format!("r{}__x", n - 4),
        6 => format!("r{}/x/y-z/{n}", n - 5),
        _ => format!("deep/{}/c/d/e/f/g{n}", n % 100),
    }));
    assert_eq!(names.len(), COUNT + 5);
    names
}

/// Tags of every sign that a tag may have; capitals and underscores sort before small letters.
fn tags() -> BTreeSet<String> {
    let mut tags: BTreeSet<String> = ["a", "a-b", "a.b", "ab", "A", "_"].map(str::to_owned).into();
    tags.extend((0..COUNT).map(|n| match n % 6 {
        0 => format!("v{n}"),
        1 => format!("v{}-rc", n - 1),
        2 => format!("v{}.0", n - 2),
        3 => format!("v{}_0", n - 3),
        4 => format!("V{}", n - 4),
        _ => format!("_{n}.A-b__{}", "c".repeat(n % 100)),
    }));
    assert_eq!(tags.len(), COUNT + 6);
    tags
}

/// The link of a tag, for every name and every tag.
fn links() -> Vec<(String, String)> {
    let digest = Digest::sha256(b"{}").to_string();
    let link = |name: &str, tag: &str| {
        let key = layout::tag_current_link(&name.parse().unwrap(), &tag.parse().unwrap());
        (key.to_string(), digest.clone())
    };
    let (names, tags) = (names(), tags());
    let others = names.iter().filter(|name| *name != REPOSITORY);
    others.map(|name| link(name, "v0")).chain(tags.iter().map(|tag| link(REPOSITORY, tag))).collect()
}

/// Written past the store, whose every write is durable before the next.
fn fill_directory(root: &Path) {
    let links = links();
    std::thread::scope(|scope| {
        for part in links.chunks(links.len().div_ceil(FILLERS)) {
            scope.spawn(move || {
                for (key, content) in part {
                    let path = root.join(key);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, content).unwrap();
                }
            });
        }
    });
}

/// Pushed by several clients: an index of nothing needs nothing else.
async fn fill_by_pushes(server: &Server) {
    let index = &Document::index(media_type::OCI_INDEX, &[]);
    let (names, tags): (Vec<String>, Vec<String>) = (names().into_iter().collect(), tags().into_iter().collect());
    let by_tag = names.iter().filter(|name| *name != REPOSITORY).map(|name| (name.as_str(), "v0".to_owned()));
    let by_digest = tags.chunks(TAGS_OF_A_PUSH).map(|tags| {
        let query = tags.iter().map(|tag| format!("tag={tag}")).collect::<Vec<_>>().join("&");
        (REPOSITORY, format!("{}?{query}", index.digest()))
    });
    let pushes: Vec<(&str, String)> = by_tag.chain(by_digest).collect();
    let clients = pushes.chunks(pushes.len().div_ceil(FILLERS)).map(|part| async move {
        let mut client = server.client().await;
        for (name, reference) in part {
            client.push_manifest(name, reference, index).await.expect(201);
        }
    });
    futures::future::join_all(clients).await;
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

/// Every size of page from 1 to 50, without a socket.
async fn every_size(driver: &str, registry: &Registry) {
    let (names, tags): (Vec<String>, Vec<String>) = (names().into_iter().collect(), tags().into_iter().collect());
    let begin = Instant::now();
    let first = registry.catalog(100, None).await.unwrap();
    assert_eq!((first.entries.len(), first.more), (100, true));
    println!("{driver}: the first page of 100 of {} repositories took {:?}", names.len(), begin.elapsed());
    let begin = Instant::now();
    let mut pages = 0;
    // All at once, as many clients do it: they share what is remembered, and none may notice.
    let listings =
        (1..=50).map(|limit| async move { (limit, all_names(registry, limit).await, all_tags(registry, limit).await) });
    for (limit, found_names, found_tags) in futures::future::join_all(listings).await {
        // Compared without printing ten thousand names.
        assert!(found_names == names, "{driver}: repositories in pages of {limit}");
        assert!(found_tags == tags, "{driver}: tags in pages of {limit}");
        pages += names.len().div_ceil(limit) + tags.len().div_ceil(limit);
    }
    println!("{driver}: {pages} pages of 1 to 50 took {:?}", begin.elapsed());
}

/// A list that is asked for page by page.
#[derive(Clone, Copy)]
struct List {
    path: &'static str,
    field: &'static str,
}

const CATALOG: List = List { path: "/v2/_catalog", field: "repositories" };
const TAGS: List = List { path: "/v2/team/app/tags/list", field: "tags" };

/// The list from the first page to the last, as the links lead, and the number of pages. Without a limit, nothing is said
/// about the size of a page.
async fn listed(client: &mut Client, list: List, limit: Option<usize>) -> (Vec<String>, usize) {
    let List { path, field } = list;
    let mut target = limit.map_or_else(|| path.to_owned(), |limit| format!("{path}?n={limit}"));
    let (mut found, mut pages): (Vec<String>, usize) = (Vec::new(), 0);
    loop {
        let page = client.get(&target).await.expect(200);
        let entries = page.json()[field].as_array().unwrap().clone();
        found.extend(entries.iter().map(|entry| entry.as_str().unwrap().to_owned()));
        pages += 1;
        match page.header("link").strip_prefix('<').and_then(|link| link.split_once('>')) {
            None => return (found, pages),
            Some((next, rest)) => {
                assert_eq!(rest, "; rel=\"next\"");
                assert!(limit.is_none_or(|limit| entries.len() == limit), "a page before the last is full");
                next.clone_into(&mut target);
            }
        }
    }
}

/// Each size by a client of its own, all at once.
async fn over_a_socket(driver: &str, server: &Arc<Server>) {
    let begin = Instant::now();
    let expected = [(CATALOG, names()), (TAGS, tags())]
        .map(|(list, entries)| (list, Arc::new(entries.into_iter().collect::<Vec<String>>())));
    let listings =
        OVER_A_SOCKET.iter().flat_map(|limit| expected.clone().map(|(list, entries)| (*limit, list, entries)));
    let listings = listings.map(|(limit, list, entries)| {
        let server = server.clone();
        tokio::spawn(async move {
            let (found, pages) = listed(&mut server.client().await, list, limit).await;
            assert!(found == *entries, "{} in pages of {limit:?}", list.path);
            if let Some(limit) = limit {
                assert_eq!(pages, entries.len().div_ceil(limit), "{} in pages of {limit}", list.path);
            }
            pages
        })
    });
    let pages: usize = futures::future::join_all(listings).await.into_iter().map(Result::unwrap).sum();
    println!("{driver}: {pages} pages over a socket took {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_size_loses_and_repeats_none_in_a_directory() {
    let server = Arc::new(Server::start(false, |_| ()).await);
    let root = server.directory.path().join("data");
    fill_directory(&root);
    every_size("filesystem", &on(Arc::new(Filesystem::open(&root, 25, LockMode::Shared).unwrap()))).await;
    over_a_socket("filesystem", &server).await;
    Arc::into_inner(server).unwrap().running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_size_loses_and_repeats_none_in_memory() {
    let memory = Arc::new(Memory::new());
    for (key, content) in links() {
        memory.put(&key.parse().unwrap(), content.into()).await.unwrap();
    }
    every_size("inmemory", &on(memory)).await;
    let server = Arc::new(Server::start(true, |_| ()).await);
    fill_by_pushes(&server).await;
    over_a_socket("inmemory", &server).await;
    Arc::into_inner(server).unwrap().running.stop().await;
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
