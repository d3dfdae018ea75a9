//! `Registry.spec.tls`: TLS at the registry's own port.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::SecretRef;

/// TLS at the registry's own port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The Secret with the certificate chain (tls.crt) and its key (tls.key), of the type kubernetes.io/tls. When its
    /// content changes, as cert-manager does before a certificate expires, the registry takes it up without a restart.
    pub secret_ref: SecretRef,
    /// The oldest version of TLS that is spoken: "1.2" or "1.3". "1.2" when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}
