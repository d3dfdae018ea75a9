//! Uploads: appended to, finished and aborted, by one process or several.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_oci::{Algorithm, Digest, Hasher, RepositoryName};
use berth_storage::layout::UploadKey;
use berth_storage::{Filesystem, Incoming, LockMode, Progress, Store, StoreError, Written, list_all};
use bytes::Bytes;
use futures::{StreamExt, stream};
use uuid::Uuid;

use crate::{Case, is_not_found, key, read, stores};

fn upload() -> UploadKey {
    UploadKey::new(&"team/app".parse::<RepositoryName>().unwrap(), Uuid::new_v4())
}

fn body(pieces: &[&'static [u8]]) -> Incoming {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    Box::pin(stream::iter(pieces))
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

fn digest(progress: &Progress) -> Digest {
    progress.hasher.clone().unwrap().finish()
}

#[tokio::test]
async fn an_upload_grows_and_becomes_an_object() {
    for Case { store, directory: _directory } in stores() {
        let store = store.as_ref();
        let upload = upload();
        assert!(is_not_found(store.resume(&upload, None).await));
        let begun = begun(store, &upload, Algorithm::Sha256).await;
        assert_eq!(store.resume(&upload, None).await.unwrap().offset, 0);

        let hello = with(store, &upload, begun, &[b"hello", b" "]).await;
        assert_eq!(hello.offset, 6);
        for expected in [None, Some(6), Some(3)] {
            assert_eq!(store.resume(&upload, expected).await.unwrap().offset, 6);
        }
        let world = with(store, &upload, hello, &[b"world"]).await;
        assert_eq!(digest(&world), Digest::sha256(b"hello world"));
        let read_back: Vec<Bytes> =
            store.read_upload(&upload, &world).await.unwrap().map(Result::unwrap).collect().await;
        assert_eq!(read_back.concat(), b"hello world");
        store.finish(&upload, &world, &key("blob/data")).await.unwrap();
        assert_eq!(read(store, "blob/data").await, "hello world");
        assert!(is_not_found(store.resume(&upload, None).await));
        assert!(is_not_found(store.finish(&upload, &world, &key("blob/data")).await));
        assert!(list_all(store, &key("docker"), false).await.unwrap().is_empty(), "nothing is left behind");
    }
}

#[tokio::test]
async fn an_upload_without_data_is_an_empty_object() {
    for Case { store, directory: _directory } in stores() {
        let upload = upload();
        let begun = begun(store.as_ref(), &upload, Algorithm::Sha256).await;
        let appended = store.append(&upload, begun, body(&[])).await.unwrap().progress;
        store.finish(&upload, &appended, &key("blob/empty")).await.unwrap();
        assert_eq!(read(store.as_ref(), "blob/empty").await, "");
        assert!(is_not_found(store.resume(&upload, None).await));
    }
}

#[tokio::test]
async fn an_upload_of_another_length_than_was_hashed_is_not_stored() {
    for Case { store, directory: _directory } in stores().into_iter().filter(|case| !case.store.is_remote()) {
        let store = store.as_ref();
        let upload = upload();
        let begun = begun(store, &upload, Algorithm::Sha256).await;
        let data = with(store, &upload, begun.clone(), &[b"data"]).await;
        let stale = store.append(&upload, begun.clone(), body(&[b"x"])).await;
        assert!(matches!(stale, Err(StoreError::Offset { expected: 0, found: 4, .. })), "{stale:?}");
        let longer = with(store, &upload, data.clone(), &[b"!"]).await;
        for stale in [&begun, &data] {
            let finished = store.finish(&upload, stale, &key("blob")).await;
            assert!(
                matches!(finished, Err(StoreError::Offset { expected, found: 5, .. }) if expected == stale.offset),
                "{finished:?}"
            );
        }
        assert!(is_not_found(store.stat(&key("blob")).await));
        store.finish(&upload, &longer, &key("blob")).await.unwrap();
        assert_eq!(read(store, "blob").await, "data!");
    }
}

/// A client gets no answer and sends the same again to another process, or other bytes: what becomes of it is what was
/// hashed, never a mixture.
#[tokio::test]
async fn what_is_stored_is_what_was_hashed_whoever_else_wrote() {
    for Case { store, directory: _directory } in stores().into_iter().filter(|case| case.store.is_remote()) {
        let store = store.as_ref();
        let upload = upload();
        let begun = begun(store, &upload, Algorithm::Sha256).await;
        let trunk = with(store, &upload, begun, &[b"trunk "]).await;
        let one = with(store, &upload, trunk.clone(), &[b"one"]).await;
        let other = with(store, &upload, trunk, &[b"other"]).await;
        let longer = with(store, &upload, one.clone(), &[b" and on"]).await;
        assert_eq!(store.resume(&upload, None).await.unwrap().offset, longer.offset);
        let resumed = store.resume(&upload, Some(other.offset)).await.unwrap();
        assert_eq!((resumed.offset, digest(&resumed)), (other.offset, digest(&other)));
        store.finish(&upload, &resumed, &key("blob")).await.unwrap();
        assert_eq!(read(store, "blob").await, "trunk other");
        assert!(is_not_found(store.resume(&upload, None).await), "the rest is nobody's");
    }
}

/// What is there already may be in use everywhere: nobody changes it by saying that it is the same.
#[tokio::test]
async fn an_upload_leaves_what_has_its_length_and_replaces_what_is_damaged() {
    for Case { store, directory: _directory } in stores() {
        let store = store.as_ref();
        // A store that copies writes the same over the same, which nobody sees.
        let kept = if store.is_remote() { "data" } else { "DATA" };
        for (there, after) in [("DATA", kept), ("DAT", "data"), ("", "data")] {
            store.put(&key("blob"), Bytes::from_static(there.as_bytes())).await.unwrap();
            let before = store.stat(&key("blob")).await.unwrap().modified;
            let upload = upload();
            let begun = begun(store, &upload, Algorithm::Sha256).await;
            let data = with(store, &upload, begun, &[b"data"]).await;
            store.finish(&upload, &data, &key("blob")).await.unwrap();
            assert_eq!(read(store, "blob").await, after);
            let now = store.stat(&key("blob")).await.unwrap().modified;
            // Some stores count in whole seconds.
            assert!(if store.is_remote() { now >= before } else { now > before }, "it counts as new");
            assert!(is_not_found(store.resume(&upload, None).await));
        }
    }
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
        tokio::spawn(async move { first.append(&upload, nothing, Box::pin(arriving)).await })
    };
    // Large enough to be written before the rest of the body is there.
    const PIECE: &[u8] = &[b'm'; 1 << 20];
    pieces.send(PIECE).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
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

#[tokio::test]
async fn what_arrived_before_a_body_broke_off_is_kept() {
    for Case { store, directory: _directory } in stores() {
        let store = store.as_ref();
        let upload = upload();
        let begun = begun(store, &upload, Algorithm::Sha512).await;
        let pieces = vec![Ok(Bytes::from_static(b"half")), Err("connection reset".into())];
        let appended = store.append(&upload, begun, Box::pin(stream::iter(pieces))).await.unwrap();
        assert_eq!(appended.interrupted.map(|error| error.to_string()).as_deref(), Some("connection reset"));
        assert_eq!(appended.progress.offset, 4);
        let whole = with(store, &upload, appended.progress, &[b" and whole"]).await;
        assert_eq!(digest(&whole), Digest::of(Algorithm::Sha512, b"half and whole"));
    }
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    for Case { store, directory: _directory } in stores() {
        let store = store.as_ref();
        let (first, second) = (upload(), upload());
        assert!(is_not_found(store.abort(&first).await));
        for upload in [&first, &second] {
            let begun = begun(store, upload, Algorithm::Sha256).await;
            with(store, upload, begun, &[b"data"]).await;
        }
        store.abort(&first).await.unwrap();
        assert!(is_not_found(store.resume(&first, None).await));
        assert_eq!(store.resume(&second, None).await.unwrap().offset, 4);
    }
}

#[tokio::test]
async fn another_process_goes_on_with_an_upload() {
    let directory = tempfile::tempdir().unwrap();
    let upload = upload();
    let first = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    let nothing = begun(&first, &upload, Algorithm::Sha256).await;
    let one = with(&first, &upload, nothing, &[b"one"]).await;
    drop(first);
    let second = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
    let found = second.resume(&upload, None).await.unwrap();
    assert_eq!((found.offset, found.hasher.is_none()), (3, true), "a file does not say what it hashes to");
    let both = with(&second, &upload, found.hashed(one.hasher.unwrap()), &[b"two"]).await;
    second.finish(&upload, &both, &key("blob")).await.unwrap();
    assert_eq!(read(&second, "blob").await, "onetwo");
}

#[tokio::test]
async fn a_body_goes_straight_to_its_key_or_nowhere() {
    for Case { store, directory: _directory } in stores().into_iter().filter(|case| case.store.writes_directly()) {
        let store = store.as_ref();
        let large: Vec<u8> = (0..11_000_003_u32).map(|n| (n % 251) as u8).collect();
        for content in [&b""[..], b"small", &large] {
            let pieces = || content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
            let digest = Digest::sha256(content);
            let written = store.write(&key("blob"), &Digest::sha256(b"other"), Box::pin(stream::iter(pieces()))).await;
            assert!(matches!(written, Ok(Written::Mismatch(found)) if found == digest));
            let mut broken = pieces();
            broken.push(Err("reset".into()));
            let written = store.write(&key("blob"), &digest, Box::pin(stream::iter(broken))).await;
            assert!(matches!(written, Ok(Written::Interrupted(_))), "{written:?}");
            assert!(is_not_found(store.stat(&key("blob")).await));
            let written = store.write(&key("blob"), &digest, Box::pin(stream::iter(pieces()))).await;
            assert!(matches!(written, Ok(Written::Stored(bytes)) if bytes == content.len() as u64), "{written:?}");
            assert!(read(store, "blob").await == content);
            store.delete(&key("blob")).await.unwrap();
        }
    }
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
