//! Garbage collection: what nothing refers to goes, while people push.
//!
//! `snapshot` reads the store, `plan` decides on plain data, `sweep` deletes; [`Guard`] is what keeps a sweep and the
//! requests of this process apart, and its module comment says why that is enough. One process is meant: a collection
//! first makes sure that no other uses the store (`Exclude`), and is refused if one does.

mod guard;
mod plan;
mod report;
mod snapshot;
mod sweep;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

pub use guard::{Guard, Held, Item, Run, Spared};
pub use plan::{Plan, Policy, Reason, plan};
pub use report::{Outcome, Report, ReportLimits};
pub use snapshot::{References, RepositoryState, Revision, Snapshot};

use crate::error::Error;
use crate::registry::Registry;

/// What a collection is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether only the report is wanted.
    pub dry_run: bool,
    /// Whether manifests that no tag leads to go as well.
    pub delete_untagged: bool,
    /// How long content stays that was written, or said to exist, and that nothing refers to.
    pub grace: Duration,
    /// How long the collection may take: when that is over, nothing more is deleted, and the report says so. No bound if
    /// there is none.
    pub timeout: Option<Duration>,
}

/// A part of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The store is listed.
    List,
    /// Manifests are read for what they refer to.
    Mark,
    /// Manifests and blobs are deleted.
    Sweep,
}

/// How far a collection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// The part that is running.
    pub phase: Phase,
    /// How much of it is done.
    pub done: u64,
    /// How much there is of it, as far as known.
    pub total: u64,
}

/// Where progress is sent: the first and the last step of a part, and in between a few a second. A listener that is slow
/// misses some of it; nothing waits for it.
#[derive(Debug)]
pub struct Listener {
    sender: Option<mpsc::Sender<Progress>>,
    told: Mutex<Option<Instant>>,
    pause: Duration,
}

impl Listener {
    /// The least time between two steps that are told.
    const PAUSE: Duration = Duration::from_millis(200);

    /// A listener behind a channel.
    #[must_use]
    pub fn new(sender: mpsc::Sender<Progress>) -> Self {
        Listener { sender: Some(sender), told: Mutex::new(None), pause: Listener::PAUSE }
    }

    /// A listener that misses nothing while its channel has room.
    #[cfg(test)]
    pub(crate) fn every_step(sender: mpsc::Sender<Progress>) -> Self {
        Listener { pause: Duration::ZERO, ..Listener::new(sender) }
    }

    /// Nobody listens.
    #[must_use]
    pub fn none() -> Self {
        Listener { sender: None, told: Mutex::new(None), pause: Listener::PAUSE }
    }

    pub(crate) fn tell(&self, phase: Phase, done: usize, total: usize) {
        let Some(sender) = &self.sender else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_end = phase != Phase::List && (done == 0 || done == total);
        if is_end || told.is_none_or(|told| told.elapsed() >= self.pause) {
            *told = Some(Instant::now());
            let _ = sender.try_send(Progress { phase, done: done as u64, total: total as u64 });
        }
    }
}

/// Until when a collection may go on.
#[derive(Clone, Copy, Debug)]
struct Limit {
    timeout: Duration,
    deadline: Instant,
}

impl Limit {
    /// None for a time that no clock reaches.
    fn starting_now(timeout: Duration) -> Option<Self> {
        Instant::now().checked_add(timeout).map(|deadline| Limit { timeout, deadline })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Runs one collection. `run` was taken from the registry's guard before, so that of two requests one is refused at once.
///
/// # Errors
/// When another process uses the store, or it cannot be listed. What cannot be read or deleted is left alone and stands in the report.
pub async fn collect(registry: &Registry, run: &Run, options: Options, listener: &Listener) -> Result<Report, Error> {
    let start = jiff::Timestamp::now();
    let limit = options.timeout.and_then(Limit::starting_now);
    let _excluded = registry.exclude.exclude().await?;
    // The run was begun before this: whatever a request has acquired since counts as rescued.
    let snapshot = Arc::new(snapshot::take(registry.store.as_ref(), listener).await?);
    let policy = Policy { delete_untagged: options.delete_untagged, grace: options.grace, now: SystemTime::now() };
    let how = sweep::How { dry_run: options.dry_run, limit, listener };
    let swept = sweep::sweep(registry.store.as_ref(), run, &snapshot, policy, how).await?;
    registry.catalog.deleted();
    let spared = run.has_spared();
    let Spared { in_use, told, floor } = spared;
    if spared.total() > 0 {
        tracing::info!(in_use, told, floor, "spared what requests use or were told of within the grace period");
    }
    Ok(report::of(&snapshot, &swept, spared, options.dry_run, start, jiff::Timestamp::now()))
}
