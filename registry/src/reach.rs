//! Whether the store can be used: for the health check, and for whoever asks the debug port, such as an operator that has to
//! say why a registry is not ready.
//!
//! A store that answers may still refuse what it is there for. So what a start needs of it is remembered while it fails
//! ([`Reach::doubt`]), and whoever asks the debug port has something written from time to time. The health check does not
//! write: a registry whose store takes nothing new can be pulled from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_storage::{Store, StoreError, layout};
use serde::Serialize;
use tokio::time::Instant;

use crate::registry::Registry;

/// How long one look stands for all who ask.
const STANDS: Duration = Duration::from_secs(3);
/// How long it is believed that the store takes what is written.
const WRITE_STANDS: Duration = Duration::from_secs(300);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a store is asked that is busy or breaks off, and the time in between: once is no reason to call for somebody.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(250);

/// What a look has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Looked {
    driver: &'static str,
    place: String,
    reachable: bool,
    /// One word for what is wrong, in the store's own terms where it has one.
    reason: Option<String>,
    message: Option<String>,
    /// Whether it may pass by itself.
    transient: bool,
    checked: jiff::Timestamp,
}

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    reason: String,
    pub(crate) message: String,
    transient: bool,
}

impl Trouble {
    fn timeout() -> Self {
        let message = format!("the store has not answered within {} seconds", PATIENCE.as_secs());
        Trouble { reason: "Timeout".to_owned(), message, transient: true }
    }

    /// What an error says that has a store's error somewhere within it.
    pub(crate) fn within(error: &anyhow::Error) -> Self {
        let message = format!("{error:#}");
        match error.chain().find_map(|cause| cause.downcast_ref::<StoreError>()) {
            Some(cause) => Trouble { message, ..Trouble::from(cause) },
            None => Trouble { reason: "Failed".to_owned(), message, transient: true },
        }
    }
}

impl From<&StoreError> for Trouble {
    fn from(error: &StoreError) -> Self {
        Trouble { reason: reason(error), message: error.to_string(), transient: error.is_transient() }
    }
}

/// Looks at a store, once for all who ask at the same time.
pub(crate) struct Reach {
    store: Arc<dyn Store>,
    /// Who says whether anything is to be written; nothing is without.
    registry: Option<Arc<Registry>>,
    /// What a start needs of the store and has not got yet.
    doubt: Mutex<Option<Trouble>>,
    last: tokio::sync::Mutex<Last>,
}

#[derive(Default)]
struct Last {
    looked: Option<(Instant, Looked)>,
    /// When something was last written.
    written: Option<Instant>,
}

impl Reach {
    /// Of a store that nothing is written to.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Reach { store, registry: None, doubt: Mutex::default(), last: tokio::sync::Mutex::default() }
    }

    /// Of the store of a registry, which is to take what is pushed while the registry takes it.
    pub(crate) fn of(registry: &Arc<Registry>) -> Self {
        Reach { registry: Some(registry.clone()), ..Reach::new(registry.store.clone()) }
    }

    /// The store that is looked at.
    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The store does not do what a start needs of it, or at last does.
    pub(crate) fn doubt(&self, trouble: Option<Trouble>) {
        *self.doubt.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Asks the store whether it is there, and says what is in doubt of it.
    pub(crate) async fn check(&self) -> Result<(), Trouble> {
        match tokio::time::timeout(PATIENCE, self.store.check()).await {
            Ok(checked) => checked.map_err(|error| Trouble::from(&error))?,
            Err(_) => return Err(Trouble::timeout()),
        }
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// What a look finds now, or has found a moment ago.
    pub(crate) async fn look(&self) -> Looked {
        let mut last = self.last.lock().await;
        if let Some((_, looked)) = last.looked.as_ref().filter(|(at, _)| at.elapsed() < STANDS) {
            return looked.clone();
        }
        let trouble = tokio::time::timeout(PATIENCE, self.find(&mut last.written)).await;
        let trouble = trouble.unwrap_or_else(|_| Err(Trouble::timeout())).err();
        let (reachable, transient) = (trouble.is_none(), trouble.as_ref().is_some_and(|trouble| trouble.transient));
        let (reason, message) = trouble.map(|Trouble { reason, message, .. }| (reason, message)).unzip();
        let (driver, place) = (self.store.driver(), self.store.place());
        let checked = jiff::Timestamp::now();
        let looked = Looked { driver, place, reachable, reason, message, transient, checked };
        last.looked = Some((Instant::now(), looked.clone()));
        looked
    }

    async fn find(&self, written: &mut Option<Instant>) -> Result<(), Trouble> {
        let mut tried = 1;
        while let Err(trouble) = self.check().await {
            if !trouble.transient || tried == TRIES {
                return Err(trouble);
            }
            tokio::time::sleep(PAUSE * tried).await;
            tried += 1;
        }
        let is_known = written.is_some_and(|at| at.elapsed() < WRITE_STANDS);
        if is_known || !self.takes_writes() {
            return Ok(());
        }
        let content = format!("Written at {} to see whether the store takes it.\n", jiff::Timestamp::now());
        let outcome = self.store.put(&layout::written(), content.into()).await;
        *written = outcome.is_ok().then(Instant::now);
        outcome.map_err(|error| Trouble::from(&error))
    }

    /// Whether something is to be written where only the store knows whether it may be.
    fn takes_writes(&self) -> bool {
        self.store.is_remote()
            && self.registry.as_ref().is_some_and(|registry| registry.gate.standing().closed.is_none())
    }
}

/// One word of letters and digits, as conditions of Kubernetes want it.
fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Service { refusal, .. } => {
            let code = &refusal.code;
            let is_word = code.starts_with(|first: char| first.is_ascii_alphabetic())
                && code.chars().all(|character| character.is_ascii_alphanumeric());
            if is_word { code.clone() } else { "Refused".to_owned() }
        }
        StoreError::Unreachable { .. } => "Unreachable".to_owned(),
        StoreError::Settings { .. } => "InvalidSettings".to_owned(),
        _ => "Failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {

    use berth_storage::layers::{Fault, Faulty, Shelf, ShelfOptions};
    use berth_storage::{LockMode, Memory, ObjectStore, Refusal, Unlocked};
    use serde_json::Value;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    /// A registry on an object store whose requests fail as told.
    struct Remote {
        shelf: Arc<Shelf>,
        faulty: Arc<Faulty>,
        registry: Arc<Registry>,
        reach: Reach,
    }

    fn remote() -> Remote {
        let shelf = Arc::new(Shelf::new(ShelfOptions::default()));
        let faulty = Arc::new(Faulty::listed(shelf.clone(), []));
        let store = Arc::new(ObjectStore::new(faulty.clone()));
        let exclude = Arc::new(Unlocked::new(store.place(), LockMode::Shared));
        let permissions = Permissions { delete: true, read_only: false };
        let registry = Arc::new(Registry::new(store, exclude, Arc::new(Guard::new()), permissions));
        Remote { shelf, faulty, reach: Reach::of(&registry), registry }
    }

    impl Remote {
        /// What the next look finds, when requests fail so.
        async fn look(&self, faults: &[Option<Fault>]) -> Value {
            tokio::time::advance(STANDS).await;
            self.faulty.then(faults.iter().copied());
            serde_json::to_value(self.reach.look().await).unwrap()
        }

        fn written(&self) -> Option<bytes::Bytes> {
            self.shelf.peek("berth/v1/written")
        }
    }

    #[tokio::test]
    async fn what_can_be_used_is_said_to_be() {
        let looked = serde_json::to_value(Reach::new(Arc::new(Memory::new())).look().await).unwrap();
        assert_eq!(looked["driver"], "inmemory");
        assert_eq!((&looked["reachable"], &looked["transient"]), (&true.into(), &false.into()));
        assert!(looked["reason"].is_null() && looked["message"].is_null());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_takes_nothing_new_is_not_reached() {
        let remote = remote();
        let looked = remote.look(&[None, Some(Fault::Forbidden)]).await;
        assert_eq!((&looked["reachable"], &looked["reason"]), (&false.into(), &"AccessDenied".into()), "{looked}");
        assert_eq!(looked["transient"], false);
        assert!(looked["message"].as_str().unwrap().contains("berth/v1/written"), "{looked}");
        assert_eq!(remote.reach.check().await, Ok(()), "and what it has can be pulled");
        let looked = remote.look(&[]).await;
        assert_eq!(looked["reachable"], true, "{looked}");
        let first = remote.written().unwrap();
        assert_eq!(
            remote.look(&[None, Some(Fault::Forbidden)]).await["reachable"],
            true,
            "that is believed for a while"
        );
        tokio::time::advance(WRITE_STANDS).await;
        assert_eq!(remote.look(&[None, Some(Fault::Forbidden)]).await["reachable"], false);
        assert_eq!(remote.written().unwrap(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_only_reads_has_nothing_written() {
        let remote = remote();
        remote.registry.gate.close("a backup".into());
        assert_eq!(remote.look(&[]).await["reachable"], true);
        assert_eq!(remote.written(), None);
        remote.registry.gate.open();
        assert_eq!(remote.look(&[]).await["reachable"], true);
        assert!(remote.written().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn once_busy_is_nothing_and_for_long_may_pass() {
        let remote = remote();
        assert_eq!(remote.look(&[Some(Fault::SlowDown), Some(Fault::Reset)]).await["reachable"], true);
        let looked = remote.look(&[Some(Fault::SlowDown); 3]).await;
        assert_eq!((&looked["reason"], &looked["transient"]), (&"SlowDown".into(), &true.into()), "{looked}");
    }

    /// The store answers, but nothing can be done with it.
    #[tokio::test(start_paused = true)]
    async fn what_a_start_needs_is_remembered() {
        let remote = remote();
        let denied = StoreError::Service {
            key: "s3://b".into(),
            action: "write",
            refusal: Box::new(Refusal { status: 403, code: "AccessDenied".into(), message: "no".into() }),
        };
        remote.reach.doubt(Some(Trouble::within(&anyhow::Error::from(denied).context("cannot use the store"))));
        assert!(remote.reach.check().await.is_err());
        let looked = remote.look(&[]).await;
        assert_eq!((&looked["reachable"], &looked["reason"]), (&false.into(), &"AccessDenied".into()), "{looked}");
        assert!(looked["message"].as_str().unwrap().starts_with("cannot use the store: s3://b: cannot write"));
        remote.reach.doubt(None);
        assert_eq!(remote.reach.check().await, Ok(()));
        assert_eq!(remote.look(&[]).await["reachable"], true);
    }

    #[test]
    fn a_reason_is_one_word() {
        let refused = |code: &str| {
            let refusal = Box::new(Refusal { status: 403, code: code.into(), message: "no".into() });
            reason(&StoreError::Service { key: "s3://b".into(), action: "look", refusal })
        };
        assert_eq!(refused("AccessDenied"), "AccessDenied");
        for odd in ["", "4xx", "Access Denied", "Ä"] {
            assert_eq!(refused(odd), "Refused", "{odd}");
        }
    }
}
