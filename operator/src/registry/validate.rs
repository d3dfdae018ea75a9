//! [pure] A Registry as it was stored, checked once and completed with the defaults; later steps see only
//! [`ValidRegistry`].
//!
//! Admission checks the same rules before anything is stored. They are checked here again because a resource may come
//! from a file (`render`), or have been stored before a rule was there.

mod auth;
mod object_store;
mod pull_secrets;
mod serving;
mod storage;

use std::collections::BTreeMap;

use berth_crds::{
    AuditEvents, Auth, DeletionPolicy, ImagePullPolicy, Log, LogFormat, LogLevel, PullSecret, Registry, RegistrySpec,
    ServiceType,
};
use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;

use crate::{Settings, names, pods, problem::Problems};

use super::render::build_auth;
use auth::{About, auth_of, check_as_server};
use pull_secrets::pull_secrets_of;
use serving::{check_headers, tls_of, validation_of};
use storage::{check_deletion, check_sharing, storage_of};

pub use auth::{
    ValidAuth, ValidFile, ValidHtpasswd, ValidIssuer, ValidKeySet, ValidKeys, ValidMethod, ValidOidc,
    ValidRefreshTokens, ValidServiceAccounts, ValidToken,
};
pub use object_store::{
    ObjectKind, ValidAzure, ValidCa, ValidCredentials, ValidDriver, ValidGcs, ValidIdentity, ValidObjectStore,
    ValidOss, ValidS3, ValidSecret, ValidSwift,
};
pub use pull_secrets::ValidPullSecret;
pub use serving::{ValidPlatforms, ValidTls, ValidValidation};
pub use storage::ValidStorage;

/// A Registry that can be rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRegistry {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The reference to it that its objects carry; none when it is not in a cluster.
    pub owner: Option<OwnerReference>,
    /// The image of the server.
    pub image: String,
    /// When the image is pulled.
    pub image_pull_policy: ImagePullPolicy,
    /// Secrets to pull it with.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The number of pods.
    pub replicas: i32,
    /// Where the content is kept.
    pub storage: ValidStorage,
    /// Whether content may be deleted through the API.
    pub delete: bool,
    /// Whether writes are refused.
    pub read_only: bool,
    /// What is asked of pushed content.
    pub validation: ValidValidation,
    /// TLS at the registry's own port.
    pub tls: Option<ValidTls>,
    /// Who is let in, and who may do what; everybody, and everything, if there is none.
    pub auth: Option<ValidAuth>,
    /// Secrets that pods pull with; none without an issuer.
    pub pull_secrets: Vec<ValidPullSecret>,
    /// Headers of every answer.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The Service.
    pub service: ValidService,
    /// Requests and limits.
    pub resources: ResourceRequirements,
    /// Labels of the nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Nearness and distance.
    pub affinity: Option<Affinity>,
    /// Tolerated taints.
    pub tolerations: Vec<Toleration>,
    /// Spread over zones and nodes.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Labels that the pods get in addition.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// The ServiceAccount of the pods.
    pub service_account: ValidServiceAccount,
    /// What is logged.
    pub log_level: LogLevel,
    /// In which form.
    pub log_format: LogFormat,
    /// Whether every request is logged.
    pub log_requests: bool,
    /// Which decisions about who may do what are logged; none for the server's choice where nobody is asked who they are.
    pub log_audit: Option<AuditEvents>,
    /// Fields of every line.
    pub log_fields: BTreeMap<String, String>,
    /// Whether nothing may be changed.
    pub paused: bool,
    /// What happens to the volume in the end.
    pub deletion_policy: DeletionPolicy,
}

/// The Service in front of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidService {
    /// From where it can be reached.
    pub type_: ServiceType,
    /// Its port.
    pub port: i32,
    /// The port on every node, when it is not the cluster's choice.
    pub node_port: Option<i32>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The ServiceAccount of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidServiceAccount {
    /// One that Berth makes, with these annotations.
    Own(BTreeMap<String, String>),
    /// One that was there before, by name.
    Existing(String),
}

impl ValidRegistry {
    /// The name of the ServiceAccount that the pods run as.
    #[must_use]
    pub fn service_account_name(&self) -> &str {
        match &self.service_account {
            ValidServiceAccount::Own(_) => &self.name,
            ValidServiceAccount::Existing(name) => name,
        }
    }

    /// The registry's own issuer of tokens, if it has one.
    #[must_use]
    pub fn issuer(&self) -> Option<&ValidIssuer> {
        self.auth.as_ref().and_then(ValidAuth::issuer)
    }

    /// The address of the registry inside the cluster.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.name, &self.namespace, self.tls.is_some(), self.service.port)
    }
}

fn url(name: &str, namespace: &str, is_tls: bool, port: i32) -> String {
    let (scheme, well_known) = if is_tls { ("https", 443) } else { ("http", 80) };
    match port {
        port if port == well_known => format!("{scheme}://{name}.{namespace}.svc"),
        port => format!("{scheme}://{name}.{namespace}.svc:{port}"),
    }
}

/// Checks a Registry and computes what it leaves out.
///
/// # Errors
/// Every problem that was found, each with its field.
pub fn validate(registry: &Registry, settings: &Settings) -> Result<ValidRegistry, Problems> {
    let mut problems = Problems::default();
    let name = registry.metadata.name.clone().unwrap_or_default();
    problems.check_name("Registry", &name);
    // Taken apart without `..`: a new field of the spec must be dealt with here.
    let RegistrySpec {
        image,
        image_pull_policy,
        image_pull_secrets,
        replicas,
        storage,
        delete,
        read_only,
        validation,
        tls,
        auth,
        pull_secrets,
        headers,
        service,
        resources,
        node_selector,
        affinity,
        tolerations,
        topology_spread_constraints,
        pod_labels,
        pod_annotations,
        service_account,
        log,
        paused,
        deletion_policy,
    } = registry.spec.clone();
    let replicas = replicas.unwrap_or(1);
    if replicas < 0 {
        problems.add("spec.replicas", "must not be negative");
    }
    let image = image_of(image, settings, &mut problems);
    let deletion_policy = deletion_policy.unwrap_or_default();
    let storage = storage_of(&name, storage, &mut problems);
    if let Some(storage) = &storage {
        check_sharing(storage, replicas, &mut problems);
        check_deletion(storage, deletion_policy, &mut problems);
    }
    check_pod_labels(&name, &pod_labels, &mut problems);
    let service = service_of(service.unwrap_or_default(), &mut problems);
    let mut service_account = account_of(service_account.unwrap_or_default(), &mut problems);
    let mut pod_labels = pod_labels;
    let credentials = storage.as_ref().and_then(ValidStorage::object_store).map(|store| &store.credentials);
    if let Some(ValidCredentials::Identity(identity)) = credentials {
        give_identity(identity, &mut service_account, &mut pod_labels, &mut problems);
    }
    let Log { level, format, requests, audit, fields } = log.unwrap_or_default();
    check_headers(&headers, &mut problems);
    let validation = validation_of(validation.unwrap_or_default(), &mut problems);
    let tls = tls.map(|tls| tls_of(tls, &mut problems));
    let namespace = registry.metadata.namespace.clone().unwrap_or_else(|| settings.namespace.clone());
    let about =
        About { name: &format!("{name}.{namespace}"), url: &url(&name, &namespace, tls.is_some(), service.port) };
    let (auth, pull_secrets) = access_of(auth, pull_secrets, &about, &mut problems);
    let Some(storage) = storage.filter(|_| problems.is_empty()) else { return Err(problems) };
    Ok(ValidRegistry {
        namespace,
        owner: registry.controller_owner_ref(&()),
        image,
        image_pull_policy: image_pull_policy.unwrap_or_default(),
        image_pull_secrets,
        replicas,
        storage,
        delete: delete.unwrap_or(true),
        read_only: read_only.unwrap_or(false),
        validation,
        tls,
        // Said aloud: what nobody has switched on before something happens is not there afterwards.
        log_audit: audit.or(auth.is_some().then_some(AuditEvents::Changes)),
        auth,
        pull_secrets,
        headers,
        service,
        resources: resources.unwrap_or_else(|| pods::requests("50m", "64Mi")),
        node_selector,
        affinity,
        tolerations,
        topology_spread_constraints,
        pod_labels,
        pod_annotations,
        service_account,
        log_level: level.unwrap_or_default(),
        log_format: format.unwrap_or_default(),
        log_requests: requests.unwrap_or(true),
        log_fields: fields,
        paused: paused.unwrap_or(false),
        deletion_policy,
        name,
    })
}

fn image_of(image: Option<String>, settings: &Settings, problems: &mut Problems) -> String {
    let image = image.unwrap_or_else(|| settings.registry_image.clone());
    if image.is_empty() || image.contains(char::is_whitespace) {
        problems.add("spec.image", "must be an image reference, such as registry.example/berth-registry:0.1.0");
    }
    image
}

fn check_pod_labels(registry: &str, labels: &BTreeMap<String, String>, problems: &mut Problems) {
    let ours = names::registry_labels(registry);
    for key in labels.keys().filter(|key| ours.contains_key(*key) || key.as_str() == names::POLICY_LABEL) {
        problems.add("spec.podLabels", format!("must leave out {key}, which Berth sets itself"));
    }
}

/// Who is let in, and what pods are let in by.
fn access_of(
    auth: Option<Auth>,
    pull_secrets: Vec<PullSecret>,
    about: &About<'_>,
    problems: &mut Problems,
) -> (Option<ValidAuth>, Vec<ValidPullSecret>) {
    let auth = auth.map(|auth| auth_of(auth, about, problems));
    let has_issuer = auth.as_ref().and_then(ValidAuth::issuer).is_some();
    let pull_secrets = pull_secrets_of(pull_secrets, has_issuer, problems);
    if let Some(auth) = auth.as_ref().filter(|_| problems.is_empty()) {
        check_as_server(&build_auth(auth), problems);
    }
    (auth, pull_secrets)
}

fn service_of(service: berth_crds::Service, problems: &mut Problems) -> ValidService {
    let berth_crds::Service { type_, port, node_port, annotations } = service;
    let type_ = type_.unwrap_or_default();
    let port = port.unwrap_or(names::REGISTRY_PORT);
    if !(1..=65535).contains(&port) {
        problems.add("spec.service.port", "must be between 1 and 65535");
    }
    if node_port.is_some_and(|port| !(1..=65535).contains(&port)) {
        problems.add("spec.service.nodePort", "must be between 1 and 65535");
    }
    if node_port.is_some() && type_ == ServiceType::ClusterIP {
        problems.add("spec.service.nodePort", "needs type NodePort or LoadBalancer: set type, or leave out nodePort");
    }
    ValidService { type_, port, node_port, annotations }
}

fn account_of(account: berth_crds::ServiceAccount, problems: &mut Problems) -> ValidServiceAccount {
    let berth_crds::ServiceAccount { name, annotations } = account;
    match name {
        None => ValidServiceAccount::Own(annotations),
        Some(name) => {
            if !annotations.is_empty() {
                problems.add(
                    "spec.serviceAccount",
                    "a ServiceAccount that exists keeps its own annotations: leave out name or annotations",
                );
            }
            ValidServiceAccount::Existing(name)
        }
    }
}

/// Gives the pods an identity by the ServiceAccount that Berth makes. One that exists is not Berth's to annotate.
fn give_identity(
    identity: &ValidIdentity,
    account: &mut ValidServiceAccount,
    pod_labels: &mut BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let ValidIdentity { annotations: wanted, pod_labels: labels, field } = identity;
    let Some(first) = wanted.keys().next() else { return };
    match account {
        ValidServiceAccount::Existing(name) => {
            let label = labels.iter().next().map(|(key, value)| format!(", spec.podLabels the label {key}: {value:?}"));
            problems.add(
                field,
                format!(
                    "is for the ServiceAccount that Berth makes: give ServiceAccount {name} the annotation {first}{}, and \
                     write workloadIdentity: {{}}",
                    label.unwrap_or_default()
                ),
            );
        }
        ValidServiceAccount::Own(annotations) => {
            if let Some(key) = wanted.keys().find(|key| annotations.contains_key(*key)) {
                problems.add("spec.serviceAccount.annotations", format!("must leave out {key}, which {field} sets"));
            }
            annotations.extend(wanted.clone());
            pod_labels.extend(labels.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: &Value, expected: &[&str]) {
        let registry: Registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
                "metadata": {"name": "main"}, "spec": spec}))
        .unwrap();
        let found = match validate(&registry, &Settings::default()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.lines(),
        };
        assert_eq!(found, expected, "{spec}");
    }

    #[test]
    fn every_problem_is_named_with_its_field() {
        let pvc = json!({"persistentVolumeClaim": {"size": "1Gi"}});
        check(&json!({"storage": pvc}), &[]);
        let none = "spec.storage: must have exactly one of persistentVolumeClaim, emptyDir, inMemory, s3, azure, gcs, swift \
                    and oss";
        check(&json!({"storage": {}}), &[none]);
        check(&json!({"storage": {"inMemory": {}, "emptyDir": {}}}), &[none]);
        check(
            &json!({"storage": {"persistentVolumeClaim": {}}}),
            &["spec.storage.persistentVolumeClaim.size: is missing: say how large the volume shall be, such as 20Gi"],
        );
        check(
            &json!({"storage": {"persistentVolumeClaim": {"size": "20GB"}}}),
            &[
                "spec.storage.persistentVolumeClaim.size: \"20GB\" has no known unit: use Ki, Mi, Gi, Ti, Pi or Ei, or k, \
               M, G, T, P or E, as in 20Gi",
            ],
        );
        check(
            &json!({"storage": pvc, "replicas": 3, "service": {"nodePort": 30500}}),
            &[
                "spec.replicas: 3 replicas share a ReadWriteOnce volume: use one replica, a volume with accessModes \
                 [ReadWriteMany], or an object store (spec.storage.s3, azure, gcs, swift, oss)",
                "spec.service.nodePort: needs type NodePort or LoadBalancer: set type, or leave out nodePort",
            ],
        );
        check(
            &json!({"storage": {"emptyDir": {}}, "replicas": 2}),
            &["spec.replicas: 2 replicas cannot share an emptyDir: use one replica, a persistentVolumeClaim with \
               accessModes [ReadWriteMany], or an object store (spec.storage.s3, azure, gcs, swift, oss)"],
        );
        check(
            &json!({"storage": {"inMemory": {}}, "replicas": 2}),
            &["spec.replicas: 2 replicas cannot share the memory of one process: use one replica, a \
               persistentVolumeClaim with accessModes [ReadWriteMany], or an object store (spec.storage.s3, azure, gcs, \
               swift, oss)"],
        );
        check(
            &json!({"storage": {"persistentVolumeClaim": {"existingClaim": "data"}}, "deletionPolicy": "Delete"}),
            &["spec.deletionPolicy: Delete does not go with existingClaim, which Berth never deletes: use Retain"],
        );
        check(
            &json!({"storage": pvc, "podLabels": {"berth.dev/registry": "x"}}),
            &["spec.podLabels: must leave out berth.dev/registry, which Berth sets itself"],
        );
        check(
            &json!({"storage": pvc, "validation": {"manifests": {"urls": {"allow": ["^https://"], "deny": ["("]}}}}),
            &["spec.validation.manifests.urls.deny[0]: \"(\" is no regular expression: unclosed group"],
        );
        check(
            &json!({"storage": pvc, "validation": {"manifests": {"indexes": {"platforms": "List"}}}}),
            &[
                "spec.validation.manifests.indexes.platformList: goes with platforms List: name the platforms with it, or \
               leave it out",
            ],
        );
        check(
            &json!({"storage": pvc, "headers": {"X Y": ["a"]}}),
            &["spec.headers.X Y: is no name of a header, such as X-Content-Type-Options"],
        );
        check(
            &json!({"storage": pvc, "headers": {"Content-Length": ["0"], "X-A": [], "X-B": ["\n"]}}),
            &[
                "spec.headers.Content-Length: says how an answer ends, which the registry alone knows: leave it out",
                "spec.headers.X-A: has no value: give one, as in [nosniff]",
                "spec.headers.X-B: has a value with a character that no header may hold",
            ],
        );
    }

    #[test]
    fn a_name_must_fit_its_objects() {
        let long = "a".repeat(41);
        for name in ["2main", "a.b", "", long.as_str()] {
            let mut registry =
                Registry::new(name, serde_json::from_value(json!({"storage": {"emptyDir": {}}})).unwrap());
            registry.metadata.namespace = Some("default".into());
            let problems = validate(&registry, &Settings::default()).unwrap_err();
            assert!(problems.lines()[0].starts_with("metadata.name: "), "{name}: {problems}");
        }
    }
}
