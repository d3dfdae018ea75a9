//! Faults between Berth and a store, for tests: a share of the requests fails, before or after it has taken effect.
//!
//! Which requests fail, and how, comes from a seed or from a list, so a test that has failed fails again. What an answer that
//! is lost has done is done: that is the fault that layers above get wrong. It knows nothing of what is tried again.
//!
//! What others do between two requests is told beforehand, too ([`Faulty::before`]), so that a race has the outcome that a
//! test is about.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag};
use crate::{ByteRange, Key, Object, Outgoing, Refusal, Stat, StoreError};

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server says that it is busy, and has done nothing.
    SlowDown,
    /// The server says that this must not be done, and has done nothing.
    Forbidden,
    /// The server says that it has failed, and has done nothing.
    Failed,
    /// The server says that it has failed, and has done what was asked.
    FailedAfter,
    /// The connection ends, and nothing was done.
    Reset,
    /// The connection ends when all was done: the answer is lost.
    Lost,
    /// Nothing comes until the client loses its patience, and nothing was done.
    Stalled,
    /// Nothing comes until the client loses its patience, and all was done.
    StalledAfter,
    /// The body of the answer breaks off with an error behind this share of it, in thousandths. An answer without a body is
    /// lost.
    Broken(u16),
    /// The body of the answer just ends behind this share of it, in thousandths. An answer without a body is lost.
    Truncated(u16),
}

/// Which requests fail.
#[derive(Debug)]
enum Plan {
    /// The next ones, as listed; none behind the end of the list.
    Listed(VecDeque<Option<Fault>>),
    /// So many of a thousand, drawn from the state of a generator.
    Drawn { per_mille: u16, state: u64 },
}

/// What happens before a request is sent.
struct Stage {
    action: &'static str,
    subject: String,
    work: BoxFuture<'static, ()>,
    fault: Option<Fault>,
}

/// A bucket whose requests fail.
pub struct Faulty {
    inner: Arc<dyn Bucket>,
    plan: Mutex<Plan>,
    stages: Mutex<Vec<Stage>>,
    patience: Duration,
}

impl Faulty {
    /// How long a client waits for a server that stalls, unless told otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// So many of a thousand requests fail, each in a way that the seed determines.
    #[must_use]
    pub fn random(inner: Arc<dyn Bucket>, per_mille: u16, seed: u64) -> Self {
        let plan = Mutex::new(Plan::Drawn { per_mille, state: seed });
        Faulty { inner, plan, stages: Mutex::default(), patience: Faulty::PATIENCE }
    }

    /// The next requests fail as listed, or not where there is none.
    #[must_use]
    pub fn listed(inner: Arc<dyn Bucket>, faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let plan = Mutex::new(Plan::Listed(faults.into_iter().collect()));
        Faulty { inner, plan, stages: Mutex::default(), patience: Faulty::PATIENCE }
    }

    /// The same with another patience: where time is not paused, a stall would take too long.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Faulty { patience, ..self }
    }

    /// From now on the next requests fail as listed.
    pub fn then(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Plan::Listed(faults.into_iter().collect());
    }

    /// The next request by the method `action` of [`Bucket`] about `key` waits until `work` is done, and then fails, or is
    /// sent. Of several that are told of one such request, each has its turn.
    pub fn before(
        &self,
        action: &'static str,
        key: &Key,
        fault: Option<Fault>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let stage = Stage { action, subject: key.to_string(), work: Box::pin(work), fault };
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push(stage);
    }

    /// How many requests that something was to happen before have not come.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets happen what is to happen before a request, and says how the request fails, if it does.
    async fn enter(&self, action: &str, subject: &str) -> Option<Fault> {
        let stage = {
            let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
            let at = stages.iter().position(|stage| stage.action == action && stage.subject == subject);
            at.map(|at| stages.remove(at))
        };
        let Some(Stage { work, fault, .. }) = stage else { return self.next() };
        work.await;
        fault
    }

    fn next(&self) -> Option<Fault> {
        match &mut *self.plan.lock().unwrap_or_else(PoisonError::into_inner) {
            Plan::Listed(faults) => faults.pop_front().flatten(),
            Plan::Drawn { per_mille, state } => drawn(*per_mille, draw(state)),
        }
    }

    /// Lets a request fail, or not. `request` is the request to the server, which may not be sent at all.
    async fn meet<T>(
        &self,
        action: &str,
        subject: impl std::fmt::Display + Send,
        request: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let subject = subject.to_string();
        let fault = self.enter(action, &subject).await;
        self.fail(subject, fault, request).await
    }

    async fn fail<T>(
        &self,
        subject: String,
        fault: Option<Fault>,
        request: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let Some(fault) = fault else { return request.await };
        if fault.is_after() {
            // What the store refuses by itself it refuses, and that answer is lost as well.
            let _ = request.await;
        }
        if matches!(fault, Fault::Stalled | Fault::StalledAfter) {
            tokio::time::sleep(self.patience).await;
        }
        Err(fault.error(subject))
    }
}

impl Fault {
    fn is_after(self) -> bool {
        match self {
            Fault::SlowDown | Fault::Forbidden | Fault::Failed | Fault::Reset | Fault::Stalled => false,
            Fault::FailedAfter | Fault::Lost | Fault::StalledAfter | Fault::Broken(_) | Fault::Truncated(_) => true,
        }
    }

    /// What a driver makes of it.
    fn error(self, subject: impl std::fmt::Display) -> StoreError {
        const ACTION: &str = "send a request";
        let refusal = |status, code: &str| Refusal { status, code: code.to_owned(), message: String::new() };
        match self {
            Fault::SlowDown => StoreError::service(subject, ACTION, refusal(503, "SlowDown")),
            Fault::Forbidden => StoreError::service(subject, ACTION, refusal(403, "AccessDenied")),
            Fault::Failed | Fault::FailedAfter => StoreError::service(subject, ACTION, refusal(500, "InternalError")),
            Fault::Stalled | Fault::StalledAfter => StoreError::unreachable(subject, ACTION, "no answer in time"),
            Fault::Reset | Fault::Lost | Fault::Broken(_) | Fault::Truncated(_) => {
                StoreError::unreachable(subject, ACTION, std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            }
        }
    }
}

/// The next number of a generator (SplitMix64): good enough to draw from, and the same on every machine.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The fault that a number stands for, if it is among so many of a thousand.
fn drawn(per_mille: u16, number: u64) -> Option<Fault> {
    if number % 1000 >= u64::from(per_mille) {
        return None;
    }
    let share = ((number >> 32) % 1000) as u16;
    Some(match (number >> 16) % 9 {
        0 => Fault::SlowDown,
        1 => Fault::Failed,
        2 => Fault::FailedAfter,
        3 => Fault::Reset,
        4 => Fault::Lost,
        5 => Fault::Stalled,
        6 => Fault::StalledAfter,
        7 => Fault::Broken(share),
        _ => Fault::Truncated(share),
    })
}

/// A body that ends behind so many bytes, with the error if there is one.
fn cut(body: Outgoing, bytes: u64, error: Option<StoreError>) -> Outgoing {
    let pieces = body.scan(bytes, |left, piece| {
        let piece = piece.map(|mut piece: Bytes| {
            piece.truncate((*left).min(piece.len() as u64) as usize);
            *left -= piece.len() as u64;
            piece
        });
        // A piece of nothing is the first behind the end.
        let goes_on = !matches!(&piece, Ok(piece) if piece.is_empty());
        std::future::ready(goes_on.then_some(piece))
    });
    Box::pin(pieces.chain(stream::iter(error.map(Err))))
}

#[async_trait]
impl Bucket for Faulty {
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
        self.meet("check", self.place(), self.inner.check()).await
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        self.inner.probe().await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.meet("head", key, self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let (share, error) = match self.enter("get", key.as_str()).await {
            Some(fault @ Fault::Broken(share)) => (share, Some(fault.error(key))),
            Some(Fault::Truncated(share)) => (share, None),
            fault => return self.fail(key.to_string(), fault, self.inner.get(key, range)).await,
        };
        let object = self.inner.get(key, range).await?;
        let length = object.range.end - object.range.start;
        let bytes = length.saturating_mul(u64::from(share.min(1000))) / 1000;
        Ok(Object { body: cut(object.body, bytes, error), ..object })
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.meet("put", key, self.inner.put(key, content)).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.meet("create", key, self.inner.create(key, content)).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.meet("copy", to, self.inner.copy(from, to)).await
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        self.meet("copy_sized", to, self.inner.copy_sized(from, to, size)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.meet("delete", key, self.inner.delete(key)).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        let subject = keys.first().map_or_else(|| self.place(), Key::to_string);
        self.meet("remove", subject, self.inner.remove(keys)).await
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        self.meet("list", listing.below, self.inner.list(listing)).await
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        self.meet("begin_parts", to, self.inner.begin_parts(to)).await
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.meet("put_part", to, self.inner.put_part(to, assembly, number, content)).await
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
        self.meet("copy_part", to, self.inner.copy_part(to, assembly, number, from, size, range)).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        self.meet("complete_parts", to, self.inner.complete_parts(to, assembly, parts, size)).await
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        self.meet("abort_parts", to, self.inner.abort_parts(to, assembly)).await
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.meet("remove_leftovers", below, self.inner.remove_leftovers(below, before)).await
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.meet("adopt_parts", key, self.inner.adopt_parts(key)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Shelf, ShelfOptions};

    const ALL: [Fault; 9] = [
        Fault::SlowDown,
        Fault::Failed,
        Fault::FailedAfter,
        Fault::Reset,
        Fault::Lost,
        Fault::Stalled,
        Fault::StalledAfter,
        Fault::Broken(500),
        Fault::Truncated(500),
    ];

    fn kind(fault: Fault) -> std::mem::Discriminant<Fault> {
        std::mem::discriminant(&fault)
    }

    fn shelf() -> Arc<Shelf> {
        Arc::new(Shelf::new(ShelfOptions { piece_bytes: 3, ..ShelfOptions::default() }))
    }

    #[test]
    fn a_seed_draws_its_share_of_every_fault_and_the_same_again() {
        let faults = |seed| -> Vec<Option<Fault>> {
            let faulty = Faulty::random(shelf(), 200, seed);
            (0..10_000).map(|_| faulty.next()).collect()
        };
        let drawn = faults(7);
        assert_eq!(drawn, faults(7));
        assert_ne!(drawn, faults(8));
        let failed: Vec<Fault> = drawn.into_iter().flatten().collect();
        assert!((1_800..2_200).contains(&failed.len()), "{}", failed.len());
        for fault in ALL {
            let of_this = failed.iter().filter(|other| kind(**other) == kind(fault)).count();
            assert!((150..300).contains(&of_this), "{fault:?}: {of_this}");
        }
        assert_eq!((super::drawn(0, 0), super::drawn(1000, 999).is_some()), (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_fails_has_taken_effect_or_not_as_the_fault_says() {
        for fault in ALL {
            let shelf = shelf();
            let faulty = Faulty::listed(shelf.clone(), [Some(fault)]);
            let key: Key = "a/b".parse().unwrap();
            let before = tokio::time::Instant::now();
            let error = faulty.put(&key, Bytes::from_static(b"x")).await.unwrap_err();
            assert!(error.is_transient(), "{error}");
            assert!(error.to_string().starts_with("a/b: "), "{error}");
            assert_eq!(shelf.peek("a/b").is_some(), fault.is_after(), "{fault:?}");
            let stalls = matches!(fault, Fault::Stalled | Fault::StalledAfter);
            assert_eq!(before.elapsed() >= Faulty::PATIENCE, stalls, "{fault:?}");
            faulty.put(&key, Bytes::from_static(b"y")).await.unwrap();
            assert_eq!(shelf.peek("a/b").unwrap(), "y");
        }
    }

    #[tokio::test]
    async fn a_body_ends_where_it_is_cut() {
        let shelf = shelf();
        shelf.plant("a", "0123456789");
        for (fault, expected, error) in [
            (Some(Fault::Broken(500)), "01234", true),
            (Some(Fault::Truncated(500)), "01234", false),
            (Some(Fault::Truncated(600)), "012345", false),
            (Some(Fault::Broken(0)), "", true),
            (Some(Fault::Truncated(999)), "012345678", false),
            (None, "0123456789", false),
        ] {
            let faulty = Faulty::listed(shelf.clone(), [fault]);
            let object = faulty.get(&"a".parse().unwrap(), None).await.unwrap();
            assert_eq!((object.stat.size, object.range.end), (10, 10));
            let pieces: Vec<_> = object.body.collect().await;
            let failed = pieces.iter().any(Result::is_err);
            let text: Vec<u8> = pieces.into_iter().flatten().flatten().collect();
            assert_eq!((String::from_utf8(text).unwrap().as_str(), failed), (expected, error), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn what_was_told_of_a_request_happens_before_it() {
        let shelf = shelf();
        let faulty = Faulty::listed(shelf.clone(), []);
        let (a, b): (Key, Key) = ("a".parse().unwrap(), "b".parse().unwrap());
        for (fault, content) in [(None, "first"), (Some(Fault::Lost), "second")] {
            let planted = shelf.clone();
            faulty.before("put", &a, fault, async move { planted.plant("b", content) });
        }
        faulty.put(&b, Bytes::from_static(b"x")).await.unwrap();
        faulty.head(&a).await.unwrap_err();
        assert_eq!((shelf.peek("b").unwrap(), faulty.awaited()), ("x".into(), 2), "none of these was meant");
        faulty.put(&a, Bytes::from_static(b"y")).await.unwrap();
        assert_eq!((shelf.peek("b").unwrap(), faulty.awaited()), ("first".into(), 1));
        faulty.put(&a, Bytes::from_static(b"z")).await.unwrap_err();
        assert_eq!((shelf.peek("b").unwrap(), shelf.peek("a").unwrap()), ("second".into(), "z".into()));
        faulty.put(&a, Bytes::from_static(b"w")).await.unwrap();
    }
}
