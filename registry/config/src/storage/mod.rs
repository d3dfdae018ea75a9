//! `storage`: exactly one driver, beside what may be done to the content.

mod azure;
mod gcs;
mod oss;
mod s3;
mod swift;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Duration;

pub use azure::{Azure, AzureCredentials, AzureCredentialsKind};
pub use gcs::Gcs;
pub use oss::Oss;
pub use s3::{S3, S3LogLevel};
pub use swift::Swift;

/// `storage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// A bucket of Amazon S3, or of a store that speaks its protocol.
    S3(Box<S3>),
    /// A container of Azure Blob Storage.
    Azure(Box<Azure>),
    /// A bucket of Google Cloud Storage.
    Gcs(Box<Gcs>),
    /// A container of OpenStack Swift.
    Swift(Box<Swift>),
    /// A bucket of Alibaba Cloud's object store.
    Oss(Box<Oss>),
}

impl Driver {
    /// The key under `storage` that chooses the driver.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Filesystem(_) => "filesystem",
            Self::InMemory => "inmemory",
            Self::S3(_) => "s3",
            Self::Azure(_) => "azure",
            Self::Gcs(_) => "gcs",
            Self::Swift(_) => "swift",
            Self::Oss(_) => "oss",
        }
    }
}

/// `storage.filesystem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

    fn with_enough_threads(self) -> Self {
        Self { maxthreads: self.maxthreads.max(Self::MIN_MAX_THREADS), ..self }
    }
}

impl Default for Filesystem {
    fn default() -> Self {
        Self { rootdirectory: "/var/lib/registry".into(), maxthreads: Self::DEFAULT_MAX_THREADS }
    }
}

/// `storage.delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Delete {
    /// Whether tags, manifests and blobs may be deleted through the API. As with Distribution, not unless asked for.
    pub enabled: bool,
}

/// `storage.maintenance`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Maintenance {
    /// Removal of uploads that nobody finishes.
    pub uploadpurging: UploadPurging,
    /// Refusal of every write.
    pub readonly: ReadOnly,
}

/// `storage.maintenance.uploadpurging`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ReadOnly {
    /// Whether writes are refused.
    pub enabled: bool,
    /// Berth's own: a file with `true` or `false`, which counts in place of `enabled` as long as it can be read, also when
    /// it changes while the registry runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// `storage.redirect`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// Whether content is always sent by the registry itself.
    pub disable: bool,
}

/// The keys under `storage` as they are written; [`Storage`] holds what they mean.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
struct Fields {
    /// A directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    filesystem: Option<Filesystem>,
    /// The memory of the process; gone with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    inmemory: Option<InMemory>,
    /// A bucket of Amazon S3, or of a store that speaks its protocol. Also spelled `s3aws`.
    #[serde(skip_serializing_if = "Option::is_none")]
    s3: Option<Box<S3>>,
    /// Another spelling of `s3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    s3aws: Option<Box<S3>>,
    /// A container of Azure Blob Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    azure: Option<Box<Azure>>,
    /// A bucket of Google Cloud Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    gcs: Option<Box<Gcs>>,
    /// A container of OpenStack Swift.
    #[serde(skip_serializing_if = "Option::is_none")]
    swift: Option<Box<Swift>>,
    /// A bucket of Alibaba Cloud's object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    oss: Option<Box<Oss>>,
    /// Deletion through the API.
    delete: Delete,
    /// What the registry does by itself, or refuses to do.
    maintenance: Maintenance,
    /// Redirects to the store.
    redirect: Redirect,
}

#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct InMemory {}

impl TryFrom<Fields> for Storage {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { filesystem, inmemory, s3, s3aws, azure, gcs, swift, oss, delete, maintenance, redirect } = fields;
        let drivers = [
            ("filesystem", filesystem.map(|filesystem| Driver::Filesystem(filesystem.with_enough_threads()))),
            ("inmemory", inmemory.map(|InMemory {}| Driver::InMemory)),
            ("s3", s3.map(Driver::S3)),
            ("s3aws", s3aws.map(Driver::S3)),
            ("azure", azure.map(Driver::Azure)),
            ("gcs", gcs.map(Driver::Gcs)),
            ("swift", swift.map(Driver::Swift)),
            ("oss", oss.map(Driver::Oss)),
        ];
        let mut drivers = drivers.into_iter().filter_map(|(key, driver)| Some((key, driver?)));
        match (drivers.next(), drivers.next()) {
            (Some((_, driver)), None) => Ok(Self { driver, delete, maintenance, redirect }),
            (None, _) => {
                Err("storage names no driver: add one of filesystem, inmemory, s3, azure, gcs, swift, oss".into())
            }
            (Some((one, _)), Some((other, _))) => {
                Err(format!("storage names two drivers, {one} and {other}: keep one"))
            }
        }
    }
}

impl From<Storage> for Fields {
    fn from(storage: Storage) -> Self {
        let Storage { driver, delete, maintenance, redirect } = storage;
        let fields = Self { delete, maintenance, redirect, ..Self::default() };
        match driver {
            Driver::Filesystem(filesystem) => Self { filesystem: Some(filesystem), ..fields },
            Driver::InMemory => Self { inmemory: Some(InMemory {}), ..fields },
            Driver::S3(s3) => Self { s3: Some(s3), ..fields },
            Driver::Azure(azure) => Self { azure: Some(azure), ..fields },
            Driver::Gcs(gcs) => Self { gcs: Some(gcs), ..fields },
            Driver::Swift(swift) => Self { swift: Some(swift), ..fields },
            Driver::Oss(oss) => Self { oss: Some(oss), ..fields },
        }
    }
}
