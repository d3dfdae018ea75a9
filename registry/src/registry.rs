//! The registry itself: a store, the guard against the collector, and what is allowed. The operations are in one module
//! for each noun: `blobs`, `uploads`, `manifests`, `referrers`, `tags`, `catalog`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use berth_oci::{Digest, RepositoryName};
use berth_storage::{Exclude, Key, Stat, Store, StoreError, read_all};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::blobs::Small;
use crate::catalog::Windows;
use crate::error::Error;
use crate::found::Found;
use crate::gate::{Gate, Writing};
use crate::gc::Guard;
use crate::readying::Needs;
use crate::recent::{Recent, believed};
use crate::referrers::Lookouts;
use crate::removals::{Counted, Removals};
use crate::room::Room;
use crate::rules::Rules;
use crate::tag_lists::TagLists;
use crate::uploads::Sessions;

/// The longest link in bytes: a sha512 digest, and room for what others may have added.
const MAX_LINK_BYTES: u64 = 1024;
/// Why a registry is read-only from its start.
const CONFIGURED: &str = "storage.maintenance.readonly is enabled in its configuration";
/// Over how many locks repositories are spread.
const TAG_LOCKS: usize = 64;

/// What may be done to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Whether tags, manifests and blobs may be deleted.
    pub delete: bool,
    /// Whether every write is refused until somebody says otherwise.
    pub read_only: bool,
}

/// A registry. Every method is safe to call from many tasks at once.
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    /// Keeps other processes from the store during a collection, which the guard cannot.
    /// What was removed from the store, here and elsewhere.
    pub(crate) removals: Removals,
    pub(crate) exclude: Arc<dyn Exclude>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) sessions: Sessions,
    pub(crate) lookouts: Lookouts,
    pub(crate) gate: Gate,
    /// For large manifests.
    pub(crate) room: Room,
    /// What is remembered of the catalog from one page to the next.
    pub(crate) catalog: Windows,
    /// What is remembered of tags from one page to the next.
    pub(crate) tag_lists: TagLists,
    pub(crate) recent_manifests: Recent<Arc<Found>>,
    pub(crate) recent_blobs: Recent<Small>,
    /// What repositories link to, where a look at a link is a request to another machine.
    pub(crate) recent_links: Recent<Stat>,
    can_delete: bool,
    pub(crate) rules: Rules,
    /// What it needs before it takes writes, of a registry that serves.
    needs: Option<Arc<Needs>>,
    /// A push of a manifest holds its repository's lock shared, a deletion holds it alone: otherwise a tag could be
    /// written between the two steps of a deletion and name a manifest that is gone. A push under a condition holds it
    /// alone as well: what it has compared must not change before it is written.
    tag_locks: Vec<RwLock<()>>,
}

impl Registry {
    /// A registry on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, exclude: Arc<dyn Exclude>, guard: Arc<Guard>, permissions: Permissions) -> Self {
        let tag_locks = (0..TAG_LOCKS).map(|_| RwLock::new(())).collect();
        let Permissions { delete: can_delete, read_only } = permissions;
        let gate = Gate::new(read_only.then(|| CONFIGURED.to_owned()));
        let (sessions, lookouts) = (Sessions::new(store.is_remote()), Lookouts::default());
        let (catalog, tag_lists) = (Windows::default(), TagLists::default());
        let removals = Removals::default();
        let believed = believed(store.is_remote());
        let store = Arc::new(Counted::new(store, removals.clone()));
        let (recent_manifests, recent_blobs) =
            (Recent::new(removals.clone(), believed), Recent::new(removals.clone(), believed));
        let recent_links = Recent::new(removals.clone(), believed);
        Registry {
            store,
            removals,
            exclude,
            guard,
            sessions,
            lookouts,
            gate,
            room: Room::default(),
            catalog,
            tag_lists,
            recent_manifests,
            recent_blobs,
            recent_links,
            can_delete,
            rules: Rules::default(),
            needs: None,
            tag_locks,
        }
    }

    /// The same registry, with other rules for what may be pushed than those of [`Rules::default`].
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Registry { rules, ..self }
    }

    /// The same registry, which may be told to take writes although it was opened to only read.
    pub(crate) fn with_needs(self, needs: Arc<Needs>) -> Self {
        Registry { needs: Some(needs), ..self }
    }

    /// Opens the gate once everything is there that writes need; `patience` is how long other processes may keep the store
    /// locked.
    ///
    /// # Errors
    /// Why the gate stays as it was, in a sentence.
    pub(crate) async fn open_gate(&self, patience: Duration) -> Result<(), String> {
        match tokio::time::timeout(patience, self.exclude.prepare_to_write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("the store cannot be written: {error}")),
            Err(_) => return Err("another process keeps the store locked: try again".to_owned()),
        }
        if let Some(needs) = &self.needs {
            needs.meet_to_write().await.map_err(|error| format!("the store cannot be written: {error:#}"))?;
        }
        self.gate.open();
        tracing::warn!("the registry takes writes");
        Ok(())
    }

    /// Admits a write, which lasts until what is given is dropped. Asked once for an operation, not for its parts: a
    /// registry that becomes read-only meanwhile lets it end.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub(crate) fn writable(&self) -> Result<Writing, Error> {
        self.gate.admit()
    }

    /// As [`Registry::writable`], for a deletion that a client asks for.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::DeleteDisabled`].
    pub(crate) fn deletable(&self) -> Result<Writing, Error> {
        let writing = self.writable()?;
        if self.can_delete { Ok(writing) } else { Err(Error::DeleteDisabled) }
    }

    fn tag_lock(&self, name: &RepositoryName) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        &self.tag_locks[(hasher.finish() % self.tag_locks.len() as u64) as usize]
    }

    pub(crate) async fn while_pushing(&self, name: &RepositoryName) -> RwLockReadGuard<'_, ()> {
        self.tag_lock(name).read().await
    }

    pub(crate) async fn while_alone(&self, name: &RepositoryName) -> RwLockWriteGuard<'_, ()> {
        self.tag_lock(name).write().await
    }

    /// What is known of an object, or nothing if there is none.
    pub(crate) async fn find(&self, key: &Key) -> Result<Option<Stat>, Error> {
        absent_is_none(self.store.stat(key).await)
    }

    /// The digest that a link holds, or nothing if there is no link.
    pub(crate) async fn read_link(&self, key: &Key) -> Result<Option<Digest>, Error> {
        read_link(self.store.as_ref(), key).await
    }

    /// Writes a link unless it is there.
    pub(crate) async fn ensure_link(&self, key: &Key, digest: &Digest) -> Result<(), Error> {
        // To look costs as much as to write, and the same is written.
        if self.store.is_remote() {
            return Ok(self.store.put(key, digest.to_string().into()).await?);
        }
        // An empty link is what a power failure left of a writer that did not sync; it is written again.
        if self.find(key).await?.is_some_and(|stat| stat.size == digest.as_str().len() as u64) {
            return Ok(());
        }
        Ok(self.store.put(key, digest.to_string().into()).await?)
    }
}

/// The digest that a link holds, or nothing if there is no link.
pub(crate) async fn read_link(store: &dyn Store, key: &Key) -> Result<Option<Digest>, Error> {
    let Some(content) = absent_is_none(read_all(store, key, MAX_LINK_BYTES).await)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&content);
    let digest = text.trim().parse().map_err(|source| Error::Link { key: key.to_string(), source })?;
    Ok(Some(digest))
}

/// Turns "not found" into nothing.
pub(crate) fn absent_is_none<T>(result: Result<T, StoreError>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
