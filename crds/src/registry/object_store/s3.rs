//! `Registry.spec.storage.s3`: a bucket of Amazon S3, or of a store that speaks its protocol.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{BUCKET_MESSAGE, PART_SIZE, PART_SIZE_MESSAGE, ROOT_DIRECTORY_MESSAGE, SAME_BUCKET, SAME_BUCKET_MESSAGE};
use crate::{
    Size, pattern,
    registry::reference::{CertificateAuthority, SecretRef},
};

/// A bucket of Amazon S3, or of a store that speaks its protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.region) || has(self.endpoint)")
        .message("region is missing: name the bucket's region, such as eu-central-1, or the endpoint of another store \
            than Amazon's"),
    validation = Rule::new("has(self.credentials)")
        .message("credentials are missing: name a Secret in secretRef, or write workloadIdentity: {} for what the pod has \
            been given"),
    validation = Rule::new("!has(self.endpoint) || [has(self.useDualStack) && self.useDualStack, \
        has(self.useFips) && self.useFips, has(self.accelerate) && self.accelerate].all(chosen, !chosen)")
        .message("useDualStack, useFips and accelerate choose among Amazon's own addresses: leave them out, or endpoint"),
    validation = Rule::new("!has(self.accelerate) || !self.accelerate || [has(self.useFips) && self.useFips, \
        has(self.pathStyle) && self.pathStyle].all(chosen, !chosen)")
        .message("accelerate goes neither with useFips nor with pathStyle, for which Amazon has no addresses: leave one out"),
    validation = Rule::new(SAME_BUCKET).message(SAME_BUCKET_MESSAGE)
)]
pub struct S3 {
    /// The name of the bucket. It must exist: Berth never makes or deletes one.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::BUCKET)).message(BUCKET_MESSAGE))]
    pub bucket: String,
    /// The region of the bucket, such as eu-central-1. Required, unless endpoint is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::REGION))
        .message("region must be the name of a region, such as eu-central-1"))]
    pub region: Option<String>,
    /// The address of the store, such as https://minio.store.svc:9000. Amazon's own for the region when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ADDRESS))
        .message("endpoint must be an address such as https://minio.store.svc:9000, without a name or password"))]
    pub endpoint: Option<String>,
    /// The address of the store as clients reach it, for redirects, where it is another than endpoint. endpoint when it is
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::HOST_ADDRESS))
        .message("redirectEndpoint must be an address such as https://minio.example, without a path, a name or a password"))]
    pub redirect_endpoint: Option<String>,
    /// Whether the bucket is part of the path and not of the host name. true where endpoint is given, and false where it
    /// is not, when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Where in the bucket docker/registry/v2 lies. At its root when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ROOT_DIRECTORY)).message(ROOT_DIRECTORY_MESSAGE))]
    pub root_directory: Option<String>,
    /// Encryption of objects by the store. What the bucket itself says when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<S3Encryption>,
    /// The storage class of objects, such as STANDARD or STANDARD_IA; NONE to name none. STANDARD when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::S3_STORAGE_CLASS))
        .message("storageClass must be the name of a storage class of objects, such as STANDARD_IA"))]
    pub storage_class: Option<String>,
    /// The size of a part of an upload, as a quantity of bytes from 5Mi to 64Mi: each pod holds at least two of them in
    /// memory. 10Mi when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(PART_SIZE).message(PART_SIZE_MESSAGE))]
    pub chunk_size: Option<Size>,
    /// Whether Amazon's addresses for IPv4 and IPv6 are used. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_dual_stack: Option<bool>,
    /// Whether Amazon's FIPS addresses are used. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_fips: Option<bool>,
    /// Whether Amazon's transfer acceleration is used, which the bucket must allow. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerate: Option<bool>,
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
    pub credentials: Option<S3Credentials>,
    /// Whether clients that pull a blob are sent to the store for it, at redirectEndpoint or endpoint. The pods then carry
    /// less, and clients must reach the store and trust its certificate. false when it is left out, because a store inside
    /// the cluster is mostly out of clients' reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
}

/// Encryption of objects by the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Encryption {
    /// The key of the store's key service (KMS), by id, ARN or alias. The store's own key (AES256) when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub key_id: Option<String>,
}

/// How the registry shows the store who it is: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.workloadIdentity)")
        .message("credentials must be of one kind: set exactly one of secretRef and workloadIdentity")
)]
pub struct S3Credentials {
    /// The Secret with the keys accesskey, secretkey and, for temporary credentials, sessiontoken. When its content
    /// changes, the registry takes it up without a restart, within about a minute, when the node has told the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// An identity that the pod is given, so that there is no Secret: IAM roles for service accounts, EKS Pod Identity, or
    /// the role of the node. {} is whatever the pod has been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<S3WorkloadIdentity>,
}

/// An identity of the pod at Amazon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3WorkloadIdentity {
    /// The role that the ServiceAccount takes on (IAM roles for service accounts): its annotation
    /// eks.amazonaws.com/role-arn. For the ServiceAccount that Berth makes; one that exists is annotated by whoever made it.
    /// No annotation when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::S3_ROLE))
        .message("roleArn must be that of a role, such as arn:aws:iam::123456789012:role/registry"))]
    pub role_arn: Option<String>,
}
