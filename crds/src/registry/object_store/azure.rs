//! `Registry.spec.storage.azure`: a container of Azure Blob Storage.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::ROOT_DIRECTORY_MESSAGE;
use crate::{
    pattern,
    registry::reference::{CertificateAuthority, SecretRef},
};

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentials)")
        .message("credentials are missing: name a Secret in secretRef or clientSecret, or write workloadIdentity: {} for \
            what the pod has been given"),
    validation = Rule::new("has(self.accountName) || !has(self.credentials) || has(self.credentials.secretRef)")
        .message("accountName is missing: name the storage account; only a Secret with a connectionstring names it itself"),
    validation = Rule::new("self.container == oldSelf.container \
        && (has(self.rootDirectory) ? self.rootDirectory : '') \
        == (has(oldSelf.rootDirectory) ? oldSelf.rootDirectory : '') \
        && (!has(oldSelf.accountName) || (has(self.accountName) && self.accountName == oldSelf.accountName))")
        .message("accountName, once it is given, container and rootDirectory cannot change, because the content would not \
            move with them: make a Registry of another name and copy the content to it"),
    validation = Rule::new("!has(self.endpoint) || !self.endpoint.startsWith('http://') || !has(self.credentials) \
        || has(self.credentials.secretRef)")
        .message("endpoint must begin with https:// beside clientSecret and workloadIdentity, since tokens of Microsoft Entra \
            are sent to it")
)]
pub struct Azure {
    /// The name of the storage account. Required, unless the Secret of credentials.secretRef has a connectionstring, which
    /// is looked for when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::AZURE_ACCOUNT))
        .message("accountName must be that of a storage account: a-z and 0-9"))]
    pub account_name: Option<String>,
    /// The name of the container. It must exist: Berth never makes or deletes one.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::AZURE_CONTAINER))
        .message("container must be the name of a container: a-z, 0-9 and '-'; a folder in it goes into rootDirectory"))]
    pub container: String,
    /// The domain of the cloud. core.windows.net when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::DOMAIN))
        .message("realm must be a domain, such as core.chinacloudapi.cn"))]
    pub realm: Option<String>,
    /// The address of the account's blob service. Made from accountName and realm when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ADDRESS))
        .message("endpoint must be an address such as https://acme.blob.core.windows.net, without a name or password"))]
    pub endpoint: Option<String>,
    /// Where in the container docker/registry/v2 lies. At its root when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ROOT_DIRECTORY)).message(ROOT_DIRECTORY_MESSAGE))]
    pub root_directory: Option<String>,
    /// Certificates (PEM) of authorities that are trusted in addition, for a store with a certificate of one's own
    /// authority. Those of the system alone when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
    /// Whether any certificate of the store is believed, which lets whoever is in between read and change everything: for
    /// trials. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
    /// How the registry shows the store who it is. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureCredentials>,
    /// Whether clients that pull a blob are sent to the store for it. The pods then carry less, and clients must reach the
    /// store. false when it is left out, because a store with a private address is out of clients' reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
}

/// How the registry shows the store who it is: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.secretRef), has(self.clientSecret), has(self.workloadIdentity)]\
        .exists_one(given, given)")
        .message("credentials must be of one kind: set exactly one of secretRef, clientSecret and workloadIdentity")
)]
pub struct AzureCredentials {
    /// The Secret with the key accountkey where accountName is given, and connectionstring where it is not. When its
    /// content changes, the registry takes it up without a restart, within about a minute, when the node has told the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// An application of Microsoft Entra ID and its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<AzureClientSecret>,
    /// An identity that the pod is given, so that there is no Secret: Microsoft Entra Workload ID, or the identity of the
    /// node. {} is whatever the pod has been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<AzureWorkloadIdentity>,
}

/// An application of Microsoft Entra ID and its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureClientSecret {
    /// The id of the application (client).
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::AZURE_ID)).message("clientId must be an id: letters, digits and '-'"))]
    pub client_id: String,
    /// The id of the directory (tenant).
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::AZURE_ID)).message("tenantId must be an id: letters, digits and '-'"))]
    pub tenant_id: String,
    /// The Secret with the key secret: the application's. When its content changes, the registry takes it up without a
    /// restart, within about a minute, when the node has told the pods.
    pub secret_ref: SecretRef,
}

/// An identity of the pod at Azure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tenantId) || has(self.clientId)")
        .message("tenantId goes with clientId: name the application or managed identity, too, or leave it out")
)]
pub struct AzureWorkloadIdentity {
    /// The id of the application or managed identity: the annotation azure.workload.identity/client-id of the ServiceAccount
    /// that Berth makes, and the label azure.workload.identity/use of the pods. One that exists is annotated by whoever
    /// made it. Neither when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::AZURE_ID)).message("clientId must be an id: letters, digits and '-'"))]
    pub client_id: Option<String>,
    /// The id of the directory (tenant): the annotation azure.workload.identity/tenant-id. The cluster's when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::AZURE_ID)).message("tenantId must be an id: letters, digits and '-'"))]
    pub tenant_id: Option<String>,
}
