//! Listings, page by page, however the pages fall.

use std::sync::Arc;

use berth_storage::Key;
use berth_storage::bucket::{Bucket, Listing, Start};

use super::put_all;
use crate::subject::{Subject, Verdict, key};

/// What a listing of one level, or of all, gives: objects as they are, directories with a slash at their end, in order.
async fn walk(bucket: &dyn Bucket, below: &str, one_level: bool, behind: Option<&str>, limit: usize) -> Vec<String> {
    let below = key(below);
    let (mut found, mut next): (Vec<String>, Option<String>) = (Vec::new(), None);
    for page in 0.. {
        assert!(page < 5000, "the pages do not end");
        let start = match (&next, behind) {
            (Some(next), _) => Start::Page(next),
            (None, Some(behind)) => Start::Behind(behind),
            (None, None) => Start::First,
        };
        let listed = bucket.list(Listing { below: &below, one_level, start, limit }).await.unwrap();
        assert!(listed.objects.len() + listed.directories.len() <= limit, "a page of more than {limit}");
        let mut entries: Vec<String> = listed.objects.into_iter().map(|(name, _)| name).collect();
        entries.extend(listed.directories.into_iter().map(|name| format!("{name}/")));
        // Each of the two is in order; merged they are as well, from page to page.
        entries.sort_unstable();
        if let (Some(last), Some(first)) = (found.last(), entries.first()) {
            assert!(last < first, "{first} comes after {last}");
        }
        found.extend(entries);
        next = listed.next;
        if next.is_none() {
            return found;
        }
    }
    unreachable!()
}

const KEYS: [&str; 12] = [
    "pages/r/a-b/_m/x",
    "pages/r/a.c/_m/x",
    "pages/r/a.c/_m/y",
    "pages/r/a/_m/x",
    "pages/r/a/b/_m/x",
    "pages/r/a/b/_m/y",
    "pages/r/a0/_m/x",
    "pages/r/b",
    "pages/r/c/1",
    "pages/r/c/2",
    "pages/r/d",
    "pages/s/other",
];
const ONE_LEVEL: [&str; 7] =
    ["pages/r/a-b/", "pages/r/a.c/", "pages/r/a/", "pages/r/a0/", "pages/r/b", "pages/r/c/", "pages/r/d"];

pub(super) async fn pages_join_without_loss(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    put_all(bucket, &KEYS.map(key)).await;
    for limit in [1, 2, 3, 100, 5000] {
        for (one_level, below, expected) in [
            (false, "pages/r", &KEYS[..11]),
            (true, "pages/r", &ONE_LEVEL),
            (true, "pages/r/a", &["pages/r/a/_m/", "pages/r/a/b/"]),
            (false, "pages/r/a", &KEYS[3..6]),
            (false, "pages/none", &[]),
            (true, "pages/r/b", &[]),
            (true, "pages/r/c", &["pages/r/c/1", "pages/r/c/2"]),
        ] {
            let found = walk(bucket, below, one_level, None, limit).await;
            assert_eq!(found, expected, "{below}, one level: {one_level}, pages of {limit}");
        }
    }
    Verdict::Passed
}

pub(super) async fn directories_at_the_borders_of_pages(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    // Directories with more in them than a page has entries, objects between them, and a name that goes on where a
    // directory ends.
    let mut keys = Vec::new();
    let mut expected = Vec::new();
    for directory in 0..6 {
        keys.extend((0..=directory * 2).map(|n| key(&format!("borders/d{directory}/{n}/x"))));
        expected.push(format!("borders/d{directory}/"));
        keys.push(key(&format!("borders/d{directory}x")));
        expected.push(format!("borders/d{directory}x"));
    }
    put_all(bucket, &keys).await;
    for limit in 1..=13 {
        assert_eq!(walk(bucket, "borders", true, None, limit).await, expected, "pages of {limit}");
    }
    Verdict::Passed
}

pub(super) async fn a_listing_begins_behind_a_name(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let keys: Vec<Key> = KEYS.iter().map(|at| key(&at.replacen("pages", "behind", 1))).collect();
    put_all(bucket, &keys).await;
    let one_level: Vec<String> = ONE_LEVEL.iter().map(|at| at.replacen("pages", "behind", 1)).collect();
    for limit in [1, 2, 3, 100] {
        for behind in
            ["a", "a-b", "a-b/", "a.", "a.c/", "a.c/_m/x", "a/", "a/b/", "a/b/_m/x", "a0/", "b", "b/", "c/1", "d", "zz"]
        {
            let text = format!("behind/r/{behind}");
            let expected: Vec<&String> = one_level.iter().filter(|name| **name > text).collect();
            let found = walk(bucket, "behind/r", true, Some(behind), limit).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "one level behind {behind}, pages of {limit}");
            let expected: Vec<&str> = keys.iter().map(Key::as_str).filter(|name| *name > text.as_str()).collect();
            let expected: Vec<&str> = expected.into_iter().filter(|name| name.starts_with("behind/r/")).collect();
            let found = walk(bucket, "behind/r", false, Some(behind), limit).await;
            assert_eq!(found, expected, "all behind {behind}, pages of {limit}");
        }
    }
    Verdict::Passed
}

pub(super) async fn thousands_of_keys(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let mut keys: Vec<Key> = (0..1234).map(|n| key(&format!("thousands/{:02}/{n:04}", n % 40))).collect();
    put_all(bucket, &keys).await;
    keys.sort();
    let names: Vec<&str> = keys.iter().map(Key::as_str).collect();
    for limit in [7, 1000, 10_000] {
        let found = walk(bucket, "thousands", false, None, limit).await;
        assert!(found == names, "{} of {} keys in pages of {limit}", found.len(), names.len());
        let found = walk(bucket, "thousands", true, None, limit).await;
        let directories: Vec<String> = (0..40).map(|n| format!("thousands/{n:02}/")).collect();
        assert_eq!(found, directories, "pages of {limit}");
    }
    // More than fit into one request of most stores.
    bucket.remove(&keys).await.unwrap();
    assert_eq!(walk(bucket, "thousands", false, None, 1000).await, Vec::<String>::new());
    Verdict::Passed
}
