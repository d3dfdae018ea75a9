//! The kind `Registry`: a container registry that runs in the cluster.

pub(crate) mod auth;
pub(crate) mod issuer;
pub(crate) mod object_store;
pub(crate) mod pull_secret;
pub(crate) mod reference;
pub(crate) mod status;
pub(crate) mod storage;
pub(crate) mod tls;
pub(crate) mod validation;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    auth::Auth, pull_secret::PullSecret, status::RegistryStatus, storage::Storage, tls::Tls, validation::Validation,
};

/// A container registry. Only storage is required; `status.effective` shows what everything else came to.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "Registry",
    plural = "registries",
    shortname = "reg",
    category = "berth",
    namespaced,
    status = "RegistryStatus",
    derive = "PartialEq",
    doc = "A container registry that runs in the cluster.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.summary.replicas"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".status.summary.storage"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Status",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name of a Registry becomes that of a Service: use at most 40 of a-z, 0-9 and '-', starting with a letter and not ending with '-'"),
    validation = Rule::new("self.metadata.name != 'default'")
        .message("the name of a Registry becomes that of a ServiceAccount, and default is taken in every namespace: use another")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.replicas) || self.replicas <= 1 || !has(self.storage.emptyDir)")
        .message("replicas cannot share an emptyDir: use one replica, a persistentVolumeClaim with accessModes \
            [ReadWriteMany], or an object store (s3, azure, gcs, swift, oss)")
        .field_path(".replicas"),
    validation = Rule::new("!has(self.replicas) || self.replicas <= 1 || !has(self.storage.inMemory)")
        .message("replicas cannot share the memory of one process: use one replica, a persistentVolumeClaim with \
            accessModes [ReadWriteMany], or an object store (s3, azure, gcs, swift, oss)")
        .field_path(".replicas"),
    validation = Rule::new("!has(self.replicas) || self.replicas <= 1 || !has(self.storage.persistentVolumeClaim) \
        || (has(self.storage.persistentVolumeClaim.accessModes) \
        && self.storage.persistentVolumeClaim.accessModes.exists(m, m == 'ReadWriteMany'))")
        .message("replicas share a ReadWriteOnce volume: use one replica, a volume with accessModes [ReadWriteMany], or an \
            object store (s3, azure, gcs, swift, oss)")
        .field_path(".replicas"),
    validation = Rule::new("!has(self.deletionPolicy) || self.deletionPolicy != 'Delete' \
        || !has(self.storage.persistentVolumeClaim) || !has(self.storage.persistentVolumeClaim.existingClaim)")
        .message("deletionPolicy Delete does not go with existingClaim, which Berth never deletes: use Retain")
        .field_path(".deletionPolicy"),
    validation = Rule::new("!has(self.deletionPolicy) || self.deletionPolicy != 'Delete' || !(has(self.storage.s3) \
        || has(self.storage.azure) || has(self.storage.gcs) || has(self.storage.swift) || has(self.storage.oss))")
        .message("deletionPolicy Delete does not go with an object store, of which Berth never deletes anything by itself: \
            use Retain, and delete the bucket or container yourself")
        .field_path(".deletionPolicy"),
    validation = Rule::new("!has(self.pullSecrets) || self.pullSecrets.size() == 0 || (has(self.auth) && has(self.auth.issuer))")
        .message("pullSecrets hold tokens of the registry's own issuer: add auth.issuer")
        .field_path(".pullSecrets"),
    validation = Rule::new(crate::registry::identity_rule("s3", "roleArn", "eks.amazonaws.com/role-arn"))
        .message("workloadIdentity.roleArn is for the ServiceAccount that Berth makes: give the one of serviceAccount.name \
            the annotation eks.amazonaws.com/role-arn, and write workloadIdentity: {}; and leave that annotation out of \
            serviceAccount.annotations")
        .field_path(".storage"),
    validation = Rule::new(crate::registry::identity_rule("azure", "clientId", "azure.workload.identity/client-id"))
        .message("workloadIdentity.clientId is for the ServiceAccount that Berth makes: give the one of serviceAccount.name \
            the annotation azure.workload.identity/client-id, podLabels the label azure.workload.identity/use: \"true\", and \
            write workloadIdentity: {}; and leave that annotation out of serviceAccount.annotations")
        .field_path(".storage"),
    validation = Rule::new(crate::registry::identity_rule("azure", "tenantId", "azure.workload.identity/tenant-id"))
        .message("workloadIdentity.tenantId sets the annotation azure.workload.identity/tenant-id of the ServiceAccount that \
            Berth makes: leave that annotation out of serviceAccount.annotations, and give a ServiceAccount of your own the \
            annotation yourself")
        .field_path(".storage"),
    validation = Rule::new(crate::registry::identity_rule("gcs", "serviceAccount", "iam.gke.io/gcp-service-account"))
        .message("workloadIdentity.serviceAccount is for the ServiceAccount that Berth makes: give the one of \
            serviceAccount.name the annotation iam.gke.io/gcp-service-account, and write workloadIdentity: {}; and leave \
            that annotation out of serviceAccount.annotations")
        .field_path(".storage"),
    validation = Rule::new(crate::registry::identity_rule("oss", "roleName", "pod-identity.alibabacloud.com/role-name"))
        .message("workloadIdentity.roleName is for the ServiceAccount that Berth makes: give the one of serviceAccount.name \
            the annotation pod-identity.alibabacloud.com/role-name, podLabels the label \
            pod-identity.alibabacloud.com/injection: \"on\", and write workloadIdentity: {}; and leave that annotation out of \
            serviceAccount.annotations")
        .field_path(".storage")
)]
pub struct RegistrySpec {
    /// The image of the registry server. The one that belongs to the operator's version when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._:/@-]*$')")
        .message("image must be an image reference, such as registry.example/berth-registry:0.1.0"))]
    pub image: Option<String>,
    /// When the image is pulled. IfNotPresent when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets of the same namespace with the credentials to pull the image. None when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The number of pods. 1 when it is left out; more need storage that they can share: an object store, or a volume with
    /// accessModes [ReadWriteMany]. 0 stops the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Where the content is kept. The kind of storage, and the bucket or container of an object store, cannot change
    /// later.
    pub storage: Storage,
    /// Whether tags, manifests and blobs may be deleted through the API. true when it is left out, unlike in CNCF
    /// Distribution, because garbage collection frees what clients delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<bool>,
    /// Whether every push and deletion is refused while pulls go on. It takes effect without a restart, within about a
    /// minute, when the node has told the pods. A GCPolicy still collects: set suspend there, too. false when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// What is asked of pushed content, beyond that it is whole. Nothing when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// TLS at the registry's own port. Plain HTTP, for a proxy that ends TLS or a cluster that trusts its network, when it
    /// is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Who is let in, and who may do what. Everybody may do everything when it is left out. A change makes other pods, one after
    /// the other; what is in Secrets and ConfigMaps that it names is taken up without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Secrets that pods pull with, which are made and kept valid in other namespaces. They need auth.issuer. None when it is left
    /// out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub pull_secrets: Vec<PullSecret>,
    /// Headers that are added to every answer, each with its values. None when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new("self.all(name, name.matches('^[0-9A-Za-z!#$%&*+.^_`|~-]+$'))")
        .message("headers must have names such as X-Content-Type-Options"))]
    pub headers: BTreeMap<String, Vec<String>>,
    /// How the registry is reached. A Service inside the cluster on port 5000 when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// What the registry's container asks for and is limited to. Requests of 50m CPU and 64Mi memory and no limits when
    /// it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have to run the pods. Any node when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Where the pods may run and which others they shall be near to or far from. No constraint when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints of nodes that the pods tolerate. None when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
    /// How the pods spread over zones and nodes. A constraint without a labelSelector applies to the pods of this
    /// Registry. None when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Labels that are added to the pods. The labels by which Berth knows its pods cannot be set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new("['app.kubernetes.io/name', 'app.kubernetes.io/instance', \
        'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'berth.dev/registry', 'berth.dev/gcpolicy']\
        .all(k, !(k in self))")
        .message("podLabels must leave out the labels that Berth sets itself: app.kubernetes.io/name, instance, \
            component, managed-by, berth.dev/registry and berth.dev/gcpolicy"))]
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations that are added to the pods. None when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub pod_annotations: BTreeMap<String, String>,
    /// The ServiceAccount that the pods run as. Its token is mounted where auth.issuer.serviceAccounts is set alone: by it the
    /// server asks the cluster for its keys, which needs no right, so let it have none. One with the Registry's name is made
    /// when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// What the registry logs. Level info as JSON when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// Whether changes are held back: the operator goes on to watch and report, and changes nothing. false when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// What happens to the volume that Berth made when the Registry is deleted. A bucket or container always stays. Retain
    /// when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// The rule that an identity which is an annotation of the ServiceAccount that Berth makes needs that account, and is said
/// once.
fn identity_rule(driver: &str, field: &str, annotation: &str) -> String {
    let credentials = format!("self.storage.{driver}.credentials");
    format!(
        "!has(self.serviceAccount) || !has(self.storage.{driver}) || !has({credentials}) \
         || !has({credentials}.workloadIdentity) || !has({credentials}.workloadIdentity.{field}) \
         || (!has(self.serviceAccount.name) && (!has(self.serviceAccount.annotations) \
         || !('{annotation}' in self.serviceAccount.annotations)))"
    )
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At every start of a pod.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

impl ImagePullPolicy {
    /// The name that Kubernetes has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// The Service in front of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')")
        .message("nodePort needs type NodePort or LoadBalancer: set type, or leave out nodePort")
)]
pub struct Service {
    /// From where the registry can be reached: ClusterIP, inside the cluster; NodePort, also at a port of every node;
    /// LoadBalancer, also at an address that the cluster's load balancer gives. ClusterIP when it is left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// The port of the Service. 5000 when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 65535").message("port must be between 1 and 65535"))]
    pub port: Option<i32>,
    /// The port on every node, for the types NodePort and LoadBalancer; it must lie in the cluster's range, which is
    /// 30000 to 32767 unless the cluster says otherwise. Chosen by the cluster when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 65535")
        .message("nodePort must be between 1 and 65535, and in the cluster's range, which is mostly 30000 to 32767"))]
    pub node_port: Option<i32>,
    /// Annotations of the Service, for load balancers and DNS. None when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// The types of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// Also at a port of every node.
    NodePort,
    /// Also at an address of a load balancer.
    LoadBalancer,
}

impl ServiceType {
    /// The name that Kubernetes has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// The ServiceAccount of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.name) || !has(self.annotations) || self.annotations.size() == 0")
        .message("a ServiceAccount that exists keeps its own annotations: leave out name or annotations")
)]
pub struct ServiceAccount {
    /// The name of a ServiceAccount that exists, to use it as it is. One with the Registry's name is made when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Annotations of the ServiceAccount that is made. None when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// What a registry logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// The least severe level that is logged: error, warn, info or debug. info when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// The form of a line: json for machines, text for people. json when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Whether every request is logged, at level info. true when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<bool>,
    /// Which decisions about who may do what are logged, one line each under the target audit, whatever level says. None:
    /// none. Changes: those about what changes content or the registry, and refusals. All: those about reads, too, and requests
    /// that say no name and are asked for one. When it is left out, Changes where auth is set, and those of the administration
    /// everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditEvents>,
    /// Fields that are added to every line. None when it is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub fields: BTreeMap<String, String>,
}

/// Levels of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// Also what may need a look.
    Warn,
    /// Also every request.
    #[default]
    Info,
    /// Everything.
    Debug,
}

/// Decisions about who may do what that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuditEvents {
    /// None of them.
    None,
    /// Those about what changes something, and refusals.
    Changes,
    /// Every one.
    All,
}

/// Forms of a line of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Pairs of key and value.
    Text,
}

/// What happens to the volume of a deleted Registry. Retain when it is left out. A Registry that is paused, or deleted
/// with --cascade=orphan, keeps its volume whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays: a Registry of the same name finds its content again.
    #[default]
    Retain,
    /// It is deleted with everything in it.
    Delete,
}
