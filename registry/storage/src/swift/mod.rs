//! A container of OpenStack Swift, in the layout of docker-registry 2.8, so that the two can take turns.
//!
//! The protocol is spoken here by plain requests: the libraries there are have no login with version 3 of Keystone, no
//! static large objects and no temporary addresses. `identity` and `session` get the token that requests carry, `wire`
//! sends them and understands what comes back, `large` and `removal` see to objects in segments, `listing` to pages of the
//! listing, and `address` to temporary addresses.
//!
//! **Where things lie.** Objects are `<prefix>/files/<key>`, as docker-registry has them. Where that keeps what was uploaded
//! as a dynamic large object, whatever the listing has under a name's beginning, with the segments below
//! `<prefix>/segments/`, this driver writes static ones: a manifest that lists each segment with its length and tag, so that
//! no listing that lags behind can make a part of the content be missing. (Swift also slows down whoever reads many
//! segments of a dynamic one.) The segments of an object are `.berth-segments/<its last part>/<assembly>/<number>` beside
//! it, where no key is: when docker-registry collects a blob it removes the blob's directory, and with it the segments, of
//! which it otherwise knows nothing, since it looks only for dynamic ones. It reads, stats and redirects to static objects as to any other. Moving
//! one, which it does only to an upload's data, would make it a plain object of at most 5 GiB and leave the segments
//! behind; no upload's data is static. The listings given here have no segments in them.
//!
//! docker-registry's dynamic objects are read as they are, copied piece by piece, and removed with their segments, where
//! these lie where it puts them. An upload that it has begun is such an object already when it is between two requests, so
//! there is nothing to adopt. It ends an upload by giving the blob the same segments and removing the upload's manifest; if
//! it is cut off in between, whoever removes the upload removes the blob's segments with it, be it docker-registry or this.
//!
//! **What Swift does not promise.** Of two that create an object at once both are told that they did
//! ([`Abilities::creates_atomically`] is false). Objects are read as they were written last, as long as all servers are
//! well; listings may lag behind what was written and removed, also for long while a server is away.

mod address;
mod credentials;
#[cfg(test)]
mod fake;
mod identity;
mod info;
mod large;
mod leftovers;
mod listing;
mod options;
mod removal;
mod segments;
mod session;
mod wire;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::header::CONTENT_RANGE;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyDataStream;
use tokio::time::Instant;

pub use self::options::SwiftOptions;

use self::address::Settled;
use self::credentials::Credentials;
use self::identity::Identity;
use self::info::Info;
use self::segments::Part;
use self::session::Sessions;
use self::wire::{Ask, Kind, Look};
use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag, Root, Start};
use crate::http::Http;
use crate::store::clamp;
use crate::{ByteRange, Key, Object, Presign, Stat, StoreError};

/// The most that is read of what a cluster says of itself, in bytes.
const MAX_INFO_BYTES: usize = 1 << 20;
/// The least size of a segment but the last, in bytes. Swift takes one of a byte, but slows down whoever reads many that
/// are smaller than this.
const MIN_PART_BYTES: u64 = options::MIN_CHUNK_BYTES;
/// How many chunks are copied at once whatever their size: a segment of an upload has no more, and needs no cut.
const CHUNKS_IN_A_COPY: u64 = 4;
/// How many objects of a page of a listing are looked at at once.
const LOOKS_AT_ONCE: usize = 16;

/// A container of Swift.
#[derive(Clone, Debug)]
pub struct Swift {
    inner: Arc<Inner>,
}

/// What every part of the driver needs.
#[derive(Debug)]
struct Inner {
    http: Http,
    sessions: Sessions,
    credentials: Arc<Credentials>,
    container: String,
    /// Where keys begin: `<prefix>/files`.
    root: Root,
    /// Where docker-registry keeps segments: `<prefix>/segments/`.
    segments_root: String,
    /// Where this is, for people.
    place: String,
    chunk_bytes: u64,
    /// What is assumed of a cluster that says nothing of itself.
    least: Info,
    container_key: bool,
    info: OnceLock<Info>,
    redirect_endpoint: Option<String>,
    settled: ArcSwapOption<Settled>,
    /// Held by whoever sees to the key of temporary addresses; when that has failed last.
    settling: tokio::sync::Mutex<Option<Instant>>,
    /// Whether the container has been seen.
    found: AtomicBool,
    /// Segments that nothing refers to any more and that could not be removed yet.
    left: Mutex<Vec<String>>,
}

impl Inner {
    fn has_static_objects(&self) -> bool {
        self.info.get().is_some_and(|info| info.static_objects)
    }

    fn max_segments(&self) -> usize {
        self.info.get().unwrap_or(&self.least).max_segments
    }
}

impl Swift {
    /// Opens a container. Nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for what cannot be right whatever the store is like.
    #[expect(clippy::unused_async, reason = "all drivers are opened alike, and some have to wait")]
    pub async fn open(options: SwiftOptions) -> Result<Self, StoreError> {
        options.check()?;
        let identity = Identity::new(&options)?;
        let credentials = Arc::new(Credentials::open(&options)?);
        let http = Http::new(&options.trust)?;
        // As docker-registry has it, which takes a slash from the beginning and none from the middle.
        let below = |directory: &str| format!("{}/{directory}", options.prefix).trim_start_matches('/').to_owned();
        let root = Root::new(&below("files"));
        let place = format!("swift://{}/{}", options.container, root.directory());
        let inner = Inner {
            sessions: Sessions::new(http.clone(), identity, credentials.clone()),
            http,
            credentials,
            root,
            segments_root: below("segments/"),
            place,
            chunk_bytes: options.chunk_bytes,
            least: Info::least(&options.temp_url_methods, options.temp_url_container_key),
            container_key: options.temp_url_container_key,
            info: OnceLock::new(),
            redirect_endpoint: options.redirect_endpoint,
            settled: ArcSwapOption::empty(),
            settling: tokio::sync::Mutex::default(),
            found: AtomicBool::new(false),
            left: Mutex::default(),
            container: options.container,
        };
        Ok(Swift { inner: Arc::new(inner) })
    }

    /// Finds out what the cluster can do, unless that is known already. Until it is, the least is assumed.
    ///
    /// # Errors
    /// What the store says; then it is to be asked again.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        if inner.info.get().is_some() {
            return Ok(());
        }
        let info = inner.ask_for_info().await?;
        let mut digest = None;
        if let Some(temporary) = info.temporary {
            match inner.settle(temporary, &*inner.credentials.latest().await).await {
                Ok(settled) => digest = settled.has_key().then_some(temporary.digest),
                Err(error) if error.is_transient() => return Err(error),
                // Whoever asks for an address tries again.
                Err(error) => tracing::warn!(driver = "swift", %error, "there are no temporary addresses"),
            }
        }
        tracing::info!(
            driver = "swift",
            place = inner.place,
            static_objects = info.static_objects,
            max_segments = info.max_segments,
            bulk_deletes = info.bulk_deletes,
            temporary_addresses = ?digest,
            creates_atomically = false,
            "the store's abilities",
        );
        if !info.static_objects {
            tracing::warn!(driver = "swift", "the cluster has no static large objects: no large blob can be taken");
        }
        // Whoever was faster has found the same.
        let _ = inner.info.set(info);
        Ok(())
    }
}

impl Inner {
    /// What the cluster says of itself. Some say nothing, which is an answer as well.
    async fn ask_for_info(&self) -> Result<Info, StoreError> {
        const ACTION: &str = "ask what the cluster can do";
        let session = self.sessions.current().await?;
        let Some(address) = info::address(&session.storage) else { return Ok(self.least.clone()) };
        let lost = |error: crate::BoxError| StoreError::unreachable(&self.place, ACTION, error);
        let request = Request::get(address).body(wire::body(Bytes::new())).map_err(|error| lost(error.into()))?;
        let (head, body) = self.http.send(request).await.map_err(lost)?.into_parts();
        let content = wire::content(body, MAX_INFO_BYTES).await.map_err(lost)?;
        let status = head.status;
        if status.is_success() {
            // What makes no sense is not of Swift, but of what stands before it.
            return Ok(Info::parse(&content, self.container_key).unwrap_or_else(|_| self.least.clone()));
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(StoreError::service(&self.place, ACTION, wire::refusal(status, &content)));
        }
        Ok(self.least.clone())
    }

    /// Looks at what a listing has no length of. What is not there any more is left out.
    async fn resolve(&self, objects: Vec<(String, Stat)>) -> Result<Vec<(String, Stat)>, StoreError> {
        let resolved = objects.into_iter().map(|(name, stat)| async move {
            let Ok(key) = name.parse::<Key>() else { return Ok(Some((name, stat))) };
            if stat.size > 0 {
                return Ok(Some((name, stat)));
            }
            let ask = Ask::new(Method::HEAD, self.path(&self.root.name(&key)), "look at the object", &key);
            let answer = self.send(&ask.known(&[StatusCode::NOT_FOUND])).await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let look = Look::parse(answer.headers());
            let look = look.map_err(|problem| StoreError::unreachable(&key, "look at the object", problem))?;
            Ok(Some((name, look.stat)))
        });
        stream::iter(resolved).buffered(LOOKS_AT_ONCE).try_filter_map(|object| async { Ok(object) }).try_collect().await
    }
}

/// What an answer with a part of an object gives: the first byte and the length of the whole.
fn part(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, whole) = text.split_once('/')?;
    let start = range.split_once('-').map_or(Some(0), |(start, _)| start.parse().ok())?;
    Some((start, whole.parse().ok()?))
}

#[async_trait]
impl Bucket for Swift {
    fn driver(&self) -> &'static str {
        "swift"
    }

    fn place(&self) -> String {
        self.inner.place.clone()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            creates_atomically: false,
            removes_many: self.inner.info.get().is_some_and(|info| info.bulk_deletes.is_some()),
            copies_parts: true,
            lists_from_anywhere: true,
            // The servers of objects wait a second for that of the container, and tell it later.
            lists_at_once: false,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            chunk_bytes: usize::try_from(self.inner.chunk_bytes).unwrap_or(usize::MAX),
            min_part_bytes: MIN_PART_BYTES,
            max_parts: self.inner.max_segments(),
            max_copy_bytes: large::MAX_COPY_BYTES.max(self.inner.chunk_bytes.saturating_mul(CHUNKS_IN_A_COPY)),
            copies_at_once: large::COPIES_AT_ONCE,
        }
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        Swift::probe(self).await?;
        Ok(self.abilities())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        Ok(self.inner.look(key, false).await?.stat)
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        const ACTION: &str = "read";
        if let Some(range) = range.filter(|range| range.start >= range.end) {
            clamp(key, Some(range), self.head(key).await?.size)?;
        }
        let inner = &self.inner;
        let mut ask = Ask::new(Method::GET, inner.path(&inner.root.name(key)), ACTION, key).missing(key);
        if let Some(range) = range {
            ask = ask.header("range", format!("bytes={}-{}", range.start, range.end - 1));
        }
        let answer = inner.send(&ask.known(&[StatusCode::RANGE_NOT_SATISFIABLE])).await?;
        let lost = |problem: String| StoreError::unreachable(key, ACTION, problem);
        let (head, body) = answer.into_parts();
        let (start, look) = match (head.status, part(&head.headers)) {
            (StatusCode::RANGE_NOT_SATISFIABLE, whole) => {
                let size = whole.map_or(0, |(_, size)| size);
                return Err(StoreError::Range {
                    key: key.to_string(),
                    start: range.map_or(0, |range| range.start),
                    size,
                });
            }
            (StatusCode::PARTIAL_CONTENT, Some((start, size))) => {
                (start, Look::with_size(&head.headers, size).map_err(lost)?)
            }
            (StatusCode::PARTIAL_CONTENT, None) => {
                return Err(lost("a part of the object that is not said".to_owned()));
            }
            _ => (0, Look::parse(&head.headers).map_err(lost)?),
        };
        if matches!(look.kind, Kind::Dynamic { .. }) {
            inner.is_whole(key, &look).await?;
        }
        let range = clamp(key, range, look.stat.size)?;
        if start != range.start {
            return Err(lost(format!("the object from byte {start} on, not from byte {}", range.start)));
        }
        let key = key.clone();
        let body = BodyDataStream::new(body).map_err(move |error| StoreError::unreachable(&key, ACTION, error));
        Ok(Object { stat: look.stat, range, body: body.boxed() })
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        large::put(&self.inner, key, content).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        match self.inner.look(key, false).await {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(StoreError::AlreadyExists { key: key.to_string() }),
        }
        match self.inner.write_new(key, content).await? {
            true => Ok(()),
            false => Err(StoreError::AlreadyExists { key: key.to_string() }),
        }
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        large::copy(&self.inner, from, to).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        removal::delete(&self.inner, key).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        removal::remove(&self.inner, keys).await
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        const ACTION: &str = "list";
        let inner = &self.inner;
        let info = inner.info.get().unwrap_or(&inner.least);
        let entries = listing.limit.clamp(1, info.listing_limit.min(listing::MAX_ENTRIES));
        let path = inner.container_path() + &listing::query(&inner.root, &listing, entries);
        let ask = Ask::new(Method::GET, path, ACTION, listing.below);
        let (_, _, content) = inner.fetch(&ask, listing::MAX_BYTES).await?;
        let bounds = listing::Bounds { entries, are_kept: info.fills_pages, looks: listing::MAX_LOOKS };
        let lost = |error: crate::BoxError| StoreError::unreachable(listing.below, ACTION, error);
        let page = listing::parse(&content, &inner.root, bounds).map_err(|error| lost(error.into()))?;
        if let (Start::Page(from), Some(next)) = (listing.start, &page.next)
            && next.as_str() <= from
        {
            return Err(lost(listing::NO_PROGRESS.into()));
        }
        let objects = inner.resolve(page.objects).await?;
        Ok(Listed { objects, directories: page.directories, next: page.next })
    }

    async fn begin_parts(&self, _to: &Key) -> Result<Assembly, StoreError> {
        // Nothing is begun at the store, but what cannot succeed should not begin.
        self.inner.find_container().await?;
        Ok(large::new_assembly())
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        let size = content.len() as u64;
        let name = segments::segment(&self.inner.root.name(to), assembly, number);
        let tag = self.inner.write(&name, to, content).await?;
        Ok(Part { number, size, tag }.to_tag())
    }

    async fn copy_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        let name = segments::segment(&self.inner.root.name(to), assembly, number);
        let tag = self.inner.duplicate(from, range.map(|range| (range.start, range.end)), &name).await?;
        let size = range.map_or(size, |range| range.end.saturating_sub(range.start));
        Ok(Part { number, size, tag }.to_tag())
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        large::complete(&self.inner, to, assembly, &parts, size).await
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        large::abort(&self.inner, to, assembly).await
    }

    async fn adopt_parts(&self, _key: &Key) -> Result<Option<Stat>, StoreError> {
        // An upload of another program is an object between two requests.
        Ok(None)
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.inner.remove_leftovers(below, before).await
    }
}

#[async_trait]
impl Presign for Swift {
    async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError> {
        self.inner.address(key, SystemTime::now() + validity).await
    }
}

#[cfg(test)]
mod tests;
