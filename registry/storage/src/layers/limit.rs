//! At most so many requests to a store at once.
//!
//! A request holds its permit until its answer has come. A `get` gives it back when its answer begins, not when its body has
//! been read, for two reasons. How fast a body is read is up to the client that pulls: with permits held for bodies, as many
//! slow clients as there are permits would keep every push, every look at a tag and every other pull from the store. And
//! whoever reads an object to write it anew needs the answer of a write while the body is open: with as many of them as there
//! are permits, each would wait for one that another holds, forever. What is given up is a bound on open bodies here; they
//! are bounded where clients are, by the requests that the server takes, since each belongs to one.
//!
//! So no request waits for a permit while it holds one, and each gives its own back when the HTTP client has lost its
//! patience at the latest. Those that wait are served in their order; one that is dropped leaves the queue. What a driver
//! sends at once for one call, such as the parts of a large copy, counts as one and is bounded by the driver.
//!
//! `check` takes no permit: whether the store can be reached is asked because it may be that nothing moves, and a store
//! that is only busy must not look as if it were gone.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag};
use crate::{ByteRange, Key, Object, Stat, StoreError};

/// A bucket that is asked for only so much at once.
pub struct Limited {
    inner: Arc<dyn Bucket>,
    permits: Semaphore,
}

impl Limited {
    /// At most `max_requests` at once; at least one.
    #[must_use]
    pub fn new(inner: Arc<dyn Bucket>, max_requests: usize) -> Self {
        Limited { inner, permits: Semaphore::new(max_requests.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    /// The semaphore is never closed, so a missing permit can only mean that nothing limits any more.
    async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }
}

#[async_trait]
impl Bucket for Limited {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        self.inner.probe().await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        let _permit = self.permit().await;
        self.inner.head(key).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let _permit = self.permit().await;
        self.inner.get(key, range).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.put(key, content).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.create(key, content).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.copy(from, to).await
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.copy_sized(from, to, size).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.delete(key).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.remove(keys).await
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        let _permit = self.permit().await;
        self.inner.list(listing).await
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        let _permit = self.permit().await;
        self.inner.begin_parts(to).await
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        let _permit = self.permit().await;
        self.inner.put_part(to, assembly, number, content).await
    }

    async fn copy_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        let _permit = self.permit().await;
        self.inner.copy_part(to, assembly, number, from, size, range).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.complete_parts(to, assembly, parts, size).await
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        let _permit = self.permit().await;
        self.inner.abort_parts(to, assembly).await
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        let _permit = self.permit().await;
        self.inner.remove_leftovers(below, before).await
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        let _permit = self.permit().await;
        self.inner.adopt_parts(key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Fault, Faulty};
    use crate::layers::{Shelf, ShelfOptions};

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn over_stalling(max_requests: usize, stalled: usize) -> Limited {
        let shelf = Shelf::new(ShelfOptions::default());
        shelf.plant("a", vec![7; 100_000]);
        let faults = std::iter::repeat_n(Some(Fault::Stalled), stalled);
        Limited::new(Arc::new(Faulty::listed(Arc::new(shelf), faults)), max_requests)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_those_before_them_and_a_check_for_none() {
        let limited = over_stalling(2, 4);
        let began = tokio::time::Instant::now();
        let key = key("a");
        let ended = || began.elapsed().as_secs() / Faulty::PATIENCE.as_secs();
        let head = || async { (limited.head(&key).await.is_err(), ended()) };
        let check = async {
            // The list of faults is one for all: the two heads that are let through at once have taken theirs.
            tokio::task::yield_now().await;
            (limited.check().await.is_err(), ended())
        };
        let (heads, check) = futures::join!(futures::future::join_all((0..5).map(|_| head())), check);
        assert_eq!(heads, [(true, 1), (true, 1), (true, 2), (false, 1), (false, 1)]);
        assert_eq!(check, (true, 1));
    }

    #[tokio::test]
    async fn bodies_that_nobody_reads_keep_nobody_from_the_store() {
        let limited = over_stalling(1, 0);
        let (a, b) = (key("a"), key("b"));
        let first = limited.get(&a, None).await.unwrap();
        let second = limited.get(&a, None).await.unwrap();
        limited.put(&b, Bytes::from_static(b"x")).await.unwrap();
        drop((first, second));
        assert_eq!(limited.permits.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_dropped_gives_its_permit_back() {
        let limited = over_stalling(1, 1);
        let a = key("a");
        let brief = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(brief, limited.head(&a)).await.is_err());
        assert!(limited.head(&a).await.is_ok());
    }
}
