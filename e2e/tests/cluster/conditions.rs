//! What a resource says of itself when something is wrong, and that it heals.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use berth_crds::Registry;
use berth_e2e::kit::{Space, condition, in_namespace, ready, until};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams};

const DEADLINE: Duration = Duration::from_secs(60);

/// The conditions of an object, which kubectl names.
pub(crate) fn conditions(space: &Space, object: &str) -> Result<Vec<Condition>> {
    let text = space.kubectl(&["get", object, "-o", "jsonpath={.status.conditions}"])?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).with_context(|| format!("conditions of {object}: {text}"))
}

/// Waits until `object` is stalled, with a message that contains `expected`.
pub(crate) async fn stalled(space: &Space, object: &str, expected: &str) -> Result<()> {
    until(&format!("{object} is stalled"), DEADLINE, async || {
        let conditions = conditions(space, object)?;
        let stalled = condition(&conditions, "Stalled").with_context(|| format!("{conditions:#?}"))?;
        ensure!(stalled.status == "True" && stalled.message.contains(expected), "{stalled:#?}");
        let ready = condition(&conditions, "Ready").context("it has no condition Ready")?;
        ensure!(ready.status == "False", "{ready:#?}");
        Ok(())
    })
    .await
}

/// Waits until `object` is not ready, with a message that contains `expected`.
async fn not_ready(space: &Space, object: &str, expected: &str) -> Result<()> {
    until(&format!("{object} says why it is not ready"), DEADLINE, async || {
        let conditions = conditions(space, object)?;
        let ready = condition(&conditions, "Ready").context("it has no condition Ready")?;
        ensure!(ready.status == "False" && ready.message.contains(expected), "{ready:#?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_service_of_somebody_else_is_not_taken_over() -> Result<()> {
    in_namespace("foreign-service", async |space| {
        space.apply("{apiVersion: v1, kind: Service, metadata: {name: main}, spec: {ports: [{port: 80}]}}")?;
        space.apply(super::TRANSIENT)?;
        stalled(space, "reg/main", "Service").await?;
        let service = space.api::<Service>().get("main").await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        ensure!(ports.len() == 1 && ports[0].port == 80, "the Service was changed: {ports:?}");
        space.api::<Service>().delete("main", &DeleteParams::default()).await?;
        ready(space, "main").await.map(drop)
    })
    .await
}

/// Nobody has to touch the Registry for it to go on once its Secret is whole.
#[tokio::test]
async fn the_secret_of_an_object_store_is_awaited() -> Result<()> {
    in_namespace("store-secret", async |space| {
        let s3 = "{bucket: images, endpoint: \"http://store.invalid:9000\", credentials: {secretRef: {name: s3}}}";
        let registry = super::TRANSIENT.replace("{emptyDir: {}}", &format!("{{s3: {s3}}}"));
        space.apply(&registry)?;
        stalled(space, "reg/main", "there is no Secret s3 in this namespace").await?;
        ensure!(space.api::<Deployment>().get_opt("main").await?.is_none(), "pods cannot start without it");
        let secret =
            |keys: &str| format!("{{apiVersion: v1, kind: Secret, metadata: {{name: s3}}, stringData: {{{keys}}}}}");
        space.apply(&secret("accesskey: A"))?;
        stalled(space, "reg/main", "Secret s3 has no secretkey").await?;
        space.apply(&secret("accesskey: A, secretkey: B"))?;
        until("the pods are made", DEADLINE, async || {
            let found = space.api::<Deployment>().get_opt("main").await?.is_some();
            ensure!(found, "there is no Deployment yet");
            let conditions = conditions(space, "reg/main")?;
            let reachable = condition(&conditions, "StorageReachable").with_context(|| format!("{conditions:#?}"))?;
            ensure!(!reachable.reason.starts_with("Secret"), "{reachable:#?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named() -> Result<()> {
    in_namespace("bad-image", async |space| {
        let image = "main.nowhere.svc:5000/no-such-image:1";
        let storage = "storage: {emptyDir: {}}";
        space.apply(&super::TRANSIENT.replace(storage, &format!("{storage}\n  image: {image}")))?;
        not_ready(space, "reg/main", image).await?;
        space.kubectl(&["patch", "reg/main", "--type=json", "-p", r#"[{"op": "remove", "path": "/spec/image"}]"#])?;
        ready(space, "main").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_paused_registry_is_left_alone() -> Result<()> {
    in_namespace("paused", async |space| {
        space.apply(super::TRANSIENT)?;
        ready(space, "main").await?;
        space.kubectl(&[
            "patch",
            "reg/main",
            "--type=merge",
            "-p",
            r#"{"spec": {"paused": true, "readOnly": true}}"#,
        ])?;
        space.kubectl(&["wait", "reg/main", "--for=condition=Paused", "--timeout=30s"])?;
        let configuration = |space: &Space| space.kubectl(&["get", "cm", "-o", "jsonpath={.items[*].metadata.name}"]);
        let before = configuration(space)?;
        space.kubectl(&["delete", "service/main"])?;
        space.kubectl(&["patch", "reg/main", "--type=merge", "-p", r#"{"spec": {"log": {"level": "debug"}}}"#])?;
        until("the new generation is observed", DEADLINE, async || {
            let registry = space.api::<Registry>().get("main").await?;
            let observed = registry.status.and_then(|status| status.observed_generation);
            ensure!(observed == registry.metadata.generation, "{observed:?} of {:?}", registry.metadata.generation);
            Ok(())
        })
        .await?;
        ensure!(space.api::<Service>().get_opt("main").await?.is_none(), "the Service was made again");
        ensure!(configuration(space)? == before, "the configuration was changed");
        space.kubectl(&["patch", "reg/main", "--type=merge", "-p", r#"{"spec": {"paused": false}}"#])?;
        ready(space, "main").await?;
        ensure!(space.api::<Service>().get_opt("main").await?.is_some(), "the Service is not back");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn events_tell_of_changes_and_of_nothing_else() -> Result<()> {
    in_namespace("events", async |space| {
        space.apply(super::TRANSIENT)?;
        ready(space, "main").await?;
        let count = async || -> Result<(usize, String)> {
            let events = space.api::<Event>().list(&ListParams::default()).await?.items;
            let own: Vec<_> =
                events.iter().filter(|event| event.involved_object.kind.as_deref() == Some("Registry")).collect();
            let shown = own.iter().filter_map(|event| event.message.clone()).collect::<Vec<_>>().join("\n");
            Ok((own.len(), shown))
        };
        let (first, shown) = count().await?;
        ensure!(first > 0, "no event tells that the Registry came to be");
        // A label is a change of the resource that changes nothing else.
        space.kubectl(&["label", "reg/main", "touched=yes"])?;
        space.kubectl(&["annotate", "reg/main", "touched=yes"])?;
        ready(space, "main").await?;
        let (second, now) = count().await?;
        ensure!(first == second, "events without a change:\n{shown}\nbecame\n{now}");
        Ok(())
    })
    .await
}
