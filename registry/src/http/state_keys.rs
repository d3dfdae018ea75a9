//! The keys that sign states: the one that the configuration or the store has, and those that the store had before.
//!
//! A key from the store is the same for all replicas, since the first of them has left it there. But where a store cannot
//! create an object only once, replicas that start together may each write a key of their own. The last one stays, and who
//! has read an earlier one signs with a key that nobody else has. So the store is asked once more for a state that cannot be
//! read, as one from another replica is, and also a while after the start, when everybody has written. What was signed with
//! an earlier key counts for this process as long as it lives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_oci::RepositoryName;
use berth_storage::{Store, layout, read_all};
use tokio::time::Instant;
use uuid::Uuid;

use super::state::{State, StateKey};
use crate::settings::MAX_SECRET_BYTES;

/// How often the store is asked at most, whatever clients send.
const PAUSE: Duration = Duration::from_secs(10);
/// When every replica that has started at the same time as this one has written its key: longer than a start waits.
const SETTLED: Duration = Duration::from_secs(30);
/// How long the store may take: requests wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many keys are known at most.
const MAX_KEYS: usize = 4;

/// The keys of this process; none yet if the one that counts lies in a store that could not be reached.
#[derive(Default)]
pub struct StateKeys {
    known: Mutex<Known>,
    /// One request asks the store; others wait for what it finds. When it was asked last.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    /// The one that signs first.
    keys: Vec<StateKey>,
    /// Where the key is from, if not from the configuration.
    store: Option<Arc<dyn Store>>,
    /// When the key in the store is looked at once more, whatever happens.
    unsettled: Option<Instant>,
    /// Whether the key is one that every replica has.
    is_shared: bool,
}

impl Known {
    fn is_due(&self) -> bool {
        self.unsettled.is_some_and(|at| at <= Instant::now())
    }

    /// Signs with this key from now on.
    fn prefer(&mut self, key: StateKey) {
        if self.keys.first() != Some(&key) {
            tracing::info!("another replica has left the key that signs upload addresses: it is used from now on");
            self.keys.retain(|known| *known != key);
            self.keys.insert(0, key);
            self.keys.truncate(MAX_KEYS);
        }
    }
}

impl StateKeys {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the key of the configuration.
    pub(crate) fn configure(&self, key: StateKey) {
        *self.known() = Known { keys: vec![key], is_shared: true, ..Known::default() };
    }

    /// Takes the key that is in a store; `is_settled` if no other can come to be there by now.
    pub(crate) fn take(&self, key: StateKey, store: Arc<dyn Store>, is_settled: bool) {
        let unsettled = (!is_settled).then(|| Instant::now() + SETTLED);
        *self.known() = Known { keys: vec![key], store: Some(store), unsettled, is_shared: true };
    }

    /// Takes a key that nobody else has, where the store has none and takes none; until it does.
    pub(crate) fn improvise(&self, key: StateKey, store: Arc<dyn Store>) {
        *self.known() = Known { keys: vec![key], store: Some(store), ..Known::default() };
    }

    /// Whether there is a key, and it is one that every replica has.
    pub(crate) fn is_shared(&self) -> bool {
        self.known().is_shared
    }

    /// Whether there is a key.
    pub(crate) fn is_known(&self) -> bool {
        !self.known().keys.is_empty()
    }

    /// Makes sure of the key that signs, where replicas may have written others.
    pub(crate) async fn settle(&self) {
        if self.known().is_due() {
            self.ask_again().await;
        }
    }

    /// A state as text; nothing if there is no key.
    pub(crate) fn pack(&self, state: &State) -> Option<String> {
        self.known().keys.first().map(|key| key.pack(state))
    }

    /// The state of a session, if this text was made for this session with a key that counts or has counted.
    pub(crate) async fn unpack(&self, text: &str, name: &RepositoryName, id: Uuid) -> Option<State> {
        let unpack = || self.known().keys.iter().find_map(|key| key.unpack(text, name, id));
        match unpack() {
            None if !text.is_empty() => {
                self.ask_again().await;
                unpack()
            }
            state => state,
        }
    }

    /// Asks the store for its key, unless that was done a moment ago, perhaps by a request that this one has waited for.
    async fn ask_again(&self) {
        let Some(store) = self.known().store.clone() else { return };
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let (is_due, secret) = (self.known().is_due(), layout::http_secret());
        let reading = tokio::time::timeout(PATIENCE, read_all(store.as_ref(), &secret, MAX_SECRET_BYTES)).await;
        // Whoever has waited meanwhile does not ask again.
        *asked = Some(Instant::now());
        let Ok(read) = reading else {
            return tracing::warn!(
                "cannot look again at the key that signs upload addresses: the store does not answer"
            );
        };
        match read {
            Ok(content) if !content.is_empty() => {
                let mut known = self.known();
                known.prefer(StateKey::new(content.to_vec()));
                known.unsettled.take_if(|_| is_due);
            }
            // Nobody else has one either.
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(%error, "cannot look again at the key that signs upload addresses"),
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::ObjectStore;
    use berth_storage::layers::{Shelf, ShelfOptions};

    use super::*;
    use crate::settings;

    fn state() -> State {
        let name = "team/app".parse().unwrap();
        State { name, id: Uuid::from_u128(7), offset: 0, started_at: jiff::Timestamp::UNIX_EPOCH, algorithm: None }
    }

    async fn reads(keys: &StateKeys, text: &str) -> bool {
        let State { name, id, .. } = state();
        keys.unpack(text, &name, id).await == Some(state())
    }

    async fn start(shelf: &Arc<Shelf>) -> StateKeys {
        let (keys, store) = (StateKeys::default(), Arc::new(ObjectStore::new(shelf.clone())));
        let key = settings::state_key(store.as_ref(), false).await.unwrap().unwrap();
        keys.take(key, store, false);
        keys
    }

    /// Two that start together on a store where both are told that they have created the key, which differ therefore.
    async fn at_once() -> (Arc<Shelf>, StateKeys, StateKeys) {
        let mut options = ShelfOptions::default();
        options.abilities.creates_atomically = false;
        let shelf = Arc::new(Shelf::new(options));
        let (one, other) = futures::join!(start(&shelf), start(&shelf));
        assert!(one.known().keys != other.known().keys);
        (shelf, one, other)
    }

    #[tokio::test(start_paused = true)]
    async fn who_meets_a_state_of_another_replica_takes_the_key_that_the_store_has() {
        let (_, one, other) = at_once().await;
        let own = one.pack(&state()).unwrap();
        assert!(reads(&one, &other.pack(&state()).unwrap()).await);
        assert!(reads(&other, &one.pack(&state()).unwrap()).await, "it signs with that key");
        assert!(reads(&one, &own).await, "what it has signed before counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_while_after_the_start_the_key_is_looked_at_once_more() {
        let (_, one, other) = at_once().await;
        one.settle().await;
        assert!(!reads(&other, &one.pack(&state()).unwrap()).await);
        tokio::time::advance(SETTLED).await;
        one.settle().await;
        assert!(reads(&other, &one.pack(&state()).unwrap()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_not_asked_for_every_text_that_a_client_sends() {
        let (shelf, one, _) = at_once().await;
        assert!(!reads(&one, "made up").await);
        shelf.plant(layout::http_secret().as_str(), "a new key");
        let text = StateKey::new(b"a new key".to_vec()).pack(&state());
        assert!(!reads(&one, &text).await);
        tokio::time::advance(PAUSE).await;
        assert!(reads(&one, &text).await);
        for number in 0..10 {
            tokio::time::advance(PAUSE).await;
            shelf.plant(layout::http_secret().as_str(), format!("key {number}"));
            assert!(!reads(&one, "made up").await);
        }
        assert_eq!(one.known().keys.len(), MAX_KEYS);
    }

    #[tokio::test]
    async fn the_key_of_the_configuration_is_the_only_one() {
        let keys = StateKeys::default();
        assert!(!keys.is_known() && keys.pack(&state()).is_none());
        keys.configure(StateKey::new(b"configured".to_vec()));
        assert!(keys.is_known() && reads(&keys, &keys.pack(&state()).unwrap()).await);
        assert!(!reads(&keys, &StateKey::new(b"other".to_vec()).pack(&state())).await);
    }
}
