//! `Registry.status`: what the operator saw and did.

use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{AuditEvents, DeletionPolicy, ImagePullPolicy, LogFormat, LogLevel, ServiceType};

/// What is known of a registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in conditions: Ready always, Reconciling and Stalled while they are true (kstatus), StorageReady, or
    /// StorageReachable where the content is on an object store, CertificateReady where the spec has tls, AuthReady where it has
    /// auth, TokenKeysReady where the registry signs tokens, PullSecretsReady where it has pullSecrets, IssuersReachable where
    /// keys of others are fetched, and Paused while changes are held back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The number of pods that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The number of pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The address of the registry inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The version of the registry that runs: the tag of its image, or the start of its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The values that are in effect, defaults included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// The keys that sign tokens, where the registry does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_keys: Option<TokenKeysStatus>,
    /// The pull secrets that were written and not emptied since, NAMESPACE/NAME.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub pull_secrets: Vec<String>,
    /// The texts of the columns of `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// The keys that sign tokens, by what tokens call them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenKeysStatus {
    /// The one that signs.
    pub signing: String,
    /// All by which tokens are believed, in the order in which they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub published: Vec<String>,
    /// When another one is to sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
}

/// The values in effect: what the spec says, and the operator's defaults where it says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The image of the registry.
    pub image: String,
    /// When the image is pulled.
    pub image_pull_policy: ImagePullPolicy,
    /// The number of pods that are wanted.
    pub replicas: i32,
    /// Where the content is kept.
    pub storage: EffectiveStorage,
    /// Whether content may be deleted through the API.
    pub delete: bool,
    /// Whether every write is refused.
    pub read_only: bool,
    /// The Secret with the certificate, where the registry speaks TLS itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<String>,
    /// How people and programs are let in; absent where everybody may do everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<EffectiveAuth>,
    /// The type of the Service.
    pub service_type: ServiceType,
    /// The port of the Service.
    pub service_port: i32,
    /// The ServiceAccount that the pods run as.
    pub service_account: String,
    /// What the registry's container asks for and is limited to.
    pub resources: ResourceRequirements,
    /// The least severe level that is logged.
    pub log_level: LogLevel,
    /// The form of a line of the log.
    pub log_format: LogFormat,
    /// Whether every request is logged.
    pub log_requests: bool,
    /// Which decisions about who may do what are logged; absent where nobody is asked who they are, and nothing is said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_audit: Option<AuditEvents>,
    /// What happens to the volume when the Registry is deleted.
    pub deletion_policy: DeletionPolicy,
}

/// How people and programs are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveAuth {
    /// htpasswd, token or issuer; absent where nobody can say who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What clients are told: where they get a token, or the name of what asks for a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The address of the registry's own issuer, or the name of the one that tokens must be of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The name of the registry, which tokens are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// The storage in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveStorage {
    /// The name of the volume claim, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The size that is asked for, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How nodes may mount the volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<String>,
    /// The bucket or container, as s3://acme-images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The Secret with the credentials of the object store, if they are in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<String>,
    /// Whether clients are sent to the object store for blobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
}

/// Texts for the columns of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Ready and wanted pods: `1/1`.
    pub replicas: String,
    /// Size and access of a volume, or the bucket or container: `20Gi RWO`, `s3://acme-images`.
    pub storage: String,
}
