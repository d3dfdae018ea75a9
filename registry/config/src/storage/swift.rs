//! `storage.swift`: a container of OpenStack Swift, as docker-registry 2.8 has it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// `storage.swift`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Swift {
    /// The address of the identity service.
    pub authurl: String,
    /// The user. Required, unless `credentialsdirectory` holds it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The user's password. Required, unless `credentialsdirectory` holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Berth's own: a directory with a file for each credential, in place of the keys of their names: `password` and, where
    /// they are wanted, `username`, `secretkey` and `accesskey`. The files are read again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentialsdirectory: Option<PathBuf>,
    /// The container.
    pub container: String,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The tenant (project), by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The tenant, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenantid: Option<String>,
    /// The user's domain, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The user's domain, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainid: Option<String>,
    /// The tenant's domain, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenantdomain: Option<String>,
    /// The tenant's domain, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenantdomainid: Option<String>,
    /// The trust that the user acts under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trustid: Option<String>,
    /// The version of the identity service: 1, 2 or 3. Unset: read from `authurl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authversion: Option<u8>,
    /// Which address of the service is used: `public`, `internal` or `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpointtype: Option<String>,
    /// Whether any certificate of the store is believed.
    pub insecureskipverify: bool,
    /// Berth's own: certificates (PEM) of the authorities that sign the store's certificate, which are trusted beside those
    /// of the system. Unset: only those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<PathBuf>,
    /// The size of a segment, in bytes.
    pub chunksize: u64,
    /// Where in the container `docker/registry/v2` lies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The key that signs temporary addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secretkey: Option<Secret>,
    /// The name of that key, for stores that want it in the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesskey: Option<Secret>,
    /// Whether that key is the container's and not the account's.
    pub tempurlcontainerkey: bool,
    /// The methods that temporary addresses are good for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tempurlmethods: Vec<String>,
}

impl Swift {
    /// The smallest segment, in bytes.
    pub const MIN_CHUNK_BYTES: u64 = 1 << 20;
}

impl Default for Swift {
    fn default() -> Self {
        Self {
            authurl: String::new(),
            username: String::new(),
            password: None,
            credentialsdirectory: None,
            container: String::new(),
            region: None,
            tenant: None,
            tenantid: None,
            domain: None,
            domainid: None,
            tenantdomain: None,
            tenantdomainid: None,
            trustid: None,
            authversion: None,
            endpointtype: None,
            insecureskipverify: false,
            cafile: None,
            chunksize: 20 << 20,
            prefix: String::new(),
            secretkey: None,
            accesskey: None,
            tempurlcontainerkey: false,
            tempurlmethods: Vec::new(),
        }
    }
}
