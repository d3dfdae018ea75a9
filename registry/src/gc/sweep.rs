//! The deletions: manifests of each repository first, then the blobs that the manifests that stayed do not refer to.
//!
//! A failure leaves things as they are and is reported. A crash between two deletions leaves less than a whole object
//! only where nothing refers to it: the link of a manifest goes before its bytes and before its entry among the referrers,
//! layer links go before the blob.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use berth_oci::{Digest, RepositoryName};
use berth_storage::{Key, Store, layout};

use super::guard::{Item, Run};
use super::plan::{self, Policy, Reason};
use super::snapshot::{Revision, Snapshot};
use super::{Limit, Listener, Phase};
use crate::aliases::{may_be_alias, target};
use crate::error::Error;
use crate::registry::{absent_is_none, read_link};

/// What a sweep did, or would have done.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) revisions: BTreeSet<(RepositoryName, Digest)>,
    pub(super) blobs: BTreeSet<Digest>,
    pub(super) problems: Vec<String>,
}

/// Manifests of one repository that are doomed together.
type Group = (RepositoryName, BTreeMap<Digest, Revision>);

/// How many manifests are doomed at once, unless more hang together: whoever pushes one of them again waits for all.
const GROUP_SIZE: usize = 64;

/// How a sweep goes about it.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// Whether nothing is deleted.
    pub(super) dry_run: bool,
    /// When it stops, whatever is left.
    pub(super) limit: Option<Limit>,
    /// Who is told of its steps.
    pub(super) listener: &'a Listener,
}

struct Sweeper<'a> {
    store: &'a dyn Store,
    run: &'a Run,
    snapshot: &'a Arc<Snapshot>,
    policy: Policy,
    how: How<'a>,
    /// How many manifests and blobs have been looked at, and how many there are as far as known.
    done: usize,
    total: usize,
    swept: Swept,
}

/// Deletes what the policy lets go.
///
/// # Errors
/// When the process stops. What cannot be deleted is reported.
pub(super) async fn sweep(
    store: &dyn Store,
    run: &Run,
    snapshot: &Arc<Snapshot>,
    policy: Policy,
    how: How<'_>,
) -> Result<Swept, Error> {
    let swept = Swept::default();
    let mut sweeper = Sweeper { store, run, snapshot, policy, how, done: 0, total: 0, swept };
    // A store of many manifests takes seconds to decide on, in which requests have to be answered.
    let plain = snapshot.clone();
    let groups = tokio::task::spawn_blocking(move || going_revisions(&plain, &policy)).await?;
    sweeper.expect(groups.iter().map(|(_, group)| group.len()).sum());
    for (name, group) in &groups {
        if sweeper.is_over() {
            break;
        }
        sweeper.revisions(name, group).await;
    }
    if sweeper.is_over() {
        return Ok(sweeper.stopped());
    }
    let (plain, gone) = (snapshot.clone(), sweeper.swept.revisions.clone());
    let decided = tokio::task::spawn_blocking(move || {
        let stays = |name: &RepositoryName, digest: &Digest| !gone.contains(&(name.clone(), digest.clone()));
        (going_blobs(&plain, &policy, stays), plan::dangling(&plain, stays), plan::strays(&plain))
    });
    let (going, dangling, strays) = decided.await?;
    sweeper.expect(going.len() + dangling.len() + strays.len());
    for (digest, links) in &going {
        if sweeper.is_over() {
            return Ok(sweeper.stopped());
        }
        sweeper.blob(digest, links).await;
        sweeper.advance(1);
    }
    for (digest, repositories) in &dangling {
        if sweeper.is_over() {
            return Ok(sweeper.stopped());
        }
        sweeper.links(digest, repositories).await;
        sweeper.advance(1);
    }
    for (name, subject, digest) in &strays {
        if sweeper.is_over() {
            return Ok(sweeper.stopped());
        }
        sweeper.stray(name, subject, digest).await;
        sweeper.advance(1);
    }
    Ok(sweeper.swept)
}

fn going_revisions(snapshot: &Snapshot, policy: &Policy) -> Vec<Group> {
    let mut going: BTreeMap<RepositoryName, BTreeSet<Digest>> = BTreeMap::new();
    for ((name, digest), reason) in plan::revisions(snapshot, policy) {
        if reason.deletes() {
            going.entry(name).or_default().insert(digest);
        }
    }
    let mut groups = Vec::new();
    for (name, going) in &going {
        let Some(repository) = snapshot.repositories.get(name) else { continue };
        groups.extend(plan::groups(repository, going, GROUP_SIZE).into_iter().map(|group| (name.clone(), group)));
    }
    groups
}

/// A layer link: the repository, and the digest in its path.
type LayerLink = (RepositoryName, Digest);

/// The blobs that go, each with all links that lead to it. Decided when the manifests are gone: what was spared or
/// could not be deleted is a root like any other.
fn going_blobs(
    snapshot: &Snapshot,
    policy: &Policy,
    stays: impl Fn(&RepositoryName, &Digest) -> bool,
) -> BTreeMap<Digest, Vec<LayerLink>> {
    let reasons = plan::blobs(snapshot, policy, stays);
    let going = reasons.into_iter().filter(|(_, reason)| *reason == Reason::Unreferenced);
    let mut going: BTreeMap<Digest, Vec<LayerLink>> = going.map(|(digest, _)| (digest, Vec::new())).collect();
    for (name, repository) in &snapshot.repositories {
        for digest in &repository.layers {
            if let Some(links) = going.get_mut(repository.target(digest)) {
                links.push((name.clone(), digest.clone()));
            }
        }
    }
    going
}

impl Sweeper<'_> {
    fn is_over(&self) -> bool {
        self.how.limit.is_some_and(|limit| limit.is_over())
    }

    /// What was done when the time was over. What is left is garbage for the next collection.
    fn stopped(mut self) -> Swept {
        let seconds = self.how.limit.map_or(0, |limit| limit.timeout.as_secs());
        let problem = format!("stopped after {seconds} s, its timeout: what is left goes with the next collection");
        self.swept.problems.push(problem);
        self.swept
    }

    fn expect(&mut self, more: usize) {
        self.total += more;
        self.how.listener.tell(Phase::Sweep, self.done, self.total);
    }

    fn advance(&mut self, by: usize) {
        self.done += by;
        self.how.listener.tell(Phase::Sweep, self.done, self.total);
    }

    async fn revisions(&mut self, name: &RepositoryName, group: &BTreeMap<Digest, Revision>) {
        let item = |digest: &Digest| Item::Revision(name.clone(), digest.clone());
        let items: Vec<Item> = group.keys().map(item).collect();
        let spread = |spared: &mut HashSet<Item>| {
            let roots = spared.iter().filter_map(|item| match item {
                Item::Revision(_, digest) => Some((digest.clone(), Reason::Tagged)),
                Item::Blob(_) => None,
            });
            let with_them = plan::spread(group, roots.collect::<Vec<_>>());
            spared.extend(with_them.keys().map(item));
        };
        if self.how.dry_run {
            let mut spared = self.run.would_spare(&items, self.policy.grace);
            spread(&mut spared);
            let would_go = group.keys().filter(|digest| !spared.contains(&item(digest)));
            self.swept.revisions.extend(would_go.map(|digest| (name.clone(), digest.clone())));
            self.advance(group.len());
            return;
        }
        let mut doomed = self.run.doom(&items, self.policy.grace, spread);
        let going: BTreeSet<Digest> = group.keys().filter(|digest| doomed.has(&item(digest))).cloned().collect();
        self.advance(group.len() - going.len());
        let mut left = going.len();
        for digest in plan::in_order_of_deletion(group, &going) {
            if let Err(error) = self.delete_revision(name, &digest).await {
                // What is left of the group may hang on this one, so all of it stays.
                self.swept.problems.push(format!("manifest {name}@{digest} cannot be deleted: {error}"));
                break;
            }
            tracing::info!(repository = %name, %digest, reason = ?Reason::Untagged, "deleted a manifest");
            self.swept.revisions.insert((name.clone(), digest.clone()));
            doomed.free(&item(&digest));
            self.advance(1);
            left -= 1;
        }
        self.advance(left);
    }

    async fn delete_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let repository = self.snapshot.repositories.get(name);
        for tag in repository.and_then(|repository| repository.history.get(digest)).into_iter().flatten() {
            self.delete(&layout::tag_index_link(name, tag, digest)).await?;
        }
        self.delete(&layout::revision_link(name, digest)).await?;
        // What a push has noted since the repository was listed is in the manifest, and what it never said in the list.
        let noted = repository.and_then(|repository| repository.referrers.get(digest)).into_iter().flatten();
        let revision = repository.and_then(|repository| repository.revisions.get(digest));
        let said = revision.and_then(|revision| revision.references.as_ref()).into_iter().flat_map(|all| &all.subjects);
        let subjects: BTreeSet<&Digest> = noted.chain(said).collect();
        for subject in subjects {
            self.delete(&layout::referrer(name, subject, digest)).await?;
        }
        Ok(())
    }

    /// Removes an entry of the index of referrers whose manifest is not there, while nobody can push it.
    async fn stray(&mut self, name: &RepositoryName, subject: &Digest, digest: &Digest) {
        if self.how.dry_run {
            return;
        }
        let item = Item::Revision(name.clone(), digest.clone());
        let doomed = self.run.doom(std::slice::from_ref(&item), self.policy.grace, |_| ());
        if !doomed.has(&item) {
            return;
        }
        if let Err(error) = self.delete_stray(name, subject, digest).await {
            self.swept.problems.push(format!("referrer {name}@{digest} cannot be forgotten: {error}"));
        }
    }

    async fn delete_stray(&self, name: &RepositoryName, subject: &Digest, digest: &Digest) -> Result<(), Error> {
        // It may have been pushed since the repository was listed: the entry is written before the link.
        if absent_is_none(self.store.stat(&layout::revision_link(name, digest)).await)?.is_some() {
            return Ok(());
        }
        self.delete(&layout::referrer(name, subject, digest)).await
    }

    async fn blob(&mut self, digest: &Digest, links: &[LayerLink]) {
        let item = Item::Blob(digest.clone());
        let items = std::slice::from_ref(&item);
        // An alias goes with its blob, unless somebody has pushed it anew by itself since the links were listed. It comes
        // second, so that a blob which stays is counted once.
        let aliases: BTreeSet<&Digest> =
            links.iter().map(|(_, alias)| alias).filter(|alias| *alias != digest).collect();
        let aliases: Vec<Item> = aliases.into_iter().map(|alias| Item::Blob(alias.clone())).collect();
        let grace = self.policy.grace;
        if self.how.dry_run {
            if self.run.would_spare(items, grace).is_empty() && self.run.would_spare(&aliases, grace).is_empty() {
                self.swept.blobs.insert(digest.clone());
            }
            return;
        }
        let doomed = self.run.doom(items, grace, |_| ());
        if !doomed.has(&item) {
            return;
        }
        let doomed_too = self.run.doom(&aliases, grace, |_| ());
        if !aliases.iter().all(|alias| doomed_too.has(alias)) {
            return;
        }
        // The links go while nobody can acquire the digests: a link without its blob would make a mount lie.
        match self.delete_blob(digest, links).await {
            Ok(()) => {
                let bytes = self.snapshot.blobs.get(digest).map_or(0, |stat| stat.size);
                tracing::info!(%digest, bytes, reason = ?Reason::Unreferenced, "deleted a blob");
                self.swept.blobs.insert(digest.clone());
            }
            Err(error) => self.swept.problems.push(format!("blob {digest} cannot be deleted: {error}")),
        }
    }

    /// Removes links to a blob that is not there, while nobody can push it.
    async fn links(&mut self, digest: &Digest, repositories: &[RepositoryName]) {
        if self.how.dry_run {
            return;
        }
        let item = Item::Blob(digest.clone());
        let doomed = self.run.doom(std::slice::from_ref(&item), self.policy.grace, |_| ());
        if !doomed.has(&item) {
            return;
        }
        match self.delete_links(digest, repositories).await {
            Ok(()) => tracing::info!(%digest, repositories = repositories.len(), "deleted links to a missing blob"),
            Err(error) => self.swept.problems.push(format!("links to {digest} cannot be deleted: {error}")),
        }
    }

    async fn delete_links(&self, digest: &Digest, repositories: &[RepositoryName]) -> Result<(), Error> {
        for name in repositories {
            let link = layout::layer_link(name, digest);
            let said = match may_be_alias(digest) {
                true => read_link(self.store, &link).await?,
                false => None,
            };
            let target = said.as_ref().map_or(digest, |said| target(digest, said));
            // It may have been pushed since the blobs were listed.
            if absent_is_none(self.store.stat(&layout::blob_data(target)).await)?.is_none() {
                self.delete(&link).await?;
            }
        }
        Ok(())
    }

    async fn delete_blob(&self, digest: &Digest, links: &[LayerLink]) -> Result<(), Error> {
        for (name, linked) in links {
            self.delete(&layout::layer_link(name, linked)).await?;
        }
        self.delete(&layout::blob_data(digest)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        absent_is_none(self.store.delete(key).await).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use berth_oci::{Algorithm, Reference, media_type};
    use berth_storage::Memory;
    use tokio::sync::mpsc;

    use super::super::{Guard, Options, Outcome, Progress, collect};
    use crate::registry::{Permissions, Registry};

    use super::*;

    /// More manifests than a group, each of which is a blob as well, and a step for every one of both.
    #[tokio::test]
    async fn every_deletion_is_a_step() {
        const COUNT: usize = GROUP_SIZE * 2 + 1;
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
        let name: RepositoryName = "team/app".parse().unwrap();
        for n in 0..COUNT {
            let media_type = media_type::OCI_INDEX;
            let raw = format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"manifests\":[],\"annotations\":{{\"n\":\"{n}\"}}}}"
            );
            let reference = Reference::Digest(Digest::sha256(raw.as_bytes()));
            registry.manifest_put(&name, &reference, &[], None, raw.into()).await.unwrap();
        }
        let run = registry.guard.begin_run().unwrap();
        let (steps, mut following) = mpsc::channel(10 * COUNT);
        let options = Options { dry_run: false, delete_untagged: true, grace: Duration::ZERO, timeout: None };
        let report = collect(&registry, &run, options, &Listener::every_step(steps)).await.unwrap();
        assert_eq!((report.manifests_deleted, report.blobs_deleted), (COUNT as u64, COUNT as u64));
        let mut done = Vec::new();
        while let Some(Progress { phase, done: now, total }) = following.recv().await {
            if phase == Phase::Sweep {
                assert!(now <= total);
                done.push(now as usize);
            }
        }
        done.dedup();
        assert_eq!(done, (0..=2 * COUNT).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_entry_among_the_referrers_goes_with_its_manifest_or_without_one() {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
        let name: RepositoryName = "team/app".parse().unwrap();
        let put = async |reference: &str, subject: &Digest| {
            let raw = format!(
                "{{\"schemaVersion\":2,\"manifests\":[],\"subject\":{{\"digest\":\"{subject}\",\"size\":1}},\
                 \"annotations\":{{\"for\":\"{reference}\"}}}}"
            );
            let tag = Reference::Tag(reference.parse().unwrap());
            registry.manifest_put(&name, &tag, &[], None, raw.into()).await.unwrap().digest
        };
        let missing = Digest::sha256(b"missing");
        let tagged = put("kept", &missing).await;
        let about_tagged = put("about-kept", &tagged).await;
        let about_missing = put("going", &missing).await;
        for tag in ["about-kept", "going"] {
            registry.manifest_delete(&name, &Reference::Tag(tag.parse().unwrap())).await.unwrap();
        }
        registry.note_referrer(&name, &tagged, &missing).await.unwrap();
        let entry = |subject: &Digest, digest: &Digest| layout::referrer(&name, subject, digest);
        let stay = [entry(&missing, &tagged), entry(&tagged, &about_tagged)];
        let go = [entry(&missing, &about_missing), entry(&tagged, &missing)];
        for dry_run in [true, false] {
            let run = registry.guard.begin_run().unwrap();
            let options = Options { dry_run, delete_untagged: true, grace: Duration::ZERO, timeout: None };
            let report = collect(&registry, &run, options, &Listener::none()).await.unwrap();
            assert_eq!((report.manifests_kept, report.manifests_deleted), (2, 1));
            for key in &stay {
                assert!(registry.find(key).await.unwrap().is_some(), "{key} {dry_run}");
            }
            for key in &go {
                assert_eq!(registry.find(key).await.unwrap().is_some(), dry_run, "{key} {dry_run}");
            }
        }
    }

    #[tokio::test]
    async fn a_link_to_a_blob_that_is_not_there_goes() {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        let registry = Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions);
        let (name, digest): (RepositoryName, _) = ("team/app".parse().unwrap(), Digest::sha256(b"missing"));
        let link = layout::layer_link(&name, &digest);
        registry.ensure_link(&link, &digest).await.unwrap();
        for (dry_run, stays) in [(true, true), (false, false)] {
            let run = registry.guard.begin_run().unwrap();
            let options = Options { dry_run, delete_untagged: false, grace: Duration::ZERO, timeout: None };
            collect(&registry, &run, options, &Listener::none()).await.unwrap();
            assert_eq!(registry.find(&link).await.unwrap().is_some(), stays);
        }
    }

    /// A blob that Distribution wrote, with its alias. After the listing somebody pushes the same content by the alias.
    #[tokio::test]
    async fn an_alias_that_was_pushed_since_it_was_listed_keeps_its_link() {
        for pushed in [true, false] {
            let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
            let registry = Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions);
            let (name, store) = ("team/app".parse::<RepositoryName>().unwrap(), registry.store.as_ref());
            let (alias, digest) = (Digest::of(Algorithm::Sha512, b"x"), Digest::sha256(b"x"));
            let link = layout::layer_link(&name, &alias);
            store.put(&layout::blob_data(&digest), "x".into()).await.unwrap();
            registry.ensure_link(&link, &digest).await.unwrap();
            let run = registry.guard.begin_run().unwrap();
            let snapshot = Arc::new(super::super::snapshot::take(store, &Listener::none()).await.unwrap());
            if pushed {
                let held = registry.guard.try_acquire(vec![Item::Blob(alias.clone())]).unwrap();
                store.put(&layout::blob_data(&alias), "x".into()).await.unwrap();
                registry.ensure_link(&link, &alias).await.unwrap();
                held.verify();
            }
            let now = std::time::SystemTime::now();
            let policy = Policy { delete_untagged: true, grace: Duration::ZERO, now };
            let how = How { dry_run: false, limit: None, listener: &Listener::none() };
            let swept = sweep(store, &run, &snapshot, policy, how).await.unwrap();
            assert_eq!((swept.problems.len(), swept.blobs.contains(&digest)), (0, !pushed));
            assert_eq!(registry.find(&link).await.unwrap().is_some(), pushed);
            assert_eq!(run.has_spared().total(), u64::from(pushed));
        }
    }

    /// The same while only the bytes were not there when they were listed.
    #[tokio::test]
    async fn an_alias_whose_bytes_came_since_they_were_listed_keeps_its_link() {
        for came in [true, false] {
            let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
            let registry = Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions);
            let (name, store) = ("team/app".parse::<RepositoryName>().unwrap(), registry.store.as_ref());
            let (alias, digest) = (Digest::of(Algorithm::Sha384, b"x"), Digest::sha256(b"x"));
            let link = layout::layer_link(&name, &alias);
            registry.ensure_link(&link, &digest).await.unwrap();
            let run = registry.guard.begin_run().unwrap();
            let snapshot = Arc::new(super::super::snapshot::take(store, &Listener::none()).await.unwrap());
            if came {
                store.put(&layout::blob_data(&digest), "x".into()).await.unwrap();
            }
            let now = std::time::SystemTime::now();
            let policy = Policy { delete_untagged: true, grace: Duration::ZERO, now };
            let how = How { dry_run: false, limit: None, listener: &Listener::none() };
            let swept = sweep(store, &run, &snapshot, policy, how).await.unwrap();
            assert_eq!(swept.problems, Vec::<String>::new());
            assert_eq!(registry.find(&link).await.unwrap().is_some(), came);
        }
    }

    /// What is over before it began deletes nothing and says so; the next one does it all.
    #[tokio::test]
    async fn a_sweep_stops_when_its_time_is_over() {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: true, read_only: false });
        let registry = Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions);
        let (name, digest): (RepositoryName, _) = ("team/app".parse().unwrap(), Digest::sha256(b"missing"));
        let link = layout::layer_link(&name, &digest);
        registry.ensure_link(&link, &digest).await.unwrap();
        for (timeout, outcome, stays) in
            [(Duration::ZERO, Outcome::Partial, true), (Duration::MAX, Outcome::Clean, false)]
        {
            let run = registry.guard.begin_run().unwrap();
            let options =
                Options { dry_run: false, delete_untagged: false, grace: Duration::ZERO, timeout: Some(timeout) };
            let report = collect(&registry, &run, options, &Listener::none()).await.unwrap();
            assert_eq!((report.outcome, registry.find(&link).await.unwrap().is_some()), (outcome, stays));
            assert_eq!(report.problems.iter().any(|problem| problem.starts_with("stopped after 0 s")), stays);
        }
    }
}
