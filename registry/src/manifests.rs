//! Manifests of a repository: pushed after what they refer to, and deleted by tag or digest. How they are read is in
//! `found.rs`.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use berth_oci::{Digest, Manifest, Reference, RepositoryName, Tag};
use berth_storage::{Key, ListRequest, MAX_PAGE, layout};
use bytes::Bytes;
use futures::future::Either;
use futures::{StreamExt, TryStreamExt, stream};

use crate::conditions::Conditions;
use crate::error::Error;
use crate::gc::{Held, Item};
use crate::referrers::Subject;
use crate::registry::{Registry, absent_is_none};
use crate::room::{SMALL_BYTES, Taken};
use crate::rules::{Rules, must_be_here};
use crate::schema1;

/// The most missing references that an error names: a manifest may have tens of thousands.
const MAX_NAMED_REFERENCES: usize = 32;
/// How many references of one manifest are looked for at once.
const LOOKUPS_AT_ONCE: usize = 16;
/// How often a push writes its links that another server deletes meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// A manifest that was received, with the room that it takes if it is large.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub raw: Bytes,
    /// Held until the manifest is stored or refused, even if the client is gone.
    pub(crate) room: Option<Taken>,
}

/// A manifest that was pushed.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The digest of `raw`.
    pub digest: Digest,
    /// The bytes that were pushed; of schema 1, the text that was signed.
    pub raw: Bytes,
    /// What they say.
    pub manifest: Manifest,
}

/// What a manifest relies on.
enum Required<'a> {
    /// A blob of the repository.
    Blob(&'a Digest),
    /// A manifest of the repository.
    Revision(&'a Digest),
}

impl<'a> Required<'a> {
    fn digest(&self) -> &'a Digest {
        match self {
            Required::Blob(digest) | Required::Revision(digest) => digest,
        }
    }
}

fn references_unknown(name: &RepositoryName, mut missing: Vec<Digest>) -> Error {
    let more = missing.len().saturating_sub(MAX_NAMED_REFERENCES);
    missing.truncate(MAX_NAMED_REFERENCES);
    Error::ReferencesUnknown { name: name.clone(), missing, more }
}

/// What a push or a deletion is for.
struct Target {
    reference: Reference,
    conditions: Conditions,
}

impl Registry {
    /// As [`Registry::manifest_put_if`], whatever is there.
    ///
    /// # Errors
    /// Those of [`Registry::manifest_put_if`].
    pub async fn manifest_put(
        self: &Arc<Self>,
        name: &RepositoryName,
        reference: &Reference,
        more_tags: &[Tag],
        content_type: Option<&str>,
        raw: Bytes,
    ) -> Result<Stored, Error> {
        let received = Received { raw, room: None };
        self.manifest_put_if(name, reference, more_tags, content_type, received, Conditions::default()).await
    }

    /// Stores a manifest, whose references must be there, and lets tags name it: the one that it was pushed by, or those
    /// that came with a push by digest. The conditions are on what `reference` names until then; of several pushes in
    /// this process that exclude each other, one wins.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`], [`Error::Schema1`], [`Error::ManifestRefused`], [`Error::DigestMismatch`],
    /// [`Error::ReferencesUnknown`], [`Error::ConditionUnmet`].
    pub async fn manifest_put_if(
        self: &Arc<Self>,
        name: &RepositoryName,
        reference: &Reference,
        more_tags: &[Tag],
        content_type: Option<&str>,
        received: Received,
        conditions: Conditions,
    ) -> Result<Stored, Error> {
        let writing = self.writable()?;
        let (stored, room) = self.understand(reference, content_type, received).await?;
        let tags = match reference {
            Reference::Tag(tag) => vec![tag.clone()],
            Reference::Digest(_) => more_tags.to_vec(),
        };
        let (registry, name, reference) = (self.clone(), name.clone(), reference.clone());
        // In a task of its own: a client that goes away must not leave links half written.
        tokio::spawn(async move {
            let (_writing, _room) = (writing, room);
            let target = Target { reference, conditions };
            registry.store_manifest(&name, &target, &tags, &stored).await.map(|()| stored)
        })
        .await?
    }

    /// What a pushed manifest is. Of a large one that takes long, and other requests must not wait for it.
    async fn understand(
        self: &Arc<Self>,
        reference: &Reference,
        content_type: Option<&str>,
        received: Received,
    ) -> Result<(Stored, Option<Taken>), Error> {
        let Received { raw, room } = received;
        if raw.len() <= SMALL_BYTES {
            return Ok((self.rules.read(reference, content_type, raw)?, room));
        }
        let (registry, reference, content_type) = (self.clone(), reference.clone(), content_type.map(str::to_owned));
        let reading = move || Ok((registry.rules.read(&reference, content_type.as_deref(), raw)?, room));
        tokio::task::spawn_blocking(reading).await?
    }

    async fn store_manifest(
        &self,
        name: &RepositoryName,
        target: &Target,
        tags: &[Tag],
        stored: &Stored,
    ) -> Result<(), Error> {
        let Stored { digest, manifest, .. } = stored;
        // The guard before the lock: whoever waits here for a deletion to end must not hold up the whole repository.
        let held = self.guard.acquire(revision_items(name, digest)).await?;
        let references = self.guard.acquire(reference_items(name, manifest)).await?;
        // Who compares must be alone until what was compared is replaced.
        let _pushing = match target.conditions.is_empty() {
            true => Either::Left(self.while_pushing(name).await),
            false => Either::Right(self.while_alone(name).await),
        };
        let _references_found = self.require_references(name, manifest).await?;
        if !target.conditions.is_empty() {
            target.conditions.check(self.named(name, &target.reference).await?.as_ref())?;
        }
        let found = self.link_manifest(name, tags, stored).await?;
        self.catalog.pushed(name);
        self.tag_lists.changed(name);
        // From now on the manifest itself keeps its references, so they need not be remembered one by one.
        held.verify();
        drop((references, found));
        Ok(())
    }

    /// Writes the bytes and the links of a manifest whose references are there, and gives what must be held until that is
    /// acknowledged. Written anew if another server on the same store has deleted some of them meanwhile; if it has
    /// deleted the blobs as well, the manifest is refused as one that came later.
    async fn link_manifest(&self, name: &RepositoryName, tags: &[Tag], stored: &Stored) -> Result<Vec<Held>, Error> {
        let link = layout::revision_link(name, &stored.digest);
        let before = async {
            let mut before = Vec::with_capacity(tags.len());
            for tag in tags {
                before.push((tag, self.read_tag(name, tag).await?));
            }
            Ok::<_, Error>(before)
        };
        let (was_there, before) = futures::future::join(self.find(&link), before).await;
        let (was_there, before) = (was_there?.is_some(), before?);
        for _ in 0..MAX_ATTEMPTS {
            self.write_links(name, tags, stored).await?;
            // After the last write, whatever the order: `repositories` says why that is enough.
            let found = match self.look_once_more(name, tags, stored).await {
                Ok(found) => found,
                Err(refused) => {
                    self.put_tags_back(name, &before, &stored.digest).await;
                    if !was_there && let Err(error) = self.take_back(name, stored).await {
                        tracing::warn!(repository = %name, digest = %stored.digest, %error, "a refused manifest stays");
                    }
                    return Err(refused);
                }
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(Error::RepositoryBusy { name: name.clone() })
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
        let relies_on: Vec<(Key, &Digest)> = self
            .required(&stored.manifest)
            .into_iter()
            .map(|required| match required {
                Required::Blob(digest) => (layout::layer_link(name, digest), digest),
                Required::Revision(digest) => (layout::revision_link(name, digest), digest),
            })
            .collect();
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

    /// Which of these keys are not there. One page of a listing tells of a whole repository unless it is a large one; only
    /// what lies behind the page is looked at one by one.
    async fn missing_below(&self, below: &Key, mut keys: BTreeSet<Key>) -> Result<BTreeSet<Key>, Error> {
        let request = ListRequest { below, behind: None, one_level: false, after: None, limit: MAX_PAGE };
        let page = self.store.list(request).await?;
        for entry in &page.entries {
            keys.remove(&entry.key);
        }
        let Some(last) = page.entries.last().map(|entry| &entry.key).filter(|_| page.next.is_some()) else {
            return Ok(keys);
        };
        let (before, behind): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| key <= last);
        let looks: Vec<_> = behind
            .into_iter()
            .map(|key| async move {
                let found = self.find(&key).await?;
                Ok::<_, Error>(found.is_none().then_some(key))
            })
            .collect();
        let missing: Vec<Option<Key>> = stream::iter(looks).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
        Ok(before.into_iter().chain(missing.into_iter().flatten()).collect())
    }

    /// Takes a manifest out of the repository again, whose push is refused in the end. Another server may have accepted it
    /// meanwhile: then its references are there, and it stays.
    async fn take_back(&self, name: &RepositoryName, stored: &Stored) -> Result<(), Error> {
        let link = layout::revision_link(name, &stored.digest);
        absent_is_none(self.store.delete(&link).await)?;
        match self.require_references(name, &stored.manifest).await {
            Ok(_found) => self.ensure_link(&link, &stored.digest).await,
            Err(_) => Ok(()),
        }
    }

    /// Lets tags name what they named before a push that is refused in the end. One that somebody else has moved since stays.
    async fn put_tags_back(&self, name: &RepositoryName, before: &[(&Tag, Option<Digest>)], pushed: &Digest) {
        for (tag, previous) in before {
            let put_back = async {
                match self.read_tag(name, tag).await? {
                    Some(current) if current == *pushed && previous.as_ref() != Some(pushed) => {}
                    Some(_) => return Ok(()),
                    // Another server has deleted the tag before its history was written, and does not come back for that.
                    None => {
                        let history = layout::tag_index_link(name, tag, pushed);
                        return absent_is_none(self.store.delete(&history).await).map(|_| ());
                    }
                }
                match previous {
                    Some(previous) => {
                        let current = layout::tag_current_link(name, tag);
                        self.store.put(&current, previous.to_string().into()).await.map_err(Error::from)
                    }
                    None => self.remove_tag(name, tag).await,
                }
            };
            if let Err(error) = put_back.await {
                tracing::warn!(repository = %name, %tag, %pushed, %error, "a tag names a manifest that was refused");
            }
        }
    }

    async fn write_links(&self, name: &RepositoryName, tags: &[Tag], stored: &Stored) -> Result<(), Error> {
        let Stored { digest, raw, manifest } = stored;
        // Where a look costs as much as to write, the same is written again.
        if self.store.is_remote() || !self.has_bytes(digest, raw.len() as u64).await? {
            self.store.put(&layout::blob_data(digest), raw.clone()).await?;
        }
        // Before the link: a manifest that is there and is not found by its subject would be lost to who asks for it.
        if let Some(subject) = manifest.subject() {
            self.note_referrer(name, &subject.digest, digest).await?;
        }
        self.ensure_link(&layout::revision_link(name, digest), digest).await?;
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

    /// The manifest that a tag or digest names, if the repository has it.
    async fn named(&self, name: &RepositoryName, reference: &Reference) -> Result<Option<Digest>, Error> {
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => self.read_tag(name, tag).await?,
        };
        let Some(digest) = digest else { return Ok(None) };
        Ok(self.find(&layout::revision_link(name, &digest)).await?.map(|_| digest))
    }

    /// Every blob must be linked in this repository, and every manifest of an index that the rules require be one of its
    /// revisions. A subject may be missing, as the OCI specification wants it. What is given must be held until the
    /// manifest is there: under which digests the bytes of blobs lie is known only by now.
    async fn require_references(&self, name: &RepositoryName, manifest: &Manifest) -> Result<Vec<Held>, Error> {
        let lookups: Vec<_> = self
            .required(manifest)
            .into_iter()
            .map(|required| async move {
                let (held, digest) = match required {
                    Required::Blob(digest) => (self.acquire_blob(name, digest).await?, digest),
                    Required::Revision(digest) => (self.acquire_revision(name, digest).await?, digest),
                };
                Ok::<_, Error>(held.ok_or_else(|| digest.clone()))
            })
            .collect();
        let looked_at: Vec<Result<Held, Digest>> =
            stream::iter(lookups).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for held in looked_at {
            match held {
                Ok(held) => found.push(held),
                Err(digest) => missing.push(digest),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        Err(references_unknown(name, missing))
    }

    /// What must be there of what a manifest refers to, each once.
    fn required<'a>(&self, manifest: &'a Manifest) -> Vec<Required<'a>> {
        let blobs = manifest.blobs().filter(|descriptor| must_be_here(manifest.kind(), descriptor));
        let children =
            manifest.manifests().iter().filter(|descriptor| self.rules.indexes.requires(descriptor.platform.as_ref()));
        let mut seen = HashSet::new();
        let blobs = blobs.map(|descriptor| Required::Blob(&descriptor.digest));
        let children = children.map(|descriptor| Required::Revision(&descriptor.digest));
        blobs.chain(children).filter(|required| seen.insert(required.digest())).collect()
    }

    /// Acquires a blob that a repository has; nothing if it does not.
    async fn acquire_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Held>, Error> {
        let mark = self.recent_links.mark();
        let Some((target, held)) = self.acquire_layer(name, digest).await? else { return Ok(None) };
        Ok(self.layer_stat(mark, name, digest, &target).await?.map(|_| held))
    }

    /// Acquires a manifest that a repository has; nothing if it does not.
    async fn acquire_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Held>, Error> {
        let Some(held) = self.guard.try_acquire(revision_items(name, digest)) else { return Ok(None) };
        if self.find(&layout::revision_link(name, digest)).await?.is_none() {
            return Ok(None);
        }
        Ok(self.find(&layout::blob_data(digest)).await?.map(|_| held))
    }

    /// As [`Registry::manifest_delete_if`], whatever is there.
    ///
    /// # Errors
    /// Those of [`Registry::manifest_delete_if`].
    pub async fn manifest_delete(self: &Arc<Self>, name: &RepositoryName, reference: &Reference) -> Result<(), Error> {
        self.manifest_delete_if(name, reference, Conditions::default()).await
    }

    /// Deletes a tag, or a manifest with every tag that names it.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if the repository does not have it; [`Error::ConditionUnmet`],
    /// [`Error::DeleteDisabled`], [`Error::ReadOnly`].
    pub async fn manifest_delete_if(
        self: &Arc<Self>,
        name: &RepositoryName,
        reference: &Reference,
        conditions: Conditions,
    ) -> Result<(), Error> {
        let writing = self.deletable()?;
        let (registry, name, reference) = (self.clone(), name.clone(), reference.clone());
        tokio::spawn(async move {
            let _writing = writing;
            let _deleting = registry.while_alone(&name).await;
            let deleted = registry.delete_manifest(&name, &Target { reference, conditions }).await;
            registry.catalog.deleted();
            deleted
        })
        .await?
    }

    async fn delete_manifest(&self, name: &RepositoryName, target: &Target) -> Result<(), Error> {
        let Target { reference, conditions } = target;
        let unknown = || Error::ManifestUnknown { name: name.clone(), reference: reference.to_string() };
        match reference {
            Reference::Tag(tag) => {
                self.find(&layout::tag_current_link(name, tag)).await?.ok_or_else(unknown)?;
                if !conditions.is_empty() {
                    conditions.check(self.named(name, reference).await?.as_ref())?;
                }
                self.remove_tag(name, tag).await
            }
            Reference::Digest(digest) => {
                let link = layout::revision_link(name, digest);
                self.find(&link).await?.ok_or_else(unknown)?;
                conditions.check(Some(digest))?;
                let subject = self.subject(digest).await?;
                self.remove_tags_of(name, digest).await?;
                absent_is_none(self.store.delete(&link).await)?;
                // Another server may have tagged it between: it found the manifest there, and will not look again. If it
                // looks now, it writes the manifest anew, and its tags stay.
                if self.find(&link).await?.is_none() {
                    self.remove_tags_of(name, digest).await?;
                }
                // After the link, for the reason that it is written before it.
                match subject {
                    Subject::Some(subject) => self.forget_referrer(name, &subject, digest).await,
                    Subject::None | Subject::Unknown => Ok(()),
                }
            }
        }
    }
}

impl Rules {
    /// Reads a pushed manifest, if it may be pushed.
    fn read(&self, reference: &Reference, content_type: Option<&str>, raw: Bytes) -> Result<Stored, Error> {
        let is_schema1 = schema1::is_meant(content_type, &raw);
        // What is stored of schema 1, and has the digest, is the signed text.
        let raw = if is_schema1 { self.open_schema1(&raw)? } else { raw };
        let digest = match reference {
            Reference::Tag(_) => Digest::sha256(&raw),
            Reference::Digest(expected) => {
                let found = Digest::of(expected.algorithm(), &raw);
                if found != *expected {
                    return Err(Error::DigestMismatch { expected: expected.clone(), found });
                }
                found
            }
        };
        let manifest =
            if is_schema1 { Manifest::parse_schema1(&raw)? } else { Manifest::parse_declared(&raw, content_type)? };
        self.check(&manifest)?;
        Ok(Stored { digest, raw, manifest })
    }
}

/// A manifest of a repository: its bytes and its link.
pub(crate) fn revision_items(name: &RepositoryName, digest: &Digest) -> Vec<Item> {
    vec![Item::Blob(digest.clone()), Item::Revision(name.clone(), digest.clone())]
}

/// Everything that a manifest relies on.
fn reference_items(name: &RepositoryName, manifest: &Manifest) -> Vec<Item> {
    let blobs = manifest.blobs().map(|descriptor| Item::Blob(descriptor.digest.clone()));
    let manifests = manifest.manifests().iter().chain(manifest.subject());
    let manifests = manifests.flat_map(|descriptor| revision_items(name, &descriptor.digest));
    blobs.chain(manifests).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use berth_storage::Memory;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    fn registry() -> Arc<Registry> {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions))
    }

    /// An index of nothing: a manifest that needs nothing else.
    fn empty_index(note: &str) -> Bytes {
        let media_type = berth_oci::media_type::OCI_INDEX;
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"manifests\":[],\
             \"annotations\":{{\"note\":\"{note}\"}}}}"
        );
        text.into()
    }

    #[tokio::test]
    async fn only_who_asks_for_a_digest_is_remembered() {
        const HOUR: Duration = Duration::from_secs(3600);
        for (asks, tag, spared) in
            [(true, false, true), (true, true, false), (false, false, false), (false, true, false)]
        {
            let (registry, name) = (registry(), "team/app".parse().unwrap());
            let tagged = Reference::Tag("v1".parse().unwrap());
            let raw = empty_index("one");
            // Written without a push, which would be remembered itself.
            let digest = Digest::sha256(&raw);
            registry.store.put(&layout::blob_data(&digest), raw).await.unwrap();
            registry.ensure_link(&layout::revision_link(&name, &digest), &digest).await.unwrap();
            registry.ensure_link(&layout::tag_current_link(&name, &"v1".parse().unwrap()), &digest).await.unwrap();
            let reference = if tag { tagged } else { Reference::Digest(digest.clone()) };
            let found = if asks {
                registry.manifest_stat(&name, &reference).await
            } else {
                registry.manifest_get(&name, &reference).await
            };
            assert_eq!(found.unwrap().digest, digest);
            let run = registry.guard.begin_run().unwrap();
            let items = revision_items(&name, &digest);
            assert_eq!(run.would_spare(&items, HOUR).len(), if spared { 2 } else { 0 }, "{asks} {tag}");
        }
    }

    #[tokio::test]
    async fn a_push_that_waits_for_the_collector_holds_up_no_other() {
        let registry = registry();
        let name: RepositoryName = "team/app".parse().unwrap();
        let (first, doomed, other) = (empty_index("first"), empty_index("doomed"), empty_index("other"));
        let put = async |tag: &str, raw: &Bytes| {
            let reference = Reference::Tag(tag.parse().unwrap());
            let put = registry.manifest_put(&name, &reference, &[], None, raw.clone());
            tokio::time::timeout(Duration::from_secs(10), put).await.expect("the push waits")
        };
        let first = put("first", &first).await.unwrap().digest;
        let run = registry.guard.begin_run().unwrap();
        let items = revision_items(&name, &Digest::sha256(&doomed));
        let held_back = run.doom(&items, Duration::ZERO, |_| ());
        let (waiting, tag) = (registry.clone(), Reference::Tag("doomed".parse().unwrap()));
        let (raw, to) = (doomed.clone(), name.clone());
        let waiting = tokio::spawn(async move { waiting.manifest_put(&to, &tag, &[], None, raw).await });
        // One thread and a store in memory: after some turns the push has come to where it waits.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let first = Reference::Digest(first);
        let delete = registry.manifest_delete(&name, &first);
        tokio::time::timeout(Duration::from_secs(10), delete).await.expect("the deletion waits").unwrap();
        put("other", &other).await.unwrap();
        assert!(!waiting.is_finished());
        drop(held_back);
        waiting.await.unwrap().unwrap();
    }
}
