//! `catalog`, `tags` and `health`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// `catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// A periodic look at the store.
    pub storagedriver: StorageHealth,
    /// Files whose presence makes the registry unhealthy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<FileHealth>,
    /// Addresses that must answer HTTP requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpHealth>,
    /// Addresses that must accept TCP connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpHealth>,
}

/// `health.storagedriver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
        Self { enabled: true, interval: DEFAULT_INTERVAL, threshold: 3 }
    }
}

/// An entry of `health.file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FileHealth {
    /// The file that must not be there.
    pub file: PathBuf,
    /// The time between two looks.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// How many looks in a row must fail before the registry calls itself unhealthy.
    #[serde(default = "default_threshold")]
    pub threshold: u32,
}

/// An entry of `health.http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpHealth {
    /// The address that gets a HEAD request. A name and a password in it are sent as `Authorization`.
    #[serde(serialize_with = "crate::secret::serialize_address")]
    pub uri: String,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<Secret>>,
    /// The status that the answer must have.
    #[serde(default = "default_status")]
    pub statuscode: u16,
    /// How long a look may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// The time between two looks.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// How many looks in a row must fail before the registry calls itself unhealthy.
    #[serde(default = "default_threshold")]
    pub threshold: u32,
}

/// An entry of `health.tcp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TcpHealth {
    /// The `HOST:PORT` to connect to.
    pub addr: String,
    /// How long a look may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// The time between two looks.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// How many looks in a row must fail before the registry calls itself unhealthy.
    #[serde(default = "default_threshold")]
    pub threshold: u32,
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

fn default_interval() -> Duration {
    DEFAULT_INTERVAL
}

fn default_threshold() -> u32 {
    1
}

fn default_status() -> u16 {
    200
}

/// Distribution waits for ever.
fn default_timeout() -> Duration {
    Duration::from_secs(5)
}
