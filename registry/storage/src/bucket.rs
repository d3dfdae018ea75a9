//! What an object store can do, as far as Berth needs it: the trait [`Bucket`], which each driver implements in a file of
//! its own, and the plain data around it.
//!
//! A bucket knows nothing of uploads, hashes or repositories: what becomes of its abilities is in `object_store`. What all
//! drivers need, tries after a failure, limits and counts, is in `layers`.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ByteRange, Key, Object, Stat, StoreError};

/// What a store is able to do beyond the least, as its driver states and a probe has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Of several writers that create one object, exactly one is told that it did. Where this is missing, [`Bucket::create`]
    /// looks first and writes then, and nothing may rest on it.
    pub creates_atomically: bool,
    /// Several objects go with one request.
    pub removes_many: bool,
    /// The store makes a part of an object out of another object by itself.
    pub copies_parts: bool,
    /// A listing can begin behind any name. Where this is missing, what lies before is read and passed over.
    pub lists_from_anywhere: bool,
    /// A listing has what was written before it. Where this is missing, what is known to be there may not be listed yet.
    pub lists_at_once: bool,
}

/// Sizes that a store wants to be kept to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of a part of an upload in bytes, which is how much of it is held in memory at once.
    pub chunk_bytes: usize,
    /// The least size of any part but the last, in bytes.
    pub min_part_bytes: u64,
    /// The most parts of one object.
    pub max_parts: usize,
    /// The most that becomes a part by one copy, in bytes.
    pub max_copy_bytes: u64,
    /// How many parts are copied at once.
    pub copies_at_once: usize,
}

/// Where a listing begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// At the first entry.
    First,
    /// Where the page before has ended: its [`Listed::next`].
    Page(&'a str),
    /// Behind this text, which goes on after the slash behind the key that is listed, in the order of bytes. Of one level,
    /// directories count with a slash at their end. It may name nothing.
    Behind(&'a str),
}

/// What is asked of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// Only what lies below this key: what begins with it and a slash.
    pub below: &'a Key,
    /// Whether what lies deeper than one level is given only as its first level.
    pub one_level: bool,
    /// Where it begins.
    pub start: Start<'a>,
    /// The most entries that are wanted; a page may have fewer, even none, and still not be the last.
    pub limit: usize,
}

/// A page of a listing. Names are whole keys, without the root directory of the driver; those that are no [`Key`] may be
/// among them, and are passed over by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The objects, in the order of their names' bytes.
    pub objects: Vec<(String, Stat)>,
    /// The first level of what lies deeper, without the slash at the end, in the order of their bytes with that slash.
    pub directories: Vec<String>,
    /// What [`Start::Page`] takes for the next page; none when this is the last.
    pub next: Option<String>,
}

impl Listed {
    /// The page, unless it says of itself that it is the next one: a listing that is followed through it has no end.
    pub(crate) fn moving_on(self, listing: &Listing<'_>) -> Result<Self, StoreError> {
        match (listing.start, &self.next) {
            (Start::Page(page), Some(next)) if page == next => {
                Err(StoreError::unreachable(listing.below, "list", "a page of the listing leads to itself"))
            }
            _ => Ok(self),
        }
    }
}

/// The identity of an object that is being written in parts, as the driver made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly(pub String);

/// A part that was written, as the driver knows it: an entity tag, the name of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTag(pub String);

/// A bucket, or a container, of an object store: what each driver can do. Every method is one request where the store has
/// one for it, and is safe to be tried again. Reads see what was written before; an object is there whole or not at all.
///
/// A missing object is [`StoreError::NotFound`]; a missing bucket, or credentials that are not good enough, are
/// [`StoreError::Service`] with the store's own words; no answer at all is [`StoreError::Unreachable`].
///
/// A method is given here only where it does the same whoever has it, as for [`crate::Store`].
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// The name of the driver, as the configuration has it.
    fn driver(&self) -> &'static str;

    /// Where this is, for people: `s3://bucket/root`. Without anything secret.
    fn place(&self) -> String;

    /// What the store is able to do.
    fn abilities(&self) -> Abilities;

    /// What sizes it wants.
    fn limits(&self) -> Limits;

    /// Makes sure that the store can be used, with one cheap request: that it answers, believes the credentials and has the
    /// bucket.
    async fn check(&self) -> Result<(), StoreError>;

    /// Finds out what the store is able to do, if that is not known yet, for which it may write small objects below
    /// `berth/v1/probe`. Until this has succeeded, the least is assumed.
    async fn probe(&self) -> Result<Abilities, StoreError>;

    /// What is known of an object.
    async fn head(&self, key: &Key) -> Result<Stat, StoreError>;

    /// Opens an object, or a part of it. A range that starts behind the end is [`StoreError::Range`].
    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError>;

    /// Writes an object, in place of one that may be there.
    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError>;

    /// Writes an object unless there is one, which is [`StoreError::AlreadyExists`]. See [`Abilities::creates_atomically`].
    /// Where it matters which of several writers has created it, their contents differ: an answer that is lost is made up for
    /// by a look at the object.
    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError>;

    /// Writes an object of any size with the content of another, in place of one that may be there.
    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError>;

    /// As [`Bucket::copy`], of an object whose size in bytes is known: a store that copies large objects in another way than
    /// small ones need not be asked for it. Two objects of one size at `to` are taken for the same.
    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        let _ = size;
        self.copy(from, to).await
    }

    /// Removes an object.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Removes objects, in as few requests as the store allows. One that is not there counts as removed.
    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError>;

    /// One page of the objects below a key; empty if there are none.
    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError>;

    /// Begins to write an object in parts. Nothing of it can be seen before it is complete.
    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError>;

    /// Writes one part; `number` counts from 1, and parts may be written at once and in any order.
    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError>;

    /// Makes a part of another object of `size` bytes, or of a range of it. Only asked for where [`Abilities::copies_parts`]
    /// says so. What another program has written may be of any size: it comes in ranges where it has more than
    /// [`Limits::max_copy_bytes`]. The other object has to stay as it is until the parts are complete: a store may read it
    /// only then.
    async fn copy_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError>;

    /// Makes the parts an object of `size` bytes, in the order of their numbers, in place of one that may be there. Two objects
    /// of one size at one key are taken for the same.
    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError>;

    /// Forgets the parts of an object that is not complete.
    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError>;

    /// Makes an object of what another program has begun to write in parts at a key, as far as it has come, and says what
    /// that is; nothing if there is nothing of the kind. CNCF Distribution keeps the data of an upload so on some stores.
    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError>;

    /// Forgets the parts of objects below a key that were begun before then and never completed, as by processes that were
    /// killed, and says how many things those were. `before` has to be further back than any object takes to be written. A
    /// store that forgets them by itself, or that keeps them below the object, has nothing to do here.
    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError>;
}

/// Where in a bucket the keys of a store begin: the driver's `rootdirectory`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root(String);

impl Root {
    /// A root as the configuration writes it, with or without slashes around it.
    #[must_use]
    pub fn new(directory: &str) -> Self {
        let directory = directory.trim_matches('/');
        Root(if directory.is_empty() { String::new() } else { format!("{directory}/") })
    }

    /// The name of an object in the bucket.
    #[must_use]
    pub fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.0)
    }

    /// What every name below a key begins with.
    #[must_use]
    pub fn below(&self, key: &Key) -> String {
        format!("{}{key}/", self.0)
    }

    /// The key that belongs to a name, as text; none if the name is not below the root.
    #[must_use]
    pub fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(self.0.as_str())
    }

    /// The root itself, without a slash at its end.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_leads_to_itself_is_none() {
        let below: Key = "a".parse().unwrap();
        let check = |start: Start<'_>, next: Option<&str>, expected: bool| {
            let listing = Listing { below: &below, one_level: true, start, limit: 1 };
            let listed = Listed { next: next.map(str::to_owned), ..Listed::default() };
            assert_eq!(listed.moving_on(&listing).is_ok(), expected, "{start:?} {next:?}");
        };
        check(Start::Page("b"), Some("b"), false);
        check(Start::Page("b"), Some("c"), true);
        check(Start::Page("b"), None, true);
        check(Start::Behind("b"), Some("b"), true);
        check(Start::First, Some(""), true);
    }

    #[test]
    fn names_and_keys_belong_together_whatever_slashes_the_root_has() {
        let key: Key = "docker/registry/v2/x".parse().unwrap();
        for (directory, name) in [
            ("", "docker/registry/v2/x"),
            ("/", "docker/registry/v2/x"),
            ("a/b", "a/b/docker/registry/v2/x"),
            ("/a/b/", "a/b/docker/registry/v2/x"),
        ] {
            let root = Root::new(directory);
            assert_eq!(root.name(&key), name);
            assert_eq!(root.below(&key), format!("{name}/"));
            assert_eq!(root.key(name), Some(key.as_str()));
            assert_eq!(root.directory(), directory.trim_matches('/'));
        }
        assert_eq!(Root::new("a").key("b/docker"), None);
    }
}
