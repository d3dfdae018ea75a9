//! The demo: from nothing to a pod whose image the kubelet pulled from a Berth registry, and a collection that frees
//! what a deleted tag held.
//!
//! Every step is what a user would do, with the tools a user has: Helm, kubectl, skopeo. Running it again starts over
//! in a new namespace of the same name.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use berth_crds::Run;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use crate::cluster::{Cluster, up};
use crate::compile::repository;
use crate::images::{self, app};
use crate::install;
use crate::kit::{self, Space};
use crate::paths::Cache;
use crate::progress::{Step, bytes};
use crate::run;
use crate::table::Table;

/// The demo's namespace.
const NAMESPACE: &str = "berth-demo";
/// The examples that it applies.
const EXAMPLES: [&str; 2] = ["registry.yaml", "gcpolicy.yaml"];
/// The Registry in them.
const REGISTRY: &str = "main";
/// The GCPolicy in them.
const POLICY: &str = "nightly";

/// What happened: rows of the closing table.
struct Story {
    started: Instant,
    table: Table,
}

impl Story {
    fn new() -> Self {
        Self { started: Instant::now(), table: Table::new(["STEP", "TOOK", "WHAT CAME OF IT"]) }
    }

    /// Ends a step and notes it.
    fn tell(&mut self, step: Step, what: &str, result: &str) {
        let took = step.done(result);
        self.table.row([what.to_owned(), format!("{:.1} s", took.as_secs_f64()), result.to_owned()]);
    }
}

/// Runs the demo on the cluster `name`, which is started if need be.
pub async fn demo(name: &str) -> Result<()> {
    let mut story = Story::new();
    let before = Instant::now();
    let cluster = up::up(name).await?;
    story.table.row(["cluster".into(), seconds(before), format!("Kubernetes {}", crate::tools::KUBERNETES_VERSION)]);
    let before = Instant::now();
    let loaded = images::load(&cluster)?;
    let sizes: Vec<String> = loaded.iter().map(|one| format!("{} {}", one.image, bytes(one.archive_bytes))).collect();
    story.table.row(["images".into(), seconds(before), sizes.join(", ")]);
    let before = Instant::now();
    install::install(&cluster)?;
    story.table.row(["operator".into(), seconds(before), "installed with Helm".into()]);
    let space = fresh_namespace(&cluster).await?;
    if let Err(error) = play(&space, &mut story).await {
        let place = kit::dump(&space, "demo")
            .map_or_else(|error| format!("which could not be written down: {error:#}"), |d| d.display().to_string());
        return Err(error.context(format!("the demo failed; the namespace as it was: {place}")));
    }
    println!("\n{}", story.table);
    let mut kubectl = cluster.kubectl();
    kubectl.args(["--namespace", NAMESPACE, "get", "reg,gcpol,pods"]);
    println!("{}", run::checked(kubectl)?);
    println!(
        "All of it took {:.1} s. Look around: export KUBECONFIG={}",
        story.started.elapsed().as_secs_f64(),
        cluster.kubeconfig().display()
    );
    println!("End it with `make demo-down`.");
    Ok(())
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

/// The demo's namespace, with nothing of an earlier run in it.
async fn fresh_namespace(cluster: &Cluster) -> Result<Space> {
    let client = cluster.client().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(NAMESPACE).await?.is_some() {
        let step = Step::start("remove what an earlier demo left");
        let old = Space { cluster: cluster.clone(), client, name: NAMESPACE.to_owned() };
        old.delete().await?;
        kit::until("the old namespace is gone", Duration::from_secs(120), async || {
            ensure!(namespaces.get_opt(NAMESPACE).await?.is_none(), "it is being deleted");
            Ok(())
        })
        .await?;
        step.done("");
    }
    Space::create(cluster.clone(), NAMESPACE.to_owned()).await
}

async fn play(space: &Space, story: &mut Story) -> Result<()> {
    let step = Step::start("kubectl apply the examples");
    for example in EXAMPLES {
        let path = repository().join("examples").join(example);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        space.apply(&text)?;
    }
    // What was pushed a minute ago is not garbage by default: the demo does not want to wait an hour.
    let now = r#"{"spec": {"gracePeriod": "0s", "deleteUntagged": true}}"#;
    space.kubectl(&["patch", "gcpolicy", POLICY, "--type=merge", "--patch", now])?;
    let registry = kit::ready(space, REGISTRY).await?;
    let url = registry.status.and_then(|status| status.url).unwrap_or_default();
    story.tell(step, "registry", &format!("Registry {REGISTRY} is ready at {url}"));

    let address = kit::registry_address(space, REGISTRY);
    let [v1, v2] = ["v1", "v2"].map(|tag| format!("{address}/team/app:{tag}"));
    push_releases(space, story, &[(&v1, "v1"), (&v2, "v2")])?;
    run_pod(space, story, &address, &v1).await?;

    let step = Step::start("skopeo delete team/app:v2");
    kit::delete(space, &v2)?;
    story.tell(step, "delete", "the tag v2 and its manifest");

    let step = Step::start("collect garbage");
    let report = kit::gc_run(space, POLICY).await?;
    let freed = report.bytes_freed.unwrap_or_default();
    ensure!(
        freed >= app::RELEASE_BYTES as i64,
        "the layer of v2 ({}) was not freed: {report:?}",
        bytes(app::RELEASE_BYTES as u64)
    );
    story.tell(step, "collection", &told(&report));

    let step = Step::start("skopeo copy what is left");
    pull_what_is_left(space, &v1, &v2)?;
    story.tell(step, "pull", "v1 whole, each blob's digest checked; v2 is gone");
    Ok(())
}

fn push_releases(space: &Space, story: &mut Story, releases: &[(&str, &str)]) -> Result<()> {
    let cache = Cache::from_env()?;
    let step = Step::start("build an application image with buildah");
    let mut apps = Vec::new();
    for (_, tag) in releases {
        apps.push(app::release(&cache, tag)?);
    }
    step.done("two releases of four layers, three of them shared");
    for ((reference, tag), app) in releases.iter().zip(apps) {
        let step = Step::start(format!("skopeo copy {tag}"));
        kit::push(space, &app.source, reference)?;
        story.tell(step, "push", &format!("team/app:{tag}, {}", bytes(app.size()?)));
    }
    Ok(())
}

async fn run_pod(space: &Space, story: &mut Story, address: &str, image: &str) -> Result<()> {
    let step = Step::start("a pod whose image the kubelet pulls");
    space.cluster.trust_plain_http(address)?;
    // An earlier demo's image would make this pull a glance at what is there.
    space.cluster.forget_image(&format!("{address}/team/app"))?;
    space.apply(&kit::app_pod("app", image).to_string())?;
    let pulled = kit::pod_pulled(space, "app").await?;
    story.tell(step, "pod", &pulled);
    Ok(())
}

fn told(report: &Run) -> String {
    let count = |number: Option<i64>| number.unwrap_or_default();
    format!(
        "{}: {} manifests and {} blobs deleted, {} freed; {} and {} kept",
        report.outcome.as_str(),
        count(report.manifests_deleted),
        count(report.blobs_deleted),
        bytes(count(report.bytes_freed).unsigned_abs()),
        count(report.manifests_kept),
        count(report.blobs_kept),
    )
}

fn pull_what_is_left(space: &Space, kept: &str, deleted: &str) -> Result<()> {
    let directory = space.cluster.spec.dir.join("pulled");
    let pulled = kit::copy_down(space, kept, &directory);
    let gone = kit::copy_down(space, deleted, &directory);
    if directory.exists() {
        std::fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    pulled?;
    ensure!(gone.is_err(), "{deleted} can still be pulled");
    Ok(())
}
