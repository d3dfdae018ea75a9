//! The removal of upload sessions that nobody finishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_config::UploadPurging;
use berth_oci::RepositoryName;
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{Cursor, EntryKind, ListRequest, MAX_PAGE, StoreError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::registry::Registry;

/// Replicas that start together do not all look at once.
const MAX_FIRST_WAIT_SECONDS: u64 = 3600;
/// Below this an interval is a mistake that would keep the store busy.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// How old parts are at least before they are taken for left over. Of a session it is known when something was written last;
/// of these, on some stores, only when they were begun, and whoever still writes them must not lose them.
const MIN_LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks for old sessions until `stop`.
pub(crate) async fn watch(registry: Arc<Registry>, settings: UploadPurging, stop: CancellationToken) {
    if !settings.enabled {
        return;
    }
    let (random, _) = Uuid::new_v4().as_u64_pair();
    let mut wait = Duration::from_secs(random % MAX_FIRST_WAIT_SECONDS);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = settings.interval.as_std().max(MIN_INTERVAL);
        // Looked at each time: a registry may be read-only for a while.
        if registry.writable().is_err() {
            continue;
        }
        let Some(before) = SystemTime::now().checked_sub(settings.age.as_std()) else { continue };
        match purge(&registry, before, settings.dryrun).await {
            Ok(Purged { found, removed, bytes, failed }) => {
                tracing::info!(found, removed, bytes, failed, dry_run = settings.dryrun, "purged uploads");
            }
            Err(error) => tracing::error!(%error, "cannot purge uploads"),
        }
        if settings.dryrun {
            continue;
        }
        let Some(before) = SystemTime::now().checked_sub(leftover_age(settings.age.as_std())) else { continue };
        match remove_leftovers(&registry, before).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed parts of objects that nobody completes"),
            Err(error) => tracing::warn!(%error, "cannot remove parts of objects that nobody completes"),
        }
    }
}

/// How old parts must be that are removed, where sessions of this age are.
fn leftover_age(age: Duration) -> Duration {
    age.max(MIN_LEFTOVER_AGE)
}

/// What a look has found and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    /// How many sessions there were.
    pub(crate) found: usize,
    /// How many of them were removed, or would have been.
    pub(crate) removed: usize,
    /// How many bytes had arrived for these.
    pub(crate) bytes: u64,
    /// How many could not be removed and are left for the next time.
    pub(crate) failed: usize,
}

/// A session, by the names of its repository and its directory: a store made by others may hold any.
type Session = (String, String);

/// What a session holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// When something was written last, whatever it was: other programs keep more than data and a start there, or lack it.
    modified: SystemTime,
    bytes: u64,
}

/// Removes every session of which nothing has been written since `before`. What cannot be removed is left for the next
/// time.
///
/// # Errors
/// When the store cannot be listed.
pub(crate) async fn purge(registry: &Registry, before: SystemTime, dry_run: bool) -> Result<Purged, Error> {
    let sessions = sessions(registry).await?;
    let mut purged = Purged { found: sessions.len(), ..Purged::default() };
    for ((name, id), held) in sessions {
        if held.modified >= before {
            continue;
        }
        let Ok(name) = name.parse::<RepositoryName>() else {
            tracing::warn!(repository = name, upload = id, "an old upload of what is no repository name stays");
            continue;
        };
        // It is looked at again: since it was listed, its client may have gone on.
        let outcome = if dry_run { Ok(true) } else { expire(registry, &name, &id, before).await };
        match outcome {
            Ok(true) => {
                tracing::info!(repository = %name, upload = id, bytes = held.bytes, dry_run, "purged an old upload");
                purged.removed += 1;
                purged.bytes += held.bytes;
            }
            Ok(false) | Err(Error::UploadUnknown { .. }) => {}
            // The others can be removed all the same.
            Err(error) => {
                tracing::warn!(repository = %name, upload = id, %error, "cannot remove an old upload");
                purged.failed += 1;
            }
        }
    }
    Ok(purged)
}

/// Removes what processes that were killed have left in the store and no session knows: on an object store, parts of an
/// object that never became one. Says how many things that were.
///
/// # Errors
/// What the store says.
pub(crate) async fn remove_leftovers(registry: &Registry, before: SystemTime) -> Result<u64, StoreError> {
    let mut removed = 0;
    for below in [layout::blobs(), layout::repositories()] {
        removed += registry.store.remove_leftovers(&below, before).await?;
    }
    Ok(removed)
}

async fn expire(registry: &Registry, name: &RepositoryName, id: &str, before: SystemTime) -> Result<bool, Error> {
    match id.parse::<Uuid>().ok().filter(|parsed| parsed.to_string() == id) {
        Some(id) => registry.upload_expire(name, id, before).await,
        // No session that anybody can go on with.
        None => {
            let _writing = registry.writable()?;
            let directory = layout::uploads(name).join(id).map_err(berth_storage::StoreError::from)?;
            Ok(registry.store.delete_below(&directory).await? > 0)
        }
    }
}

/// Every session there is, with what it holds.
async fn sessions(registry: &Registry) -> Result<HashMap<Session, Held>, Error> {
    let mut sessions: HashMap<Session, Held> = HashMap::new();
    let (below, mut after): (_, Option<Cursor>) = (layout::repositories(), None);
    loop {
        let request =
            ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
        let page = registry.store.list(request).await?;
        for entry in &page.entries {
            let (EntryKind::Object(stat), Some(object)) = (entry.kind, layout::parse_repository_object(&entry.key))
            else {
                continue;
            };
            if let RepositoryObjectKind::Upload(id) = object.kind {
                let none = Held { modified: stat.modified, bytes: 0 };
                let held = sessions.entry((object.repository.to_owned(), id)).or_insert(none);
                held.modified = held.modified.max(stat.modified);
                held.bytes += stat.size;
            }
        }
        match page.next {
            None => return Ok(sessions),
            next => after = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_oci::Digest;
    use berth_storage::bucket::Bucket as _;
    use berth_storage::layers::{Shelf, ShelfOptions};
    use berth_storage::{Filesystem, LockMode, Memory, ObjectStore, Unlocked};

    use super::*;
    use crate::gc::Guard;
    use crate::metrics::{Metered, Metrics};
    use crate::registry::Permissions;

    #[tokio::test]
    async fn only_old_sessions_go_and_a_dry_run_removes_none() {
        let permissions = Permissions { delete: false, read_only: false };
        let store = Arc::new(Memory::new());
        let registry = Registry::new(store.clone(), store, Arc::new(Guard::new()), permissions);
        let name: RepositoryName = "team/app".parse().unwrap();
        let upload = registry.upload_begin(&name).await.unwrap();
        let begun = SystemTime::now();
        let earlier = begun.checked_sub(Duration::from_secs(60)).unwrap();
        let later = begun.checked_add(Duration::from_secs(60)).unwrap();
        let none = Purged { found: 1, ..Purged::default() };
        let one = Purged { removed: 1, bytes: 20, ..none };
        assert_eq!(purge(&registry, earlier, false).await.unwrap(), none);
        assert_eq!(purge(&registry, later, true).await.unwrap(), one);
        assert_eq!(registry.upload_offset(&name, upload.id).await.unwrap(), 0);
        assert!(!registry.upload_expire(&name, upload.id, earlier).await.unwrap(), "its client has gone on");
        assert_eq!(purge(&registry, later, false).await.unwrap(), one);
        assert!(matches!(registry.upload_offset(&name, upload.id).await, Err(Error::UploadUnknown { .. })));
    }

    /// Sessions that other programs have left, each with something missing or something more.
    #[tokio::test]
    async fn leftovers_of_every_kind_go_whole() {
        let (memory, directory) = (Arc::new(Memory::new()), tempfile::tempdir().unwrap());
        let filesystem = Arc::new(Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap());
        let permissions = Permissions { delete: false, read_only: false };
        for registry in [
            Registry::new(memory.clone(), memory, Arc::new(Guard::new()), permissions),
            Registry::new(filesystem.clone(), filesystem, Arc::new(Guard::new()), permissions),
        ] {
            let uploads = layout::uploads(&"team/app".parse().unwrap());
            for (id, below) in [
                ("6fa459ea-ee8a-3ca4-894e-db77e160355e", "startedat"),
                ("7fa459ea-ee8a-3ca4-894e-db77e160355e", "data"),
                ("8fa459ea-ee8a-3ca4-894e-db77e160355e", "hashstates/sha256/512"),
                ("8fa459ea-ee8a-3ca4-894e-db77e160355e", "hashstates/sha256/0"),
                ("9FA459EA-EE8A-3CA4-894E-DB77E160355E", "startedat"),
                ("not-a-session", "data"),
            ] {
                let key = uploads.join(&format!("{id}/{below}")).unwrap();
                registry.store.put(&key, "not a date".into()).await.unwrap();
            }
            let tag = layout::tag_current_link(&"team/app".parse().unwrap(), &"v1".parse().unwrap());
            registry.store.put(&tag, "x".into()).await.unwrap();
            let later = SystemTime::now().checked_add(Duration::from_secs(60)).unwrap();
            let purged = purge(&registry, later, false).await.unwrap();
            assert_eq!(purged, Purged { found: 5, removed: 5, bytes: 60, failed: 0 });
            let left = berth_storage::list_all(registry.store.as_ref(), &layout::repositories(), false).await.unwrap();
            assert_eq!(left.iter().map(|entry| &entry.key).collect::<Vec<_>>(), [&tag]);
        }
        assert!(!directory.path().join("docker/registry/v2/repositories/team/app/_uploads").exists());
    }

    #[tokio::test]
    async fn a_registry_that_is_read_only_keeps_its_sessions() {
        let store = Arc::new(Memory::new());
        let permissions = Permissions { delete: false, read_only: false };
        let registry = Registry::new(store.clone(), store, Arc::new(Guard::new()), permissions);
        registry.upload_begin(&"a".parse().unwrap()).await.unwrap();
        registry.gate.close("a backup".to_owned());
        let later = SystemTime::now().checked_add(Duration::from_secs(60)).unwrap();
        let kept = Purged { found: 1, removed: 0, bytes: 0, failed: 1 };
        assert_eq!(purge(&registry, later, false).await.unwrap(), kept);
    }

    /// Through every store that lies around the bucket in a server.
    #[tokio::test]
    async fn parts_that_nobody_completes_are_removed_from_the_bucket() {
        let bucket = Arc::new(Shelf::new(ShelfOptions::default()));
        let store = Arc::new(Metered::new(Arc::new(ObjectStore::new(bucket.clone())), Arc::new(Metrics::new())));
        let exclude = Arc::new(Unlocked::new("shelf".into(), LockMode::Shared));
        let permissions = Permissions { delete: false, read_only: false };
        let registry = Registry::new(store, exclude, Arc::new(Guard::new()), permissions);
        bucket.begin_parts(&layout::blob_data(&Digest::sha256(b"x"))).await.unwrap();
        bucket.begin_parts(&layout::uploads(&"a".parse().unwrap()).join("1/data").unwrap()).await.unwrap();
        let minute = Duration::from_secs(60);
        let (earlier, later) = (SystemTime::now().checked_sub(minute), SystemTime::now().checked_add(minute));
        assert_eq!(remove_leftovers(&registry, earlier.unwrap()).await.unwrap(), 0);
        assert_eq!((remove_leftovers(&registry, later.unwrap()).await.unwrap(), bucket.assemblies()), (2, 0));
    }

    #[test]
    fn what_may_still_be_written_is_not_left_over() {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        for (age, expected) in [(0, 24), (1, 24), (24, 24), (168, 168)] {
            assert_eq!(leftover_age(hours(age)), hours(expected));
        }
    }
}
