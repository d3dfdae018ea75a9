//! Whether the store can be reached, looked at from time to time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_config::StorageHealth;
use berth_storage::{Store, layout};
use tokio_util::sync::CancellationToken;

/// How long one look may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
const CHECK: &str = "storagedriver";

/// What the last looks have found.
#[derive(Debug, Default)]
pub struct Health {
    failing: AtomicBool,
    failures: AtomicU32,
    reason: Mutex<String>,
}

impl Health {
    /// Good until a look says otherwise.
    #[must_use]
    pub fn new() -> Self {
        Health::default()
    }

    /// Whether requests can be answered.
    ///
    /// # Errors
    /// What cannot be done, for the client.
    pub fn check(&self) -> Result<(), String> {
        if self.failing.load(Ordering::Relaxed) { Err("the health check failed".to_owned()) } else { Ok(()) }
    }

    /// Each failed check with its reason, for `/debug/health`.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<&'static str, String> {
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.check().err().map(|_| (CHECK, reason)).into_iter().collect()
    }

    /// Takes the outcome of one look.
    fn note(&self, outcome: Result<(), String>, threshold: u32) {
        let Err(reason) = outcome else {
            self.failures.store(0, Ordering::Relaxed);
            if self.failing.swap(false, Ordering::Relaxed) {
                tracing::info!("the store can be reached again");
            }
            return;
        };
        tracing::warn!(reason, "the store cannot be reached");
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.failing.store(failures >= threshold.max(1), Ordering::Relaxed);
    }
}

/// Looks at the store until `stop`.
pub(crate) async fn watch(
    health: Arc<Health>,
    store: Arc<dyn Store>,
    settings: StorageHealth,
    stop: CancellationToken,
) {
    if !settings.enabled {
        return;
    }
    let mut ticks = tokio::time::interval(settings.interval.as_std().max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        health.note(look(store.as_ref()).await, settings.threshold);
    }
}

/// An object that is not there is as good a sign as one that is: the store has answered.
async fn look(store: &dyn Store) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, store.stat(&layout::http_secret())).await {
        Ok(Err(error)) if !error.is_not_found() => Err(error.to_string()),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("the store has not answered within {} seconds", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_failures_in_a_row_as_the_threshold_says() {
        let health = Health::new();
        let fail = || health.note(Err("gone".to_owned()), 2);
        fail();
        assert!(health.check().is_ok());
        health.note(Ok(()), 2);
        fail();
        assert!(health.check().is_ok(), "a good look in between starts the count anew");
        fail();
        assert!(health.check().is_err());
        assert_eq!(health.failures(), BTreeMap::from([(CHECK, "gone".to_owned())]));
        health.note(Ok(()), 2);
        assert!(health.check().is_ok());
        assert!(health.failures().is_empty());
    }
}
