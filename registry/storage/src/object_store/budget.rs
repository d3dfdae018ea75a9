//! How much may be held in memory by all that is on its way into a bucket: steps of a chunk, taken and given back.
//!
//! What is taken is never more than there is, so what a process holds is bounded whatever comes. That everything gets on
//! rests on one rule: **nobody waits for room while holding room that only he could give back.**
//!
//! - Who waits, at the beginning of a chunk or for what is read to be written together, holds nothing of the chunk. What was
//!   filled before is on its way to the store, which frees it.
//! - Who fills a chunk takes more only if it is there at once ([`Room::grow`]), and ends the chunk where it is not. It has
//!   taken as much as a chunk must have from the start, so there is always an end to come to.
//! - Who fills a chunk slowly while others wait is told so ([`Budget::crowded`]), and ends it, or gives back what he does not
//!   need to come to an end. So a client that sends little holds as much as it has sent, and not what it may send.
//! - A chunk that must have a least size cannot be ended before, however slowly it comes. All of these together hold no more
//!   than three quarters ([`Need::least`]): the rest goes round among all others, whatever their clients do.
//!
//! So a wait has an end unless the store is slower than what is brought to it; and then it is ended by patience, and told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};
use tokio::time::timeout;

use crate::StoreError;

/// How many chunks at once are the least that work gets on with.
const MIN_CHUNKS: usize = 2;
/// How many steps a chunk of the usual size has.
const STEPS_OF_CHUNK: usize = 32;
/// The most usual sizes that a chunk has.
const MAX_UNITS: usize = 4;
/// How long a body waits for room for a whole chunk, before less will do: larger chunks are fewer requests.
const EAGER: Duration = Duration::from_secs(3);
/// How long a body waits for any room.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How much may be held in memory.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    steps: Arc<Semaphore>,
    /// For chunks that cannot be ended at any byte.
    stubborn: Arc<Semaphore>,
    /// How many are waiting.
    waiting: Arc<watch::Sender<usize>>,
    unit_bytes: usize,
    step_bytes: usize,
    count: usize,
    /// How many steps there are for chunks that cannot be ended at any byte.
    stubborn_count: usize,
}

/// What a chunk needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// How large it is to become, in bytes.
    pub(super) most: usize,
    /// How large it has to become unless its body ends, in bytes; none if it can end at any byte.
    pub(super) least: Option<usize>,
    /// Whether its body comes so slowly that there is no use in waiting for room for all of it.
    pub(super) is_slow: bool,
}

/// Room that is taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Budget,
    steps: OwnedSemaphorePermit,
    _stubborn: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For how many bytes there is room.
    pub(super) fn bytes(&self) -> usize {
        self.steps.num_permits() * self.budget.step_bytes
    }

    /// Takes one step more, if there is one at once.
    pub(super) fn grow(&mut self) -> bool {
        let more = self.budget.steps.clone().try_acquire_owned();
        more.map(|more| self.steps.merge(more)).is_ok()
    }

    /// Gives back what is not needed for so many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let more = self.steps.num_permits().saturating_sub(self.budget.steps_of(bytes));
        drop(self.steps.split(more));
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn at(budget: &'a Budget) -> Self {
        budget.waiting.send_modify(|count| *count += 1);
        Waiting(&budget.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Budget {
    /// A budget of so many bytes, for chunks of this size.
    pub(super) fn new(bytes: usize, unit_bytes: usize) -> Self {
        let unit_bytes = unit_bytes.max(1);
        let step_bytes = unit_bytes.div_ceil(STEPS_OF_CHUNK);
        let steps_of_unit = unit_bytes.div_ceil(step_bytes);
        let count = (bytes / step_bytes).max(MIN_CHUNKS * steps_of_unit).min(Semaphore::MAX_PERMITS);
        // A chunk of the usual size finds room, however few there are.
        let stubborn_count = (count / 4 * 3).max(steps_of_unit);
        let (steps, stubborn) = (Arc::new(Semaphore::new(count)), Arc::new(Semaphore::new(stubborn_count)));
        let waiting = Arc::new(watch::Sender::new(0));
        Budget { steps, stubborn, waiting, unit_bytes, step_bytes, count, stubborn_count }
    }

    /// How many steps so many bytes are. What is larger than everything gets everything.
    fn steps_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.step_bytes).clamp(1, self.count)
    }

    fn at_once(&self, of: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        of.clone().try_acquire_many_owned(u32::try_from(self.steps_of(bytes)).unwrap_or(u32::MAX))
    }

    async fn acquire(&self, of: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let steps = u32::try_from(self.steps_of(bytes)).unwrap_or(u32::MAX);
        of.clone().acquire_many_owned(steps).await.map_err(|_| StoreError::Crowded)
    }

    /// Waits for room for so many bytes, all of which are there to be taken.
    ///
    /// # Errors
    /// [`StoreError::Crowded`] if there is none in this time.
    pub(super) async fn take(&self, bytes: u64, patience: Duration) -> Result<Room, StoreError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Ok(steps) = self.at_once(&self.steps, bytes) {
            return Ok(Room { budget: self.clone(), steps, _stubborn: None });
        }
        let _waiting = Waiting::at(self);
        let steps = timeout(patience, self.acquire(&self.steps, bytes)).await.map_err(|_| StoreError::Crowded)??;
        Ok(Room { budget: self.clone(), steps, _stubborn: None })
    }

    /// Waits for room for a chunk: for all of it for a while, then for as little as it needs to come to an end.
    ///
    /// # Errors
    /// [`StoreError::Crowded`] if there is none in [`PATIENCE`].
    pub(super) async fn take_for(&self, need: Need) -> Result<Room, StoreError> {
        let least = need.least.unwrap_or(1).min(need.most);
        // What comes to no more than a step has no more to give back than any other.
        let is_stubborn = need.least.is_some() && least > self.step_bytes;
        let stubborn = is_stubborn.then(|| self.at_once(&self.stubborn, least)).transpose();
        if let (Ok(stubborn), Ok(steps)) = (stubborn, self.at_once(&self.steps, need.most)) {
            return Ok(Room { budget: self.clone(), steps, _stubborn: stubborn });
        }
        let _waiting = Waiting::at(self);
        let taking = async {
            let stubborn = match is_stubborn {
                true => Some(self.acquire(&self.stubborn, least).await?),
                false => None,
            };
            let eager = if need.is_slow { Duration::ZERO } else { EAGER };
            let steps = match timeout(eager, self.acquire(&self.steps, need.most)).await {
                Ok(steps) => steps?,
                Err(_) => self.acquire(&self.steps, least).await?,
            };
            Ok(Room { budget: self.clone(), steps, _stubborn: stubborn })
        };
        timeout(PATIENCE, taking).await.map_err(|_| StoreError::Crowded)?
    }

    /// Ends when others wait for room, and not before a time is over.
    pub(super) fn crowded(&self, after: Duration) -> impl Future<Output = ()> + Send + use<> {
        let waiting = self.waiting.clone();
        async move {
            tokio::time::sleep(after).await;
            // Ends only with the sender, which is held here.
            let _ = waiting.subscribe().wait_for(|count| *count > 0).await;
        }
    }

    /// How large a chunk is behind the first `offset` bytes of a body, in bytes: they grow, so that an object of at most
    /// `max_parts` parts can be very large. They do not grow beyond what there is for those that cannot be ended at any byte.
    pub(super) fn chunk_bytes(&self, offset: u64, max_parts: usize) -> usize {
        let full = (max_parts / MAX_UNITS).max(1) as u64;
        let units = 1 + offset / (self.unit_bytes as u64 * full);
        (self.unit_bytes * (units as usize).min(MAX_UNITS)).min(self.stubborn_count * self.step_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(most: usize, least: Option<usize>) -> Need {
        Need { most, least, is_slow: false }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_the_budget_allows() {
        let budget = Budget::new(320, 160);
        let mut room = budget.take_for(need(160, None)).await.unwrap();
        let other = budget.take(155, PATIENCE).await.unwrap();
        assert_eq!((room.bytes(), other.bytes()), (160, 155));
        assert!(room.grow() && !room.grow(), "one step was left");
        let refused = budget.take_for(need(1, None)).await;
        assert!(matches!(refused, Err(StoreError::Crowded)), "{refused:?}");
        room.shrink(101);
        assert_eq!(room.bytes(), 105);
        let all = budget.take_for(need(1000, None));
        let (all, ()) = tokio::join!(all, async { drop((room, other)) });
        assert_eq!(all.unwrap().bytes(), 320, "what is larger than everything gets everything");
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_for_a_whole_chunk_takes_less_after_a_while() {
        let budget = Budget::new(320, 160);
        let _held = budget.take(200, PATIENCE).await.unwrap();
        let before = tokio::time::Instant::now();
        assert_eq!(budget.take_for(need(160, Some(80))).await.unwrap().bytes(), 80);
        assert_eq!(before.elapsed(), EAGER);
        let slow = Need { is_slow: true, ..need(160, None) };
        assert_eq!(budget.take_for(slow).await.unwrap().bytes(), 5);
        assert_eq!(before.elapsed(), EAGER);
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_that_must_have_a_size_leave_room_for_others() {
        let budget = Budget::new(640, 160);
        let mut held = Vec::new();
        while let Ok(mut room) = budget.take_for(need(160, Some(80))).await {
            // Others wait, and its client sends no more.
            room.shrink(80);
            held.push(room);
        }
        assert_eq!(held.len(), 6);
        assert_eq!(budget.take_for(need(160, None)).await.unwrap().bytes(), 160);
        assert_eq!(budget.take_for(need(5, Some(5))).await.unwrap().bytes(), 5, "a body that is small altogether");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_is_told_when_others_wait() {
        let budget = Budget::new(320, 160);
        let room = budget.take(320, PATIENCE).await.unwrap();
        let mut told = Box::pin(budget.crowded(Duration::from_secs(2)));
        assert!(timeout(Duration::from_secs(10), told.as_mut()).await.is_err(), "nobody waits");
        let (waited, ()) = tokio::join!(budget.take(1, PATIENCE), async {
            told.await;
            drop(room);
        });
        waited.unwrap();
        assert_eq!(*budget.waiting.borrow(), 0);
    }

    #[test]
    fn chunks_grow_with_the_body() {
        let budget = Budget::new(64 << 20, 10 << 20);
        let at = |gib: u64| budget.chunk_bytes(gib << 30, 10_000) >> 20;
        assert_eq!([at(0), at(20), at(25), at(50), at(100), at(1000)], [10, 10, 20, 30, 40, 40]);
        assert_eq!(Budget::new(10, 10 << 20).chunk_bytes(1 << 40, 10_000) >> 20, 15, "no more than there is for one");
    }

    /// The last parts of a very large object have to be as large as they can be.
    #[tokio::test(start_paused = true)]
    async fn the_largest_chunk_of_any_size_finds_room() {
        for chunk_mib in [1, 5, 8, 10, 16, 20, 32, 64] {
            let budget = Budget::new(super::super::BUDGET_BYTES, chunk_mib << 20);
            for max_parts in [1_000, 10_000, 50_000] {
                let largest = budget.chunk_bytes(u64::MAX, max_parts);
                assert!(largest >= chunk_mib << 20);
                let room = budget.take_for(need(largest, Some(largest))).await.unwrap();
                assert!(room.bytes() >= largest, "{chunk_mib} MiB");
            }
        }
    }
}
