//! Every example is accepted by a real API server, as it stands and as it is rendered, and comes up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use berth_e2e::cluster::objects::PROVISIONER;
use berth_e2e::compile::repository;
use berth_e2e::kit::{self, Space, in_namespace};
use berth_e2e::run;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ServiceAccount;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::auth::users_secret;
use super::conditions::conditions;

/// Keys of a token service, of which one is: a public key of RFC 7517.
const JWKS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": "1",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Examples that need what this cluster cannot have, such as another pool of nodes. They are accepted and rendered, and
/// not waited for.
const NOT_HERE: [&str; 1] = ["placement"];

/// The kinds of storage whose stores this cluster does not have.
const OBJECT_STORES: [&str; 5] = ["s3", "azure", "gcs", "swift", "oss"];

/// How many examples are tried at once: more make the API server of a small machine keep its callers waiting.
const AT_ONCE: usize = 6;

/// How long it may take until pods have started and said what their store's address comes to.
const TOLD_DEADLINE: Duration = Duration::from_secs(180);

/// The example that the others name a Registry of.
const SMALLEST: &str = "registry.yaml";

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
            render.args(["render", "--namespace", &space.name, "-f"]).arg(&example);
            // A policy alone names a Registry that is in another file.
            if documents(&std::fs::read_to_string(&example)?)?.iter().all(|document| document["kind"] == "GCPolicy") {
                render.arg(example.with_file_name(SMALLEST));
            }
            render.env("KUBECONFIG", "/dev/null");
            let rendered = run::checked(render)?;
            ensure!(
                documents(&rendered)?.len() > 1 || rendered.contains("kind: CronJob"),
                "{}: {rendered}",
                example.display()
            );
            let args = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
            apply_when_ports_are_free(space, &args, &rendered)
                .await
                .with_context(|| format!("the rendering of {}", example.display()))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_example_comes_up() -> Result<()> {
    // Side by side, since most of the time is spent waiting; and every one to its end, so that none leaves its namespace.
    let examples = examples()?;
    let mut outcomes = stream::iter(examples.iter().map(|example| comes_up(example))).buffer_unordered(AT_ONCE);
    let mut failed = Vec::new();
    while let Some(outcome) = outcomes.next().await {
        failed.extend(outcome.err().map(|error| format!("{error:#}")));
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

async fn comes_up(example: &Path) -> Result<()> {
    let stem = example.file_stem().and_then(|stem| stem.to_str()).context("a file without a name")?;
    in_namespace(&format!("ex-{stem}"), async |space| {
        let documents = documents(&std::fs::read_to_string(example)?)?;
        let here = !NOT_HERE.contains(&stem);
        for document in &documents {
            for object in prerequisites(document)?.iter().filter(|_| here) {
                space.apply(&object.to_string()).with_context(|| format!("what example {stem} builds on"))?;
            }
            let document = without_namespace(document.clone());
            space.apply(&document.to_string()).with_context(|| format!("example {stem}"))?;
        }
        for document in documents.iter().filter(|document| here && document["kind"] == "Registry") {
            let name = document["metadata"]["name"].as_str().context("an example without a name")?;
            match store_of(document) {
                Some((_, store)) => tells_of_its_store(space, name, store).await,
                None => kit::ready(space, name).await.map(drop),
            }
            .with_context(|| format!("example {stem}"))?;
        }
        Ok(())
    })
    .await
}

/// The object store of a Registry, and its driver.
fn store_of(document: &Value) -> Option<(&'static str, &Value)> {
    let stores = OBJECT_STORES.iter().map(|driver| (*driver, &document["spec"]["storage"][*driver]));
    stores.into_iter().find(|(_, store)| !store.is_null())
}

/// The pods start with the credentials that they are given, and say that a store whose name is known to nobody here is not
/// reached.
async fn tells_of_its_store(space: &Space, name: &str, store: &Value) -> Result<()> {
    if let Some(role) = store["credentials"]["workloadIdentity"]["roleArn"].as_str() {
        kit::until("the service account has its role", TOLD_DEADLINE, async || {
            let account = space.api::<ServiceAccount>().get(name).await?;
            let annotation =
                account.metadata.annotations.and_then(|all| all.get("eks.amazonaws.com/role-arn").cloned());
            ensure!(annotation.as_deref() == Some(role), "{annotation:?}");
            Ok(())
        })
        .await?;
    }
    let with_secret = store["credentials"]["secretRef"].is_object();
    kit::until(&format!("Registry {name} says that its store is not reached"), TOLD_DEADLINE, async || {
        let conditions = conditions(space, &format!("reg/{name}"))?;
        let find =
            |type_: &str| kit::condition(&conditions, type_).with_context(|| format!("no {type_}: {conditions:#?}"));
        let reachable = find("StorageReachable")?;
        let told_by_a_pod = reachable.status == "False"
            && reachable.message.contains("://")
            && !["Secret", "ConfigMap"].iter().any(|kind| reachable.reason.starts_with(kind));
        ensure!(told_by_a_pod, "{reachable:#?}");
        let ready = find("Ready")?;
        ensure!((ready.status.as_str(), &ready.reason) == ("False", &reachable.reason), "{ready:#?}");
        // A name that is not found may be found later. That there is no identity here, nobody waits for.
        if with_secret {
            ensure!(find("Reconciling")?.status == "True", "{conditions:#?}");
        }
        Ok(())
    })
    .await
}

/// Applies, and waits while a port of a node, of which the whole cluster has one, belongs to another test.
async fn apply_when_ports_are_free(space: &Space, args: &[&str], manifest: &str) -> Result<()> {
    let outcome = kit::until("the node port is free", Duration::from_secs(60), async || {
        let outcome = space.kubectl_outcome(args, manifest)?;
        ensure!(!outcome.stderr.contains("provided port is already allocated"), "{}", outcome.stderr);
        Ok(outcome)
    })
    .await?;
    ensure!(outcome.success, "{}", outcome.stderr);
    Ok(())
}

/// What an example on an object store takes for granted: credentials that a server can read, and that open nothing.
fn prerequisites_of_store(driver: &str, store: &Value) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    if let Some(name) = store["credentials"]["secretRef"]["name"].as_str() {
        let content = match driver {
            "s3" => json!({"accesskey": "nobody", "secretkey": "nothing"}),
            "azure" => json!({"accountkey": "bm90aGluZw=="}),
            "gcs" => {
                let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?.serialize_pem();
                let account = json!({
                    "type": "service_account", "client_email": "nobody@acme.iam.gserviceaccount.com",
                    "private_key": key, "private_key_id": "0123",
                });
                json!({"keyfile": account.to_string()})
            }
            "swift" => json!({"username": "nobody", "password": "nothing"}),
            "oss" => json!({"accesskeyid": "nobody", "accesskeysecret": "nothing"}),
            _ => bail!("no credentials are known for {driver}"),
        };
        let metadata = json!({ "name": name });
        objects.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}));
    }
    let ca = &store["ca"]["configMapRef"];
    if let Some(name) = ca["name"].as_str() {
        let key = ca["key"].as_str().unwrap_or("ca.crt");
        let pair = super::tls::Pair::make("example")?;
        objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {key: pair.authority()}}));
    }
    Ok(objects)
}

/// Who `spec.auth` of an example lets in, and whose tokens: names and passwords, keys and certificates.
fn prerequisites_of_auth(auth: &Value) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for users in [&auth["htpasswd"], &auth["issuer"]["htpasswd"]] {
        if let Some(name) = users["secretRef"]["name"].as_str() {
            objects.push(users_secret(name, "someone"));
        }
    }
    let mut keyed = |reference: &Value, default_key: &str, content: &str| {
        for (field, kind, data) in [("configMapRef", "ConfigMap", "data"), ("secretRef", "Secret", "stringData")] {
            if let Some(name) = reference[field]["name"].as_str() {
                let key = reference[field]["key"].as_str().unwrap_or(default_key);
                objects
                    .push(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, data: {key: content}}));
            }
        }
    };
    keyed(&auth["token"]["jwks"], "jwks.json", JWKS);
    let pair = super::tls::Pair::make("example")?;
    for authority in [&auth["token"]["rootCertificates"], &auth["token"]["jwks"]["ca"]] {
        keyed(authority, "ca.crt", pair.authority());
    }
    for oidc in auth["issuer"]["oidc"].as_array().into_iter().flatten() {
        keyed(&oidc["ca"], "ca.crt", pair.authority());
    }
    Ok(objects)
}

/// What an example takes for granted: a claim, a certificate, a ServiceAccount, a storage class, who is let in, and what an object
/// store needs.
fn prerequisites(document: &Value) -> Result<Vec<Value>> {
    let spec = &document["spec"];
    let volume = &spec["storage"]["persistentVolumeClaim"];
    let mut objects = Vec::new();
    if let Some(name) = volume["existingClaim"].as_str() {
        objects.push(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }));
    }
    if let Some(name) = spec["tls"]["secretRef"]["name"].as_str() {
        let pair = super::tls::Pair::make("example")?;
        objects.push(pair.secret(name));
    }
    if let Some(name) = spec["serviceAccount"]["name"].as_str() {
        objects.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}));
    }
    if let Some(name) = volume["storageClassName"].as_str() {
        objects.push(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer",
        }));
    }
    objects.extend(prerequisites_of_auth(&spec["auth"])?);
    if let Some((driver, store)) = store_of(document) {
        objects.extend(prerequisites_of_store(driver, store)?);
    }
    Ok(objects)
}

/// An example may name a namespace; here it goes into the test's own.
fn without_namespace(mut document: Value) -> Value {
    if let Some(metadata) = document["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    document
}
