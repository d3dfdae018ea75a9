//! Several processes on one bucket, each step of which is taken when the test says so.

use std::sync::Arc;

use berth_oci::{Algorithm, Digest, Hasher};
use bytes::Bytes;
use futures::stream;
use uuid::Uuid;

use super::ObjectStore;
use crate::bucket::{Abilities, Bucket, Limits};
use crate::layers::{Faulty, Shelf, ShelfOptions};
use crate::layout::UploadKey;
use crate::{Incoming, Key, Progress, Store, StoreError};

/// Segments of less than 100 bytes are small.
fn shelf() -> Arc<Shelf> {
    let limits =
        Limits { chunk_bytes: 100, min_part_bytes: 50, max_parts: 1000, max_copy_bytes: 1 << 20, copies_at_once: 4 };
    Arc::new(Shelf::new(ShelfOptions { limits, ..ShelfOptions::default() }))
}

fn upload() -> UploadKey {
    UploadKey::new(&"team/app".parse().unwrap(), Uuid::new_v4())
}

async fn begun(store: &ObjectStore, upload: &UploadKey) -> Progress {
    let begun = store.begin(upload, Bytes::from_static(b"2026-01-01T00:00:00Z")).await.unwrap();
    begun.hashed(Hasher::new(Algorithm::Sha256))
}

async fn with(store: &ObjectStore, upload: &UploadKey, from: &Progress, content: &[u8]) -> Progress {
    let body = Incoming::new(stream::iter([Ok(Bytes::copy_from_slice(content))]));
    store.append(upload, from.clone(), body).await.unwrap().progress
}

/// A client is told by one process that its bytes arrived, while another writes what they follow together with more.
#[tokio::test]
async fn what_was_acknowledged_stays_when_another_process_writes_small_segments_together() {
    let shelf = shelf();
    let (one, other) = (ObjectStore::new(shelf.clone()), ObjectStore::new(shelf.clone()));
    // From behind which of the three segments the other process goes on, and how many bytes it takes there.
    for (from, bytes) in [(1, 90), (2, 90), (3, 10), (3, 90), (3, 110)] {
        let upload = upload();
        let mut progress = begun(&one, &upload).await;
        let mut looks = Vec::new();
        for number in 0..3_u8 {
            progress = with(&one, &upload, &progress, &[number; 40]).await;
            // A look before the last of these was written together with those before it.
            let looked = match number {
                2 => Progress { data: unmerged(&other, &upload).await, ..progress.clone() },
                _ => other.resume(&upload, None).await.unwrap(),
            };
            looks.push(looked);
        }
        let content = vec![9; bytes];
        let acknowledged = with(&other, &upload, &looks[from - 1], &content).await;
        let found = one.resume(&upload, Some(acknowledged.offset)).await.unwrap();
        assert_eq!(found.offset, acknowledged.offset, "{from} {bytes}");
        let whole: Vec<u8> = (0..from as u8).flat_map(|number| [number; 40]).chain(content).collect();
        assert_eq!(found.hasher.clone().unwrap().finish(), Digest::sha256(&whole));
        let blob: Key = "blob".parse().unwrap();
        one.finish(&upload, &found, &blob).await.unwrap();
        assert_eq!(shelf.peek("blob").unwrap(), whole);
        one.discard(&upload, &found).await.unwrap();
        assert_eq!(shelf.names(), ["blob"], "nothing is left of any branch");
    }
}

/// The data as a listing showed it before what is small was written together: of the most segments.
async fn unmerged(store: &ObjectStore, upload: &UploadKey) -> crate::store::UploadData {
    let found = store.all_below(upload.directory()).await.unwrap();
    let names = found.iter().filter_map(|(key, _)| upload.directory().strip(key));
    // The large one begins where the first small one does.
    let small = names.filter(|name| !name.contains(&format!("{:016x}-{:016x}-", 0, 120)));
    crate::store::UploadData::Chain(Arc::new(super::Chain::find(small, None, None)))
}

/// Whoever has written small segments together knows of them; nobody else has to look.
#[tokio::test]
async fn an_upload_in_little_pieces_ends_in_few_steps_and_leaves_nothing() {
    let shelf = shelf();
    let store = ObjectStore::new(shelf.clone());
    let upload = upload();
    let mut progress = begun(&store, &upload).await;
    for number in 0..200_u8 {
        progress = with(&store, &upload, &progress, &[number; 7]).await;
    }
    let crate::store::UploadData::Chain(chain) = &progress.data else { panic!("{progress:?}") };
    assert!(chain.segments().len() < 1400 / 100 + 15, "{}", chain.segments().len());
    let found = ObjectStore::new(shelf.clone()).resume(&upload, None).await.unwrap();
    let crate::store::UploadData::Chain(listed) = &found.data else { panic!("{found:?}") };
    assert_eq!(listed.segments(), chain.segments(), "another process need not write it together again");
    let bytes: usize = shelf.names().iter().map(|name| shelf.peek(name).unwrap().len()).sum();
    assert!(bytes <= 2 * 1400 + 20, "no more than twice as much: {bytes}");
    store.finish(&upload, &progress, &"blob".parse().unwrap()).await.unwrap();
    store.discard(&upload, &progress).await.unwrap();
    assert_eq!(shelf.names(), ["blob"]);
}

/// A client was told by one process that its bytes arrived, and goes on with another, which does not see them at first.
#[tokio::test(start_paused = true)]
async fn what_arrived_is_looked_for_until_the_listing_has_it() {
    for (at_once, comes_at, expected) in [(false, 3, 7), (false, 100, 0), (true, 3, 0)] {
        let abilities = Abilities { lists_at_once: at_once, ..ShelfOptions::default().abilities };
        let shelf = Arc::new(Shelf::new(ShelfOptions { abilities, ..ShelfOptions::default() }));
        let upload = upload();
        let one = ObjectStore::new(shelf.clone());
        let progress = begun(&one, &upload).await;
        with(&one, &upload, &progress, b"content").await;
        let name = shelf.names().into_iter().find(|name| shelf.peek(name).unwrap() == "content").unwrap();
        shelf.delete(&name.parse().unwrap()).await.unwrap();
        let faulty = Arc::new(Faulty::listed(shelf.clone(), []));
        for look in 1..=comes_at {
            let (shelf, name) = (shelf.clone(), name.clone());
            faulty.before("list", upload.directory(), None, async move {
                if look == comes_at {
                    shelf.plant(&name, "content");
                }
            });
        }
        let found = ObjectStore::new(faulty).resume(&upload, Some(7)).await.unwrap();
        assert_eq!(found.offset, expected, "{at_once} {comes_at}");
    }
}

/// Swift's containers tell of an object when they come to it.
#[tokio::test]
async fn an_upload_that_no_listing_has_yet_can_be_gone_on_with() {
    let shelf = Arc::new(Shelf::new(ShelfOptions { late: Some("startedat"), ..ShelfOptions::default() }));
    let (one, other) = (ObjectStore::new(shelf.clone()), ObjectStore::new(shelf));
    let upload = upload();
    let progress = begun(&one, &upload).await;
    with(&one, &upload, &progress, b"content").await;
    assert_eq!(other.resume(&upload, None).await.unwrap().offset, 7);
    let unknown = other.resume(&self::upload(), None).await.unwrap_err();
    assert!(unknown.is_not_found(), "{unknown}");
}

/// What another program has begun may be of any length, and where the store copies no parts all of it is moved.
#[tokio::test]
async fn a_long_beginning_of_another_program_is_moved_in_pieces() {
    let limits =
        Limits { chunk_bytes: 100, min_part_bytes: 50, max_parts: 1000, max_copy_bytes: 1 << 20, copies_at_once: 4 };
    let mut options = ShelfOptions { limits, ..ShelfOptions::default() };
    options.abilities.copies_parts = false;
    let shelf = Arc::new(Shelf::new(options));
    let (store, upload) = (ObjectStore::new(shelf.clone()), upload());
    begun(&store, &upload).await;
    let foreign: Vec<u8> = (0..1234_u32).map(|at| at as u8).collect();
    shelf.plant(upload.data().as_str(), foreign.clone());
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&foreign);
    let found = store.resume(&upload, Some(1234)).await.unwrap().hashed(hasher);
    let progress = with(&store, &upload, &found, b"and what Berth has taken").await;
    store.finish(&upload, &progress, &"blob".parse().unwrap()).await.unwrap();
    assert_eq!(shelf.peek("blob").unwrap(), [&foreign[..], b"and what Berth has taken"].concat());
}

/// Whoever goes on with an upload holds the names of all its objects.
#[tokio::test]
async fn an_upload_has_only_so_many_pieces() {
    let shelf = shelf();
    let (store, upload) = (ObjectStore::new(shelf.clone()), upload());
    begun(&store, &upload).await;
    let (mut chain, mut hasher) = (super::Chain::default(), Hasher::new(Algorithm::Sha256));
    for _ in 0..super::MAX_PIECES {
        hasher.update(b"x");
        chain.push(chain.next(&hasher));
    }
    let body = Incoming::new(stream::iter([Ok(Bytes::from_static(b"x"))]));
    let refused = store.append(&upload, super::upload::progress(chain), body).await.unwrap_err();
    assert!(matches!(refused, StoreError::Pieces { .. }), "{refused}");
    assert_eq!(shelf.names(), [upload.started_at().to_string()], "nothing was written");
}
