//! `notifications`: who is told of pushes, pulls and deletions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// `notifications`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Notifications {
    /// What is told.
    pub events: Events,
    /// Who is told.
    pub endpoints: Vec<Endpoint>,
}

/// `notifications.events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Whether the event of a manifest lists what the manifest refers to.
    pub includereferences: bool,
}

/// An entry of `notifications.endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// What the endpoint is called in log and metrics.
    pub name: String,
    /// Whether it is left out.
    #[serde(default)]
    pub disabled: bool,
    /// The address that events are posted to.
    #[serde(serialize_with = "crate::secret::serialize_address")]
    pub url: String,
    /// Headers of every request, such as `Authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<Secret>>,
    /// How long a request may take.
    #[serde(default = "one_second")]
    pub timeout: Duration,
    /// How many requests in a row must fail before `backoff` is waited.
    #[serde(default = "default_threshold")]
    pub threshold: u32,
    /// How long to wait before the next try.
    #[serde(default = "one_second")]
    pub backoff: Duration,
    /// Media types of content that is not told of; the older spelling of `ignore.mediatypes`, which counts as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignoredmediatypes: Vec<String>,
    /// What is not told.
    #[serde(default)]
    pub ignore: Ignore,
}

/// `notifications.endpoints[].ignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Ignore {
    /// Media types of content that is not told of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mediatypes: Vec<String>,
    /// Actions that are not told of: `pull`, `push`, `mount`, `delete`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn default_threshold() -> u32 {
    10
}
