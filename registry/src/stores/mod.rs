//! From `storage` of a configuration to a store that is open: one file for each object store says what its driver is told.
//!
//! Opening asks nothing of an object store, which may not be there yet; [`Opened::probe`] does, and is asked again until it
//! has an answer.

mod azure;
mod gcs;
mod oss;
mod s3;
mod swift;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use berth_config::{Driver, Filesystem as FilesystemSettings};
use berth_storage::bucket::Bucket;
use berth_storage::layers::{self, Observer, Outcome, StackOptions};
use berth_storage::{Exclude, Filesystem, LockMode, Memory, ObjectStore, Presign, Store, StoreError, Unlocked};

use crate::metrics::Metrics;

/// An open store, and what it is able to do beyond that.
pub(crate) struct Opened {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// Its ability to keep other processes away.
    pub(crate) exclude: Arc<dyn Exclude>,
    /// Its ability to send clients to content, if it has that.
    pub(crate) presign: Option<Arc<dyn Presign>>,
    /// The bucket, of an object store.
    bucket: Option<Arc<dyn Bucket>>,
}

impl Opened {
    fn local<S: Store + Exclude>(store: S) -> Self {
        let store = Arc::new(store);
        Opened { store: store.clone(), exclude: store, presign: None, bucket: None }
    }

    fn remote<B: Bucket + Presign>(
        bucket: B,
        options: &StackOptions,
        mode: LockMode,
        metrics: Option<Arc<Metrics>>,
    ) -> Self {
        let bucket = Arc::new(bucket);
        let observer: Arc<dyn Observer> = match metrics {
            Some(metrics) => Arc::new(Counting(metrics)),
            None => Arc::new(Nobody),
        };
        let stacked = layers::stack(bucket.clone(), options, observer);
        Opened { presign: Some(bucket), ..Opened::in_bucket(stacked, mode) }
    }

    /// The store in a bucket that has everything around it.
    pub(crate) fn in_bucket(bucket: Arc<dyn Bucket>, mode: LockMode) -> Self {
        let store = Arc::new(ObjectStore::new(bucket.clone()));
        let exclude = Arc::new(Unlocked::new(store.place(), mode));
        Opened { store, exclude, presign: None, bucket: Some(bucket) }
    }

    /// Whether an object that several processes create at once is that of one of them for good, as far as is known.
    pub(crate) fn creates_once(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.abilities().creates_atomically)
    }

    /// Makes sure that the store can be used, and finds out what it is able to do.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        self.store.check().await?;
        if let Some(bucket) = &self.bucket {
            bucket.probe().await?;
        }
        Ok(())
    }
}

/// Opens the store that a configuration names. This may wait for another process
/// that uses a directory.
///
/// # Errors
/// When a directory cannot be opened, or settings cannot be right.
pub(crate) async fn open(driver: &Driver, mode: LockMode, metrics: Option<Arc<Metrics>>) -> Result<Opened> {
    match driver {
        Driver::InMemory => Ok(Opened::local(Memory::new())),
        Driver::Filesystem(FilesystemSettings { rootdirectory, maxthreads }) => {
            let (root, threads) = (rootdirectory.clone(), *maxthreads as usize);
            let opening = tokio::task::spawn_blocking(move || Filesystem::open(&root, threads, mode));
            Ok(Opened::local(opening.await?.context("cannot open the store")?))
        }
        Driver::S3(settings) => {
            let bucket = berth_storage::S3::open(s3::options(settings)).await;
            Ok(Opened::remote(bucket.context("storage.s3")?, &StackOptions::default(), mode, metrics))
        }
        Driver::Azure(settings) => {
            let bucket = berth_storage::Azure::open(azure::options(settings)).await;
            Ok(Opened::remote(bucket.context("storage.azure")?, &azure::stack(settings), mode, metrics))
        }
        Driver::Gcs(settings) => {
            let bucket = berth_storage::Gcs::open(gcs::options(settings)).await;
            Ok(Opened::remote(bucket.context("storage.gcs")?, &gcs::stack(settings), mode, metrics))
        }
        Driver::Swift(settings) => {
            let bucket = berth_storage::Swift::open(swift::options(settings)).await;
            Ok(Opened::remote(bucket.context("storage.swift")?, &StackOptions::default(), mode, metrics))
        }
        Driver::Oss(settings) => {
            let bucket = berth_storage::Oss::open(oss::options(settings)).await;
            Ok(Opened::remote(bucket.context("storage.oss")?, &StackOptions::default(), mode, metrics))
        }
    }
}

/// Counts the requests to an object store.
struct Counting(Arc<Metrics>);

impl Observer for Counting {
    fn request(&self, driver: &'static str, action: &'static str, outcome: Outcome, elapsed: Duration) {
        self.0.store_request(driver, action, outcome, elapsed);
    }
}

/// Counts nothing: for commands that end.
struct Nobody;

impl Observer for Nobody {
    fn request(&self, _driver: &'static str, _action: &'static str, _outcome: Outcome, _elapsed: Duration) {}
}
