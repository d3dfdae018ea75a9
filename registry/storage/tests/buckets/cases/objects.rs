//! Single objects: written, read, replaced, created and deleted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_storage::bucket::{Listing, Start};
use berth_storage::{ByteRange, Key, StoreError};
use bytes::Bytes;
use futures::TryStreamExt;

use super::{content, is_not_found, put_all, read};
use crate::subject::{Subject, Verdict, key};

pub(super) async fn what_was_put_is_there_until_it_is_deleted(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("basics/a/b");
    bucket.check().await.unwrap();
    assert!(is_not_found(bucket.head(&at).await));
    bucket.put(&at, Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(read(bucket, &at).await, "one");
    let stat = bucket.head(&at).await.unwrap();
    assert_eq!(stat.size, 3);
    // The clocks of a store and of this machine differ, but not by days.
    let age = SystemTime::now().duration_since(stat.modified).unwrap_or_else(|ahead| ahead.duration());
    assert!(age < Duration::from_secs(36 * 3600), "{stat:?}");
    let opened = bucket.get(&at, None).await.unwrap();
    assert_eq!((opened.stat.size, opened.range), (3, ByteRange { start: 0, end: 3 }));
    assert!(is_not_found(bucket.head(&key("basics/a")).await), "a directory is no object");
    bucket.delete(&at).await.unwrap();
    assert!(is_not_found(bucket.head(&at).await));
    assert!(is_not_found(bucket.get(&at, None).await.map(drop)));
    Verdict::Passed
}

pub(super) async fn overwrites_are_visible_at_once(subject: Arc<Subject>) -> Verdict {
    let (bucket, other) = (subject.bucket.as_ref(), subject.other.as_ref());
    let (below, at) = (key("overwrites"), key("overwrites/object"));
    for round in 0..20 {
        let written = content(round, 1000 + round);
        bucket.put(&at, written.clone()).await.unwrap();
        assert_eq!(other.head(&at).await.unwrap().size, written.len() as u64);
        assert!(read(other, &at).await == written, "round {round}");
        let listing = Listing { below: &below, one_level: false, start: Start::First, limit: 10 };
        let listed = other.list(listing).await.unwrap();
        let sizes: Vec<u64> = listed.objects.iter().map(|(_, stat)| stat.size).collect();
        assert_eq!(sizes, [written.len() as u64], "round {round}");
    }
    Verdict::Passed
}

pub(super) async fn an_empty_object(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("empty/object");
    bucket.put(&at, Bytes::new()).await.unwrap();
    assert_eq!(bucket.head(&at).await.unwrap().size, 0);
    assert_eq!(read(bucket, &at).await, "");
    let behind = bucket.get(&at, Some(ByteRange { start: 0, end: 1 })).await.map(drop);
    assert!(matches!(behind, Err(StoreError::Range { start: 0, size: 0, .. })), "{behind:?}");
    bucket.copy(&at, &key("empty/copy")).await.unwrap();
    assert_eq!(bucket.head(&key("empty/copy")).await.unwrap().size, 0);
    Verdict::Passed
}

pub(super) async fn ranges(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("ranges/object");
    let whole = content(1, 1_500_001);
    let size = whole.len() as u64;
    bucket.put(&at, whole.clone()).await.unwrap();
    for (start, end) in [(0, size), (0, 1), (1, 2), (262_143, 262_145), (700_000, size), (size - 1, size + 10)] {
        let object = bucket.get(&at, Some(ByteRange { start, end })).await.unwrap();
        assert_eq!(object.stat.size, size, "{start}..{end}");
        assert_eq!(object.range, ByteRange { start, end: end.min(size) });
        let read = object.body.try_collect::<Vec<Bytes>>().await.unwrap().concat();
        assert!(read == whole[start as usize..end.min(size) as usize], "{start}..{end}");
    }
    for (start, end) in [(size, size + 1), (size + 5, size + 6), (u64::MAX - 1, u64::MAX), (7, 7)] {
        let outside = bucket.get(&at, Some(ByteRange { start, end })).await.map(drop);
        assert!(matches!(outside, Err(StoreError::Range { size: 1_500_001, .. })), "{start}..{end}: {outside:?}");
    }
    assert!(is_not_found(bucket.get(&key("ranges/none"), Some(ByteRange { start: 1, end: 2 })).await.map(drop)));
    Verdict::Passed
}

pub(super) async fn nothing_is_there(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let (none, other) = (key("nothing/none"), key("nothing/other"));
    assert!(is_not_found(bucket.head(&none).await));
    assert!(is_not_found(bucket.get(&none, None).await.map(drop)));
    assert!(is_not_found(bucket.delete(&none).await));
    assert!(is_not_found(bucket.copy(&none, &other).await));
    assert!(is_not_found(bucket.head(&other).await));
    bucket.remove(&[]).await.unwrap();
    bucket.remove(&[none, other]).await.unwrap();
    for one_level in [false, true] {
        let below = key("nothing");
        let listed = bucket.list(Listing { below: &below, one_level, start: Start::First, limit: 10 }).await.unwrap();
        assert!(listed.objects.is_empty() && listed.directories.is_empty(), "{listed:?}");
    }
    Verdict::Passed
}

pub(super) async fn created_once(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("created/object");
    bucket.create(&at, Bytes::from_static(b"first")).await.unwrap();
    let again = bucket.create(&at, Bytes::from_static(b"second")).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    assert_eq!(read(bucket, &at).await, "first");
    bucket.delete(&at).await.unwrap();
    bucket.create(&at, Bytes::from_static(b"third")).await.unwrap();
    assert_eq!(read(bucket, &at).await, "third");
    Verdict::Passed
}

pub(super) async fn of_many_creators_one_wins(subject: Arc<Subject>) -> Verdict {
    if !subject.bucket.abilities().creates_atomically {
        return Verdict::Skipped("the store does not create atomically, and its driver says so".to_owned());
    }
    for round in 0..50 {
        let at = key(&format!("race/{round}/object"));
        let tries = (0..8_usize).map(|writer| {
            let bucket = if writer % 2 == 0 { subject.bucket.clone() } else { subject.other.clone() };
            let at = at.clone();
            tokio::spawn(async move { bucket.create(&at, content(writer, 100)).await })
        });
        let mut won = Vec::new();
        for (writer, outcome) in futures::future::join_all(tries).await.into_iter().enumerate() {
            match outcome.unwrap() {
                Ok(()) => won.push(writer),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        assert!(read(subject.bucket.as_ref(), &at).await == content(won[0], 100), "round {round}");
    }
    Verdict::Passed
}

/// Names that some way of writing them in addresses, headers or documents would change.
pub(crate) const ODD: [&str; 19] = [
    "with space",
    " space before and behind ",
    "plus+and%2Bplus",
    "percent%",
    "percent%20encoded%2Fslash",
    "tilde~",
    "'single' and \"double\"",
    "unicode-äöü-€-漢字-🦀",
    "a=b&c=d?e#f",
    "semi;colon,comma:colon",
    "brackets[]{}()<>",
    "at@dollar$exclamation!star*",
    "pipe|caret^backtick`",
    "dots..in...it",
    ".begins-with-a-dot",
    "_begins_with_a_line",
    "ends-with-a-dot.",
    "UPPER and lower",
    "amp&amp;lt&lt;",
];

pub(super) async fn odd_keys(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let below = key("odd");
    let keys: Vec<Key> = ODD.iter().map(|name| key(&format!("odd/{name}/also {name}"))).collect();
    for (seed, at) in keys.iter().enumerate() {
        bucket.put(at, content(seed, 50)).await.unwrap();
    }
    for (seed, at) in keys.iter().enumerate() {
        assert!(read(bucket, at).await == content(seed, 50), "{at}");
        assert_eq!(bucket.head(at).await.unwrap().size, 50, "{at}");
    }
    let listed =
        bucket.list(Listing { below: &below, one_level: false, start: Start::First, limit: 100 }).await.unwrap();
    let mut expected: Vec<&str> = keys.iter().map(Key::as_str).collect();
    expected.sort_unstable();
    let found: Vec<&str> = listed.objects.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(found, expected);
    let listed =
        bucket.list(Listing { below: &below, one_level: true, start: Start::First, limit: 100 }).await.unwrap();
    let mut expected: Vec<String> = ODD.iter().map(|name| format!("odd/{name}/")).collect();
    expected.sort_unstable();
    let found: Vec<String> = listed.directories.iter().map(|name| format!("{name}/")).collect();
    assert_eq!(found, expected);
    // What lies below an odd name, and behind one.
    for (number, name) in ODD.iter().enumerate() {
        let (below, start) = (key(&format!("odd/{name}")), Start::Behind("also"));
        let listed = bucket.list(Listing { below: &below, one_level: false, start, limit: 100 }).await.unwrap();
        let found: Vec<&str> = listed.objects.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, [keys[number].as_str()]);
    }
    for (seed, at) in keys.iter().enumerate() {
        let to = key(&format!("odd-copies/{}", ODD[seed]));
        bucket.copy(at, &to).await.unwrap();
        assert!(read(bucket, &to).await == content(seed, 50), "{to}");
        bucket.delete(&to).await.unwrap();
        assert!(is_not_found(bucket.head(&to).await), "{to}");
    }
    bucket.remove(&keys).await.unwrap();
    for at in &keys {
        assert!(is_not_found(bucket.head(at).await), "{at}");
    }
    Verdict::Passed
}

pub(super) async fn long_keys(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let part = "p".repeat(199);
    let text = format!("long/{part}/{part}/{part}/{part}/");
    let keys: Vec<Key> = (0..3).map(|n| key(&format!("{text}{n}{}", "x".repeat(899 - text.len())))).collect();
    for (seed, at) in keys.iter().enumerate() {
        assert_eq!(at.as_str().len(), 900);
        bucket.put(at, content(seed, 10)).await.unwrap();
        assert!(read(bucket, at).await == content(seed, 10));
    }
    let (below, mut start, mut found) = (key("long"), Start::First, Vec::new());
    let mut next;
    loop {
        let listed = bucket.list(Listing { below: &below, one_level: false, start, limit: 1 }).await.unwrap();
        found.extend(listed.objects.into_iter().map(|(name, _)| name));
        next = listed.next;
        match &next {
            Some(next) => start = Start::Page(next),
            None => break,
        }
    }
    assert_eq!(found, keys.iter().map(Key::to_string).collect::<Vec<_>>());
    bucket.remove(&keys).await.unwrap();
    assert!(is_not_found(bucket.head(&keys[0]).await));
    Verdict::Passed
}

pub(super) async fn a_key_beside_a_directory(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let (above, below) = (key("beside/a"), key("beside/a/b"));
    bucket.put(&above, Bytes::from_static(b"above")).await.unwrap();
    bucket.put(&below, Bytes::from_static(b"below")).await.unwrap();
    assert_eq!(read(bucket, &above).await, "above");
    assert_eq!(read(bucket, &below).await, "below");
    let at = key("beside");
    let listed = bucket.list(Listing { below: &at, one_level: true, start: Start::First, limit: 10 }).await.unwrap();
    assert_eq!(listed.objects.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["beside/a"]);
    assert_eq!(listed.directories, ["beside/a"]);
    bucket.delete(&above).await.unwrap();
    assert_eq!(read(bucket, &below).await, "below");
    Verdict::Passed
}

pub(super) async fn many_are_removed(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let keys: Vec<Key> = (0..30).map(|n| key(&format!("removed/{n}"))).collect();
    put_all(bucket, &keys[..20]).await;
    // Those that are not there count as removed, and what is not named stays.
    bucket.remove(&keys[1..]).await.unwrap();
    assert_eq!(bucket.head(&keys[0]).await.unwrap().size, 1);
    for gone in &keys[1..20] {
        assert!(is_not_found(bucket.head(gone).await), "{gone}");
    }
    Verdict::Passed
}
