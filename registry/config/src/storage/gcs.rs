//! `storage.gcs`: a bucket of Google Cloud Storage.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::Secret;

/// `storage.gcs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// The file of a service account's key (JSON). With neither this nor `credentials`, what the machine or pod has been
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyfile: Option<PathBuf>,
    /// The fields of such a file, in place of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, Secret>,
    /// Where in the bucket `docker/registry/v2` lies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rootdirectory: String,
    /// The size of a part of an upload, in bytes: a multiple of 256 KiB.
    pub chunksize: u64,
    /// How many requests may be under way at once; at least 25.
    pub maxconcurrency: u64,
    /// What is added to the `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub useragent: Option<String>,
}

impl Gcs {
    /// What the size of a part must be a multiple of, in bytes.
    pub const CHUNK_UNIT_BYTES: u64 = 256 << 10;
}

impl Default for Gcs {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            keyfile: None,
            credentials: BTreeMap::new(),
            rootdirectory: String::new(),
            chunksize: 16 << 20,
            maxconcurrency: 50,
            useragent: None,
        }
    }
}
