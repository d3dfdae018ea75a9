//! A store in a bucket: what the trait [`Store`] asks for, made of what a [`Bucket`] can do.
//!
//! Everything lies in the bucket, so any number of processes may serve it: an upload is objects whose names say what they
//! are (`chain`), and any of them can go on with it. Content whose digest is known beforehand goes straight to its key, in
//! parts if it is large; of an upload, the store copies what has arrived to the blob's key by itself, where it can (`plan`).
//! Content on its way is held in memory a chunk at a time, and all requests together hold no more than [`BUDGET_BYTES`]
//! (`intake`, `budget`).
//!
//! What lies in the tree, and what it means, is not known here.

mod budget;
mod chain;
mod intake;
mod plan;
#[cfg(test)]
mod tests;
mod upload;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use berth_oci::Digest;
use bytes::Bytes;

use crate::bucket::{Bucket, Listed, Listing, Start};
use crate::layout::UploadKey;
use crate::store::{
    Appended, ByteRange, Cursor, Entry, EntryKind, Incoming, ListRequest, MAX_PAGE, Object, Outgoing, Page, Progress,
    Written,
};
use crate::{Key, Stat, Store, StoreError};

use budget::Budget;

pub(crate) use chain::Chain;

/// How much of what is on its way into the store is held in memory at once, in bytes: with all else that a process has, and
/// what its allocator has not given back yet, that is less than 128 MiB.
const BUDGET_BYTES: usize = 48 * 1024 * 1024;

/// How many objects an upload may have: who goes on with it holds all their names for a moment. In pieces of a mebibyte that
/// is an upload of 48 GiB, in those of the usual size one of more than a tebibyte.
const MAX_PIECES: usize = 50_000;

/// The store in a bucket.
#[derive(Clone)]
pub struct ObjectStore {
    bucket: Arc<dyn Bucket>,
    budget: Budget,
}

impl ObjectStore {
    /// A store in a bucket.
    #[must_use]
    pub fn new(bucket: Arc<dyn Bucket>) -> Self {
        let budget = Budget::new(BUDGET_BYTES, bucket.limits().chunk_bytes);
        ObjectStore { bucket, budget }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.bucket
    }

    /// Every object below the directory of an upload, of which there are not too many.
    async fn all_below(&self, below: &Key) -> Result<Vec<(Key, Stat)>, StoreError> {
        let (mut found, mut next): (Vec<(Key, Stat)>, Option<String>) = (Vec::new(), None);
        loop {
            let start = next.as_deref().map_or(Start::First, Start::Page);
            let listed = self.bucket.list(Listing { below, one_level: false, start, limit: MAX_PAGE }).await?;
            let keys = listed.objects.into_iter().filter_map(|(name, stat)| Some((name.parse().ok()?, stat)));
            found.extend(keys);
            // Processes that write at once count each for itself.
            if found.len() > 2 * MAX_PIECES {
                return Err(StoreError::Pieces { limit: MAX_PIECES });
            }
            match listed.next {
                None => return Ok(found),
                more => next = more,
            }
        }
    }
}

/// A page of a bucket as a page of a store: objects and directories in one order, without what is no key.
fn page(listed: Listed) -> Page {
    let Listed { objects, directories, next } = listed;
    let key = |name: &str| name.parse::<Key>().ok();
    let objects = objects.into_iter().filter_map(|(name, stat)| {
        let entry = Entry { key: key(&name)?, kind: EntryKind::Object(stat) };
        Some((name, entry))
    });
    let directories = directories.into_iter().filter_map(|name| {
        let entry = Entry { key: key(&name)?, kind: EntryKind::Directory };
        Some((format!("{name}/"), entry))
    });
    let mut entries: Vec<(String, Entry)> = objects.chain(directories).collect();
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Page { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next: next.map(Cursor) }
}

#[async_trait]
impl Store for ObjectStore {
    fn driver(&self) -> &'static str {
        self.bucket.driver()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        self.bucket.place()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.bucket.check().await
    }

    async fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        self.bucket.head(key).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        self.bucket.get(key, range).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.bucket.put(key, content).await
    }

    async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.bucket.create(key, content).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.bucket.copy(from, to).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.bucket.delete(key).await
    }

    async fn delete_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        match keys {
            [] => Ok(()),
            keys => self.bucket.remove(keys).await,
        }
    }

    async fn delete_below(&self, below: &Key) -> Result<u64, StoreError> {
        let mut removed = 0;
        // Each page is removed before the next is asked for, which begins behind it.
        let mut next: Option<String> = None;
        loop {
            let start = next.as_deref().map_or(Start::First, Start::Page);
            let listed = self.bucket.list(Listing { below, one_level: false, start, limit: MAX_PAGE }).await?;
            let keys: Vec<Key> = listed.objects.iter().filter_map(|(name, _)| name.parse().ok()).collect();
            self.delete_all(&keys).await?;
            removed += keys.len() as u64;
            match listed.next {
                None => return Ok(removed),
                more => next = more,
            }
        }
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.bucket.remove_leftovers(below, before).await
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Page, StoreError> {
        let ListRequest { below, behind, one_level, after, limit } = request;
        let start = match (after, behind) {
            (Some(cursor), _) => Start::Page(&cursor.0),
            (None, Some(behind)) => Start::Behind(behind),
            (None, None) => Start::First,
        };
        let limit = limit.clamp(1, MAX_PAGE);
        self.bucket.list(Listing { below, one_level, start, limit }).await.map(page)
    }

    async fn begin(&self, upload: &UploadKey, started_at: Bytes) -> Result<Progress, StoreError> {
        self.bucket.put(&upload.started_at(), started_at).await?;
        Ok(upload::progress(Chain::default()))
    }

    async fn resume(&self, upload: &UploadKey, expected: Option<u64>) -> Result<Progress, StoreError> {
        self.resume_upload(upload, expected).await
    }

    async fn append(&self, upload: &UploadKey, from: Progress, body: Incoming) -> Result<Appended, StoreError> {
        self.append_upload(upload, from, body).await
    }

    async fn read_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError> {
        self.upload_data(upload, progress)
    }

    async fn finish(&self, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError> {
        self.finish_upload(upload, progress, to).await
    }

    async fn discard(&self, upload: &UploadKey, progress: &Progress) -> Result<(), StoreError> {
        self.discard_upload(upload, progress).await
    }

    fn writes_directly(&self) -> bool {
        true
    }

    async fn write(&self, to: &Key, digest: &Digest, body: Incoming) -> Result<Written, StoreError> {
        self.write_body(to, digest, body).await
    }

    async fn abort(&self, upload: &UploadKey) -> Result<(), StoreError> {
        match self.delete_below(upload.directory()).await? {
            0 => Err(StoreError::not_found(upload.directory())),
            _ => Ok(()),
        }
    }
}
