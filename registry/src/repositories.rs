//! Whole repositories: deleted with everything in them but the bytes, which the next collection takes.
//!
//! A deletion holds the repository's lock alone, and a push of a manifest holds it shared. So a manifest was pushed before
//! the deletion, and goes with it, or after, and then the blobs that it refers to are looked for after their links have
//! gone: no manifest is acknowledged that lacks a blob. Tags go first and layers last, so that a deletion that fails, or
//! is cut off by a crash, leaves no tag without its manifest and no manifest without its layers; asked for again, it goes
//! on. The collector finds links gone that it had meant to delete, which it does not mind.
//!
//! The lock is one of this process. A push through another server on the same store looks once more, after its last
//! write, whether its links and those of its blobs are there, and the deletion goes over the repository until it finds
//! nothing. Take a link that goes before that look: the push is not acknowledged, and begins anew. Take one that goes after
//! it: everything of the push was there at the look, so what this pass has passed by already is found by the next one, and
//! the push goes as a whole.

use std::sync::Arc;

use berth_oci::RepositoryName;
use berth_storage::{EntryKind, Key, layout, list_all};
use futures::{StreamExt, stream};
use uuid::Uuid;

use crate::error::Error;
use crate::registry::Registry;

/// How many upload sessions are cancelled at once.
const CANCELS_AT_ONCE: usize = 16;
/// How often a deletion goes over a repository to which other servers push meanwhile.
const MAX_PASSES: usize = 32;

impl Registry {
    /// Deletes a repository: its tags, manifests, links to blobs and upload sessions. Repositories below it stay.
    ///
    /// # Errors
    /// [`Error::NameUnknown`] if there is nothing of it; [`Error::RepositoryBusy`] if other servers go on pushing to it;
    /// [`Error::DeleteDisabled`], [`Error::ReadOnly`].
    pub async fn repository_delete(self: &Arc<Self>, name: &RepositoryName) -> Result<(), Error> {
        let writing = self.deletable()?;
        let (registry, name) = (self.clone(), name.clone());
        // In a task of its own: a client that goes away must not leave half of a repository.
        tokio::spawn(async move {
            let _writing = writing;
            let removed = registry.remove_links(&name).await;
            registry.catalog.deleted();
            registry.tag_lists.changed(&name);
            let removed = removed? + registry.remove_uploads(&name).await?;
            if removed == 0 {
                return Err(Error::NameUnknown { name });
            }
            tracing::info!(repository = %name, objects = removed, "deleted a repository");
            Ok(())
        })
        .await?
    }

    /// Removes everything but upload sessions until there is nothing, and counts it.
    async fn remove_links(&self, name: &RepositoryName) -> Result<u64, Error> {
        let _deleting = self.while_alone(name).await;
        let mut removed = 0;
        for _ in 0..MAX_PASSES {
            match self.remove_links_once(name).await? {
                0 => return Ok(removed),
                found => removed += found,
            }
        }
        Err(Error::RepositoryBusy { name: name.clone() })
    }

    async fn remove_links_once(&self, name: &RepositoryName) -> Result<u64, Error> {
        let mut removed = self.store.delete_below(&layout::tags(name)).await?;
        let mut rest = self.own_directories(name).await?;
        // Manifests before anything that they rely on, or that is known of them.
        rest.sort_unstable_by_key(|directory| directory.file_name() != layout::MANIFESTS);
        for directory in rest.iter().filter(|directory| directory.file_name() != layout::UPLOADS) {
            removed += self.store.delete_below(directory).await?;
        }
        Ok(removed)
    }

    /// The directories inside a repository, without the repositories below it.
    async fn own_directories(&self, name: &RepositoryName) -> Result<Vec<Key>, Error> {
        let entries = list_all(self.store.as_ref(), &layout::repository(name), true).await?;
        let own = entries.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        Ok(own.map(|entry| entry.key).filter(|key| key.file_name().starts_with('_')).collect())
    }

    /// Cancels every upload session, and counts them. One that a request is working on stays: that request ends as it
    /// would have, and its client is not told of a session that is gone under it.
    async fn remove_uploads(&self, name: &RepositoryName) -> Result<u64, Error> {
        let below = layout::uploads(name);
        let entries = list_all(self.store.as_ref(), &below, true).await?;
        if entries.is_empty() {
            // There may be an empty directory, which is in nobody's way; what appears there meanwhile is not new content
            // but a session that begins while its repository is being deleted.
            return Ok(self.store.delete_below(&below).await?);
        }
        let mut removals = stream::iter(entries.into_iter().map(|entry| async move {
            match entry.key.file_name().parse::<Uuid>() {
                Ok(id) => self.upload_cancel_idle(name, id).await.map(u64::from),
                // No session of Berth's or Distribution's, so nobody can be working on it.
                Err(_) => Ok(self.store.delete_below(&entry.key).await?),
            }
        }))
        .buffer_unordered(CANCELS_AT_ONCE);
        let mut removed = 0;
        while let Some(outcome) = removals.next().await {
            removed += outcome?;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use berth_oci::{Algorithm, Digest, Reference, media_type};
    use berth_storage::{Filesystem, LockMode, Memory, Store};
    use bytes::Bytes;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;
    use crate::uploads::no_body;

    const PERMISSIONS: Permissions = Permissions { delete: true, read_only: false };

    fn on(store: Arc<Memory>) -> Arc<Registry> {
        Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), PERMISSIONS))
    }

    async fn left(store: &dyn Store, below: &Key) -> Vec<String> {
        let entries = list_all(store, below, false).await.unwrap();
        entries.iter().map(|entry| entry.key.to_string()).collect()
    }

    /// What Distribution leaves as well: directories without anything in them, sessions without a start.
    #[tokio::test]
    async fn nothing_is_left_of_a_repository_and_what_lies_below_it_stays() {
        let directory = tempfile::tempdir().unwrap();
        let filesystem = Arc::new(Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap());
        let permissions = PERMISSIONS;
        let registry = Arc::new(Registry::new(filesystem.clone(), filesystem, Arc::new(Guard::offline()), permissions));
        let store = registry.store.clone();
        let repositories = layout::repositories();
        let hex = "0".repeat(64);
        for below in [
            "a/_manifests/tags/v1/current/link".to_owned(),
            format!("a/_manifests/tags/v1/index/sha256/{hex}/link"),
            format!("a/_manifests/revisions/sha256/{hex}/link"),
            format!("a/_layers/sha256/{hex}/link"),
            format!("a/_referrers/sha256/{hex}/x"),
            format!("a/_uploads/{}/hashstates/sha256/0", Uuid::nil()),
            "a/_uploads/odd/data".to_owned(),
            "a/b/_manifests/tags/v1/current/link".to_owned(),
            "a-b/_manifests/tags/v1/current/link".to_owned(),
        ] {
            store.put(&repositories.join(&below).unwrap(), "x".into()).await.unwrap();
        }
        let root = directory.path().join(repositories.as_str());
        std::fs::create_dir_all(root.join(format!("a/_manifests/revisions/sha256/{}", "1".repeat(64)))).unwrap();
        std::fs::create_dir_all(root.join("empty/_uploads")).unwrap();
        std::fs::create_dir_all(root.join("empty/_manifests/revisions/sha256")).unwrap();
        registry.repository_delete(&"a".parse().unwrap()).await.unwrap();
        let tag = "_manifests/tags/v1/current/link";
        assert_eq!(
            left(store.as_ref(), &repositories).await,
            [format!("{repositories}/a-b/{tag}"), format!("{repositories}/a/b/{tag}")]
        );
        let inside: Vec<_> =
            std::fs::read_dir(root.join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(inside, ["b"], "no empty directory is left");
        for name in ["a", "empty", "none"] {
            let again = registry.repository_delete(&name.parse().unwrap()).await;
            assert!(matches!(again, Err(Error::NameUnknown { .. })), "{name}: {again:?}");
        }
        assert!(!root.join("empty").exists(), "it was empty, and is not any more");
    }

    #[tokio::test]
    async fn a_session_that_is_worked_on_stays_and_can_be_finished() {
        let store = Arc::new(Memory::new());
        let registry = on(store.clone());
        let name: RepositoryName = "team/app".parse().unwrap();
        let (idle, busy) = (registry.upload_begin(&name).await.unwrap(), registry.upload_begin(&name).await.unwrap());
        let (pieces, body) = tokio::sync::mpsc::channel(1);
        let body = stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
        let appending = tokio::spawn({
            let (registry, name) = (registry.clone(), name.clone());
            async move {
                registry.upload_append(&name, busy.id, 0, Algorithm::Sha256, berth_storage::Incoming::new(body)).await
            }
        });
        pieces.send(Ok(Bytes::from("content"))).await.unwrap();
        while registry.upload_offset(&name, busy.id).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        registry.repository_delete(&name).await.unwrap();
        assert!(matches!(registry.upload_offset(&name, idle.id).await, Err(Error::UploadUnknown { .. })));
        drop(pieces);
        assert_eq!(appending.await.unwrap().unwrap(), 7);
        let digest = Digest::sha256(b"content");
        registry.upload_finish(&name, busy.id, 7, &digest, no_body()).await.unwrap();
        registry.blob_stat(&name, &digest).await.unwrap();
    }

    /// A push and a deletion of one repository at the same moment, again and again, each deletion a few steps later than
    /// the one before. What was pushed is whole, or gone as a whole; what was refused, too.
    async fn race(pushing: Arc<Registry>, deleting: Arc<Registry>) {
        const ROUNDS: usize = 1500;
        let name: RepositoryName = "team/app".parse().unwrap();
        let (config, tag) = (Digest::sha256(b"{}"), Reference::Tag("v1".parse().unwrap()));
        let raw = Bytes::from(format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
             \"digest\":\"{config}\",\"size\":2}},\"layers\":[]}}",
            media_type::OCI_IMAGE
        ));
        let mut pushed = 0;
        for round in 0..ROUNDS {
            let blob = berth_storage::Incoming::new(stream::iter([Ok(Bytes::from("{}"))]));
            pushing.upload_whole(&name, &config, blob).await.unwrap();
            let deletion = tokio::spawn({
                let (registry, name) = (deleting.clone(), name.clone());
                async move {
                    for _ in 0..round % 30 {
                        tokio::task::yield_now().await;
                    }
                    registry.repository_delete(&name).await
                }
            });
            let is_acknowledged = match pushing.manifest_put(&name, &tag, &[], None, raw.clone()).await {
                Ok(_) => true,
                Err(Error::ReferencesUnknown { .. }) => false,
                Err(error) => panic!("{error}"),
            };
            deletion.await.unwrap().unwrap();
            pushed += usize::from(is_acknowledged);
            let found = left(pushing.store.as_ref(), &layout::repository(&name)).await;
            let links: Vec<&str> = found.iter().map(|key| key.rsplit("/_").next().unwrap()).collect();
            let hex = |digest: &Digest| digest.hex().to_owned();
            let whole = [
                format!("layers/sha256/{}/link", hex(&config)),
                format!("manifests/revisions/sha256/{}/link", hex(&Digest::sha256(&raw))),
                "manifests/tags/v1/current/link".to_owned(),
                format!("manifests/tags/v1/index/sha256/{}/link", hex(&Digest::sha256(&raw))),
            ];
            assert!(links.is_empty() || links == whole, "round {round}: {links:#?}");
        }
        println!("of {ROUNDS} pushes {pushed} were acknowledged beside as many deletions");
        assert!(pushed > 0 && pushed < ROUNDS);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_pushed_at_the_same_moment_is_whole_or_gone() {
        let registry = on(Arc::new(Memory::new()));
        race(registry.clone(), registry).await;
    }

    /// The lock of one does not hold the other.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_another_server_pushes_at_the_same_moment_is_whole_or_gone() {
        let store = Arc::new(Memory::new());
        race(on(store.clone()), on(store)).await;
    }
}
