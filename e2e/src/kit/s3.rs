//! A store that speaks S3, in a pod of a test's namespace; its users come and go while it runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Space, until};
use crate::images::versitygw;
use crate::run;

/// The name of the pod and of its Service.
const NAME: &str = "store";
const PORT: u16 = 7070;
/// Who may make users and buckets.
const ROOT: User = User { access_key: "root-of-the-store", secret_key: "root-secret-of-tests" };
/// How long the pod may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A user of the store, who may read and write every bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The id of the key.
    pub access_key: &'static str,
    /// The key.
    pub secret_key: &'static str,
}

impl User {
    /// A Secret with the keys that a Registry on S3 reads.
    pub fn secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"accesskey": self.access_key, "secretkey": self.secret_key},
        })
    }
}

/// A running store.
pub struct S3<'a> {
    space: &'a Space,
    program: PathBuf,
    /// Its address as pods reach it.
    pub endpoint: String,
}

impl<'a> S3<'a> {
    /// Starts a store with a bucket, and waits until it answers.
    pub async fn start(space: &'a Space, bucket: &str) -> Result<Self> {
        let program = versitygw::load(&space.cluster)?;
        space.apply(&pod().to_string())?;
        space.apply(&service().to_string())?;
        until("the store is ready", START_DEADLINE, async || {
            let status = space.api::<Pod>().get(NAME).await?.status.unwrap_or_default();
            match status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True") {
                true => Ok(()),
                false => bail!("{:?}", status.container_statuses),
            }
        })
        .await?;
        let endpoint = format!("http://{NAME}.{}.svc:{PORT}", space.name);
        let store = Self { space, program, endpoint };
        // A Service is known on the node a moment after its pod is ready.
        until("the store has a bucket", START_DEADLINE, async || {
            store.admin(&["create-bucket", "--owner", ROOT.access_key, "--bucket", bucket])
        })
        .await?;
        Ok(store)
    }

    /// Makes a user.
    pub fn add(&self, user: &User) -> Result<()> {
        let User { access_key, secret_key } = user;
        self.admin(&["create-user", "--access", access_key, "--secret", secret_key, "--role", "admin"])
    }

    /// Removes a user: from then on the keys are refused.
    pub fn remove(&self, user: &User) -> Result<()> {
        self.admin(&["delete-user", "--access", user.access_key])
    }

    fn admin(&self, args: &[&str]) -> Result<()> {
        let mut command = self.space.cluster.inside(&self.program)?;
        command.env("ADMIN_ACCESS_KEY", ROOT.access_key).env("ADMIN_SECRET_KEY", ROOT.secret_key);
        command.args(["admin", "--endpoint-url", &self.endpoint]).args(args);
        run::checked(command).map(drop)
    }
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": {"app": NAME}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": NAME, "image": versitygw::IMAGE, "imagePullPolicy": "Never",
                // A user who is removed is unknown at once.
                "args": [
                    "--port", format!(":{PORT}"), "--keep-alive", "--iam-dir", "/iam", "--iam-cache-disable", "posix",
                    "/buckets",
                ],
                "env": [
                    {"name": "ROOT_ACCESS_KEY", "value": ROOT.access_key},
                    {"name": "ROOT_SECRET_KEY", "value": ROOT.secret_key},
                ],
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                "volumeMounts": [{"name": "iam", "mountPath": "/iam"}, {"name": "buckets", "mountPath": "/buckets"}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
            "volumes": [{"name": "iam", "emptyDir": {}}, {"name": "buckets", "emptyDir": {}}],
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
    })
}
