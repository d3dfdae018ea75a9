//! Tables of the plan: small pictures of a store, and every decision about them.

use std::sync::Arc;

use berth_oci::Algorithm;
use berth_storage::Stat;

use super::super::snapshot::{References, Revision};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn digest(name: &str) -> Digest {
    Digest::sha256(name.as_bytes())
}

fn time(hours: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + HOUR * hours
}

/// The digest that a blob was pushed by, if it lies under [`digest`].
fn alias(name: &str) -> Digest {
    Digest::of(Algorithm::Sha512, name.as_bytes())
}

/// A store in a few words. `manifest` lines are `repository/digest: references`, where a reference is `blob`, `+child`,
/// `^subject` or `@alias`, and `?` is a manifest that cannot be read.
#[derive(Default)]
struct Picture {
    snapshot: Snapshot,
}

impl Picture {
    fn repository(&mut self, name: &str) -> &mut RepositoryState {
        self.snapshot.repositories.entry(name.parse().unwrap()).or_default()
    }

    fn blob(mut self, name: &str, hours: u32) -> Self {
        self.snapshot.blobs.insert(digest(name), Stat { size: 10, modified: time(hours) });
        self
    }

    fn manifest(mut self, repository: &str, name: &str, hours: u32, references: &str) -> Self {
        let mut parsed = References::default();
        for word in references.split_whitespace() {
            match word.split_at(1) {
                ("+", child) => parsed.children.push(digest(child)),
                ("^", subject) => parsed.subjects.push(digest(subject)),
                ("@", name) => parsed.blobs.push(alias(name)),
                _ => parsed.blobs.push(digest(word)),
            }
        }
        let blobs = parsed.blobs.clone();
        let state = self.repository(repository);
        state.layers.extend(blobs);
        let readable = references != "?";
        state.unreadable |= !readable;
        let references = readable.then(|| Arc::new(parsed));
        state.revisions.insert(digest(name), Revision { modified: time(hours), references });
        self.blob(name, hours)
    }

    fn tag(mut self, repository: &str, tag: &str, name: &str) -> Self {
        self.repository(repository).tags.insert(tag.parse().unwrap(), digest(name));
        self
    }

    /// The link for the alias of a blob, as Distribution writes it.
    fn alias(mut self, repository: &str, name: &str) -> Self {
        let state = self.repository(repository);
        state.layers.insert(alias(name));
        state.aliases.insert(alias(name), digest(name));
        self
    }

    fn layer(mut self, repository: &str, name: &str) -> Self {
        self.repository(repository).layers.insert(digest(name));
        self
    }

    /// Asserts every decision at hour 100 with a grace period of one hour. `expected` lists `name reason` for blobs and
    /// `repository@name reason` for manifests.
    fn check(&self, delete_untagged: bool, expected: &[&str]) {
        let policy = Policy { delete_untagged, grace: HOUR, now: time(100) };
        let Plan { revisions, blobs } = plan(&self.snapshot, &policy);
        let names = "a b c d e f g h i idx img old sig base".split_whitespace();
        let names: HashMap<Digest, &str> = names.map(|name| (digest(name), name)).collect();
        let mut found: Vec<String> = revisions
            .iter()
            .map(|((repository, digest), reason)| format!("{repository}@{} {reason:?}", names[digest]))
            .chain(blobs.iter().map(|(digest, reason)| format!("{} {reason:?}", names[digest])))
            .collect();
        found.sort();
        let mut expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}

#[test]
fn without_the_untagged_policy_only_blobs_go() {
    let picture = Picture::default().manifest("r", "img", 1, "a").blob("a", 1).blob("b", 1);
    picture.check(false, &["r@img EveryManifestStays", "img Referenced", "a Referenced", "b Unreferenced"]);
}

#[test]
fn an_untagged_manifest_goes_with_what_only_it_refers_to() {
    let picture = Picture::default()
        .manifest("r", "img", 1, "a base")
        .manifest("r", "old", 1, "b base")
        .tag("r", "v1", "img")
        .blob("a", 1)
        .blob("b", 1)
        .blob("base", 1);
    picture.check(
        true,
        &[
            "r@img Tagged",
            "r@old Untagged",
            "img Referenced",
            "old Unreferenced",
            "a Referenced",
            "b Unreferenced",
            "base Referenced",
        ],
    );
}

#[test]
fn a_blob_stays_if_any_repository_refers_to_it() {
    let picture =
        Picture::default().manifest("r", "old", 1, "a").manifest("s", "img", 1, "a").tag("s", "v1", "img").blob("a", 1);
    picture.check(true, &["r@old Untagged", "s@img Tagged", "old Unreferenced", "img Referenced", "a Referenced"]);
}

#[test]
fn the_same_manifest_can_go_from_one_repository_and_stay_in_another() {
    let picture =
        Picture::default().manifest("r", "img", 1, "a").manifest("s", "img", 1, "a").tag("s", "v1", "img").blob("a", 1);
    picture.check(true, &["r@img Untagged", "s@img Tagged", "img Referenced", "a Referenced"]);
}

#[test]
fn a_manifest_that_is_a_layer_stays_with_its_image() {
    let picture = Picture::default()
        .manifest("r", "img", 1, "a old")
        .manifest("r", "old", 1, "b")
        .tag("r", "v1", "img")
        .blob("a", 1)
        .blob("b", 1);
    picture.check(
        true,
        &["r@img Tagged", "r@old InIndex", "img Referenced", "old Referenced", "a Referenced", "b Referenced"],
    );
}

#[test]
fn an_index_keeps_its_manifests_at_any_depth() {
    let picture = Picture::default()
        .manifest("r", "idx", 1, "+i")
        .manifest("r", "i", 1, "+img")
        .manifest("r", "img", 1, "a")
        .tag("r", "v1", "idx")
        .blob("a", 1);
    picture.check(
        true,
        &[
            "r@idx Tagged",
            "r@i InIndex",
            "r@img InIndex",
            "idx Referenced",
            "i Referenced",
            "img Referenced",
            "a Referenced",
        ],
    );
}

#[test]
fn what_says_something_about_a_kept_manifest_is_kept() {
    let picture = Picture::default()
        .manifest("r", "img", 1, "a")
        .manifest("r", "sig", 1, "b ^img")
        .manifest("r", "old", 1, "c")
        .manifest("r", "d", 1, "e ^old")
        .tag("r", "v1", "img")
        .blob("a", 1)
        .blob("b", 1)
        .blob("c", 1)
        .blob("e", 1);
    picture.check(
        true,
        &[
            "r@img Tagged",
            "r@sig RefersToKept",
            "r@old Untagged",
            "r@d Untagged",
            "img Referenced",
            "sig Referenced",
            "a Referenced",
            "b Referenced",
            "old Unreferenced",
            "d Unreferenced",
            "c Unreferenced",
            "e Unreferenced",
        ],
    );
}

#[test]
fn what_is_younger_than_the_grace_period_stays_with_what_it_holds() {
    let picture = Picture::default()
        .manifest("r", "idx", 100, "+img")
        .manifest("r", "img", 1, "a")
        .blob("a", 1)
        .blob("b", 100)
        .blob("c", 101)
        .blob("d", 99);
    picture.check(
        true,
        &[
            "r@idx Young",
            "r@img InIndex",
            "idx Referenced",
            "img Referenced",
            "a Referenced",
            "b Young",
            "c Young",
            "d Unreferenced",
        ],
    );
}

#[test]
fn nothing_goes_from_a_repository_that_cannot_be_read() {
    let picture = Picture::default()
        .manifest("r", "img", 1, "?")
        .manifest("r", "old", 1, "a")
        .layer("r", "b")
        .blob("a", 1)
        .blob("b", 1)
        .blob("c", 1)
        .manifest("s", "d", 1, "e")
        .blob("e", 1);
    picture.check(
        true,
        &[
            "r@img UnreadableRepository",
            "r@old UnreadableRepository",
            "s@d Untagged",
            "img Referenced",
            "old Referenced",
            "a Referenced",
            "b UnreadableRepository",
            "c Unreferenced",
            "d Unreferenced",
            "e Unreferenced",
        ],
    );
}

#[test]
fn a_repository_that_cannot_be_named_keeps_every_blob() {
    let mut picture = Picture::default().blob("a", 1);
    picture.snapshot.blind = true;
    picture.check(true, &["a UnreadableRepository"]);
}

#[test]
fn an_index_is_deleted_before_what_it_holds() {
    let mut picture = Picture::default()
        .manifest("r", "a", 1, "")
        .manifest("r", "b", 1, "+a")
        .manifest("r", "c", 1, "+a +b")
        .manifest("r", "d", 1, "+c +a +a +e")
        .manifest("r", "f", 1, "^d");
    let repository = picture.repository("r").clone();
    let going: BTreeSet<Digest> = repository.revisions.keys().cloned().collect();
    let order = in_order_of_deletion(&repository.revisions, &going);
    assert_eq!(order.len(), going.len());
    let place = |name: &str| order.iter().position(|found| *found == digest(name)).unwrap();
    assert!(place("d") < place("c") && place("c") < place("b") && place("b") < place("a"));
}

#[test]
fn a_ring_of_subjects_ends() {
    let mut picture = Picture::default().manifest("r", "a", 1, "^b").manifest("r", "b", 1, "^a");
    let kept = spread(&picture.repository("r").revisions, [(digest("a"), Reason::Tagged)]);
    assert_eq!(kept.len(), 2);
}

#[test]
fn a_group_holds_all_that_stays_or_goes_together() {
    let mut picture = Picture::default()
        .manifest("a", "index", 0, "+one +two +kept")
        .manifest("a", "one", 0, "")
        .manifest("a", "two", 0, "")
        .manifest("a", "signature", 0, "^index")
        .manifest("a", "kept", 0, "")
        .manifest("a", "other", 0, "+kept")
        .manifest("a", "left", 0, "^missing")
        .manifest("a", "right", 0, "^missing")
        .manifest("a", "alone", 0, "");
    let repository = std::mem::take(picture.repository("a"));
    let going: BTreeSet<Digest> = repository.revisions.keys().filter(|of| **of != digest("kept")).cloned().collect();
    let names = |group: &BTreeMap<Digest, Revision>| {
        let all = ["index", "one", "two", "signature", "kept", "other", "left", "right", "alone"];
        all.into_iter().filter(|name| group.contains_key(&digest(name))).collect::<Vec<_>>().join(" ")
    };
    let mut found: Vec<String> = groups(&repository, &going, 1).iter().map(names).collect();
    found.sort();
    assert_eq!(found, ["alone", "index one two signature", "left right", "other"]);
    let all: Vec<String> = groups(&repository, &going, 100).iter().map(names).collect();
    assert_eq!(all, ["index one two signature other left right alone"]);
}

#[test]
fn a_link_dangles_if_nothing_that_stays_wants_its_blob() {
    let mut picture = Picture::default()
        .manifest("a", "kept", 0, "wanted there")
        .manifest("a", "gone", 0, "unwanted")
        .manifest("b", "unreadable", 0, "?")
        .blob("there", 0);
    picture.repository("a").layers.insert(digest("unwanted too"));
    picture.repository("b").layers.insert(digest("who knows"));
    let found = dangling(&picture.snapshot, |_, revision| *revision != digest("gone"));
    let expected: BTreeSet<Digest> = [digest("unwanted"), digest("unwanted too")].into();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_blob_stays_if_it_is_referred_to_by_its_alias() {
    // Known in another repository as well as in none: `a` is linked where it is referred to, `b` elsewhere, `c` nowhere.
    let picture = Picture::default()
        .manifest("r", "img", 1, "@a @b @c")
        .alias("r", "a")
        .alias("other", "b")
        .blob("a", 1)
        .blob("b", 1)
        .blob("c", 1);
    picture.check(
        false,
        &["r@img EveryManifestStays", "img Referenced", "a Referenced", "b Referenced", "c Unreferenced"],
    );
}

#[test]
fn an_alias_that_nothing_refers_to_keeps_nothing() {
    let picture = Picture::default()
        .manifest("r", "img", 1, "")
        .manifest("r", "old", 1, "@a")
        .tag("r", "v1", "img")
        .alias("r", "a")
        .alias("r", "b")
        .blob("a", 1)
        .blob("b", 1)
        .blob("c", 100)
        .alias("r", "c");
    picture.check(
        true,
        &[
            "r@img Tagged",
            "r@old Untagged",
            "img Referenced",
            "old Unreferenced",
            "a Unreferenced",
            "b Unreferenced",
            "c Young",
        ],
    );
}

#[test]
fn what_an_alias_leads_to_stays_where_something_cannot_be_read() {
    let picture = Picture::default().manifest("r", "img", 1, "?").alias("r", "a").blob("a", 1).blob("b", 1);
    picture.check(true, &["r@img UnreadableRepository", "img Referenced", "a UnreadableRepository", "b Unreferenced"]);
}

#[test]
fn an_alias_dangles_if_its_bytes_are_gone() {
    let picture = Picture::default()
        .manifest("a", "kept", 0, "@wanted")
        .alias("a", "wanted")
        .alias("a", "there")
        .alias("a", "gone")
        .blob("there", 0);
    let found = dangling(&picture.snapshot, |_, _| true);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [alias("gone")]);
}
