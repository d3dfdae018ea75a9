//! What a spec names in its own namespace: Secrets, and keys of Secrets and ConfigMaps.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::pattern;

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OBJECT_NAME))
        .message("name must be that of a Secret: a-z, 0-9, '-' and '.'"))]
    pub name: String,
}

/// A key of a Secret or a ConfigMap in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OBJECT_NAME))
        .message("name must be that of a Secret or ConfigMap: a-z, 0-9, '-' and '.'"))]
    pub name: String,
    /// The key in it. ca.crt when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OBJECT_KEY))
        .message("key must be that of a Secret or ConfigMap: letters, digits, '-', '_' and '.'"))]
    pub key: Option<String>,
}

/// Certificates of authorities, from a ConfigMap or a Secret: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.configMapRef) != has(self.secretRef)")
        .message("authorities must be from one place: set exactly one of configMapRef and secretRef")
)]
pub struct CertificateAuthority {
    /// A ConfigMap, as trust-manager and the service CA of OpenShift write one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
    /// A Secret, as cert-manager writes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,
}
