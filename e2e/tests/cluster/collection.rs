//! From push to pull by the kubelet, and a collection while the registry serves.

use anyhow::{Context as _, Result, bail, ensure};
use berth_crds::{GCPolicy, Outcome};
use berth_e2e::images::app;
use berth_e2e::kit::{self, Space, in_namespace, until};
use berth_e2e::paths::Cache;
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::json;
use std::time::Duration;

fn apply(space: &Space, dry_run: bool) -> Result<()> {
    space.apply(
        &json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"},
            "spec": {"storage": {"persistentVolumeClaim": {"size": "1Gi"}}},
        })
        .to_string(),
    )?;
    space.apply(
        &json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy", "metadata": {"name": "nightly"},
            "spec": {
                "registryRef": {"name": "main"}, "schedule": "0 3 * * *", "gracePeriod": "0s",
                "deleteUntagged": true, "dryRun": dry_run,
            },
        })
        .to_string(),
    )?;
    Ok(())
}

#[tokio::test]
async fn a_collection_frees_what_a_deleted_tag_held() -> Result<()> {
    in_namespace("collection", async |space| {
        apply(space, true)?;
        kit::ready(space, "main").await?;
        let address = kit::registry_address(space, "main");
        let [v1, v2] = ["v1", "v2"].map(|tag| format!("{address}/team/app:{tag}"));
        let cache = Cache::from_env()?;
        kit::push(space, &app::release(&cache, "v1")?.source, &v1)?;
        kit::push(space, &app::release(&cache, "v2")?.source, &v2)?;
        kit::delete(space, &v2)?;

        let dry = kit::gc_run(space, "nightly").await?;
        ensure!(dry.dry_run && dry.outcome == Outcome::Clean, "{dry:?}");
        apply(space, false)?;
        let run = kit::gc_run(space, "nightly").await?;
        ensure!(!run.dry_run && run.outcome == Outcome::Clean, "{run:?}");
        ensure!(
            run.bytes_freed == dry.bytes_freed,
            "the dry run foresaw {:?}, freed were {:?}",
            dry.bytes_freed,
            run.bytes_freed
        );
        let freed = run.bytes_freed.unwrap_or_default();
        let layer = app::RELEASE_BYTES as i64;
        ensure!((layer..layer + (1 << 20)).contains(&freed), "freed {freed} bytes, the layer has {layer}");
        ensure!(run.blobs_kept.is_some_and(|kept| kept >= 6), "{run:?}");

        let again = kit::gc_run(space, "nightly").await?;
        ensure!(again.bytes_freed == Some(0), "a second run freed {:?}", again.bytes_freed);
        let status = space.api::<GCPolicy>().get("nightly").await?.status.context("no status")?;
        ensure!(status.runs.len() == 3, "{} runs are remembered", status.runs.len());

        space.cluster.trust_plain_http(&address)?;
        space.apply(&kit::app_pod("app", &v1).to_string())?;
        kit::pod_pulled(space, "app").await?;
        let pod = space.api::<k8s_openapi::api::core::v1::Pod>().get("app").await?;
        let ip = pod.status.and_then(|status| status.pod_ip).context("no address")?;
        let (status, page) = space.cluster.get(&format!("{ip}:8080"), "/").await?;
        ensure!(status == 200, "the pod answers {status}");
        ensure!(String::from_utf8_lossy(&page).contains("pulled from a Berth registry"), "another page is served");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_policy_waits_for_its_registry() -> Result<()> {
    in_namespace("waiting", async |space| {
        space.apply(
            &json!({
                "apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy", "metadata": {"name": "early"},
                "spec": {"registryRef": {"name": "later"}, "schedule": "@daily"},
            })
            .to_string(),
        )?;
        let state = async |wanted: &str| {
            until(&format!("the policy's Ready is {wanted}"), Duration::from_secs(60), async || {
                let status = space.api::<GCPolicy>().get("early").await?.status.context("no status")?;
                match kit::condition(&status.conditions, "Ready") {
                    Some(ready) if ready.status == wanted => Ok(format!("{}: {}", ready.reason, ready.message)),
                    other => bail!("{other:?}"),
                }
            })
            .await
        };
        let why = state("False").await?;
        ensure!(why.contains("RegistryNotFound") && why.contains("later"), "{why}");
        space.apply(
            &json!({
                "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "later"},
                "spec": {"storage": {"emptyDir": {}}},
            })
            .to_string(),
        )?;
        state("True").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_schedule_runs_by_itself_until_it_is_suspended() -> Result<()> {
    in_namespace("schedule", async |space| {
        space.apply(super::TRANSIENT)?;
        space.apply(
            "{apiVersion: berth.dev/v1alpha1, kind: GCPolicy, metadata: {name: often}, spec: {registryRef: \
             {name: main}, schedule: '* * * * *'}}",
        )?;
        let policies = space.api::<GCPolicy>();
        let run = until("the schedule's first run is reported", Duration::from_secs(150), async || {
            let status = policies.get("often").await?.status.context("no status")?;
            status.last_run.with_context(|| format!("{:?}", status.conditions))
        })
        .await?;
        ensure!(run.outcome == Outcome::Clean, "{run:?}");
        space.kubectl(&["patch", "gcpol/often", "--type=merge", "--patch", r#"{"spec": {"suspend": true}}"#])?;
        is_suspended(space).await?;
        until("no next run is shown", Duration::from_secs(15), async || {
            let status = policies.get("often").await?.status.context("no status")?;
            ensure!(status.next_run.is_none(), "{:?}", status.next_run);
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_policy_that_is_wrong_collects_nothing() -> Result<()> {
    in_namespace("wrong-policy", async |space| {
        space.apply(super::TRANSIENT)?;
        space.apply(
            "{apiVersion: berth.dev/v1alpha1, kind: GCPolicy, metadata: {name: often}, spec: {registryRef: \
             {name: main}, schedule: '0 0 1 1 *'}}",
        )?;
        space.kubectl(&["wait", "gcpol/often", "--for=condition=Ready", "--timeout=60s"])?;
        let wrong = r#"{"spec": {"timeZone": "Europe/Berln", "dryRun": true}}"#;
        space.kubectl(&["patch", "gcpol/often", "--type=merge", "--patch", wrong])?;
        super::conditions::stalled(space, "gcpol/often", "Europe/Berln").await?;
        is_suspended(space).await
    })
    .await
}

async fn is_suspended(space: &Space) -> Result<()> {
    until("the CronJob is suspended", Duration::from_secs(15), async || {
        let spec = space.api::<CronJob>().get("often-gc").await?.spec.context("no spec")?;
        ensure!(spec.suspend == Some(true), "it is not");
        Ok(())
    })
    .await
}
