//! The one error of every back end: what failed, at which key, and why.

use std::io;
use std::path::PathBuf;

use crate::{Key, KeyError};

/// An error whose type does not matter to the caller.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
        let StoreError::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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
