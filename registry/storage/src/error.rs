//! The one error of every back end: what failed, at which key, and why.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{Key, KeyError};

/// An error whose type does not matter to the caller.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the server of an object store says when it refuses a request, or cannot do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The store's own code, such as `AccessDenied`; empty if it gave none.
    pub code: String,
    /// The store's own words; empty if it gave none.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { status, code, message } = self;
        match (message.is_empty(), code.is_empty()) {
            (false, false) => write!(formatter, "{message} ({code}, status {status})"),
            (false, true) => write!(formatter, "{message} (status {status})"),
            (true, false) => write!(formatter, "{code} (status {status})"),
            (true, true) => write!(formatter, "status {status}"),
        }
    }
}

/// Why an operation on a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no object with this key.
    #[error("{key}: not found")]
    NotFound {
        /// The key asked for.
        key: String,
    },
    /// There is an object with this key already.
    #[error("{key}: exists already")]
    AlreadyExists {
        /// The key that was to be created.
        key: String,
    },
    /// An upload does not end where the caller believes.
    #[error("{key}: the upload is at byte {found}, not at byte {expected}")]
    Offset {
        /// The key of the upload's data.
        key: String,
        /// Where the caller wanted to go on, in bytes.
        expected: u64,
        /// Where the upload ends, in bytes.
        found: u64,
    },
    /// Another process works on an upload at this moment.
    #[error("{key}: another process works on the upload")]
    Busy {
        /// The key of the upload's data.
        key: String,
    },
    /// An upload has more pieces than one may have.
    #[error("the upload has come in more than {limit} pieces: begin again, with larger ones")]
    Pieces {
        /// How many there may be.
        limit: usize,
    },
    /// So much is on its way into the store that there was no room for more in time.
    #[error("too much is being pushed at once: try again")]
    Crowded,
    /// A range starts behind the end of an object.
    #[error("{key}: a range starts at byte {start}, but the object has {size} bytes")]
    Range {
        /// The key asked for.
        key: String,
        /// The first byte asked for.
        start: u64,
        /// The length of the object in bytes.
        size: u64,
    },
    /// An object is larger than the caller is willing to hold in memory.
    #[error("{key}: has {size} bytes, more than the {limit} that are read at once")]
    TooLarge {
        /// The key asked for.
        key: String,
        /// The length of the object in bytes.
        size: u64,
        /// The most that the caller takes, in bytes.
        limit: u64,
    },
    /// A key is malformed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another process holds the store in a way that excludes this one.
    #[error("{}: {holder} holds the store: {advice}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds the lock, as far as can be told.
        holder: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// There is no way to keep other processes from the store, so nothing may be collected.
    #[error("{}: cannot be collected in while it is served: {reason}", path.display())]
    Unlockable {
        /// The directory.
        path: PathBuf,
        /// Why there are no locks.
        reason: &'static str,
    },
    /// The operating system refused an operation.
    #[error("{key}: cannot {action}: {source}")]
    Io {
        /// The key or path of the operation.
        key: String,
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The server of an object store refused a request, or could not do it.
    #[error("{key}: cannot {action}: the server says: {refusal}")]
    Service {
        /// The key, or the place of the store, that the request was about.
        key: String,
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// What the server says.
        refusal: Box<Refusal>,
    },
    /// An object store gave no answer, or one that broke off or makes no sense.
    #[error("{key}: cannot {action}: {}", chain(source.as_ref()))]
    Unreachable {
        /// The key, or the place of the store, that the request was about.
        key: String,
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// What went wrong on the way.
        source: BoxError,
    },
    /// The settings of a store cannot be used.
    #[error("{key}: {source}")]
    Settings {
        /// The configuration's key, or a file.
        key: String,
        /// What is wrong with it.
        source: BoxError,
    },
}

/// An error with all that it was caused by, each once: a connection that fails says why only at the end.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl StoreError {
    /// There is no object with this key.
    #[must_use]
    pub fn not_found(key: &Key) -> Self {
        StoreError::NotFound { key: key.to_string() }
    }

    /// Whether the error only says that there is nothing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound { .. })
    }

    /// Whether the store has no room left: for anybody, or for this user of the operating system.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            // What a quota of Swift says, WebDAV's word for a full disk, and codes of those that speak S3.
            StoreError::Service { refusal, .. } => {
                const CODES: [&str; 4] = ["QuotaExceeded", "AccountQuotaExceeded", "XMinioStorageFull", "StorageFull"];
                matches!(refusal.status, 413 | 507) || CODES.contains(&refusal.code.as_str())
            }
            _ => false,
        }
    }

    /// Whether the same request may well succeed a moment later: the store was busy, restarted, or not to be reached.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        const CODES: [&str; 9] = [
            "SlowDown",
            "InternalError",
            "ServiceUnavailable",
            "ServerBusy",
            "RequestTimeout",
            "OperationTimedOut",
            "ThrottlingException",
            "rateLimitExceeded",
            "userRateLimitExceeded",
        ];
        match self {
            StoreError::Unreachable { .. } | StoreError::Crowded => true,
            StoreError::Service { refusal, .. } => {
                matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504) || CODES.contains(&refusal.code.as_str())
            }
            _ => false,
        }
    }

    /// Whether the store may have done, or may still be doing, what was asked: it has not answered, or something on the way has.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            StoreError::Unreachable { .. } => true,
            StoreError::Service { refusal, .. } => matches!(refusal.status, 408 | 500 | 502 | 504),
            _ => false,
        }
    }

    /// Whether the store says that these credentials must not do this.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, StoreError::Service { refusal, .. } if matches!(refusal.status, 401 | 403))
    }

    /// A request that got no answer, or one that broke off.
    pub(crate) fn unreachable(key: impl fmt::Display, action: &'static str, source: impl Into<BoxError>) -> Self {
        StoreError::Unreachable { key: key.to_string(), action, source: source.into() }
    }

    /// A request that was refused.
    pub(crate) fn service(key: impl fmt::Display, action: &'static str, refusal: Refusal) -> Self {
        StoreError::Service { key: key.to_string(), action, refusal: Box::new(refusal) }
    }

    /// The one place where an error of the operating system becomes a store's error.
    pub(crate) fn from_io(key: &Key, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            // A key whose parent is an object, or that is itself a directory, names no object.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                StoreError::not_found(key)
            }
            io::ErrorKind::AlreadyExists => StoreError::AlreadyExists { key: key.to_string() },
            _ => StoreError::Io { key: key.to_string(), action, source },
        }
    }
}
