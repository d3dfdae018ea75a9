//! What fails for a moment is tried again.
//!
//! A request whose answer is lost may have been carried out, so a second try can find what the first has done. Every method
//! but these does the same once more:
//!
//! - `create` finds an object. It is read; if its content is what was to be written, it is taken for ours. So what decides
//!   between writers has to differ from writer to writer: two that write the same may both be told that they created it.
//! - `delete` finds nothing, and `abort_parts` no assembly: that is what was wanted.
//! - `complete_parts` finds no assembly, or none of its parts. If the object is there and has the right size, it is taken for
//!   complete. So a key that parts are written for has one content of a size, as one that is named by a digest has.
//! - `complete_parts` may also be told that all is done while the first try is still at it: some stores answer so as soon as
//!   an assembly is being put together, which can fail. So an answer to any but the first try counts when the object has been
//!   seen, for which it is waited. `copy_sized` is held to the same.
//! - `adopt_parts` finds nothing to adopt. What lies at the key then is what the first try has made.
//! - `begin_parts` leaves an assembly behind that nobody knows, which holds no parts; stores drop those by age.
//!
//! What a request does *after* it was given up for lost cannot be seen from here: a write that hangs in a proxy and arrives
//! after a later one undoes that. Clients of object stores live with this; what must not depend on it is made with `create`.
//!
//! `check` is tried once. It is asked again and again by those who want to know how the store does now, and they count.
//!
//! A body that breaks off goes on with another request, from where it broke, if the object is still the same (`body`). One
//! that is small is read before it is given out and anew from its beginning, because it is the small objects that are
//! replaced: half of a link and half of its successor, of one length and one second, would be no digest at all.

mod body;
mod pace;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryFutureExt};
use tokio::time::Instant;
use tracing::Instrument;

use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag};
use crate::{ByteRange, Key, Object, Stat, StoreError};

pub use pace::RetryOptions;

/// A bucket whose requests are tried again.
#[derive(Clone)]
pub struct Retrying {
    inner: Arc<dyn Bucket>,
    pace: Arc<Pace>,
}

/// What all requests of a store share.
struct Pace {
    options: RetryOptions,
    budget: AtomicU32,
    /// Whether the budget is used up, and the log says so.
    is_spent: AtomicBool,
}

/// The tries of one request so far.
#[derive(Debug)]
struct Course {
    /// How many have failed or are under way.
    tries: u32,
    /// When the first of them failed; of a body, when it broke off last.
    failed_at: Option<Instant>,
}

impl Course {
    fn new() -> Self {
        Course { tries: 1, failed_at: None }
    }
}

impl Pace {
    /// How long to wait before the next try; none if there is none.
    fn next_try(&self, course: &mut Course) -> Option<Duration> {
        let since = course.failed_at.get_or_insert_with(Instant::now).elapsed();
        // Without random numbers everybody waits for the longest time, which is no worse than what they wait for.
        let random = getrandom::u64().unwrap_or(u64::MAX);
        let wait = pace::next_try(&self.options, course.tries, since, random)?;
        if self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pace::pay).is_err() {
            if !self.is_spent.swap(true, Ordering::Relaxed) {
                tracing::warn!("the store fails so often that requests are not tried again until it answers");
            }
            return None;
        }
        course.tries += 1;
        Some(wait)
    }

    fn answered(&self, tries: u32) {
        let pay_back = |budget| Some(pace::pay_back(&self.options, budget, tries));
        let _ = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay_back);
        // Half of it: one answer among failures is not the end of them.
        let is_well = self.budget.load(Ordering::Relaxed) > self.options.budget / 2;
        if is_well && self.is_spent.swap(false, Ordering::Relaxed) {
            tracing::info!("the store answers again");
        }
    }
}

impl Retrying {
    /// Tries requests to `inner` again.
    #[must_use]
    pub fn new(inner: Arc<dyn Bucket>, options: RetryOptions) -> Self {
        let budget = AtomicU32::new(options.budget);
        Retrying { inner, pace: Arc::new(Pace { options, budget, is_spent: AtomicBool::new(false) }) }
    }

    /// Sends a request until it is answered, or not worth trying any more; and says whether it was tried before.
    async fn tries<'a, T>(
        &self,
        action: &'static str,
        key: impl Display + Send + Sync,
        request: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>> + Send,
    ) -> (Result<T, StoreError>, bool) {
        let mut course = Course::new();
        let result = self.go_on(&mut course, action, key, request).await;
        (result, course.tries > 1)
    }

    /// The same for a request that may have been tried before.
    async fn go_on<'a, T>(
        &self,
        course: &mut Course,
        action: &'static str,
        key: impl Display + Send + Sync,
        mut request: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        loop {
            let span = tracing::debug_span!("try", attempt = course.tries);
            match request().instrument(span).await {
                Err(error) if error.is_transient() => {
                    if !self.wait(course, action, &key, &error).await {
                        return Err(error);
                    }
                }
                result => {
                    self.pace.answered(course.tries);
                    return result;
                }
            }
        }
    }

    /// Waits for the next try, if there is one.
    async fn wait(
        &self,
        course: &mut Course,
        action: &'static str,
        key: impl Display + Send,
        error: &StoreError,
    ) -> bool {
        let Some(wait) = self.pace.next_try(course) else { return false };
        let (driver, wait_ms) = (self.inner.driver(), wait.as_millis() as u64);
        tracing::debug!(driver, action, %key, attempt = course.tries, wait_ms, %error, "a request is tried again");
        tokio::time::sleep(wait).await;
        true
    }

    /// Makes sure of an object of so many bytes that the store says it has made, but at another try than the first: it waits
    /// until it is there.
    async fn settled(&self, action: &'static str, to: &Key, size: u64) -> Result<(), StoreError> {
        let (began, mut looks) = (Instant::now(), 0);
        loop {
            let found = match self.head(to).await {
                Ok(stat) if stat.size == size => return Ok(()),
                Ok(stat) => format!("has {} bytes, not {size}", stat.size),
                Err(error) if error.is_not_found() => "is not there".to_owned(),
                Err(error) => return Err(error),
            };
            looks += 1;
            let Some(wait) = pace::next_look(&self.pace.options, looks, began.elapsed()) else {
                return Err(StoreError::unreachable(
                    to,
                    action,
                    format!("the store says that it has, but the object {found}"),
                ));
            };
            tracing::debug!(key = %to, found, "an object is waited for that the store says it has made");
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether an object holds just this content.
    async fn holds(&self, key: &Key, content: &[u8]) -> Result<bool, StoreError> {
        let mut object = match self.get(key, None).await {
            Ok(object) if object.stat.size == content.len() as u64 => object,
            Ok(_) => return Ok(false),
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut rest = content;
        while let Some(piece) = object.body.next().await {
            match rest.strip_prefix(&*piece?) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }
}

/// Whether the store says that what parts are put together from is not there, in the words of any store.
fn has_lost_parts(error: &StoreError) -> bool {
    match error {
        StoreError::NotFound { .. } => true,
        StoreError::Service { refusal, .. } => matches!(refusal.status, 400 | 404 | 409 | 410 | 412),
        _ => false,
    }
}

#[async_trait]
impl Bucket for Retrying {
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
        let result = self.inner.check().await;
        if !result.as_ref().is_err_and(StoreError::is_transient) {
            self.pace.answered(1);
        }
        result
    }

    /// Asked again by whoever asks, until it succeeds.
    async fn probe(&self) -> Result<Abilities, StoreError> {
        self.inner.probe().await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.tries("head", key, || self.inner.head(key)).await.0
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let mut course = Course::new();
        let open = || -> BoxFuture<'_, _> { Box::pin(body::open(&*self.inner, key, range)) };
        let object = self.go_on(&mut course, "get", key, open).await?;
        Ok(body::going_on(self.clone(), key.clone(), object, course))
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.tries("put", key, || self.inner.put(key, content.clone())).await.0
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        match self.tries("create", key, || self.inner.create(key, content.clone())).await {
            (Err(error @ StoreError::AlreadyExists { .. }), true) => {
                if self.holds(key, &content).await? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            (result, _) => result,
        }
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.tries("copy", to, || self.inner.copy(from, to)).await.0
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        match self.tries("copy", to, || self.inner.copy_sized(from, to, size)).await {
            (Ok(()), true) => self.settled("copy to it", to, size).await,
            (result, _) => result,
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self.tries("delete", key, || self.inner.delete(key)).await {
            (Err(StoreError::NotFound { .. }), true) => Ok(()),
            (result, _) => result,
        }
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.tries("remove", self.place(), || self.inner.remove(keys)).await.0
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        let page =
            || -> BoxFuture<'_, _> { Box::pin(async move { self.inner.list(listing).await?.moving_on(&listing) }) };
        self.tries("list", listing.below, page).await.0
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        self.tries("begin_parts", to, || self.inner.begin_parts(to)).await.0
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.tries("put_part", to, || self.inner.put_part(to, assembly, number, content.clone())).await.0
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
        self.tries("copy_part", to, || self.inner.copy_part(to, assembly, number, from, size, range)).await.0
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        let is_unknown = AtomicBool::new(false);
        let complete = || -> BoxFuture<'_, _> {
            let completing = self.inner.complete_parts(to, assembly, parts.clone(), size);
            let is_unknown = &is_unknown;
            Box::pin(completing.inspect_err(|error| {
                is_unknown.fetch_or(error.is_unknown(), Ordering::Relaxed);
            }))
        };
        match self.tries("complete_parts", to, complete).await {
            // What was refused last may have been done by a try before.
            (Err(error), true) if error.is_transient() && is_unknown.load(Ordering::Relaxed) => {
                Err(StoreError::unreachable(to, "put it together", error))
            }
            (Err(error), true) if has_lost_parts(&error) => match self.head(to).await {
                Ok(stat) if stat.size == size => Ok(()),
                Ok(_) => Err(error),
                Err(missing) if missing.is_not_found() => Err(error),
                Err(unknown) => Err(unknown),
            },
            (Ok(()), true) => self.settled("put it together", to, size).await,
            (result, _) => result,
        }
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        match self.tries("abort_parts", to, || self.inner.abort_parts(to, assembly)).await {
            (Err(error), true) if has_lost_parts(&error) => Ok(()),
            (result, _) => result,
        }
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.tries("remove_leftovers", below, || self.inner.remove_leftovers(below, before)).await.0
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        match self.tries("adopt_parts", key, || self.inner.adopt_parts(key)).await {
            (Ok(None), true) => match self.head(key).await {
                Ok(stat) => Ok(Some(stat)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            },
            (result, _) => result,
        }
    }
}

#[cfg(test)]
mod tests;
