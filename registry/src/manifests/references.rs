//! What a manifest relies on: looked for before it is stored, and once more after its links were written.

use std::collections::{BTreeSet, HashSet};

use berth_oci::{Digest, Manifest, RepositoryName};
use berth_storage::{Key, ListRequest, MAX_PAGE, layout};
use futures::{StreamExt, TryStreamExt, stream};

use super::revision_items;
use crate::error::Error;
use crate::gc::Held;
use crate::registry::Registry;
use crate::rules::must_be_here;

/// The most missing references that an error names: a manifest may have tens of thousands.
const MAX_NAMED_REFERENCES: usize = 32;
/// How many references of one manifest are looked for at once.
const LOOKUPS_AT_ONCE: usize = 16;

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

/// The links of what a manifest relies on, each with what it is about.
type Links<'a> = Vec<(Key, &'a Digest)>;

pub(super) fn references_unknown(name: &RepositoryName, mut missing: Vec<Digest>) -> Error {
    let more = missing.len().saturating_sub(MAX_NAMED_REFERENCES);
    missing.truncate(MAX_NAMED_REFERENCES);
    Error::ReferencesUnknown { name: name.clone(), missing, more }
}

impl Registry {
    /// Every blob must be linked in this repository, and every manifest of an index that the rules require be one of its
    /// revisions. A subject may be missing, as the OCI specification wants it. What is given must be held until the
    /// manifest is there: under which digests the bytes of blobs lie is known only by now.
    pub(super) async fn require_references(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<Held>, Error> {
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
        let Some(layer) = self.acquire_layer(name, digest).await? else { return Ok(None) };
        Ok(self.layer_stat(name, digest, &layer).await?.map(|_| layer.held))
    }

    /// Acquires a manifest that a repository has; nothing if it does not.
    async fn acquire_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Held>, Error> {
        let Some(held) = self.guard.try_acquire(revision_items(name, digest)) else { return Ok(None) };
        if self.find(&layout::revision_link(name, digest)).await?.is_none() {
            return Ok(None);
        }
        Ok(self.find(&layout::blob_data(digest)).await?.map(|_| held))
    }

    /// The links of everything that must be there of what a manifest refers to.
    pub(super) fn relied_on<'a>(&self, name: &RepositoryName, manifest: &'a Manifest) -> Links<'a> {
        let required = self.required(manifest).into_iter();
        let links = required.map(|required| match required {
            Required::Blob(digest) => (layout::layer_link(name, digest), digest),
            Required::Revision(digest) => (layout::revision_link(name, digest), digest),
        });
        links.collect()
    }

    /// Whether something that a manifest refers to is not there, by a look at the store, whatever is remembered.
    pub(super) async fn lacks_references(&self, name: &RepositoryName, manifest: &Manifest) -> Result<bool, Error> {
        if !self.store.is_remote() {
            return match self.require_references(name, manifest).await {
                Ok(_found) => Ok(false),
                Err(Error::ReferencesUnknown { .. }) => Ok(true),
                Err(error) => Err(error),
            };
        }
        let links = self.relied_on(name, manifest).into_iter().map(|(key, _)| key).collect();
        Ok(!self.missing_below(&layout::repository(name), links).await?.is_empty())
    }

    /// Which of these keys are not there. One page of a listing tells of a whole repository unless it is a large one. What lies
    /// behind the page is looked at one by one, and so is what it lacks: listings of some stores, such as Swift's, are late.
    pub(super) async fn missing_below(&self, below: &Key, mut keys: BTreeSet<Key>) -> Result<BTreeSet<Key>, Error> {
        let request = ListRequest { below, behind: None, one_level: false, after: None, limit: MAX_PAGE };
        let page = self.store.list(request).await?;
        for entry in &page.entries {
            keys.remove(&entry.key);
        }
        let looks: Vec<_> = keys
            .into_iter()
            .map(|key| async move {
                let found = self.find(&key).await?;
                Ok::<_, Error>(found.is_none().then_some(key))
            })
            .collect();
        let missing: Vec<Option<Key>> = stream::iter(looks).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }
}
