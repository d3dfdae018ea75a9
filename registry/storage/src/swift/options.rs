//! What the driver is told: the settings of docker-registry 2.8, and Berth's own beside them.

use std::fmt;
use std::path::PathBuf;

use crate::{StoreError, Trust};

/// The smallest segment that the settings may ask for, in bytes.
pub(super) const MIN_CHUNK_BYTES: u64 = 1 << 20;
/// The largest object that Swift takes in one piece, in bytes.
const MAX_CHUNK_BYTES: u64 = 5 << 30;

/// The settings of a container.
#[derive(Clone, PartialEq, Eq)]
pub struct SwiftOptions {
    /// The address of the identity service.
    pub auth_url: String,
    /// The version of the identity service: 1, 2 or 3. Unset: read from `auth_url`.
    pub auth_version: Option<u8>,
    /// The user. May be empty where `credentials_directory` holds it.
    pub username: String,
    /// The user's password, or key.
    pub password: Option<String>,
    /// A directory with a file for each credential, in place of those here: `password` and, where they are wanted,
    /// `username`, `secretkey` and `accesskey`. The files are read again when they change.
    pub credentials_directory: Option<PathBuf>,
    /// The container.
    pub container: String,
    /// Where in the container everything lies.
    pub prefix: String,
    /// The region of the catalog that the store is looked for in; unset: the first.
    pub region: Option<String>,
    /// Which address of the catalog is used: `public` (unset), `internal` or `admin`.
    pub endpoint_type: Option<String>,
    /// The tenant (project), by name.
    pub tenant: Option<String>,
    /// The tenant, by id.
    pub tenant_id: Option<String>,
    /// The user's domain, by name.
    pub domain: Option<String>,
    /// The user's domain, by id.
    pub domain_id: Option<String>,
    /// The tenant's domain, by name.
    pub tenant_domain: Option<String>,
    /// The tenant's domain, by id.
    pub tenant_domain_id: Option<String>,
    /// The trust that the user acts under.
    pub trust_id: Option<String>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The size of a segment, in bytes.
    pub chunk_bytes: u64,
    /// The key that signs temporary addresses. Unset: the one that the container, or the account, has.
    pub secret_key: Option<String>,
    /// The name of that key, for stores that want it in the address.
    pub access_key: Option<String>,
    /// Whether that key is the container's and not the account's, where the store does not say that it knows both.
    pub temp_url_container_key: bool,
    /// The methods that temporary addresses are good for, where the store does not say.
    pub temp_url_methods: Vec<String>,
    /// What clients reach the store by, where it is another address than the registry's: a scheme and a host.
    pub redirect_endpoint: Option<String>,
}

impl Default for SwiftOptions {
    fn default() -> Self {
        SwiftOptions {
            auth_url: String::new(),
            auth_version: None,
            username: String::new(),
            password: None,
            credentials_directory: None,
            container: String::new(),
            prefix: String::new(),
            region: None,
            endpoint_type: None,
            tenant: None,
            tenant_id: None,
            domain: None,
            domain_id: None,
            tenant_domain: None,
            tenant_domain_id: None,
            trust_id: None,
            trust: Trust::default(),
            chunk_bytes: 20 << 20,
            secret_key: None,
            access_key: None,
            temp_url_container_key: false,
            temp_url_methods: Vec::new(),
            redirect_endpoint: None,
        }
    }
}

impl fmt::Debug for SwiftOptions {
    /// What says where the store is; nothing that says who uses it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SwiftOptions")
            .field("container", &self.container)
            .field("prefix", &self.prefix)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl SwiftOptions {
    /// Refuses what cannot be right, whatever the store is like.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.container.is_empty() || self.container.contains('/') {
            return Err(wrong("container", "must be the name of a container, without a slash"));
        }
        if !(MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&self.chunk_bytes) {
            let problem = format!("must be from {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES} bytes");
            return Err(wrong("chunksize", problem));
        }
        if let Some(endpoint) = &self.redirect_endpoint {
            let is_whole =
                endpoint.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
            if !is_whole {
                return Err(wrong("redirectendpoint", "must be an address such as https://swift.example"));
            }
        }
        Ok(())
    }
}

/// A setting that cannot be used, by the name that the configuration has for it.
pub(super) fn wrong(key: &str, problem: impl Into<crate::BoxError>) -> StoreError {
    StoreError::Settings { key: format!("storage.swift.{key}"), source: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_right_are_named() {
        let good = SwiftOptions { container: "images".into(), ..SwiftOptions::default() };
        assert!(good.check().is_ok());
        let check = |options: SwiftOptions, key: &str| {
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("storage.swift.{key}: must be ")), "{error}");
        };
        check(SwiftOptions::default(), "container");
        check(SwiftOptions { container: "a/b".into(), ..good.clone() }, "container");
        check(SwiftOptions { chunk_bytes: 1000, ..good.clone() }, "chunksize");
        check(SwiftOptions { chunk_bytes: 6 << 30, ..good.clone() }, "chunksize");
        check(SwiftOptions { redirect_endpoint: Some("swift.example".into()), ..good }, "redirectendpoint");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let options = SwiftOptions {
            username: "SECRET1".into(),
            password: Some("SECRET2".into()),
            secret_key: Some("SECRET3".into()),
            access_key: Some("SECRET4".into()),
            auth_url: "https://SECRET5@identity.example".into(),
            ..SwiftOptions::default()
        };
        assert!(!format!("{options:?}").contains("SECRET"));
    }
}
