//! A bucket of Amazon S3, or of a store that speaks its protocol: requests that the SDK signs and the shared client sends.
//!
//! What a store may lack is found out by [`S3::probe`]; before that, and where it cannot be found out, the least is
//! assumed. Nothing is tried again here, and the SDK is told not to: a decorator does that for all drivers. The SDK would
//! also correct a wrong clock in silence, but not in the addresses that clients are sent to; so the clock is complained of.

mod client;
mod copy;
mod credentials;
mod document;
mod error;
mod listing;
mod objects;
mod options;
mod parts;
mod probe;
mod sum;
mod transport;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_async::time::TimeSource;
use bytes::Bytes;

use self::client::{Clock, Target, client, resolve};
use self::credentials::Source;
use self::error::At;
use self::options::{MIN_PART_BYTES, Settings};
use self::probe::Found;
use self::transport::Transport;
use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag};
use crate::http::Http;
use crate::{ByteRange, Key, Object, Presign, Stat, StoreError};

pub use self::options::{S3Credentials, S3Options};

/// The most parts of one object.
const MAX_PARTS: usize = 10_000;
/// The longest that an address is good for.
const LONGEST_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The driver. Clones share their connections, and what is known of the store.
#[derive(Clone)]
pub struct S3 {
    client: Client,
    /// Signs the addresses that clients are sent to, where that is another server's.
    redirecting: Option<Client>,
    settings: Arc<Settings>,
    clock: Clock,
    /// The shortened name of the key that requests are signed with.
    key_in_use: Arc<ArcSwapOption<String>>,
    found: Arc<OnceLock<Found>>,
}

impl fmt::Debug for S3 {
    /// Where it is. The SDK would show pages of its own, and the whole name of the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "S3({})", self.place_text())
    }
}

impl S3 {
    /// Opens a bucket. Nothing is asked of the store, so it need not be there yet.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when the settings cannot be right.
    pub async fn open(options: S3Options) -> Result<Self, StoreError> {
        Self::open_ahead(options, Duration::ZERO).await
    }

    /// Opens a bucket as a machine does whose clock is ahead: for tests.
    #[doc(hidden)]
    pub async fn open_ahead(options: S3Options, ahead: Duration) -> Result<Self, StoreError> {
        let settings = Settings::read(&options)?;
        for warning in &settings.warnings {
            tracing::warn!(bucket = settings.bucket, "storage.s3.{warning}");
        }
        let clock = Clock { ahead };
        let http = Http::new(&options.trust)?;
        let transport = Transport::new(http, settings.user_agent.clone(), settings.log_requests);
        let source = Source::new(&options.credentials, &settings, transport.clone()).await?;
        let make = |target| client(target, &settings, &source, transport.clone(), clock);
        let target = Target::bucket(&settings);
        let redirecting = settings.redirect_endpoint.as_deref().map(|endpoint| Target::redirect(&settings, endpoint));
        let main = if settings.endpoint.is_some() { "regionendpoint" } else { "region" };
        for (key, target) in [(main, Some(target)), ("redirectendpoint", redirecting)] {
            if let Some(target) = target {
                let client = client(target, &settings, &Source::nobody(), transport.clone(), clock);
                resolve(&client, &settings.bucket).await.map_err(|error| options::wrong(key, error))?;
            }
        }
        let bucket = S3 {
            client: make(target),
            redirecting: redirecting.map(make),
            key_in_use: source.in_use.clone(),
            clock,
            settings: Arc::new(settings),
            found: Arc::default(),
        };
        Ok(bucket)
    }

    /// Finds out what the store is able to do, unless that is known already. It writes a few small objects of random names
    /// below `berth/v1/probe`, and removes them, with those that others have left there a day ago. A failure leaves open
    /// what it asked for: ask again later.
    ///
    /// # Errors
    /// What the store says: that it cannot be reached, or must not be written.
    pub async fn probe(&self) -> Result<Abilities, StoreError> {
        if self.found.get().is_none() {
            let found = probe::run(self).await?;
            if self.found.set(found).is_ok() {
                found.say(&self.place_text());
            }
            match probe::sweep(self).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed what probes before have left"),
                Err(error) => tracing::debug!(%error, "cannot look for what probes before have left"),
            }
        }
        Ok(self.abilities())
    }

    fn place_text(&self) -> String {
        let Settings { bucket, root, .. } = self.settings.as_ref();
        match root.directory() {
            "" => format!("s3://{bucket}"),
            directory => format!("s3://{bucket}/{directory}"),
        }
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn key_in_use(&self) -> Option<String> {
        self.key_in_use.load().as_deref().cloned()
    }

    /// What was found out, or the least.
    fn found(&self) -> Found {
        self.found.get().copied().unwrap_or_default()
    }

    /// The name of an object in the bucket.
    fn name(&self, key: &Key) -> String {
        self.settings.root.name(key)
    }
}

#[async_trait]
impl Bucket for S3 {
    fn driver(&self) -> &'static str {
        "s3"
    }

    fn place(&self) -> String {
        self.place_text()
    }

    fn abilities(&self) -> Abilities {
        let Found { creates_atomically, copies_parts, removes_many, writes: _ } = self.found();
        Abilities {
            creates_atomically,
            removes_many: removes_many.is_some(),
            copies_parts,
            lists_from_anywhere: true,
            lists_at_once: true,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            chunk_bytes: self.settings.chunk_bytes,
            min_part_bytes: MIN_PART_BYTES,
            max_parts: MAX_PARTS,
            max_copy_bytes: options::MAX_PART_BYTES,
            copies_at_once: self.settings.copies_at_once,
        }
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        S3::probe(self).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.look_around("use the bucket").await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.head_object(key).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        self.get_object(key, range).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.put_object(key, content).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.create_object(key, content).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.copy_object(from, to).await
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        self.copy_object_of(from, to, size).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        // The store says the same of an object that it has removed and of one that was never there.
        self.head_object(key).await?;
        self.delete_object(key).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.remove_objects(keys).await
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        self.list_objects(listing).await
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        self.create_upload(to).await
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
        _size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        self.upload_part_copy(to, assembly, number, from, range).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        self.complete_upload(to, assembly, parts, size).await
    }

    async fn abort_parts(&self, to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        self.abort_upload(to, assembly).await
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.adopt_uploads(key).await
    }

    async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        self.abort_old_uploads(below, before).await
    }
}

#[async_trait]
impl Presign for S3 {
    async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError> {
        let action = "sign an address for";
        let validity = validity.clamp(Duration::from_secs(1), LONGEST_VALIDITY);
        let config = PresigningConfig::builder().start_time(self.now()).expires_in(validity).build();
        let config = config.map_err(|error| StoreError::unreachable(key, action, error))?;
        let client = self.redirecting.as_ref().unwrap_or(&self.client);
        let request = client.get_object().bucket(&self.settings.bucket).key(self.name(key));
        match request.presigned(config).await {
            Ok(request) => Ok(Some(request.uri().to_owned())),
            Err(error) => Err(self.failed(At::Object(key), action, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> S3Options {
        S3Options {
            bucket: "images".to_owned(),
            region: Some("eu-west-1".to_owned()),
            credentials: S3Credentials::Keys {
                access_key: "AKIDEXAMPLE".to_owned(),
                secret_key: "secret".to_owned(),
                session_token: None,
            },
            root_directory: "registry".to_owned(),
            ..S3Options::default()
        }
    }

    async fn address(change: impl FnOnce(&mut S3Options)) -> Result<String, StoreError> {
        let mut options = options();
        change(&mut options);
        let bucket = S3::open(options).await?;
        let key: Key = "docker/a b".parse().unwrap();
        Ok(bucket.presign(&key, Duration::from_secs(1200)).await?.unwrap())
    }

    #[tokio::test]
    async fn addresses_are_where_the_settings_say() {
        async fn check(change: impl FnOnce(&mut S3Options), expected: &str) {
            let address = address(change).await.unwrap();
            assert_eq!(address.split('?').next().unwrap(), format!("{expected}/registry/docker/a%20b"));
        }
        check(|_| (), "https://images.s3.eu-west-1.amazonaws.com").await;
        check(|o| o.force_path_style = Some(true), "https://s3.eu-west-1.amazonaws.com/images").await;
        check(|o| o.dual_stack = true, "https://images.s3.dualstack.eu-west-1.amazonaws.com").await;
        check(|o| o.accelerate = true, "https://images.s3-accelerate.amazonaws.com").await;
        check(
            |o| (o.fips, o.region) = (true, Some("us-east-1".into())),
            "https://images.s3-fips.us-east-1.amazonaws.com",
        )
        .await;
        check(|o| o.region = Some("cn-north-1".into()), "https://images.s3.cn-north-1.amazonaws.com.cn").await;
        check(|o| o.endpoint = Some("s3.example.com:9000".into()), "https://s3.example.com:9000/images").await;
        check(
            |o| (o.endpoint, o.secure) = (Some("s3.example.com:9000".into()), false),
            "http://s3.example.com:9000/images",
        )
        .await;
        check(
            |o| (o.endpoint, o.force_path_style) = (Some("https://s3.example.com".into()), Some(false)),
            "https://images.s3.example.com",
        )
        .await;
        check(
            |o| {
                o.endpoint = Some("http://minio.internal:9000".into());
                o.redirect_endpoint = Some("https://cdn.example.com".into());
            },
            "https://cdn.example.com/images",
        )
        .await;
        // Where the host is the bucket's, the other host is as well.
        check(|o| o.redirect_endpoint = Some("https://cdn.example.com".into()), "https://cdn.example.com").await;
    }

    #[tokio::test]
    async fn an_address_is_signed_for_its_time_and_shows_no_secret() {
        let address = address(|_| ()).await.unwrap();
        for part in ["X-Amz-Expires=1200", "X-Amz-Credential=AKIDEXAMPLE%2F", "X-Amz-Signature=", "eu-west-1%2Fs3"] {
            assert!(address.contains(part), "{address}");
        }
        assert!(!address.contains("secret") && !address.contains("checksum"), "{address}");
        let bucket = S3::open(options()).await.unwrap();
        let key: Key = "a".parse().unwrap();
        let long = bucket.presign(&key, Duration::from_secs(1 << 30)).await.unwrap().unwrap();
        assert!(long.contains("X-Amz-Expires=604800"), "{long}");
    }

    #[tokio::test]
    async fn what_has_no_address_is_refused_at_the_start() {
        async fn check(key: &str, change: impl FnOnce(&mut S3Options)) {
            let error = address(change).await.unwrap_err();
            assert!(matches!(error, StoreError::Settings { .. }), "{error:?}");
            assert!(error.to_string().starts_with(&format!("storage.s3.{key}: ")), "{error}");
        }
        check("region", |o| o.region = Some("not a region".into())).await;
        check("region", |o| (o.accelerate, o.fips) = (true, true)).await;
        check("credentialsdirectory", |o| o.credentials = S3Credentials::Directory("/none/of/these".into())).await;
    }

    #[tokio::test]
    async fn nothing_is_believed_before_it_was_found_out() {
        let bucket = S3::open(options()).await.unwrap();
        let Abilities { creates_atomically, removes_many, copies_parts, lists_from_anywhere, lists_at_once } =
            bucket.abilities();
        assert!(!creates_atomically && !removes_many && !copies_parts && lists_from_anywhere && lists_at_once);
        assert_eq!(bucket.place(), "s3://images/registry");
        assert_eq!(format!("{bucket:?}"), "S3(s3://images/registry)");
    }
}
