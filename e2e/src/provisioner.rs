//! The volume provisioner: directories on the node as `local` volumes.
//!
//! A `local` volume, unlike a `hostPath` one, gets the pod's `fsGroup` from the kubelet, so a pod that is not root can
//! write. `plan` decides; this file watches and acts. The quota of a volume is not enforced: its capacity is a number.

mod plan;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};

use plan::{Action, plan};

/// How often everything is looked at though nothing was reported.
const RESYNC: Duration = Duration::from_secs(10);
/// How long to wait after an error.
const RETRY: Duration = Duration::from_secs(1);

/// The three kinds, as the watches see them.
struct Seen {
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
    classes: Store<StorageClass>,
}

/// Provisions volumes below `directory`. Runs until the process ends.
pub async fn run(directory: &Path) -> Result<()> {
    let client = Client::try_default().await.context("read the kubeconfig that KUBECONFIG names")?;
    let (claims, claim_writer) = reflector::store();
    let (volumes, volume_writer) = reflector::store();
    let (classes, class_writer) = reflector::store();
    let config = watcher::Config::default;
    let changes = stream::select_all([
        watcher(Api::<PersistentVolumeClaim>::all(client.clone()), config())
            .reflect(claim_writer)
            .map(|event| event.map(drop))
            .boxed(),
        watcher(Api::<PersistentVolume>::all(client.clone()), config())
            .reflect(volume_writer)
            .map(|event| event.map(drop))
            .boxed(),
        watcher(Api::<StorageClass>::all(client.clone()), config())
            .reflect(class_writer)
            .map(|event| event.map(drop))
            .boxed(),
    ]);
    let seen = Seen { claims, volumes, classes };
    let mut changes = std::pin::pin!(changes);
    loop {
        match tokio::time::timeout(RESYNC, changes.next()).await {
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, "watch");
                tokio::time::sleep(RETRY).await;
            }
            Ok(None) => anyhow::bail!("the watches ended"),
            Ok(Some(Ok(()))) | Err(_) => {
                if let Err(error) = step(&client, directory, &seen).await {
                    tracing::warn!(error = format!("{error:#}"), "provision");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Does what is to be done now. The stores may be behind: every action is safe to repeat.
async fn step(client: &Client, directory: &Path, seen: &Seen) -> Result<()> {
    for action in plan(&seen.claims.state(), &seen.volumes.state(), &seen.classes.state(), directory)? {
        tracing::info!(%action, "do");
        act(client, directory, action).await?;
    }
    Ok(())
}

async fn act(client: &Client, directory: &Path, action: Action) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    match action {
        Action::Create { volume } => {
            let name = volume.metadata.name.clone().unwrap_or_default();
            make_directory(&directory.join(&name))?;
            match volumes.create(&PostParams::default(), &volume).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                other => other.map(drop).with_context(|| format!("create volume {name}")),
            }
        }
        Action::Delete { name } => {
            remove_directory(directory.join(&name)).await?;
            match volumes.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(drop).with_context(|| format!("delete volume {name}")),
            }
        }
        Action::GrowVolume { name, patch } => {
            let patched = volumes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
            patched.map(drop).with_context(|| format!("grow volume {name}"))
        }
        Action::ReportSize { namespace, name, patch } => {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
            let patched = claims.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
            patched.map(drop).with_context(|| format!("report the size of claim {namespace}/{name}"))
        }
    }
}

/// Only root enters, until the kubelet gives the directory to a pod's group.
fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let context = || format!("create {}", path.display());
    std::fs::create_dir_all(path).with_context(context)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2770)).with_context(context)
}

async fn remove_directory(path: PathBuf) -> Result<()> {
    match tokio::fs::remove_dir_all(&path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
