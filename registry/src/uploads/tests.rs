//! Sessions on a store in memory, and on a bucket in memory that several registries share.

use std::time::{Duration, Instant};

use berth_storage::bucket::{Abilities, Bucket, Limits};
use berth_storage::layers::{Fault, Faulty, Shelf, ShelfOptions};
use berth_storage::{LockMode, Memory, ObjectStore, Unlocked, layout};
use bytes::Bytes;

use super::*;
use crate::gc::Guard;
use crate::registry::Permissions;

async fn left_below(registry: &Registry) -> usize {
    berth_storage::list_all(registry.store.as_ref(), &layout::repositories(), false).await.unwrap().len()
}

/// The data is hashed by what was named, so that it need not be read again in the end.
#[tokio::test]
async fn an_algorithm_that_was_named_is_hashed_by_from_the_beginning() {
    let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: false, read_only: false });
    let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
    let name: RepositoryName = "team/app".parse().unwrap();
    for algorithm in Algorithm::ALL {
        let Upload { id, .. } = registry.upload_begin(&name).await.unwrap();
        let mut offset = 0;
        for chunk in ["hello ", "world"] {
            let body = Incoming::new(stream::iter([Ok(Bytes::from(chunk))]));
            offset = registry.upload_append(&name, id, offset, algorithm, body).await.unwrap();
            let session = registry.sessions.lock(id).await.unwrap();
            assert_eq!(
                session
                    .as_ref()
                    .and_then(|progress| progress.hasher.as_ref())
                    .map(|hasher| (hasher.algorithm(), hasher.bytes())),
                Some((algorithm, offset))
            );
        }
        let digest = Digest::of(algorithm, b"hello world");
        registry.upload_finish(&name, id, offset, &digest, no_body()).await.unwrap();
        assert_eq!(registry.blob_describe(&name, &digest).await.unwrap().size, 11);
    }
}

/// Three ways in which a blob at once fails; the last is that of a client that goes away, whose request is dropped.
#[tokio::test]
async fn nothing_is_left_of_a_whole_blob_that_fails() {
    let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: false, read_only: false });
    let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
    let name: RepositoryName = "team/app".parse().unwrap();
    let digest = Digest::sha256(b"expected");
    let other = Incoming::new(stream::iter([Ok(Bytes::from("other"))]));
    let refused = registry.upload_whole(&name, &digest, other).await;
    assert!(matches!(refused, Err(Error::DigestMismatch { .. })), "{refused:?}");
    let broken = Incoming::new(stream::iter([Ok(Bytes::from("exp")), Err("reset".into())]));
    let refused = registry.upload_whole(&name, &digest, broken).await;
    assert!(matches!(refused, Err(Error::BodyInterrupted { .. })), "{refused:?}");
    assert_eq!(left_below(&registry).await, 0);

    let (pieces, body) = tokio::sync::mpsc::channel(1);
    let body = stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
    pieces.send(Ok(Bytes::from("exp"))).await.unwrap();
    let mut request = Box::pin(registry.upload_whole(&name, &digest, Incoming::new(body)));
    assert!(futures::poll!(request.as_mut()).is_pending());
    while left_below(&registry).await == 0 {
        tokio::task::yield_now().await;
    }
    drop(request);
    pieces.send(Err("reset".into())).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while left_below(&registry).await > 0 {
        assert!(Instant::now() < deadline, "the data stays");
        tokio::task::yield_now().await;
    }
}

fn name() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn body(content: &str) -> Incoming {
    Incoming::new(stream::iter([Ok(Bytes::copy_from_slice(content.as_bytes()))]))
}

/// A bucket on which segments of less than 100 bytes are small.
fn shelf() -> Arc<Shelf> {
    let limits =
        Limits { chunk_bytes: 100, min_part_bytes: 50, max_parts: 1000, max_copy_bytes: 1 << 20, copies_at_once: 4 };
    Arc::new(Shelf::new(ShelfOptions { limits, ..ShelfOptions::default() }))
}

/// One of several processes on a bucket.
fn replica(bucket: Arc<dyn Bucket>) -> Arc<Registry> {
    let store = Arc::new(ObjectStore::new(bucket));
    let exclude = Arc::new(Unlocked::new("shelf".to_owned(), LockMode::Shared));
    let permissions = Permissions { delete: true, read_only: false };
    Arc::new(Registry::new(store, exclude, Arc::new(Guard::new()), permissions))
}

impl Registry {
    /// A chunk, hashed by what the digests of these tests are of.
    async fn chunk(self: &Arc<Self>, id: Uuid, expected: u64, content: &str) -> Result<u64, Error> {
        self.upload_append(&name(), id, expected, Algorithm::Sha256, body(content)).await
    }

    async fn end(self: &Arc<Self>, id: Uuid, expected: u64, whole: &str, last: &str) -> Result<(), Error> {
        self.upload_finish(&name(), id, expected, &Digest::sha256(whole.as_bytes()), body(last)).await
    }
}

/// The names of what is left of uploads.
fn left_of_uploads(shelf: &Shelf) -> Vec<String> {
    shelf.names().into_iter().filter(|name| name.contains("/_uploads/")).collect()
}

/// A replica is killed, or its answer is lost, when the upload is a blob and nothing of it is left.
#[tokio::test]
async fn an_end_that_comes_again_when_all_is_done_is_answered_as_before() {
    let shelf = shelf();
    let (one, other) = (replica(shelf.clone()), replica(shelf.clone()));
    for (chunk, last) in [("hello ", "world"), ("hello world", ""), ("", "hello world!")] {
        let id = one.upload_begin(&name()).await.unwrap().id;
        let (offset, whole) = (one.chunk(id, 0, chunk).await.unwrap(), format!("{chunk}{last}"));
        one.end(id, offset, &whole, last).await.unwrap();
        assert!(left_of_uploads(&shelf).is_empty());
        for replica in [&one, &other] {
            replica.end(id, offset, &whole, last).await.unwrap();
            let unknown = replica.end(id, offset, "other content", last).await;
            assert!(matches!(unknown, Err(Error::UploadUnknown { .. })), "{unknown:?}");
        }
        one.blob_delete(&name(), &Digest::sha256(whole.as_bytes())).await.unwrap();
        let unknown = one.end(id, offset, &whole, last).await;
        assert!(matches!(unknown, Err(Error::UploadUnknown { .. })), "it is not there any more: {unknown:?}");
    }
}

/// A balancer gives up waiting for one replica, which ends the upload while the other is at it.
#[tokio::test]
async fn an_end_that_another_replica_comes_before_is_answered() {
    let shelf = shelf();
    let (one, other) = (replica(shelf.clone()), replica(shelf.clone()));
    for last in ["", "the last chunk", &"the last chunk".repeat(20)] {
        let id = one.upload_begin(&name()).await.unwrap().id;
        let chunk = "x".repeat(250);
        let (offset, whole) = (other.chunk(id, 0, &chunk).await.unwrap(), format!("{chunk}{last}"));
        one.end(id, offset, &whole, last).await.unwrap();
        // What it remembers are objects that are gone.
        other.end(id, offset, &whole, last).await.unwrap();
        assert!(left_of_uploads(&shelf).is_empty(), "{last}");
    }
}

/// A replica is killed when the last chunk has arrived and is not a blob yet.
#[tokio::test]
async fn an_end_that_comes_again_with_its_chunk_needs_no_chunk() {
    let shelf = shelf();
    let (one, other) = (replica(shelf.clone()), replica(shelf.clone()));
    let id = one.upload_begin(&name()).await.unwrap().id;
    one.chunk(id, 0, "hello").await.unwrap();
    one.chunk(id, 5, " world").await.unwrap();
    let elsewhere = other.end(id, 5, "hello worlds", " worlds").await;
    assert!(matches!(elsewhere, Err(Error::UploadOffset { offset: 11, .. })), "{elsewhere:?}");
    other.end(id, 5, "hello world", " world").await.unwrap();
    assert_eq!(one.blob_stat(&name(), &Digest::sha256(b"hello world")).await.unwrap().size, 11);
    assert!(left_of_uploads(&shelf).is_empty());
}

#[tokio::test]
async fn a_chunk_that_comes_again_is_told_where_the_upload_goes_on() {
    let shelf = shelf();
    let (one, other) = (replica(shelf.clone()), replica(shelf.clone()));
    let id = one.upload_begin(&name()).await.unwrap().id;
    one.chunk(id, 0, "hello").await.unwrap();
    for replica in [&one, &other] {
        let again = replica.chunk(id, 0, "hello").await.map(|_| ());
        let whole = replica.end(id, 0, "hello world", "hello world").await;
        for refused in [again, whole] {
            assert!(matches!(refused, Err(Error::UploadOffset { offset: 5, .. })), "{refused:?}");
        }
    }
    assert_eq!(left_of_uploads(&shelf).len(), 2, "the beginning, and what was acknowledged");
    other.end(id, 5, "hello world", " world").await.unwrap();
    assert!(left_of_uploads(&shelf).is_empty());
}

/// Removes what was written together up to byte `end`, and leaves that and what follows it.
async fn remove_before(shelf: &Shelf, end: u64) {
    let kept = [format!("-{end:016x}-"), format!("/{end:016x}-")];
    let small = left_of_uploads(shelf).into_iter().filter(|name| name.contains("/berth/"));
    let small = small.filter(|name| !(name.contains("/0000000000000000-") && name.contains(&kept[0])));
    let small = small.filter(|name| !name.contains(&kept[1]));
    let small: Vec<berth_storage::Key> = small.map(|name| name.parse().unwrap()).collect();
    assert!(small.len() > 1, "{small:?}");
    shelf.remove(&small).await.unwrap();
}

/// What one replica remembers of an upload another has written together as one object, and removed.
#[tokio::test]
async fn what_is_remembered_is_looked_for_once_more_when_it_is_gone() {
    let whole = "x".repeat(240);
    for then in ["", "and more", &whole[..100]] {
        let shelf = shelf();
        // Its beginning and three chunks; then it cannot read what it would write together.
        let faults = [None, None, None, None, Some(Fault::Failed)];
        let one = replica(Arc::new(Faulty::listed(shelf.clone(), faults)));
        let other = replica(shelf.clone());
        let id = one.upload_begin(&name()).await.unwrap().id;
        for chunk in 0..3 {
            one.chunk(id, chunk * 40, &whole[..40]).await.unwrap();
        }
        assert_eq!(left_of_uploads(&shelf).len(), 4);
        assert_eq!(other.chunk(id, 120, "").await.unwrap(), 120);
        let whole = format!("{}{then}", &whole[..120]);
        let end = whole.len() as u64;
        match then.len() {
            0 => remove_before(&shelf, 120).await,
            // It would be written together with what is gone.
            8 => {
                remove_before(&shelf, 120).await;
                let told = one.chunk(id, 120, then).await;
                assert!(matches!(told, Err(Error::UploadOffset { offset: 128, .. })), "{told:?}");
            }
            // It is no small one, so nothing is missed before the end.
            _ => {
                assert_eq!(one.chunk(id, 120, then).await.unwrap(), end);
                remove_before(&shelf, 120).await;
            }
        }
        one.end(id, end, &whole, "").await.unwrap();
        assert_eq!(one.blob_stat(&name(), &Digest::sha256(whole.as_bytes())).await.unwrap().size, end);
        assert!(left_of_uploads(&shelf).is_empty());
    }
}

/// Where a listing may be late, what nobody was told has arrived is not waited for.
#[tokio::test(start_paused = true)]
async fn only_what_somebody_was_told_is_waited_for() {
    let abilities = Abilities { lists_at_once: false, ..ShelfOptions::default().abilities };
    let shelf = Arc::new(Shelf::new(ShelfOptions { abilities, ..ShelfOptions::default() }));
    for (told, waits) in [(0, false), (7, false), (100, true)] {
        let registry = replica(shelf.clone());
        let Upload { id, .. } = registry.upload_begin(&name()).await.unwrap();
        registry.chunk(id, 0, "content").await.unwrap();
        let begin = tokio::time::Instant::now();
        let place = Place { at: 100, told };
        let error = registry.upload_append(&name(), id, place, Algorithm::Sha256, body("more")).await.unwrap_err();
        assert!(matches!(error, Error::UploadOffset { offset: 7, .. }), "{error}");
        assert_eq!(begin.elapsed() >= Duration::from_secs(6), waits, "{told}: {:?}", begin.elapsed());
        // The client does as it is told.
        assert_eq!(registry.chunk(id, 7, " more").await.unwrap(), 12);
    }
}
