//! `catalog`, `tags` and `health`.

use serde::{Deserialize, Serialize};

use crate::Duration;

/// `catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Catalog {
    /// The most repositories that one page may hold; a request for more is refused.
    pub maxentries: usize,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { maxentries: 1000 }
    }
}

/// `tags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tags {
    /// The most tags that one page may hold; a request for more gets this many.
    pub maxtags: usize,
}

impl Default for Tags {
    fn default() -> Self {
        Self { maxtags: 1000 }
    }
}

/// `health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// A periodic look at the store.
    pub storagedriver: StorageHealth,
}

/// `health.storagedriver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageHealth {
    /// Whether the store is looked at.
    pub enabled: bool,
    /// The time between two looks.
    pub interval: Duration,
    /// How many looks in a row must fail before the registry calls itself unhealthy.
    pub threshold: u32,
}

impl Default for StorageHealth {
    fn default() -> Self {
        Self { enabled: true, interval: Duration::from_secs(10), threshold: 3 }
    }
}
