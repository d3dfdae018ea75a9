//! `http`: the listeners, and how addresses are given out.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret, Tls};

/// `http`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// `HOST:PORT` to listen on, where an empty host means every address; with `net: unix` the path of a socket.
    pub addr: String,
    /// What `addr` is an address of.
    pub net: Net,
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
    /// TLS. Unset: the registry speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// HTTP/2 over TLS.
    pub http2: Http2,
    /// HTTP/2 without TLS.
    pub h2c: H2c,
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
            net: Net::Tcp,
            host: None,
            prefix: String::new(),
            secret: None,
            relativeurls: false,
            draintimeout: Duration::from_secs(60),
            tls: None,
            http2: Http2::default(),
            h2c: H2c::default(),
            headers: BTreeMap::new(),
            debug: None,
        }
    }
}

/// `http.net`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// The default: TCP.
    #[default]
    Tcp,
    /// A Unix domain socket.
    Unix,
}

/// `http.http2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Whether clients are served over HTTP/1.1 only.
    pub disabled: bool,
}

/// `http.h2c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct H2c {
    /// Whether HTTP/2 is spoken without TLS, to clients that ask for it.
    pub enabled: bool,
}

/// `http.debug`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The file that holds the token; it is read again when it changes.
    pub tokenfile: PathBuf,
}
