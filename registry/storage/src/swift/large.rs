//! Objects in segments: how they are written, copied and replaced, and what is known of those of docker-registry.
//!
//! Swift has no way to make a change depend on what is there, so two writers of one object can meet in any order. What
//! keeps them from each other's segments is that each has a name of its own for them, and that nothing is cleared away
//! before the store, asked for the newest that any of its servers has, says that something else is in its place:
//! - A writes, B looks and sees A's, B writes, B looks again, sees its own and clears A's away. If B sees A's once more,
//!   A's writing may have been tried again meanwhile, or a server that has not heard of B's was the only one that answered:
//!   nothing is cleared away.
//! - Both look and see nothing, both write: the store keeps the one that it dates later. Both look again and see that one,
//!   and the other clears its own away.
//! - B sees that A's segments are the same as its own, as far as their lengths and tags tell, and that all of them are
//!   there: B leaves the object as it is, so that nobody who reads it is cut off, and clears its own away.
//!
//! Where the store has nothing to say, or nothing is there, or what is there cannot be told for sure, nothing is cleared
//! away: rather lose room than content. So a writer that is replaced between another's look and its writing leaves its
//! segments behind; they go when they have grown old (`leftovers`), or when docker-registry removes the directory, and are
//! seen by nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use super::Inner;
use super::listing;
use super::segments::{self, Manifest, Part};
use super::wire::{Ask, Kind, Look, tag};
use crate::bucket::{Assembly, PartTag};
use crate::{Key, Refusal, StoreError};

/// The most that is read of a manifest, or of what the store says of one, in bytes.
const MAX_MANIFEST_BYTES: usize = 16 << 20;
/// The most that the store copies at once, in bytes: it answers only when it has done so.
pub(super) const MAX_COPY_BYTES: u64 = 64 << 20;
/// How many segments are copied at once.
pub(super) const COPIES_AT_ONCE: usize = 4;
/// How many segments are looked for at once.
const LOOKS_AT_ONCE: usize = 8;
/// The type of whatever is written.
const CONTENT_TYPE: &str = "application/octet-stream";

impl Inner {
    /// Writes an object under any name, and gives its tag. `about` is what an error is about.
    pub(super) async fn write(&self, name: &str, about: &Key, content: Bytes) -> Result<String, StoreError> {
        let ask = Ask::new(Method::PUT, self.path(name), "write", about).header("content-type", CONTENT_TYPE);
        Ok(tag(self.send(&ask.content(content)).await?.headers()))
    }

    /// Writes an object where none is. False if there is one.
    pub(super) async fn write_new(&self, key: &Key, content: Bytes) -> Result<bool, StoreError> {
        let ask = Ask::new(Method::PUT, self.path(&self.root.name(key)), "write", key)
            .header("content-type", CONTENT_TYPE)
            .header("if-none-match", "*")
            .known(&[StatusCode::PRECONDITION_FAILED]);
        Ok(self.send(&ask.content(content)).await?.status().is_success())
    }

    /// Makes an object under any name of another, or of a part of it, and gives its tag.
    pub(super) async fn duplicate(
        &self,
        from: &Key,
        range: Option<(u64, u64)>,
        name: &str,
    ) -> Result<String, StoreError> {
        let source = self.path(&self.root.name(from));
        let mut ask = Ask::new(Method::PUT, self.path(name), "copy", from)
            .header("x-copy-from", source.trim_start_matches('/'))
            .header("x-fresh-metadata", "true")
            .missing(from);
        if let Some((start, end)) = range {
            ask = ask.header("range", format!("bytes={start}-{}", end - 1));
        }
        Ok(tag(self.send(&ask).await?.headers()))
    }

    /// The manifest of a static object.
    async fn manifest(&self, key: &Key) -> Result<Manifest, StoreError> {
        const ACTION: &str = "read the list of segments";
        let path = format!("{}?multipart-manifest=get", self.path(&self.root.name(key)));
        let ask = Ask::new(Method::GET, path, ACTION, key).header("x-newest", "true").missing(key);
        let (_, _, content) = self.fetch(&ask, MAX_MANIFEST_BYTES).await?;
        Manifest::parse(&content).map_err(|error| StoreError::unreachable(key, ACTION, error))
    }

    /// What is under a name, seen from segments that were written for it.
    pub(super) async fn found(&self, key: &Key, assembly: &Assembly) -> Result<Found, StoreError> {
        let look = match self.look(key, true).await {
            Ok(look) if look.kind == Kind::Static => self.manifest(key).await.map(Ok),
            Ok(look) => Ok(Err(look)),
            Err(error) => Err(error),
        };
        let name = self.root.name(key);
        match look {
            Ok(Ok(manifest)) if manifest.is_of(&self.container, &name, assembly) => Ok(Found::These),
            Ok(Ok(manifest)) if manifest.is_beside(&self.container, &name) => Ok(Found::Others(manifest)),
            Ok(Ok(_)) => Ok(Found::Unknown),
            Ok(Err(look)) => Ok(Found::NotStatic(look)),
            Err(error) if error.is_not_found() => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// The segments that go with an object when it goes: those beside it, or those of docker-registry. What others have
    /// made of segments elsewhere is left to them.
    pub(super) async fn segments(&self, key: &Key, look: &Look) -> Result<Vec<String>, StoreError> {
        match &look.kind {
            Kind::Plain => Ok(Vec::new()),
            Kind::Static => Ok(self.manifest(key).await?.own(&self.container, &self.root.name(key))),
            Kind::Dynamic { container, prefix } => {
                if *container != self.container || !prefix.starts_with(&self.segments_root) {
                    return Ok(Vec::new());
                }
                self.numbered(key, prefix).await
            }
        }
    }

    /// The segments of a dynamic object. A listing may lag behind, and docker-registry counts from one, so that whatever
    /// comes next can be looked for.
    async fn numbered(&self, key: &Key, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names = self.names(key, &format!("{prefix}/")).await?;
        for number in 1.. {
            let name = segments::numbered(prefix, number);
            if names.binary_search(&name).is_ok() {
                continue;
            }
            if !self.is_there(key, &name).await? {
                break;
            }
            let place = names.partition_point(|other| *other < name);
            names.insert(place, name);
        }
        Ok(names)
    }

    /// All names that begin with a text, as far as the listing has them.
    pub(super) async fn names(&self, about: &Key, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let names = self.names_after(about, prefix, all.last().map(String::as_str)).await?;
            if names.is_empty() {
                return Ok(all);
            }
            all.extend(names.into_iter().map(|(name, _)| name));
        }
    }

    /// The next of the names that begin with a text, and when each was written; none behind the last.
    pub(super) async fn names_after(
        &self,
        about: &Key,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<(String, Option<SystemTime>)>, StoreError> {
        const ACTION: &str = "list the segments";
        let ask = Ask::new(Method::GET, self.container_path() + &listing::names_query(prefix, after), ACTION, about);
        let (_, _, content) = self.fetch(&ask, listing::MAX_BYTES).await?;
        let names = listing::names(&content).map_err(|error| StoreError::unreachable(about, ACTION, error))?;
        let last = names.last().map(|(name, _)| name.as_str());
        if last.is_some_and(|last| Some(last) <= after) {
            return Err(StoreError::unreachable(about, ACTION, listing::NO_PROGRESS));
        }
        Ok(names)
    }

    async fn is_there(&self, about: &Key, name: &str) -> Result<bool, StoreError> {
        let ask = Ask::new(Method::HEAD, self.path(name), "look for a segment", about)
            .header("x-newest", "true")
            .known(&[StatusCode::NOT_FOUND]);
        Ok(self.send(&ask).await?.status().is_success())
    }

    async fn are_there(&self, about: &Key, names: &[String]) -> Result<bool, StoreError> {
        for some in names.chunks(LOOKS_AT_ONCE) {
            let looks = some.iter().map(|name| self.is_there(about, name));
            if try_join_all(looks).await?.contains(&false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes sure that an object of docker-registry's that seems to be empty is so, and that it is not the listing, of which
    /// the store makes the object, that lags behind.
    pub(super) async fn is_whole(&self, key: &Key, look: &Look) -> Result<(), StoreError> {
        let Kind::Dynamic { container, prefix } = &look.kind else { return Ok(()) };
        if look.stat.size > 0 || *container != self.container {
            return Ok(());
        }
        if self.is_there(key, &segments::numbered(prefix, 1)).await? {
            let problem = "its segments do not show in the store's listing yet";
            return Err(StoreError::unreachable(key, "look at the object", problem));
        }
        Ok(())
    }

    /// What is left over of an object that is about to be replaced.
    pub(super) async fn leftovers(&self, key: &Key) -> Result<Vec<String>, StoreError> {
        match self.look(key, true).await {
            Ok(look) => self.segments(key, &look).await,
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Clears away what an object has left that was replaced or removed, unless it is back: somebody's last try to write it
    /// may have come later.
    pub(super) async fn clear_after(&self, key: &Key, mut before: Vec<String>) {
        if before.is_empty() {
            return;
        }
        let now = match self.look(key, true).await {
            Ok(look) => self.segments(key, &look).await,
            Err(error) => Err(error),
        };
        match now {
            Ok(now) => before.retain(|name| !now.contains(name)),
            Err(error) if error.is_not_found() => {}
            Err(_) => return,
        }
        self.clear(before).await;
    }

    /// Makes parts an object. To be run to its end.
    async fn complete(&self, to: &Key, assembly: &Assembly, parts: &[Part]) -> Result<(), StoreError> {
        let name = self.root.name(to);
        let ours = || parts.iter().map(|part| segments::segment(&name, assembly, part.number)).collect();
        let replaced = self.found(to, assembly).await?;
        let before = match &replaced {
            // The parts were made an object before, and the answer was lost.
            Found::These => return Ok(()),
            Found::Others(manifest) => {
                let theirs = manifest.own(&self.container, &name);
                // What it lists may be gone: whoever writes it again wants it whole.
                if manifest.equals(parts) && self.are_there(to, &theirs).await? && self.touch(to).await? {
                    self.clear(ours()).await;
                    return Ok(());
                }
                theirs
            }
            Found::NotStatic(look) => self.segments(to, look).await?,
            Found::Unknown | Found::Nothing => Vec::new(),
        };
        let manifest = Bytes::from(segments::manifest(&self.container, &name, assembly, parts));
        let manifest_bytes = manifest.len() as u64;
        self.put_manifest(to, manifest).await?;
        let size: u64 = parts.iter().map(|part| part.size).sum();
        match self.found(to, assembly).await {
            Ok(Found::These) => self.clear(before).await,
            // A server that has not heard of it yet was the only one that answered.
            Ok(now) if now == replaced && now != Found::Nothing => {}
            Ok(Found::NotStatic(look)) if look.stat.size == manifest_bytes && !self.has_static_objects() => {
                // A store without static objects has taken the list itself for the content.
                let _ = self.erase(&name, to).await;
                return Err(StoreError::service(to, "write", no_static_objects()));
            }
            Ok(Found::Others(_)) => self.clear(ours()).await,
            Ok(Found::NotStatic(look)) if look.stat.size != size => self.clear(ours()).await,
            Ok(Found::Nothing) => {
                return Err(StoreError::unreachable(
                    to,
                    "write",
                    "the store does not find what it said it has written",
                ));
            }
            Ok(Found::NotStatic(_) | Found::Unknown) | Err(_) => {}
        }
        Ok(())
    }

    /// Whether segments are what is under a name, or could be: then they are not to be removed.
    async fn may_be_these(&self, to: &Key, assembly: &Assembly) -> Result<bool, StoreError> {
        Ok(matches!(self.found(to, assembly).await?, Found::These | Found::Unknown))
    }

    /// Makes an object as new as one that is written now. False if it is not there any more.
    async fn touch(&self, key: &Key) -> Result<bool, StoreError> {
        let ask = Ask::new(Method::POST, self.path(&self.root.name(key)), "write", key).known(&[StatusCode::NOT_FOUND]);
        Ok(self.send(&ask).await?.status().is_success())
    }

    /// Sends a manifest. The store looks at every segment before it answers, and is asked to say meanwhile that it lives;
    /// then it says only at the end what has come of it.
    async fn put_manifest(&self, to: &Key, manifest: Bytes) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Outcome {
            #[serde(rename = "Response Status")]
            status: String,
            #[serde(rename = "Response Body", default)]
            body: String,
            #[serde(rename = "Errors", default)]
            errors: Vec<(String, String)>,
        }
        let path = format!("{}?multipart-manifest=put&heartbeat=on", self.path(&self.root.name(to)));
        let ask = Ask::new(Method::PUT, path, "write", to)
            .header("content-type", CONTENT_TYPE)
            .header("accept", "application/json")
            .content(manifest);
        let (status, _, content) = self.fetch(&ask, MAX_MANIFEST_BYTES).await?;
        let outcome = match serde_json::from_slice::<Outcome>(&content) {
            Ok(outcome) => outcome,
            // It has only said that it has begun.
            Err(_) if status == StatusCode::ACCEPTED => {
                return Err(StoreError::unreachable(to, "write", "the store has not said what has come of it"));
            }
            // A store that knows no such answers.
            Err(_) => return Ok(()),
        };
        if outcome.status.starts_with('2') {
            return Ok(());
        }
        let (status, code) = outcome.status.split_once(' ').unwrap_or((outcome.status.as_str(), ""));
        let message = match outcome.errors.first() {
            Some((name, problem)) => format!("{name}: {problem}"),
            None => outcome.body.trim().to_owned(),
        };
        let refusal = Refusal { status: status.parse().unwrap_or(0), code: code.to_owned(), message };
        Err(StoreError::service(to, "write", refusal))
    }
}

/// What is under a name, seen from segments that were written for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// An object that is no static one.
    NotStatic(Look),
    /// These segments are the object.
    These,
    /// Other segments beside it are.
    Others(Manifest),
    /// A manifest that lists something else: not ours, or a store that writes names in another way.
    Unknown,
}

fn no_static_objects() -> Refusal {
    let message = "the cluster has no static large objects, which need the middleware slo".to_owned();
    Refusal { status: 501, code: "Not Implemented".to_owned(), message }
}

fn mismatch(problem: String) -> Refusal {
    Refusal { status: 400, code: "Bad Request".to_owned(), message: problem }
}

/// Makes the parts of an upload an object.
pub(super) async fn complete(
    inner: &Arc<Inner>,
    to: &Key,
    assembly: &Assembly,
    tags: &[PartTag],
    size: u64,
) -> Result<(), StoreError> {
    let parts: Option<Vec<Part>> = tags.iter().map(Part::parse).collect();
    let mut parts =
        parts.ok_or_else(|| StoreError::service(to, "write", mismatch("not a part of this store".into())))?;
    parts.retain(|part| part.size > 0);
    let found: u64 = parts.iter().map(|part| part.size).sum();
    if found != size {
        let problem = format!("the parts have {found} bytes in all, not {size}");
        return Err(StoreError::service(to, "write", mismatch(problem)));
    }
    if parts.is_empty() {
        return put(inner, to, Bytes::new()).await;
    }
    let (owned, to, assembly) = (inner.clone(), to.clone(), assembly.clone());
    inner.to_the_end(async move { owned.complete(&to, &assembly, &parts).await }).await
}

/// Writes an object in one piece.
pub(super) async fn put(inner: &Arc<Inner>, key: &Key, content: Bytes) -> Result<(), StoreError> {
    /// Up to here one may well send the content twice.
    const SMALL_BYTES: usize = 64 * 1024;
    // Most of what is written is new, and then one request says so.
    if content.len() <= SMALL_BYTES && inner.write_new(key, content.clone()).await? {
        return Ok(());
    }
    let before = inner.leftovers(key).await?;
    if before.is_empty() {
        inner.write(&inner.root.name(key), key, content).await?;
        return Ok(());
    }
    let (owned, key) = (inner.clone(), key.clone());
    let write = async move {
        owned.write(&owned.root.name(&key), &key, content).await?;
        owned.clear_after(&key, before).await;
        Ok(())
    };
    inner.to_the_end(write).await
}

/// Copies an object of any size.
pub(super) async fn copy(inner: &Arc<Inner>, from: &Key, to: &Key) -> Result<(), StoreError> {
    let look = inner.look(from, false).await?;
    let size = look.stat.size;
    let Some(piece) = piece(size, inner.chunk_bytes, inner.max_segments()) else {
        let before = inner.leftovers(to).await?;
        let (owned, from, to) = (inner.clone(), from.clone(), to.clone());
        let copy = async move {
            owned.duplicate(&from, None, &owned.root.name(&to)).await?;
            owned.clear_after(&to, before).await;
            Ok(())
        };
        return inner.to_the_end(copy).await;
    };
    let assembly = new_assembly();
    let name = inner.root.name(to);
    let unfinished = Unfinished {
        inner: inner.clone(),
        key: to.clone(),
        assembly: Some(assembly.clone()),
        pieces: TaskTracker::new(),
        begun: AtomicUsize::new(0),
    };
    let starts = (0..size).step_by(usize::try_from(piece).unwrap_or(usize::MAX));
    let copies = starts.enumerate().map(|(index, start)| {
        let (number, end) = (index + 1, size.min(start + piece));
        let segment = segments::segment(&name, &assembly, number);
        let (owned, from) = (inner.clone(), from.clone());
        // To its end, whoever waits for it: what the store has begun to copy is there later, and has to be removed then.
        unfinished.begun.store(number, Ordering::Relaxed);
        let copy = unfinished.pieces.spawn(async move { owned.duplicate(&from, Some((start, end)), &segment).await });
        async move {
            let copied = copy.await.map_err(|stopped| StoreError::unreachable(to, "copy", stopped))?;
            Ok::<_, StoreError>(Part { number, size: end - start, tag: copied? }.to_tag())
        }
    });
    let tags: Vec<PartTag> = stream::iter(copies).buffered(COPIES_AT_ONCE).try_collect().await?;
    // From here on to its end too: segments are not removed while they are made an object.
    let (owned, to) = (inner.clone(), to.clone());
    let complete = async move {
        let completed = complete(&owned, &to, &assembly, &tags, size).await;
        // Where it is not known what has come of it, the store may be making an object of them still.
        if completed.as_ref().err().is_none_or(StoreError::is_unknown) {
            unfinished.finish();
        }
        completed
    };
    inner.to_the_end(complete).await
}

/// In which pieces an object is copied; none if it is copied at once.
fn piece(size: u64, chunk_bytes: u64, max_segments: usize) -> Option<u64> {
    let usual = chunk_bytes.min(MAX_COPY_BYTES);
    (size > usual).then(|| usual.max(size.div_ceil(max_segments as u64)))
}

/// A name that no other upload has. Not in the form that docker-registry knows uploads by.
pub(super) fn new_assembly() -> Assembly {
    Assembly(uuid::Uuid::new_v4().simple().to_string())
}

/// Forgets the parts of an object that is not complete. If it is after all, because an answer was lost, they stay.
pub(super) async fn abort(inner: &Arc<Inner>, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
    if inner.may_be_these(to, assembly).await? {
        return Ok(());
    }
    let names = inner.names(to, &segments::of(&inner.root.name(to), assembly)).await?;
    inner.remove_names(to.as_str(), names).await
}

/// Segments that nobody will make an object of, if this is dropped before it is emptied.
struct Unfinished {
    inner: Arc<Inner>,
    key: Key,
    assembly: Option<Assembly>,
    /// What is on its way.
    pieces: TaskTracker,
    /// The number of the last segment that was begun.
    begun: AtomicUsize,
}

impl Unfinished {
    /// An object was made of them, or may be made of them still.
    fn finish(mut self) {
        self.assembly = None;
    }

    /// Removes the segments by their names: a container may list an object later than it is there.
    async fn remove(inner: &Inner, to: &Key, assembly: &Assembly, begun: usize) -> Result<(), StoreError> {
        if inner.may_be_these(to, assembly).await? {
            return Ok(());
        }
        let name = inner.root.name(to);
        let names = (1..=begun).map(|number| segments::segment(&name, assembly, number)).collect();
        inner.remove_names(to.as_str(), names).await
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(assembly), Ok(runtime)) = (self.assembly.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (inner, key, pieces) = (self.inner.clone(), self.key.clone(), self.pieces.clone());
        let begun = self.begun.load(Ordering::Relaxed);
        runtime.spawn(async move {
            pieces.close();
            pieces.wait().await;
            if let Err(error) = Self::remove(&inner, &key, &assembly, begun).await {
                tracing::warn!(driver = "swift", %key, %error, "segments of a copy that failed are left over");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_objects_are_copied_in_pieces() {
        const MIB: u64 = 1 << 20;
        assert_eq!(piece(0, 20 * MIB, 1000), None);
        assert_eq!(piece(20 * MIB, 20 * MIB, 1000), None);
        assert_eq!(piece(20 * MIB + 1, 20 * MIB, 1000), Some(20 * MIB));
        assert_eq!(piece(100 * MIB, 5 << 30, 1000), Some(64 * MIB));
        assert_eq!(piece(100 * MIB, MIB, 10), Some(10 * MIB));
        assert_eq!(piece(100 * MIB + 1, MIB, 10), Some(10 * MIB + 1));
    }

    #[test]
    fn no_two_assemblies_are_the_same() {
        let (one, two) = (new_assembly(), new_assembly());
        assert_ne!(one, two);
        assert!(one.0.len() == 32 && !one.0.contains('-'));
    }
}
