//! `Registry.spec.storage.gcs`: a bucket of Google Cloud Storage.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{BUCKET_MESSAGE, ROOT_DIRECTORY_MESSAGE, SAME_BUCKET, SAME_BUCKET_MESSAGE};
use crate::{
    Size, pattern,
    registry::reference::{CertificateAuthority, SecretRef},
};

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentials)")
        .message("credentials are missing: name a Secret in secretRef, or write workloadIdentity: {} for what the pod has \
            been given"),
    validation = Rule::new(format!("!has(self.endpoint) || !has(self.credentials) || !has(self.credentials.workloadIdentity) \
        || {}", pattern::rule(pattern::GOOGLE_ADDRESS).replace("self.", "self.endpoint.")))
        .message("endpoint must be one of Google's own, https://….googleapis.com, beside workloadIdentity, which is shown to \
            nobody else: leave it out, or name a Secret in credentials.secretRef"),
    validation = Rule::new(SAME_BUCKET).message(SAME_BUCKET_MESSAGE)
)]
pub struct Gcs {
    /// The name of the bucket. It must exist: Berth never makes or deletes one.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::BUCKET)).message(BUCKET_MESSAGE))]
    pub bucket: String,
    /// The address of the store: of a private endpoint, or of a store that is not Google's. Google's own when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::HOST_ADDRESS))
        .message("endpoint must be an address such as https://storage.example, without a path, a name or a password"))]
    pub endpoint: Option<String>,
    /// Where in the bucket docker/registry/v2 lies. At its root when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ROOT_DIRECTORY)).message(ROOT_DIRECTORY_MESSAGE))]
    pub root_directory: Option<String>,
    /// The size of a part of an upload, as a quantity of bytes: a multiple of 256Ki up to 64Mi. Each pod holds at least two
    /// of them in memory. 16Mi when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([.][0-9]+)?([kMGTPE]|[KMGTPE]i)?$') && isQuantity(self) \
        && !quantity(self).isLessThan(quantity('256Ki')) && !quantity(self).isGreaterThan(quantity('64Mi')) \
        && quantity(self).isInteger() && quantity(self).asInteger() % 262144 == 0")
        .message("chunkSize must be a multiple of 256Ki up to 64Mi, such as 16Mi: a pod holds at least two chunks in memory"))]
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
    pub credentials: Option<GcsCredentials>,
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
pub struct GcsCredentials {
    /// The Secret with the key keyfile: the JSON of a key of a service account. When its content changes, the registry takes
    /// it up without a restart, within about a minute, when the node has told the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// An identity that the pod is given, so that there is no Secret: Workload Identity Federation for GKE, or the service
    /// account of the node. {} is whatever the pod has been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<GcsWorkloadIdentity>,
}

/// An identity of the pod at Google.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsWorkloadIdentity {
    /// The service account of Google's that the pods act as, by its address: the annotation iam.gke.io/gcp-service-account of
    /// the ServiceAccount that Berth makes. One that exists is annotated by whoever made it. No annotation when it is left
    /// out, which is right where the bucket's policy names the ServiceAccount of the cluster itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::GCS_ACCOUNT))
        .message("serviceAccount must be the address of a service account of Google's, such as \
            registry@acme.iam.gserviceaccount.com"))]
    pub service_account: Option<String>,
}
