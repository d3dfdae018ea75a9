//! The gate that every write passes, which is closed while the registry is read-only.
//!
//! A write is admitted once, when it begins, and counted until it has ended; what it consists of is not asked again. So
//! closing the gate refuses every write that comes later, and cuts none in two. Whoever closes it can wait until those
//! that were admitted before have ended.
//!
//! Collections are not writes of clients and do not pass here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::Error;

/// The gate of one registry.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Told when the last write has ended, and when the gate opens.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Why no write is admitted; none while writes are.
    closed: Option<String>,
    writing: usize,
}

/// Whether writes are admitted, and how many are being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Why no write is admitted; none while writes are.
    pub(crate) closed: Option<String>,
    /// How many writes have been admitted and not ended.
    pub(crate) writing: usize,
}

impl Inner {
    /// Every change is complete before anything can panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// A gate, closed for this reason or open.
    pub(crate) fn new(closed: Option<String>) -> Self {
        let state = Mutex::new(State { closed, writing: 0 });
        Gate { inner: Arc::new(Inner { state, changed: Notify::new() }) }
    }

    /// Admits one write.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] while the gate is closed.
    pub(crate) fn admit(&self) -> Result<Writing, Error> {
        let mut state = self.inner.state();
        if let Some(reason) = &state.closed {
            return Err(Error::ReadOnly { reason: reason.clone() });
        }
        state.writing += 1;
        Ok(Writing { inner: self.inner.clone() })
    }

    /// Admits no write from now on.
    pub(crate) fn close(&self, reason: String) {
        self.inner.state().closed = Some(reason);
    }

    /// Admits writes again.
    pub(crate) fn open(&self) {
        self.inner.state().closed = None;
        self.inner.changed.notify_waiters();
    }

    /// How things stand now.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.inner.state();
        Standing { closed: state.closed.clone(), writing: state.writing }
    }

    /// Waits until a closed gate has no more writes behind it, somebody opens it, or `patience` ends.
    pub(crate) async fn drained(&self, patience: Duration) -> Standing {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            // Enabled before the look, so that no end of a write between the look and the wait is missed.
            let mut changed = std::pin::pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            let standing = self.standing();
            if standing.closed.is_none() || standing.writing == 0 {
                return standing;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return self.standing();
            }
        }
    }
}

/// A write that was admitted, until it is dropped. It goes with the task that does the write, not with the request: a
/// client that goes away does not end the write.
#[must_use = "the write is over when this is dropped"]
#[derive(Debug)]
pub(crate) struct Writing {
    inner: Arc<Inner>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.writing -= 1;
        let is_last = state.writing == 0;
        drop(state);
        if is_last {
            self.inner.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_closed_gate_admits_nothing_and_waits_for_what_it_had_admitted() {
        let gate = Arc::new(Gate::new(None));
        let (first, second) = (gate.admit().unwrap(), gate.admit().unwrap());
        gate.close("a backup".to_owned());
        let refused = gate.admit().unwrap_err();
        assert_eq!(refused.to_string(), "the registry is read-only: a backup");
        let standing = gate.drained(Duration::ZERO).await;
        assert_eq!(standing, Standing { closed: Some("a backup".to_owned()), writing: 2 });
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.drained(LONG).await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        assert_eq!(waiting.await.unwrap().writing, 0);
        gate.open();
        drop(gate.admit().unwrap());
    }

    #[tokio::test]
    async fn who_waits_learns_that_the_gate_was_opened() {
        let gate = Arc::new(Gate::new(Some("a start".to_owned())));
        gate.open();
        let writing = gate.admit().unwrap();
        gate.close("a backup".to_owned());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.drained(LONG).await }
        });
        tokio::task::yield_now().await;
        gate.open();
        assert_eq!(waiting.await.unwrap(), Standing { closed: None, writing: 1 });
        drop(writing);
    }
}
