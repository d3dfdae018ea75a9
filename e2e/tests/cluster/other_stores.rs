//! Registries on stores that do not speak S3. The stores run beside the cluster, on the node, and pods reach them there.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_e2e::cluster::spec::NODE_IP;
use berth_e2e::images::app;
use berth_e2e::kit::{self, Space, condition, in_namespace, until};
use berth_e2e::paths::Cache;
use berth_stores::{Azurite, FakeGcs, Programs, Swift};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::conditions::conditions;

/// The kubelet brings a changed Secret to its pods when it looks at them next.
const UPDATE_DEADLINE: Duration = Duration::from_secs(150);
/// The container or bucket.
const CONTAINER: &str = "images";

fn programs() -> Programs {
    Programs::from_env().on(NODE_IP)
}

fn secret(content: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": content})
}

#[tokio::test]
async fn a_registry_on_azure() -> Result<()> {
    in_namespace("azure", async |space| {
        let start = async || {
            let store = Azurite::start(&programs()).await?;
            store.create_container(CONTAINER).await?;
            Ok(store)
        };
        let store = space.cluster.in_its_network(start).await?;
        let wrong = STANDARD.encode("the key of another account, which opens nothing here");
        apply(
            space,
            json!({"azure": {"accountName": store.account, "container": CONTAINER, "endpoint": store.endpoint}}),
            &json!({"accountkey": wrong}),
        )?;
        told(space, "AuthorizationFailure", "Server failed to authenticate the request").await?;
        space.apply(&secret(&json!({"accountkey": store.key})).to_string())?;
        serves(space).await?;
        ensure!(store.log().contains("/docker/registry/v2/blobs/"), "nothing was written to the store");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_registry_on_swift() -> Result<()> {
    in_namespace("swift", async |space| {
        let start = async || {
            let store = Swift::start(&programs()).await?;
            store.create_container(CONTAINER).await?;
            Ok(store)
        };
        let store = space.cluster.in_its_network(start).await?;
        apply(
            space,
            json!({"swift": {"authUrl": store.auth_url, "container": CONTAINER}}),
            &json!({"username": store.user, "password": "another"}),
        )?;
        told(space, "Unauthorized", "401").await?;
        space.apply(&secret(&json!({"username": store.user, "password": store.key})).to_string())?;
        serves(space).await
    })
    .await
}

/// The server looks at no credentials, so that there are no wrong ones.
#[tokio::test]
async fn a_registry_on_gcs() -> Result<()> {
    in_namespace("gcs", async |space| {
        let start = async || {
            let store = FakeGcs::start(&programs()).await?;
            store.create_bucket(CONTAINER).await?;
            Ok(store)
        };
        let store = space.cluster.in_its_network(start).await?;
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?.serialize_pem();
        let account = json!({
            "type": "service_account", "client_email": "registry@acme.iam.gserviceaccount.com",
            "private_key": key, "private_key_id": "0123", "disable_oauth": true,
        });
        apply(
            space,
            json!({"gcs": {"bucket": CONTAINER, "endpoint": store.endpoint}}),
            &json!({"keyfile": account.to_string()}),
        )?;
        serves(space).await
    })
    .await
}

/// A Registry `main` with two pods on a store, and the Secret with its credentials.
fn apply(space: &Space, mut storage: Value, credentials: &Value) -> Result<()> {
    for store in storage.as_object_mut().into_iter().flatten() {
        store.1["credentials"] = json!({"secretRef": {"name": "store"}});
    }
    space.apply(&secret(credentials).to_string())?;
    let registry = json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"},
        "spec": {"replicas": 2, "storage": storage},
    });
    space.apply(&registry.to_string()).map(drop)
}

/// What a store says of wrong credentials is in `kubectl describe`, beside the Secret to look at.
async fn told(space: &Space, reason: &str, words: &str) -> Result<()> {
    until("the Registry tells what the store says", UPDATE_DEADLINE, async || {
        let conditions = conditions(space, "reg/main")?;
        for name in ["StorageReachable", "Ready"] {
            let found = condition(&conditions, name).with_context(|| format!("{conditions:#?}"))?;
            ensure!((found.status.as_str(), found.reason.as_str()) == ("False", reason), "{found:#?}");
        }
        Ok(())
    })
    .await?;
    let described = space.kubectl(&["describe", "reg/main"])?;
    for expected in [reason, words, &format!("Secret {}/store", space.name)] {
        ensure!(described.contains(expected), "{expected} is not in:\n{described}");
    }
    Ok(())
}

/// The Registry comes up, takes an image, which outlives its pods, and the kubelet runs it.
async fn serves(space: &Space) -> Result<()> {
    let both = async || {
        let status = kit::ready(space, "main").await?.status.context("no status")?;
        let reachable = condition(&status.conditions, "StorageReachable").context("no StorageReachable")?;
        ensure!((reachable.status.as_str(), reachable.reason.as_str()) == ("True", "Reachable"), "{reachable:?}");
        until("both pods are ready", UPDATE_DEADLINE, async || {
            let pods = space.kubectl(&["get", "reg/main", "-o", "jsonpath={.status.readyReplicas}"])?;
            ensure!(pods == "2", "{pods:?} are");
            Ok(())
        })
        .await
    };
    both().await?;
    let address = kit::registry_address(space, "main");
    let reference = format!("{address}/team/app:v1");
    kit::push(space, &app::release(&Cache::from_env()?, "v1")?.source, &reference)?;

    let (pods, of_registry) = (space.api::<Pod>(), ListParams::default().labels("berth.dev/registry=main"));
    let first = pods.list(&of_registry).await?;
    pods.delete_collection(&DeleteParams::default(), &of_registry).await?;
    until("the first pods are gone", UPDATE_DEADLINE, async || {
        let now = pods.list(&of_registry).await?;
        let left = now.items.iter().filter(|pod| first.items.iter().any(|one| one.metadata.uid == pod.metadata.uid));
        ensure!(left.count() == 0, "some are there");
        Ok(())
    })
    .await?;
    both().await?;

    space.cluster.trust_plain_http(&address)?;
    space.apply(&kit::app_pod("app", &reference).to_string())?;
    let pulled = kit::pod_pulled(space, "app").await?;
    println!("{pulled}");
    let directory = tempfile::tempdir()?;
    kit::copy_down(space, &reference, &directory.path().join("v1"))
}
