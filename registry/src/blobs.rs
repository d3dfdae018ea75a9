//! Blobs of a repository: a repository has a blob if it links to it and the bytes are there, which may lie under another
//! digest (`aliases.rs`).

use std::sync::Arc;

use berth_oci::{Digest, RepositoryName};
use berth_storage::{ByteRange, Key, Object, Stat, layout};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};

use crate::aliases::{Layer, may_be_alias};
use crate::conditions::Conditions;
use crate::error::Error;
use crate::gc::{Held, Item};
use crate::recent::{Known, MAX_CONTENT_BYTES, Mark};
use crate::registry::{Registry, absent_is_none};

/// A blob that is small enough to be kept in memory.
#[derive(Clone, Debug)]
pub(crate) struct Small {
    stat: Stat,
    content: Bytes,
}

impl Small {
    /// The blob or a part of it; nothing if the range is for the store to judge.
    fn part(self, range: Option<ByteRange>) -> Option<Object> {
        let Small { stat, content } = self;
        let range = range.unwrap_or(ByteRange { start: 0, end: stat.size });
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        let content = (start < end && end <= content.len()).then(|| content.slice(start..end))?;
        Some(Object { stat, range, body: Box::pin(stream::once(async move { Ok(content) })) })
    }
}

impl Registry {
    /// What is known of a blob, for whoever asks whether it exists: that is remembered, since a push may build on it.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it.
    pub async fn blob_stat(&self, name: &RepositoryName, digest: &Digest) -> Result<Stat, Error> {
        let (stat, held) = self.blob_find(name, digest).await?;
        held.verify();
        Ok(stat)
    }

    /// What is known of a blob, for whoever fetches it.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it.
    pub async fn blob_describe(&self, name: &RepositoryName, digest: &Digest) -> Result<Stat, Error> {
        self.blob_find(name, digest).await.map(|(stat, _)| stat)
    }

    async fn blob_find(&self, name: &RepositoryName, digest: &Digest) -> Result<(Stat, Held), Error> {
        let unknown = || Error::BlobUnknown { name: name.clone(), digest: digest.clone() };
        let layer = self.acquire_layer(name, digest).await?.ok_or_else(unknown)?;
        let stat = self.layer_stat(name, digest, &layer).await?.ok_or_else(unknown)?;
        Ok((stat, layer.held))
    }

    /// What is known of the bytes of a blob that a repository links to; nothing if they are not there. Where a look is a
    /// request to another machine, what was seen is remembered.
    pub(crate) async fn layer_stat(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        layer: &Layer,
    ) -> Result<Option<Stat>, Error> {
        if self.store.is_remote()
            && layer.target == *digest
            && let Known::Present(stat) = self.recent_links.find(name, digest)
        {
            return Ok(Some(stat));
        }
        let found = self.find(&layout::blob_data(&layer.target)).await?;
        if let Some(stat) = found {
            self.remember_layer(layer.seen, name, digest, stat);
        }
        Ok(found)
    }

    /// Remembers that a repository links to a blob whose bytes are there, as it was after `mark`.
    pub(crate) fn remember_layer(&self, mark: Mark, name: &RepositoryName, digest: &Digest, stat: Stat) {
        // What an alias leads to is a matter of the repository, and what is remembered is one of the digest.
        if self.store.is_remote() && !may_be_alias(digest) {
            self.recent_links.keep(mark, name, digest, 0, stat);
        }
    }

    /// Where the store has the bytes of a blob that a repository links to.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it.
    pub async fn blob_key(&self, name: &RepositoryName, digest: &Digest) -> Result<Key, Error> {
        let unknown = || Error::BlobUnknown { name: name.clone(), digest: digest.clone() };
        let layer = self.acquire_layer(name, digest).await?.ok_or_else(unknown)?;
        self.layer_stat(name, digest, &layer).await?.ok_or_else(unknown)?;
        Ok(layout::blob_data(&layer.target))
    }

    /// Opens a blob, or a part of it.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it.
    pub async fn blob_open(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        range: Option<ByteRange>,
    ) -> Result<Object, Error> {
        // Only fetched: the guard has to know of that while a collection runs, and at no other time.
        if !self.guard.is_running()
            && let Known::Present(small) = self.recent_blobs.find(name, digest)
            && let Some(object) = small.part(range)
        {
            return Ok(object);
        }
        let unknown = || Error::BlobUnknown { name: name.clone(), digest: digest.clone() };
        let Layer { target, held, seen } = self.acquire_layer(name, digest).await?.ok_or_else(unknown)?;
        let object = absent_is_none(self.store.get(&layout::blob_data(&target), range).await)?.ok_or_else(unknown)?;
        self.remember_layer(seen, name, digest, object.stat);
        let object = self.keep_small(seen, name, digest, object).await?;
        // Let go of without an acknowledgement: whoever fetches content does not build on its staying, and what is open
        // can be read to its end.
        drop(held);
        Ok(object)
    }

    /// Remembers a small blob that is read whole, such as the configuration of an image.
    async fn keep_small(
        &self,
        mark: Mark,
        name: &RepositoryName,
        digest: &Digest,
        mut object: Object,
    ) -> Result<Object, Error> {
        let Object { stat, range, .. } = object;
        if stat.size > MAX_CONTENT_BYTES as u64 || range != (ByteRange { start: 0, end: stat.size }) {
            return Ok(object);
        }
        let mut content = BytesMut::with_capacity(stat.size as usize);
        while let Some(piece) = object.body.next().await {
            content.extend_from_slice(&piece?);
        }
        let small = Small { stat, content: content.freeze() };
        if Digest::of(digest.algorithm(), &small.content) == *digest {
            self.recent_blobs.keep(mark, name, digest, small.content.len(), small.clone());
        }
        let body = stream::once(async move { Ok(small.content) });
        Ok(Object { stat, range, body: Box::pin(body) })
    }

    /// As [`Registry::blob_delete_if`], whatever is there.
    ///
    /// # Errors
    /// Those of [`Registry::blob_delete_if`].
    pub async fn blob_delete(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        self.blob_delete_if(name, digest, &Conditions::default()).await
    }

    /// Takes a blob out of a repository. Its bytes stay until the collector finds that nothing refers to them.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] if the repository does not have it; [`Error::ConditionUnmet`], [`Error::DeleteDisabled`],
    /// [`Error::ReadOnly`].
    pub async fn blob_delete_if(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        conditions: &Conditions,
    ) -> Result<(), Error> {
        let _writing = self.deletable()?;
        let unknown = || Error::BlobUnknown { name: name.clone(), digest: digest.clone() };
        // A push that has found it must not find it gone when its tags are written.
        let _deleting = self.while_alone(name).await;
        let link = layout::layer_link(name, digest);
        // What is there under a digest is always the same, so only whether it is there needs a look.
        if !conditions.is_empty() {
            self.find(&link).await?.ok_or_else(unknown)?;
            conditions.check(Some(digest))?;
        }
        absent_is_none(self.store.delete(&link).await)?.ok_or_else(unknown)
    }

    /// Gives a repository a blob of another one, or of any if it is not said of which. `false` if that one, or none, has
    /// it.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or what the store says.
    pub async fn blob_mount(
        self: &Arc<Self>,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let writing = self.writable()?;
        let (registry, from, to, digest) = (self.clone(), from.cloned(), to.clone(), digest.clone());
        // In a task of its own: a client that goes away must not let go of the blob while its link is being written.
        tokio::spawn(async move {
            let _writing = writing;
            registry.mount(from.as_ref(), &to, &digest).await
        })
        .await?
    }

    async fn mount(&self, from: Option<&RepositoryName>, to: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let mark = self.recent_links.mark();
        let source = match from {
            Some(from) => self.acquire_layer(from, digest).await?.map(|Layer { target, held, .. }| (target, held)),
            // Content that is in the store was a blob of some repository, even if that one has given it up since. Where
            // an alias leads is known to repositories only.
            None => self.guard.try_acquire(vec![Item::Blob(digest.clone())]).map(|held| (digest.clone(), held)),
        };
        let Some((target, held)) = source else { return Ok(false) };
        let Some(stat) = self.find(&layout::blob_data(&target)).await? else { return Ok(false) };
        // Distribution serves an alias only beside the link that its bytes have by themselves, as it writes both. The alias
        // comes last, for whoever looks in between.
        if target != *digest {
            self.ensure_link(&layout::layer_link(to, &target), &target).await?;
        }
        self.ensure_link(&layout::layer_link(to, digest), &target).await?;
        self.remember_layer(mark, to, digest, stat);
        held.verify();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use berth_storage::layers::{Shelf, ShelfOptions};
    use berth_storage::{LockMode, ObjectStore, Unlocked};

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    fn server(shelf: &Arc<Shelf>) -> Arc<Registry> {
        let exclude = Arc::new(Unlocked::new("shelf".into(), LockMode::Shared));
        let permissions = Permissions { delete: true, read_only: false };
        let store = Arc::new(ObjectStore::new(shelf.clone()));
        Arc::new(Registry::new(store, exclude, Arc::new(Guard::new()), permissions))
    }

    /// In how many ways a server has a blob.
    async fn ways(server: &Arc<Registry>, name: &RepositoryName, digest: &Digest) -> usize {
        let opened = server.blob_open(name, digest, None).await.map(drop);
        let described = server.blob_describe(name, digest).await.map(drop);
        let found = server.blob_stat(name, digest).await.map(drop);
        let placed = server.blob_key(name, digest).await.map(drop);
        let mounted = server.blob_mount(Some(name), &"team/other".parse().unwrap(), digest).await.unwrap();
        let ways = [opened, described, found, placed].into_iter().map(|way| match way {
            Ok(()) => 1,
            Err(Error::BlobUnknown { .. }) => 0,
            Err(error) => panic!("{error}"),
        });
        ways.sum::<usize>() + usize::from(mounted)
    }

    /// However often it is asked for in between: where word of removals is looked for and none comes, and where it is not.
    #[tokio::test(start_paused = true)]
    async fn what_another_server_has_deleted_is_believed_for_half_a_minute_at_most() {
        for (bytes, is_watched, expected) in [
            (10, true, [5, 5, 5, 0, 0]),
            (10, false, [5, 0, 0, 0, 0]),
            (MAX_CONTENT_BYTES + 1, true, [5, 5, 5, 0, 0]),
            (MAX_CONTENT_BYTES + 1, false, [5, 0, 0, 0, 0]),
        ] {
            let shelf = Arc::new(Shelf::new(ShelfOptions::default()));
            let (one, other) = (server(&shelf), server(&shelf));
            let name: RepositoryName = "team/app".parse().unwrap();
            let content = Bytes::from(vec![7; bytes]);
            let digest = Digest::sha256(&content);
            one.upload_whole(&name, &digest, berth_storage::Incoming::new(stream::iter([Ok(content)]))).await.unwrap();
            other.blob_delete(&name, &digest).await.unwrap();
            let (mut found, begun) = (Vec::new(), tokio::time::Instant::now());
            for _ in 0..expected.len() {
                if is_watched {
                    one.removals.watched(begun);
                    one.removals.watched(tokio::time::Instant::now());
                }
                found.push(ways(&one, &name, &digest).await);
                tokio::time::advance(Duration::from_secs(10)).await;
            }
            assert_eq!(found, expected, "{bytes} bytes, {is_watched}");
        }
    }
}
