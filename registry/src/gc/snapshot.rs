//! What the store holds, as plain data.
//!
//! Everything that cannot be read is noted as a problem, and makes its repository one from which nothing is deleted.
//!
//! A store may list an object later than it is there, as Swift does. So what is named somewhere and is not in the listing, of
//! manifests by a tag or another manifest, of tags by their history, is looked for by its own name. What is named nowhere else
//! cannot be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use berth_oci::{Digest, MAX_MANIFEST_BYTES, Mentions, RepositoryName, Tag};
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{EntryKind, ListRequest, MAX_PAGE, Stat, Store, read_all};
use futures::{StreamExt, stream};

use super::{Listener, Phase};
use crate::aliases::{is_alias, may_be_alias};
use crate::error::Error;
use crate::registry::{absent_is_none, read_link};

/// How many manifests and links are read at once.
const READS_AT_ONCE: usize = 16;

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every repository that has anything.
    pub repositories: BTreeMap<RepositoryName, RepositoryState>,
    /// Every blob.
    pub blobs: BTreeMap<Digest, Stat>,
    /// What could not be read, as sentences.
    pub problems: Vec<String>,
    /// Whether there are repositories or aliases that cannot be read at all, so that any blob may be in use.
    pub blind: bool,
}

/// What a repository holds.
#[derive(Clone, Debug, Default)]
pub struct RepositoryState {
    /// The blobs it links to.
    pub layers: BTreeSet<Digest>,
    /// Of these, the aliases, with the digest that the bytes lie under.
    pub aliases: BTreeMap<Digest, Digest>,
    /// The manifests it links to.
    pub revisions: BTreeMap<Digest, Revision>,
    /// What its tags name now.
    pub tags: BTreeMap<Tag, Digest>,
    /// For each manifest, the tags that have named it.
    pub history: BTreeMap<Digest, BTreeSet<Tag>>,
    /// For each manifest that the index of referrers names, the subjects that it names it under.
    pub referrers: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Whether something in it could not be read.
    pub unreadable: bool,
}

impl RepositoryState {
    /// The digest that the bytes of a blob lie under, which the repository links to.
    pub(super) fn target<'a>(&'a self, digest: &'a Digest) -> &'a Digest {
        self.aliases.get(digest).unwrap_or(digest)
    }
}

/// A manifest of a repository.
#[derive(Clone, Debug)]
pub struct Revision {
    /// When the link was written last.
    pub modified: SystemTime,
    /// What the manifest refers to; nothing if it could not be read.
    pub references: Option<Arc<References>>,
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Configuration and layers.
    pub blobs: Vec<Digest>,
    /// The manifests of an index.
    pub children: Vec<Digest>,
    /// What the manifest says something about: one, unless readers differ about it.
    pub subjects: Vec<Digest>,
}

impl From<Mentions> for References {
    fn from(mentions: Mentions) -> Self {
        let Mentions { blobs, manifests, subjects, unknown: _ } = mentions;
        let all = |digests: BTreeSet<Digest>| digests.into_iter().collect();
        References { blobs: all(blobs), children: all(manifests), subjects: all(subjects) }
    }
}

impl Revision {
    /// The manifests that stay because this one does: those of an index and, as CNCF Distribution has it, whatever an image
    /// calls its layer and is a manifest of the repository.
    pub(super) fn holds<'a>(
        &'a self,
        revisions: &'a BTreeMap<Digest, Revision>,
    ) -> impl Iterator<Item = &'a Digest> + 'a {
        self.references.iter().flat_map(move |references| {
            let layers = references.blobs.iter().filter(|digest| revisions.contains_key(*digest));
            references.children.iter().chain(layers)
        })
    }
}

/// Reads a store.
///
/// # Errors
/// When it cannot be listed.
pub(super) async fn take(store: &dyn Store, listener: &Listener) -> Result<Snapshot, Error> {
    let mut snapshot = Snapshot::default();
    let Unread { tags, layers } = list_repositories(store, &mut snapshot, listener).await?;
    read_tags(store, &mut snapshot, tags).await;
    read_layers(store, &mut snapshot, layers).await;
    // Blobs last: what appears after its links were listed is young or rescued.
    list_blobs(store, &mut snapshot, listener).await?;
    read_manifests(store, &mut snapshot, listener).await;
    Ok(snapshot)
}

/// Links that are still to be read.
#[derive(Default)]
struct Unread {
    tags: Vec<(RepositoryName, Tag)>,
    /// Those that may be aliases.
    layers: Vec<(RepositoryName, Digest)>,
}

/// Lists every repository.
async fn list_repositories(store: &dyn Store, snapshot: &mut Snapshot, listener: &Listener) -> Result<Unread, Error> {
    let (below, mut after, mut listed, mut unread) = (layout::repositories(), None, 0, Unread::default());
    loop {
        let request =
            ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
        let page = store.list(request).await?;
        for entry in &page.entries {
            let EntryKind::Object(stat) = entry.kind else { continue };
            let Some(object) = layout::parse_repository_object(&entry.key) else { continue };
            let Ok(name) = object.repository.parse::<RepositoryName>() else {
                snapshot.blind = true;
                let problem = format!("{:?} is no repository name: no blob is deleted", object.repository);
                if snapshot.problems.last() != Some(&problem) {
                    snapshot.problems.push(problem);
                }
                continue;
            };
            let repository = snapshot.repositories.entry(name.clone()).or_default();
            match object.kind {
                RepositoryObjectKind::Layer(digest) => {
                    // A link that is as long as its own digest says that one.
                    if may_be_alias(&digest) && stat.size != digest.as_str().len() as u64 {
                        unread.layers.push((name, digest.clone()));
                    }
                    repository.layers.insert(digest);
                }
                RepositoryObjectKind::Revision(digest) => {
                    repository.revisions.insert(digest, Revision { modified: stat.modified, references: None });
                }
                RepositoryObjectKind::TagCurrent(tag) => unread.tags.push((name, tag)),
                RepositoryObjectKind::TagIndex(tag, digest) => {
                    repository.history.entry(digest).or_default().insert(tag);
                }
                RepositoryObjectKind::Referrer { subject, digest } => {
                    repository.referrers.entry(digest).or_default().insert(subject);
                }
                RepositoryObjectKind::ReferrersChecked
                | RepositoryObjectKind::Upload(_)
                | RepositoryObjectKind::Other => {}
            }
        }
        listed += page.entries.len();
        listener.tell(Phase::List, listed, listed);
        match page.next {
            None => break,
            next => after = next,
        }
    }
    let listed: BTreeSet<(RepositoryName, Tag)> = unread.tags.iter().cloned().collect();
    for (name, repository) in &snapshot.repositories {
        let tags: BTreeSet<&Tag> = repository.history.values().flatten().collect();
        let unlisted = tags.into_iter().map(|tag| (name.clone(), tag.clone())).filter(|tag| !listed.contains(tag));
        unread.tags.extend(unlisted);
    }
    Ok(unread)
}

async fn list_blobs(store: &dyn Store, snapshot: &mut Snapshot, listener: &Listener) -> Result<(), Error> {
    let (below, mut after) = (layout::blobs(), None);
    loop {
        let request =
            ListRequest { below: &below, behind: None, one_level: false, after: after.as_ref(), limit: MAX_PAGE };
        let page = store.list(request).await?;
        for entry in &page.entries {
            if let (EntryKind::Object(stat), Some(digest)) = (entry.kind, layout::parse_blob_data(&entry.key)) {
                snapshot.blobs.insert(digest, stat);
            }
        }
        listener.tell(Phase::List, snapshot.blobs.len(), snapshot.blobs.len());
        match page.next {
            None => return Ok(()),
            next => after = next,
        }
    }
}

async fn read_tags(store: &dyn Store, snapshot: &mut Snapshot, tags: Vec<(RepositoryName, Tag)>) {
    let mut read = stream::iter(tags.into_iter().map(|(name, tag)| async move {
        let link = read_link(store, &layout::tag_current_link(&name, &tag)).await;
        (name, tag, link)
    }))
    .buffered(READS_AT_ONCE);
    while let Some((name, tag, link)) = read.next().await {
        let Some(repository) = snapshot.repositories.get_mut(&name) else { continue };
        match link {
            Ok(Some(digest)) => drop(repository.tags.insert(tag, digest)),
            // The tag was deleted since it was listed.
            Ok(None) => {}
            Err(error) => {
                repository.unreadable = true;
                snapshot.problems.push(format!("tag {name}:{tag}: {error}: nothing of {name} is deleted"));
            }
        }
    }
    drop(read);
    let mut named = Vec::new();
    for (name, repository) in &snapshot.repositories {
        let digests = repository.tags.values().chain(repository.history.keys()).chain(repository.referrers.keys());
        let unlisted: BTreeSet<&Digest> =
            digests.filter(|digest| !repository.revisions.contains_key(*digest)).collect();
        named.extend(unlisted.into_iter().map(|digest| (name.clone(), digest.clone())));
    }
    find_manifests(store, snapshot, named).await;
}

/// Looks for manifests that something names and the listing has not, and gives how many there are.
async fn find_manifests(store: &dyn Store, snapshot: &mut Snapshot, named: Vec<(RepositoryName, Digest)>) -> usize {
    let mut found = stream::iter(named.into_iter().map(|(name, digest)| async move {
        let stat = absent_is_none(store.stat(&layout::revision_link(&name, &digest)).await);
        (name, digest, stat)
    }))
    .buffered(READS_AT_ONCE);
    let mut count = 0;
    while let Some((name, digest, stat)) = found.next().await {
        let Some(repository) = snapshot.repositories.get_mut(&name) else { continue };
        match stat {
            Ok(Some(stat)) => {
                count += 1;
                repository.revisions.insert(digest, Revision { modified: stat.modified, references: None });
            }
            Ok(None) => {}
            Err(error) => {
                repository.unreadable = true;
                snapshot.problems.push(format!("manifest {name}@{digest}: {error}: nothing of {name} is deleted"));
            }
        }
    }
    count
}

/// The manifests that others refer to and the listing has not, though it has their bytes.
fn unlisted(
    snapshot: &Snapshot,
    known: &HashMap<Digest, Result<Arc<References>, String>>,
) -> Vec<(RepositoryName, Digest)> {
    let mut named = BTreeSet::new();
    for (name, repository) in &snapshot.repositories {
        let references = repository.revisions.keys().filter_map(|digest| known.get(digest)?.as_ref().ok());
        let digests = references.flat_map(|references| {
            let References { blobs, children, subjects } = references.as_ref();
            // What an image calls its layer may be a manifest.
            let manifests = blobs.iter().filter(|digest| !repository.layers.contains(*digest));
            children.iter().chain(subjects).chain(manifests)
        });
        let unlisted = digests
            .filter(|digest| !repository.revisions.contains_key(*digest) && snapshot.blobs.contains_key(*digest));
        named.extend(unlisted.map(|digest| (name.clone(), digest.clone())));
    }
    named.into_iter().collect()
}

async fn read_layers(store: &dyn Store, snapshot: &mut Snapshot, layers: Vec<(RepositoryName, Digest)>) {
    let mut read = stream::iter(layers.into_iter().map(|(name, digest)| async move {
        let link = read_link(store, &layout::layer_link(&name, &digest)).await;
        (name, digest, link)
    }))
    .buffered(READS_AT_ONCE);
    while let Some((name, digest, link)) = read.next().await {
        let Some(repository) = snapshot.repositories.get_mut(&name) else { continue };
        match link {
            Ok(Some(said)) if is_alias(&digest, &said) => drop(repository.aliases.insert(digest, said)),
            // It says what its path does, or what cannot be; or it was deleted since it was listed.
            Ok(_) => {}
            // Where it led nobody can tell, and nobody is served what it led to; the other link of the same push shows it.
            Err(error @ Error::Link { .. }) => {
                repository.unreadable = true;
                snapshot.problems.push(format!("blob {name}@{digest}: {error}: nothing of {name} is deleted"));
            }
            // Any blob may be what it leads to.
            Err(error) => {
                snapshot.blind = true;
                snapshot.problems.push(format!("blob {name}@{digest}: {error}: no blob is deleted"));
            }
        }
    }
}

/// Reads every manifest once, however many repositories have it.
async fn read_manifests(store: &dyn Store, snapshot: &mut Snapshot, listener: &Listener) {
    let mut known: HashMap<Digest, Result<Arc<References>, String>> = HashMap::new();
    loop {
        let revisions = snapshot.repositories.values().flat_map(|repository| repository.revisions.keys());
        let digests: BTreeSet<Digest> = revisions.filter(|digest| !known.contains_key(*digest)).cloned().collect();
        let total = known.len() + digests.len();
        listener.tell(Phase::Mark, known.len(), total);
        let mut read = stream::iter(digests.into_iter().map(|digest| async move {
            let references = read_references(store, &digest).await;
            (digest, references)
        }))
        .buffered(READS_AT_ONCE);
        while let Some((digest, references)) = read.next().await {
            known.insert(digest, references.map(Arc::new));
            listener.tell(Phase::Mark, known.len(), total);
        }
        drop(read);
        let named = unlisted(snapshot, &known);
        if find_manifests(store, snapshot, named).await == 0 {
            break;
        }
    }
    for (name, repository) in &mut snapshot.repositories {
        for (digest, revision) in &mut repository.revisions {
            match known.get(digest) {
                Some(Ok(references)) => revision.references = Some(references.clone()),
                Some(Err(error)) => {
                    repository.unreadable = true;
                    snapshot.problems.push(format!("manifest {name}@{digest}: {error}: nothing of {name} is deleted"));
                }
                None => {}
            }
        }
    }
}

async fn read_references(store: &dyn Store, digest: &Digest) -> Result<References, String> {
    let raw = read_all(store, &layout::blob_data(digest), MAX_MANIFEST_BYTES as u64).await;
    let raw = raw.map_err(|error| error.to_string())?;
    let expected = digest.clone();
    let read = move || {
        let found = Digest::of(expected.algorithm(), &raw);
        // A damaged manifest may parse and still not say everything that it said.
        if found != expected {
            return Err(format!("the stored bytes have digest {found}"));
        }
        Mentions::read(&raw).map_err(|error| error.to_string())
    };
    // Of a large one that takes long.
    let mentions = tokio::task::spawn_blocking(read).await.map_err(|stopped| stopped.to_string())??;
    match mentions.unknown {
        None => Ok(mentions.into()),
        Some(error) => Err(format!("it refers to content that cannot be told: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use berth_oci::{Reference, media_type};
    use berth_storage::layers::{Shelf, ShelfOptions};
    use berth_storage::{Memory, ObjectStore};
    use serde_json::json;

    use super::super::{Guard, Options, collect};
    use super::*;
    use crate::registry::{Permissions, Registry};

    /// An image by a tag, an index by another, an image in the index by none, what says something about it, and an image that a
    /// tag has named before; one of their links is not listed yet.
    #[tokio::test]
    async fn what_a_listing_does_not_have_yet_stays() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let image = |layer: &str| {
            let descriptor = |media_type: &str, content: &[u8]| json!({"mediaType": media_type, "digest": Digest::sha256(content), "size": content.len()});
            let config = descriptor(media_type::OCI_CONFIG, b"{}");
            let layers = [descriptor(media_type::OCI_LAYER, layer.as_bytes())];
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_IMAGE, "config": config, "layers": layers})
                .to_string()
        };
        let (tagged, child, earlier) = (image("tagged"), image("child"), image("earlier"));
        let digest = |raw: &str| Digest::sha256(raw.as_bytes());
        let descriptor = json!({"mediaType": media_type::OCI_IMAGE, "digest": digest(&child), "size": child.len()});
        let index =
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [descriptor]}).to_string();
        let subject = json!({"mediaType": media_type::OCI_IMAGE, "digest": digest(&tagged), "size": tagged.len()});
        let about = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [], "subject": subject,
        });
        let about = about.to_string();
        for late in [
            layout::revision_link(&name, &digest(&tagged)),
            layout::revision_link(&name, &digest(&about)),
            layout::revision_link(&name, &digest(&earlier)),
            layout::revision_link(&name, &digest(&child)),
            layout::revision_link(&name, &digest(&index)),
            layout::tag_current_link(&name, &"v1".parse().unwrap()),
        ] {
            let late: &'static str = late.to_string().leak();
            let shelf = Shelf::new(ShelfOptions { late: Some(late), ..ShelfOptions::default() });
            let (store, permissions) =
                (Arc::new(ObjectStore::new(Arc::new(shelf))), Permissions { delete: true, read_only: false });
            let registry =
                Arc::new(Registry::new(store, Arc::new(Memory::new()), Arc::new(Guard::offline()), permissions));
            for content in ["{}", "tagged", "child", "earlier"] {
                let key = Digest::sha256(content.as_bytes());
                registry.store.put(&layout::blob_data(&key), content.into()).await.unwrap();
                registry.ensure_link(&layout::layer_link(&name, &key), &key).await.unwrap();
            }
            let by_digest = |raw: &str| Reference::Digest(digest(raw));
            let (v1, v2) = (Reference::Tag("v1".parse().unwrap()), Reference::Tag("v2".parse().unwrap()));
            for (reference, raw) in [
                (by_digest(&child), &child),
                (v1.clone(), &earlier),
                (v1, &tagged),
                (v2, &index),
                (by_digest(&about), &about),
            ] {
                registry.manifest_put(&name, &reference, &[], None, raw.clone().into()).await.unwrap();
            }
            let run = registry.guard.begin_run().unwrap();
            let options = Options { dry_run: false, delete_untagged: false, grace: Duration::ZERO, timeout: None };
            let report = collect(&registry, &run, options, &Listener::none()).await.unwrap();
            let figures = (report.manifests_kept, report.manifests_deleted, report.blobs_kept, report.blobs_deleted);
            assert_eq!(figures, (5, 0, 9, 0), "{late}");
            let options = Options { delete_untagged: true, ..options };
            let report = collect(&registry, &run, options, &Listener::none()).await.unwrap();
            let figures = (report.manifests_kept, report.manifests_deleted, report.blobs_kept, report.blobs_deleted);
            assert_eq!(figures, (4, 1, 7, 2), "{late}: the earlier one alone");
        }
    }
}
