//! What the suite is run on: a bucket of one driver on one server, and the same driver set up wrongly.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use berth_storage::bucket::Bucket;
use berth_storage::{Key, Presign};
use berth_stores::Proxy;

/// A thing that a driver or a server may not have, or why it has not.
pub(crate) type Has<T> = Result<T, &'static str>;

/// A bucket under test. It is empty when it is handed over, and its driver has probed the server.
pub(crate) struct Subject {
    /// The server's name.
    pub(crate) server: &'static str,
    /// The server's version.
    pub(crate) version: String,
    pub(crate) bucket: Arc<dyn Bucket>,
    /// The same place, opened a second time: what another process is.
    pub(crate) other: Arc<dyn Bucket>,
    /// The same place for addresses that clients are sent to. They must be plain HTTP.
    pub(crate) presign: Has<Arc<dyn Presign>>,
    /// An object of this size is copied in another way than small ones are, in bytes; the driver's own thresholds are set
    /// below it.
    pub(crate) large_bytes: usize,
    /// The same place with a secret that is wrong.
    pub(crate) wrong_credentials: Has<Arc<dyn Bucket>>,
    /// A bucket that is not there.
    pub(crate) missing_bucket: Has<Arc<dyn Bucket>>,
    /// The same place, on a machine whose clock is an hour wrong.
    pub(crate) wrong_clock: Has<Arc<dyn Bucket>>,
    /// The same driver on an address where nothing listens.
    pub(crate) nobody: Has<Arc<dyn Bucket>>,
    /// The same place with credentials from files.
    pub(crate) files: Has<Files>,
    /// The same place, reached through a proxy.
    pub(crate) through: Has<Through>,
    /// What the server, or the driver by its nature, does not do: the name of a case of either suite, and the reason.
    pub(crate) lacks: Vec<(&'static str, &'static str)>,
    /// What no error may show.
    pub(crate) secrets: Vec<String>,
    /// What lives as long as the test: the server's process, directories.
    pub(crate) kept: Vec<Box<dyn Any + Send + Sync>>,
}

/// A bucket whose credentials are files that can be changed.
#[derive(Clone)]
pub(crate) struct Files {
    /// Opened while the files were right.
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) directory: PathBuf,
    /// The file that holds the secret.
    pub(crate) secret_file: &'static str,
    /// What is right in it.
    pub(crate) right: String,
    /// What is well-formed and wrong.
    pub(crate) wrong: String,
}

/// A bucket behind a proxy that counts requests and breaks them.
#[derive(Clone)]
pub(crate) struct Through {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) proxy: Arc<Proxy>,
}

/// How a case went.
pub(crate) enum Verdict {
    Passed,
    Skipped(String),
}

impl Subject {
    /// Keeps what must live as long as the subject.
    #[must_use]
    pub(crate) fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(thing));
        self
    }
}

/// A key that must be right.
pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}
