//! Where everything lies in a store: the layout of CNCF Distribution, and what Berth adds.
//!
//! ```text
//! docker/registry/v2/
//!   blobs/<alg>/<first two of hex>/<hex>/data           the bytes of a blob or manifest
//!   repositories/<name>/
//!     _layers/<alg>/<hex>/link                          the repository has this blob
//!     _manifests/revisions/<alg>/<hex>/link             the repository has this manifest
//!     _manifests/tags/<tag>/current/link                what the tag names now
//!     _manifests/tags/<tag>/index/<alg>/<hex>/link      what the tag has named
//!     _referrers/<alg>/<hex>/<alg>/<hex>                the second manifest has the first as its subject
//!     _referrers/checked                                since when revisions are looked at, RFC 3339
//!     _uploads/<id>/data                                the bytes of an upload so far
//!     _uploads/<id>/startedat                           when the upload began, RFC 3339
//! berth/v1/                                             Distribution ignores what lies here
//!   http-secret                                         the key that signs upload addresses
//!   refresh/<user>/<end>-<hash>                         who got the refresh token with this hash, until it ends
//!   aside/<time>/…                                      what a repair has moved away, each object at its old key
//!   written                                             object stores: written now and then, to see whether it can be
//!   removed                                             object stores: another text after each removal, for other replicas
//!   parts/<id>/<number>                                 gcs: a part of an object that is being written
//!   parts/<id>/together/<round>/<number>                gcs: parts that were put together, when there are very many
//!   probe/<id>…                                         s3, azure, oss: the same as gcs has in parts/probe
//!   parts/probe/<id>                                    gcs: written and removed to find out what the server can do
//!   lock                                                filesystem: held by every process that uses the store
//!   servers/<id>                                        filesystem: held by one process while it uses the store
//!   collecting                                          filesystem: held by a server while it collects
//!   cleaning                                            filesystem: held by every process that may write into tmp
//!   tmp/                                                filesystem: files that are being written; azure: what takes the
//!                                                       place of an object that cannot be replaced at once
//! ```
//!
//! A link holds a digest as text, without a newline; so does an entry of `_referrers`, which Berth adds and Distribution
//! skips, as it skips every directory there whose name starts with an underscore. This is the only file that builds or reads such keys.

use berth_oci::{Algorithm, Digest, RepositoryName, Tag};
use uuid::Uuid;

use crate::{Key, KeyError};

const ALL: &str = "docker/registry/v2";
const BLOBS: &str = "docker/registry/v2/blobs";
const REPOSITORIES: &str = "docker/registry/v2/repositories";
pub(crate) const LOCK: &str = "berth/v1/lock";
pub(crate) const SERVERS: &str = "berth/v1/servers";
pub(crate) const COLLECTING: &str = "berth/v1/collecting";
pub(crate) const CLEANING: &str = "berth/v1/cleaning";
pub(crate) const TEMPORARY: &str = "berth/v1/tmp";
const PARTS: &str = "berth/v1/parts";

/// Above the parts of all objects that are being written.
pub(crate) fn all_parts() -> Key {
    Key::built(PARTS.to_owned())
}

/// Above the parts of one object that is being written.
pub(crate) fn parts(id: &str) -> Result<Key, KeyError> {
    format!("{PARTS}/{id}").parse()
}

/// A part of an object that is being written.
pub(crate) fn part(id: &str, number: usize) -> Result<Key, KeyError> {
    format!("{PARTS}/{id}/{number:05}").parse()
}

/// Above everything that Distribution knows.
pub(crate) fn all() -> Key {
    Key::built(ALL.to_owned())
}

/// Above every blob.
#[must_use]
pub fn blobs() -> Key {
    Key::built(BLOBS.to_owned())
}

/// Above every repository.
#[must_use]
pub fn repositories() -> Key {
    Key::built(REPOSITORIES.to_owned())
}

/// The directory inside a repository that makes it one.
pub const MANIFESTS: &str = "_manifests";
/// The directory inside a repository that holds its upload sessions.
pub const UPLOADS: &str = "_uploads";
const REFERRERS: &str = "_referrers";

/// The key that signs upload addresses, where the configuration names none.
#[must_use]
pub fn http_secret() -> Key {
    Key::built("berth/v1/http-secret".to_owned())
}

/// Where word lies of the last removal.
#[must_use]
pub fn removed() -> Key {
    Key::built("berth/v1/removed".to_owned())
}

/// Above every refresh token.
#[must_use]
pub fn refresh_tokens() -> Key {
    Key::built("berth/v1/refresh".to_owned())
}

/// Above the refresh tokens of a user, for whom something stands that is text of hexadecimal digits.
#[must_use]
pub fn refresh_tokens_of(user: &str) -> Key {
    Key::built(format!("berth/v1/refresh/{user}"))
}

/// Who got a refresh token, which ends so many seconds after 1970. They lie in the order of their ends.
#[must_use]
pub fn refresh_token(user: &str, end: u64, hash: &str) -> Key {
    Key::built(format!("berth/v1/refresh/{user}/{end:020}-{hash}"))
}

/// When the refresh token at a key ends; none if there is none.
#[must_use]
pub fn end_of_refresh_token(key: &Key) -> Option<u64> {
    let (_, name) = key.as_str().strip_prefix("berth/v1/refresh/")?.split_once('/')?;
    name.split_once('-')?.0.parse().ok()
}

/// Whether a key lies in the directory of an upload, or is that.
#[must_use]
pub fn is_of_upload(key: &Key) -> bool {
    key.as_str().strip_prefix(REPOSITORIES).is_some_and(|rest| rest.contains("/_uploads/"))
}

/// What is written to see whether anything can be.
#[must_use]
pub fn written() -> Key {
    Key::built("berth/v1/written".to_owned())
}

/// Where what is of no use is moved at a time, each object to its key below this one.
///
/// # Errors
/// When the time is written in a way that is no key.
pub fn aside(time: &str) -> Result<Key, KeyError> {
    format!("berth/v1/aside/{time}").parse()
}

/// The bytes of a blob or manifest.
#[must_use]
pub fn blob_data(digest: &Digest) -> Key {
    let hex = digest.hex();
    Key::built(format!("{BLOBS}/{}/{}/{hex}/data", digest.algorithm(), &hex[..2]))
}

/// Everything of a repository, and of the repositories below it.
#[must_use]
pub fn repository(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}"))
}

/// The directories inside a repository that hold links: all that is in it but its upload sessions.
#[must_use]
pub fn own_directories(name: &RepositoryName) -> [Key; 2] {
    [format!("{REPOSITORIES}/{name}/_layers"), format!("{REPOSITORIES}/{name}/{MANIFESTS}")].map(Key::built)
}

/// Everything about a repository's manifests and tags.
#[must_use]
pub fn manifests(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/{MANIFESTS}"))
}

/// Says that a repository has a blob.
#[must_use]
pub fn layer_link(name: &RepositoryName, digest: &Digest) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/_layers/{}/{}/link", digest.algorithm(), digest.hex()))
}

/// Says that a repository has a manifest.
#[must_use]
pub fn revision_link(name: &RepositoryName, digest: &Digest) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/_manifests/revisions/{}/{}/link", digest.algorithm(), digest.hex()))
}

/// Above every manifest that a repository has.
#[must_use]
pub fn revisions(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/{MANIFESTS}/revisions"))
}

/// Above everything that says which manifest of a repository refers to which.
#[must_use]
pub fn referrers(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/{REFERRERS}"))
}

/// Above every manifest of a repository that may have this subject.
#[must_use]
pub fn referrers_of(name: &RepositoryName, subject: &Digest) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/{REFERRERS}/{}/{}", subject.algorithm(), subject.hex()))
}

/// Says that a manifest of a repository may have this subject.
#[must_use]
pub fn referrer(name: &RepositoryName, subject: &Digest, digest: &Digest) -> Key {
    let above = referrers_of(name, subject);
    Key::built(format!("{above}/{}/{}", digest.algorithm(), digest.hex()))
}

/// Says since when the revisions of a repository have to be looked at for subjects that nobody has noted.
#[must_use]
pub fn referrers_checked(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/{REFERRERS}/checked"))
}

/// Above every tag of a repository.
#[must_use]
pub fn tags(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/_manifests/tags"))
}

/// Above what a tag has named.
#[must_use]
pub fn tag_index(name: &RepositoryName, tag: &Tag) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/_manifests/tags/{tag}/index"))
}

/// What a tag names now.
#[must_use]
pub fn tag_current_link(name: &RepositoryName, tag: &Tag) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/_manifests/tags/{tag}/current/link"))
}

/// Says that a tag has named a manifest.
#[must_use]
pub fn tag_index_link(name: &RepositoryName, tag: &Tag, digest: &Digest) -> Key {
    let (algorithm, hex) = (digest.algorithm(), digest.hex());
    Key::built(format!("{REPOSITORIES}/{name}/_manifests/tags/{tag}/index/{algorithm}/{hex}/link"))
}

/// Above every upload session of a repository.
#[must_use]
pub fn uploads(name: &RepositoryName) -> Key {
    Key::built(format!("{REPOSITORIES}/{name}/{UPLOADS}"))
}

/// The directory of one upload session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadKey {
    directory: Key,
}

impl UploadKey {
    /// The session `id` of a repository.
    #[must_use]
    pub fn new(name: &RepositoryName, id: Uuid) -> Self {
        UploadKey { directory: Key::built(format!("{REPOSITORIES}/{name}/_uploads/{id}")) }
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Key {
        &self.directory
    }

    /// The bytes that have arrived.
    #[must_use]
    pub fn data(&self) -> Key {
        Key::built(format!("{}/data", self.directory))
    }

    /// When the session began.
    #[must_use]
    pub fn started_at(&self) -> Key {
        Key::built(format!("{}/startedat", self.directory))
    }
}

/// The digest whose bytes lie at a key; none if the key is not [`blob_data`] of anything.
#[must_use]
pub fn parse_blob_data(key: &Key) -> Option<Digest> {
    let mut parts = blobs().strip(key)?.split('/');
    let (algorithm, shard, hex) = (parts.next()?, parts.next()?, parts.next()?);
    let digest = parse_digest(algorithm, hex)?;
    (parts.next()? == "data" && parts.next().is_none() && digest.hex().starts_with(shard) && shard.len() == 2)
        .then_some(digest)
}

/// What a key below [`repositories`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryObject<'a> {
    /// The path of the repository, which a store made by others may hold in a form that is not a valid name.
    pub repository: &'a str,
    /// What it is.
    pub kind: RepositoryObjectKind,
}

/// What an object inside a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryObjectKind {
    /// [`layer_link`].
    Layer(Digest),
    /// [`revision_link`].
    Revision(Digest),
    /// [`tag_current_link`].
    TagCurrent(Tag),
    /// [`tag_index_link`].
    TagIndex(Tag, Digest),
    /// [`referrer`].
    Referrer {
        /// The manifest that is referred to.
        subject: Digest,
        /// The manifest that refers to it.
        digest: Digest,
    },
    /// [`referrers_checked`].
    ReferrersChecked,
    /// Something of the upload session with this directory name.
    Upload(String),
    /// Something that no part of Berth writes.
    Other,
}

/// Reads a key below [`repositories`]; none if it is not below, or not inside a repository.
#[must_use]
pub fn parse_repository_object(key: &Key) -> Option<RepositoryObject<'_>> {
    let path = key.as_str().strip_prefix(REPOSITORIES)?.strip_prefix('/')?;
    // No component of a repository name starts with an underscore, and every directory inside a repository does.
    let at = path.find("/_")?;
    let (repository, inside) = (&path[..at], &path[at + 1..]);
    let parts: Vec<&str> = inside.split('/').collect();
    let kind = match parts.as_slice() {
        ["_layers", algorithm, hex, "link"] => parse_digest(algorithm, hex).map(RepositoryObjectKind::Layer),
        [MANIFESTS, "revisions", algorithm, hex, "link"] => {
            parse_digest(algorithm, hex).map(RepositoryObjectKind::Revision)
        }
        [MANIFESTS, "tags", tag, "current", "link"] => tag.parse().ok().map(RepositoryObjectKind::TagCurrent),
        [MANIFESTS, "tags", tag, "index", algorithm, hex, "link"] => {
            let digest = parse_digest(algorithm, hex);
            tag.parse().ok().zip(digest).map(|(tag, digest)| RepositoryObjectKind::TagIndex(tag, digest))
        }
        [REFERRERS, "checked"] => Some(RepositoryObjectKind::ReferrersChecked),
        [REFERRERS, of, subject, algorithm, hex] => {
            let digest = parse_digest(algorithm, hex);
            let pair = parse_digest(of, subject).zip(digest);
            pair.map(|(subject, digest)| RepositoryObjectKind::Referrer { subject, digest })
        }
        ["_uploads", id, ..] => Some(RepositoryObjectKind::Upload((*id).to_owned())),
        _ => None,
    };
    Some(RepositoryObject { repository, kind: kind.unwrap_or(RepositoryObjectKind::Other) })
}

/// What an object inside a repository is, whichever repository it is; none if a key is not inside one.
#[must_use]
pub fn object_kind(key: &Key) -> Option<RepositoryObjectKind> {
    parse_repository_object(key).map(|object| object.kind)
}

fn parse_digest(algorithm: &str, hex: &str) -> Option<Digest> {
    let algorithm: Algorithm = algorithm.parse().ok()?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> RepositoryName {
        "team/app".parse().unwrap()
    }

    fn digest() -> Digest {
        Digest::sha256(b"")
    }

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn keys_are_those_of_distribution() {
        fn check(key: &Key, expected: &str) {
            assert_eq!(key.as_str(), expected.replace("HEX", HEX));
        }
        let (name, digest, tag) = (name(), digest(), "v1".parse::<Tag>().unwrap());
        check(&all(), "docker/registry/v2");
        check(&blob_data(&digest), "docker/registry/v2/blobs/sha256/e3/HEX/data");
        check(&layer_link(&name, &digest), "docker/registry/v2/repositories/team/app/_layers/sha256/HEX/link");
        check(
            &revision_link(&name, &digest),
            "docker/registry/v2/repositories/team/app/_manifests/revisions/sha256/HEX/link",
        );
        check(
            &tag_current_link(&name, &tag),
            "docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link",
        );
        check(
            &tag_index_link(&name, &tag, &digest),
            "docker/registry/v2/repositories/team/app/_manifests/tags/v1/index/sha256/HEX/link",
        );
        check(
            &referrer(&name, &digest, &digest),
            "docker/registry/v2/repositories/team/app/_referrers/sha256/HEX/sha256/HEX",
        );
        let upload = UploadKey::new(&name, Uuid::nil());
        let directory = "docker/registry/v2/repositories/team/app/_uploads/00000000-0000-0000-0000-000000000000";
        check(&upload.data(), &format!("{directory}/data"));
        check(&upload.started_at(), &format!("{directory}/startedat"));
    }

    #[test]
    fn a_key_that_was_built_is_read_back() {
        use RepositoryObjectKind::{Layer, Referrer, ReferrersChecked, Revision, TagCurrent, TagIndex, Upload};
        fn check(key: &Key, expected: RepositoryObjectKind) {
            let found = parse_repository_object(key).unwrap();
            assert_eq!(found, RepositoryObject { repository: "team/app", kind: expected });
        }
        let (name, digest, tag) = (name(), digest(), "v1".parse::<Tag>().unwrap());
        check(&layer_link(&name, &digest), Layer(digest.clone()));
        check(&revision_link(&name, &digest), Revision(digest.clone()));
        check(&tag_current_link(&name, &tag), TagCurrent(tag.clone()));
        check(&tag_index_link(&name, &tag, &digest), TagIndex(tag.clone(), digest.clone()));
        check(&UploadKey::new(&name, Uuid::nil()).data(), Upload(Uuid::nil().to_string()));
        assert_eq!(parse_blob_data(&blob_data(&digest)), Some(digest.clone()));
        let wide = Digest::of(Algorithm::Sha512, b"x");
        let pair = Referrer { subject: wide.clone(), digest: digest.clone() };
        check(&referrer(&name, &wide, &digest), pair);
        check(&referrers_checked(&name), ReferrersChecked);
        assert_eq!(parse_blob_data(&blob_data(&wide)), Some(wide));
    }

    #[test]
    fn other_keys_are_told_apart() {
        fn kind(key: &str) -> Option<RepositoryObjectKind> {
            object_kind(&key.parse().unwrap())
        }
        assert_eq!(kind("docker/registry/v2/repositories/a/_layers/sha256/00/link"), Some(RepositoryObjectKind::Other));
        assert_eq!(kind("docker/registry/v2/repositories/a/_referrers/x"), Some(RepositoryObjectKind::Other));
        assert_eq!(kind("docker/registry/v2/repositories/a"), None);
        assert_eq!(kind("berth/v1/lock"), None);
        let wrong_shard = format!("docker/registry/v2/blobs/sha256/00/{HEX}/data");
        assert_eq!(parse_blob_data(&wrong_shard.parse().unwrap()), None);
    }
}
