//! Berth's own life in a cluster: test, upgrade, uninstall, install again. It concerns the whole cluster, so it is one
//! test in a program of its own, which runs after the others.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::compile::repository;
use berth_e2e::install::{NAMESPACE, RELEASE, install};
use berth_e2e::kit::{Space, in_namespace, ready};
use berth_e2e::run;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

const REGISTRY: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: main}
spec:
  storage: {emptyDir: {}}
";

fn helm(space: &Space, args: &[&str]) -> Result<String> {
    let mut helm = space.cluster.helm();
    helm.args(args).args(["--namespace", NAMESPACE]);
    run::checked(helm)
}

fn columns(space: &Space) -> Result<String> {
    let path = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
    space.kubectl(&["get", "crd", "registries.berth.dev", "-o", path])
}

#[tokio::test]
async fn test_upgrade_uninstall_and_install_again() -> Result<()> {
    in_namespace("lifecycle", async |space| {
        helm(space, &["test", RELEASE, "--timeout", "60s"])?;
        space.apply(REGISTRY)?;
        ready(space, "main").await?;

        upgrade_brings_the_definitions_up_to_date(space)?;

        let pods = space.api::<Pod>();
        let own = ListParams::default().labels("berth.dev/registry=main");
        let before = pods.list(&own).await?.items.pop().context("a pod")?.metadata.uid;
        helm(space, &["uninstall", RELEASE, "--wait"])?;
        let kept = space.kubectl(&["get", "crd", "registries.berth.dev", "gcpolicies.berth.dev", "-o", "name"])?;
        ensure!(kept.lines().count() == 2, "{kept}");
        space.kubectl(&["get", "reg/main", "deployment/main", "service/main"])?;

        install(&space.cluster)?;
        ready(space, "main").await?;
        let after = pods.list(&own).await?.items.pop().context("a pod")?.metadata.uid;
        ensure!(before == after, "the registry's pod did not survive");
        Ok(())
    })
    .await
}

/// An older chart, whose definition lacks a column, is upgraded to this one.
fn upgrade_brings_the_definitions_up_to_date(space: &Space) -> Result<()> {
    let older = tempfile::tempdir()?;
    copy(&repository().join("charts/berth"), older.path())?;
    let path = older.path().join("files/crds/registries.yaml");
    let text = std::fs::read_to_string(&path)?;
    let changed = text.replace("name: Version", "name: Old");
    ensure!(changed != text, "{} has no column Version", path.display());
    std::fs::write(&path, changed)?;
    let chart = older.path().to_str().context("a path in UTF-8")?;
    helm(space, &["upgrade", RELEASE, chart, "--reuse-values", "--wait", "--timeout", "90s"])?;
    ensure!(columns(space)?.contains("Old"), "{}", columns(space)?);
    install(&space.cluster)?;
    let now = columns(space)?;
    ensure!(now.contains("Version") && !now.contains("Old"), "{now}");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
