//! Starts a cluster, or what of it does not run.
//!
//! Running it again is safe: a daemon that runs as it would be started now is left alone, others are (re)started. After
//! a crash half-way, the next run goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use tokio::net::UnixStream;

use super::cgroup::Hierarchies;
use super::components::{Launch, Ready, stages};
use super::process::{Record, digest};
use super::spec::{API_PORT, NODE, Spec};
use super::{Cluster, gate, kubeconfig, objects, pki, process, sandbox};
use crate::files::{Lock, tail, write_private};
use crate::paths::Cache;
use crate::progress::Step;
use crate::{images, packages, tools};

/// How long one stage may take to come up.
const STAGE_DEADLINE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Lines of a failed component's log that are shown.
const SHOWN_LINES: usize = 25;

/// Brings the cluster up and returns once its node is ready.
pub async fn up(name: &str) -> Result<Cluster> {
    if !rustix::process::geteuid().is_root() {
        bail!("a cluster needs root (namespaces, mounts, control groups): run this as root");
    }
    packages::ensure(&packages::CLUSTER)?;
    let cache = Cache::from_env()?;
    tools::ensure(&cache, &tools::CLUSTER)?;
    let _lock = Lock::take(&cache.lock(&format!("cluster-{name}")), || {
        eprintln!("  another run works on cluster {name:?}: waiting for it");
    })?;
    let cluster = Cluster::describe(name)?;
    let spec = &cluster.spec;
    let step = Step::start(format!("cluster {name}: certificates and configuration"));
    prepare(spec)?;
    step.done("");
    let mut children = Children { spec, started: vec![] };
    hold_namespaces(&cluster, &mut children).await?;
    let [stores, api, node] = stages(spec);
    start_stage(&cluster, stores, &mut children).await?;
    start_stage(&cluster, api, &mut children).await?;
    // The daemons of the node have their rights from these objects, and pods need the image.
    let step = Step::start("cluster objects and the pause image");
    apply_objects(&cluster)?;
    images::load_pause(&cluster, &cache)?;
    step.done("");
    start_stage(&cluster, node, &mut children).await?;
    Ok(cluster)
}

/// The daemons that this run started; they are looked at until all is up, and then live on without us.
struct Children<'a> {
    spec: &'a Spec,
    started: Vec<(&'static str, Child)>,
}

impl Children<'_> {
    /// An error with the end of the log, if a daemon that this run started has ended.
    fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.started {
            if let Some(status) = child.try_wait().with_context(|| format!("look at {name}"))? {
                bail!("{name} ended ({status}); {}", log_end(self.spec, name));
            }
        }
        Ok(())
    }
}

fn log_end(spec: &Spec, component: &str) -> String {
    let path = spec.dir.log(component);
    let end = tail(&path, SHOWN_LINES).unwrap_or_else(|error| format!("{error:#}"));
    format!("the end of {}:\n{end}", path.display())
}

/// Directories, certificates and kubeconfigs.
fn prepare(spec: &Spec) -> Result<()> {
    let root = spec.dir.root();
    let context = || format!("create {}", root.display());
    std::fs::create_dir_all(root).with_context(context)?;
    // Keys lie here, and the gate lets everyone in who reaches its socket.
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).with_context(context)?;
    for directory in [spec.dir.volumes(), spec.dir.certs_d(), spec.dir.join("etcd"), spec.dir.join("kubelet")] {
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("create {}", directory.display()))?;
    }
    write_private(&spec.dir.join("gate-port"), spec.gate_port.to_string().as_bytes())?;
    pki::ensure(&spec.dir)?;
    for user in pki::USERS {
        write_kubeconfig(spec, user, API_PORT, &spec.dir.kubeconfig(user))?;
    }
    write_kubeconfig(spec, "admin", spec.gate_port, &spec.dir.admin_kubeconfig())
}

fn write_kubeconfig(spec: &Spec, user: &str, port: u16, path: &Path) -> Result<()> {
    let text = kubeconfig::render(&kubeconfig::Kubeconfig {
        cluster: &spec.name,
        server: &format!("https://127.0.0.1:{port}"),
        user,
        authority: &pki::read(&spec.dir.pki("ca.crt"))?,
        certificate: &pki::read(&spec.dir.pki(&format!("{user}.crt")))?,
        key: &pki::read(&spec.dir.pki(&format!("{user}.key")))?,
    });
    write_private(path, text.as_bytes())
}

/// Makes the namespaces, unless their holder lives. Daemons of a lost namespace are ended first.
async fn hold_namespaces(cluster: &Cluster, children: &mut Children<'_>) -> Result<()> {
    if cluster.holder().is_some() {
        return Ok(());
    }
    let spec = &cluster.spec;
    let step = Step::start("namespaces without an uplink");
    let groups = Hierarchies::from_host()?;
    groups.kill(&spec.cgroup(), Duration::from_secs(20))?;
    groups.create(&spec.cgroup())?;
    let socket = spec.dir.gate_socket();
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", socket.display()));
        }
        _ => {}
    }
    children.started.push((sandbox::HOLDER, sandbox::start(spec)?));
    wait_until(children, sandbox::HOLDER, async || {
        UnixStream::connect(&socket).await.map(drop).with_context(|| format!("connect to {}", socket.display()))
    })
    .await?;
    step.done("");
    Ok(())
}

async fn start_stage(cluster: &Cluster, stage: Vec<Launch>, children: &mut Children<'_>) -> Result<()> {
    let names: Vec<_> = stage.iter().map(|launch| launch.name).collect();
    let step = Step::start(names.join(", "));
    for launch in &stage {
        let record = Record::load(&cluster.spec.dir, launch.name);
        match record {
            Some(record) if record.alive() && record.launch == digest(launch) => continue,
            Some(record) => record.end().with_context(|| format!("end the old {}", launch.name))?,
            None => {}
        }
        children.started.push((launch.name, process::start(&cluster.spec, launch, cluster.holder())?));
    }
    for launch in &stage {
        step.note(&format!("wait for {}", launch.name));
        wait_until(children, launch.name, async || is_up(cluster, &launch.ready).await).await?;
    }
    step.done("");
    Ok(())
}

/// Looks until the condition holds; an error names the component, what was last seen, and the end of its log.
async fn wait_until(
    children: &mut Children<'_>,
    component: &str,
    condition: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let started = Instant::now();
    loop {
        children.check()?;
        let seen = match tokio::time::timeout(Duration::from_secs(5), condition()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer within 5 s"),
        };
        if started.elapsed() > STAGE_DEADLINE {
            let end = log_end(children.spec, component);
            return Err(seen.context(format!("{component} is not up after {} s; {end}", STAGE_DEADLINE.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn is_up(cluster: &Cluster, ready: &Ready) -> Result<()> {
    match ready {
        Ready::Running => Ok(()),
        Ready::Socket(path) => {
            UnixStream::connect(path).await.map(drop).with_context(|| format!("connect to {}", path.display()))
        }
        Ready::Http { port, path } => {
            let socket = cluster.spec.dir.gate_socket();
            match gate::get(&socket, &format!("127.0.0.1:{port}"), path).await? {
                (200, _) => Ok(()),
                (status, _) => bail!("{path} on port {port} answers {status}"),
            }
        }
        Ready::Api => {
            let answer = cluster.client().await?.request_text(kube_get("/readyz")?).await?;
            if answer == "ok" { Ok(()) } else { bail!("/readyz says {answer}") }
        }
        Ready::ServiceAccount => {
            let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client().await?, "default");
            accounts.get("default").await.map(drop).context("the ServiceAccount default/default")
        }
        Ready::Node => {
            let node: Node = Api::all(cluster.client().await?).get(NODE).await?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            match conditions.iter().find(|condition| condition.type_ == "Ready") {
                Some(condition) if condition.status == "True" => Ok(()),
                Some(condition) => bail!("node {NODE}: {}", condition.message.as_deref().unwrap_or("not ready")),
                None => bail!("node {NODE} has no condition Ready yet"),
            }
        }
    }
}

fn kube_get(path: &str) -> Result<hyper::Request<Vec<u8>>> {
    Ok(hyper::Request::get(path).body(Vec::new())?)
}

fn apply_objects(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.kubectl();
    command.args(["apply", "--server-side", "--force-conflicts", "--field-manager=berth-e2e", "-f", "-"]);
    command.stdin(Stdio::piped());
    crate::run::with_input(command, objects::all().to_string().as_bytes()).context("apply the cluster's objects")?;
    Ok(())
}
