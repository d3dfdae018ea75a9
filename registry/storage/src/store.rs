//! The trait [`Store`] and the plain data that it takes and gives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use async_trait::async_trait;
use berth_oci::{Digest, Hasher};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::layout::UploadKey;
use crate::object_store::Chain;
use crate::{BoxError, Key, StoreError};

/// The most entries that one page of a listing holds. A directory is read and sorted anew for each page, so pages are
/// large; a back end whose pages are smaller gives what it has.
pub const MAX_PAGE: usize = 10_000;

/// Content on its way into a store. An error is the sender's, not the store's.
pub struct Incoming {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>,
    length: Option<u64>,
}

impl Incoming {
    /// Content that ends where its pieces end.
    pub fn new(pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Self {
        Incoming { pieces: Box::pin(pieces), length: None }
    }

    /// The same, where the sender has said how many bytes it has.
    #[must_use]
    pub fn of_length(self, length: Option<u64>) -> Self {
        Incoming { length, ..self }
    }

    /// How many bytes it has, as far as the sender has said.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

/// Content on its way out of a store.
pub type Outgoing = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The length in bytes.
    pub size: u64,
    /// When the object was written last.
    pub modified: SystemTime,
}

/// Bytes `start` to `end`, `end` not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last. What lies behind the end of the object is left out.
    pub end: u64,
}

/// An object that is being read.
pub struct Object {
    /// What is known of the whole object.
    pub stat: Stat,
    /// The part that `body` gives; the whole object unless a range was asked for.
    pub range: ByteRange,
    /// The bytes of `range`.
    pub body: Outgoing,
}

/// What is asked of a listing.
#[derive(Clone, Debug)]
pub struct ListRequest<'a> {
    /// Only what lies below this key.
    pub below: &'a Key,
    /// Only what comes behind this text, which goes on behind `below` and a slash, in the order of keys. It may name nothing.
    pub behind: Option<&'a str>,
    /// Whether what lies deeper than one level is given only as its first level.
    pub one_level: bool,
    /// Where the page before this one ended.
    pub after: Option<&'a Cursor>,
    /// The most entries that are wanted, at most [`MAX_PAGE`].
    pub limit: usize,
}

/// Where a page ended. Only the store that made it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) String);

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key of the object, or of the first level above objects.
    pub key: Key,
    /// Which of the two it is.
    pub kind: EntryKind,
}

/// Whether an entry is an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An object, with what is known of it.
    Object(Stat),
    /// A key that other keys begin with; only in a listing of one level.
    Directory,
}

/// A page of a listing, in the order of the keys, where a directory counts with a slash at its end. That is the order of
/// object stores, and not the order of names: `a-b/` comes before `a/`.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<Cursor>,
}

/// How far an upload has come: which bytes it has, and what they hash to as far as that is known.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The length of the upload in bytes.
    pub offset: u64,
    /// The hash of everything up to `offset`; none if the store does not know it, and the data has to be read again.
    pub hasher: Option<Hasher>,
    /// Which data this is about, where several may be there: a request that was given up may have written beside the one
    /// that took its place.
    pub(crate) data: UploadData,
}

impl Progress {
    /// Progress in a store that keeps one file of data.
    pub(crate) fn of_file(offset: u64, hasher: Option<Hasher>) -> Self {
        Progress { offset, hasher, data: UploadData::File }
    }

    /// The same data with another hash of it.
    #[must_use]
    pub fn hashed(self, hasher: Hasher) -> Self {
        Progress { hasher: Some(hasher), ..self }
    }

    /// How much memory it takes to remember this, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.data {
            UploadData::File => 512,
            UploadData::Chain(chain) => 512 + chain.held_bytes(),
        }
    }
}

/// The data of an upload.
#[derive(Clone, Debug)]
pub(crate) enum UploadData {
    /// The one file that there is.
    File,
    /// These objects, one behind the other.
    Chain(Arc<Chain>),
}

/// What an append has made of an upload.
#[derive(Debug)]
pub struct Appended {
    /// How far it has come.
    pub progress: Progress,
    /// Why the body ended early, if it did. What had arrived by then is part of the upload.
    pub interrupted: Option<BoxError>,
}

/// What became of a body that was to have a digest.
#[derive(Debug)]
pub enum Written {
    /// It has the digest, and is stored; this is its length in bytes.
    Stored(u64),
    /// It has another one, and nothing is stored.
    Mismatch(Digest),
    /// It broke off, and nothing is stored.
    Interrupted(BoxError),
}

/// A place for objects. Every method is atomic: an object is there whole or not at all, also after a crash; what a method
/// has answered is durable. The one exception is the data of an unfinished upload, which a power failure may shorten.
///
/// A method is given here only where it does the same whoever has it: a store around another one that forgot to pass it on
/// would only be slower.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The name of the driver, as the configuration has it.
    fn driver(&self) -> &'static str;

    /// Whether every look is a request to another machine. Then what was just seen is believed for longer, and what need not
    /// be looked at is not.
    fn is_remote(&self) -> bool;

    /// Where it is, for people; nothing secret.
    fn place(&self) -> String;

    /// Makes sure that it can be used, cheaply: that it is there, and lets this process in.
    async fn check(&self) -> Result<(), StoreError>;

    /// What is known of an object.
    async fn stat(&self, key: &Key) -> Result<Stat, StoreError>;

    /// Opens an object, or a part of it. A range that starts behind the end is [`StoreError::Range`].
    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError>;

    /// Reads a whole object of at most `limit` bytes. [`StoreError::TooLarge`] before anything is read of a longer one.
    async fn read(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        let object = self.get(key, None).await?;
        collect(key, object, limit).await
    }

    /// Writes an object, in place of one that may be there.
    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError>;

    /// Writes an object unless there is one, which is [`StoreError::AlreadyExists`]. Of several callers at once, one wins.
    async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<(), StoreError>;

    /// Writes an object with the content of another, in place of one that may be there.
    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError>;

    /// Removes an object.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Removes objects, in as few requests as the store allows. One that is not there counts as removed.
    async fn delete_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        for key in keys {
            match self.delete(key).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes every object below a key, and counts them. Each is removed for itself: after a failure or a crash some of
    /// them are left. What is written there meanwhile may go as well, or stay.
    async fn delete_below(&self, below: &Key) -> Result<u64, StoreError>;

    /// One page of the objects below a key; empty if there are none.
    async fn list(&self, request: ListRequest<'_>) -> Result<Page, StoreError>;

    /// Begins an upload; `started_at` is the text that is kept beside its data.
    async fn begin(&self, upload: &UploadKey, started_at: Bytes) -> Result<Progress, StoreError>;

    /// How far an upload has come, whichever process worked on it. Where several processes have written, the data that ends
    /// at `expected` counts, or else the longest.
    async fn resume(&self, upload: &UploadKey, expected: Option<u64>) -> Result<Progress, StoreError>;

    /// Takes a body behind what `from` says is there, and hashes it on the way, for which the hash so far must be known. The
    /// caller sees to it that there is one append at a time in this process; [`StoreError::Busy`] when another process works
    /// on the upload, if the store can tell. [`StoreError::Offset`] when the upload has another length, if the store looks.
    async fn append(&self, upload: &UploadKey, from: Progress, body: Incoming) -> Result<Appended, StoreError>;

    /// The data of an upload.
    async fn read_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError>;

    /// Makes the data of an upload an object. An object of this length that is there already is taken for the same content:
    /// it counts as new, and may stay or be replaced; one of another length is replaced. [`StoreError::Offset`] when the
    /// upload has another length, and [`StoreError::Busy`] as for an append: then it is not what the caller has hashed.
    ///
    /// Where the data is moved, the upload is gone. Where it is copied, the upload stays, and can be finished once more by
    /// whoever has had no answer, until [`Store::discard`].
    async fn finish(&self, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError>;

    /// Removes what [`Store::finish`] has left of an upload. Called when everything that was to be done with the object has
    /// been done.
    async fn discard(&self, upload: &UploadKey, progress: &Progress) -> Result<(), StoreError>;

    /// Whether [`Store::write`] saves work: where a body would otherwise be moved in a second step.
    fn writes_directly(&self) -> bool;

    /// Takes a body that is to have a digest straight to its key, without an upload; only where [`Store::writes_directly`].
    async fn write(&self, to: &Key, digest: &Digest, body: Incoming) -> Result<Written, StoreError>;

    /// Forgets an upload and its data.
    async fn abort(&self, upload: &UploadKey) -> Result<(), StoreError>;

    /// Forgets what was begun below a key before then by processes that were killed, and that no listing shows, and says how
    /// many things that were. `before` has to be further back than any request takes.
    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError>;
}

/// What a store says that takes no body directly.
pub(crate) fn not_directly(to: &Key) -> StoreError {
    StoreError::Settings { key: to.to_string(), source: "the store takes no body directly".into() }
}

/// The ability to keep other processes from the store, which a collection inside one process needs.
#[async_trait]
pub trait Exclude: Send + Sync + 'static {
    /// Makes sure that no other process uses the store, and that none begins to before the token is dropped: one that
    /// starts waits. [`StoreError::Locked`] if another process uses it.
    async fn exclude(&self) -> Result<Excluded, StoreError>;

    /// Makes sure that this process may write: if it was opened to only read and went without locks for that, it takes
    /// them now, for which it may have to wait. [`StoreError::Locked`] if another process excludes it.
    async fn prepare_to_write(&self) -> Result<(), StoreError>;
}

/// That no other process uses a store, until it is dropped.
pub struct Excluded {
    _held: Option<std::fs::File>,
}

impl Excluded {
    /// Held by nothing but the process: no other can reach the store.
    pub(crate) fn by_nature() -> Self {
        Excluded { _held: None }
    }

    /// Held by a locked file.
    pub(crate) fn by_lock(file: std::fs::File) -> Self {
        Excluded { _held: Some(file) }
    }
}

/// Reads a whole object of at most `limit` bytes.
///
/// # Errors
/// [`StoreError::TooLarge`] before anything is read, or what the store says.
pub async fn read_all(store: &dyn Store, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
    store.read(key, limit).await
}

/// The whole content of an open object of at most `limit` bytes.
async fn collect(key: &Key, mut object: Object, limit: u64) -> Result<Bytes, StoreError> {
    let size = object.stat.size;
    if size > limit {
        return Err(StoreError::TooLarge { key: key.to_string(), size, limit });
    }
    // A small object arrives in one piece, which is then not copied.
    let first = match object.body.next().await {
        None => return Ok(Bytes::new()),
        Some(piece) => piece?,
    };
    if first.len() as u64 == size {
        return Ok(first);
    }
    let mut content = BytesMut::from(first);
    while let Some(piece) = object.body.next().await {
        content.extend_from_slice(&piece?);
    }
    Ok(content.freeze())
}

/// Every entry of a listing, page by page.
///
/// # Errors
/// What the store says.
pub async fn list_all(store: &dyn Store, below: &Key, one_level: bool) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let request = ListRequest { below, behind: None, one_level, after: after.as_ref(), limit: MAX_PAGE };
        let page = store.list(request).await?;
        entries.extend(page.entries);
        match page.next {
            None => return Ok(entries),
            next => after = next,
        }
    }
}

/// The part of an object that a range names.
pub(crate) fn clamp(key: &Key, range: Option<ByteRange>, size: u64) -> Result<ByteRange, StoreError> {
    match range {
        None => Ok(ByteRange { start: 0, end: size }),
        Some(range) if range.start >= size || range.start >= range.end => {
            Err(StoreError::Range { key: key.to_string(), start: range.start, size })
        }
        Some(range) => Ok(ByteRange { start: range.start, end: range.end.min(size) }),
    }
}
