//! What changes in a running registry without a restart.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::images::app;
use berth_e2e::kit::{self, Space, in_namespace, until};
use berth_e2e::paths::Cache;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

/// The kubelet brings a changed ConfigMap to its pods when it looks at them next: here every ten seconds, elsewhere every
/// minute.
const UPDATE_DEADLINE: Duration = Duration::from_secs(90);

fn set_read_only(space: &Space, read_only: bool) -> Result<()> {
    let patch = format!("{{\"spec\": {{\"readOnly\": {read_only}}}}}");
    space.kubectl(&["patch", "reg/main", "--type=merge", "-p", &patch]).map(drop)
}

async fn pod_uids(space: &Space) -> Result<Vec<Option<String>>> {
    let pods = space.api::<Pod>().list(&ListParams::default().labels("berth.dev/registry=main")).await?;
    Ok(pods.items.into_iter().map(|pod| pod.metadata.uid).collect())
}

#[tokio::test]
async fn a_registry_becomes_read_only_and_writable_again() -> Result<()> {
    in_namespace("read-only", async |space| {
        space.apply(super::TRANSIENT)?;
        kit::ready(space, "main").await?;
        let (cache, address) = (Cache::from_env()?, kit::registry_address(space, "main"));
        let (first, second) = (app::release(&cache, "v1")?.source, app::release(&cache, "v2")?.source);
        let reference = |tag: &str| format!("{address}/team/app:{tag}");
        kit::push(space, &first, &reference("v1"))?;
        let before = pod_uids(space).await?;

        set_read_only(space, true)?;
        until("a push is refused", UPDATE_DEADLINE, async || {
            let refusal = kit::push(space, &second, &reference("v2")).err().context("it is taken")?;
            // UNSUPPORTED in the words of the distribution specification.
            ensure!(format!("{refusal:#}").contains("unsupported"), "{refusal:#}");
            Ok(())
        })
        .await?;
        let directory = tempfile::tempdir()?;
        kit::copy_down(space, &reference("v1"), &directory.path().join("v1"))?;

        set_read_only(space, false)?;
        until("a push is taken", UPDATE_DEADLINE, async || kit::push(space, &second, &reference("v3"))).await?;
        ensure!(pod_uids(space).await? == before, "the pods were replaced");
        Ok(())
    })
    .await
}
