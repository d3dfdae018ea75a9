//! `storage.azure`: a container of Azure Blob Storage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// `storage.azure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Azure {
    /// The storage account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accountname: String,
    /// The account's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accountkey: Option<Secret>,
    /// Account, key and address in one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectionstring: Option<Secret>,
    /// Berth's own: a directory with a file for each credential, in place of the keys of their names: `accountkey` or
    /// `connectionstring`, or, where `credentials.type` is `client_secret`, `secret`. The files are read again when they
    /// change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentialsdirectory: Option<PathBuf>,
    /// The container.
    pub container: String,
    /// The domain of the cloud.
    pub realm: String,
    /// The address of the account. Unset: made from account and realm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serviceurl: Option<String>,
    /// Where in the container `docker/registry/v2` lies. Unset: at its root, where a container of Distribution 2.8, which
    /// began every name with a slash, is recognized; `/` says that names have none, and `//` that they have one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rootdirectory: String,
    /// How the registry shows who it is. Unset: with the account's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureCredentials>,
    /// How often a request is tried again; -1 is never, since 0 is the default. Distribution counts the looks at a copy that
    /// is under way. Here such a copy is waited for in any case, five minutes at the most.
    pub max_retries: i32,
    /// How long to wait before the first of these tries.
    pub retry_delay: Duration,
    /// Whether any certificate of the store is believed.
    pub skipverify: bool,
    /// Berth's own: certificates (PEM) of the authorities that sign the store's certificate, which are trusted beside those
    /// of the system. Unset: only those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cafile: Option<PathBuf>,
}

impl Default for Azure {
    fn default() -> Self {
        Self {
            accountname: String::new(),
            accountkey: None,
            connectionstring: None,
            credentialsdirectory: None,
            container: String::new(),
            realm: "core.windows.net".into(),
            serviceurl: None,
            rootdirectory: String::new(),
            credentials: None,
            max_retries: 5,
            retry_delay: Duration::from_millis(100),
            skipverify: false,
            cafile: None,
        }
    }
}

/// `storage.azure.credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AzureCredentials {
    /// Which of Azure's ways.
    #[serde(rename = "type")]
    pub kind: AzureCredentialsKind,
    /// The application (`client_secret`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clientid: Option<String>,
    /// The application's tenant (`client_secret`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenantid: Option<String>,
    /// The application's secret (`client_secret`), unless `credentialsdirectory` holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// `storage.azure.credentials.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AzureCredentialsKind {
    /// An application and its secret.
    ClientSecret,
    /// The account's key.
    SharedKey,
    /// What the machine or pod has been given.
    DefaultCredentials,
}
