//! What every back end must do, run against every back end.
//!
//! A new back end adds one line to [`stores`].

#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "helpers of tests")]

mod uploads;

use std::sync::Arc;

use berth_storage::bucket::Abilities;
use berth_storage::layers::{Shelf, ShelfOptions};
use berth_storage::{
    ByteRange, EntryKind, Exclude, Filesystem, Key, ListRequest, LockMode, Memory, ObjectStore, Store, StoreError,
    list_all, read_all,
};
use bytes::Bytes;
use futures::StreamExt;

/// A store, and the directory that it must not outlive.
struct Case {
    store: Arc<dyn Store>,
    directory: Option<tempfile::TempDir>,
}

fn stores() -> Vec<Case> {
    let directory = tempfile::tempdir().unwrap();
    let filesystem = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    vec![
        Case { store: Arc::new(Memory::new()), directory: None },
        Case { store: Arc::new(filesystem), directory: Some(directory) },
        Case { store: Arc::new(ObjectStore::new(Arc::new(Shelf::new(shelf(true))))), directory: None },
        Case { store: Arc::new(ObjectStore::new(Arc::new(Shelf::new(shelf(false))))), directory: None },
    ]
}

/// A bucket in memory, able to do everything or only the least; that one of several creators wins is asked of every store.
/// What each driver does on a real server is tried in `tests/buckets`.
fn shelf(is_able: bool) -> ShelfOptions {
    let options = ShelfOptions::default();
    let abilities =
        Abilities { removes_many: is_able, copies_parts: is_able, lists_from_anywhere: is_able, ..options.abilities };
    ShelfOptions { abilities, max_page: if is_able { options.max_page } else { 3 }, ..options }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

async fn read(store: &dyn Store, at: &str) -> Bytes {
    read_all(store, &key(at), 1 << 30).await.unwrap()
}

fn is_not_found<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::NotFound { .. }))
}

#[tokio::test]
async fn what_was_put_is_read_replaced_and_deleted() {
    for Case { store, directory: _directory } in stores() {
        let store = store.as_ref();
        assert!(is_not_found(store.stat(&key("a/b")).await));
        assert!(is_not_found(store.get(&key("a/b"), None).await.map(|_| ())));
        assert!(is_not_found(store.delete(&key("a/b")).await));

        store.put(&key("a/b"), Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(read(store, "a/b").await, "one");
        assert_eq!(store.stat(&key("a/b")).await.unwrap().size, 3);
        assert!(is_not_found(store.stat(&key("a")).await), "a directory is no object");

        store.put(&key("a/b"), Bytes::from_static(b"three")).await.unwrap();
        assert_eq!(read(store, "a/b").await, "three");
        store.copy(&key("a/b"), &key("c/d/e")).await.unwrap();
        store.put(&key("empty"), Bytes::new()).await.unwrap();
        assert_eq!(read(store, "empty").await, "");

        store.delete(&key("a/b")).await.unwrap();
        assert!(is_not_found(store.stat(&key("a/b")).await));
        assert_eq!(read(store, "c/d/e").await, "three");
        assert!(is_not_found(store.copy(&key("a/b"), &key("x")).await));
    }
}

#[tokio::test]
async fn a_range_gives_its_part_and_nothing_else() {
    // Longer than the buffers of every back end, and not a multiple of any.
    let content: Bytes = (0..1_500_001_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    for Case { store, directory: _directory } in stores() {
        store.put(&key("o"), content.clone()).await.unwrap();
        let size = content.len() as u64;
        for (start, end) in [(0, size), (0, 1), (1, 2), (262_143, 262_145), (700_000, size), (size - 1, size + 10)] {
            let object = store.get(&key("o"), Some(ByteRange { start, end })).await.unwrap();
            assert_eq!(object.stat.size, size);
            assert_eq!(object.range, ByteRange { start, end: end.min(size) });
            let pieces: Vec<Bytes> = object.body.map(Result::unwrap).collect().await;
            let expected = &content[start as usize..end.min(size) as usize];
            assert!(pieces.concat() == expected, "{} {start}..{end}", store.driver());
        }
        let behind = store.get(&key("o"), Some(ByteRange { start: size, end: size + 1 })).await;
        assert!(matches!(behind, Err(StoreError::Range { .. })));
        let too_large = read_all(store.as_ref(), &key("o"), size - 1).await;
        assert!(matches!(too_large, Err(StoreError::TooLarge { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_one_wins() {
    for Case { store, directory: _directory } in stores() {
        for round in 0..50 {
            let at = key(&format!("race/{round}/object"));
            let tries = (0..4_u8).map(|writer| {
                let (store, at) = (store.clone(), at.clone());
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
            assert_eq!(won.len(), 1, "{}", store.driver());
            let content = read_all(store.as_ref(), &at, 1000).await.unwrap();
            assert_eq!(content, vec![won[0] as u8; 100]);
        }
    }
}

#[tokio::test]
async fn what_lies_below_a_key_is_deleted_at_once() {
    for Case { store, directory } in stores() {
        let store = store.as_ref();
        for at in ["docker/a/b/c", "docker/a/b/d/e", "docker/a-b/c", "docker/ab"] {
            store.put(&key(at), Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(store.delete_below(&key("docker/none")).await.unwrap(), 0);
        assert_eq!(store.delete_below(&key("docker/ab")).await.unwrap(), 0, "an object is not below itself");
        if let Some(directory) = &directory {
            std::fs::create_dir_all(directory.path().join("docker/a/b/empty/below")).unwrap();
        }
        assert_eq!(store.delete_below(&key("docker/a")).await.unwrap(), 2);
        let left = list_all(store, &key("docker"), false).await.unwrap();
        let left: Vec<&str> = left.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(left, ["docker/a-b/c", "docker/ab"]);
        assert!(directory.is_none_or(|directory| !directory.path().join("docker/a").exists()));
    }
}

#[tokio::test]
async fn listings_are_in_the_order_of_keys_and_pages_join_without_loss() {
    let keys = ["r/a-b/_m/x", "r/a.c/_m/x", "r/a/_m/x", "r/a/b/_m/x", "r/a/b/_m/y", "r/a0/_m/x", "r/b", "s/other"];
    for Case { store, directory: _directory } in stores() {
        for at in keys {
            store.put(&key(at), Bytes::from_static(b"1")).await.unwrap();
        }
        for limit in [1, 2, 3, 100] {
            for (one_level, below, expected) in [
                (false, "r", &keys[..7]),
                (true, "r", &["r/a-b", "r/a.c", "r/a", "r/a0", "r/b"]),
                (true, "r/a", &["r/a/_m", "r/a/b"]),
                (false, "r/none", &[]),
                (true, "r/b", &[]),
            ] {
                let (below, mut found, mut after) = (key(below), Vec::new(), None);
                loop {
                    let request = ListRequest { below: &below, behind: None, one_level, after: after.as_ref(), limit };
                    let page = store.list(request).await.unwrap();
                    assert!(page.entries.len() <= limit);
                    found.extend(page.entries);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                let names: Vec<&str> = found.iter().map(|entry| entry.key.as_str()).collect();
                assert_eq!(names, expected, "{} {below} {one_level} {limit}", store.driver());
                for entry in &found {
                    let is_object = keys.contains(&entry.key.as_str());
                    assert_eq!(matches!(entry.kind, EntryKind::Object(stat) if stat.size == 1), is_object);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_survives_the_removal_of_its_directory() {
    for Case { store, directory: _directory } in stores() {
        let remover = {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..300 {
                    store.put(&key("d/e/f/other"), Bytes::from_static(b"x")).await.unwrap();
                    store.delete(&key("d/e/f/other")).await.unwrap();
                }
            })
        };
        for round in 0..300 {
            let at = key("d/e/f/mine");
            store.put(&at, Bytes::from(format!("{round}"))).await.unwrap();
            assert_eq!(read(store.as_ref(), "d/e/f/mine").await, format!("{round}"));
            store.delete(&at).await.unwrap();
        }
        remover.await.unwrap();
    }
}

#[tokio::test]
async fn deletion_leaves_no_empty_directory_and_writes_no_temporary_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    store.put(&key("docker/a/b/c"), Bytes::from_static(b"x")).await.unwrap();
    store.delete(&key("docker/a/b/c")).await.unwrap();
    assert!(!directory.path().join("docker").exists());
    assert_eq!(std::fs::read_dir(directory.path().join("berth/v1/tmp")).unwrap().count(), 0);
}

#[test]
fn a_server_and_the_offline_collector_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let leftover = directory.path().join("berth/v1/tmp/half-written");
    let first = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    std::fs::write(&leftover, b"x").unwrap();
    let second = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    assert!(leftover.exists(), "the file may be one that the first server is writing");
    let refused = Filesystem::open(directory.path(), 25, LockMode::Exclusive).unwrap_err();
    assert!(refused.to_string().ends_with("berth/v1/lock: a server or a collector holds the store: stop it first"));
    drop((first, second));
    let collector = Filesystem::open(directory.path(), 25, LockMode::Exclusive).unwrap();
    assert!(!leftover.exists(), "alone, the file is known to be nobody's");
    let refused = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { holder: "an offline collection, repair or reindex", .. }));
    drop(collector);
}

#[tokio::test]
async fn a_server_collects_only_while_it_is_the_only_one() {
    let directory = tempfile::tempdir().unwrap();
    let servers = directory.path().join("berth/v1/servers");
    let open = || Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    let (first, second) = (open(), open());
    let refused = first.exclude().await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { holder: "another server", .. }), "{refused}");
    drop(second);
    // What a killed server leaves is nobody's.
    std::fs::write(servers.join("killed"), b"").unwrap();
    let excluded = first.exclude().await.unwrap();
    assert_eq!(std::fs::read_dir(&servers).unwrap().count(), 1);
    assert!(first.exclude().await.is_err(), "one collection at a time");

    // A server that starts now is not there until the collection has ended.
    let (opened, third) = std::sync::mpsc::channel();
    let path = directory.path().to_path_buf();
    let starting = std::thread::spawn(move || {
        opened.send(Filesystem::open(&path, 25, LockMode::Shared).unwrap()).unwrap();
    });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::fs::read_dir(&servers).unwrap().count() < 2 {
        assert!(std::time::Instant::now() < deadline, "the newcomer never registered");
    }
    assert!(third.try_recv().is_err());
    drop(excluded);
    let third = third.recv().unwrap();
    starting.join().unwrap();
    assert!(first.exclude().await.is_err());
    drop(first);
    third.exclude().await.map(drop).unwrap();
}

#[test]
fn servers_that_start_together_all_start() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..25 {
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            let start = || {
                together.wait();
                Filesystem::open(directory.path(), 25, LockMode::Shared).map(drop)
            };
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            for started in starting {
                started.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn what_cannot_be_cleaned_does_not_keep_a_server_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("berth/v1/tmp");
    std::fs::create_dir_all(temporary.join("a directory")).unwrap();
    std::fs::write(temporary.join("half-written"), b"x").unwrap();
    let store = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a directory"]);
    drop(store);
}
