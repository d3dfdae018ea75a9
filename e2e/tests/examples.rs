//! Every example is accepted by a real API server, as it stands and as it is rendered, and comes up.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::images::repository;
use berth_e2e::kit::{self, in_namespace};
use berth_e2e::run;
use serde_json::Value;

/// Examples that need something that this cluster does not have: another node pool, a load balancer. They are accepted
/// and rendered, and not waited for.
const NOT_HERE: [&str; 2] = ["production", "placement"];

fn examples() -> Result<Vec<PathBuf>> {
    let directory = repository().join("examples");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            all.push(path);
        }
    }
    all.sort();
    ensure!(all.len() >= 5, "{} has {} examples: was the right directory read?", directory.display(), all.len());
    Ok(all)
}

/// The operator's program, built once for this test.
fn operator() -> Result<&'static PathBuf> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(repository()).args([
            "build",
            "--quiet",
            "--package",
            "berth-operator",
            "--bin",
            "berth-operator",
        ]);
        run::checked(cargo).map_err(|error| format!("{error:#}"))?;
        let program = berth_e2e::program().map_err(|error| format!("{error:#}"))?;
        Ok(program.with_file_name("berth-operator"))
    });
    built.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// The documents of a file that kubectl would apply, as JSON.
fn documents(text: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple::<Value>(text)?.into_iter().filter(|value| value["kind"].is_string()).collect())
}

#[tokio::test]
async fn what_is_rendered_passes_a_server_side_dry_run() -> Result<()> {
    in_namespace("rendered", async |space| {
        for example in examples()? {
            let mut render = Command::new(operator()?);
            // No cluster is to be had: nothing may be asked.
            render.args(["render", "--namespace", &space.name, "-f"]).arg(&example).env("KUBECONFIG", "/dev/null");
            let rendered = run::checked(render)?;
            ensure!(
                documents(&rendered)?.len() > 1 || rendered.contains("kind: CronJob"),
                "{}: {rendered}",
                example.display()
            );
            space
                .kubectl_with(&["apply", "--server-side", "--dry-run=server", "-f", "-"], &rendered)
                .with_context(|| format!("the rendering of {}", example.display()))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_example_comes_up() -> Result<()> {
    for example in examples()? {
        let stem = example.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        in_namespace(&format!("ex-{stem}"), async |space| {
            let text = std::fs::read_to_string(&example)?;
            let documents = documents(&text)?;
            for document in &documents {
                space
                    .apply(&without_namespace(document.clone()).to_string())
                    .with_context(|| format!("example {stem}"))?;
            }
            if NOT_HERE.iter().any(|name| stem.contains(name)) {
                return Ok(());
            }
            for document in documents.iter().filter(|document| document["kind"] == "Registry") {
                let name = document["metadata"]["name"].as_str().context("an example without a name")?;
                kit::ready(space, name).await.with_context(|| format!("example {stem}"))?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// An example may name a namespace; here it goes into the test's own.
fn without_namespace(mut document: Value) -> Value {
    if let Some(metadata) = document["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    document
}
