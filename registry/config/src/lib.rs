//! The configuration of `berth-registry`, and the only definition of it.
//!
//! The shape is CNCF Distribution's `config.yml` (version 0.1), read by [`Config::load`] from the text of a file and
//! the `REGISTRY_*` variables, and written by [`Config::to_yaml`]. The operator builds a whole [`Config`] and writes it
//! with the function that stands beside the parser, so the two cannot drift apart.
//!
//! A configuration holds paths to secrets wherever it can. The one value that Distribution keeps in the file itself,
//! `http.secret`, is a [`Secret`]: it is never shown by `Debug` or by [`Config::to_yaml_redacted`].
//!
//! This crate opens no file and reads no environment of its own: both are arguments.

mod duration;
mod environment;
mod http;
mod load;
mod log;
mod operations;
mod secret;
mod storage;

pub use duration::{Duration, ParseDurationError};
pub use http::{Admin, Debug, Http, Prometheus};
pub use load::{Error, Loaded};
pub use log::{AccessLog, Level, Log, LogFormat};
pub use operations::{Catalog, Health, StorageHealth, Tags};
pub use secret::Secret;
pub use storage::{Delete, Driver, Filesystem, Maintenance, ReadOnly, Redirect, Storage, UploadPurging};

use serde::{Deserialize, Serialize};

/// Where Distribution 3 looks for its configuration when it is given none.
pub const DISTRIBUTION_3_PATH: &str = "/etc/distribution/config.yml";
/// Where docker-registry 2.8 looks for its configuration when it is given none.
pub const DISTRIBUTION_2_PATH: &str = "/etc/docker/registry/config.yml";
/// The variable that names the configuration file when no argument does.
pub const PATH_VARIABLE: &str = "REGISTRY_CONFIGURATION_PATH";

/// The version of the configuration's format; the only one there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

/// The whole configuration of a registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The format's version: `0.1`.
    pub version: Version,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// Where content is kept, and what may be done to it.
    pub storage: Storage,
    /// The listeners and how addresses are given out.
    #[serde(default)]
    pub http: Http,
    /// The catalog (`GET /v2/_catalog`).
    #[serde(default)]
    pub catalog: Catalog,
    /// The tag list (`GET /v2/<name>/tags/list`).
    #[serde(default)]
    pub tags: Tags,
    /// Background checks that decide `/debug/health`.
    #[serde(default)]
    pub health: Health,
}

impl Default for Config {
    /// What `berth-registry serve` runs with when it is given nothing: `./data`, port 5000, deletion allowed.
    fn default() -> Self {
        Self {
            version: Version,
            log: Log::default(),
            storage: Storage {
                driver: Driver::Filesystem(Filesystem {
                    rootdirectory: "./data".into(),
                    maxthreads: Filesystem::DEFAULT_MAX_THREADS,
                }),
                delete: Delete { enabled: true },
                maintenance: Maintenance::default(),
                redirect: Redirect::default(),
            },
            http: Http::default(),
            catalog: Catalog::default(),
            tags: Tags::default(),
            health: Health::default(),
        }
    }
}

impl Config {
    /// The configuration as YAML that [`Config::load`] reads back to an equal value.
    ///
    /// It contains `http.secret` in clear: write it only where a secret may be.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        write_yaml(self)
    }

    /// The configuration as YAML for people: secrets are replaced by `<hidden>`.
    #[must_use]
    pub fn to_yaml_redacted(&self) -> String {
        let mut shown = self.clone();
        shown.http.secret = shown.http.secret.map(|secret| Secret::new(secret.to_string()));
        write_yaml(&shown)
    }
}

fn write_yaml(config: &Config) -> String {
    serde_saphyr::to_string(config).expect("a configuration has only string keys and plain scalars")
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(0.1)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = serde_json::Value::deserialize(deserializer)?;
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        if text == "0.1" {
            Ok(Self)
        } else {
            Err(serde::de::Error::custom(format!("version {text} is not known: the only version is 0.1")))
        }
    }
}
