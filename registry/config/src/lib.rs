//! The configuration of `berth-registry`, and the only definition of it.
//!
//! The shape is CNCF Distribution's `config.yml` (version 0.1), read by [`Config::load`] from the text of a file and
//! the `REGISTRY_*` variables, and written by [`Config::to_yaml`]. The operator builds a whole [`Config`] and writes it
//! with the function that stands beside the parser, so the two cannot drift apart.
//!
//! A configuration holds paths to secrets wherever it can. What Distribution keeps in the file itself, such as
//! `http.secret`, is a [`Secret`]: only [`Config::to_yaml`] shows it.
//!
//! What is here is known, which is more than this version of the server does: the server says at its start which key it
//! cannot follow.
//!
//! This crate opens no file and reads no environment of its own: both are arguments.

mod auth;
mod certificate;
mod check;
mod duration;
mod environment;
mod http;
mod issuer;
mod load;
mod log;
mod middleware;
mod notifications;
mod operations;
mod policy;
mod proxy;
mod read;
#[cfg(test)]
mod reference;
pub mod rules;
mod secret;
mod storage;
mod tls;
mod tree;
mod validation;

pub use auth::{Auth, Htpasswd, Method, Silly, Token};
pub use certificate::{Certificate, CertificateGroups, CertificateName};
pub use duration::{Duration, ParseDurationError};
pub use http::{Admin, Debug, H2c, Http, Http2, Net, Prometheus};
pub use issuer::{Issuer, Oidc, Refresh, ServiceAccounts, UsersFile};
pub use load::{Error, Loaded};
pub use log::{AccessLog, AuditEvents, AuditLog, Level, Log, LogFormat};
pub use middleware::{Layer, LayerOptions, Middleware};
pub use notifications::{Endpoint, Events, Ignore, Notifications};
pub use operations::{Catalog, FileHealth, Health, HttpHealth, StorageHealth, Tags, TcpHealth};
pub use policy::{Compatibility, Policy, RepositoryPolicy, Schema1};
pub use proxy::{Exec, Proxy};
pub use secret::{Secret, shown_address};
pub use storage::{
    Azure, AzureCredentials, AzureCredentialsKind, Delete, Driver, Filesystem, Gcs, Maintenance, Oss, ReadOnly,
    Redirect, S3, S3LogLevel, Storage, Swift, UploadPurging,
};
pub use tls::{ClientAuth, LetsEncrypt, Tls, TlsVersion};
pub use validation::{IndexValidation, ManifestValidation, Platform, Platforms, Urls, Validation};

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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The format's version: `0.1`.
    pub version: Version,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// Where content is kept, and what may be done to it.
    pub storage: Storage,
    /// Who may speak to the registry. Unset: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What lies between the registry and its store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub middleware: Middleware,
    /// The listeners and how addresses are given out.
    #[serde(default)]
    pub http: Http,
    /// Who is told of pushes, pulls and deletions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub notifications: Notifications,
    /// The catalog (`GET /v2/_catalog`).
    #[serde(default)]
    pub catalog: Catalog,
    /// The tag list (`GET /v2/<name>/tags/list`).
    #[serde(default)]
    pub tags: Tags,
    /// Background checks that decide `/debug/health`.
    #[serde(default)]
    pub health: Health,
    /// Another registry, whose content this one passes on. Unset: this one has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// What a pushed manifest may hold.
    #[serde(default)]
    pub validation: Validation,
    /// Which classes of content are taken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// What is done for old clients.
    #[serde(default)]
    pub compatibility: Compatibility,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            auth: None,
            middleware: Middleware::default(),
            http: Http::default(),
            notifications: Notifications::default(),
            catalog: Catalog::default(),
            tags: Tags::default(),
            health: Health::default(),
            proxy: None,
            validation: Validation::default(),
            policy: Policy::default(),
            compatibility: Compatibility::default(),
        }
    }
}

impl Config {
    /// The configuration as YAML that [`Config::load`] reads back to an equal value.
    ///
    /// It contains secrets in clear: write it only where a secret may be.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        secret::in_clear(|| self.to_yaml_redacted())
    }

    /// The configuration as YAML for people: secrets are replaced by `<hidden>`.
    #[must_use]
    pub fn to_yaml_redacted(&self) -> String {
        serde_saphyr::to_string(self).expect("a configuration has only string keys and plain scalars")
    }
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
