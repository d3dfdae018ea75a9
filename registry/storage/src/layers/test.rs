//! What the tests of several layers need.

use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;

use super::{Observer, Outcome};
use crate::{Outgoing, StoreError};

/// Remembers what it is told: the action, how it ended, and its time in whole seconds.
#[derive(Default)]
pub(super) struct Recorder(Mutex<Vec<(&'static str, Outcome, u64)>>);

impl Recorder {
    /// What it was told since it was asked last.
    pub(super) fn take(&self) -> Vec<(&'static str, Outcome, u64)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// How many requests ended since it was asked last.
    pub(super) fn count(&self) -> usize {
        self.take().len()
    }
}

impl Observer for Recorder {
    fn request(&self, driver: &'static str, action: &'static str, outcome: Outcome, elapsed: Duration) {
        assert_eq!(driver, "shelf");
        self.0.lock().unwrap().push((action, outcome, elapsed.as_secs()));
    }
}

/// What a body has given, as text, and the error that it ended with.
pub(super) async fn read(mut body: Outgoing) -> (String, Option<StoreError>) {
    let mut content = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => content.extend_from_slice(&piece),
            Err(error) => return (String::from_utf8(content).unwrap(), Some(error)),
        }
    }
    (String::from_utf8(content).unwrap(), None)
}
