//! `storage`: exactly one driver, beside what may be done to the content.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Duration;

/// `storage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Storage {
    /// Where content is kept: `storage.<driver>`.
    pub driver: Driver,
    /// Deletion through the API.
    pub delete: Delete,
    /// What the registry does by itself, or refuses to do.
    pub maintenance: Maintenance,
    /// Redirects to the store.
    pub redirect: Redirect,
}

/// The storage drivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A directory.
    Filesystem(Filesystem),
    /// The memory of the process; gone with it.
    InMemory,
}

impl Driver {
    /// The key under `storage` that chooses the driver.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Filesystem(_) => "filesystem",
            Self::InMemory => "inmemory",
        }
    }
}

/// `storage.filesystem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filesystem {
    /// The directory; `docker/registry/v2` lies below it.
    pub rootdirectory: PathBuf,
    /// How many file operations may run at once; at least 25.
    pub maxthreads: u32,
}

impl Filesystem {
    /// Distribution's default.
    pub const DEFAULT_MAX_THREADS: u32 = 100;
    /// Distribution's lower bound; a smaller value is raised to it.
    pub const MIN_MAX_THREADS: u32 = 25;
}

impl Default for Filesystem {
    fn default() -> Self {
        Self { rootdirectory: "/var/lib/registry".into(), maxthreads: Self::DEFAULT_MAX_THREADS }
    }
}

/// `storage.delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delete {
    /// Whether tags, manifests and blobs may be deleted through the API. As with Distribution, not unless asked for.
    pub enabled: bool,
}

/// `storage.maintenance`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maintenance {
    /// Removal of uploads that nobody finishes.
    pub uploadpurging: UploadPurging,
    /// Refusal of every write.
    pub readonly: ReadOnly,
}

/// `storage.maintenance.uploadpurging`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UploadPurging {
    /// Whether old uploads are removed.
    pub enabled: bool,
    /// How old an upload must be.
    pub age: Duration,
    /// The time between two looks.
    pub interval: Duration,
    /// Whether the uploads are only named in the log.
    pub dryrun: bool,
}

impl Default for UploadPurging {
    fn default() -> Self {
        Self {
            enabled: true,
            age: Duration::from_secs(168 * 3600),
            interval: Duration::from_secs(24 * 3600),
            dryrun: false,
        }
    }
}

/// `storage.maintenance.readonly`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOnly {
    /// Whether writes are refused.
    pub enabled: bool,
}

/// `storage.redirect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// Whether content is always sent by the registry itself.
    pub disable: bool,
}

/// The keys under `storage` as they are written; [`Storage`] holds what they mean.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filesystem: Option<Filesystem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inmemory: Option<InMemory>,
    #[serde(default)]
    delete: Delete,
    #[serde(default)]
    maintenance: Maintenance,
    #[serde(default)]
    redirect: Redirect,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InMemory {}

impl TryFrom<Fields> for Storage {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { filesystem, inmemory, delete, maintenance, redirect } = fields;
        let driver = match (filesystem, inmemory) {
            (Some(filesystem), None) => Driver::Filesystem(Filesystem {
                maxthreads: filesystem.maxthreads.max(Filesystem::MIN_MAX_THREADS),
                ..filesystem
            }),
            (None, Some(InMemory {})) => Driver::InMemory,
            (None, None) => return Err("storage names no driver: add one of filesystem, inmemory".into()),
            (Some(_), Some(_)) => {
                return Err("storage names two drivers, filesystem and inmemory: keep one".into());
            }
        };
        Ok(Self { driver, delete, maintenance, redirect })
    }
}

impl From<Storage> for Fields {
    fn from(storage: Storage) -> Self {
        let Storage { driver, delete, maintenance, redirect } = storage;
        let (filesystem, inmemory) = match driver {
            Driver::Filesystem(filesystem) => (Some(filesystem), None),
            Driver::InMemory => (None, Some(InMemory {})),
        };
        Self { filesystem, inmemory, delete, maintenance, redirect }
    }
}
