//! Where both keep their content, and a configuration as an installation has it.

use std::path::{Path, PathBuf};

use berth_e2e::compile::repository;
use berth_e2e::peer::{Bucket, Setup};

use crate::oddities::Takes;

/// What the file says that the variable replaces: a directory, or a bucket.
pub(super) const NOT_HERE: &str = "not-here";

/// Where both keep their content.
#[derive(Debug)]
pub(super) enum Place {
    /// A directory.
    Directory,
    /// A bucket of a server that speaks S3.
    Bucket(Bucket),
}

impl Place {
    /// Whether the other goes on with an upload that Berth has begun. In a bucket Distribution looks for the multipart
    /// upload of one process, and Berth leaves chunks that any can go on with.
    pub(super) fn uploads_are_of_both(&self) -> bool {
        match self {
            Self::Directory => true,
            Self::Bucket(_) => false,
        }
    }

    /// The driver in the file, which is at a place that the variable replaces.
    fn driver(&self, directory: &Path) -> String {
        match self {
            Self::Directory => format!("filesystem: {{rootdirectory: {}}}", directory.join(NOT_HERE).display()),
            Self::Bucket(bucket) => {
                let elsewhere = Bucket { name: NOT_HERE.to_owned(), ..bucket.clone() };
                // Signed addresses are never the same.
                format!("redirect: {{disable: true}}\n  s3: {}", elsewhere.parameters())
            }
        }
    }

    /// The variable that says where the content is.
    fn variable(&self, directory: &Path) -> (&'static str, String) {
        match self {
            Self::Directory => {
                ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", directory.join("data").display().to_string())
            }
            Self::Bucket(bucket) => ("REGISTRY_STORAGE_S3_BUCKET", bucket.name.clone()),
        }
    }
}

/// A configuration as an installation has it, much of it in the environment; nothing in it is changed between the servers.
pub(super) fn setup(directory: &Path, takes: Takes, place: &Place) -> Setup {
    let schema1 = match takes.schema1 {
        true => format!("compatibility: {{schema1: {{enabled: false, signingkeyfile: {}}}}}\n", trust_key().display()),
        false => String::new(),
    };
    let config = format!(
        "{schema1}version: 0.1\n\
         log:\n  fields: {{service: registry}}\n  accesslog: {{disabled: true}}\n\
         storage:\n  cache: {{blobdescriptor: inmemory}}\n  {}\n\
         http:\n  addr: :5000\n  secret: another one\n  \
         headers: {{X-Content-Type-Options: [nosniff]}}\n\
         health:\n  storagedriver: {{enabled: true, interval: 10s, threshold: 3}}\n",
        place.driver(directory)
    );
    let (variable, value) = place.variable(directory);
    let mut env = vec![
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        (variable, &value),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING", "{enabled: true, age: 168h, interval: 24h, dryrun: false}"),
        ("REGISTRY_HTTP_SECRET", "kept by whoever runs this"),
        ("REGISTRY_HTTP_HEADERS_X-Example", "[of the environment]"),
        ("REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD", "5"),
        ("REGISTRY_LOG_LEVEL", "info"),
        ("REGISTRY_LOG_FIELDS_ENVIRONMENT", "swap"),
    ];
    if takes.schema1 {
        env.push(("REGISTRY_COMPATIBILITY_SCHEMA1_ENABLED", "true"));
    }
    let env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Setup { config, env, ..Setup::filesystem(directory, &directory.join("data")) }
}

/// The key that schema 1 manifests are signed with.
fn trust_key() -> PathBuf {
    repository().join("registry/tests/data/schema1/trustkey.json")
}
