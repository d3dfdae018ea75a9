//! Events that say what happened: each text is one of its own.
//!
//! The client's recorder takes two events of one reason about one object for the same that came twice, counts them, and
//! keeps the text of the first. Here what differs in its text has a recorder of its own, so that only what is said again
//! is counted.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, Recorder, Reporter},
};

/// How long what was said is remembered; the recorder itself forgets after six minutes.
const REMEMBERED: Duration = Duration::from_secs(360);
/// How many texts are remembered; one that is forgotten becomes a new event when it is said again.
const MAX_REMEMBERED: usize = 1024;

/// Where events go.
pub struct Events {
    client: Client,
    reporter: Reporter,
    recorders: Mutex<HashMap<u64, (Recorder, Instant)>>,
}

impl Events {
    /// Events that name `reporter`.
    #[must_use]
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, recorders: Mutex::default() }
    }

    /// Writes an event about an object, or counts it if its text was said of that object before.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn publish(&self, event: &Event, regarding: &ObjectReference) -> Result<(), kube::Error> {
        self.recorder(event, regarding, Instant::now()).publish(event, regarding).await
    }

    fn recorder(&self, event: &Event, regarding: &ObjectReference, now: Instant) -> Recorder {
        let mut hasher = DefaultHasher::new();
        (&regarding.kind, &regarding.namespace, &regarding.name, &regarding.uid).hash(&mut hasher);
        (&event.reason, &event.note).hash(&mut hasher);
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        recorders.retain(|_, (_, said)| now.saturating_duration_since(*said) < REMEMBERED);
        if recorders.len() >= MAX_REMEMBERED {
            recorders.clear();
        }
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, said) = recorders.entry(hasher.finish()).or_insert_with(new);
        *said = now;
        recorder.clone()
    }
}
