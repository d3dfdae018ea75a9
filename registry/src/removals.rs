//! A store that counts what is removed from it, so that what is remembered of it can be doubted; and that leaves word of it
//! for other replicas (`news.rs`), where they look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use berth_oci::Digest;
use berth_storage::layout::{self, UploadKey};
use berth_storage::{
    Appended, ByteRange, Incoming, Key, ListRequest, Object, Outgoing, Page, Progress, Stat, Store, StoreError, Written,
};
use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

/// For how long a look for word of other replicas stands (`news.rs`): as long as two take, and a little.
const WATCHED: Duration = Duration::from_millis(2500);

/// How often something was removed from a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    /// Whether anybody has asked since somebody looked.
    asked: AtomicBool,
    /// When the first and the last look for word of other replicas began that went well.
    watched: Mutex<Option<(Instant, Instant)>>,
}

impl Removals {
    /// The number of removals that are complete, or may be.
    pub(crate) fn so_far(&self) -> u64 {
        // Written only when it changes: every request reads what lies beside it.
        if !self.0.asked.load(Ordering::Relaxed) {
            self.0.asked.store(true, Ordering::Relaxed);
        }
        self.0.count.load(Ordering::Acquire)
    }

    /// Counts one more.
    pub(crate) fn count(&self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether anybody has asked since the last time that this was asked.
    pub(crate) fn was_asked(&self) -> bool {
        self.0.asked.swap(false, Ordering::Relaxed)
    }

    /// Word of other replicas was looked for at this moment.
    pub(crate) fn watched(&self, at: Instant) {
        let mut watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let first = watched.map_or(at, |(first, _)| first);
        *watched = Some((first, at));
    }

    /// Since when the removals of other replicas are counted as well, if they are. A time without a look in between does not
    /// matter: the next one finds whether anything was removed meanwhile.
    pub(crate) fn watched_since(&self) -> Option<Instant> {
        let watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.filter(|(_, last)| last.elapsed() < WATCHED).map(|(first, _)| first)
    }
}

/// A store whose removals are counted.
pub(crate) struct Counted {
    inner: Arc<dyn Store>,
    removals: Removals,
    word: Arc<Word>,
}

impl Counted {
    pub(crate) fn new(inner: Arc<dyn Store>, removals: Removals) -> Self {
        Counted { inner, removals, word: Arc::default() }
    }

    /// Leaves word for other replicas: at once, unless word was left a moment ago; then a little later, for all removals that
    /// there are until then. Some stores take no more than one change of an object in a second.
    async fn tell(&self) {
        if !self.inner.is_remote() {
            return;
        }
        let Some(wait) = self.word.next() else { return };
        if wait.is_zero() {
            return leave(self.inner.as_ref(), &self.word).await;
        }
        let (store, word) = (self.inner.clone(), self.word.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            leave(store.as_ref(), &word).await;
        });
    }
}

/// The time between two words.
const WORD_PAUSE: Duration = Duration::from_secs(1);

/// When word was left, and whether it is about to be.
#[derive(Debug, Default)]
struct Word(Mutex<(Option<Instant>, bool)>);

impl Word {
    /// In how long word is to be left; none if somebody is about to.
    fn next(&self) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, is_due) = &mut *state;
        let wait = last.map_or(Duration::ZERO, |last| WORD_PAUSE.saturating_sub(last.elapsed()));
        (!std::mem::replace(is_due, true)).then_some(wait)
    }

    /// It is being left now: what is removed from here on needs another.
    fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Some(Instant::now()), false);
    }
}

async fn leave(store: &dyn Store, word: &Word) {
    word.begins();
    // Where that fails, others notice later.
    if let Err(error) = store.put(&layout::removed(), Uuid::new_v4().to_string().into()).await {
        tracing::warn!(%error, "cannot leave word of a removal: other replicas may serve what is gone for half a minute");
    }
}

/// Counts when it is dropped: also for a caller that does not wait for the end, and for a removal that fails, which may
/// have been made nevertheless.
struct AtTheEnd<'a>(&'a Removals);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.count();
    }
}

#[async_trait]
impl Store for Counted {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        self.inner.stat(key).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        self.inner.get(key, range).await
    }

    async fn read(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.inner.read(key, limit).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.inner.put(key, content).await
    }

    async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.inner.put_if_absent(key, content).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.inner.copy(from, to).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let deleted = {
            let _counts = AtTheEnd(&self.removals);
            self.inner.delete(key).await
        };
        if !layout::is_of_upload(key) {
            self.tell().await;
        }
        deleted
    }

    async fn delete_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        // Of uploads nothing is remembered.
        let counts = !keys.iter().all(layout::is_of_upload);
        let deleted = {
            let _counts = counts.then(|| AtTheEnd(&self.removals));
            self.inner.delete_all(keys).await
        };
        if counts {
            self.tell().await;
        }
        deleted
    }

    async fn delete_below(&self, below: &Key) -> Result<u64, StoreError> {
        let deleted = {
            let _counts = AtTheEnd(&self.removals);
            self.inner.delete_below(below).await
        };
        if !layout::is_of_upload(below) {
            self.tell().await;
        }
        deleted
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Page, StoreError> {
        self.inner.list(request).await
    }

    async fn begin(&self, upload: &UploadKey, started_at: Bytes) -> Result<Progress, StoreError> {
        self.inner.begin(upload, started_at).await
    }

    async fn resume(&self, upload: &UploadKey, expected: Option<u64>) -> Result<Progress, StoreError> {
        self.inner.resume(upload, expected).await
    }

    async fn append(&self, upload: &UploadKey, from: Progress, body: Incoming) -> Result<Appended, StoreError> {
        self.inner.append(upload, from, body).await
    }

    async fn read_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError> {
        self.inner.read_upload(upload, progress).await
    }

    async fn finish(&self, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError> {
        self.inner.finish(upload, progress, to).await
    }

    async fn discard(&self, upload: &UploadKey, progress: &Progress) -> Result<(), StoreError> {
        self.inner.discard(upload, progress).await
    }

    fn writes_directly(&self) -> bool {
        self.inner.writes_directly()
    }

    async fn write(&self, to: &Key, digest: &Digest, body: Incoming) -> Result<Written, StoreError> {
        self.inner.write(to, digest, body).await
    }

    async fn abort(&self, upload: &UploadKey) -> Result<(), StoreError> {
        self.inner.abort(upload).await
    }

    /// Of what no listing shows nothing is remembered.
    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.inner.remove_leftovers(below, before).await
    }
}

#[cfg(test)]
mod tests {
    use berth_oci::Digest as ContentDigest;
    use berth_storage::ObjectStore;
    use berth_storage::layers::{Shelf, ShelfOptions};

    use super::*;

    /// Some stores take one change of an object in a second, and a manifest may have a thousand tags.
    #[tokio::test(start_paused = true)]
    async fn word_of_many_removals_is_left_at_once_and_once_a_second() {
        let shelf = Arc::new(Shelf::new(ShelfOptions::default()));
        let store = Counted::new(Arc::new(ObjectStore::new(shelf.clone())), Removals::default());
        let key = layout::blob_data(&ContentDigest::sha256(b"x"));
        let word = || shelf.peek(layout::removed().as_str());
        let remove = async || {
            store.put(&key, Bytes::from_static(b"x")).await.unwrap();
            store.delete(&key).await.unwrap();
        };
        remove().await;
        let first = word().expect("at once");
        for _ in 0..1000 {
            remove().await;
        }
        assert_eq!(word().unwrap(), first);
        tokio::time::sleep(WORD_PAUSE).await;
        tokio::task::yield_now().await;
        let second = word().unwrap();
        assert_ne!(second, first, "of those that came later");
        tokio::time::sleep(10 * WORD_PAUSE).await;
        assert_eq!(word().unwrap(), second, "nothing more was removed");
        remove().await;
        assert_ne!(word().unwrap(), second, "at once again");
    }
}
