//! The deletions: manifests of each repository first, then the blobs that the manifests that stayed do not refer to.
//!
//! A failure leaves things as they are and is reported. A crash between two deletions leaves less than a whole object
//! only where nothing refers to it: the link of a manifest goes before its bytes, layer links go before the blob.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use berth_oci::{Digest, RepositoryName};
use berth_storage::{Key, Store, layout};

use super::guard::{Item, Run};
use super::plan::{self, Policy, Reason};
use super::snapshot::{RepositoryState, Snapshot};
use super::{Listener, Phase};
use crate::error::Error;
use crate::registry::absent_is_none;

/// Which repositories link to a blob.
type Linked<'a> = BTreeMap<&'a Digest, Vec<&'a RepositoryName>>;

/// What a sweep did, or would have done.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) revisions: BTreeSet<(RepositoryName, Digest)>,
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) problems: Vec<String>,
}

struct Sweeper<'a> {
    store: &'a dyn Store,
    run: &'a Run,
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    dry_run: bool,
    swept: Swept,
}

pub(super) async fn sweep(
    store: &dyn Store,
    run: &Run,
    snapshot: &Snapshot,
    policy: &Policy,
    dry_run: bool,
    listener: &Listener,
) -> Swept {
    let mut sweeper = Sweeper { store, run, snapshot, policy, dry_run, swept: Swept::default() };
    let reasons = plan::revisions(snapshot, policy);
    for (name, repository) in &snapshot.repositories {
        let going = repository.revisions.keys();
        let going: BTreeSet<Digest> = going
            .filter(|digest| reasons.get(&(name.clone(), (*digest).clone())).is_some_and(|reason| reason.deletes()))
            .cloned()
            .collect();
        if !going.is_empty() {
            sweeper.revisions(name, repository, &going).await;
        }
    }
    let gone = std::mem::take(&mut sweeper.swept.revisions);
    // Decided anew: what was spared or could not be deleted is a root like any other.
    let reasons = plan::blobs(snapshot, policy, |name, digest| !gone.contains(&(name.clone(), digest.clone())));
    sweeper.swept.revisions = gone;
    let going: Vec<&Digest> =
        reasons.iter().filter(|(_, reason)| **reason == Reason::Unreferenced).map(|(digest, _)| digest).collect();
    let linked = linked(snapshot);
    listener.tell(Phase::Sweep, 0, going.len());
    for (done, digest) in going.iter().enumerate() {
        sweeper.blob(digest, &linked).await;
        listener.tell(Phase::Sweep, done + 1, going.len());
    }
    sweeper.swept
}

fn linked(snapshot: &Snapshot) -> Linked<'_> {
    let mut linked = Linked::new();
    for (name, repository) in &snapshot.repositories {
        for digest in &repository.layers {
            linked.entry(digest).or_default().push(name);
        }
    }
    linked
}

impl Sweeper<'_> {
    async fn revisions(&mut self, name: &RepositoryName, repository: &RepositoryState, going: &BTreeSet<Digest>) {
        let item = |digest: &Digest| Item::Revision(name.clone(), digest.clone());
        let items: Vec<Item> = going.iter().map(item).collect();
        let spread = |spared: &mut HashSet<Item>| {
            let roots = spared.iter().filter_map(|item| match item {
                Item::Revision(_, digest) => Some((digest.clone(), Reason::Tagged)),
                Item::Blob(_) => None,
            });
            let with_them = plan::spread(repository, roots.collect::<Vec<_>>());
            spared.extend(with_them.keys().map(item));
        };
        if self.dry_run {
            let mut spared = self.run.would_spare(&items, self.policy.grace);
            spread(&mut spared);
            let would_go = going.iter().filter(|digest| !spared.contains(&item(digest)));
            self.swept.revisions.extend(would_go.map(|digest| (name.clone(), digest.clone())));
            return;
        }
        let mut doomed = self.run.doom(&items, self.policy.grace, spread);
        let gone: BTreeSet<Digest> = going.iter().filter(|digest| doomed.has(&item(digest))).cloned().collect();
        for digest in plan::in_order_of_deletion(repository, &gone) {
            if let Err(error) = self.delete_revision(name, repository, &digest).await {
                // What is left may hang on this one, so all of it stays.
                self.swept.problems.push(format!("manifest {name}@{digest} cannot be deleted: {error}"));
                return;
            }
            tracing::info!(repository = %name, %digest, reason = ?Reason::Untagged, "deleted a manifest");
            self.swept.revisions.insert((name.clone(), digest.clone()));
            doomed.free(&item(&digest));
        }
    }

    async fn delete_revision(
        &self,
        name: &RepositoryName,
        repository: &RepositoryState,
        digest: &Digest,
    ) -> Result<(), Error> {
        let history = repository.history.iter().filter(|(of, _)| of == digest);
        for (_, tag) in history {
            self.delete(&layout::tag_index_link(name, tag, digest)).await?;
        }
        self.delete(&layout::revision_link(name, digest)).await
    }

    async fn blob(&mut self, digest: &Digest, linked: &Linked<'_>) {
        let item = Item::Blob(digest.clone());
        let items = std::slice::from_ref(&item);
        if self.dry_run {
            if self.run.would_spare(items, self.policy.grace).is_empty() {
                self.swept.blobs.insert(digest.clone());
            }
            return;
        }
        let doomed = self.run.doom(items, self.policy.grace, |_| ());
        if !doomed.has(&item) {
            return;
        }
        // The links go while nobody can acquire the digest: a link without its blob would make a mount lie.
        let repositories = linked.get(digest).map(Vec::as_slice).unwrap_or_default();
        match self.delete_blob(digest, repositories).await {
            Ok(()) => {
                let bytes = self.snapshot.blobs.get(digest).map_or(0, |stat| stat.size);
                tracing::info!(%digest, bytes, reason = ?Reason::Unreferenced, "deleted a blob");
                self.swept.blobs.insert(digest.clone());
            }
            Err(error) => self.swept.problems.push(format!("blob {digest} cannot be deleted: {error}")),
        }
    }

    async fn delete_blob(&self, digest: &Digest, repositories: &[&RepositoryName]) -> Result<(), Error> {
        for name in repositories {
            self.delete(&layout::layer_link(name, digest)).await?;
        }
        self.delete(&layout::blob_data(digest)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        absent_is_none(self.store.delete(key).await).map(|_| ())
    }
}
