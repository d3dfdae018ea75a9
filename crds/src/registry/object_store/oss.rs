//! `Registry.spec.storage.oss`: a bucket of Alibaba Cloud's object store.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{PART_SIZE, PART_SIZE_MESSAGE, ROOT_DIRECTORY_MESSAGE, SAME_BUCKET, SAME_BUCKET_MESSAGE};
use crate::{
    Size, pattern,
    registry::reference::{CertificateAuthority, SecretRef},
};

/// A bucket of Alibaba Cloud's object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentials)")
        .message("credentials are missing: name a Secret in secretRef, or write workloadIdentity: {} for what the pod has \
            been given"),
    validation = Rule::new("!has(self.endpoint) || !has(self.internal) || !self.internal")
        .message("internal chooses among Alibaba's own addresses: leave it out, or endpoint"),
    validation = Rule::new(SAME_BUCKET).message(SAME_BUCKET_MESSAGE)
)]
pub struct Oss {
    /// The name of the bucket. It must exist: Berth never makes or deletes one.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OSS_BUCKET))
        .message("bucket must be the name alone, 3 to 63 of a-z, 0-9 and '-': a folder in it goes into rootDirectory"))]
    pub bucket: String,
    /// The region of the bucket, such as oss-eu-central-1.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::REGION))
        .message("region must be the name of a region, such as oss-eu-central-1"))]
    pub region: String,
    /// The address of the bucket, such as https://acme-images.oss.example: as in CNCF Distribution its own host, and not that
    /// of the store. Made from bucket and region when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::HOST_ADDRESS))
        .message("endpoint must be an address such as https://oss.example, without a path, a name or a password"))]
    pub endpoint: Option<String>,
    /// Whether the address inside Alibaba's network is used. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// Where in the bucket docker/registry/v2 lies. At its root when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ROOT_DIRECTORY)).message(ROOT_DIRECTORY_MESSAGE))]
    pub root_directory: Option<String>,
    /// Whether objects are encrypted by the store. false when it is left out: what the bucket itself says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<bool>,
    /// The size of a part of an upload, as a quantity of bytes from 5Mi to 64Mi: each pod holds at least two of them in
    /// memory. 10Mi when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(PART_SIZE).message(PART_SIZE_MESSAGE))]
    pub chunk_size: Option<Size>,
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
    pub credentials: Option<OssCredentials>,
    /// Whether clients that pull a blob are sent to the store for it. The pods then carry less, and clients must reach the
    /// store. false when it is left out, because a store with a private address is out of clients' reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
}

/// How the registry shows the store who it is: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.workloadIdentity)")
        .message("credentials must be of one kind: set exactly one of secretRef and workloadIdentity")
)]
pub struct OssCredentials {
    /// The Secret with the keys accesskeyid and accesskeysecret. When its content changes, the registry takes it up without a
    /// restart, within about a minute, when the node has told the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// A role that the pod is given, so that there is no Secret: RAM Roles for Service Accounts (RRSA). {} is whatever the pod
    /// has been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<OssWorkloadIdentity>,
}

/// A role of the pod at Alibaba Cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OssWorkloadIdentity {
    /// The name of the RAM role: the annotation pod-identity.alibabacloud.com/role-name of the ServiceAccount that Berth makes,
    /// and the label pod-identity.alibabacloud.com/injection of the pods. One that exists is annotated by whoever made it.
    /// Neither when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OSS_ROLE))
        .message("roleName must be the name of a RAM role alone: letters, digits, '.', '_' and '-'"))]
    pub role_name: Option<String>,
}
