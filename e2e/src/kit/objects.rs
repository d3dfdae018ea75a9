//! Berth's resources, as tests and the demo look at them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use berth_crds::{GCPolicy, RUN_NOW_ANNOTATION, Registry, Run};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Space, until};

/// How long a registry may take to come up.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// How long a collection may take.
const RUN_DEADLINE: Duration = Duration::from_secs(90);
/// How long an object may take to go.
const GONE_DEADLINE: Duration = Duration::from_secs(90);

/// A condition by its type.
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Waits until a Registry is ready, in its newest generation.
pub async fn ready(space: &Space, name: &str) -> Result<Registry> {
    until(&format!("Registry {name} is ready"), READY_DEADLINE, async || {
        let registry = space.api::<Registry>().get(name).await?;
        let status = registry.status.as_ref().context("it has no status")?;
        if status.observed_generation != registry.metadata.generation {
            bail!("generation {:?} of {:?} was observed", status.observed_generation, registry.metadata.generation);
        }
        match condition(&status.conditions, "Ready") {
            Some(ready) if ready.status == "True" => Ok(registry),
            Some(ready) => bail!("{}: {}", ready.reason, ready.message),
            None => bail!("it has no condition Ready"),
        }
    })
    .await
}

/// `HOST:PORT` of a Registry inside the cluster.
pub fn registry_address(space: &Space, name: &str) -> String {
    format!("{name}.{}.svc:5000", space.name)
}

/// Starts a collection by annotation, and waits for its report.
pub async fn gc_run(space: &Space, policy: &str) -> Result<Run> {
    let policies = space.api::<GCPolicy>();
    let before = policies.get(policy).await?.status.and_then(|status| status.last_run).map(|run| run.job);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos().to_string();
    let patch = json!({"metadata": {"annotations": {RUN_NOW_ANNOTATION: now}}});
    policies.patch(policy, &PatchParams::default(), &Patch::Merge(patch)).await.context("ask for a run")?;
    until(&format!("the run of GCPolicy {policy} is reported"), RUN_DEADLINE, async || {
        let status = policies.get(policy).await?.status.context("it has no status")?;
        match status.last_run {
            Some(run) if Some(&run.job) != before.as_ref() => Ok(run),
            last => bail!("the last run is {:?}; conditions {:?}", last.map(|run| run.job), status.conditions),
        }
    })
    .await
}

/// Deletes an object, and waits until it is gone.
pub async fn delete_and_wait<K>(space: &Space, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + serde::de::DeserializeOwned,
    K: std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = space.api::<K>();
    api.delete(name, &DeleteParams::default()).await.with_context(|| format!("delete {name}"))?;
    until(&format!("{name} is gone"), GONE_DEADLINE, async || match api.get_opt(name).await? {
        None => Ok(()),
        Some(object) => bail!("it is there, finalizers {:?}", object.meta().finalizers),
    })
    .await
}

/// Waits until a pod is ready, and says what the kubelet said about pulling its image.
pub async fn pod_pulled(space: &Space, name: &str) -> Result<String> {
    until(&format!("pod {name} is ready"), READY_DEADLINE, async || {
        let status = space.api::<Pod>().get(name).await?.status.context("it has no status")?;
        if status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True") {
            return Ok(());
        }
        let waiting = status.container_statuses.iter().flatten().find_map(|one| one.state.as_ref()?.waiting.as_ref());
        match waiting {
            Some(waiting) => bail!(
                "{}: {}",
                waiting.reason.as_deref().unwrap_or("waiting"),
                waiting.message.as_deref().unwrap_or_default()
            ),
            None => bail!("it is {}", status.phase.as_deref().unwrap_or("unknown")),
        }
    })
    .await?;
    let fields = format!("involvedObject.name={name},reason=Pulled");
    until(&format!("the kubelet reports the pull for pod {name}"), READY_DEADLINE, async || {
        let events = space.api::<Event>().list(&ListParams::default().fields(&fields)).await?;
        let mut messages = events.items.into_iter().filter_map(|event| event.message);
        // The same reason is given for an image that was there already.
        messages.rfind(|message| message.starts_with("Successfully pulled")).context("no such event")
    })
    .await
}

/// A pod that serves the page of the demo's application, under the restricted Pod Security Standard; the kubelet pulls
/// the image each time.
pub fn app_pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app", "image": image, "imagePullPolicy": "Always",
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
