//! Manifests of a repository: pushed after what they refer to (`references`), linked (`links`), and deleted by tag or digest
//! (`deletion`). How they are read is in `found.rs`.

mod deletion;
mod links;
mod references;
#[cfg(test)]
mod replicas;

use std::sync::Arc;

use berth_oci::{Digest, Manifest, Reference, RepositoryName, Tag};
use berth_storage::layout;
use bytes::Bytes;
use futures::future::Either;

use crate::conditions::Conditions;
use crate::error::Error;
use crate::gc::Item;
use crate::registry::Registry;
use crate::room::{SMALL_BYTES, Taken};
use crate::rules::Rules;
use crate::schema1;

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
        let linked = self.link_manifest(name, tags, stored).await;
        // Whoever has been told nothing may have changed something.
        self.tag_lists.changed(name);
        let found = linked?;
        self.catalog.pushed(name);
        // From now on the manifest itself keeps its references, so they need not be remembered one by one.
        held.verify();
        drop((references, found));
        Ok(())
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
