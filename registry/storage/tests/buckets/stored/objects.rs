//! Objects: written, read, created once, listed and removed.

use berth_storage::{ByteRange, EntryKind, Key, ListRequest, StoreError, list_all, read_all};
use bytes::Bytes;
use futures::StreamExt;

use super::On;
use crate::cases::interrupted::drop_after;
use crate::cases::objects::ODD;
use crate::cases::{content, is_not_found};
use crate::subject::Verdict;

pub(super) async fn what_was_put_is_read_replaced_and_deleted(on: On) -> Verdict {
    let store = on.store();
    assert!(is_not_found(store.stat(&on.key("a/b")).await));
    assert!(is_not_found(store.get(&on.key("a/b"), None).await.map(|_| ())));
    assert!(is_not_found(store.delete(&on.key("a/b")).await));

    on.put("a/b", "one").await;
    assert_eq!(on.read("a/b").await, "one");
    assert_eq!(store.stat(&on.key("a/b")).await.unwrap().size, 3);
    assert!(is_not_found(store.stat(&on.key("a")).await), "a directory is no object");

    on.put("a/b", "three").await;
    assert_eq!(on.read("a/b").await, "three");
    store.copy(&on.key("a/b"), &on.key("c/d/e")).await.unwrap();
    on.put("empty", "").await;
    assert_eq!(on.read("empty").await, "");

    store.delete(&on.key("a/b")).await.unwrap();
    assert!(is_not_found(store.stat(&on.key("a/b")).await));
    assert_eq!(on.read("c/d/e").await, "three");
    assert!(is_not_found(store.copy(&on.key("a/b"), &on.key("x")).await));
    Verdict::Passed
}

pub(super) async fn a_range_gives_its_part_and_nothing_else(on: On) -> Verdict {
    // Longer than the buffers of every back end, and not a multiple of any.
    let content: Bytes = (0..1_500_001_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let (store, at, size) = (on.store(), on.key("o"), content.len() as u64);
    store.put(&at, content.clone()).await.unwrap();
    for (start, end) in [(0, size), (0, 1), (1, 2), (262_143, 262_145), (700_000, size), (size - 1, size + 10)] {
        let object = store.get(&at, Some(ByteRange { start, end })).await.unwrap();
        assert_eq!(object.stat.size, size);
        assert_eq!(object.range, ByteRange { start, end: end.min(size) });
        let pieces: Vec<Bytes> = object.body.map(Result::unwrap).collect().await;
        assert!(pieces.concat() == content[start as usize..end.min(size) as usize], "{start}..{end}");
    }
    let behind = store.get(&at, Some(ByteRange { start: size, end: size + 1 })).await;
    assert!(matches!(behind, Err(StoreError::Range { .. })));
    let too_large = read_all(store, &at, size - 1).await;
    assert!(matches!(too_large, Err(StoreError::TooLarge { .. })));
    Verdict::Passed
}

pub(super) async fn of_many_creators_one_wins(on: On) -> Verdict {
    if !on.stored.creates_atomically {
        return Verdict::Skipped("the store does not create atomically, and its driver says so".to_owned());
    }
    for round in 0..50 {
        let at = on.key(&format!("race/{round}/object"));
        let tries = (0..4_u8).map(|writer| {
            let (store, at) = (if writer % 2 == 0 { on.shared() } else { on.stored.other.clone() }, at.clone());
            tokio::spawn(async move { store.put_if_absent(&at, Bytes::from(vec![writer; 100])).await })
        });
        let mut won = Vec::new();
        for (writer, outcome) in futures::future::join_all(tries).await.into_iter().enumerate() {
            match outcome.unwrap() {
                Ok(()) => won.push(writer),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        let content = read_all(on.store(), &at, 1000).await.unwrap();
        assert_eq!(content, vec![won[0] as u8; 100]);
    }
    Verdict::Passed
}

pub(super) async fn what_lies_below_a_key_is_deleted_at_once(on: On) -> Verdict {
    let store = on.store();
    for at in ["d/a/b/c", "d/a/b/d/e", "d/a-b/c", "d/ab"] {
        on.put(at, "x").await;
    }
    assert_eq!(store.delete_below(&on.key("d/none")).await.unwrap(), 0);
    assert_eq!(store.delete_below(&on.key("d/ab")).await.unwrap(), 0, "an object is not below itself");
    let below = |directory: &std::path::Path| directory.join(on.key("d/a").as_str());
    if let Some(directory) = on.directory() {
        std::fs::create_dir_all(below(directory).join("b/empty/below")).unwrap();
    }
    assert_eq!(store.delete_below(&on.key("d/a")).await.unwrap(), 2);
    let left = list_all(store, &on.key("d"), false).await.unwrap();
    let left: Vec<String> = left.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(left, ["d/a-b/c", "d/ab"].map(|at| on.key(at).to_string()));
    assert!(on.directory().is_none_or(|directory| !below(directory).exists()));
    Verdict::Passed
}

pub(super) async fn listings_are_in_the_order_of_keys_and_pages_join_without_loss(on: On) -> Verdict {
    let keys = ["r/a-b/_m/x", "r/a.c/_m/x", "r/a/_m/x", "r/a/b/_m/x", "r/a/b/_m/y", "r/a0/_m/x", "r/b", "s/other"];
    for at in keys {
        on.put(at, "1").await;
    }
    for limit in [1, 2, 3, 100] {
        for (one_level, below, expected) in [
            (false, "r", &keys[..7]),
            (true, "r", &["r/a-b", "r/a.c", "r/a", "r/a0", "r/b"]),
            (true, "r/a", &["r/a/_m", "r/a/b"]),
            (false, "r/none", &[]),
            (true, "r/b", &[]),
        ] {
            let (below, mut found, mut after) = (on.key(below), Vec::new(), None);
            loop {
                let request = ListRequest { below: &below, behind: None, one_level, after: after.as_ref(), limit };
                let page = on.store().list(request).await.unwrap();
                assert!(page.entries.len() <= limit);
                found.extend(page.entries);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let names: Vec<String> = found.iter().map(|entry| entry.key.to_string()).collect();
            let expected: Vec<String> = expected.iter().map(|at| on.key(at).to_string()).collect();
            assert_eq!(names, expected, "{below} {one_level} {limit}");
            for entry in &found {
                let is_object = keys.iter().any(|at| on.key(at) == entry.key);
                assert_eq!(matches!(entry.kind, EntryKind::Object(stat) if stat.size == 1), is_object);
            }
        }
    }
    Verdict::Passed
}

pub(super) async fn a_writer_survives_the_removal_of_its_directory(on: On) -> Verdict {
    // A server on the other side of a socket takes some milliseconds for each, and has no directory that goes.
    let rounds = if on.directory().is_some() { 300 } else { 30 };
    let remover = {
        let (store, other) = (on.shared(), on.key("d/e/f/other"));
        tokio::spawn(async move {
            for _ in 0..rounds {
                store.put(&other, Bytes::from_static(b"x")).await.unwrap();
                store.delete(&other).await.unwrap();
            }
        })
    };
    let mine = on.key("d/e/f/mine");
    for round in 0..rounds {
        on.store().put(&mine, Bytes::from(format!("{round}"))).await.unwrap();
        assert_eq!(on.read("d/e/f/mine").await, format!("{round}"));
        on.store().delete(&mine).await.unwrap();
    }
    remover.await.unwrap();
    Verdict::Passed
}

pub(super) async fn names_of_any_kind_are_kept_and_listed(on: On) -> Verdict {
    let store = on.store();
    let keys: Vec<Key> = ODD.iter().map(|name| on.key(&format!("odd/{name}/also {name}"))).collect();
    for (seed, at) in keys.iter().enumerate() {
        store.put(at, content(seed, 50)).await.unwrap();
    }
    let listed = list_all(store, &on.key("odd"), false).await.unwrap();
    let listed: Vec<&Key> = listed.iter().map(|entry| &entry.key).collect();
    let mut expected: Vec<&Key> = keys.iter().collect();
    expected.sort_unstable_by_key(|key| key.as_str());
    assert_eq!(listed, expected);
    for (seed, at) in keys.iter().enumerate() {
        assert!(read_all(store, at, 100).await.unwrap() == content(seed, 50), "{at}");
        let copy = on.key(&format!("copies/{}", ODD[seed]));
        store.copy(at, &copy).await.unwrap();
        assert!(read_all(on.other(), &copy, 100).await.unwrap() == content(seed, 50), "{copy}");
    }
    assert_eq!(store.delete_below(&on.key("odd")).await.unwrap(), keys.len() as u64);
    for at in &keys {
        assert!(is_not_found(store.stat(at).await), "{at}");
    }
    Verdict::Passed
}

pub(super) async fn a_large_object_is_copied_and_read_in_ranges(on: On) -> Verdict {
    let whole = content(5, 24_000_001);
    let (store, from, to) = (on.store(), on.key("large/from"), on.key("large/to"));
    store.put(&from, whole.clone()).await.unwrap();
    store.copy(&from, &to).await.unwrap();
    store.delete(&from).await.unwrap();
    let size = whole.len() as u64;
    assert_eq!(on.other().stat(&to).await.unwrap().size, size);
    assert!(read_all(on.other(), &to, size).await.unwrap() == whole);
    for (start, end) in [(0, 1), (10_485_759, 10_485_761), (size - 1, size)] {
        let object = store.get(&to, Some(ByteRange { start, end })).await.unwrap();
        let pieces: Vec<Bytes> = object.body.map(Result::unwrap).collect().await;
        assert!(pieces.concat() == whole[start as usize..end as usize], "{start}..{end}");
    }
    Verdict::Passed
}

pub(super) async fn what_is_given_up_half_way_is_as_before_or_done(on: On) -> Verdict {
    let store = on.store();
    let (before, after) = (Bytes::from_static(b"before"), content(4, 3_000_000));
    for steps in 0..12 {
        let at = on.key(&format!("put-{steps}"));
        store.put(&at, before.clone()).await.unwrap();
        let is_done = drop_after(store.put(&at, after.clone()), steps).await;
        let found = read_all(store, &at, 1 << 30).await.unwrap();
        assert!(found == before && !is_done || found == after, "{} bytes after {steps} steps", found.len());
        // A reader that goes away takes nothing with it.
        let mut object = store.get(&at, None).await.unwrap();
        let first = object.body.next().await.unwrap().unwrap();
        drop(object);
        assert!(!first.is_empty() && (before.starts_with(&first) || after.starts_with(&first)));
    }
    Verdict::Passed
}
