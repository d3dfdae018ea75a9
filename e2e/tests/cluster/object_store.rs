//! A Registry whose content is in a store that speaks S3, which runs in the test's namespace.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use berth_e2e::images::app::{self, App};
use berth_e2e::kit::{self, S3, Space, User, condition, in_namespace, until};
use berth_e2e::paths::Cache;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::conditions::conditions;

/// The kubelet brings a changed Secret to its pods when it looks at them next, here every ten seconds; a pod that is well is
/// asked for its store once a minute.
const UPDATE_DEADLINE: Duration = Duration::from_secs(150);
/// How many pulls must succeed after the old key has gone.
const PULLS_AFTER: usize = 20;

pub(crate) const FIRST: User = User { access_key: "first-key-of-the-registry", secret_key: "first-secret-of-tests" };
const SECOND: User = User { access_key: "second-key-of-the-registry", secret_key: "second-secret-of-tests" };

fn registry(endpoint: &str) -> String {
    format!(
        "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {{name: main}}
spec:
  replicas: 2
  storage:
    s3: {{bucket: images, endpoint: \"{endpoint}\", credentials: {{secretRef: {{name: s3}}}}}}
"
    )
}

#[tokio::test]
async fn keys_are_replaced_under_load_and_wrong_ones_are_told() -> Result<()> {
    in_namespace("s3", async |space| {
        let store = S3::start(space, "images").await?;
        store.add(&FIRST)?;
        space.apply(&FIRST.secret("s3").to_string())?;
        space.apply(&registry(&store.endpoint))?;
        let status = kit::ready(space, "main").await?.status.context("no status")?;
        ensure!(status.ready_replicas == Some(2), "{:?}", status.ready_replicas);
        let reachable = condition(&status.conditions, "StorageReachable").context("no StorageReachable")?;
        ensure!((reachable.status.as_str(), reachable.reason.as_str()) == ("True", "Reachable"), "{reachable:?}");

        let image = app::release(&Cache::from_env()?, "v1")?;
        let address = kit::registry_address(space, "main");
        kit::push(space, &image.source, &format!("{address}/team/app:v1"))?;
        replaced_under_load(space, &store, &image, &address).await?;
        wrong_keys_are_told(space).await
    })
    .await
}

/// The keys of the Secret become those of another user, and the first user is removed once the pods say that they use the
/// second one's, while clients pull all the time.
async fn replaced_under_load(space: &Space, store: &S3<'_>, image: &App, address: &str) -> Result<()> {
    let before = pods(space).await?;
    let (pulls, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let load = async {
        while !done.load(Ordering::Relaxed) {
            pull(space, address).await.with_context(|| format!("pull {}", pulls.load(Ordering::Relaxed)))?;
            pulls.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    let replace = async {
        let result = async {
            store.add(&SECOND)?;
            space.apply(&SECOND.secret("s3").to_string())?;
            until("both pods use the second user's keys", UPDATE_DEADLINE, async || taken_up(space, "seco…ry").await)
                .await?;
            store.remove(&FIRST)?;
            let until_then = pulls.load(Ordering::Relaxed) + PULLS_AFTER;
            until("clients pull on", UPDATE_DEADLINE, async || {
                let so_far = pulls.load(Ordering::Relaxed);
                ensure!(so_far >= until_then, "{so_far} of {until_then} pulls");
                Ok(())
            })
            .await?;
            let directory = tempfile::tempdir()?;
            kit::copy_down(space, &format!("{address}/team/app:v1"), &directory.path().join("v1"))?;
            // A push writes by the second user's keys as well.
            kit::push(space, &image.source, &format!("{address}/team/other:v1"))
        }
        .await;
        done.store(true, Ordering::Relaxed);
        result
    };
    let (loaded, replaced) = tokio::join!(load, replace);
    loaded?;
    replaced?;
    println!("{} pulls while the Secret changed, none failed", pulls.load(Ordering::Relaxed));
    ensure!(pods(space).await? == before, "a pod was restarted or replaced");
    Ok(())
}

/// One whole pull on connections of its own, which are spread over the pods: the manifest by its tag, and each blob.
async fn pull(space: &Space, address: &str) -> Result<()> {
    let manifest = get(space, address, "/v2/team/app/manifests/v1").await?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().context("a manifest without layers")?;
    for descriptor in std::iter::once(&manifest["config"]).chain(layers) {
        let digest = descriptor["digest"].as_str().context("a descriptor without a digest")?;
        // The test's way into the cluster carries small answers only.
        if descriptor["size"].as_u64().is_some_and(|size| size < 4 << 20) {
            let blob = get(space, address, &format!("/v2/team/app/blobs/{digest}")).await?;
            ensure!(format!("sha256:{}", hex::encode(Sha256::digest(&blob))) == digest, "{digest} is another");
        }
    }
    Ok(())
}

async fn get(space: &Space, address: &str, path: &str) -> Result<Vec<u8>> {
    match space.cluster.get(address, path).await? {
        (200, body) => Ok(body),
        (status, body) => bail!("{path}: {status} {}", String::from_utf8_lossy(&body)),
    }
}

/// Whether each pod has logged that it took up the keys whose name is shortened to `key`.
async fn taken_up(space: &Space, key: &str) -> Result<()> {
    for pod in pods(space).await?.into_keys() {
        let log = space.api::<Pod>().logs(&pod, &LogParams::default()).await?;
        let said = log.lines().any(|line| line.contains("took up the credentials") && line.contains(key));
        ensure!(said, "{pod} has not");
    }
    Ok(())
}

/// The pods by name, with how often each was started anew.
async fn pods(space: &Space) -> Result<BTreeMap<String, i32>> {
    let pods = space.api::<Pod>().list(&ListParams::default().labels("berth.dev/registry=main")).await?;
    let restarts = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses.map(|status| status.restart_count).sum()
    };
    Ok(pods.items.iter().map(|pod| (pod.metadata.name.clone().unwrap_or_default(), restarts(pod))).collect())
}

/// What the store says of wrong keys is in `kubectl describe`, the keys are not, and right ones heal the Registry.
async fn wrong_keys_are_told(space: &Space) -> Result<()> {
    let wrong = User { secret_key: "not-the-secret-of-this-key", ..SECOND };
    space.apply(&wrong.secret("s3").to_string())?;
    until("the Registry tells what the store says", UPDATE_DEADLINE, async || {
        let conditions = conditions(space, "reg/main")?;
        for name in ["StorageReachable", "Ready"] {
            let found = condition(&conditions, name).with_context(|| format!("{conditions:#?}"))?;
            let told = (found.status.as_str(), found.reason.as_str());
            ensure!(told == ("False", "SignatureDoesNotMatch"), "{found:#?}");
        }
        Ok(())
    })
    .await?;
    let described = space.kubectl(&["describe", "reg/main"])?;
    // In the words of versitygw, with the Secret to look at.
    for expected in ["SignatureDoesNotMatch", "The request signature we calculated does not match", "Secret s3"] {
        ensure!(described.contains(expected), "{expected} is not in:\n{described}");
    }
    println!(
        "{}",
        described.lines().filter(|line| line.contains("SignatureDoesNotMatch")).collect::<Vec<_>>().join("\n")
    );
    secrets_stay_where_they_are(space, &[FIRST.secret_key, SECOND.secret_key, wrong.secret_key]).await?;
    space.apply(&SECOND.secret("s3").to_string())?;
    until("the Registry is ready again", UPDATE_DEADLINE, async || {
        let conditions = conditions(space, "reg/main")?;
        let ready = condition(&conditions, "Ready").context("no condition Ready")?;
        ensure!(ready.status == "True", "{ready:#?}");
        Ok(())
    })
    .await
}

/// No secret is anywhere but in its Secret: not in what is made for the Registry and told of it, nor in what its pods say.
async fn secrets_stay_where_they_are(space: &Space, secrets: &[&str]) -> Result<()> {
    let mut places = vec![("its description".to_owned(), space.kubectl(&["describe", "reg/main"])?)];
    // With the arguments and the environment of every container.
    let ours = "--selector=berth.dev/registry=main";
    for kinds in ["pods,replicasets", "deployments,services,configmaps"] {
        places.push((kinds.to_owned(), space.kubectl(&["get", kinds, ours, "--output=json"])?));
    }
    for kinds in ["registries", "configmaps", "events"] {
        places.push((kinds.to_owned(), space.kubectl(&["get", kinds, "--output=json"])?));
    }
    for pod in pods(space).await?.into_keys() {
        let log = space.api::<Pod>().logs(&pod, &LogParams::default()).await?;
        ensure!(!log.is_empty(), "{pod} has logged nothing: was the right log read?");
        places.push((format!("the log of {pod}"), log));
    }
    for (place, text) in &places {
        // The text itself is not shown: the test's own output is a place, too.
        ensure!(!secrets.iter().any(|secret| text.contains(secret)), "a secret is in {place}");
    }
    Ok(())
}
