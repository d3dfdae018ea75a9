//! Uploads whose files several processes open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_oci::{Algorithm, Hasher, RepositoryName};
use berth_storage::layout::UploadKey;
use berth_storage::{Filesystem, Incoming, LockMode, Progress, Store, StoreError};
use bytes::Bytes;
use futures::stream;
use uuid::Uuid;

use crate::{is_not_found, key, read};

fn upload() -> UploadKey {
    UploadKey::new(&"team/app".parse::<RepositoryName>().unwrap(), Uuid::new_v4())
}

fn body(pieces: &[&'static [u8]]) -> Incoming {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    Incoming::new(stream::iter(pieces))
}

/// The progress of nothing, with the hash that an append of so many bytes begins with.
async fn begun(store: &dyn Store, upload: &UploadKey, algorithm: Algorithm) -> Progress {
    store.begin(upload, Bytes::from_static(b"2026-01-01T00:00:00Z")).await.unwrap().hashed(Hasher::new(algorithm))
}

async fn with(store: &dyn Store, upload: &UploadKey, from: Progress, pieces: &[&'static [u8]]) -> Progress {
    let appended = store.append(upload, from, body(pieces)).await.unwrap();
    assert!(appended.interrupted.is_none());
    appended.progress
}

#[tokio::test]
async fn two_processes_do_not_work_on_one_upload() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = [0, 1].map(|_| Arc::new(Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap()));
    let upload = upload();
    let nothing = begun(first.as_ref(), &upload, Algorithm::Sha256).await;
    let (pieces, arriving) = tokio::sync::mpsc::channel::<&'static [u8]>(1);
    let arriving = stream::unfold(arriving, |mut arriving| async move {
        arriving.recv().await.map(|piece| (Ok(Bytes::from_static(piece)), arriving))
    });
    let appending = {
        let (first, upload, nothing) = (first.clone(), upload.clone(), nothing.clone());
        tokio::spawn(async move { first.append(&upload, nothing, Incoming::new(arriving)).await })
    };
    // Large enough to be written before the rest of the body is there.
    const PIECE: &[u8] = &[b'm'; 1 << 20];
    pieces.send(PIECE).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut piece = second.resume(&upload, None).await.unwrap();
    while piece.offset < PIECE.len() as u64 {
        assert!(Instant::now() < deadline, "nothing is written");
        piece = second.resume(&upload, None).await.unwrap();
    }
    let busy = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Busy { .. }));
    assert!(busy(second.finish(&upload, &piece, &key("blob")).await));
    assert!(busy(second.append(&upload, nothing.clone(), body(&[b"other"])).await.map(|_| ())));
    pieces.send(b"mine").await.unwrap();
    drop(pieces);
    let appended = appending.await.unwrap().unwrap().progress;
    let late = second.append(&upload, nothing.clone(), body(&[b"other"])).await;
    assert!(matches!(late, Err(StoreError::Offset { expected: 0, found, .. }) if found == appended.offset));
    second.finish(&upload, &appended, &key("blob")).await.unwrap();

    // The first has not heard of it. The session looks as if it were there until its directory is removed.
    first.begin(&upload, Bytes::from_static(b"now")).await.unwrap();
    assert!(is_not_found(first.finish(&upload, &appended, &key("blob")).await));
    assert_eq!(read(first.as_ref(), "blob").await, [PIECE, b"mine"].concat());
}

/// The lock of a process that is starting another, or has just let go.
#[tokio::test]
async fn a_lock_that_is_held_for_a_moment_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    let upload = upload();
    let nothing = begun(&store, &upload, Algorithm::Sha256).await;
    let progress = with(&store, &upload, nothing, &[b"data"]).await;
    let data = std::fs::File::options().write(true).open(directory.path().join(upload.data().as_str())).unwrap();
    data.lock().unwrap();
    let blob = key("blob");
    let mut finishing = Box::pin(store.finish(&upload, &progress, &blob));
    let moment = Instant::now() + Duration::from_millis(50);
    while Instant::now() < moment {
        assert!(futures::poll!(finishing.as_mut()).is_pending(), "it did not wait");
        tokio::task::yield_now().await;
    }
    drop(data);
    finishing.await.unwrap();
    assert_eq!(read(&store, "blob").await, "data");
}
