//! Puts the operator into the cluster, with its Helm chart, as a user would.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use crate::cluster::Cluster;
use crate::compile::repository;
use crate::images;
use crate::progress::Step;
use crate::run;

/// The release's name.
pub const RELEASE: &str = "berth";
/// Where the operator runs.
pub const NAMESPACE: &str = "berth-system";
/// The operator's pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=berth-operator,app.kubernetes.io/instance=berth";

/// Installs or upgrades the chart, and returns once the operator is ready.
pub fn install(cluster: &Cluster) -> Result<()> {
    let step = Step::start("helm upgrade --install berth charts/berth");
    namespace(cluster)?;
    let [_, operator] = images::image_names();
    let digest = images::loaded_digest(cluster, &operator)
        .with_context(|| format!("{operator} is not in the cluster: run `berth-e2e load-images`"))?;
    let mut helm = cluster.helm();
    helm.args(["upgrade", "--install", RELEASE]).arg(repository().join("charts/berth"));
    helm.args(["--namespace", NAMESPACE, "--wait", "--timeout", "90s"]);
    // The tag stays while the content changes, and only a changed pod template makes new pods.
    helm.args(["--set-string", &format!("podAnnotations.berth\\.dev/content={digest}")]);
    run::checked(helm).map_err(|error| error.context(operator_state(cluster)))?;
    step.done("");
    Ok(())
}

/// An error that says how to install the operator, unless it is installed and available.
pub async fn check(cluster: &Cluster) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().await?, NAMESPACE);
    let available = deployments.get_opt("berth-operator").await?.and_then(|one| one.status?.available_replicas);
    if available.unwrap_or_default() < 1 {
        bail!("the operator does not run in this cluster: install it with `cargo run -p berth-e2e -- install`");
    }
    Ok(())
}

/// The operator's namespace, under the restricted Pod Security Standard.
fn namespace(cluster: &Cluster) -> Result<()> {
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n"
    );
    let mut kubectl = cluster.kubectl();
    kubectl.args(["apply", "--server-side", "-f", "-"]);
    run::with_input(kubectl, manifest.as_bytes()).map(drop)
}

/// What can be said about the operator's pods, for an error.
fn operator_state(cluster: &Cluster) -> String {
    let ask = |args: &[&str]| {
        let mut command: Command = cluster.kubectl();
        command.args(["--namespace", NAMESPACE]).args(args);
        run::checked(command).unwrap_or_else(|error| format!("{error:#}\n"))
    };
    let pods = ask(&["get", "pods", "--output=wide"]);
    let events = ask(&["events"]);
    let log = ask(&["logs", "--selector", SELECTOR, "--tail=30"]);
    format!("the operator did not become ready\n{pods}\n{events}\n{log}")
}
