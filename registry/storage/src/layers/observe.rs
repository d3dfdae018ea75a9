//! What is seen of the requests to a store: an [`Observer`] is told of each, and so is the log at level `debug`.
//!
//! This layer lies under the one that tries again, so every try is seen for itself, and under the one that limits, so the time
//! that a request waits for its turn is not the store's. The number of the try is a field of the span `try` around it. A key
//! and the store's own words are all that is told of a request; no layer knows a credential.
//!
//! Each request is told of once. Of a `get` it is when its body has ended, broken off or been dropped, because only then it
//! is known whether it has failed; its time is that until the answer began, which is all that is up to the store alone.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::Instrument;

use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag};
use crate::{ByteRange, Key, Object, Outgoing, Stat, StoreError};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What was asked for was done.
    Done,
    /// The store has answered, and the answer is no: nothing there, there already, behind the end.
    Negative,
    /// The store has refused, and will again: credentials, a missing bucket, a bad request.
    Refused,
    /// The store was busy, has failed, could not be reached or broke off; later it may work.
    Failed,
    /// Nobody waits for the answer any more.
    Dropped,
}

impl Outcome {
    /// As a metric's label has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Negative => "negative",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Dropped => "dropped",
        }
    }

    /// What an error says of a request.
    #[must_use]
    pub fn of(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } | StoreError::AlreadyExists { .. } | StoreError::Range { .. } => {
                Outcome::Negative
            }
            error if error.is_transient() => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }
}

/// Who wants to know of requests.
pub trait Observer: Send + Sync + 'static {
    /// A request has ended. `action` is the name of the method of [`Bucket`]; `elapsed` the time until the answer began, or
    /// until the request was given up.
    fn request(&self, driver: &'static str, action: &'static str, outcome: Outcome, elapsed: Duration);
}

/// Nobody.
impl Observer for () {
    fn request(&self, _driver: &'static str, _action: &'static str, _outcome: Outcome, _elapsed: Duration) {}
}

/// A bucket whose requests are observed.
pub struct Observed {
    inner: Arc<dyn Bucket>,
    observer: Arc<dyn Observer>,
}

/// A request under way, which is told of when it ends, and when it is dropped before that.
struct Request {
    observer: Arc<dyn Observer>,
    driver: &'static str,
    action: &'static str,
    began: Instant,
    /// The time until the answer began, once it has.
    answered: Option<Duration>,
    /// Whether nothing is to be told any more.
    told: bool,
}

impl Request {
    fn ended(&mut self, outcome: Outcome) {
        if !self.told {
            self.told = true;
            let elapsed = self.answered.unwrap_or_else(|| self.began.elapsed());
            self.observer.request(self.driver, self.action, outcome, elapsed);
        }
    }

    /// Writes down an answer, or its absence.
    fn log(&self, error: Option<&StoreError>) {
        let elapsed_ms = self.began.elapsed().as_millis() as u64;
        match error {
            None => tracing::debug!(elapsed_ms, "the store has answered"),
            Some(error) => tracing::debug!(elapsed_ms, %error, "the store has not done what was asked"),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Whoever stops reading an answer has been answered: as far as it was read, the store has done its part.
        self.ended(if self.answered.is_some() { Outcome::Done } else { Outcome::Dropped });
    }
}

impl Observed {
    /// Tells `observer` of every request to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Bucket>, observer: Arc<dyn Observer>) -> Self {
        Observed { inner, observer }
    }

    fn begin(&self, action: &'static str) -> Request {
        Request {
            observer: self.observer.clone(),
            driver: self.inner.driver(),
            action,
            began: Instant::now(),
            answered: None,
            told: false,
        }
    }

    fn span(&self, action: &'static str, key: impl Display) -> tracing::Span {
        tracing::debug_span!("store", driver = self.inner.driver(), action, %key)
    }

    /// Sends a request and tells of its end.
    async fn request<T>(
        &self,
        action: &'static str,
        key: impl Display + Send,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let mut request = self.begin(action);
        let span = self.span(action, key);
        let result = answer.instrument(span.clone()).await;
        span.in_scope(|| request.log(result.as_ref().err()));
        request.ended(result.as_ref().err().map_or(Outcome::Done, Outcome::of));
        result
    }
}

/// A body whose end is told of. What it has less than `bytes` is missing.
fn observed(body: Outgoing, bytes: u64, request: Request, span: tracing::Span) -> Outgoing {
    let state = (body, bytes, request, span);
    Box::pin(stream::unfold(state, |(mut body, mut left, mut request, span)| async move {
        let piece = body.next().instrument(span.clone()).await;
        match &piece {
            Some(Ok(piece)) => {
                left = left.saturating_sub(piece.len() as u64);
                if left == 0 {
                    request.ended(Outcome::Done);
                }
            }
            Some(Err(error)) => {
                span.in_scope(|| request.log(Some(error)));
                request.ended(Outcome::of(error));
            }
            None => request.ended(if left == 0 { Outcome::Done } else { Outcome::Failed }),
        }
        Some((piece?, (body, left, request, span)))
    }))
}

#[async_trait]
impl Bucket for Observed {
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
        self.request("check", self.place(), self.inner.check()).await
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        self.request("probe", self.place(), self.inner.probe()).await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.request("head", key, self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let mut request = self.begin("get");
        let span = self.span("get", key);
        let result = self.inner.get(key, range).instrument(span.clone()).await;
        span.in_scope(|| request.log(result.as_ref().err()));
        match result {
            Ok(object) => {
                request.answered = Some(request.began.elapsed());
                let bytes = object.range.end.saturating_sub(object.range.start);
                Ok(Object { body: observed(object.body, bytes, request, span), ..object })
            }
            Err(error) => {
                request.ended(Outcome::of(&error));
                Err(error)
            }
        }
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.request("put", key, self.inner.put(key, content)).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.request("create", key, self.inner.create(key, content)).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.request("copy", to, self.inner.copy(from, to)).await
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        self.request("copy", to, self.inner.copy_sized(from, to, size)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.request("delete", key, self.inner.delete(key)).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        let subject = Several(keys);
        self.request("remove", subject, self.inner.remove(keys)).await
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        self.request("list", listing.below, self.inner.list(listing)).await
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        self.request("begin_parts", to, self.inner.begin_parts(to)).await
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.request("put_part", to, self.inner.put_part(to, assembly, number, content)).await
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
        self.request("copy_part", to, self.inner.copy_part(to, assembly, number, from, size, range)).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        self.request("complete_parts", to, self.inner.complete_parts(to, assembly, parts, size)).await
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        self.request("abort_parts", to, self.inner.abort_parts(to, assembly)).await
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.request("remove_leftovers", below, self.inner.remove_leftovers(below, before)).await
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.request("adopt_parts", key, self.inner.adopt_parts(key)).await
    }
}

/// Keys that are named by the first of them.
struct Several<'a>(&'a [Key]);

impl Display for Several<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => formatter.write_str("nothing"),
            [only] => only.fmt(formatter),
            [first, others @ ..] => write!(formatter, "{first} and {} more", others.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;
    use crate::layers::test::{Recorder, read};
    use crate::layers::{Fault, Faulty, Shelf, ShelfOptions};

    #[test]
    fn an_error_says_whether_the_store_has_answered_refused_or_failed() {
        let service = |status, code: &str| {
            StoreError::service("k", "x", Refusal { status, code: code.to_owned(), message: String::new() })
        };
        for (error, expected) in [
            (StoreError::NotFound { key: "k".to_owned() }, Outcome::Negative),
            (StoreError::AlreadyExists { key: "k".to_owned() }, Outcome::Negative),
            (StoreError::Range { key: "k".to_owned(), start: 1, size: 1 }, Outcome::Negative),
            (service(503, "SlowDown"), Outcome::Failed),
            (service(400, "RequestTimeout"), Outcome::Failed),
            (StoreError::unreachable("k", "x", "reset"), Outcome::Failed),
            (service(403, "AccessDenied"), Outcome::Refused),
            (service(404, "NoSuchBucket"), Outcome::Refused),
        ] {
            assert_eq!(Outcome::of(&error), expected, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_is_told_of_once_with_the_time_of_its_answer() {
        let shelf = Shelf::new(ShelfOptions { piece_bytes: 4, ..ShelfOptions::default() });
        shelf.plant("a", "0123456789");
        let (a, none): (Key, Key) = ("a".parse().unwrap(), "none".parse().unwrap());
        let stalled = Some(Fault::Stalled);
        let faults = [None, None, stalled, stalled, Some(Fault::Broken(500)), Some(Fault::Truncated(500)), None, None];
        let recorder = Arc::new(Recorder::default());
        let observed = Observed::new(Arc::new(Faulty::listed(Arc::new(shelf), faults)), recorder.clone());

        observed.head(&a).await.unwrap();
        observed.head(&none).await.unwrap_err();
        observed.head(&a).await.unwrap_err();
        let brief = Duration::from_secs(1);
        assert!(tokio::time::timeout(brief, observed.head(&a)).await.is_err());
        let outcomes = [(Outcome::Done, 0), (Outcome::Negative, 0), (Outcome::Failed, 30), (Outcome::Dropped, 1)];
        assert_eq!(recorder.take(), outcomes.map(|(outcome, seconds)| ("head", outcome, seconds)));

        for (expected, outcome) in
            [("01234", Outcome::Failed), ("01234", Outcome::Failed), ("0123456789", Outcome::Done)]
        {
            let object = observed.get(&a, None).await.unwrap();
            assert_eq!(recorder.take(), [], "a body is open");
            tokio::time::advance(brief).await;
            let (content, _) = read(object.body).await;
            assert_eq!(content, expected);
            assert_eq!(recorder.take(), [("get", outcome, 0)]);
        }
        let mut object = observed.get(&a, None).await.unwrap();
        object.body.next().await.unwrap().unwrap();
        drop(object);
        assert_eq!(recorder.take(), [("get", Outcome::Done, 0)], "its reader has left");
        observed.get(&none, None).await.map(|_| ()).unwrap_err();
        assert_eq!(recorder.take(), [("get", Outcome::Negative, 0)]);
    }

    #[test]
    fn keys_are_named_by_the_first() {
        let keys: Vec<Key> = ["a", "b", "c"].map(|key| key.parse().unwrap()).into();
        for (count, text) in [(0, "nothing"), (1, "a"), (3, "a and 2 more")] {
            assert_eq!(Several(&keys[..count]).to_string(), text);
        }
    }
}
