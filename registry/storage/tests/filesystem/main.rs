//! What only the file system does: locks between processes, and what is left of directories and files.
//!
//! What every store must do is tried in `tests/buckets`.

#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "helpers of tests")]

mod uploads;

use berth_storage::{Exclude, Filesystem, Key, LockMode, Store, StoreError, read_all};
use bytes::Bytes;

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
