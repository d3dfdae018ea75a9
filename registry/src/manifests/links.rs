//! The links of a pushed manifest: written, looked at once more, and taken back from a push that is refused after all.
//!
//! The lock of a repository is one of this process. Another server on the same store may delete what the push relies on, or
//! accept the same push, at any moment; a client that has waited for long sends it again, and another server answers. What
//! two servers write for one push is the same, so nobody can tell whose it is. Hence nothing is undone but what must not
//! stay, which is a manifest without what it refers to, and that is looked at right before each link is touched. A push
//! that fails for another reason, such as a store that does not answer, leaves what it has written: what it relies on was
//! there, and its client has been told nothing.

use berth_oci::{Digest, RepositoryName, Tag};
use berth_storage::{Key, layout};
use futures::future::join;

use super::Stored;
use super::references::references_unknown;
use crate::error::Error;
use crate::gc::Held;
use crate::registry::{Registry, absent_is_none};

/// How often a push writes its links that another server deletes meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// What was there before a push.
struct Before<'a> {
    /// Whether the repository had the manifest.
    has_manifest: bool,
    /// What the tags named.
    tags: Vec<(&'a Tag, Option<Digest>)>,
}

impl Registry {
    /// Writes the bytes and the links of a manifest whose references are there, and gives what must be held until that is
    /// acknowledged. Written anew if another server on the same store has deleted some of them meanwhile; if it has
    /// deleted the blobs as well, the manifest is refused as one that came later.
    pub(super) async fn link_manifest(
        &self,
        name: &RepositoryName,
        tags: &[Tag],
        stored: &Stored,
    ) -> Result<Vec<Held>, Error> {
        let link = layout::revision_link(name, &stored.digest);
        let (found, written) = join(self.find(&link), self.write_bytes(name, stored)).await;
        let (has_manifest, ()) = (found?.is_some(), written?);
        // As late as can be: what others push between this look and the write would not be put back.
        let (linked, named) = join(self.ensure_link(&link, &stored.digest), self.named_by(name, tags)).await;
        let (before, ()) = (Before { has_manifest, tags: named? }, linked?);
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                self.write_bytes(name, stored).await?;
                self.ensure_link(&link, &stored.digest).await?;
            }
            self.write_tags(name, tags, &stored.digest).await?;
            // After the last write, whatever the order: `repositories` says why that is enough.
            match self.look_once_more(name, tags, stored).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(refused @ Error::ReferencesUnknown { .. }) => {
                    match self.take_back(name, &before, stored).await {
                        Ok(true) => return Err(refused),
                        // What was missing is there again.
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(repository = %name, digest = %stored.digest, %error, "a refused manifest stays");
                            return Err(refused);
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::RepositoryBusy { name: name.clone() })
    }

    /// What tags name.
    async fn named_by<'a>(
        &self,
        name: &RepositoryName,
        tags: &'a [Tag],
    ) -> Result<Vec<(&'a Tag, Option<Digest>)>, Error> {
        let mut named = Vec::with_capacity(tags.len());
        for tag in tags {
            named.push((tag, self.read_tag(name, tag).await?));
        }
        Ok(named)
    }

    /// Whether everything that a push relies on and has written is there, at a time after its last write; nothing if what it
    /// has written itself is not.
    async fn look_once_more(
        &self,
        name: &RepositoryName,
        tags: &[Tag],
        stored: &Stored,
    ) -> Result<Option<Vec<Held>>, Error> {
        if !self.store.is_remote() {
            let found = self.require_references(name, &stored.manifest).await?;
            return Ok(self.has_links(name, tags, &stored.digest).await?.then_some(found));
        }
        // What was found before the first write is held all the while, so only its links can have gone.
        let relies_on = self.relied_on(name, &stored.manifest);
        let mut written: Vec<Key> = tags.iter().map(|tag| layout::tag_current_link(name, tag)).collect();
        written.push(layout::revision_link(name, &stored.digest));
        let keys = relies_on.iter().map(|(key, _)| key).chain(&written).cloned().collect();
        let missing = self.missing_below(&layout::repository(name), keys).await?;
        let unknown = relies_on.into_iter().filter(|(key, _)| missing.contains(key)).map(|(_, digest)| digest.clone());
        let unknown: Vec<Digest> = unknown.collect();
        if !unknown.is_empty() {
            return Err(references_unknown(name, unknown));
        }
        Ok(written.iter().all(|key| !missing.contains(key)).then(Vec::new))
    }

    /// Undoes a push whose references are gone. `false` if they are there again: then another server may have accepted the
    /// same push, and nothing that it needs is missing.
    async fn take_back(&self, name: &RepositoryName, before: &Before<'_>, stored: &Stored) -> Result<bool, Error> {
        for (tag, previous) in &before.tags {
            self.put_tag_back(name, tag, previous.as_ref(), stored).await?;
        }
        if !self.lacks_references(name, &stored.manifest).await? {
            return Ok(false);
        }
        if before.has_manifest {
            return Ok(true);
        }
        let link = layout::revision_link(name, &stored.digest);
        // In one request, without a look at what is there.
        self.store.delete_all(std::slice::from_ref(&link)).await?;
        // Another server may have accepted it since the look. If that cannot be known, it may have.
        match self.lacks_references(name, &stored.manifest).await {
            Ok(true) => Ok(true),
            _ => self.ensure_link(&link, &stored.digest).await.map(|()| false),
        }
    }

    /// Lets a tag name what it named before a push whose references are gone. One that somebody else has moved since stays,
    /// and so does every tag if the references are there again.
    async fn put_tag_back(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        previous: Option<&Digest>,
        stored: &Stored,
    ) -> Result<(), Error> {
        let pushed = &stored.digest;
        let lacks = self.lacks_references(name, &stored.manifest);
        let Some(previous) = previous else {
            self.remove_tag_of(name, tag, pushed, lacks).await?;
            return match self.read_tag(name, tag).await? {
                None => self.forget_history(name, tag, pushed).await,
                Some(_) => Ok(()),
            };
        };
        if previous == pushed {
            return Ok(());
        }
        let (current, lacks) = join(self.read_tag(name, tag), lacks).await;
        match current? {
            Some(current) if current == *pushed && lacks? => {
                let current = layout::tag_current_link(name, tag);
                Ok(self.store.put(&current, previous.to_string().into()).await?)
            }
            Some(_) => Ok(()),
            None => self.forget_history(name, tag, pushed).await,
        }
    }

    /// Removes what says that a tag which is gone has named this: another server may have deleted the tag before its history
    /// was written, and does not come back for that. If the tag is there again meanwhile, its history is, too.
    async fn forget_history(&self, name: &RepositoryName, tag: &Tag, pushed: &Digest) -> Result<(), Error> {
        let history = layout::tag_index_link(name, tag, pushed);
        absent_is_none(self.store.delete(&history).await)?;
        match self.read_tag(name, tag).await? {
            Some(current) if current == *pushed => self.ensure_link(&history, pushed).await,
            _ => Ok(()),
        }
    }

    /// What does not make a manifest be there yet: its bytes, and what is known of its subject.
    async fn write_bytes(&self, name: &RepositoryName, stored: &Stored) -> Result<(), Error> {
        let Stored { digest, raw, manifest } = stored;
        // Where a look costs as much as to write, the same is written again.
        if self.store.is_remote() || !self.has_bytes(digest, raw.len() as u64).await? {
            self.store.put(&layout::blob_data(digest), raw.clone()).await?;
        }
        // Before the link: a manifest that is there and is not found by its subject would be lost to who asks for it.
        if let Some(subject) = manifest.subject() {
            self.note_referrer(name, &subject.digest, digest).await?;
        }
        Ok(())
    }

    async fn write_tags(&self, name: &RepositoryName, tags: &[Tag], digest: &Digest) -> Result<(), Error> {
        for tag in tags {
            // The current link first: the other only says what the tag has named, and a tag that has nothing but that
            // would be listed without being there.
            let current = layout::tag_current_link(name, tag);
            self.store.put(&current, digest.to_string().into()).await?;
            self.ensure_link(&layout::tag_index_link(name, tag, digest), digest).await?;
        }
        Ok(())
    }

    pub(crate) async fn has_bytes(&self, digest: &Digest, bytes: u64) -> Result<bool, Error> {
        Ok(self.find(&layout::blob_data(digest)).await?.is_some_and(|stat| stat.size == bytes))
    }

    async fn has_links(&self, name: &RepositoryName, tags: &[Tag], digest: &Digest) -> Result<bool, Error> {
        for tag in tags {
            if self.find(&layout::tag_current_link(name, tag)).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(self.find(&layout::revision_link(name, digest)).await?.is_some())
    }
}
