//! A bucket of Google Cloud Storage, by the JSON API.
//!
//! Where `rootdirectory` is `x`, the object of a key is at `x/<key>`, as CNCF Distribution has it. Of what Distribution
//! leaves there, only an upload between two requests is not simply an object: `adopt.rs`. Objects are written whole, with one
//! request; in parts they are written by `parts.rs`.
//!
//! What the account needs on the bucket: `roles/storage.objectUser`, or `storage.objects.{create,delete,get,list}`. For
//! signed addresses without a key file it needs `iam.serviceAccounts.signBlob` on itself
//! (`roles/iam.serviceAccountTokenCreator`). A bucket with soft delete keeps, and charges for, what is deleted, which here is
//! also the parts of every large object. All objects of a bucket should be of one storage class: what is put together must
//! be.
//!
//! A server that is not Google's is named by `endpoint`. What only Google's is known to do, that one of several writers wins,
//! is tried by [`Gcs::probe`].

mod address;
mod adopt;
mod answer;
mod api;
mod connector;
mod credentials;
mod listing;
mod parts;
mod presign;
mod sign;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};
use http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use uuid::Uuid;

use self::address::Address;
use self::answer::{Content, FIELDS, Resource, Resources, Rewrite};
use self::api::{About, Api, get, post};
use self::credentials::Credentials;
pub use self::credentials::GcsCredentials;
use self::listing::Question;
use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag, Root};
use crate::http::{Http, ResponseBody};
use crate::store::clamp;
use crate::{BoxError, ByteRange, Key, Object, Stat, StoreError, Trust, layout};

/// What an object's content is.
const OCTETS: &str = "application/octet-stream";
/// What the size of a part is a multiple of, in bytes.
const CHUNK_UNIT_BYTES: usize = 256 << 10;
/// The most parts of an object: what three rounds put together.
const MAX_PARTS: usize = 32 * 32 * 32;
/// How many objects are removed at once.
const REMOVALS_AT_ONCE: usize = 16;
/// How many writers of one object a probe has.
const RACERS: usize = 4;
/// How many requests one copy may take. A large object takes several only where it changes its place or class.
const MAX_REWRITES: usize = 1000;

/// How a bucket is reached and used.
#[derive(Clone, Debug)]
pub struct GcsOptions {
    /// The bucket.
    pub bucket: String,
    /// Who the driver is to the server.
    pub credentials: GcsCredentials,
    /// Where in the bucket the keys begin.
    pub root_directory: String,
    /// The size of a part of an upload in bytes: a multiple of 256 KiB.
    pub chunk_bytes: usize,
    /// How many requests may be under way at once for one call; at least one. What all calls together may do is limited by
    /// a layer above.
    pub max_concurrency: usize,
    /// What is added to the `User-Agent`.
    pub user_agent: Option<String>,
    /// The address of another server, without a path. One that is not Google's (`https://….googleapis.com`) gets no
    /// credentials but those that are given.
    pub endpoint: Option<String>,
    /// Whom the client trusts.
    pub trust: Trust,
}

impl GcsOptions {
    /// A bucket, with what the configuration has where it says nothing.
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        GcsOptions {
            bucket: bucket.to_owned(),
            credentials: GcsCredentials::Ambient,
            root_directory: String::new(),
            chunk_bytes: 16 << 20,
            max_concurrency: 50,
            user_agent: None,
            endpoint: None,
            trust: Trust::default(),
        }
    }
}

/// A bucket of Google Cloud Storage.
#[derive(Debug)]
pub struct Gcs {
    api: Api,
    root: Root,
    place: String,
    chunk_bytes: usize,
    max_concurrency: usize,
    /// Whether one of several writers wins; unknown until it was tried.
    creates_atomically: OnceLock<bool>,
    iam: presign::Iam,
}

impl Gcs {
    /// A bucket, which need not be there, nor its server be reached.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when the settings cannot be right: no bucket, a size of parts that is none, credentials that
    /// cannot be read.
    pub async fn open(options: GcsOptions) -> Result<Self, StoreError> {
        let GcsOptions {
            bucket,
            credentials,
            root_directory,
            chunk_bytes,
            max_concurrency,
            user_agent,
            endpoint,
            trust,
        } = options;
        if chunk_bytes == 0 || !chunk_bytes.is_multiple_of(CHUNK_UNIT_BYTES) {
            return Err(settings("chunksize", format!("must be a multiple of {CHUNK_UNIT_BYTES} bytes")));
        }
        let address = Address::new(endpoint.as_deref(), &bucket)?;
        let root = Root::new(&root_directory);
        let place = format!("gs://{bucket}/{}", root.directory()).trim_end_matches('/').to_owned();
        let agent = format!("berth/{} {}", env!("CARGO_PKG_VERSION"), user_agent.unwrap_or_default());
        let agent = HeaderValue::try_from(agent.trim()).map_err(|error| settings("useragent", error))?;
        let http = Http::new(&trust)?;
        let credentials = Credentials::open(&credentials, !address.is_google(), http.clone(), place.clone()).await?;
        Ok(Gcs {
            api: Api::new(address, credentials, http, agent),
            root,
            place,
            chunk_bytes,
            max_concurrency: max_concurrency.max(1),
            creates_atomically: OnceLock::new(),
            iam: presign::Iam::default(),
        })
    }

    /// Finds out by a race whether one of several writers of an object wins, unless that is known.
    ///
    /// # Errors
    /// When it cannot be found out at the moment: the server cannot be reached, or nothing may be written.
    pub async fn probe(&self) -> Result<(), StoreError> {
        if self.creates_atomically.get().is_some() {
            return Ok(());
        }
        let key = layout::parts("probe")?.join(&Uuid::new_v4().simple().to_string())?;
        let racers = (0..RACERS).map(|racer| self.create(&key, Bytes::from(racer.to_string())));
        let outcomes = future::join_all(racers).await;
        let _ = self.delete(&key).await;
        let mut winners = 0;
        for outcome in outcomes {
            match outcome {
                Ok(()) => winners += 1,
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let is_atomic = winners == 1;
        if self.creates_atomically.set(is_atomic).is_ok() {
            tracing::info!(store = self.place, creates_atomically = is_atomic, "what the store can do is known");
        }
        Ok(())
    }

    /// All that is known of an object.
    async fn resource(&self, about: About<'_>, key: &Key) -> Result<Resource, StoreError> {
        let request = get(self.api.address.object(&self.root.name(key), &[("fields", FIELDS)]));
        self.api.ask(about, request, Bytes::new()).await
    }

    async fn write(
        &self,
        about: About<'_>,
        name: &str,
        condition: Option<(&str, &str)>,
        content: Bytes,
    ) -> Result<(), StoreError> {
        let mut query = vec![("uploadType", "media"), ("name", name), ("fields", "generation")];
        query.extend(condition);
        let request = post(self.api.address.upload(&query)).header(CONTENT_TYPE, OCTETS);
        self.api.tell(about, request, content).await
    }

    /// The content of an object, of which the head of the answer has arrived.
    async fn content(
        &self,
        about: About<'_>,
        key: &Key,
        range: Option<ByteRange>,
        answer: Response<ResponseBody>,
    ) -> Result<Object, StoreError> {
        let content = Content::of(answer.headers(), SystemTime::now());
        let content = content.ok_or_else(|| about.unreachable("the answer does not say how long the object is"))?;
        let Content { stat, start, is_upload_session } = content;
        if is_upload_session {
            return Err(StoreError::not_found(key));
        }
        let range = clamp(key, range, stat.size)?;
        // A server may give all where a part was asked for; it is a part of all if all was asked for.
        if start.unwrap_or(0) != range.start || (start.is_none() && range.end != stat.size) {
            return Err(about.unreachable("the answer is not the part of the object that was asked for"));
        }
        let name = key.clone();
        let body = answer.into_body().into_data_stream();
        let body = body.map_err(move |error| StoreError::unreachable(&name, "read", error)).boxed();
        Ok(Object { stat, range, body })
    }

    /// A page of a listing, and what on it stands for uploads of another program.
    async fn page(&self, listing: Listing<'_>) -> Result<(Listed, Vec<(String, Stat)>), StoreError> {
        let about = About::bucket(listing.below.as_str(), "list");
        let question = Question::new(&self.root, listing);
        let query = question.query();
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer: Resources = self.api.ask(about, get(self.api.address.objects(&query)), Bytes::new()).await?;
        question.page(&self.root, answer).map_err(|error| about.unreachable(error))
    }

    /// The error for a range that the server refuses, or that has no bytes.
    async fn no_range(&self, key: &Key, start: u64, answer: Option<Response<ResponseBody>>) -> StoreError {
        // Without a range in it, what an answer tells is the length of the refusal.
        let told = answer.filter(|answer| answer.headers().contains_key(CONTENT_RANGE));
        let size = match told.and_then(|answer| Content::of(answer.headers(), SystemTime::UNIX_EPOCH)) {
            Some(content) => Ok(content.stat.size),
            None => self.head(key).await.map(|stat| stat.size),
        };
        size.map_or_else(|error| error, |size| StoreError::Range { key: key.to_string(), start, size })
    }
}

#[async_trait]
impl Bucket for Gcs {
    fn driver(&self) -> &'static str {
        "gcs"
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            creates_atomically: self.creates_atomically.get().copied().unwrap_or(false),
            removes_many: false,
            copies_parts: true,
            lists_from_anywhere: true,
            lists_at_once: true,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            chunk_bytes: self.chunk_bytes,
            min_part_bytes: 0,
            max_parts: MAX_PARTS,
            max_copy_bytes: u64::MAX,
            copies_at_once: self.max_concurrency,
        }
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        Gcs::probe(self).await?;
        Ok(self.abilities())
    }

    async fn check(&self) -> Result<(), StoreError> {
        // To look at the bucket itself takes a permission that nothing else needs.
        let prefix = self.root.name(&layout::blobs());
        let query = [("prefix", prefix.as_str()), ("maxResults", "1"), ("fields", "kind")];
        let request = get(self.api.address.objects(&query));
        self.api.tell(About::bucket(&self.place, "look into the bucket"), request, Bytes::new()).await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        let about = About::object(key.as_str(), "look at the object");
        let resource = self.resource(about, key).await?;
        if resource.is_upload_session() {
            return Err(StoreError::not_found(key));
        }
        resource.stat().map_err(|error| about.unreachable(error))
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let about = About::object(key.as_str(), "read");
        let mut request = get(self.api.address.object(&self.root.name(key), &[("alt", "media")]));
        if let Some(ByteRange { start, end }) = range {
            if start >= end {
                return Err(self.no_range(key, start, None).await);
            }
            // The server reads no larger numbers, and has no larger objects.
            let [first, last] = [start, end - 1].map(|byte| byte.min(i64::MAX as u64));
            request = request.header(RANGE, format!("bytes={first}-{last}"));
        }
        let answer = self.api.exchange(about, request, Bytes::new()).await?;
        match (answer.status(), range) {
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(range)) => {
                Err(self.no_range(key, range.start, Some(answer)).await)
            }
            (status, _) if status.is_success() => self.content(about, key, range, answer).await,
            _ => Err(api::refused(about, answer).await),
        }
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.write(About::bucket(key.as_str(), "write"), &self.root.name(key), None, content).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let absent = Some(("ifGenerationMatch", "0"));
        self.write(About::bucket(key.as_str(), "create"), &self.root.name(key), absent, content).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let about = About::object(from.as_str(), "copy");
        let [source, target] = [from, to].map(|key| self.root.name(key));
        let mut token: Option<String> = None;
        for _ in 0..MAX_REWRITES {
            let mut query = vec![("fields", "done,rewriteToken")];
            query.extend(token.as_deref().map(|token| ("rewriteToken", token)));
            let request = post(self.api.address.rewrite(&source, &target, &query));
            let answer: Rewrite = self.api.ask(about, request, Bytes::new()).await?;
            if answer.done {
                return Ok(());
            }
            token = answer.rewrite_token;
        }
        Err(about.unreachable(format!("the copy has not ended after {MAX_REWRITES} requests")))
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = Request::delete(self.api.address.object(&self.root.name(key), &[]));
        self.api.tell(About::object(key.as_str(), "delete"), request, Bytes::new()).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        let at_once = REMOVALS_AT_ONCE.min(self.max_concurrency);
        let removals: Vec<_> = keys.iter().map(|key| self.delete(key)).collect();
        let mut removals = stream::iter(removals).buffer_unordered(at_once);
        // All are tried, whatever becomes of one.
        let mut failed = None;
        while let Some(removal) = removals.next().await {
            match removal {
                Err(error) if !error.is_not_found() => failed = failed.or(Some(error)),
                _ => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        self.page(listing).await.map(|(listed, _)| listed)
    }

    async fn begin_parts(&self, _to: &Key) -> Result<Assembly, StoreError> {
        Ok(Gcs::begin())
    }

    async fn put_part(
        &self,
        _to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.write_part(assembly, number, content).await
    }

    async fn copy_part(
        &self,
        _to: &Key,
        _assembly: &Assembly,
        _number: usize,
        from: &Key,
        size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        match range {
            // Objects are put together as they are, whatever their size.
            Some(range) if range != (ByteRange { start: 0, end: size }) => {
                Err(About::object(from.as_str(), "copy").unreachable("only whole objects are put together"))
            }
            _ => Ok(Gcs::take_part(from, size)),
        }
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        self.complete(to, assembly, parts, size).await
    }

    async fn abort_parts(&self, _to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        self.abort(assembly).await
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        // The parts of all objects lie in one place.
        Ok(self.remove_old_parts(before).await? + self.remove_old_sessions(below, before).await?)
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.adopt(key).await
    }
}

fn settings(key: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: key.to_owned(), source: source.into() }
}
