//! What goes and what stays, decided on plain data.
//!
//! * Every manifest that stays is a root for its blobs; tags decide only whether a manifest stays.
//! * Without the untagged policy every manifest stays. With it, a manifest stays if a tag names it, if it belongs to an
//!   index that stays or is a layer of an image that stays, if its subject stays, or if it is younger than the grace period.
//! * Nothing goes from a repository in which something could not be read, and no blob that such a repository links to.
//! * A blob stays if a manifest that stays refers to it, or if it is younger than the grace period. What is referred to by
//!   an alias is what the alias of any repository leads to.
//! * The index of referrers keeps nothing: a subject is what the manifests say. An entry goes with its manifest, and by
//!   itself if there is no such manifest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use berth_oci::{Digest, RepositoryName};

use super::snapshot::{RepositoryState, Revision, Snapshot};

/// What decides besides the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether manifests that no tag leads to go.
    pub delete_untagged: bool,
    /// How long content stays that nothing refers to.
    pub grace: Duration,
    /// The time of the decision.
    pub now: SystemTime,
}

impl Policy {
    fn is_young(&self, modified: SystemTime) -> bool {
        // What was written in the future, by a clock that was off, is young.
        self.now.duration_since(modified).map_or(true, |age| age < self.grace)
    }
}

/// Why something goes or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Stays: the policy leaves manifests alone.
    EveryManifestStays,
    /// Stays: something in its repository could not be read.
    UnreadableRepository,
    /// Stays: a tag names it.
    Tagged,
    /// Stays: an index that stays holds it, or an image that stays as a layer.
    InIndex,
    /// Stays: its subject stays.
    RefersToKept,
    /// Stays: it is younger than the grace period.
    Young,
    /// Stays: a manifest that stays is it or refers to it.
    Referenced,
    /// Goes: no tag leads to it.
    Untagged,
    /// Goes: no manifest that stays refers to it.
    Unreferenced,
}

impl Reason {
    /// Whether what has this reason goes.
    #[must_use]
    pub fn deletes(self) -> bool {
        matches!(self, Reason::Untagged | Reason::Unreferenced)
    }
}

/// What goes and what stays, each with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every manifest of every repository.
    pub revisions: BTreeMap<(RepositoryName, Digest), Reason>,
    /// Every blob.
    pub blobs: BTreeMap<Digest, Reason>,
}

/// The whole plan, if everything that is to go can go.
#[must_use]
pub fn plan(snapshot: &Snapshot, policy: &Policy) -> Plan {
    let revisions = revisions(snapshot, policy);
    let blobs = blobs(snapshot, policy, |name, digest| {
        revisions.get(&(name.clone(), digest.clone())).is_none_or(|reason| !reason.deletes())
    });
    Plan { revisions, blobs }
}

pub(super) fn revisions(snapshot: &Snapshot, policy: &Policy) -> BTreeMap<(RepositoryName, Digest), Reason> {
    let mut reasons = BTreeMap::new();
    for (name, repository) in &snapshot.repositories {
        let kept = match (repository.unreadable, policy.delete_untagged) {
            (true, _) => all(repository, Reason::UnreadableRepository),
            (false, false) => all(repository, Reason::EveryManifestStays),
            (false, true) => kept_by_tags_and_age(repository, policy),
        };
        for digest in repository.revisions.keys() {
            let reason = kept.get(digest).copied().unwrap_or(Reason::Untagged);
            reasons.insert((name.clone(), digest.clone()), reason);
        }
    }
    reasons
}

fn all(repository: &RepositoryState, reason: Reason) -> HashMap<Digest, Reason> {
    repository.revisions.keys().map(|digest| (digest.clone(), reason)).collect()
}

fn kept_by_tags_and_age(repository: &RepositoryState, policy: &Policy) -> HashMap<Digest, Reason> {
    let tagged = repository.tags.values().map(|digest| (digest.clone(), Reason::Tagged));
    let young = repository.revisions.iter().filter(|(_, revision)| policy.is_young(revision.modified));
    let young = young.map(|(digest, _)| (digest.clone(), Reason::Young));
    spread(&repository.revisions, tagged.chain(young))
}

/// Everything that stays because these manifests do: what their indexes hold, and what says something about them.
pub(super) fn spread(
    revisions: &BTreeMap<Digest, Revision>,
    roots: impl IntoIterator<Item = (Digest, Reason)>,
) -> HashMap<Digest, Reason> {
    let mut referrers: HashMap<&Digest, Vec<&Digest>> = HashMap::new();
    for (digest, revision) in revisions {
        for subject in revision.references.iter().flat_map(|references| &references.subjects) {
            referrers.entry(subject).or_default().push(digest);
        }
    }
    let mut kept = HashMap::new();
    let mut waiting: Vec<(Digest, Reason)> = roots.into_iter().collect();
    // The first reason stands, so roots come before what hangs on them.
    waiting.reverse();
    let mut hanging = Vec::new();
    while let Some((digest, reason)) = waiting.pop().or_else(|| hanging.pop()) {
        if kept.contains_key(&digest) {
            continue;
        }
        let children = revisions.get(&digest).into_iter().flat_map(|revision| revision.holds(revisions));
        hanging.extend(children.map(|child| (child.clone(), Reason::InIndex)));
        let of_it = referrers.get(&digest).into_iter().flatten();
        hanging.extend(of_it.map(|referrer| ((*referrer).clone(), Reason::RefersToKept)));
        kept.insert(digest, reason);
    }
    kept
}

/// Which blobs go, given which manifests stay.
pub(super) fn blobs(
    snapshot: &Snapshot,
    policy: &Policy,
    stays: impl Fn(&RepositoryName, &Digest) -> bool,
) -> BTreeMap<Digest, Reason> {
    let mut referenced: HashSet<&Digest> = HashSet::new();
    let mut untouchable: HashSet<&Digest> = HashSet::new();
    for (name, repository) in &snapshot.repositories {
        if repository.unreadable {
            untouchable.extend(&repository.layers);
            untouchable.extend(repository.revisions.keys());
        }
        for (digest, revision) in &repository.revisions {
            if stays(name, digest) {
                referenced.insert(digest);
                if let Some(references) = &revision.references {
                    referenced.extend(references.blobs.iter().chain(&references.children));
                }
            }
        }
    }
    // A manifest may be pushed on the alias of one repository and stay in another.
    for (alias, target) in snapshot.repositories.values().flat_map(|repository| &repository.aliases) {
        for set in [&mut referenced, &mut untouchable] {
            if set.contains(alias) {
                set.insert(target);
            }
        }
    }
    let reason = |digest: &Digest, modified| {
        if referenced.contains(digest) {
            Reason::Referenced
        } else if snapshot.blind || untouchable.contains(digest) {
            Reason::UnreadableRepository
        } else if policy.is_young(modified) {
            Reason::Young
        } else {
            Reason::Unreferenced
        }
    };
    snapshot.blobs.iter().map(|(digest, stat)| (digest.clone(), reason(digest, stat.modified))).collect()
}

/// Links to blobs that are not there, which no manifest that stays in their repository refers to: an interrupted deletion
/// or another collector has left them.
pub(super) fn dangling(
    snapshot: &Snapshot,
    stays: impl Fn(&RepositoryName, &Digest) -> bool,
) -> BTreeMap<Digest, Vec<RepositoryName>> {
    let mut dangling: BTreeMap<Digest, Vec<RepositoryName>> = BTreeMap::new();
    for (name, repository) in snapshot.repositories.iter().filter(|(_, repository)| !repository.unreadable) {
        let kept = repository.revisions.iter().filter(|(digest, _)| stays(name, digest));
        let references = kept.filter_map(|(_, revision)| revision.references.as_ref());
        let referenced: HashSet<&Digest> = references.flat_map(|references| &references.blobs).collect();
        for digest in &repository.layers {
            if !snapshot.blobs.contains_key(repository.target(digest)) && !referenced.contains(digest) {
                dangling.entry(digest.clone()).or_default().push(name.clone());
            }
        }
    }
    dangling
}

/// Entries of the index of referrers, each a subject and a manifest, whose manifest is not one of the repository's.
pub(super) fn strays(snapshot: &Snapshot) -> Vec<(RepositoryName, Digest, Digest)> {
    let mut strays = Vec::new();
    for (name, repository) in snapshot.repositories.iter().filter(|(_, repository)| !repository.unreadable) {
        let gone = repository.referrers.iter().filter(|(digest, _)| !repository.revisions.contains_key(*digest));
        for (digest, subjects) in gone {
            strays.extend(subjects.iter().map(|subject| (name.clone(), subject.clone(), digest.clone())));
        }
    }
    strays
}

/// The manifests of one repository that go, in groups that can be deleted one after another: whatever would have to stay
/// because of a manifest is in its group, with what leads there. Small groups share one of up to `size` manifests.
pub(super) fn groups(
    repository: &RepositoryState,
    going: &BTreeSet<Digest>,
    size: usize,
) -> Vec<BTreeMap<Digest, Revision>> {
    // A manifest that stays connects nothing: what hangs on it stays anyway. One that is missing does.
    let connects = |digest: &Digest| going.contains(digest) || !repository.revisions.contains_key(digest);
    let mut neighbours: HashMap<&Digest, Vec<&Digest>> = HashMap::new();
    for digest in going {
        let others = repository.revisions.get(digest).into_iter().flat_map(|revision| {
            let subjects = revision.references.iter().flat_map(|references| &references.subjects);
            revision.holds(&repository.revisions).chain(subjects)
        });
        for other in others.filter(|other| connects(other)) {
            neighbours.entry(digest).or_default().push(other);
            neighbours.entry(other).or_default().push(digest);
        }
    }
    let mut groups: Vec<BTreeMap<Digest, Revision>> = Vec::new();
    let mut current = BTreeMap::new();
    let mut seen: HashSet<&Digest> = HashSet::new();
    for start in going {
        let mut waiting = vec![start];
        while let Some(digest) = waiting.pop() {
            if !seen.insert(digest) {
                continue;
            }
            waiting.extend(neighbours.get(digest).into_iter().flatten());
            if let Some(revision) = repository.revisions.get(digest) {
                current.insert(digest.clone(), revision.clone());
            }
        }
        if current.len() >= size {
            groups.push(std::mem::take(&mut current));
        }
    }
    if !current.is_empty() {
        groups.push(current);
    }
    groups
}

/// Manifests of one repository that go, each index before what it holds: if a deletion fails half-way, no index is
/// left without its manifests.
pub(super) fn in_order_of_deletion(revisions: &BTreeMap<Digest, Revision>, going: &BTreeSet<Digest>) -> Vec<Digest> {
    let children = |digest: &Digest| {
        let children = revisions.get(digest).into_iter().flat_map(|revision| revision.holds(revisions));
        // What would hold itself holds nothing.
        let children = children.filter(|child| *child != digest && going.contains(*child));
        children.cloned().collect::<BTreeSet<Digest>>()
    };
    let mut holders: HashMap<Digest, usize> = HashMap::new();
    for child in going.iter().flat_map(children) {
        *holders.entry(child).or_default() += 1;
    }
    let mut ready: Vec<Digest> = going.iter().filter(|digest| !holders.contains_key(*digest)).cloned().collect();
    let mut order = Vec::with_capacity(going.len());
    while let Some(digest) = ready.pop() {
        for child in children(&digest) {
            if let Some(count) = holders.get_mut(&child) {
                *count -= 1;
                if *count == 0 {
                    ready.push(child);
                }
            }
        }
        order.push(digest);
    }
    order
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
