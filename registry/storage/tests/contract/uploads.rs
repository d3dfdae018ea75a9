//! Uploads: appended to, finished and aborted, by one process or several.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_oci::{Algorithm, Digest, Hasher, RepositoryName};
use berth_storage::layout::UploadKey;
use berth_storage::{Filesystem, Incoming, LockMode, Store, StoreError, list_all};
use bytes::Bytes;
use futures::stream;
use uuid::Uuid;

use crate::{Case, is_not_found, key, read, stores};

fn upload() -> UploadKey {
    UploadKey::new(&"team/app".parse::<RepositoryName>().unwrap(), Uuid::new_v4())
}

fn body(pieces: &[&'static [u8]]) -> Incoming {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    Box::pin(stream::iter(pieces))
}

#[tokio::test]
async fn an_upload_grows_and_becomes_an_object() {
    for Case { store, directory: _directory } in stores() {
        let upload = upload();
        assert!(is_not_found(store.offset(&upload).await));
        store.begin(&upload, Bytes::from_static(b"2026-01-01T00:00:00Z")).await.unwrap();
        assert_eq!(store.offset(&upload).await.unwrap(), 0);

        let hasher = Hasher::new(Algorithm::Sha256);
        let appended = store.append(&upload, 0, hasher, body(&[b"hello", b" "])).await.unwrap();
        assert_eq!(appended.offset, 6);
        assert!(appended.interrupted.is_none());
        assert_eq!(store.offset(&upload).await.unwrap(), 6);

        let wrong = store.append(&upload, 5, appended.hasher.clone(), body(&[b"x"])).await;
        assert!(matches!(wrong, Err(StoreError::Offset { expected: 5, found: 6, .. })));

        let appended = store.append(&upload, 6, appended.hasher, body(&[b"world"])).await.unwrap();
        assert_eq!(appended.hasher.finish(), Digest::sha256(b"hello world"));
        store.finish(&upload, &key("blob/data"), 11).await.unwrap();
        assert_eq!(read(store.as_ref(), "blob/data").await, "hello world");
        assert!(is_not_found(store.offset(&upload).await));
        assert!(is_not_found(store.finish(&upload, &key("blob/data"), 11).await));
        assert!(list_all(store.as_ref(), &key("docker"), false).await.unwrap().is_empty(), "nothing is left behind");
    }
}

#[tokio::test]
async fn an_upload_without_data_is_an_empty_object() {
    for Case { store, directory: _directory } in stores() {
        let upload = upload();
        store.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
        store.finish(&upload, &key("blob/empty"), 0).await.unwrap();
        assert_eq!(read(store.as_ref(), "blob/empty").await, "");
    }
}

#[tokio::test]
async fn an_upload_of_another_length_than_was_hashed_is_not_stored() {
    for Case { store, directory: _directory } in stores() {
        let upload = upload();
        store.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
        for size in [1, 4] {
            let finished = store.finish(&upload, &key("blob"), size).await;
            assert!(is_not_found(finished) || is_not_found(store.stat(&key("blob")).await));
        }
        store.append(&upload, 0, Hasher::new(Algorithm::Sha256), body(&[b"data"])).await.unwrap();
        for size in [0, 3, 5] {
            let finished = store.finish(&upload, &key("blob"), size).await;
            assert!(
                matches!(finished, Err(StoreError::Offset { expected, found: 4, .. }) if expected == size),
                "{finished:?}"
            );
        }
        assert!(is_not_found(store.stat(&key("blob")).await));
        store.finish(&upload, &key("blob"), 4).await.unwrap();
        assert_eq!(read(store.as_ref(), "blob").await, "data");
    }
}

/// What is there already may be in use everywhere: nobody changes it by saying that it is the same.
#[tokio::test]
async fn an_upload_leaves_what_has_its_length_and_replaces_what_is_damaged() {
    for Case { store, directory: _directory } in stores() {
        for (there, after) in [("DATA", "DATA"), ("DAT", "data"), ("", "data")] {
            store.put(&key("blob"), Bytes::from_static(there.as_bytes())).await.unwrap();
            let before = store.stat(&key("blob")).await.unwrap().modified;
            let upload = upload();
            store.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
            store.append(&upload, 0, Hasher::new(Algorithm::Sha256), body(&[b"data"])).await.unwrap();
            store.finish(&upload, &key("blob"), 4).await.unwrap();
            assert_eq!(read(store.as_ref(), "blob").await, after);
            assert!(store.stat(&key("blob")).await.unwrap().modified > before, "it counts as new");
            assert!(is_not_found(store.offset(&upload).await));
        }
    }
}

#[tokio::test]
async fn two_processes_do_not_work_on_one_upload() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = [0, 1].map(|_| Arc::new(Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap()));
    let upload = upload();
    first.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
    let hasher = || Hasher::new(Algorithm::Sha256);
    let (pieces, arriving) = tokio::sync::mpsc::channel::<&'static [u8]>(1);
    let arriving = stream::unfold(arriving, |mut arriving| async move {
        arriving.recv().await.map(|piece| (Ok(Bytes::from_static(piece)), arriving))
    });
    let appending = {
        let (first, upload) = (first.clone(), upload.clone());
        tokio::spawn(async move { first.append(&upload, 0, hasher(), Box::pin(arriving)).await })
    };
    // Large enough to be written before the rest of the body is there.
    const PIECE: &[u8] = &[b'm'; 1 << 20];
    pieces.send(PIECE).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while second.offset(&upload).await.unwrap() < PIECE.len() as u64 {
        assert!(Instant::now() < deadline, "nothing is written");
    }
    let busy = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Busy { .. }));
    assert!(busy(second.finish(&upload, &key("blob"), PIECE.len() as u64).await));
    assert!(busy(second.append(&upload, 0, hasher(), body(&[b"other"])).await.map(|_| ())));
    pieces.send(b"mine").await.unwrap();
    drop(pieces);
    let appended = appending.await.unwrap().unwrap();
    let late = second.append(&upload, 0, hasher(), body(&[b"other"])).await;
    assert!(matches!(late, Err(StoreError::Offset { expected: 0, found, .. }) if found == appended.offset));
    second.finish(&upload, &key("blob"), appended.offset).await.unwrap();

    // The first has not heard of it. The session looks as if it were there until its directory is removed.
    first.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
    assert!(is_not_found(first.finish(&upload, &key("blob"), appended.offset).await));
    assert_eq!(read(first.as_ref(), "blob").await, [PIECE, b"mine"].concat());
}

#[tokio::test]
async fn what_arrived_before_a_body_broke_off_is_kept() {
    for Case { store, directory: _directory } in stores() {
        let upload = upload();
        store.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
        let pieces = vec![Ok(Bytes::from_static(b"half")), Err("connection reset".into())];
        let hasher = Hasher::new(Algorithm::Sha512);
        let appended = store.append(&upload, 0, hasher, Box::pin(stream::iter(pieces))).await.unwrap();
        assert_eq!(appended.interrupted.map(|error| error.to_string()).as_deref(), Some("connection reset"));
        assert_eq!(appended.offset, 4);
        let appended = store.append(&upload, 4, appended.hasher, body(&[b" and whole"])).await.unwrap();
        assert_eq!(appended.hasher.finish(), Digest::of(Algorithm::Sha512, b"half and whole"));
    }
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    for Case { store, directory: _directory } in stores() {
        let (first, second) = (upload(), upload());
        assert!(is_not_found(store.abort(&first).await));
        for upload in [&first, &second] {
            store.begin(upload, Bytes::from_static(b"now")).await.unwrap();
            store.append(upload, 0, Hasher::new(Algorithm::Sha256), body(&[b"data"])).await.unwrap();
        }
        store.abort(&first).await.unwrap();
        assert!(is_not_found(store.offset(&first).await));
        assert_eq!(store.offset(&second).await.unwrap(), 4);
    }
}

#[tokio::test]
async fn another_process_goes_on_with_an_upload() {
    let directory = tempfile::tempdir().unwrap();
    let upload = upload();
    let first = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    first.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
    let appended = first.append(&upload, 0, Hasher::new(Algorithm::Sha256), body(&[b"one"])).await.unwrap();
    drop(first);
    let second = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    assert_eq!(second.offset(&upload).await.unwrap(), 3);
    second.append(&upload, 3, appended.hasher, body(&[b"two"])).await.unwrap();
    second.finish(&upload, &key("blob"), 6).await.unwrap();
    assert_eq!(read(&second, "blob").await, "onetwo");
}

/// The lock of a process that is starting another, or has just let go.
#[tokio::test]
async fn a_lock_that_is_held_for_a_moment_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    let upload = upload();
    store.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
    store.append(&upload, 0, Hasher::new(Algorithm::Sha256), body(&[b"data"])).await.unwrap();
    let data = std::fs::File::options().write(true).open(directory.path().join(upload.data().as_str())).unwrap();
    data.lock().unwrap();
    let blob = key("blob");
    let mut finishing = Box::pin(store.finish(&upload, &blob, 4));
    let moment = Instant::now() + Duration::from_millis(50);
    while Instant::now() < moment {
        assert!(futures::poll!(finishing.as_mut()).is_pending(), "it did not wait");
        tokio::task::yield_now().await;
    }
    drop(data);
    finishing.await.unwrap();
    assert_eq!(read(&store, "blob").await, "data");
}
