//! What other replicas have removed: word of it lies in the store.
//!
//! Whoever has removed something that others may remember writes a new text to one object after that: before the removal is
//! acknowledged, or, where more is being removed, within a second ([`Counted`](crate::removals::Counted)). Whoever answers requests looks at that object every second. A text
//! that was not seen before counts as a removal of one's own (`removals.rs`): nothing that was remembered before counts any
//! more. So a deletion is noticed within about a second, of many within two, and costs one request more; a replica that is asked for anything makes
//! one request a second beside, whatever it is asked for and for half a minute after it, and one that is idle makes none.
//!
//! What is remembered counts for long only while somebody looks, and only since somebody does
//! ([`Removals::watched_since`]). So a replica that was idle, and has not looked meanwhile, looks at the store for what it is
//! asked first. Where the word cannot be read, as where the store is away, it counts for a second, as where nobody looks.
//!
//! Take a reader that finds a link and remembers it, and a deletion elsewhere. The link is gone before the word is written. If
//! the reader found it, it did so before that; so the look that finds the word comes later than what is remembered, and ends it.

use std::sync::Arc;
use std::time::Duration;

use berth_storage::{Store, StoreError, layout, read_all};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::removals::Removals;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it is looked for after the last request: as long as what is remembered may count.
const LINGERS: Duration = Duration::from_secs(30);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest word.
const MAX_BYTES: u64 = 128;

/// Who looks for word of others.
pub(crate) struct News {
    store: Arc<dyn Store>,
    removals: Removals,
    /// What was read last; none before the first look, and nothing where there is no word.
    seen: Option<Bytes>,
}

impl News {
    /// Of this store; what is found counts as a removal here.
    pub(crate) fn new(store: Arc<dyn Store>, removals: Removals) -> Self {
        News { store, removals, seen: None }
    }

    /// Looks at once, and then every second while something is asked for and for a while after that, until `stop`.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        let (mut told, mut asked) = (false, Instant::now());
        loop {
            if self.removals.was_asked() {
                asked = Instant::now();
            }
            if asked.elapsed() < LINGERS {
                let looked = tokio::select! {
                    () = stop.cancelled() => return,
                    looked = tokio::time::timeout(PATIENCE, self.look()) => looked,
                };
                let problem = match looked {
                    Ok(outcome) => outcome.err().map(|error| error.to_string()),
                    Err(_) => Some(format!("no answer within {} seconds", PATIENCE.as_secs())),
                };
                // Once for each time that it does not go, and not every second.
                if let Some(problem) = problem.as_ref().filter(|_| !told) {
                    tracing::warn!(
                        problem,
                        "what other replicas remove cannot be looked for: the store is asked more often"
                    );
                }
                told = problem.is_some();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn look(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let word = match read_all(self.store.as_ref(), &layout::removed(), MAX_BYTES).await {
            Ok(word) => word,
            Err(error) if error.is_not_found() => Bytes::new(),
            Err(error) => return Err(error),
        };
        // What was remembered before the first look is not believed for long anyway.
        if self.seen.replace(word.clone()).is_some_and(|before| before != word) {
            self.removals.count();
        }
        self.removals.watched(begun);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use berth_oci::{Digest, RepositoryName};
    use berth_storage::layers::{Shelf, ShelfOptions};
    use berth_storage::{LockMode, ObjectStore, Stat, Unlocked};

    use super::*;
    use crate::gc::Guard;
    use crate::recent::Known;
    use crate::registry::{Permissions, Registry};

    const STAT: Stat = Stat { size: 1, modified: std::time::SystemTime::UNIX_EPOCH };

    fn replica(shelf: &Arc<Shelf>) -> (Arc<Registry>, News) {
        let store = Arc::new(ObjectStore::new(shelf.clone()));
        let exclude = Arc::new(Unlocked::new("shelf".into(), LockMode::Shared));
        let permissions = Permissions { delete: true, read_only: false };
        let registry = Arc::new(Registry::new(store, exclude, Arc::new(Guard::new()), permissions));
        let news = News::new(registry.store.clone(), registry.removals.clone());
        (registry, news)
    }

    async fn remove(registry: &Registry, digest: &Digest) {
        let key = layout::blob_data(digest);
        registry.store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        registry.store.delete(&key).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_replica_deletes_the_other_does_not_believe_in_any_more() {
        let shelf = Arc::new(Shelf::new(ShelfOptions::default()));
        let ((one, _), (other, mut news)) = (replica(&shelf), replica(&shelf));
        let (name, digest): (RepositoryName, _) = ("team/app".parse().unwrap(), Digest::sha256(b"x"));
        let keep = || {
            let recent = &other.recent_links;
            recent.keep(recent.mark(), &name, &digest, 0, STAT);
        };
        let is_believed = || matches!(other.recent_links.find(&name, &digest), Known::Present(_));
        news.look().await.unwrap();
        keep();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(is_believed(), "nobody has removed anything, as far as is known");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!is_believed(), "nobody has looked for a while");
        news.look().await.unwrap();
        assert!(is_believed());
        // An upload is nothing that others remember.
        let upload = berth_storage::layout::UploadKey::new(&name, uuid::Uuid::new_v4());
        one.store.delete_below(upload.directory()).await.unwrap();
        news.look().await.unwrap();
        assert!(is_believed());
        remove(&one, &digest).await;
        news.look().await.unwrap();
        assert!(!is_believed());
        keep();
        news.look().await.unwrap();
        assert!(is_believed(), "the same word is no other removal");
    }

    /// Somebody may have removed it before that look.
    #[tokio::test(start_paused = true)]
    async fn what_was_remembered_before_the_first_look_counts_for_a_second() {
        let shelf = Arc::new(Shelf::new(ShelfOptions::default()));
        let ((one, _), (other, mut news)) = (replica(&shelf), replica(&shelf));
        let (name, digest): (RepositoryName, _) = ("team/app".parse().unwrap(), Digest::sha256(b"x"));
        let recent = &other.recent_links;
        recent.keep(recent.mark(), &name, &digest, 0, STAT);
        remove(&one, &digest).await;
        tokio::time::advance(Duration::from_millis(500)).await;
        news.look().await.unwrap();
        assert!(matches!(recent.find(&name, &digest), Known::Present(_)));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(!matches!(recent.find(&name, &digest), Known::Present(_)));
        // From then on it counts for long, also behind a time without a look.
        recent.keep(recent.mark(), &name, &digest, 0, STAT);
        tokio::time::advance(Duration::from_secs(20)).await;
        news.look().await.unwrap();
        assert!(matches!(recent.find(&name, &digest), Known::Present(_)));
    }
}
