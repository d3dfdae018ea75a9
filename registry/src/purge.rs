//! The removal of upload sessions that nobody finishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_config::UploadPurging;
use berth_oci::RepositoryName;
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{Cursor, EntryKind, ListRequest, MAX_PAGE};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::registry::Registry;

/// Replicas that start together do not all look at once.
const MAX_FIRST_WAIT_SECONDS: u64 = 3600;
/// Below this an interval is a mistake that would keep the store busy.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

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
            Ok(count) => tracing::info!(count, dry_run = settings.dryrun, "purged uploads"),
            Err(error) => tracing::error!(%error, "cannot purge uploads"),
        }
    }
}

/// Removes every session of which nothing has been written since `before`, and counts them. What cannot be removed is left
/// for the next time.
pub(crate) async fn purge(registry: &Registry, before: SystemTime, dry_run: bool) -> Result<usize, Error> {
    let mut latest: HashMap<(String, String), SystemTime> = HashMap::new();
    let (below, mut after): (_, Option<Cursor>) = (layout::repositories(), None);
    loop {
        let request = ListRequest { below: &below, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
        let page = registry.store.list(request).await?;
        for entry in &page.entries {
            let (EntryKind::Object(stat), Some(object)) = (entry.kind, layout::parse_repository_object(&entry.key))
            else {
                continue;
            };
            if let RepositoryObjectKind::Upload(id) = object.kind {
                let known = latest.entry((object.repository.to_owned(), id)).or_insert(stat.modified);
                *known = (*known).max(stat.modified);
            }
        }
        match page.next {
            None => break,
            next => after = next,
        }
    }
    let mut count = 0;
    for ((name, id), _) in latest.into_iter().filter(|(_, modified)| *modified < before) {
        let (Ok(name), Ok(id)) = (name.parse::<RepositoryName>(), id.parse::<Uuid>()) else { continue };
        tracing::info!(repository = %name, upload = %id, dry_run, "an old upload");
        if dry_run {
            count += 1;
            continue;
        }
        // It is looked at again: since it was listed, its client may have gone on.
        match registry.upload_expire(&name, id, before).await {
            Ok(true) => count += 1,
            Ok(false) | Err(Error::UploadUnknown { .. }) => {}
            // The others can be removed all the same.
            Err(error) => tracing::warn!(repository = %name, upload = %id, %error, "cannot remove an old upload"),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use berth_storage::Memory;

    use super::*;
    use crate::gc::Guard;
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
        assert_eq!(purge(&registry, earlier, false).await.unwrap(), 0);
        assert_eq!(purge(&registry, later, true).await.unwrap(), 1);
        assert_eq!(registry.upload_offset(&name, upload.id).await.unwrap(), 0);
        assert!(!registry.upload_expire(&name, upload.id, earlier).await.unwrap(), "its client has gone on");
        assert_eq!(purge(&registry, later, false).await.unwrap(), 1);
        assert!(matches!(registry.upload_offset(&name, upload.id).await, Err(Error::UploadUnknown { .. })));
    }
}
