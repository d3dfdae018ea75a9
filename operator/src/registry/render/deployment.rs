//! The Deployment of the server's pods.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMapProjection, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction, KeyToPath, Lifecycle,
            LifecycleHandler, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Probe,
            ProjectedVolumeSource, SecretProjection, SecretVolumeSource, ServiceAccountTokenProjection, SleepAction,
            TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{Pins, ValidRegistry, metadata};
use crate::{
    names, pods,
    registry::validate::{
        ObjectKind, ValidAuth, ValidCa, ValidCredentials, ValidFile, ValidObjectStore, ValidSecret, ValidStorage,
    },
};

/// How long a stopping server waits for requests in flight.
pub(super) const DRAIN_SECONDS: i64 = 60;
/// How long a stopping pod goes on to serve, until every node has learnt that it is gone.
const UNROUTE_SECONDS: i64 = 5;
/// What a pod is given on top of both, before it is killed.
const EXIT_SECONDS: i64 = 10;

/// Where a server says whether it can serve.
const HEALTH: &str = "/debug/health";

/// How long a rollout may go on without progress before it counts as failed.
const PROGRESS_DEADLINE_SECONDS: i32 = 600;

/// The volume with the keys that sign tokens.
const TOKEN_KEYS_VOLUME: &str = "token-keys";

/// How long the token is valid by which a server asks the API server for its keys; the node replaces it before.
const ACCOUNT_TOKEN_SECONDS: i64 = 3600;

/// The least privilege that lets the server, and nobody else, read its mounted files.
const FILE_MODE: i32 = 0o440;

pub(super) fn build_deployment(registry: &ValidRegistry, config_map: &str, pins: &Pins) -> Deployment {
    let selector =
        LabelSelector { match_labels: Some(names::registry_selector(&registry.name)), ..LabelSelector::default() };
    Deployment {
        metadata: metadata(registry, registry.name.clone()),
        spec: Some(DeploymentSpec {
            replicas: Some(registry.replicas),
            // The defaults, said aloud: what is not said is left as somebody else sets it, and a paused Deployment or
            // one that waits for hours would hold every later rollout up.
            min_ready_seconds: Some(0),
            paused: Some(false),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            revision_history_limit: Some(3),
            strategy: Some(build_strategy(registry)),
            template: PodTemplateSpec {
                metadata: Some(build_pod_metadata(registry, pins)),
                spec: Some(build_pod(registry, config_map, &selector)),
            },
            selector,
        }),
        status: None,
    }
}

/// Two pods cannot hold a volume of one node, so there the old one goes first; a rolling update would wait for ever.
fn build_strategy(registry: &ValidRegistry) -> DeploymentStrategy {
    if registry.storage.is_shared() {
        DeploymentStrategy {
            type_: Some("RollingUpdate".into()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        }
    } else {
        DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None }
    }
}

fn build_pod_metadata(registry: &ValidRegistry, pins: &Pins) -> ObjectMeta {
    let mut labels = registry.pod_labels.clone();
    labels.extend(names::registry_labels(&registry.name));
    let mut annotations = registry.pod_annotations.clone();
    annotations.extend(build_identity_annotation(&registry.storage));
    // Credentials are read again when they change, unless their Secret is one that nodes do not look at again; authorities
    // are read once.
    let Pins { authorities, credentials, certificate, auth } = pins.clone();
    for (key, pin) in [
        (names::AUTHORITIES_ANNOTATION, authorities),
        (names::STORAGE_SECRET_ANNOTATION, credentials),
        (names::TLS_SECRET_ANNOTATION, certificate),
        (names::AUTH_ANNOTATION, auth),
    ] {
        annotations.extend(pin.map(|pin| (key.to_owned(), pin)));
    }
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    }
}

/// Pods are given an identity when they are made, from the annotations of their ServiceAccount: others make other pods.
fn build_identity_annotation(storage: &ValidStorage) -> Option<(String, String)> {
    let ValidCredentials::Identity(identity) = &storage.object_store()?.credentials else { return None };
    let annotations = identity.annotations.iter().map(|(key, value)| format!("{key}={value}\n"));
    let told = annotations.collect::<String>();
    (!told.is_empty()).then(|| (names::IDENTITY_ANNOTATION.to_owned(), names::digest(told.as_bytes())))
}

fn build_pod(registry: &ValidRegistry, config_map: &str, selector: &LabelSelector) -> PodSpec {
    let spread = registry.topology_spread_constraints.iter().cloned().map(|constraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.or_else(|| Some(selector.clone())),
        ..constraint
    });
    let mut volumes = vec![build_config_volume(registry, config_map)];
    volumes.extend(build_token_keys_volume(registry));
    volumes.extend(build_data_volume(&registry.storage));
    PodSpec {
        affinity: registry.affinity.clone(),
        automount_service_account_token: Some(false),
        containers: vec![build_container(registry)],
        enable_service_links: Some(false),
        // Said aloud for the same reason: nobody shares the node's namespaces with a registry by adding a field.
        host_ipc: Some(false),
        host_network: Some(false),
        host_pid: Some(false),
        share_process_namespace: Some(false),
        image_pull_secrets: non_empty(registry.image_pull_secrets.clone()),
        node_selector: Some(registry.node_selector.clone()).filter(|labels| !labels.is_empty()),
        security_context: Some(pods::pod_security()),
        service_account_name: Some(registry.service_account_name().to_owned()),
        termination_grace_period_seconds: Some(UNROUTE_SECONDS + DRAIN_SECONDS + EXIT_SECONDS),
        tolerations: non_empty(registry.tolerations.clone()),
        topology_spread_constraints: non_empty(spread.collect()),
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

fn build_container(registry: &ValidRegistry) -> Container {
    let port = |name: &str, number| ContainerPort {
        name: Some(name.into()),
        container_port: number,
        // None. The API server writes one beside a `hostNetwork` that somebody adds.
        host_port: Some(0),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only,
        ..VolumeMount::default()
    };
    // With one pod at a time there is no other to send requests to, and the wait would only make a restart longer.
    let lifecycle = registry.storage.is_shared().then(|| Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction { seconds: UNROUTE_SECONDS }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    });
    let mut volume_mounts = vec![mount("config", names::CONFIG_DIRECTORY, Some(true))];
    if registry.issuer().is_some() {
        volume_mounts.push(mount(TOKEN_KEYS_VOLUME, names::TOKEN_KEYS_DIRECTORY, Some(true)));
    }
    if build_data_volume(&registry.storage).is_some() {
        volume_mounts.push(mount("data", names::DATA_DIRECTORY, None));
    }
    // A server that cannot use its object store is not ready, and goes on to try: to start it anew would not help, and
    // nobody could ask it what the store says. That it answers at all, without a look at the store, is enough.
    let alive = if registry.storage.object_store().is_some() { names::METRICS_PATH } else { HEALTH };
    Container {
        name: "registry".into(),
        image: Some(registry.image.clone()),
        image_pull_policy: Some(registry.image_pull_policy.as_str().into()),
        args: Some(vec!["serve".into(), format!("{}/{}", names::CONFIG_DIRECTORY, names::CONFIG_FILE)]),
        lifecycle,
        ports: Some(vec![port("registry", names::REGISTRY_PORT), port("debug", names::DEBUG_PORT)]),
        resources: Some(registry.resources.clone()),
        security_context: Some(pods::container_security()),
        startup_probe: Some(probe(alive, 1, 300)),
        readiness_probe: Some(probe(HEALTH, 5, 2)),
        liveness_probe: Some(probe(alive, 10, 6)),
        // The last lines of the log become the message of the Registry's condition.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(volume_mounts),
        ..Container::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("debug".into()),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        failure_threshold: Some(failure_threshold),
        period_seconds: Some(period_seconds),
        success_threshold: Some(1),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// Configuration, state, token, certificate and credentials in one volume: a mount inside a read-only mount has no place to be made.
fn build_config_volume(registry: &ValidRegistry, config_map: &str) -> Volume {
    let mut sources = vec![
        project_config_map(config_map, names::CONFIG_FILE, names::CONFIG_FILE),
        project_config_map(&names::state(&registry.name), names::READ_ONLY_KEY, names::READ_ONLY_FILE),
        project_secret(&names::admin_secret(&registry.name), &[(names::TOKEN_KEY, names::TOKEN_FILE)]),
    ];
    if let Some(tls) = &registry.tls {
        let [certificate, key] = names::TLS_KEYS;
        let items = [(certificate, names::CERTIFICATE_FILE), (key, names::PRIVATE_KEY_FILE)];
        sources.push(project_secret(&tls.secret, &items));
    }
    sources.extend(registry.storage.object_store().into_iter().flat_map(project_store));
    sources.extend(registry.auth.iter().flat_map(project_auth));
    Volume {
        name: "config".into(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(FILE_MODE), sources: Some(sources) }),
        ..Volume::default()
    }
}

/// What `spec.auth` names, each in a file that the server reads again when it changes; and, where service accounts of the cluster
/// are let in, a token of the pod's own, by which the server asks the API server for its keys.
fn project_auth(auth: &ValidAuth) -> Vec<VolumeProjection> {
    let files = auth.files();
    let files = files.iter().map(|ValidFile { kind, name, key, path, field: _, content: _ }| match kind {
        ObjectKind::Secret => project_secret(name, &[(key, path)]),
        ObjectKind::ConfigMap => project_config_map(name, key, path),
    });
    let mut sources: Vec<_> = files.collect();
    if auth.issuer().is_some_and(|issuer| issuer.service_accounts.is_some()) {
        sources.push(VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                audience: None,
                expiration_seconds: Some(ACCOUNT_TOKEN_SECONDS),
                path: names::ACCOUNT_TOKEN_FILE.into(),
            }),
            ..VolumeProjection::default()
        });
        sources.push(project_config_map(names::CLUSTER_CA, names::CLUSTER_CA_KEY, names::CLUSTER_CA_FILE));
    }
    sources
}

/// The keys that sign tokens, whatever there are: a pod waits for the Secret.
fn build_token_keys_volume(registry: &ValidRegistry) -> Option<Volume> {
    registry.issuer()?;
    Some(Volume {
        name: TOKEN_KEYS_VOLUME.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::token_keys(&registry.name)),
            default_mode: Some(FILE_MODE),
            items: None,
            optional: Some(false),
        }),
        ..Volume::default()
    })
}

/// The credentials of an object store, each in a file of its key's name, and the authorities that it is trusted by.
fn project_store(store: &ValidObjectStore) -> Vec<VolumeProjection> {
    let mut sources = Vec::new();
    if let Some(ValidSecret { name, required, optional, .. }) = store.secret() {
        let files = |keys: &[&'static str]| -> Vec<_> {
            keys.iter().map(|key| (*key, format!("{}/{key}", names::STORAGE_DIRECTORY))).collect()
        };
        sources.push(project_secret(name, &files(required)));
        if !optional.is_empty() {
            // The Secret must be there all the same: the projection before this one says so.
            let mut projection = project_secret(name, &files(optional));
            projection.secret.iter_mut().for_each(|secret| secret.optional = Some(true));
            sources.push(projection);
        }
    }
    if let Some(ValidCa { kind, name, key }) = &store.ca {
        sources.push(match kind {
            ObjectKind::Secret => project_secret(name, &[(key, names::STORAGE_CA_FILE)]),
            ObjectKind::ConfigMap => project_config_map(name, key, names::STORAGE_CA_FILE),
        });
    }
    sources
}

fn project_config_map(name: &str, key: &str, path: &str) -> VolumeProjection {
    let projection = ConfigMapProjection { name: name.into(), items: Some(vec![item(key, path)]), optional: None };
    VolumeProjection { config_map: Some(projection), ..VolumeProjection::default() }
}

fn project_secret(name: &str, items: &[(impl AsRef<str>, impl AsRef<str>)]) -> VolumeProjection {
    let items = items.iter().map(|(key, path)| item(key.as_ref(), path.as_ref())).collect();
    let projection = SecretProjection { name: name.into(), items: Some(items), optional: None };
    VolumeProjection { secret: Some(projection), ..VolumeProjection::default() }
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.into(), path: path.into(), mode: None }
}

/// The volume with the content, where it is on one.
fn build_data_volume(storage: &ValidStorage) -> Option<Volume> {
    let mut volume = Volume { name: "data".into(), ..Volume::default() };
    match storage {
        ValidStorage::OwnClaim { name, .. } | ValidStorage::ExistingClaim { name, .. } => {
            volume.persistent_volume_claim =
                Some(PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: None });
        }
        ValidStorage::EmptyDir { limit } => {
            volume.empty_dir = Some(EmptyDirVolumeSource {
                medium: None,
                size_limit: limit.as_ref().map(|limit| Quantity(limit.to_string())),
            });
        }
        ValidStorage::InMemory | ValidStorage::Object(_) => return None,
    }
    Some(volume)
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, registry::validate::validate};
    use serde_json::{Value, json};

    fn pod_annotations(credentials: &Value, pins: &Pins) -> Value {
        let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main"}, "spec": {"storage": {"s3": {"bucket": "b", "region": "r",
                "credentials": credentials}}}}))
        .unwrap();
        let deployment = build_deployment(&validate(&registry, &Settings::default()).unwrap(), "c", pins);
        json!(deployment.spec.unwrap().template.metadata.unwrap().annotations)
    }

    /// What a pod takes up only when it is made changes its template; what it takes up while it runs does not.
    #[test]
    fn what_is_taken_up_once_makes_other_pods() {
        let role = |name: &str| json!({"workloadIdentity": {"roleArn": format!("arn:aws:iam::1:role/{name}")}});
        let secret = json!({"secretRef": {"name": "s3"}});
        let none = Pins::default();
        assert_eq!(pod_annotations(&secret, &none), json!(null));
        assert_eq!(pod_annotations(&json!({"workloadIdentity": {}}), &none), json!(null));
        let all = Pins {
            authorities: Some("d".into()),
            credentials: Some("u1".into()),
            certificate: Some("u2".into()),
            auth: Some("u3".into()),
        };
        let expected = json!({"berth.dev/storage-ca": "d", "berth.dev/storage-secret": "u1", "berth.dev/tls-secret": "u2",
            "berth.dev/auth": "u3"});
        assert_eq!(pod_annotations(&secret, &all), expected);
        let (one, other) = (pod_annotations(&role("one"), &none), pod_annotations(&role("other"), &none));
        assert_ne!(one["berth.dev/storage-identity"], other["berth.dev/storage-identity"]);
        assert_eq!(one, pod_annotations(&role("one"), &none));
    }
}
