//! A namespace per test, under the restricted Pod Security Standard.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::{dump, until};
use crate::cluster::Cluster;
use crate::install;
use crate::run::{self, Outcome};

/// The longest a test may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long the controllers may take to furnish a namespace.
const SERVICE_ACCOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// A namespace, and the cluster that it is in.
#[derive(Clone)]
pub struct Space {
    /// The cluster.
    pub cluster: Cluster,
    /// The API, as the administrator.
    pub client: Client,
    /// The namespace's name.
    pub name: String,
}

impl Space {
    /// Makes the namespace `name`.
    pub async fn create(cluster: Cluster, name: String) -> Result<Self> {
        let client = cluster.client().await?;
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))?;
        let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await;
        created.with_context(|| format!("create namespace {name}"))?;
        // Without it no pod is accepted.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        until("the namespace has its default ServiceAccount", SERVICE_ACCOUNT_DEADLINE, async || {
            accounts.get("default").await.map(drop).context("default")
        })
        .await?;
        Ok(Self { cluster, client, name })
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// kubectl in the namespace; an error if it fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with(args, "")
    }

    /// kubectl in the namespace, reading `input`; an error if it fails.
    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String> {
        run::with_input(self.kubectl_command(args), input.as_bytes())
    }

    /// kubectl in the namespace, reading `input`, whatever comes of it.
    pub fn kubectl_outcome(&self, args: &[&str], input: &str) -> Result<Outcome> {
        run::outcome(self.kubectl_command(args), input.as_bytes())
    }

    fn kubectl_command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.cluster.kubectl();
        command.args(["--namespace", &self.name]).args(args);
        command
    }

    /// `kubectl apply`, as a user would do it.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// Deletes the namespace, without waiting for it.
    pub async fn delete(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.delete(&self.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop).with_context(|| format!("delete namespace {}", self.name)),
        }
    }
}

/// Runs a test in a namespace of its own. When it fails, by error, panic or deadline, everything of the namespace is
/// written to `target/e2e/TEST/` first.
pub async fn in_namespace(test: &str, body: impl AsyncFnOnce(&Space) -> Result<()>) -> Result<()> {
    let cluster = Cluster::for_tests()?;
    install::check(&cluster).await?;
    in_namespace_of(cluster, test, body).await
}

/// The same for a test of what needs no Berth in the cluster.
pub async fn in_namespace_without_berth(test: &str, body: impl AsyncFnOnce(&Space) -> Result<()>) -> Result<()> {
    in_namespace_of(Cluster::for_tests()?, test, body).await
}

async fn in_namespace_of(cluster: Cluster, test: &str, body: impl AsyncFnOnce(&Space) -> Result<()>) -> Result<()> {
    // Names differ between runs, since a namespace takes its time to go.
    let suffix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() % 100_000_000;
    let space = Space::create(cluster, format!("{test}-{suffix}")).await?;
    let guarded = AssertUnwindSafe(tokio::time::timeout(DEADLINE, body(&space))).catch_unwind().await;
    let failed = !matches!(guarded, Ok(Ok(Ok(()))));
    if failed {
        match dump::write(&space, test) {
            Ok(directory) => eprintln!("{test}: the namespace as it was is in {}", directory.display()),
            Err(error) => eprintln!("{test}: the namespace could not be written down: {error:#}"),
        }
    }
    space.delete().await?;
    match guarded {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => anyhow::bail!("{test} did not end within {} s", DEADLINE.as_secs()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
