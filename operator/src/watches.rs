//! Which watches have not come to see what there is: as long as there is one, the operator does less than its work.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use kube::runtime::watcher::{self, Event};

/// The names of the watches whose list failed and did not succeed since; why they fail is in the log.
#[derive(Debug, Default)]
pub struct Watches(Mutex<BTreeSet<String>>);

impl Watches {
    /// Takes note of what a watch tells. A watch that only breaks goes on from where it was.
    pub fn note<K>(&self, watch: &str, event: &Result<Event<K>, watcher::Error>) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::InitDone) => {
                failing.remove(watch);
            }
            Err(watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion) => {
                failing.insert(watch.to_owned());
            }
            Ok(Event::Init | Event::InitApply(_) | Event::Apply(_) | Event::Delete(_)) | Err(_) => {}
        }
    }

    /// The names of those that fail.
    #[must_use]
    pub fn failing(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_fails_until_it_has_listed() {
        let watches = Watches::default();
        let note = |watch: &str, event: Result<Event<()>, watcher::Error>| {
            watches.note(watch, &event);
            watches.failing()
        };
        let error = || kube::Error::LinesCodecMaxLineLengthExceeded;
        assert!(note("a", Err(watcher::Error::WatchFailed(error()))).is_empty(), "it goes on from where it was");
        assert_eq!(note("a", Err(watcher::Error::InitialListFailed(error()))), ["a"]);
        assert_eq!(note("b", Err(watcher::Error::NoResourceVersion)), ["a", "b"]);
        assert_eq!(note("a", Ok(Event::Init)), ["a", "b"]);
        assert_eq!(note("a", Ok(Event::InitDone)), ["b"]);
        assert!(note("b", Ok(Event::InitDone)).is_empty());
    }
}
