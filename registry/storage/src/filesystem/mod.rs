//! A store in a directory of a file system.
//!
//! An object is a file at its key. A write goes to a file of its own under `berth/v1/tmp`, is synced, renamed into place,
//! and the directory is synced: a crash leaves the old object or the new one. Listing walks directories in the order of
//! the keys. Every process holds the lock file: a server shared, the offline collector alone.
//!
//! File operations block, so each runs on a thread of its own pool, at most `max_threads` at once; a look or a read that
//! the kernel can answer from memory does without the hop (`resident`). Large content moves in large buffers: of a push,
//! one thread hashes a buffer and another writes it while the next one fills; of a pull from the disk, one buffer is read
//! ahead of the client.
//!
//! What lies in the tree, and what it means, is not known here.

mod append;
mod lock;
mod resident;
mod stream;
mod tree;
mod upload;
mod walk;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use berth_oci::{Algorithm, Digest, Hasher};
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::layout::UploadKey;
use crate::store::{
    Appended, ByteRange, Exclude, Excluded, Incoming, ListRequest, Object, Outgoing, Page, Progress, Written,
    not_directly,
};
use crate::{Key, Stat, Store, StoreError};

pub use lock::LockMode;

/// The store in a directory.
#[derive(Clone, Debug)]
pub struct Filesystem {
    tree: Arc<tree::Tree>,
    threads: Arc<Semaphore>,
    /// Held for as long as any clone of the store lives.
    lock: Arc<Mutex<lock::Lock>>,
}

impl Filesystem {
    /// Opens the store in `root`, which is made if it does not exist, with at most `max_threads` file operations at once.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process excludes this one, or what the operating system says.
    pub fn open(root: &Path, max_threads: usize, mode: LockMode) -> Result<Self, StoreError> {
        let tree = tree::Tree::open(root)?;
        let lock = lock::Lock::take(&tree, mode)?;
        Ok(Filesystem {
            tree: Arc::new(tree),
            threads: Arc::new(Semaphore::new(max_threads.clamp(1, Semaphore::MAX_PERMITS))),
            lock: Arc::new(Mutex::new(lock)),
        })
    }

    /// Runs a file operation on a blocking thread, when one of the store's permits is free.
    async fn blocking<T: Send + 'static>(
        &self,
        key: &Key,
        action: &'static str,
        operation: impl FnOnce(&tree::Tree) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let tree = self.tree.clone();
        // The semaphore is never closed, so a missing permit can only mean that nothing limits any more.
        let permit = self.threads.clone().acquire_owned().await.ok();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            operation(&tree)
        });
        task.await.unwrap_or_else(|stopped| {
            Err(StoreError::Io { key: key.to_string(), action, source: std::io::Error::other(stopped) })
        })
    }
}

#[async_trait]
impl Exclude for Filesystem {
    async fn exclude(&self) -> Result<Excluded, StoreError> {
        let lock = self.lock.clone();
        let key = Key::built(crate::layout::COLLECTING.to_owned());
        self.blocking(&key, "look for other servers", move |tree| {
            lock.lock().unwrap_or_else(PoisonError::into_inner).exclude(tree)
        })
        .await
    }

    async fn prepare_to_write(&self) -> Result<(), StoreError> {
        let lock = self.lock.clone();
        let key = Key::built(crate::layout::LOCK.to_owned());
        self.blocking(&key, "lock the store", move |tree| {
            lock.lock().unwrap_or_else(PoisonError::into_inner).prepare_to_write(tree)
        })
        .await
    }
}

#[async_trait]
impl Store for Filesystem {
    fn driver(&self) -> &'static str {
        "filesystem"
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        self.tree.root().display().to_string()
    }

    async fn check(&self) -> Result<(), StoreError> {
        // An object that is not there is as good a sign as one that is: the store has answered.
        match self.stat(&crate::layout::http_secret()).await {
            Err(error) if error.is_not_found() => Ok(()),
            looked => looked.map(|_| ()),
        }
    }

    async fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        if let Some(found) = self.tree.resident_stat(key) {
            return found;
        }
        let own = key.clone();
        self.blocking(key, "look at the file", move |tree| tree.stat(&own)).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let (stat, range, opened) = match stream::Reader::open_resident(&self.tree, key, range) {
            Some(opened) => opened?,
            None => {
                let own = key.clone();
                self.blocking(key, "open the file", move |tree| stream::Reader::open(tree, own, range)).await?
            }
        };
        Ok(Object { stat, range, body: opened.into_stream(self.tree.clone()) })
    }

    async fn read(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        if let Some(content) = stream::read_resident(&self.tree, key, limit) {
            return content;
        }
        let own = key.clone();
        self.blocking(key, "read the file", move |tree| stream::read_whole(tree, &own, limit)).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let own = key.clone();
        self.blocking(key, "write the file", move |tree| tree.write(&own, &content, tree::Placing::Replace)).await
    }

    async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let own = key.clone();
        self.blocking(key, "write the file", move |tree| tree.write(&own, &content, tree::Placing::IfAbsent)).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (from, own) = (from.clone(), to.clone());
        self.blocking(to, "copy the file", move |tree| tree.copy(&from, &own)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let own = key.clone();
        self.blocking(key, "delete the file", move |tree| tree.delete(&own)).await
    }

    async fn delete_below(&self, below: &Key) -> Result<u64, StoreError> {
        let own = below.clone();
        self.blocking(below, "delete the directory", move |tree| tree.delete_below(&own)).await
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Page, StoreError> {
        let ListRequest { below, behind, one_level, after, limit } = request;
        let (own, behind, after) = (below.clone(), behind.map(str::to_owned), after.cloned());
        self.blocking(below, "list the directory", move |tree| {
            let (behind, after) = (behind.as_deref(), after.as_ref());
            walk::page(tree, &ListRequest { below: &own, behind, one_level, after, limit })
        })
        .await
    }

    async fn begin(&self, upload: &UploadKey, started_at: Bytes) -> Result<Progress, StoreError> {
        let own = upload.started_at();
        self.blocking(upload.directory(), "begin the upload", move |tree| tree.write_unsynced(&own, &started_at))
            .await?;
        Ok(Progress::of_file(0, None))
    }

    async fn resume(&self, upload: &UploadKey, _expected: Option<u64>) -> Result<Progress, StoreError> {
        let own = upload.clone();
        let offset =
            self.blocking(upload.directory(), "look at the upload", move |tree| tree.upload_offset(&own)).await?;
        Ok(Progress::of_file(offset, None))
    }

    async fn append(&self, upload: &UploadKey, from: Progress, body: Incoming) -> Result<Appended, StoreError> {
        let (own, offset) = (upload.clone(), from.offset);
        let hasher = from.hasher.unwrap_or_else(|| Hasher::new(Algorithm::Sha256));
        let writer = self
            .blocking(upload.directory(), "open the upload", move |tree| {
                append::Writer::open(tree, &own, offset, hasher)
            })
            .await?;
        append::append(self, writer, body).await
    }

    async fn read_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError> {
        match progress.offset {
            0 => Ok(Box::pin(futures::stream::empty())),
            _ => self.get(&upload.data(), None).await.map(|object| object.body),
        }
    }

    async fn finish(&self, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError> {
        let (own, to_own, size) = (upload.clone(), to.clone(), progress.offset);
        self.blocking(to, "finish the upload", move |tree| tree.finish_upload(&own, &to_own, size)).await
    }

    async fn abort(&self, upload: &UploadKey) -> Result<(), StoreError> {
        let own = upload.clone();
        self.blocking(upload.directory(), "remove the upload", move |tree| tree.remove_upload(&own)).await
    }

    async fn discard(&self, _upload: &UploadKey, _progress: &Progress) -> Result<(), StoreError> {
        // The data was moved.
        Ok(())
    }

    fn writes_directly(&self) -> bool {
        false
    }

    async fn write(&self, to: &Key, _digest: &Digest, _body: Incoming) -> Result<Written, StoreError> {
        Err(not_directly(to))
    }

    async fn remove_leftovers(&self, _below: &Key, _before: SystemTime) -> Result<u64, StoreError> {
        // Whatever was begun is a file that a listing shows, or one below `berth/v1/tmp`, which a start cleans up.
        Ok(0)
    }
}
