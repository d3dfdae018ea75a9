//! What others change comes back at once, and with nothing to do nothing is written.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use berth_e2e::kit::{self, Space, in_namespace, until};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Api, discovery};
use serde_json::{Value, json};

/// The time within which a change by others is undone.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// The time within which a deleted Secret is missed: Secrets are not watched.
const SECRET_BACK_WITHIN: Duration = Duration::from_secs(35);
/// The time over which nothing may be written.
const SILENCE: Duration = Duration::from_secs(60);

fn smallest() -> String {
    json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"},
        "spec": {"storage": {"persistentVolumeClaim": {"size": "1Gi"}}},
    })
    .to_string()
}

fn policy() -> String {
    json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy", "metadata": {"name": "nightly"},
        // Once a year: no run falls into the time of silence.
        "spec": {"registryRef": {"name": "main"}, "schedule": "0 3 1 1 *"},
    })
    .to_string()
}

#[tokio::test]
async fn drift_is_undone_within_five_seconds() -> Result<()> {
    in_namespace("drift", async |space| {
        space.apply(&smallest())?;
        kit::ready(space, "main").await?;

        space.kubectl(&["scale", "deployment/main", "--replicas=3"])?;
        until("the scaled Deployment is back", BACK_WITHIN, async || {
            let replicas = space.api::<Deployment>().get("main").await?.spec.and_then(|spec| spec.replicas);
            ensure!(replicas == Some(1), "replicas {replicas:?}");
            Ok(())
        })
        .await?;

        for edit in [
            json!([{"op": "replace", "path": "/spec/ports/0/port", "value": 5999}]),
            json!([{"op": "replace", "path": "/spec/selector", "value": {"app": "other"}}]),
            json!([{"op": "remove", "path": "/metadata/labels"}]),
            json!([{"op": "replace", "path": "/spec/sessionAffinity", "value": "ClientIP"}]),
        ] {
            is_undone::<Service>(space, "service/main", &edit, |service| {
                let spec = service.spec.clone().unwrap_or_default();
                json!([service.metadata.labels, spec.selector, spec.ports, spec.session_affinity])
            })
            .await?;
        }
        for edit in [
            json!([{"op": "replace", "path": "/spec/strategy", "value": {"type": "RollingUpdate"}}]),
            json!([{"op": "add", "path": "/spec/paused", "value": true}]),
            json!([{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": true}]),
        ] {
            is_undone::<Deployment>(space, "deployment/main", &edit, |deployment| {
                let spec = deployment.spec.clone().unwrap_or_default();
                let pod = spec.template.spec.unwrap_or_default();
                let host_ports =
                    pod.containers.iter().flat_map(|c| c.ports.iter().flatten()).map(|port| port.host_port);
                let host = json!([pod.host_network.unwrap_or_default(), host_ports.collect::<Vec<_>>()]);
                json!([spec.strategy, spec.paused.unwrap_or_default(), spec.replicas, host])
            })
            .await?;
        }

        space.kubectl(&["delete", "secret", "main-admin"])?;
        until("the deleted Secret is back", SECRET_BACK_WITHIN, async || {
            space.api::<Secret>().get("main-admin").await?;
            Ok(())
        })
        .await?;

        let maps = space.api::<ConfigMap>();
        let ours = ListParams::default().labels("berth.dev/registry=main");
        let before = maps.list(&ours).await?.items.into_iter().next().context("no ConfigMap")?;
        let name = before.metadata.name.context("no name")?;
        space.kubectl(&["delete", "configmap", &name])?;
        until("the deleted ConfigMap is back", BACK_WITHIN, async || {
            let back = maps.get(&name).await?;
            ensure!(back.metadata.uid != before.metadata.uid, "it is the old one");
            ensure!(back.data == before.data, "its content differs");
            Ok(())
        })
        .await
    })
    .await
}

/// What `part` shows of an object is within five seconds what it was before an edit.
async fn is_undone<K>(space: &Space, object: &str, edit: &Value, part: impl Fn(&K) -> Value) -> Result<()>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let before = part(&space.api::<K>().get("main").await?);
    space.kubectl(&["patch", object, "--type=json", "--patch", &edit.to_string()])?;
    until(&format!("{object} is as it was before {edit}"), BACK_WITHIN, async || {
        let now = part(&space.api::<K>().get("main").await?);
        ensure!(now == before, "it is {now}, it was {before}");
        Ok(())
    })
    .await
}

/// The kinds whose objects are looked at: all that Berth makes, and its own.
const KINDS: [(&str, &str); 11] = [
    ("berth.dev/v1alpha1", "Registry"),
    ("berth.dev/v1alpha1", "GCPolicy"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("v1", "PersistentVolumeClaim"),
    ("batch/v1", "CronJob"),
];

async fn dynamic(space: &Space, api_version: &str, kind: &str) -> Result<Api<DynamicObject>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = kube::core::GroupVersionKind::gvk(group, version, kind);
    let (resource, _) = discovery::pinned_kind(&space.client, &gvk).await.with_context(|| format!("find {kind}"))?;
    Ok(Api::namespaced_with(space.client.clone(), &space.name, &resource))
}

#[tokio::test]
async fn with_nothing_to_do_nothing_is_written() -> Result<()> {
    in_namespace("silence", async |space| {
        space.apply(&smallest())?;
        space.apply(&policy())?;
        kit::ready(space, "main").await?;
        settle(space).await?;

        let deadline = Instant::now() + SILENCE;
        let mut watches = futures::stream::SelectAll::new();
        for (api_version, kind) in KINDS {
            let api = dynamic(space, api_version, kind).await?;
            let version = api.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
            // Longer than the silence: a watch that ended early would prove nothing.
            let params = WatchParams::default().timeout(120).disable_bookmarks();
            let events = api.watch(&params, &version).await.with_context(|| format!("watch {kind}"))?;
            watches.push(events.map(move |event| (kind, event)).boxed());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, watches.next()).await {
            Err(_) => Ok(()),
            Ok(None) => bail!("the watches ended before their time"),
            Ok(Some((kind, Ok(WatchEvent::Error(error))))) => bail!("watch of {kind}: {error:?}"),
            Ok(Some((kind, Ok(event)))) => bail!("a {kind} was written though nothing had changed: {event:?}"),
            Ok(Some((kind, Err(error)))) => bail!("watch of {kind}: {error}"),
        }
    })
    .await
}

/// Waits until two looks, three seconds apart, see the same versions: what the creation set off has come to its end.
async fn settle(space: &Space) -> Result<()> {
    let previous = tokio::sync::Mutex::new(BTreeMap::new());
    until("what the creation set off has ended", Duration::from_secs(60), async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut seen = BTreeMap::new();
        for (api_version, kind) in KINDS {
            for object in dynamic(space, api_version, kind).await?.list(&ListParams::default()).await? {
                seen.insert((kind, object.metadata.name), object.metadata.resource_version);
            }
        }
        let mut previous = previous.lock().await;
        let same = *previous == seen && !seen.is_empty();
        *previous = seen;
        ensure!(same, "objects are still being written");
        Ok(())
    })
    .await
}
