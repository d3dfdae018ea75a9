//! `proxy`: a registry that passes on what another one has, and keeps it for a while.

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// `proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The other registry.
    #[serde(serialize_with = "crate::secret::serialize_address")]
    pub remoteurl: String,
    /// The user name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A program that prints user name and password, in place of the two keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// How long content is kept; 0 for ever.
    #[serde(default = "default_ttl")]
    pub ttl: Duration,
    /// How long it may take to keep a blob.
    #[serde(default = "default_write_timeout")]
    pub cachewritetimeout: Duration,
}

/// `proxy.exec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program, a credential helper as Docker has them.
    pub command: String,
    /// How long its answer counts; 0 for one request, unset for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
}

fn default_ttl() -> Duration {
    Duration::from_secs(7 * 24 * 3600)
}

fn default_write_timeout() -> Duration {
    Duration::from_secs(5 * 60)
}
