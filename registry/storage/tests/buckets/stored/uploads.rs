//! Uploads: appended to, finished and aborted, by one process or several.

use berth_oci::{Algorithm, Digest, Hasher};
use berth_storage::layout::UploadKey;
use berth_storage::{Incoming, Key, Progress, Store, StoreError, Written, list_all};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::On;
use crate::cases::is_not_found;
use crate::subject::Verdict;

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

/// Makes an upload an object, and removes what is left of it.
async fn finish(store: &dyn Store, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError> {
    store.finish(upload, progress, to).await?;
    store.discard(upload, progress).await
}

fn digest(progress: &Progress) -> Digest {
    progress.hasher.clone().unwrap().finish()
}

pub(super) async fn an_upload_grows_and_becomes_an_object(on: On) -> Verdict {
    let (store, upload) = (on.store(), on.upload());
    assert!(is_not_found(store.resume(&upload, None).await));
    let begun = begun(store, &upload, Algorithm::Sha256).await;
    assert_eq!(store.resume(&upload, None).await.unwrap().offset, 0);

    let hello = with(store, &upload, begun, &[b"hello", b" "]).await;
    assert_eq!(hello.offset, 6);
    for expected in [None, Some(6), Some(3), Some(0)] {
        assert_eq!(store.resume(&upload, expected).await.unwrap().offset, 6);
    }
    let world = with(store, &upload, hello, &[b"world"]).await;
    assert_eq!(digest(&world), Digest::sha256(b"hello world"));
    let read_back: Vec<Bytes> = store.read_upload(&upload, &world).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(read_back.concat(), b"hello world");
    finish(store, &upload, &world, &on.key("blob/data")).await.unwrap();
    assert_eq!(on.read("blob/data").await, "hello world");
    assert!(is_not_found(store.resume(&upload, None).await));
    assert!(is_not_found(finish(store, &upload, &world, &on.key("blob/data")).await));
    assert!(list_all(store, upload.directory(), false).await.unwrap().is_empty(), "nothing is left behind");
    Verdict::Passed
}

pub(super) async fn an_upload_without_data_is_an_empty_object(on: On) -> Verdict {
    let (store, upload) = (on.store(), on.upload());
    let begun = begun(store, &upload, Algorithm::Sha256).await;
    let appended = store.append(&upload, begun, body(&[])).await.unwrap().progress;
    finish(store, &upload, &appended, &on.key("blob/empty")).await.unwrap();
    assert_eq!(on.read("blob/empty").await, "");
    assert!(is_not_found(store.resume(&upload, None).await));
    Verdict::Passed
}

pub(super) async fn an_upload_of_another_length_than_was_hashed_is_not_stored(on: On) -> Verdict {
    let (store, upload, blob) = (on.store(), on.upload(), on.key("blob"));
    if store.is_remote() {
        return Verdict::Skipped("what each process wrote is kept beside that of the others".to_owned());
    }
    let begun = begun(store, &upload, Algorithm::Sha256).await;
    let data = with(store, &upload, begun.clone(), &[b"data"]).await;
    let stale = store.append(&upload, begun.clone(), body(&[b"x"])).await;
    assert!(matches!(stale, Err(StoreError::Offset { expected: 0, found: 4, .. })), "{stale:?}");
    let longer = with(store, &upload, data.clone(), &[b"!"]).await;
    for stale in [&begun, &data] {
        let finished = finish(store, &upload, stale, &blob).await;
        let is_told =
            matches!(finished, Err(StoreError::Offset { expected, found: 5, .. }) if expected == stale.offset);
        assert!(is_told, "{finished:?}");
    }
    assert!(is_not_found(store.stat(&blob).await));
    finish(store, &upload, &longer, &blob).await.unwrap();
    assert_eq!(on.read("blob").await, "data!");
    Verdict::Passed
}

/// A client gets no answer and sends the same again to another process, or other bytes: what becomes of it is what was
/// hashed, never a mixture.
pub(super) async fn what_is_stored_is_what_was_hashed_whoever_else_wrote(on: On) -> Verdict {
    let (store, upload) = (on.store(), on.upload());
    if !store.is_remote() {
        return Verdict::Skipped("one process at a time writes to an upload".to_owned());
    }
    let begun = begun(store, &upload, Algorithm::Sha256).await;
    let trunk = with(store, &upload, begun, &[b"trunk "]).await;
    let one = with(store, &upload, trunk.clone(), &[b"one"]).await;
    let other = with(on.other(), &upload, trunk, &[b"other"]).await;
    let longer = with(store, &upload, one.clone(), &[b" and on"]).await;
    assert_eq!(store.resume(&upload, None).await.unwrap().offset, longer.offset);
    let resumed = store.resume(&upload, Some(other.offset)).await.unwrap();
    assert_eq!((resumed.offset, digest(&resumed)), (other.offset, digest(&other)));
    finish(store, &upload, &resumed, &on.key("blob")).await.unwrap();
    assert_eq!(on.read("blob").await, "trunk other");
    assert!(is_not_found(store.resume(&upload, None).await), "the rest is nobody's");
    Verdict::Passed
}

/// What is there already may be in use everywhere: nobody changes it by saying that it is the same.
pub(super) async fn an_upload_leaves_what_has_its_length_and_replaces_what_is_damaged(on: On) -> Verdict {
    let (store, blob) = (on.store(), on.key("blob"));
    // A store that copies writes the same over the same, which nobody sees; but at Azure nobody could read it meanwhile.
    let kept = if store.is_remote() && store.driver() != "azure" { "data" } else { "DATA" };
    for (there, after) in [("DATA", kept), ("DAT", "data"), ("", "data")] {
        on.put("blob", there).await;
        let before = store.stat(&blob).await.unwrap().modified;
        let upload = on.upload();
        let begun = begun(store, &upload, Algorithm::Sha256).await;
        let data = with(store, &upload, begun, &[b"data"]).await;
        finish(store, &upload, &data, &blob).await.unwrap();
        assert_eq!(on.read("blob").await, after);
        let now = store.stat(&blob).await.unwrap().modified;
        // Some stores count in whole seconds.
        assert!(if store.is_remote() { now >= before } else { now > before }, "it counts as new");
        assert!(is_not_found(store.resume(&upload, None).await));
    }
    Verdict::Passed
}

pub(super) async fn what_arrived_before_a_body_broke_off_is_kept(on: On) -> Verdict {
    let (store, upload) = (on.store(), on.upload());
    let begun = begun(store, &upload, Algorithm::Sha512).await;
    let pieces = vec![Ok(Bytes::from_static(b"half")), Err("connection reset".into())];
    let appended = store.append(&upload, begun, Incoming::new(stream::iter(pieces))).await.unwrap();
    assert_eq!(appended.interrupted.map(|error| error.to_string()).as_deref(), Some("connection reset"));
    assert_eq!(appended.progress.offset, 4);
    let whole = with(store, &upload, appended.progress, &[b" and whole"]).await;
    assert_eq!(digest(&whole), Digest::of(Algorithm::Sha512, b"half and whole"));
    Verdict::Passed
}

pub(super) async fn an_aborted_upload_is_gone(on: On) -> Verdict {
    let (store, first, second) = (on.store(), on.upload(), on.upload());
    assert!(is_not_found(store.abort(&first).await));
    for upload in [&first, &second] {
        let begun = begun(store, upload, Algorithm::Sha256).await;
        with(store, upload, begun, &[b"data"]).await;
    }
    store.abort(&first).await.unwrap();
    assert!(is_not_found(store.resume(&first, None).await));
    assert_eq!(store.resume(&second, None).await.unwrap().offset, 4);
    Verdict::Passed
}

pub(super) async fn another_process_goes_on_with_an_upload(on: On) -> Verdict {
    let upload = on.upload();
    let nothing = begun(on.store(), &upload, Algorithm::Sha256).await;
    let one = with(on.store(), &upload, nothing, &[b"one"]).await;
    let found = on.other().resume(&upload, None).await.unwrap();
    assert_eq!(found.offset, 3);
    let hashed = match found.hasher.is_some() {
        true => found,
        // A file does not say what it hashes to.
        false => found.hashed(one.hasher.unwrap()),
    };
    let both = with(on.other(), &upload, hashed, &[b"two"]).await;
    finish(on.other(), &upload, &both, &on.key("blob")).await.unwrap();
    assert_eq!((digest(&both), on.read("blob").await.as_ref()), (Digest::sha256(b"onetwo"), &b"onetwo"[..]));
    assert!(is_not_found(on.store().resume(&upload, None).await));
    Verdict::Passed
}

/// Who is killed before everybody can find the object, or told of an error, has lost nothing.
pub(super) async fn what_is_copied_can_be_finished_again_by_another_process(on: On) -> Verdict {
    let (store, upload, blob) = (on.store(), on.upload(), on.key("blob"));
    if !store.is_remote() {
        return Verdict::Skipped("an upload is moved to its key".to_owned());
    }
    // Of one segment, of several that are written together, and of one that is a part by itself.
    let large: &[u8] = vec![7; 11_000_003].leak();
    for pieces in [&[&b"one"[..]][..], &[b"one", b"two"], &[b"one", large, b"two"]] {
        let mut progress = begun(store, &upload, Algorithm::Sha256).await;
        for piece in pieces {
            progress = with(store, &upload, progress, &[piece]).await;
        }
        store.finish(&upload, &progress, &blob).await.unwrap();
        let found = on.other().resume(&upload, Some(progress.offset)).await.unwrap();
        assert_eq!((found.offset, digest(&found)), (progress.offset, digest(&progress)));
        finish(on.other(), &upload, &found, &blob).await.unwrap();
        assert!(on.read("blob").await == pieces.concat());
        assert!(is_not_found(store.resume(&upload, None).await));
        assert!(list_all(store, upload.directory(), false).await.unwrap().is_empty(), "nothing is left behind");
    }
    Verdict::Passed
}

/// A chunk that is sent again, to this process or another: the store tells where the upload ends, since it cannot know
/// whether the first answer has arrived.
pub(super) async fn what_was_gone_on_from_is_no_end_any_more(on: On) -> Verdict {
    let (store, upload) = (on.store(), on.upload());
    let begun = begun(store, &upload, Algorithm::Sha256).await;
    let hello = with(store, &upload, begun, &[b"hello"]).await;
    let world = with(store, &upload, hello, &[b" world"]).await;
    for store in [store, on.other()] {
        for expected in [Some(0), Some(5), Some(11), Some(12), None] {
            assert_eq!(store.resume(&upload, expected).await.unwrap().offset, world.offset, "{expected:?}");
        }
    }
    Verdict::Passed
}

/// What was written and never gone on with, by a process that is no more, goes with the upload.
pub(super) async fn what_lies_beside_a_finished_upload_goes_with_it(on: On) -> Verdict {
    let (store, upload) = (on.store(), on.upload());
    if !store.is_remote() {
        return Verdict::Skipped("one process at a time writes to an upload".to_owned());
    }
    let begun = begun(store, &upload, Algorithm::Sha256).await;
    let trunk = with(store, &upload, begun, &[b"trunk "]).await;
    let found = on.other().resume(&upload, Some(trunk.offset)).await.unwrap();
    with(store, &upload, trunk, &[b"lost"]).await;
    let other = with(on.other(), &upload, found, &[b"and more"]).await;
    finish(on.other(), &upload, &other, &on.key("blob")).await.unwrap();
    assert_eq!(on.read("blob").await, "trunk and more");
    assert!(list_all(store, upload.directory(), false).await.unwrap().is_empty(), "nothing is left behind");
    Verdict::Passed
}

pub(super) async fn a_body_goes_straight_to_its_key_or_nowhere(on: On) -> Verdict {
    let (store, blob) = (on.store(), on.key("blob"));
    if !store.writes_directly() {
        return Verdict::Skipped("a body is moved to its key, which costs nothing".to_owned());
    }
    let large: Vec<u8> = (0..11_000_003_u32).map(|n| (n % 251) as u8).collect();
    for content in [&b""[..], b"small", &large] {
        let pieces = || content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
        let digest = Digest::sha256(content);
        let written = store.write(&blob, &Digest::sha256(b"other"), Incoming::new(stream::iter(pieces()))).await;
        assert!(matches!(written, Ok(Written::Mismatch(found)) if found == digest));
        let mut broken = pieces();
        broken.push(Err("reset".into()));
        let written = store.write(&blob, &digest, Incoming::new(stream::iter(broken))).await;
        assert!(matches!(written, Ok(Written::Interrupted(_))), "{written:?}");
        assert!(is_not_found(store.stat(&blob).await));
        let written = store.write(&blob, &digest, Incoming::new(stream::iter(pieces()))).await;
        assert!(matches!(written, Ok(Written::Stored(bytes)) if bytes == content.len() as u64), "{written:?}");
        assert!(on.read("blob").await == content);
        store.delete(&blob).await.unwrap();
    }
    Verdict::Passed
}
