//! `http`: the listeners, and how addresses are given out.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// `http`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// `HOST:PORT` to listen on; an empty host means every address.
    pub addr: String,
    /// The address that clients use (`https://registry.example`); it takes the place of the request's own in every
    /// `Location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path that everything is served below, with a slash at both ends; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The key that signs the state in upload addresses. Unset: one is made, and kept in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Whether a `Location` is a path without scheme and host.
    pub relativeurls: bool,
    /// How long a stop waits for requests in flight.
    pub draintimeout: Duration,
    /// Headers that are added to every answer of the API.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// The listener for health, metrics and administration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<Debug>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: ":5000".into(),
            host: None,
            prefix: String::new(),
            secret: None,
            relativeurls: false,
            draintimeout: Duration::from_secs(60),
            headers: BTreeMap::new(),
            debug: None,
        }
    }
}

/// `http.debug`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debug {
    /// `HOST:PORT` to listen on.
    pub addr: String,
    /// Metrics in Prometheus' format.
    #[serde(default)]
    pub prometheus: Prometheus,
    /// Berth's own: the administration route. Unset: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
}

/// `http.debug.prometheus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Whether metrics are served.
    pub enabled: bool,
    /// Under which path.
    pub path: String,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { enabled: false, path: "/metrics".into() }
    }
}

/// `http.debug.admin`: garbage collection in the running server, for whoever holds the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The file that holds the token; it is read again when it changes.
    pub tokenfile: PathBuf,
}
