//! What a user meets before anything runs: columns, explanations, and refusals that say what to do.

#![expect(clippy::needless_pass_by_value, reason = "tables of JSON read better without references")]

use anyhow::{Context as _, Result, ensure};
use berth_e2e::kit::{self, Space, in_namespace};
use serde_json::{Value, json};

fn registry(spec: Value) -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"}, "spec": spec})
}

fn policy(spec: Value) -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy", "metadata": {"name": "nightly"}, "spec": spec})
}

fn volume(fields: Value) -> Value {
    json!({"storage": {"persistentVolumeClaim": fields}})
}

/// `fields` beside a valid storage.
fn beside_storage(fields: Value) -> Value {
    let mut spec = volume(json!({"size": "1Gi"}));
    merge(&mut spec, fields);
    spec
}

/// `fields` beside a valid reference and schedule.
fn beside_schedule(fields: Value) -> Value {
    let mut spec = json!({"registryRef": {"name": "main"}, "schedule": "0 3 * * *"});
    merge(&mut spec, fields);
    spec
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn check(space: &Space, case: &str, resource: &Value, expected: &str) -> Result<()> {
    let outcome = space.kubectl_outcome(&["apply", "-f", "-"], &resource.to_string())?;
    ensure!(!outcome.success, "{case}: it was accepted");
    ensure!(outcome.stderr.contains(expected), "{case}: expected {expected:?} in:\n{}", outcome.stderr);
    Ok(())
}

#[tokio::test]
async fn a_new_resource_is_refused_with_what_to_do() -> Result<()> {
    in_namespace("refused", async |space| {
        let pvc = json!({"size": "1Gi"});
        for (case, resource, expected) in [
            ("no storage", registry(json!({"storage": {}})), "set exactly one of persistentVolumeClaim, emptyDir,"),
            (
                "two storages",
                registry(json!({"storage": {"persistentVolumeClaim": pvc, "emptyDir": {}}})),
                "keep exactly one of persistentVolumeClaim, emptyDir,",
            ),
            (
                "two ways to let people in",
                registry(beside_storage(json!({"auth": {"htpasswd": {"secretRef": {"name": "users"}},
                    "issuer": {"htpasswd": {"secretRef": {"name": "users"}}}}}))),
                "auth names two methods: keep at most one of htpasswd, token and issuer",
            ),
            (
                "strangers without rules",
                registry(beside_storage(json!({"auth": {"issuer": {"serviceAccounts": {}}}}))),
                "rules are needed beside issuer.oidc and issuer.serviceAccounts",
            ),
            (
                "a pattern that is none",
                registry(beside_storage(json!({"auth": {"htpasswd": {"secretRef": {"name": "users"}},
                    "rules": [{"users": ["*"], "repositories": ["Team/**"], "actions": ["pull"]}]}}))),
                "repositories must be patterns of names of repositories",
            ),
            (
                "a claim of nobody",
                registry(beside_storage(
                    json!({"auth": {"issuer": {"oidc": [{"name": "a", "url": "https://a", "audience": "a"}]},
                    "rules": [{"claims": {"b:c": "d"}, "repositories": ["**"], "actions": ["pull"]}]}}),
                )),
                "rules name a claim that is of no issuer in issuer.oidc",
            ),
            (
                "tokens that last for days",
                registry(beside_storage(json!({"auth": {"issuer": {"htpasswd": {"secretRef": {"name": "users"}},
                    "tokenExpiry": "48h"}}}))),
                "tokenExpiry must be a duration from 1m to 24h",
            ),
            (
                "pull secrets of nobody",
                registry(beside_storage(
                    json!({"pullSecrets": [{"name": "a", "namespaces": ["a"], "repositories": ["**"]}]}),
                )),
                "pullSecrets hold tokens of the registry's own issuer: add auth.issuer",
            ),
            ("no size", registry(volume(json!({}))), "size is missing: say how large the volume shall be"),
            (
                "a size that is none",
                registry(volume(json!({"size": "20GB"}))),
                "size must be a quantity of at least 1Mi",
            ),
            (
                "an existing claim with a size",
                registry(volume(json!({"existingClaim": "data", "size": "1Gi"}))),
                "leave out size and storageClassName",
            ),
            (
                "replicas on a ReadWriteOnce volume",
                registry(beside_storage(json!({"replicas": 3}))),
                "replicas share a ReadWriteOnce volume: use one replica",
            ),
            (
                "replicas on an emptyDir",
                registry(json!({"replicas": 2, "storage": {"emptyDir": {}}})),
                "replicas cannot share an emptyDir: use one replica",
            ),
            (
                "deleting what is not ours",
                registry(json!({
                    "storage": {"persistentVolumeClaim": {"existingClaim": "data"}}, "deletionPolicy": "Delete",
                })),
                "deletionPolicy Delete does not go with existingClaim",
            ),
            (
                "a node port without its type",
                registry(beside_storage(json!({"service": {"nodePort": 30500}}))),
                "nodePort needs type NodePort or LoadBalancer",
            ),
            (
                "a port that is none",
                registry(beside_storage(json!({"service": {"port": 70000}}))),
                "port must be between 1 and 65535",
            ),
            (
                "an image that is none",
                registry(beside_storage(json!({"image": "not an image"}))),
                "image must be an image reference",
            ),
            (
                "labels of our own",
                registry(beside_storage(json!({"podLabels": {"berth.dev/registry": "other"}}))),
                "podLabels must leave out the labels that Berth sets itself",
            ),
            (
                "a field that does not exist",
                registry(beside_storage(json!({"replica": 1}))),
                "unknown field \"spec.replica\"",
            ),
            (
                "a schedule of four fields",
                policy(beside_schedule(json!({"schedule": "0 3 * *"}))),
                "schedule must have five fields",
            ),
            (
                "a time zone that is none",
                policy(beside_schedule(json!({"timeZone": "Local"}))),
                "timeZone must be a name from the tz database",
            ),
            (
                "a grace period before now",
                policy(beside_schedule(json!({"gracePeriod": "-1h"}))),
                "gracePeriod must be a duration that is not negative",
            ),
            (
                "a history without end",
                policy(beside_schedule(json!({"failedRunsHistoryLimit": 100}))),
                "failedRunsHistoryLimit must be between 0 and 10",
            ),
        ] {
            check(space, case, &resource, expected)?;
        }
        let mut long = registry(beside_storage(json!({})));
        long["metadata"]["name"] = json!("a".repeat(41));
        check(space, "a long name", &long, "use at most 40 of a-z, 0-9 and '-'")
    })
    .await
}

#[tokio::test]
async fn a_bucket_is_refused_with_what_to_do() -> Result<()> {
    in_namespace("refused-bucket", async |space| {
        for (case, resource, expected) in [
            (
                "no credentials for a bucket",
                registry(json!({"storage": {"s3": {"bucket": "acme-images", "region": "eu-central-1"}}})),
                "credentials are missing: name a Secret in secretRef, or write workloadIdentity: {}",
            ),
            (
                "no region of a bucket",
                registry(json!({"storage": {"s3": {
                    "bucket": "acme-images", "credentials": {"workloadIdentity": {}}}}})),
                "region is missing: name the bucket's region",
            ),
            (
                "an identity of an account that exists",
                registry(json!({"serviceAccount": {"name": "mine"}, "storage": {"gcs": {
                    "bucket": "acme-images", "credentials": {"workloadIdentity": {"serviceAccount": "a@b.example"}}}}})),
                "give the one of serviceAccount.name the annotation iam.gke.io/gcp-service-account",
            ),
            (
                "deleting a bucket",
                registry(json!({"deletionPolicy": "Delete", "storage": {"oss": {"bucket": "acme-images",
                    "region": "oss-eu-central-1", "credentials": {"secretRef": {"name": "oss"}}}}})),
                "deletionPolicy Delete does not go with an object store",
            ),
        ] {
            check(space, case, &resource, expected)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_change_is_refused_with_what_to_do() -> Result<()> {
    in_namespace("refused-change", async |space| {
        // Paused: nothing needs to run for the API server to refuse.
        let first = beside_storage(json!({
            "paused": true, "storage": {"persistentVolumeClaim": {"size": "2Gi", "storageClassName": "berth-fixed"}},
        }));
        space.apply(&registry(first.clone()).to_string())?;
        space.apply(&policy(beside_schedule(json!({"suspend": true}))).to_string())?;
        for (case, change, expected) in [
            ("a smaller volume", json!({"size": "1Gi"}), "a volume cannot shrink"),
            ("another class", json!({"storageClassName": "berth-local"}), "storageClassName cannot change"),
            ("other access", json!({"accessModes": ["ReadWriteMany"]}), "accessModes cannot change"),
        ] {
            let mut changed = first.clone();
            merge(&mut changed, volume(change));
            check(space, case, &registry(changed), expected)?;
        }
        let elsewhere = registry(json!({"paused": true, "storage": {"emptyDir": {}}}));
        check(space, "another kind of storage", &elsewhere, "the kind of storage cannot change")?;
        let on_s3 = |bucket: &str| {
            let mut registry = registry(json!({"paused": true, "storage": {"s3": {
                "bucket": bucket, "region": "eu-central-1", "credentials": {"workloadIdentity": {}}}}}));
            registry["metadata"]["name"] = json!("bucket");
            registry
        };
        space.apply(&on_s3("a").to_string())?;
        check(space, "another bucket", &on_s3("b"), "bucket and rootDirectory cannot change")?;
        let other = policy(beside_schedule(json!({"registryRef": {"name": "other"}})));
        check(space, "another registry", &other, "registryRef cannot change")
    })
    .await
}

/// The paths of fields in a schema that nothing explains.
fn unexplained(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let sentence = field["description"].as_str().unwrap_or_default();
        if !sentence.contains(' ') || !sentence.trim_end().ends_with(['.', '!', ')', '"', '\'', ':', '/']) {
            found.push(format!("{path}: {sentence:?}"));
        }
        unexplained(field, &path, found);
    }
    if schema["items"].is_object() {
        unexplained(&schema["items"], path, found);
    }
}

#[tokio::test]
async fn every_field_is_explained() -> Result<()> {
    in_namespace("explained", async |space| {
        for name in ["registries.berth.dev", "gcpolicies.berth.dev"] {
            let text = space.kubectl(&["get", "crd", name, "--output=json"])?;
            let definition: Value = serde_json::from_str(&text)?;
            let versions = definition["spec"]["versions"].as_array().context("no versions")?;
            let mut found = Vec::new();
            let mut fields = 0;
            for version in versions {
                let schema = &version["schema"]["openAPIV3Schema"];
                fields += schema["properties"]["spec"]["properties"].as_object().map_or(0, serde_json::Map::len);
                for part in ["spec", "status"] {
                    unexplained(&schema["properties"][part], &format!("{name} {part}"), &mut found);
                }
            }
            // Types of Kubernetes itself have terse sentences here and there; they are not ours to finish.
            found.retain(|path| {
                !["affinity", "tolerations", "topologySpread", "resources", "imagePullSecrets"]
                    .iter()
                    .any(|k| path.contains(k))
            });
            ensure!(fields > 5, "{name} has {fields} fields: was the definition read?");
            ensure!(found.is_empty(), "not explained in a sentence:\n{}", found.join("\n"));
        }
        let explained = space.kubectl(&["explain", "reg.spec.storage"])?;
        ensure!(explained.contains("A volume, which outlives the Registry"), "{explained}");
        space.kubectl(&["explain", "gcpol.spec", "--recursive"]).map(drop)
    })
    .await
}

/// The heading of `kubectl get`, as words.
fn heading(text: &str, of: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with("NAME") && line.contains(of)).unwrap_or_default();
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn columns_tell_what_matters() -> Result<()> {
    in_namespace("columns", async |space| {
        space.apply(&registry(json!({"storage": {"emptyDir": {"sizeLimit": "1Gi"}}})).to_string())?;
        space.apply(&policy(beside_schedule(json!({"timeZone": "Europe/Berlin"}))).to_string())?;
        kit::ready(space, "main").await?;
        kit::gc_run(space, "nightly").await?;
        let text = space.kubectl(&["get", "reg,gcpol"])?;
        ensure!(
            heading(&text, "REPLICAS") == ["NAME", "READY", "REPLICAS", "STORAGE", "URL", "VERSION", "AGE"],
            "{text}"
        );
        ensure!(
            heading(&text, "SCHEDULE")
                == ["NAME", "REGISTRY", "SCHEDULE", "LAST RUN", "OUTCOME", "FREED", "NEXT", "AGE"],
            "{text}"
        );
        let url = format!("http://main.{}.svc:5000", space.name);
        for expected in ["registry.berth.dev/main", "True", "1/1", &url, "0.1.0", "0 3 * * * (Berlin)", "Clean"] {
            ensure!(text.contains(expected), "no {expected:?} in:\n{text}");
        }
        ensure!(space.kubectl(&["get", "berth"])?.contains("gcpolicy.berth.dev/nightly"), "the category is missing");
        space.kubectl(&["scale", "reg/main", "--replicas=0"])?;
        Ok(())
    })
    .await
}
