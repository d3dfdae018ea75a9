//! What every reconciliation shares: the client, the settings, events, metrics, and how long to wait after an error.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt as _,
    runtime::events::{Event, EventType},
};

use crate::{
    Settings, conditions,
    events::Events,
    metrics::Metrics,
    registry::{asks::Asks, settled::Settled},
    watches::Watches,
};

/// The wait after the first error; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait after an error.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What every reconciliation shares.
pub struct Context {
    /// The connection to the cluster.
    pub client: Client,
    /// What the operator was started with.
    pub settings: Settings,
    /// Where events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// Errors in a row, by resource.
    pub attempts: Attempts,
    /// What was applied already.
    pub settled: Settled,
    /// The pods that are asked.
    pub asks: Asks,
    /// Which watches fail.
    pub watches: Arc<Watches>,
}

impl Context {
    /// Announces events about one resource.
    pub fn announcer<K: Resource<DynamicType = ()>>(&self, resource: &K) -> Announcer<'_> {
        Announcer { events: &self.events, regarding: resource.object_ref(&()) }
    }
}

/// Announces events about one resource. An event that cannot be written is logged and forgotten: no work waits for it.
pub struct Announcer<'a> {
    events: &'a Events,
    regarding: ObjectReference,
}

impl Announcer<'_> {
    /// Something went as it should.
    pub async fn normal(&self, reason: &str, note: String, about: Option<ObjectReference>) {
        self.publish(EventType::Normal, reason, note, about).await;
    }

    /// Something needs a look.
    pub async fn warning(&self, reason: &str, note: String, about: Option<ObjectReference>) {
        self.publish(EventType::Warning, reason, note, about).await;
    }

    async fn publish(&self, type_: EventType, reason: &str, note: String, secondary: Option<ObjectReference>) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(conditions::shorten(&note)),
            action: "Reconcile".into(),
            secondary,
        };
        if let Err(error) = self.events.publish(&event, &self.regarding).await {
            tracing::warn!(%error, reason, "an event could not be written");
        }
    }
}

/// Errors in a row, by resource: a resource that fails again and again is tried less and less often.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<String, u32>>);

impl Attempts {
    /// Notes an error and says how long to wait.
    pub fn failed<K: Resource>(&self, resource: &K) -> Duration {
        let key = key_of(resource);
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = attempts.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        wait(*count, &key)
    }

    /// Forgets the errors of a resource: it went well, or is gone.
    pub fn succeeded<K: Resource>(&self, resource: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(resource));
    }
}

fn key_of<K: Resource>(resource: &K) -> String {
    resource.uid().unwrap_or_else(|| format!("{:?}/{}", resource.namespace(), resource.name_any()))
}

/// The wait after so many errors in a row: doubling, up to a bound, and up to a quarter longer by the resource's own
/// key, so that what failed together does not come back together.
fn wait(count: u32, key: &str) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << count.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let mut hasher = DefaultHasher::new();
    (key, count).hash(&mut hasher);
    // The remainder is below 256, which a float holds.
    let share = (hasher.finish() % 256) as f64 / 1024.0;
    doubled.mul_f64(1.0 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        for (count, least) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (1000, 300)] {
            let found = wait(count, "uid").as_secs_f64();
            let least = f64::from(least);
            assert!((least..least * 1.25).contains(&found), "{count}: {found}");
        }
    }

    #[test]
    fn what_failed_together_does_not_come_back_together() {
        let waits: std::collections::HashSet<_> = (0..20).map(|n| wait(5, &format!("uid-{n}"))).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
