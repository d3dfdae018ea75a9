//! Writes down everything of a namespace, for whoever looks into a failed test.

use std::path::PathBuf;

use anyhow::Result;

use super::Space;
use crate::compile::repository;
use crate::files::{tail, write_public};
use crate::install;
use crate::run;

/// Kinds that are written as YAML; Secrets are not among them.
const KINDS: &str = "registries,gcpolicies,deployments,replicasets,pods,services,endpointslices,configmaps,\
                     persistentvolumeclaims,serviceaccounts,cronjobs,jobs,events";
/// Lines of each log.
const LINES: usize = 500;
/// Components of the cluster whose logs tell of pods and volumes.
const COMPONENTS: [&str; 3] = ["kubelet", "containerd", "provisioner"];

/// Writes objects, descriptions and logs to `target/e2e/TEST/`, and says where. What cannot be had is noted in its file.
pub fn write(space: &Space, test: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let directory = target.join("e2e").join(test);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let text = |result: Result<String>| result.unwrap_or_else(|error| format!("{error:#}\n"));
    let put = |name: &str, content: &str| write_public(&directory.join(name), content.as_bytes());

    put("objects.yaml", &text(space.kubectl(&["get", KINDS, "--output=yaml"])))?;
    put("overview.txt", &text(space.kubectl(&["get", KINDS, "--output=wide"])))?;
    put("events.txt", &text(space.kubectl(&["events"])))?;
    put("describe.txt", &text(space.kubectl(&["describe", "registries,gcpolicies,pods,persistentvolumeclaims,jobs"])))?;
    let pods = text(space.kubectl(&["get", "pods", "--output=name"]));
    for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
        let lines = format!("--tail={LINES}");
        let log = text(space.kubectl(&["logs", pod, "--all-containers", "--prefix", &lines]));
        put(&format!("{}.log", pod.replace('/', "-")), &log)?;
    }
    let mut operator = space.cluster.kubectl();
    operator.args(["--namespace", install::NAMESPACE, "logs", "--selector", install::SELECTOR, "--prefix"]);
    operator.arg(format!("--tail={LINES}"));
    put("operator.log", &text(run::checked(operator)))?;
    for component in COMPONENTS {
        put(&format!("{component}.log"), &text(tail(&space.cluster.spec.dir.log(component), LINES)))?;
    }
    Ok(directory)
}
