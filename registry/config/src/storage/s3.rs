//! `storage.s3`, also spelled `storage.s3aws`: a bucket of Amazon S3, or of a store that speaks its protocol.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// `storage.s3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The bucket's region. Needed unless `regionendpoint` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The address of a store that is not Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regionendpoint: Option<String>,
    /// The address that clients are redirected to, where it is another than the registry's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirectendpoint: Option<String>,
    /// The name of the access key. With neither this nor `credentialsdirectory`, the credentials that the machine or pod has been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesskey: Option<String>,
    /// The access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secretkey: Option<Secret>,
    /// The token that belongs to temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessiontoken: Option<Secret>,
    /// Berth's own: a directory with a file for each credential, in place of the keys of their names: `accesskey`,
    /// `secretkey` and, for temporary credentials, `sessiontoken`. The files are read again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentialsdirectory: Option<PathBuf>,
    /// Whether the bucket is part of the path and not of the host name. Unset: where `regionendpoint` is set, as
    /// docker-registry 2.8 had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forcepathstyle: Option<bool>,
    /// Where in the bucket `docker/registry/v2` lies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rootdirectory: String,
    /// Whether objects are encrypted by the store.
    pub encrypt: bool,
    /// The key of the store's key service that they are encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// Whether the store is spoken to over TLS.
    pub secure: bool,
    /// Whether any certificate of the store is believed.
    pub skipverify: bool,
    /// Berth's own: certificates (PEM) of the authorities that sign the store's certificate, which are trusted beside those
    /// of the system. Unset: only those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<PathBuf>,
    /// Whether requests are signed with version 4, the only one that there is at Amazon.
    pub v4auth: bool,
    /// The size of a part of an upload, in bytes.
    pub chunksize: u64,
    /// The size of a part of a copy, in bytes.
    pub multipartcopychunksize: u64,
    /// How many parts of a copy are under way at once.
    pub multipartcopymaxconcurrency: u64,
    /// The size above which an object is copied in parts, in bytes.
    pub multipartcopythresholdsize: u64,
    /// The storage class of objects; `NONE` to not name one.
    pub storageclass: String,
    /// The canned access control list of objects.
    pub objectacl: String,
    /// What is added to the `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub useragent: Option<String>,
    /// Whether Amazon's endpoints for IPv4 and IPv6 are used.
    pub usedualstack: bool,
    /// Whether Amazon's transfer acceleration is used.
    pub accelerate: bool,
    /// Whether Amazon's FIPS endpoints are used.
    pub usefipsendpoint: bool,
    /// What of the protocol is logged.
    pub loglevel: S3LogLevel,
}

impl S3 {
    /// The smallest part of an upload that the protocol allows, in bytes.
    pub const MIN_CHUNK_BYTES: u64 = 5 << 20;
    /// The largest part that the protocol allows, in bytes.
    pub const MAX_CHUNK_BYTES: u64 = 5 << 30;
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            region: None,
            regionendpoint: None,
            redirectendpoint: None,
            accesskey: None,
            secretkey: None,
            sessiontoken: None,
            credentialsdirectory: None,
            forcepathstyle: None,
            rootdirectory: String::new(),
            encrypt: false,
            keyid: None,
            secure: true,
            skipverify: false,
            cafile: None,
            v4auth: true,
            chunksize: 2 * Self::MIN_CHUNK_BYTES,
            multipartcopychunksize: 32 << 20,
            multipartcopymaxconcurrency: 100,
            multipartcopythresholdsize: 32 << 20,
            storageclass: "STANDARD".into(),
            objectacl: "private".into(),
            useragent: None,
            usedualstack: false,
            accelerate: false,
            usefipsendpoint: false,
            loglevel: S3LogLevel::Off,
        }
    }
}

/// `storage.s3.loglevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum S3LogLevel {
    /// The default: nothing. Also where `off` has been read as a boolean.
    #[default]
    #[serde(alias = "false")]
    Off,
    /// Every request.
    Debug,
    /// And how it was signed.
    DebugWithSigning,
    /// And its body.
    DebugWithHttpBody,
    /// And every try after the first.
    DebugWithRequestRetries,
    /// And every error.
    DebugWithRequestErrors,
    /// And the body of event streams.
    DebugWithEventStreamBody,
}
