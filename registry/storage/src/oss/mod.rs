//! A bucket of Alibaba Cloud's object store (OSS), by plain requests.
//!
//! Requests are signed here ([`sign`]), which is little: a library for it would bring an INI parser and a second set of
//! hash functions. An object lies where docker-registry 2.8 has it: at its key below `rootdirectory`, without a slash in
//! front. Nothing is tried twice here.
//!
//! That objects are created atomically holds for a bucket without versions only: with versions the store overwrites,
//! whatever it is told. A probe finds out by a race.

mod address;
mod client;
mod credentials;
mod object;
mod parts;
mod role;
mod sign;
mod xml;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use self::address::{Address, Place, signing_region};
use self::client::Client;
use self::credentials::{Credentials, Keys, Source};
use self::role::Role;
use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag, Root};
use crate::http::{Http, Trust};
use crate::presign::Presign;
use crate::{BoxError, ByteRange, Key, Object, Stat, StoreError};

pub use self::role::OssRole;

/// The least size of a part of an upload that the settings may ask for, in bytes.
const MIN_CHUNK_BYTES: u64 = 5 << 20;
/// The most bytes of a part.
const MAX_CHUNK_BYTES: u64 = 5 << 30;
/// The least bytes of any part but the last.
const MIN_PART_BYTES: u64 = 100 * 1024;
/// The most parts of an object.
const MAX_PARTS: usize = 10_000;
/// How many parts are copied at once.
const COPIES_AT_ONCE: usize = 8;
/// The largest object that is copied with one request unless another size is asked for, in bytes; the store itself stops
/// at 5 GiB, and at less between buckets.
const COPY_BYTES: u64 = 1 << 30;
/// How many parts a copy of the largest of these would have.
const COPY_PARTS: u64 = 8;
/// How many writers race in a probe.
const RACERS: u8 = 4;

/// Where the keys come from that requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum OssCredentials {
    /// These.
    Keys {
        /// `accesskeyid`: the name of the access key.
        access_key_id: String,
        /// `accesskeysecret`: the access key.
        access_key_secret: String,
    },
    /// The files `accesskeyid` and `accesskeysecret` of a directory, which are read again when they change.
    Directory(PathBuf),
    /// The security token service, which gives them for a role.
    Role(OssRole),
    /// The role that the environment names.
    Surroundings,
}

impl fmt::Debug for OssCredentials {
    /// Without the keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OssCredentials::Keys { access_key_id: _, access_key_secret: _ } => formatter.write_str("Keys"),
            OssCredentials::Directory(directory) => formatter.debug_tuple("Directory").field(directory).finish(),
            OssCredentials::Role(role) => formatter.debug_tuple("Role").field(role).finish(),
            OssCredentials::Surroundings => formatter.write_str("Surroundings"),
        }
    }
}

/// What the driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OssOptions {
    /// Where the keys come from.
    pub credentials: OssCredentials,
    /// `region`, as `oss-cn-hangzhou` or `cn-hangzhou`.
    pub region: String,
    /// `endpoint`: the host of the bucket, where it is not made from the region.
    pub endpoint: Option<String>,
    /// `redirectendpoint`: the host of the bucket that clients are sent to, where it is another.
    pub redirect_endpoint: Option<String>,
    /// `internal`: whether the address inside Alibaba's network is used.
    pub internal: bool,
    /// `bucket`.
    pub bucket: String,
    /// `encrypt`: whether objects are encrypted by the store.
    pub encrypt: bool,
    /// `secure`: whether the store is spoken to over TLS.
    pub secure: bool,
    /// `chunksize`: the size of a part of an upload, in bytes.
    pub chunk_bytes: u64,
    /// The largest object that is copied with one request, in bytes, 1 MiB to 5 GiB; larger ones are copied in parts of
    /// an eighth of it or more. There is no key for it.
    pub copy_bytes: u64,
    /// `rootdirectory`.
    pub root_directory: String,
    /// Whom to trust.
    pub trust: Trust,
}

impl Default for OssOptions {
    fn default() -> Self {
        OssOptions {
            credentials: OssCredentials::Surroundings,
            region: String::new(),
            endpoint: None,
            redirect_endpoint: None,
            internal: false,
            bucket: String::new(),
            encrypt: false,
            secure: true,
            chunk_bytes: 2 * MIN_CHUNK_BYTES,
            copy_bytes: COPY_BYTES,
            root_directory: String::new(),
            trust: Trust::default(),
        }
    }
}

/// The driver. Clones are the same.
#[derive(Clone)]
pub struct Oss {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    root: Root,
    place: String,
    encrypt: bool,
    chunk_bytes: usize,
    copy_bytes: u64,
    /// What a probe has shown.
    creates_atomically: OnceLock<bool>,
}

impl fmt::Debug for Oss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Oss({})", self.shared.place)
    }
}

impl Oss {
    /// The driver for these options. Nothing is asked of the store.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when the options cannot be right.
    pub async fn open(options: OssOptions) -> Result<Self, StoreError> {
        let http = Http::new(&options.trust)?;
        let bucket = options.bucket.as_str();
        let place = Place {
            bucket,
            region: &options.region,
            endpoint: options.endpoint.as_deref(),
            internal: options.internal,
            secure: options.secure,
        };
        let address = Address::new(&place)?;
        let redirect_address = match options.redirect_endpoint.as_deref() {
            None | Some("") => address.clone(),
            Some(endpoint) => Address::new(&Place { endpoint: Some(endpoint), ..place })?,
        };
        if !(MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&options.chunk_bytes) {
            let problem = format!("must be {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES}, not {}", options.chunk_bytes);
            return Err(settings("storage.oss.chunksize", problem));
        }
        let chunk_bytes =
            usize::try_from(options.chunk_bytes).map_err(|error| settings("storage.oss.chunksize", error))?;
        if !((1 << 20)..=MAX_CHUNK_BYTES).contains(&options.copy_bytes) {
            return Err(settings("storage.oss", "objects of 1 MiB to 5 GiB can be copied at once"));
        }
        let region = signing_region(&options.region, options.endpoint.as_deref());
        if region.is_none() {
            tracing::warn!(driver = "oss", "requests are signed with version 1, as no region is known");
        }
        let root = Root::new(&options.root_directory);
        let place = format!("oss://{bucket}/{}", root.directory());
        let client = Client {
            credentials: Credentials::new(source(options.credentials.clone(), &http)?),
            http,
            bucket: bucket.to_owned(),
            address,
            redirect_address,
            region,
        };
        if matches!(options.credentials, OssCredentials::Directory(_)) {
            // Files that are not there cannot be right; the store is not needed to know.
            client.credentials.keys().await?;
        }
        let shared = Shared {
            client,
            root,
            place,
            encrypt: options.encrypt,
            chunk_bytes,
            copy_bytes: options.copy_bytes,
            creates_atomically: OnceLock::new(),
        };
        Ok(Oss { shared: Arc::new(shared) })
    }

    /// Whether of several who create an object at once, one is told that it did.
    async fn race(&self) -> Result<bool, StoreError> {
        let text = format!("berth/v1/probe/{}", uuid::Uuid::new_v4());
        let key: Key = text.parse()?;
        let writes = (0..RACERS).map(|racer| self.put_object(&key, Bytes::copy_from_slice(&[racer]), true));
        let (mut won, mut failed) = (0, None);
        for outcome in join_all(writes).await {
            match outcome {
                Ok(()) => won += 1,
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        if won > 0 {
            self.delete_object(&key).await?;
        }
        failed.map_or(Ok(won == 1), Err)
    }
}

/// Where the keys come from.
fn source(credentials: OssCredentials, http: &Http) -> Result<Source, StoreError> {
    let role = match credentials {
        OssCredentials::Keys { access_key_id: id, access_key_secret: secret } => {
            for (key, value) in [("accesskeyid", &id), ("accesskeysecret", &secret)] {
                if value.is_empty() {
                    return Err(settings(&format!("storage.oss.{key}"), "is empty"));
                }
            }
            return Ok(Source::Fixed(Keys { id, secret, token: None, expires: None }));
        }
        OssCredentials::Directory(directory) => return Ok(Source::Directory(directory)),
        OssCredentials::Role(role) => Some(role),
        OssCredentials::Surroundings => OssRole::from_variables(|name| std::env::var(name).ok()),
    };
    let role = role.ok_or_else(|| {
        settings(
            "storage.oss",
            "no credentials: set accesskeyid and accesskeysecret, or give the pod's service account a RAM role",
        )
    })?;
    Ok(Source::Role(Box::new(Role::new(role, http.clone())?)))
}

fn settings(key: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: key.to_owned(), source: source.into() }
}

#[async_trait]
impl Presign for Oss {
    async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError> {
        let Shared { client, root, .. } = &*self.shared;
        Ok(Some(client.presign(&root.name(key), validity).await?))
    }
}

#[async_trait]
impl Bucket for Oss {
    fn driver(&self) -> &'static str {
        "oss"
    }

    fn place(&self) -> String {
        self.shared.place.clone()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            creates_atomically: self.shared.creates_atomically.get().copied().unwrap_or(false),
            removes_many: true,
            copies_parts: true,
            lists_from_anywhere: true,
            lists_at_once: true,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            chunk_bytes: self.shared.chunk_bytes,
            min_part_bytes: MIN_PART_BYTES,
            max_parts: MAX_PARTS,
            max_copy_bytes: MAX_CHUNK_BYTES,
            copies_at_once: COPIES_AT_ONCE,
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.list_one().await
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        let Shared { place, creates_atomically, .. } = &*self.shared;
        if creates_atomically.get().is_none() {
            let is_so = self.race().await?;
            // Two may have found out at once; one of them says so.
            if creates_atomically.set(is_so).is_ok() && is_so {
                tracing::info!(driver = "oss", place, "objects are created atomically");
            } else if !is_so {
                let hint = "does the bucket keep versions? Then the store overwrites, whatever it is told";
                tracing::warn!(driver = "oss", place, hint, "objects are not created atomically");
            }
        }
        Ok(self.abilities())
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.head_object(key).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        self.get_object(key, range).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.put_object(key, content, false).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        if !self.abilities().creates_atomically {
            match self.head(key).await {
                Ok(_) => return Err(StoreError::AlreadyExists { key: key.to_string() }),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        self.put_object(key, content, true).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let Stat { size, modified: _ } = self.head(from).await?;
        self.copy_sized(from, to, size).await
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        if size > self.shared.copy_bytes {
            return self.copy_in_parts(from, to, size).await;
        }
        self.copy_object(from, to).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        // The store does not say whether there was something to remove.
        self.head(key).await?;
        self.delete_object(key).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        for keys in keys.chunks(object::MAX_REMOVED) {
            match keys {
                [key] => self.delete_object(key).await?,
                keys => self.delete_objects(keys).await?,
            }
        }
        Ok(())
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        self.list_objects(listing).await
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        self.begin_upload(to).await
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.upload_part(to, assembly, number, content).await
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
        let range = range.unwrap_or(ByteRange { start: 0, end: size });
        self.upload_part_copy(to, assembly, number, from, range).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        let numbered: Vec<(u64, &PartTag)> = (1..).zip(&parts).collect();
        self.complete_upload(to, assembly, &numbered, size).await
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        self.abort_upload(to, assembly).await
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.adopt(key).await
    }

    async fn remove_leftovers(&self, _below: &Key, _before: SystemTime) -> Result<u64, StoreError> {
        // They are left to a rule of the bucket (`AbortMultipartUpload` in its life cycle).
        Ok(0)
    }
}
