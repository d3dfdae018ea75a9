//! `storage.oss`: a bucket of Alibaba Cloud's object store, as docker-registry 2.8 has it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// `storage.oss`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Oss {
    /// The name of the access key. Without it and `credentialsdirectory`, the role that the pod or machine has been given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accesskeyid: String,
    /// The access key; set with `accesskeyid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesskeysecret: Option<Secret>,
    /// Berth's own: a directory with a file for each credential, in place of the keys of their names: `accesskeyid` and
    /// `accesskeysecret`. The files are read again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentialsdirectory: Option<PathBuf>,
    /// The region.
    pub region: String,
    /// The address of the store. Unset: made from the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the address inside Alibaba's network is used.
    pub internal: bool,
    /// The bucket.
    pub bucket: String,
    /// Whether objects are encrypted by the store.
    pub encrypt: bool,
    /// Whether the store is spoken to over TLS.
    pub secure: bool,
    /// Berth's own: whether any certificate of the store is believed.
    pub skipverify: bool,
    /// Berth's own: certificates (PEM) of the authorities that sign the store's certificate, which are trusted beside those
    /// of the system. Unset: only those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<PathBuf>,
    /// The size of a part of an upload, in bytes.
    pub chunksize: u64,
    /// Where in the bucket `docker/registry/v2` lies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rootdirectory: String,
}

impl Oss {
    /// The smallest part of an upload, in bytes.
    pub const MIN_CHUNK_BYTES: u64 = 5 << 20;
}

impl Default for Oss {
    fn default() -> Self {
        Self {
            accesskeyid: String::new(),
            accesskeysecret: None,
            credentialsdirectory: None,
            region: String::new(),
            endpoint: None,
            internal: false,
            bucket: String::new(),
            encrypt: false,
            secure: true,
            skipverify: false,
            cafile: None,
            chunksize: 2 * Self::MIN_CHUNK_BYTES,
            rootdirectory: String::new(),
        }
    }
}
