//! Manifests of a repository, as they are found and served.
//!
//! Of a manifest that is served, only its kind has to be known. A small one is read whole and kept in memory; of a large
//! one the kind is kept, and its bytes are read from the store while they are sent.

use std::sync::Arc;

use berth_oci::{Digest, MAX_MANIFEST_BYTES, ManifestError, ManifestKind, Reference, RepositoryName};
use berth_storage::{Object, StoreError, layout, read_all};
use bytes::Bytes;

use crate::error::Error;
use crate::gc::Held;
use crate::manifests::revision_items;
use crate::recent::Known;
use crate::registry::{Registry, absent_is_none};
use crate::room::SMALL_BYTES;

/// A manifest that a repository has.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its digest.
    pub digest: Digest,
    /// Which kind it is.
    pub kind: ManifestKind,
    /// Its length in bytes.
    pub size: u64,
    /// Its bytes, if they are few.
    pub(crate) content: Option<Bytes>,
}

impl Registry {
    /// The manifest that a tag or digest names, for whoever fetches it. That is no promise that it stays: of a pull, only
    /// what is open is read.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if the repository does not have it; [`Error::ManifestUnreadable`];
    /// [`Error::TooManyLargeManifests`].
    pub async fn manifest_get(&self, name: &RepositoryName, reference: &Reference) -> Result<Arc<Found>, Error> {
        let digest = self.manifest_digest(name, reference).await?;
        // Only fetched: the guard has to know of that while a collection runs, and at no other time.
        if !self.guard.is_running()
            && let Known::Present(found) = self.recent_manifests.find(name, &digest)
        {
            return Ok(found);
        }
        self.manifest_find(name, reference, &digest).await.map(|(found, _)| found)
    }

    /// The manifest that a tag or digest names, for whoever asks whether it exists. Who asks for a digest may build on the
    /// answer and push an index, so it is remembered; what a tag names stays because of the tag.
    ///
    /// # Errors
    /// Those of [`Registry::manifest_get`].
    pub async fn manifest_stat(&self, name: &RepositoryName, reference: &Reference) -> Result<Arc<Found>, Error> {
        let Reference::Digest(digest) = reference else { return self.manifest_get(name, reference).await };
        let (found, held) = self.manifest_find(name, reference, digest).await?;
        held.verify();
        Ok(found)
    }

    async fn manifest_digest(&self, name: &RepositoryName, reference: &Reference) -> Result<Digest, Error> {
        match reference {
            Reference::Digest(digest) => Ok(digest.clone()),
            Reference::Tag(tag) => self.read_tag(name, tag).await?.ok_or_else(|| unknown(name, reference)),
        }
    }

    async fn manifest_find(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<(Arc<Found>, Held), Error> {
        let unknown = || unknown(name, reference);
        let held = self.guard.try_acquire(revision_items(name, digest)).ok_or_else(unknown)?;
        let mark = self.recent_manifests.mark();
        let known = match self.recent_manifests.find(name, digest) {
            Known::Present(found) => return Ok((found, held)),
            Known::Content(found) => Some(found),
            Known::Nothing => None,
        };
        self.find(&layout::revision_link(name, digest)).await?.ok_or_else(unknown)?;
        let (found, is_whole) = match known {
            // That the bytes are there must be looked at, too: a push relies on it.
            Some(found) if self.has_bytes(digest, found.size).await? => (found, true),
            _ => {
                let (found, is_whole) = self.manifest_load(name, digest).await?.ok_or_else(unknown)?;
                (Arc::new(found), is_whole)
            }
        };
        if is_whole {
            let kept_bytes = found.content.as_ref().map_or(0, Bytes::len);
            self.recent_manifests.keep(mark, name, digest, kept_bytes, found.clone());
        }
        Ok((found, held))
    }

    /// Reads a manifest, and says whether it has the digest that it lies under; nothing if there is none.
    async fn manifest_load(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<(Found, bool)>, Error> {
        let found = |size: usize, kind: Result<ManifestKind, ManifestError>, content| match kind {
            Ok(kind) => Ok(Found { digest: digest.clone(), kind, size: size as u64, content }),
            Err(source) => Err(Error::ManifestUnreadable { name: name.clone(), digest: digest.clone(), source }),
        };
        let look = |digest: &Digest, raw: &Bytes| {
            (ManifestKind::of_stored(raw), Digest::of(digest.algorithm(), raw) == *digest)
        };
        let key = layout::blob_data(digest);
        let size = match read_all(self.store.as_ref(), &key, SMALL_BYTES as u64).await {
            Err(StoreError::TooLarge { size, .. }) => size,
            read => {
                let Some(raw) = absent_is_none(read)? else { return Ok(None) };
                let (kind, is_whole) = look(digest, &raw);
                return Ok(Some((found(raw.len(), kind, Some(raw))?, is_whole)));
            }
        };
        let room = self.room.take(size).await?;
        let read = read_all(self.store.as_ref(), &key, MAX_MANIFEST_BYTES as u64).await;
        let Some(raw) = absent_is_none(read)? else { return Ok(None) };
        let size = raw.len();
        let of = digest.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let looked = look(&of, &raw);
            drop((raw, room));
            looked
        });
        let (kind, is_whole) = looking.await?;
        Ok(Some((found(size, kind, None)?, is_whole)))
    }

    /// Opens the bytes of a manifest that was found.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if it is gone since.
    pub async fn manifest_open(&self, name: &RepositoryName, found: &Found) -> Result<Object, Error> {
        let open = self.store.get(&layout::blob_data(&found.digest), None).await;
        absent_is_none(open)?.ok_or_else(|| unknown(name, &Reference::Digest(found.digest.clone())))
    }

    /// Makes something of the bytes of a manifest that was found. Of a large one that takes long, and other requests must
    /// not wait for it.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`] if it is gone since; [`Error::TooManyLargeManifests`].
    pub async fn manifest_use<T: Send + 'static>(
        &self,
        name: &RepositoryName,
        found: &Found,
        made: impl FnOnce(&Bytes) -> T + Send + 'static,
    ) -> Result<T, Error> {
        if let Some(raw) = &found.content {
            return Ok(made(raw));
        }
        let room = self.room.take(found.size).await?;
        let read = read_all(self.store.as_ref(), &layout::blob_data(&found.digest), MAX_MANIFEST_BYTES as u64).await;
        let raw = absent_is_none(read)?.ok_or_else(|| unknown(name, &Reference::Digest(found.digest.clone())))?;
        let making = tokio::task::spawn_blocking(move || {
            let thing = made(&raw);
            drop((raw, room));
            thing
        });
        Ok(making.await?)
    }
}

fn unknown(name: &RepositoryName, reference: &Reference) -> Error {
    Error::ManifestUnknown { name: name.clone(), reference: reference.to_string() }
}

#[cfg(test)]
mod tests {
    use berth_oci::{Manifest, media_type};
    use berth_storage::Memory;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    fn index(bytes: usize) -> Bytes {
        let note = "x".repeat(bytes);
        let media_type = media_type::OCI_INDEX;
        format!("{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"manifests\":[],\"annotations\":{{\"note\":\"{note}\"}}}}").into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_manifest_needs_room_once_and_is_not_kept() {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
        let name: RepositoryName = "team/app".parse().unwrap();
        let mut references = Vec::new();
        for (number, raw) in [index(10), index(SMALL_BYTES), index(SMALL_BYTES + 1)].into_iter().enumerate() {
            let tag = Reference::Tag(format!("v{number}").parse().unwrap());
            let stored =
                registry.manifest_put(&name, &tag, &[], Some(media_type::OCI_INDEX), raw.clone()).await.unwrap();
            references.push((Reference::Digest(stored.digest), raw));
        }
        let held: Vec<_> = [(); 4].map(|()| MAX_MANIFEST_BYTES as u64).to_vec();
        let hold = async || {
            let mut taken = Vec::new();
            for bytes in &held {
                taken.push(registry.room.take(*bytes).await.unwrap());
            }
            taken
        };
        let full = hold().await;
        let (small, large) = (&references[0].0, &references[1..]);
        registry.manifest_get(&name, small).await.unwrap();
        for (reference, raw) in large {
            let asked = registry.manifest_stat(&name, reference).await.map(drop);
            assert!(matches!(asked, Err(Error::TooManyLargeManifests)), "{asked:?}");
            let tag = Reference::Tag("again".parse().unwrap());
            // Who has received it has taken room for it, and needs no more.
            registry.manifest_put(&name, &tag, &[], None, raw.clone()).await.unwrap();
        }
        drop(full);
        for (reference, raw) in large {
            let found = registry.manifest_stat(&name, reference).await.unwrap();
            assert_eq!(
                (found.size, found.kind, found.content.is_none()),
                (raw.len() as u64, ManifestKind::OciIndex, true)
            );
        }
        // Now their kind is known.
        let full = hold().await;
        for (reference, _) in large {
            let found = registry.manifest_stat(&name, reference).await.unwrap();
            let object = registry.manifest_open(&name, &found).await.unwrap();
            assert_eq!(object.stat.size, found.size);
            let used = registry.manifest_use(&name, &found, Bytes::len).await;
            assert!(matches!(used, Err(Error::TooManyLargeManifests)), "{used:?}");
        }
        drop(full);
        for (reference, raw) in &references {
            let found = registry.manifest_get(&name, reference).await.unwrap();
            let parsed = registry.manifest_use(&name, &found, |raw| Manifest::parse(raw)).await.unwrap().unwrap();
            assert_eq!(parsed, Manifest::parse(raw).unwrap());
        }
    }
}
