//! The driver on a store that behaves as others do that speak the protocol, and as the real one does at times.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use berth_oci::Digest;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderValue;
use serde_json::json;

use super::fake::{Fake, Gate, PATIENCE};
use super::options::MIN_CHUNK_BYTES;
use super::*;
use crate::bucket::{Listing, Start};
use crate::store::Incoming;
use crate::{ObjectStore, Store};

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Everything below a key, page by page.
async fn all(swift: &Swift, below: &str, one_level: bool) -> Vec<String> {
    let (below, mut found, mut next) = (key(below), Vec::new(), None::<String>);
    loop {
        let start = next.as_deref().map_or(Start::First, Start::Page);
        let listed = swift.list(Listing { below: &below, one_level, start, limit: 1000 }).await.unwrap();
        found.extend(listed.objects.into_iter().map(|(name, _)| name));
        found.extend(listed.directories);
        next = listed.next;
        if next.is_none() {
            return found;
        }
    }
}

async fn read(swift: &Swift, at: &Key) -> Bytes {
    let object = swift.get(at, None).await.unwrap();
    object.body.try_collect::<Vec<Bytes>>().await.unwrap().concat().into()
}

async fn put_parts(swift: &Swift, at: &Key, parts: &[&'static str]) -> Assembly {
    let assembly = swift.begin_parts(at).await.unwrap();
    let mut tags = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        tags.push(swift.put_part(at, &assembly, index + 1, Bytes::from_static(part.as_bytes())).await.unwrap());
    }
    let size = parts.iter().map(|part| part.len() as u64).sum();
    swift.complete_parts(at, &assembly, tags, size).await.unwrap();
    assembly
}

/// What Ceph says of itself, whatever it gives.
fn ceph() -> serde_json::Value {
    json!({ "swift": { "version": "18.2.4", "container_listing_limit": 10_000 }, "slo": {} })
}

#[tokio::test]
async fn a_listing_does_not_end_at_a_page_that_the_store_has_cut_short() {
    for info in [Some(ceph()), None] {
        let fake = Fake::start().await;
        let names: Vec<String> = (0..25).map(|number| format!("r/{number:02}/x")).collect();
        {
            let mut state = fake.state();
            (state.info, state.page) = (info, 10);
            for name in &names {
                state.put(&format!("files/{name}"), "1", SystemTime::now());
            }
        }
        let swift = fake.open().await;
        fake.take_pages();
        assert_eq!(all(&swift, "r", false).await, names);
        assert_eq!(fake.take_pages(), 4, "the last is empty");
        assert_eq!(all(&swift, "r", true).await.len(), names.len());
        swift.remove(&[key("r/00/x")]).await.unwrap();
        assert_eq!(all(&swift, "r", false).await, names[1..]);
    }
}

#[tokio::test]
async fn a_store_that_fills_its_pages_is_not_asked_for_an_empty_one() {
    let fake = Fake::start().await;
    {
        let mut state = fake.state();
        let limits = json!({ "container_listing_limit": 10_000, "account_listing_limit": 10_000 });
        state.info = Some(json!({ "swift": limits, "slo": {} }));
        state.put("files/r/x", "1", SystemTime::now());
    }
    let swift = fake.open().await;
    fake.take_pages();
    assert_eq!(all(&swift, "r", false).await, ["r/x"]);
    assert_eq!(fake.take_pages(), 1);
}

#[tokio::test]
async fn a_repository_and_a_tag_with_any_name_are_listed() {
    let fake = Fake::start().await;
    let swift = fake.open().await;
    let names = ["r/x.berth-segments/_layers/link", "r/y/_manifests/tags/1.berth-segments/current/link"];
    for name in names {
        swift.put(&key(name), Bytes::from_static(b"sha256:1")).await.unwrap();
    }
    put_parts(&swift, &key("r/z/data"), &["one", "two"]).await;
    assert_eq!(read(&swift, &key("r/z/data")).await, "onetwo");
    assert_eq!(all(&swift, "r", false).await, [names[0], names[1], "r/z/data"]);
    assert_eq!(all(&swift, "r", true).await, ["r/x.berth-segments", "r/y", "r/z"]);
    assert_eq!(all(&swift, "r/y/_manifests/tags", true).await, ["r/y/_manifests/tags/1.berth-segments"]);
    assert_eq!(all(&swift, "r/z", true).await, ["r/z/data"]);
    swift.remove(&[key(names[0]), key(names[1]), key("r/z/data")]).await.unwrap();
    assert!(fake.names().is_empty());
}

#[tokio::test]
async fn segments_of_which_no_object_was_made_go_when_they_are_old() {
    let fake = Fake::start().await;
    let swift = fake.open().await;
    let (whole, replaced, missing) = (key("r/whole/data"), key("r/replaced/data"), key("r/missing/data"));
    put_parts(&swift, &whole, &["one", "two"]).await;
    for at in [&whole, &replaced, &missing] {
        let assembly = swift.begin_parts(at).await.unwrap();
        swift.put_part(at, &assembly, 1, Bytes::from_static(b"lost")).await.unwrap();
    }
    swift.put(&replaced, Bytes::from_static(b"small")).await.unwrap();
    let beside = swift.begin_parts(&key("r-beside/data")).await.unwrap();
    swift.put_part(&key("r-beside/data"), &beside, 1, Bytes::from_static(b"1")).await.unwrap();
    fake.state().put("files/r/x.berth-segments/_layers/link", "sha256:1", SystemTime::UNIX_EPOCH);

    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    fake.state().page = 2;
    assert_eq!(swift.remove_leftovers(&key("r"), now - hour).await.unwrap(), 0, "they may still be completed");
    assert_eq!(swift.remove_leftovers(&key("r"), now + hour).await.unwrap(), 3);
    assert_eq!(swift.remove_leftovers(&key("r"), now + hour).await.unwrap(), 0);
    assert_eq!(read(&swift, &whole).await, "onetwo");
    assert_eq!(read(&swift, &replaced).await, "small");
    let left = fake.names();
    assert_eq!(left.len(), 6, "{left:?}");
    assert!(left.iter().any(|name| name.starts_with("files/r-beside/.berth-segments/data/")), "{left:?}");
}

#[tokio::test]
async fn segments_stay_while_the_listing_has_an_object_that_no_server_finds() {
    let fake = Fake::start().await;
    let swift = fake.open().await;
    let at = key("r/data");
    let assembly = Assembly("0123456789abcdef0123456789abcdef".to_owned());
    let segment = segments::segment("files/r/data", &assembly, 1);
    fake.state().put(&segment, "1", SystemTime::UNIX_EPOCH);
    // The servers that have it are away.
    fake.state().hide("files/r/data");
    assert_eq!(swift.remove_leftovers(&key("r"), SystemTime::now()).await.unwrap(), 0);
    assert_eq!(fake.names(), [segment]);
    assert!(swift.head(&at).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_token_that_lasts_longer_than_a_clock_can_say_does_not_end() {
    let fake = Fake::start().await;
    fake.state().lasts = Some(u64::MAX.to_string());
    let swift = fake.open().await;
    swift.put(&key("a"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(read(&swift, &key("a")).await, "x");
}

#[tokio::test]
async fn a_key_of_temporary_addresses_that_others_replace_is_taken_up() {
    let fake = Fake::start().await;
    let set = |key: &'static str| {
        fake.state().container.insert("x-container-meta-temp-url-key", key.parse().unwrap());
    };
    fake.state().info = Some(json!({ "swift": { "version": "2.30.0" }, "tempurl": { "methods": ["GET"] } }));
    set("first");
    let swift = fake.open().await;
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let at = key("a");
    let address = || async { swift.inner.address(&at, end).await.unwrap().unwrap() };
    let first = address().await;
    set("second");
    assert_eq!(address().await, first, "the store is not asked each time");
    let aged = swift.inner.settled.load_full().unwrap().aged();
    swift.inner.settled.store(Some(Arc::new(aged)));
    assert_ne!(address().await, first);
}

#[test]
fn a_part_says_where_it_begins_and_how_long_the_whole_is() {
    let check = |text: &'static str, expected: Option<(u64, u64)>| {
        let headers: HeaderMap = [(CONTENT_RANGE, HeaderValue::from_static(text))].into_iter().collect();
        assert_eq!(part(&headers), expected, "{text}");
    };
    check("bytes 5-9/20", Some((5, 20)));
    check("bytes */20", Some((0, 20)));
    check("bytes 5-9/*", None);
    check("items 5-9/20", None);
}

#[tokio::test]
async fn names_are_those_of_docker_registry() {
    let check = async |prefix: &str, files: &str, segments: &str| {
        let options = SwiftOptions {
            auth_url: "http://swift.example/auth/v1.0".into(),
            username: "me".into(),
            password: Some("pass".into()),
            container: "images".into(),
            prefix: prefix.into(),
            ..SwiftOptions::default()
        };
        let Swift { inner } = Swift::open(options).await.unwrap();
        let key: Key = "docker/x".parse().unwrap();
        assert_eq!(inner.path(&inner.root.name(&key)), format!("/images/{files}/docker/x"));
        assert_eq!(inner.segments_root, segments);
    };
    check("", "files", "segments/").await;
    check("a", "a/files", "a/segments/").await;
    check("/a/b", "a/b/files", "a/b/segments/").await;
    check("a/", "a//files", "a//segments/").await;
}

#[tokio::test]
async fn a_part_is_copied_of_a_range() {
    let fake = Fake::start().await;
    let swift = fake.open().await;
    let (from, to) = (key("from"), key("to"));
    swift.put(&from, Bytes::from_static(b"one and two")).await.unwrap();
    let assembly = swift.begin_parts(&to).await.unwrap();
    let mut tags = Vec::new();
    for (number, range) in
        [(1, Some(ByteRange { start: 0, end: 4 })), (2, Some(ByteRange { start: 8, end: 11 })), (3, None)]
    {
        tags.push(swift.copy_part(&to, &assembly, number, &from, 11, range).await.unwrap());
    }
    swift.complete_parts(&to, &assembly, tags, 18).await.unwrap();
    assert_eq!(read(&swift, &to).await, "one twoone and two");
}

/// An object of so many segments, and a copy of it that is dropped as soon as as many requests are held up at the gate.
async fn drop_a_copy(fake: &Fake, gate: &Arc<Gate>, held_up: u32) -> (Swift, Key, Bytes) {
    let swift = fake.open().await;
    let (from, to) = (key("from"), key("to"));
    let content = Bytes::from(vec![7; 6 * usize::try_from(MIN_CHUNK_BYTES).unwrap()]);
    fake.state().put(&swift.inner.root.name(&from), content.clone(), SystemTime::now());
    fake.state().gate = Some(gate.clone());
    tokio::select! {
        copied = swift.copy(&from, &to) => panic!("{copied:?}"),
        () = gate.arrived(held_up) => {}
    }
    // Time for what is cleared away too early.
    for _ in 0..100 {
        swift.head(&from).await.unwrap();
    }
    gate.open();
    (swift, to, content)
}

async fn until(fake: &Fake, so: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so(&fake.names()) {
        assert!(Instant::now() < deadline, "{:?}", fake.names());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn segments_of_a_dropped_copy_go_though_no_listing_has_them_yet() {
    let fake = Fake::start().await;
    fake.state().unlisted = Some("files/.berth-segments/".into());
    let gate = Gate::new("x-copy-from");
    let (_swift, ..) = drop_a_copy(&fake, &gate, 4).await;
    // They are written after all, and removed.
    until(&fake, |_| {
        let removed = |line: &&String| line.starts_with("DELETE");
        fake.state().asked.iter().filter(removed).count() == 4
    })
    .await;
    assert_eq!(fake.names(), ["files/from"]);
}

#[tokio::test]
async fn a_copy_that_is_dropped_while_its_segments_become_an_object_is_whole() {
    let fake = Fake::start().await;
    let gate = Gate::new("multipart-manifest");
    let (swift, to, content) = drop_a_copy(&fake, &gate, 1).await;
    until(&fake, |names| names.len() == 8).await;
    assert_eq!(read(&swift, &to).await, content);
}

/// The same for a body that is written in parts, whose sender goes away when it has sent everything.
#[tokio::test]
async fn a_body_whose_sender_goes_away_while_its_parts_become_an_object_is_whole() {
    let fake = Fake::start().await;
    let swift = Arc::new(fake.open().await);
    let gate = Gate::new("multipart-manifest");
    fake.state().gate = Some(gate.clone());
    let (store, to) = (ObjectStore::new(swift.clone()), key("to"));
    let piece = Bytes::from(vec![7; usize::try_from(MIN_CHUNK_BYTES).unwrap()]);
    let content = piece.repeat(3);
    let digest = Digest::sha256(&content);
    let body = Incoming::new(stream::iter(vec![piece; 3]).map(Ok));
    tokio::select! {
        written = store.write(&to, &digest, body) => panic!("{written:?}"),
        () = gate.arrived(1) => {}
    }
    // Time for what is cleared away too early.
    for _ in 0..100 {
        swift.head(&to).await.unwrap_err();
    }
    gate.open();
    until(&fake, |names| names.len() == 4).await;
    assert_eq!(read(&swift, &to).await, content);
}

/// It says that it has begun, and what has come of it only at the end.
#[tokio::test]
async fn an_answer_that_breaks_off_is_no_success_and_the_parts_stay() {
    let fake = Fake::start().await;
    let swift = Arc::new(fake.open().await);
    let (store, to) = (ObjectStore::new(swift.clone()), key("to"));
    let piece = Bytes::from(vec![7; usize::try_from(MIN_CHUNK_BYTES).unwrap()]);
    let digest = Digest::sha256(&piece.repeat(3));
    let body = || Incoming::new(stream::iter(vec![piece.clone(); 3]).map(Ok));
    fake.state().breaks_off = true;
    let error = store.write(&to, &digest, body()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("has not said what has come of it"), "{error}");
    // The store may be making an object of them still.
    for _ in 0..100 {
        swift.head(&to).await.unwrap_err();
    }
    assert_eq!(fake.names().len(), 3);
    fake.state().breaks_off = false;
    store.write(&to, &digest, body()).await.unwrap();
    assert_eq!(read(&swift, &to).await, piece.repeat(3));
}

#[tokio::test]
async fn a_server_that_has_not_heard_of_an_object_does_not_cost_its_segments() {
    let fake = Fake::start().await;
    let swift = fake.open().await;
    let at = key("blobs/data");
    put_parts(&swift, &at, &["one", " and two"]).await;
    let name = swift.inner.root.name(&at);
    let before = fake.state().objects[&name].clone();
    fake.state().stale.insert(name, before);
    put_parts(&swift, &at, &["one and", " two"]).await;
    fake.state().stale.clear();
    assert_eq!(read(&swift, &at).await, "one and two");
}
