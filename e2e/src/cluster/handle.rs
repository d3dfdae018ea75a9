//! A handle on a running cluster: its API, and commands in its namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::process::{Record, enter_args};
use super::sandbox::{self, HOLDER};
use super::spec::Spec;
use super::{components, gate};
use crate::files::write_public;
use crate::paths::{Cache, ClusterDir};
use crate::run;
use crate::tools::Toolbox;

/// The cluster's name when none is given: `$BERTH_E2E_CLUSTER`, else `berth`.
const DEFAULT_NAME: &str = "berth";

/// The port that is tried first for the API.
const PREFERRED_GATE_PORT: u16 = 16443;

/// A cluster that runs, or ran.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// What it is made of.
    pub spec: Spec,
}

impl Cluster {
    /// The description of a cluster; the loopback port is chosen once and remembered.
    pub fn describe(name: &str) -> Result<Self> {
        let cache = Cache::from_env()?;
        let dir = cache.cluster(name)?;
        let tools = Toolbox::locate(&cache)?;
        let gate_port = gate_port(&dir)?;
        let program = crate::program()?;
        Ok(Self { spec: Spec { name: name.to_owned(), dir, tools, program, gate_port } })
    }

    /// A cluster that runs; an error that says how to start it, if none does.
    pub fn running(name: &str) -> Result<Self> {
        let cluster = Self::describe(name)?;
        if cluster.holder().is_none() || !cluster.spec.dir.admin_kubeconfig().exists() {
            bail!("no cluster {name:?} runs: start it with `cargo run -p berth-e2e -- up --name {name}`");
        }
        Ok(cluster)
    }

    /// The cluster that the environment names, for tests.
    pub fn for_tests() -> Result<Self> {
        let name = std::env::var("BERTH_E2E_CLUSTER").unwrap_or_else(|_| DEFAULT_NAME.to_owned());
        Self::running(&name)
    }

    /// The process that holds the namespaces, if it lives.
    pub fn holder(&self) -> Option<i32> {
        Record::load(&self.spec.dir, HOLDER).filter(Record::alive).map(|record| record.pid)
    }

    /// The developer's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.spec.dir.admin_kubeconfig()
    }

    /// A client of the API, as the administrator.
    pub async fn client(&self) -> Result<kube::Client> {
        crate::install_crypto_provider();
        let path = self.kubeconfig();
        let file = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// A command that runs in the cluster's namespaces, where its Services are reached by address and by name.
    pub fn inside(&self, program: impl AsRef<Path>) -> Result<Command> {
        let holder = self.holder().with_context(|| format!("no cluster {:?} runs", self.spec.name))?;
        let mut command = Command::new(&self.spec.program);
        command.args(enter_args(&self.spec, Some(holder), false)).arg(program.as_ref()).env("GODEBUG", "netdns=go");
        Ok(command)
    }

    /// Runs `work` on a thread of its own that is in the cluster's network, where the node has the address
    /// [`NODE_IP`](super::spec::NODE_IP): what listens there, processes that are started included, is reached by pods.
    pub async fn in_its_network<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: AsyncFnOnce() -> Result<T> + Send + 'static,
    {
        let holder = self.holder().with_context(|| format!("no cluster {:?} runs", self.spec.name))?;
        let (send, outcome) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let result = sandbox::join_network(holder).and_then(|()| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(work())
            });
            let _ = send.send(result);
        });
        outcome.await.context("the work in the cluster's network has panicked")?
    }

    /// kubectl, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.spec.tools.kubectl());
        // No configuration of the caller's own may take part.
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Helm, as the administrator.
    pub fn helm(&self) -> Command {
        let mut command = Command::new(self.spec.tools.helm());
        command.env("KUBECONFIG", self.kubeconfig());
        for (variable, directory) in
            [("HELM_CACHE_HOME", "helm/cache"), ("HELM_CONFIG_HOME", "helm/config"), ("HELM_DATA_HOME", "helm/data")]
        {
            command.env(variable, self.spec.dir.join(directory));
        }
        command
    }

    /// containerd's own client, in the namespace of Kubernetes.
    pub fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.spec.dir.containerd_socket()).args(["--namespace", "k8s.io"]);
        command
    }

    /// Makes the kubelet pull from `host_port` over plain HTTP; containerd reads it at each pull.
    pub fn trust_plain_http(&self, host_port: &str) -> Result<()> {
        write_public(&self.spec.dir.certs_d().join(host_port).join("hosts.toml"), hosts_toml(host_port).as_bytes())
    }

    /// Makes the kubelet pull from `host_port` by TLS, and trust this authority there; containerd reads it at each pull.
    pub fn trust_authority(&self, host_port: &str, authority_pem: &str) -> Result<()> {
        let directory = self.spec.dir.certs_d().join(host_port);
        let authority = directory.join("ca.crt");
        write_public(&authority, authority_pem.as_bytes())?;
        write_public(&directory.join("hosts.toml"), hosts_toml_with_authority(host_port, &authority).as_bytes())
    }

    /// Removes an image from containerd under all its names, content included, so that the next pull is a whole one.
    pub fn forget_image(&self, repository: &str) -> Result<()> {
        let mut list = self.ctr();
        list.args(["images", "list"]);
        let names = names_of_image(&run::checked(list)?, repository);
        if names.is_empty() {
            return Ok(());
        }
        let mut remove = self.ctr();
        remove.args(["images", "remove", "--sync"]).args(names);
        run::checked(remove).map(drop)
    }

    /// `GET` from a port inside the namespace: `target` is `HOST:PORT`, and Services go by name.
    pub async fn get(&self, target: &str, path: &str) -> Result<(u16, Vec<u8>)> {
        let (status, body) = gate::get(&self.spec.dir.gate_socket(), target, path).await?;
        Ok((status, body.to_vec()))
    }

    /// The names of all components, in the order of their start.
    pub fn components(&self) -> Vec<&'static str> {
        let daemons = components::stages(&self.spec).into_iter().flatten().map(|launch| launch.name);
        std::iter::once(HOLDER).chain(daemons).collect()
    }
}

/// All names, in what `ctr images list` prints, of the images that one name puts into `repository`.
fn names_of_image(list: &str, repository: &str) -> Vec<String> {
    let rows = || {
        list.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_whitespace();
            Some((fields.next()?, fields.nth(1)?))
        })
    };
    let in_repository = |name: &str| name.strip_prefix(repository).is_some_and(|rest| rest.starts_with([':', '@']));
    let digests: Vec<&str> = rows().filter(|(name, _)| in_repository(name)).map(|(_, digest)| digest).collect();
    rows().filter(|(_, digest)| digests.contains(digest)).map(|(name, _)| name.to_owned()).collect()
}

fn hosts_toml(host_port: &str) -> String {
    format!(
        "server = \"http://{host_port}\"\n\n[host.\"http://{host_port}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    )
}

fn hosts_toml_with_authority(host_port: &str, authority: &Path) -> String {
    let authority = authority.display();
    format!(
        "server = \"https://{host_port}\"\n\n[host.\"https://{host_port}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  \
         ca = \"{authority}\"\n"
    )
}

/// The remembered port, else the preferred one if it is free, else any free one.
fn gate_port(dir: &ClusterDir) -> Result<u16> {
    let path = dir.join("gate-port");
    if let Ok(text) = std::fs::read_to_string(&path) {
        return text.trim().parse().with_context(|| format!("{}: not a port", path.display()));
    }
    let listener = std::net::TcpListener::bind(("127.0.0.1", PREFERRED_GATE_PORT))
        .or_else(|_| std::net::TcpListener::bind(("127.0.0.1", 0)))
        .context("find a free loopback port for the API")?;
    Ok(listener.local_addr().context("find a free loopback port for the API")?.port())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_image_has_several_names() {
        let list = "REF TYPE DIGEST SIZE\n\
                    main.a.svc:5000/team/app:v1 t sha256:1 1\n\
                    other.b.svc:5000/team/app:v1 t sha256:1 1\n\
                    sha256:c t sha256:1 1\n\
                    main.a.svc:5000/team/apple:v1 t sha256:2 1\n";
        let names = super::names_of_image(list, "main.a.svc:5000/team/app");
        assert_eq!(names, ["main.a.svc:5000/team/app:v1", "other.b.svc:5000/team/app:v1", "sha256:c"]);
    }

    #[test]
    fn an_authority_is_named_as_containerd_reads_it() {
        let toml = super::hosts_toml_with_authority("main.default.svc:5000", std::path::Path::new("/certs.d/ca.crt"));
        insta::assert_snapshot!(toml, @r#"
        server = "https://main.default.svc:5000"

        [host."https://main.default.svc:5000"]
          capabilities = ["pull", "resolve"]
          ca = "/certs.d/ca.crt"
        "#);
    }

    #[test]
    fn plain_http_is_named_as_containerd_reads_it() {
        insta::assert_snapshot!(super::hosts_toml("main.default.svc:5000"), @r#"
        server = "http://main.default.svc:5000"

        [host."http://main.default.svc:5000"]
          capabilities = ["pull", "resolve"]
        "#);
    }
}
