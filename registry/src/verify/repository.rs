//! One repository: what it holds, as plain data, and what is wrong with it.

use std::collections::{BTreeMap, HashMap, HashSet};

use berth_oci::{Digest, MAX_MANIFEST_BYTES, Manifest, RepositoryName, Tag};
use berth_storage::layout::{self, RepositoryObjectKind};
use berth_storage::{Key, Store, StoreError, read_all};
use futures::{StreamExt, stream};

use super::content;
use super::report::{Finding, Kind};
use crate::aliases::{is_alias, target};
use crate::error::Error;
use crate::registry::read_link;

/// How many objects are read at once.
const READS_AT_ONCE: usize = 16;

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// This digest.
    Says(Digest),
    /// Nothing.
    Empty,
    /// Something that is no digest.
    Malformed(String),
    /// What the store said when it was read.
    Unreadable(String),
}

/// What is known of a manifest's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// They are right and refer to these.
    Refer { blobs: Vec<Digest>, children: Vec<Digest> },
    /// They are right, but no manifest.
    NoManifest(String),
    /// They are not there, or not the ones that they should be.
    Broken,
    /// What the store said when they were read.
    Unreadable(String),
}

/// What a repository holds.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) name: RepositoryName,
    pub(super) layers: BTreeMap<Digest, Link>,
    pub(super) revisions: BTreeMap<Digest, Link>,
    pub(super) tags: BTreeMap<Tag, Link>,
    /// What tags have named.
    pub(super) history: BTreeMap<(Tag, Digest), Link>,
    pub(super) manifests: BTreeMap<Digest, Bytes>,
    /// Of all that is linked or referred to, the blobs that are not stored or are broken.
    pub(super) lost: HashSet<Digest>,
    /// The digest by their algorithm of the bytes that aliases lead to, of those that were hashed.
    pub(super) hashed: BTreeMap<Digest, Digest>,
}

impl Contents {
    pub(super) fn of(name: RepositoryName) -> Self {
        Contents {
            name,
            layers: BTreeMap::new(),
            revisions: BTreeMap::new(),
            tags: BTreeMap::new(),
            history: BTreeMap::new(),
            manifests: BTreeMap::new(),
            lost: HashSet::new(),
            hashed: BTreeMap::new(),
        }
    }

    /// The digest that the bytes of a blob lie under.
    fn target<'a>(&'a self, digest: &'a Digest) -> &'a Digest {
        match self.layers.get(digest) {
            Some(Link::Says(said)) => target(digest, said),
            _ => digest,
        }
    }

    /// Whether a link leads to bytes that can have its digest.
    fn is_right(&self, digest: &Digest) -> bool {
        let Some(Link::Says(said)) = self.layers.get(digest) else { return false };
        said == digest || (is_alias(digest, said) && self.hashed.get(digest).is_none_or(|found| found == digest))
    }

    /// Hashes what aliases lead to by the algorithms of the aliases. `known` is what was hashed before: an alias, and the
    /// digest that the bytes have.
    pub(super) async fn hash_aliases(&mut self, store: &dyn Store, known: &mut HashMap<(Digest, Digest), Digest>) {
        let says = |(digest, link): (&Digest, &Link)| match link {
            Link::Says(said) if is_alias(digest, said) => Some((digest.clone(), said.clone())),
            _ => None,
        };
        let aliases: Vec<(Digest, Digest)> = self.layers.iter().filter_map(says).collect();
        for (digest, said) in aliases.into_iter().filter(|(_, said)| !self.lost.contains(said)) {
            let pair = (digest, said);
            if !known.contains_key(&pair) {
                // What cannot be read is found where blobs are.
                let Ok(found) = content::hash(store, &pair.1, pair.0.algorithm()).await else { continue };
                known.insert(pair.clone(), found);
            }
            if let Some(found) = known.get(&pair) {
                self.hashed.insert(pair.0, found.clone());
            }
        }
    }

    /// How many links it holds.
    pub(super) fn links(&self) -> usize {
        self.layers.len() + self.revisions.len() + self.tags.len() + self.history.len()
    }
}

/// Reads the links among a repository's objects, and the manifests. `is_lost` knows of blobs; for those that it does not
/// know it says nothing, and the store is asked.
///
/// # Errors
/// When the store cannot say whether a blob is there.
pub(super) async fn read(
    store: &dyn Store,
    name: &RepositoryName,
    objects: &[(RepositoryObjectKind, Key)],
    is_lost: impl Fn(&Digest) -> Option<bool>,
) -> Result<Contents, Error> {
    use RepositoryObjectKind as Is;
    let mut contents = Contents::of(name.clone());
    let mut reads = stream::iter(objects.iter().map(|(kind, key)| async move {
        let is_link = matches!(kind, Is::Layer(_) | Is::Revision(_) | Is::TagCurrent(_) | Is::TagIndex(..));
        (kind, if is_link { link(store, key).await } else { None })
    }))
    .buffered(READS_AT_ONCE);
    while let Some((kind, link)) = reads.next().await {
        let Some(link) = link else { continue };
        match kind {
            Is::Layer(digest) => drop(contents.layers.insert(digest.clone(), link)),
            Is::Revision(digest) => drop(contents.revisions.insert(digest.clone(), link)),
            Is::TagCurrent(tag) => drop(contents.tags.insert(tag.clone(), link)),
            Is::TagIndex(tag, digest) => drop(contents.history.insert((tag.clone(), digest.clone()), link)),
            _ => {}
        }
    }
    drop(reads);
    let mut reads = stream::iter(contents.revisions.keys().cloned().map(|digest| async move {
        let bytes = manifest(store, &digest).await;
        (digest, bytes)
    }))
    .buffered(READS_AT_ONCE);
    let mut manifests = BTreeMap::new();
    while let Some((digest, bytes)) = reads.next().await {
        manifests.insert(digest, bytes);
    }
    drop(reads);
    contents.manifests = manifests;
    contents.lost = lost(store, &contents, is_lost).await?;
    Ok(contents)
}

/// What a link says; nothing if it has gone since it was listed.
async fn link(store: &dyn Store, key: &Key) -> Option<Link> {
    match read_link(store, key).await {
        Ok(digest) => digest.map(Link::Says),
        Err(Error::Link { source, .. }) => match store.stat(key).await {
            Ok(stat) if stat.size == 0 => Some(Link::Empty),
            Err(error) if error.is_not_found() => None,
            _ => Some(Link::Malformed(source.to_string())),
        },
        Err(Error::Store(error @ StoreError::TooLarge { .. })) => Some(Link::Malformed(error.to_string())),
        Err(error) => Some(Link::Unreadable(error.to_string())),
    }
}

async fn manifest(store: &dyn Store, digest: &Digest) -> Bytes {
    let raw = match read_all(store, &layout::blob_data(digest), MAX_MANIFEST_BYTES as u64).await {
        Ok(raw) => raw,
        Err(error) if error.is_not_found() => return Bytes::Broken,
        // Whether it is broken shows where blobs are looked at.
        Err(error @ StoreError::TooLarge { .. }) => return Bytes::NoManifest(error.to_string()),
        Err(error) => return Bytes::Unreadable(error.to_string()),
    };
    if Digest::of(digest.algorithm(), &raw) != *digest {
        return Bytes::Broken;
    }
    match Manifest::parse(&raw) {
        Ok(manifest) => Bytes::Refer {
            // What a client is to get elsewhere need not be here.
            blobs: manifest.blobs().filter(|blob| !blob.is_foreign()).map(|blob| blob.digest.clone()).collect(),
            children: manifest.manifests().iter().map(|child| child.digest.clone()).collect(),
        },
        Err(error) => Bytes::NoManifest(error.to_string()),
    }
}

async fn lost(
    store: &dyn Store,
    contents: &Contents,
    is_lost: impl Fn(&Digest) -> Option<bool>,
) -> Result<HashSet<Digest>, Error> {
    let referred = contents.manifests.values().flat_map(|bytes| match bytes {
        Bytes::Refer { blobs, .. } => blobs.as_slice(),
        _ => &[],
    });
    let blobs = contents.layers.keys().chain(referred).map(|digest| contents.target(digest));
    let asked: HashSet<&Digest> = blobs.chain(contents.revisions.keys()).collect();
    let mut lost = HashSet::new();
    let mut unknown = Vec::new();
    for digest in asked {
        match is_lost(digest) {
            Some(true) => drop(lost.insert(digest.clone())),
            Some(false) => {}
            None => unknown.push(digest.clone()),
        }
    }
    let mut looks = stream::iter(unknown.into_iter().map(|digest| async move {
        let found = store.stat(&layout::blob_data(&digest)).await;
        (digest, found)
    }))
    .buffered(READS_AT_ONCE);
    while let Some((digest, found)) = looks.next().await {
        match found {
            Ok(_) => {}
            Err(error) if error.is_not_found() => drop(lost.insert(digest)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lost)
}

/// Everything that is wrong with a repository; pure.
pub(super) fn judge(contents: &Contents) -> Vec<Finding> {
    let Contents { name, layers, revisions, tags, history, manifests, lost, hashed } = contents;
    let mut judge = Judge { name, findings: Vec::new() };
    let broken = |digest: &Digest| lost.contains(digest) || manifests.get(digest) == Some(&Bytes::Broken);
    let mut kept: HashSet<&Digest> = HashSet::new();
    // What cannot be read may be there: nothing is moved because of it.
    let mut unsure: HashSet<&Digest> = HashSet::new();
    for (digest, link) in revisions {
        let key = layout::revision_link(name, digest);
        if !judge.link(&key, link, Some(digest)) {
            unsure.extend(matches!(link, Link::Unreadable(_)).then_some(digest));
        } else if broken(digest) {
            judge.find(Kind::BrokenLink, &key, format!("manifest {digest} is not stored, or its bytes are wrong"));
        } else {
            kept.insert(digest);
        }
    }
    let mut relied_on: HashSet<&Digest> = HashSet::new();
    let is_lost = |digest: &Digest| lost.contains(contents.target(digest));
    for digest in &kept {
        let key = layout::blob_data(digest);
        match manifests.get(*digest) {
            Some(Bytes::Refer { blobs, children }) => {
                relied_on.extend(blobs);
                for blob in blobs.iter().filter(|blob| is_lost(blob)) {
                    let message =
                        format!("manifest {name}@{digest} refers to blob {blob}, which is not stored or broken");
                    judge.find(Kind::MissingReference, &key, message);
                }
                for blob in blobs.iter().filter(|blob| !is_lost(blob) && !contents.is_right(blob)) {
                    let message =
                        format!("manifest {name}@{digest} refers to blob {blob}, which {name} has no link to");
                    judge.find(Kind::MissingReference, &key, message);
                }
                for child in children.iter().filter(|child| !kept.contains(child) && !unsure.contains(child)) {
                    let message = format!("index {name}@{digest} holds manifest {child}, which {name} does not have");
                    judge.find(Kind::SparseIndex, &key, message);
                }
            }
            Some(Bytes::NoManifest(reason)) => {
                judge.find(Kind::UnreadableManifest, &key, format!("manifest {name}@{digest}: {reason}"));
            }
            Some(Bytes::Unreadable(reason)) => {
                judge.find(Kind::Unreadable, &key, format!("manifest {name}@{digest}: {reason}"));
            }
            Some(Bytes::Broken) | None => {}
        }
    }
    for (digest, link) in layers {
        let (key, target) = (layout::layer_link(name, digest), contents.target(digest));
        // An alias says the digest that its bytes lie under.
        if !judge.link(&key, link, Some(target)) {
        } else if lost.contains(target) {
            let kind = if relied_on.contains(digest) { Kind::BrokenLink } else { Kind::LeftoverLink };
            judge.find(kind, &key, format!("blob {target} is not stored, or its bytes are wrong"));
        } else if let Some(found) = hashed.get(digest).filter(|found| *found != digest) {
            judge.find(Kind::WrongLink, &key, format!("it holds {target}, whose bytes have the digest {found}"));
        }
    }
    for (tag, link) in tags {
        let key = layout::tag_current_link(name, tag);
        if let (true, Link::Says(digest)) = (judge.link(&key, link, None), link)
            && !kept.contains(digest)
            && !unsure.contains(digest)
        {
            judge.find(Kind::DanglingTag, &key, format!("tag {name}:{tag} names {digest}, which {name} does not have"));
        }
    }
    for ((tag, digest), link) in history {
        // That a manifest which a tag has named is gone is what deletions do.
        judge.link(&layout::tag_index_link(name, tag, digest), link, Some(digest));
    }
    judge.findings
}

struct Judge<'a> {
    name: &'a RepositoryName,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, kind: Kind, key: &Key, message: String) {
        let (key, repository) = (key.to_string(), Some(self.name.to_string()));
        self.findings.push(Finding { kind, key, repository, message, aside: None });
    }

    /// Whether a link says a digest, and the one that its path does.
    fn link(&mut self, key: &Key, link: &Link, expected: Option<&Digest>) -> bool {
        let (kind, message) = match link {
            Link::Says(digest) if expected.is_none_or(|expected| expected == digest) => return true,
            Link::Says(digest) => (Kind::WrongLink, format!("it holds {digest}")),
            Link::Empty => (Kind::EmptyLink, "it has no content".to_owned()),
            Link::Malformed(reason) => (Kind::MalformedLink, reason.clone()),
            Link::Unreadable(reason) => (Kind::Unreadable, reason.clone()),
        };
        self.find(kind, key, message);
        false
    }
}

#[cfg(test)]
mod tests {
    use berth_oci::Algorithm;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn refer(blobs: &[&str], children: &[&str]) -> Bytes {
        let digests = |texts: &[&str]| texts.iter().map(|text| digest(text)).collect();
        Bytes::Refer { blobs: digests(blobs), children: digests(children) }
    }

    /// A repository in which all is well: a tag on an index of one image with one layer.
    fn whole() -> Contents {
        let mut contents = Contents::of("team/app".parse().unwrap());
        let says = |text: &str| (digest(text), Link::Says(digest(text)));
        contents.layers.extend([says("layer"), says("config")]);
        contents.revisions.extend([says("image"), says("index")]);
        contents.tags.insert("v1".parse().unwrap(), Link::Says(digest("index")));
        contents.history.insert(("v1".parse().unwrap(), digest("gone")), Link::Says(digest("gone")));
        contents.manifests.insert(digest("image"), refer(&["config", "layer"], &[]));
        contents.manifests.insert(digest("index"), refer(&[], &["image"]));
        contents
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Contents), expected: &[(Kind, &str)]) {
        let mut contents = whole();
        change(&mut contents);
        let found = judge(&contents);
        let found: Vec<(Kind, &str)> =
            found.iter().map(|finding| (finding.kind, finding.key.rsplit("team/app/").next().unwrap())).collect();
        let expected: Vec<(Kind, String)> = expected
            .iter()
            .map(|(kind, key)| {
                let mut key = (*key).to_owned();
                for word in ["layer", "config", "image", "index-", "gone"] {
                    let text = word.trim_end_matches('-');
                    key = key.replace(&format!("<{word}>"), digest(text).hex());
                }
                (*kind, key)
            })
            .collect();
        let expected: Vec<(Kind, &str)> = expected.iter().map(|(kind, key)| (*kind, key.as_str())).collect();
        assert_eq!(found, expected);
    }

    /// The layer is known by its sha512 digest, as Distribution writes it.
    fn as_alias(contents: &mut Contents) -> Digest {
        let alias = Digest::of(Algorithm::Sha512, b"layer");
        contents.layers.insert(alias.clone(), Link::Says(digest("layer")));
        let Some(Bytes::Refer { blobs, .. }) = contents.manifests.get_mut(&digest("image")) else { panic!() };
        *blobs = vec![digest("config"), alias.clone()];
        alias
    }

    #[test]
    fn an_alias_is_right_as_long_as_its_bytes_are() {
        let image = layout::blob_data(&digest("image")).to_string();
        let alias = Digest::of(Algorithm::Sha512, b"layer");
        let alias_link = format!("_layers/sha512/{}/link", alias.hex());
        check(|it| drop(as_alias(it)), &[]);
        check(
            |it| {
                as_alias(it);
                it.layers.remove(&digest("layer"));
            },
            &[],
        );
        check(
            |it| {
                let alias = as_alias(it);
                it.hashed.insert(alias.clone(), alias);
            },
            &[],
        );
        check(
            |it| {
                let alias = as_alias(it);
                it.hashed.insert(alias, Digest::of(Algorithm::Sha512, b"other"));
            },
            &[(Kind::MissingReference, &image), (Kind::WrongLink, &alias_link)],
        );
        check(
            |it| {
                as_alias(it);
                it.lost.insert(digest("layer"));
            },
            &[
                (Kind::MissingReference, &image),
                (Kind::LeftoverLink, "_layers/sha256/<layer>/link"),
                (Kind::BrokenLink, &alias_link),
            ],
        );
        check(
            |it| {
                let alias = as_alias(it);
                it.layers.insert(alias, Link::Says(Digest::of(Algorithm::Sha384, b"layer")));
            },
            &[(Kind::MissingReference, &image), (Kind::WrongLink, &alias_link)],
        );
    }

    #[test]
    fn every_kind_of_damage_is_found_where_it_is() {
        let v1 = || "v1".parse::<Tag>().unwrap();
        let image = layout::blob_data(&digest("image")).to_string();
        let index = layout::blob_data(&digest("index")).to_string();
        let (layer_link, tag_link) = ("_layers/sha256/<layer>/link", "_manifests/tags/v1/current/link");
        let image_link = "_manifests/revisions/sha256/<image>/link";
        let index_link = "_manifests/revisions/sha256/<index->/link";
        check(|_| (), &[]);
        check(
            |it| drop(it.layers.insert(digest("layer"), Link::Empty)),
            &[(Kind::MissingReference, &image), (Kind::EmptyLink, layer_link)],
        );
        check(
            |it| drop(it.layers.insert(digest("layer"), Link::Says(digest("config")))),
            &[(Kind::MissingReference, &image), (Kind::WrongLink, layer_link)],
        );
        check(|it| drop(it.layers.remove(&digest("layer"))), &[(Kind::MissingReference, &image)]);
        check(
            |it| it.lost.extend([digest("layer")]),
            &[(Kind::MissingReference, &image), (Kind::BrokenLink, layer_link)],
        );
        check(
            |it| {
                it.layers.insert(digest("gone"), Link::Says(digest("gone")));
                it.lost.insert(digest("gone"));
            },
            &[(Kind::LeftoverLink, "_layers/sha256/<gone>/link")],
        );
        check(|it| drop(it.revisions.remove(&digest("image"))), &[(Kind::SparseIndex, &index)]);
        check(|it| it.lost.extend([digest("image")]), &[(Kind::BrokenLink, image_link), (Kind::SparseIndex, &index)]);
        check(
            |it| drop(it.manifests.insert(digest("index"), Bytes::Broken)),
            &[(Kind::BrokenLink, index_link), (Kind::DanglingTag, tag_link)],
        );
        check(
            |it| drop(it.revisions.insert(digest("index"), Link::Malformed("no".into()))),
            &[(Kind::MalformedLink, index_link), (Kind::DanglingTag, tag_link)],
        );
        check(
            |it| drop(it.manifests.insert(digest("index"), Bytes::NoManifest("no".into()))),
            &[(Kind::UnreadableManifest, &index)],
        );
        check(
            |it| drop(it.manifests.insert(digest("index"), Bytes::Unreadable("no".into()))),
            &[(Kind::Unreadable, &index)],
        );
        check(|it| drop(it.tags.insert(v1(), Link::Empty)), &[(Kind::EmptyLink, tag_link)]);
        check(|it| drop(it.tags.insert(v1(), Link::Unreadable("no".into()))), &[(Kind::Unreadable, tag_link)]);
        check(|it| drop(it.tags.insert(v1(), Link::Says(digest("gone")))), &[(Kind::DanglingTag, tag_link)]);
        check(
            |it| {
                it.tags.insert(v1(), Link::Says(digest("image")));
                it.revisions.insert(digest("image"), Link::Unreadable("no".into()));
            },
            &[(Kind::Unreadable, image_link)],
        );
        check(
            |it| drop(it.history.insert((v1(), digest("gone")), Link::Empty)),
            &[(Kind::EmptyLink, "_manifests/tags/v1/index/sha256/<gone>/link")],
        );
    }
}
