//! The driver on a store that behaves as others do that speak the protocol, and as the real one does at times.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use serde_json::json;

use super::fake::Fake;
use super::*;
use crate::bucket::{Listing, Start};

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
async fn a_token_that_lasts_longer_than_a_clock_can_say_does_not_end() {
    let fake = Fake::start().await;
    fake.state().lasts = Some(u64::MAX.to_string());
    let swift = fake.open().await;
    swift.put(&key("a"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(swift.head(&key("a")).await.unwrap().size, 1);
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
