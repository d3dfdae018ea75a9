//! The guard: what keeps requests and the collector of one process from losing content between them.
//!
//! A request that is about to say that content exists, or to write a link that relies on it, first *acquires* the content
//! and *verifies* before it answers. The collector *begins a run* before it reads anything, and *dooms* an item before it
//! deletes it. All four are one step under one lock.
//!
//! * Acquiring an item holds it; if a run is going on, the item is also *rescued* for the rest of the run. An item that
//!   is doomed cannot be acquired: a reader is told that it is absent, a writer waits until the deletion has ended.
//! * Beginning a run rescues everything that is held.
//! * Dooming an item fails if it is rescued, or if somebody was told within the grace period that it exists.
//!
//! Why an acknowledged manifest keeps its blobs. Take a request that acquires blob *b*, sees it, writes links and answers,
//! and a run that would delete *b*.
//!
//! *The request acquires first.* If it still holds *b* when the run begins, or acquires it later, *b* is rescued and the
//! run does not doom it. If it has let go before the run begins, its links were written before the run read the store, so
//! the run has seen them and *b* is no candidate.
//!
//! *The run dooms first.* Then the request cannot acquire *b* until the deletion has ended. After that it looks whether *b*
//! is there, finds that it is not, and answers so; it has acknowledged nothing.
//!
//! Items that hang together, a manifest and what it refers to, are doomed in one step, and whatever hangs on a rescued
//! item is spared with it: a request that acquires an index does not have to acquire everything below it.
//!
//! What was acknowledged without a link, such as `HEAD` of a blob that a client then does not push, is remembered for the
//! grace period; what was only fetched is not, or else pulls would fill the memory. The memory is bounded: beyond it, and for everything before the process started, one *floor* stands for
//! all items: nothing is doomed until the grace period has passed since the floor.
//! The floor of a start cannot be lower for old content: an orphan written long ago may have been the answer to a `HEAD`
//! a moment before the restart, and the client that asked pushes its manifest to the new process. What is spared for it
//! is counted, so that a collection soon after a start says why it deletes nothing.
//!
//! Other processes are kept from the store while a run goes on; what changes it in spite of that is not covered.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_oci::{Digest, RepositoryName};
use tokio::sync::Notify;

use crate::error::Error;

/// How many acknowledgements are remembered one by one.
const MAX_ACKNOWLEDGED: usize = 64 * 1024;
/// How many rescued items a run remembers one by one; beyond that, everything counts as rescued.
const MAX_RESCUED: usize = 1024 * 1024;
/// How long a writer waits for a deletion to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be acquired and doomed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// The bytes of a blob or manifest, and every layer link to them.
    Blob(Digest),
    /// That a repository has a manifest.
    Revision(RepositoryName, Digest),
}

/// The guard of one registry.
#[derive(Debug)]
pub struct Guard {
    state: Mutex<State>,
    /// Whether a run is going on, for whoever need not know more.
    running: AtomicBool,
    /// Told whenever a doomed item is let go.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    held: HashMap<Item, usize>,
    doomed: HashSet<Item>,
    run: Option<Rescued>,
    acknowledged: Acknowledged,
}

/// What a run must not delete.
#[derive(Debug, Default)]
struct Rescued {
    items: HashSet<Item>,
    everything: bool,
    spared: Spared,
}

/// How many items that were to go a run has spared, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spared {
    /// Requests used them during the run.
    pub in_use: u64,
    /// Somebody was told within the grace period that they exist.
    pub told: u64,
    /// Somebody may have been told: the process started within the grace period, or has had to forget what it told.
    pub floor: u64,
}

impl Spared {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.in_use + self.told + self.floor
    }
}

impl Rescued {
    fn add(&mut self, item: &Item) {
        if self.items.len() >= MAX_RESCUED {
            self.everything = true;
        } else if !self.items.contains(item) {
            self.items.insert(item.clone());
        }
    }

    fn has(&self, item: &Item) -> bool {
        self.everything || self.items.contains(item)
    }
}

/// Who was told when that an item exists.
#[derive(Debug)]
struct Acknowledged {
    times: HashMap<Item, Instant>,
    floor: Option<Instant>,
    limit: usize,
}

impl Acknowledged {
    fn note(&mut self, item: Item, now: Instant) {
        if self.times.len() >= self.limit && !self.times.contains_key(&item) {
            self.raise_floor();
        }
        self.times.insert(item, now);
    }

    /// Forgets the older half; the newest of what is forgotten becomes the floor, which stands for all of it.
    fn raise_floor(&mut self) {
        let mut times: Vec<Instant> = self.times.values().copied().collect();
        times.sort_unstable();
        let Some(middle) = times.get(times.len() / 2).copied() else { return };
        self.times.retain(|_, time| *time > middle);
        self.floor = self.floor.max(Some(middle));
    }

    fn told_within(&self, item: &Item, grace: Duration, now: Instant) -> bool {
        self.times.get(item).is_some_and(|time| now.saturating_duration_since(*time) < grace)
    }

    fn floor_within(&self, grace: Duration, now: Instant) -> bool {
        self.floor.is_some_and(|time| now.saturating_duration_since(time) < grace)
    }
}

impl Default for Guard {
    fn default() -> Self {
        Guard::new()
    }
}

impl Guard {
    /// A guard for a server: whatever a process before it acknowledged counts as acknowledged now.
    #[must_use]
    pub fn new() -> Self {
        Guard::with(Some(Instant::now()), MAX_ACKNOWLEDGED)
    }

    /// A guard for a collection on a stopped registry: nobody has been told anything that still counts.
    #[must_use]
    pub fn offline() -> Self {
        Guard::with(None, MAX_ACKNOWLEDGED)
    }

    fn with(floor: Option<Instant>, limit: usize) -> Self {
        let acknowledged = Acknowledged { times: HashMap::new(), floor, limit };
        let state = State { held: HashMap::new(), doomed: HashSet::new(), run: None, acknowledged };
        Guard { state: Mutex::new(state), running: AtomicBool::new(false), freed: Notify::new() }
    }

    /// Every change is complete before anything can panic, so a poisoned lock is as good as another.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires all items, or none if one of them is being deleted: for answers that may then say "absent".
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, items: Vec<Item>) -> Option<Held> {
        let mut state = self.state();
        if items.iter().any(|item| state.doomed.contains(item)) {
            return None;
        }
        let State { held, run, .. } = &mut *state;
        for item in &items {
            *held.entry(item.clone()).or_default() += 1;
            if let Some(rescued) = run {
                rescued.add(item);
            }
        }
        drop(state);
        Some(Held { guard: self.clone(), items })
    }

    /// Acquires all items, and waits for a deletion of one of them to end.
    ///
    /// # Errors
    /// [`Error::BeingCollected`] when that takes too long.
    pub async fn acquire(self: &Arc<Self>, items: Vec<Item>) -> Result<Held, Error> {
        self.acquire_within(items, PATIENCE).await
    }

    async fn acquire_within(self: &Arc<Self>, items: Vec<Item>, patience: Duration) -> Result<Held, Error> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            // Enabled before the look, so that no release between the look and the wait is missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(held) = self.try_acquire(items.clone()) {
                return Ok(held);
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(|_| Error::BeingCollected)?;
        }
    }

    /// Whether a run is going on. While none is, whoever acquires and lets go without having answered changes nothing, and
    /// may as well leave it: a run that begins right afterwards would find nothing held.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Begins a run, unless one is going on.
    #[must_use]
    pub fn begin_run(self: &Arc<Self>) -> Option<Run> {
        let mut state = self.state();
        if state.run.is_some() {
            return None;
        }
        let mut rescued = Rescued::default();
        for item in state.held.keys() {
            rescued.add(item);
        }
        state.run = Some(rescued);
        self.running.store(true, Ordering::Release);
        Some(Run { guard: self.clone() })
    }
}

/// Items that a request relies on. Dropping it lets go of them without having answered.
#[derive(Debug)]
pub struct Held {
    guard: Arc<Guard>,
    items: Vec<Item>,
}

impl Held {
    /// These items and more of the same guard.
    pub(crate) fn with(mut self, mut more: Held) -> Self {
        self.items.append(&mut more.items);
        self
    }

    /// The last step before the answer: the items are remembered as acknowledged and let go.
    ///
    /// In one process nothing that is held can be deleted, so there is nothing to find out here. Where several replicas
    /// share a store, this is the place that looks whether a newer set of candidates has been published.
    pub fn verify(mut self) {
        let now = Instant::now();
        let items = std::mem::take(&mut self.items);
        let mut state = self.guard.state();
        release(&mut state.held, &items);
        for item in items {
            state.acknowledged.note(item, now);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.items.is_empty() {
            release(&mut self.guard.state().held, &self.items);
        }
    }
}

fn release(held: &mut HashMap<Item, usize>, items: &[Item]) {
    for item in items {
        if let Some(count) = held.get_mut(item) {
            *count -= 1;
            if *count == 0 {
                held.remove(item);
            }
        }
    }
}

/// A run of the collector, until it is dropped.
#[derive(Debug)]
pub struct Run {
    guard: Arc<Guard>,
}

impl Run {
    /// Which of these items must stay. They are counted.
    fn spared(state: &mut State, items: &[Item], grace: Duration) -> HashSet<Item> {
        let now = Instant::now();
        let mut found = HashSet::new();
        let Some(run) = &mut state.run else { return items.iter().cloned().collect() };
        for item in items {
            if run.has(item) {
                run.spared.in_use += 1;
            } else if state.acknowledged.told_within(item, grace, now) {
                run.spared.told += 1;
            } else if state.acknowledged.floor_within(grace, now) {
                run.spared.floor += 1;
            } else {
                continue;
            }
            found.insert(item.clone());
        }
        found
    }

    /// How many of the items that were to be doomed have been spared so far, without those that hang on them.
    #[must_use]
    pub fn has_spared(&self) -> Spared {
        self.guard.state().run.as_ref().map(|run| run.spared).unwrap_or_default()
    }

    /// Dooms all items but those that must stay and those that hang on them: `spread` adds these to a set.
    #[must_use]
    pub fn doom(&self, items: &[Item], grace: Duration, spread: impl FnOnce(&mut HashSet<Item>)) -> Doomed<'_> {
        let mut state = self.guard.state();
        let mut spared = Run::spared(&mut state, items, grace);
        if !spared.is_empty() {
            spread(&mut spared);
        }
        let doomed: HashSet<Item> = items.iter().filter(|item| !spared.contains(*item)).cloned().collect();
        state.doomed.extend(doomed.iter().cloned());
        Doomed { run: self, items: doomed }
    }

    /// What [`Run::doom`] would spare, for a run that deletes nothing.
    #[must_use]
    pub fn would_spare(&self, items: &[Item], grace: Duration) -> HashSet<Item> {
        Run::spared(&mut self.guard.state(), items, grace)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = self.guard.state();
        state.run = None;
        self.guard.running.store(false, Ordering::Release);
    }
}

/// Items that nobody can acquire while they are deleted.
#[derive(Debug)]
pub struct Doomed<'a> {
    run: &'a Run,
    items: HashSet<Item>,
}

impl Doomed<'_> {
    /// Whether an item was doomed and not yet let go.
    #[must_use]
    pub fn has(&self, item: &Item) -> bool {
        self.items.contains(item)
    }

    /// Lets go of one item: it is deleted, or it stays.
    pub fn free(&mut self, item: &Item) {
        if self.items.remove(item) {
            self.run.guard.state().doomed.remove(item);
            self.run.guard.freed.notify_waiters();
        }
    }
}

impl Drop for Doomed<'_> {
    fn drop(&mut self) {
        let mut state = self.run.guard.state();
        for item in &self.items {
            state.doomed.remove(item);
        }
        drop(state);
        self.run.guard.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(content: &[u8]) -> Item {
        Item::Blob(Digest::sha256(content))
    }

    fn guard() -> Arc<Guard> {
        Arc::new(Guard::offline())
    }

    fn dooms(run: &Run, item: &Item, grace: Duration) -> bool {
        run.doom(std::slice::from_ref(item), grace, |_| ()).has(item)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_held_when_a_run_begins_or_acquired_during_it_is_spared() {
        let guard = guard();
        let (before, during, never) = (blob(b"1"), blob(b"2"), blob(b"3"));
        let held = guard.try_acquire(vec![before.clone()]).unwrap();
        let run = guard.begin_run().unwrap();
        drop(held);
        drop(guard.try_acquire(vec![during.clone()]).unwrap());
        assert!(!dooms(&run, &before, Duration::ZERO));
        assert!(!dooms(&run, &during, Duration::ZERO));
        assert!(dooms(&run, &never, Duration::ZERO));
        assert_eq!(run.has_spared(), Spared { in_use: 2, ..Spared::default() });
        drop(run);
        let next = guard.begin_run().unwrap();
        assert!(dooms(&next, &before, Duration::ZERO), "a later run looks anew");
        assert!(dooms(&next, &during, Duration::ZERO));
    }

    #[test]
    fn what_was_acknowledged_stays_for_the_grace_period() {
        let guard = guard();
        let (told, dropped) = (blob(b"1"), blob(b"2"));
        guard.try_acquire(vec![told.clone()]).unwrap().verify();
        drop(guard.try_acquire(vec![dropped.clone()]).unwrap());
        let run = guard.begin_run().unwrap();
        assert!(!dooms(&run, &told, HOUR));
        assert!(dooms(&run, &told, Duration::ZERO));
        assert!(dooms(&run, &dropped, HOUR), "nobody was told");
        assert_eq!(run.has_spared(), Spared { told: 1, ..Spared::default() });
    }

    #[test]
    fn everything_counts_as_acknowledged_when_the_process_starts() {
        let guard = Arc::new(Guard::new());
        let run = guard.begin_run().unwrap();
        assert!(!dooms(&run, &blob(b"1"), HOUR));
        assert!(dooms(&run, &blob(b"1"), Duration::ZERO));
        assert_eq!(run.has_spared(), Spared { floor: 1, ..Spared::default() });
    }

    #[test]
    fn what_is_forgotten_raises_the_floor() {
        let guard = Arc::new(Guard::with(None, 10));
        for n in 0..100_u8 {
            guard.try_acquire(vec![blob(&[n])]).unwrap().verify();
        }
        assert!(guard.state().acknowledged.times.len() <= 10);
        let run = guard.begin_run().unwrap();
        for n in 0..100 {
            assert!(!dooms(&run, &blob(&[n]), HOUR));
        }
    }

    #[test]
    fn the_spread_reaches_what_hangs_on_a_rescued_item() {
        let guard = guard();
        let run = guard.begin_run().unwrap();
        let (index, child, other) = (blob(b"index"), blob(b"child"), blob(b"other"));
        drop(guard.try_acquire(vec![index.clone()]).unwrap());
        let items = [index.clone(), child.clone(), other.clone()];
        let doomed = run.doom(&items, Duration::ZERO, |spared| {
            assert_eq!(*spared, HashSet::from([index.clone()]));
            spared.insert(child.clone());
        });
        assert_eq!(items.map(|item| doomed.has(&item)), [false, false, true]);
    }

    #[test]
    fn one_run_at_a_time() {
        let guard = guard();
        let run = guard.begin_run();
        assert!(guard.begin_run().is_none());
        drop(run);
        assert!(guard.begin_run().is_some());
    }

    #[tokio::test]
    async fn a_doomed_item_is_absent_for_readers_and_awaited_by_writers() {
        let guard = guard();
        let run = guard.begin_run().unwrap();
        let item = blob(b"1");
        let mut doomed = run.doom(std::slice::from_ref(&item), Duration::ZERO, |_| ());
        assert!(guard.try_acquire(vec![item.clone()]).is_none());
        let mut writer = std::pin::pin!(guard.acquire(vec![item.clone()]));
        assert!(futures::poll!(writer.as_mut()).is_pending());
        doomed.free(&item);
        writer.await.unwrap().verify();
    }

    #[tokio::test]
    async fn a_writer_does_not_wait_for_ever() {
        let guard = guard();
        let run = guard.begin_run().unwrap();
        let item = blob(b"1");
        let _doomed = run.doom(std::slice::from_ref(&item), Duration::ZERO, |_| ());
        let waited = guard.acquire_within(vec![item], Duration::from_millis(5)).await;
        assert!(matches!(waited, Err(Error::BeingCollected)));
    }
}
