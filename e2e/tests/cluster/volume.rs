//! The volume: it outlives its Registry, unless it is told not to; and it grows.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use berth_crds::Registry;
use berth_e2e::images::app;
use berth_e2e::kit::{self, Space, in_namespace, until};
use berth_e2e::paths::Cache;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use serde_json::json;

fn registry(name: &str, fields: &serde_json::Value) -> String {
    let mut spec = json!({"storage": {"persistentVolumeClaim": {"size": "1Gi"}}});
    for (key, value) in fields.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": name}, "spec": spec})
        .to_string()
}

async fn volume_name(space: &Space, claim: &str) -> Result<String> {
    let claim = space.api::<PersistentVolumeClaim>().get(claim).await?;
    claim.spec.and_then(|spec| spec.volume_name).context("the claim has no volume")
}

#[tokio::test]
async fn a_volume_outlives_its_registry() -> Result<()> {
    in_namespace("retain", async |space| {
        space.apply(&registry("main", &json!({})))?;
        kit::ready(space, "main").await?;
        let reference = format!("{}/team/app:v1", kit::registry_address(space, "main"));
        kit::push(space, &app::release(&Cache::from_env()?, "v1")?.source, &reference)?;
        let before = volume_name(space, "main").await?;

        kit::delete_and_wait::<Registry>(space, "main").await?;
        let claim = space.api::<PersistentVolumeClaim>().get("main").await.context("the claim is gone")?;
        ensure!(claim.metadata.deletion_timestamp.is_none(), "the claim is being deleted");

        space.apply(&registry("main", &json!({})))?;
        kit::ready(space, "main").await?;
        ensure!(volume_name(space, "main").await? == before, "it is another volume");
        let directory = std::env::temp_dir().join(&space.name);
        let pulled = kit::copy_down(space, &reference, &directory);
        std::fs::remove_dir_all(&directory).context("remove what was pulled")?;
        pulled
    })
    .await
}

#[tokio::test]
async fn a_volume_goes_when_it_is_told_to() -> Result<()> {
    in_namespace("delete", async |space| {
        space.apply(&registry("main", &json!({"deletionPolicy": "Delete"})))?;
        kit::ready(space, "main").await?;
        let volume = volume_name(space, "main").await?;
        kit::delete_and_wait::<Registry>(space, "main").await?;
        let volumes: Api<PersistentVolume> = Api::all(space.client.clone());
        until("the claim and its volume are gone", Duration::from_secs(60), async || {
            let claim = space.api::<PersistentVolumeClaim>().get_opt("main").await?;
            ensure!(claim.is_none(), "the claim is there");
            ensure!(volumes.get_opt(&volume).await?.is_none(), "volume {volume} is there");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_volume_grows() -> Result<()> {
    in_namespace("grow", async |space| {
        space.apply(&registry("main", &json!({})))?;
        kit::ready(space, "main").await?;
        space.apply(&registry("main", &json!({"storage": {"persistentVolumeClaim": {"size": "2Gi"}}})))?;
        until("the claim has 2Gi", Duration::from_secs(30), async || {
            let status = space.api::<PersistentVolumeClaim>().get("main").await?.status.unwrap_or_default();
            let capacity = status.capacity.as_ref().and_then(|all| all.get("storage"));
            ensure!(capacity.is_some_and(|size| size.0 == "2Gi"), "{capacity:?}");
            Ok(())
        })
        .await?;
        kit::ready(space, "main").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_class_that_does_not_grow_is_told() -> Result<()> {
    in_namespace("fixed", async |space| {
        let of_size = |size: &str| {
            json!({"storage": {"persistentVolumeClaim": {"size": size, "storageClassName": "berth-fixed"}}})
        };
        space.apply(&registry("main", &of_size("1Gi")))?;
        kit::ready(space, "main").await?;
        space.apply(&registry("main", &of_size("2Gi")))?;
        until("StorageReady says why", Duration::from_secs(30), async || {
            let status = space.api::<Registry>().get("main").await?.status.context("no status")?;
            match kit::condition(&status.conditions, "StorageReady") {
                Some(condition) if condition.status == "False" && !condition.message.is_empty() => Ok(()),
                other => bail!("{other:?}"),
            }
        })
        .await
    })
    .await
}

#[tokio::test]
async fn the_finalizer_is_there_only_while_the_volume_is_to_be_deleted() -> Result<()> {
    in_namespace("finalizer", async |space| {
        for (policy, expected) in
            [("Delete", vec!["berth.dev/volume"]), ("Retain", vec![]), ("Delete", vec!["berth.dev/volume"])]
        {
            space.apply(&registry("main", &json!({"deletionPolicy": policy})))?;
            let found = kit::ready(space, "main").await?.metadata.finalizers.unwrap_or_default();
            ensure!(found == expected, "{policy}: {found:?}");
        }
        // The pods of an orphaned Registry go on, and so does what they write to.
        space.kubectl(&["delete", "reg/main", "--cascade=orphan"])?;
        let claim = space.api::<PersistentVolumeClaim>().get("main").await?;
        ensure!(claim.metadata.deletion_timestamp.is_none(), "the claim of an orphaned Deployment is being deleted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_existing_claim_is_used_and_never_deleted() -> Result<()> {
    in_namespace("existing-claim", async |space| {
        space.apply(
            "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: \
             [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
        )?;
        space.apply(&registry(
            "main",
            &json!({"storage": {"persistentVolumeClaim": {"size": null, "existingClaim": "data"}}}),
        ))?;
        kit::ready(space, "main").await?;
        let claims = space.api::<PersistentVolumeClaim>();
        ensure!(claims.get_opt("main").await?.is_none(), "a claim was made beside the existing one");
        kit::delete_and_wait::<Registry>(space, "main").await?;
        ensure!(claims.get("data").await?.metadata.deletion_timestamp.is_none(), "the claim is being deleted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_claim_of_somebody_else_is_not_taken_over() -> Result<()> {
    in_namespace("foreign-claim", async |space| {
        space.apply(
            "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: main, labels: {mine: 'yes'}}, spec: \
             {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
        )?;
        space.apply(super::ON_A_VOLUME)?;
        super::conditions::stalled(space, "reg/main", "PersistentVolumeClaim").await?;
        space.kubectl(&["delete", "pvc/main"])?;
        kit::ready(space, "main").await.map(drop)
    })
    .await
}
