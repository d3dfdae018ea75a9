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
    /// The file of a service account's key (JSON), or of a user of gcloud (`authorized_user`), which is read again when
    /// it changes. Workload identity federation (`external_account`) and impersonation are not among what can be used.
    /// With neither this nor `credentials`, what the machine or pod has been given: the file that
    /// `GOOGLE_APPLICATION_CREDENTIALS` names, or the metadata server (workload identity on GKE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyfile: Option<PathBuf>,
    /// The fields of such a file, in place of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, Secret>,
    /// Berth's own: the address of a store that is not Google's, or of a private endpoint. One that is not
    /// `https://….googleapis.com` gets no credentials but those that are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Berth's own: whether any certificate of the store is believed.
    pub skipverify: bool,
    /// Berth's own: certificates (PEM) of the authorities that sign the store's certificate, which are trusted beside those
    /// of the system. Unset: only those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<PathBuf>,
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
            endpoint: None,
            skipverify: false,
            cafile: None,
            rootdirectory: String::new(),
            chunksize: 16 << 20,
            maxconcurrency: 50,
            useragent: None,
        }
    }
}
