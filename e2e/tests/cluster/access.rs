//! Access by tokens in a cluster: Jobs that push with nothing but their ServiceAccount, pull secrets that are renewed, and keys
//! that are rotated while clients are at work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use berth_crds::{ROTATE_KEY_ANNOTATION, Registry};
use berth_e2e::images::{app, pusher};
use berth_e2e::kit::{self, Space, in_namespace, until};
use berth_e2e::paths::Cache;
use berth_e2e::run;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{ListParams, LogParams};
use serde_json::{Value, json};

/// How long the kubelet may take to bring pods what has changed, and the operator to see it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(150);
/// The bcrypt hash of `swordfish`.
const HASH: &str = "$2b$05$U7G/Cyq35gZmcslXRmdi4.rTnsw6ro5s7xMoOrZ16dCt68f7XNlqe";

/// A Registry `main` with an issuer: alice and robots have passwords, and each namespace's accounts push to its own
/// repositories. `more` are further fields of the spec.
fn registry(replicas: i32, more: &Value) -> Value {
    let mut registry = json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"},
        "spec": {
            "replicas": replicas,
            "storage": {"emptyDir": {}},
            "auth": {
                "issuer": {
                    "htpasswd": {"secretRef": {"name": "users"}},
                    "serviceAccounts": {},
                    "keys": {"publishFor": "45s"},
                },
                "rules": [
                    {"users": ["alice"], "repositories": ["**"], "actions": ["*"]},
                    {"serviceAccounts": ["{namespace}/*"], "repositories": ["{namespace}/**"], "actions": ["pull", "push"]},
                ],
            },
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        registry["spec"][field] = value.clone();
    }
    registry
}

pub(crate) fn users() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"},
        "stringData": {"htpasswd": format!("alice:{HASH}\n")},
    })
}

/// curl, in the cluster's network; the status and the body.
pub(crate) fn curl(space: &Space, args: &[&str]) -> Result<(u16, String)> {
    let mut command = space.cluster.inside("curl")?;
    command.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"]).args(args);
    let printed = run::checked(command)?;
    let (body, status) = printed.trim_end().rsplit_once('\n').unwrap_or(("", printed.trim_end()));
    Ok((status.parse().with_context(|| printed.clone())?, body.to_owned()))
}

/// A token for alice.
fn token(space: &Space, address: &str, scope: &str) -> Result<String> {
    let url = format!("http://{address}/auth/token?scope={scope}");
    let (status, body) = curl(space, &["--user", "alice:swordfish", &url])?;
    ensure!(status == 200, "{status} {body}");
    let answer: Value = serde_json::from_str(&body)?;
    Ok(answer["token"].as_str().context("no token")?.to_owned())
}

/// skopeo, as alice.
fn push(space: &Space, reference: &str) -> Result<()> {
    let source = app::release(&Cache::from_env()?, "v1")?.source;
    let mut command = space.cluster.inside("skopeo")?;
    command.args(["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "alice:swordfish"]);
    run::checked({
        command.args([&source, &format!("docker://{reference}")]);
        command
    })
    .map(drop)
}

#[tokio::test]
async fn a_job_pushes_with_nothing_but_its_service_account() -> Result<()> {
    in_namespace("keyless", async |space| {
        pusher::load(&space.cluster)?;
        space.apply(&users().to_string())?;
        space.apply(&registry(1, &json!({})).to_string())?;
        kit::ready(space, "main").await?;
        let address = kit::registry_address(space, "main");
        let service = format!("main.{}", space.name);
        let script = format!(
            "cd /tmp; echo hello > hello; tar -cf layer.tar hello\n\
             crane auth login {address} --username any --password \"$(cat /var/run/berth/token)\"\n\
             crane append --insecure --new_layer layer.tar --new_tag {address}/{namespace}/app:v1\n\
             echo pushed\n\
             if crane append --insecure --new_layer layer.tar --new_tag {address}/other/app:v1 2> refused; then\n\
             echo pushed to another namespace; exit 1; fi\n\
             cat refused",
            namespace = space.name
        );
        space.apply(
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}}).to_string(),
        )?;
        space.apply(&job(&script, &service).to_string())?;
        until("the Job has pushed", DEADLINE, async || {
            let status = space.api::<Job>().get("push").await?.status.unwrap_or_default();
            match (status.succeeded, status.failed) {
                (Some(1), _) => Ok(()),
                found => bail!("{found:?}: {}", log_of_job(space).await),
            }
        })
        .await?;
        let log = log_of_job(space).await;
        ensure!(log.contains("pushed\n") && log.contains("401 Unauthorized"), "{log}");
        println!("a Job with its ServiceAccount alone: {}", log.lines().last().unwrap_or_default());
        let by_alice = token(space, &address, "registry:catalog:*")?;
        let bearer = format!("Authorization: Bearer {by_alice}");
        let (status, body) = curl(space, &["--header", &bearer, &format!("http://{address}/v2/_catalog")])?;
        let catalog: Value = serde_json::from_str(&body)?;
        ensure!(status == 200 && catalog["repositories"] == json!([format!("{}/app", space.name)]), "{body}");
        Ok(())
    })
    .await
}

async fn log_of_job(space: &Space) -> String {
    let pods = space.api::<Pod>();
    let Ok(found) = pods.list(&ListParams::default().labels("job-name=push")).await else { return String::new() };
    let mut text = String::new();
    for pod in found.items {
        let name = pod.metadata.name.unwrap_or_default();
        text += &pods.logs(&name, &LogParams::default()).await.unwrap_or_default();
    }
    text
}

fn job(script: &str, service: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "push"},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "serviceAccountName": "builder",
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "push", "image": pusher::IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-euc"],
                "args": [format!("for tool in cat tar; do ln -s /bin/busybox /tmp/$tool; done; PATH=/tmp:/bin\n{script}")],
                "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PATH", "value": "/tmp:/bin"}],
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"}, {"name": "token", "mountPath": "/var/run/berth", "readOnly": true},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "token", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "audience": service, "expirationSeconds": 600}},
                ]}},
            ],
        }}},
    })
}

/// A pod of the demo's application that is pulled by a pull secret, or by none.
fn pod(name: &str, image: &str, secret: Option<&str>) -> Value {
    let mut pod = kit::app_pod(name, image);
    if let Some(secret) = secret {
        pod["spec"]["imagePullSecrets"] = json!([{"name": secret}]);
    }
    pod
}

#[tokio::test]
async fn the_kubelet_pulls_by_a_pull_secret_that_is_renewed() -> Result<()> {
    in_namespace("pull-secret", async |space| {
        space.apply(&users().to_string())?;
        // A namespace that lets the Registry in, and one that does not.
        let (other, closed) = (format!("{}-other", space.name), format!("{}-closed", space.name));
        for namespace in [&other, &closed] {
            let labels = match namespace == &other {
                true => json!({"berth.dev/pull-secrets-from": space.name}),
                false => json!({}),
            };
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
            space.apply(&object.to_string())?;
        }
        let outcome = pull_by_secret(space, &other, &closed).await;
        for namespace in [&other, &closed] {
            space.kubectl(&["delete", "namespace", namespace, "--wait=false"])?;
        }
        outcome
    })
    .await
}

async fn pull_by_secret(space: &Space, other: &str, closed: &str) -> Result<()> {
    let pull_secrets = json!({"pullSecrets": [
        {"name": "registry", "namespaces": [space.name, other], "repositories": ["team/**"], "lifetime": "2m"},
    ]});
    space.apply(&registry(1, &pull_secrets).to_string())?;
    kit::ready(space, "main").await?;
    let address = kit::registry_address(space, "main");
    for repository in ["team/app", "private/app"] {
        push(space, &format!("{address}/{repository}:v1"))?;
    }
    space.cluster.trust_plain_http(&address)?;
    let configuration = async |namespace: &str| -> Result<Value> {
        let secret = Api::<Secret>::namespaced(space.client.clone(), namespace).get("registry").await?;
        let content =
            secret.data.context("an empty Secret")?.remove(".dockerconfigjson").context("no configuration")?;
        Ok(serde_json::from_slice(&content.0)?)
    };
    let password = async |namespace: &str| -> Result<String> {
        let content = configuration(namespace).await?;
        Ok(content["auths"][&address]["password"].as_str().context("no password")?.to_owned())
    };
    let first = until("there is a pull secret", DEADLINE, async || password(&space.name).await).await?;
    ensure!(first != password(other).await?, "each has a credential of its own");

    // With the secret the kubelet pulls; without it, or what it is not for, it does not.
    space.apply(&pod("with", &format!("{address}/team/app:v1"), Some("registry")).to_string())?;
    println!("{}", kit::pod_pulled(space, "with").await?);
    for (name, repository, secret) in [("without", "team/app", None), ("beyond", "private/app", Some("registry"))] {
        space.apply(&pod(name, &format!("{address}/{repository}:v1"), secret).to_string())?;
        until(&format!("pod {name} is refused"), DEADLINE, async || {
            let events =
                space.kubectl(&["get", "events", "--field-selector", &format!("involvedObject.name={name}")])?;
            ensure!(events.contains("authoriz") || events.contains("401") || events.contains("denied"), "{events}");
            Ok(())
        })
        .await?;
    }

    // Before the first one ends, another one is there, and the kubelet pulls by it.
    let second = until("the pull secret is renewed", DEADLINE, async || {
        let now = password(&space.name).await?;
        ensure!(now != first, "it is the first one");
        Ok(now)
    })
    .await?;
    let scope = format!("http://{address}/auth/token?scope=repository:team/app:pull");
    for (name, credential) in [("first", &first), ("second", &second)] {
        let (status, body) = curl(space, &["--user", &format!("x:{credential}"), &scope])?;
        ensure!(status == 200, "the {name} credential is refused before it has ended: {status} {body}");
    }
    space.cluster.forget_image(&format!("{address}/team/app"))?;
    space.apply(&pod("again", &format!("{address}/team/app:v1"), Some("registry")).to_string())?;
    println!("renewed: {}", kit::pod_pulled(space, "again").await?);

    // When the first one has ended, it is good for nothing, and the kubelet pulls on.
    until("the first credential is refused", DEADLINE * 2, async || {
        let (status, body) = curl(space, &["--user", &format!("x:{first}"), &scope])?;
        ensure!(status == 401, "{status} {body}");
        Ok(())
    })
    .await?;
    space.cluster.forget_image(&format!("{address}/team/app"))?;
    space.apply(&pod("later", &format!("{address}/team/app:v1"), Some("registry")).to_string())?;
    println!("after the end of the first: {}", kit::pod_pulled(space, "later").await?);

    // A namespace that does not let the Registry in is told of.
    let closed_too = json!({"pullSecrets": [
        {"name": "registry", "namespaces": [space.name, closed], "repositories": ["team/**"], "lifetime": "2m"},
    ]});
    space.apply(&registry(1, &closed_too).to_string())?;
    until("the closed namespace is told of", DEADLINE, async || {
        let described = space.kubectl(&["describe", "reg/main"])?;
        ensure!(described.contains(&format!("namespace {closed} does not let this Registry in")), "{described}");
        Ok(())
    })
    .await?;
    let emptied = async |namespace: &str| {
        until("what is not wanted any more is emptied", DEADLINE, async || {
            let left = configuration(namespace).await?;
            ensure!(left == json!({"auths": {}}), "the credential is still there");
            Ok(())
        })
        .await
    };
    emptied(other).await?;

    // Nor does one stay when nobody issues tokens any more.
    let nobody = json!({"auth": null, "pullSecrets": null});
    space.kubectl(&["patch", "reg/main", "--type=merge", "--patch", &json!({"spec": nobody}).to_string()])?;
    emptied(&space.name).await?;
    until("no pull secret is told of", DEADLINE, async || {
        let status = space.api::<Registry>().get("main").await?.status.context("no status")?;
        ensure!(status.pull_secrets.is_empty(), "{:?}", status.pull_secrets);
        ensure!(status.conditions.iter().all(|one| one.type_ != "PullSecretsReady"), "{:?}", status.conditions);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_key_is_rotated_under_load_and_a_refresh_token_revoked() -> Result<()> {
    in_namespace("rotate", async |space| {
        space.apply(&users().to_string())?;
        // Replicas need storage that they can share.
        let store = kit::S3::start(space, "images").await?;
        store.add(&super::object_store::FIRST)?;
        space.apply(&super::object_store::FIRST.secret("s3").to_string())?;
        let storage = json!({"storage": {"s3": {
            "bucket": "images", "endpoint": store.endpoint, "credentials": {"secretRef": {"name": "s3"}},
        }}});
        space.apply(&registry(2, &storage).to_string())?;
        kit::ready(space, "main").await?;
        let address = kit::registry_address(space, "main");
        push(space, &format!("{address}/team/app:v1"))?;
        rotated_under_load(space, &address).await?;
        revoked(space, &address)
    })
    .await
}

/// The key that signs the tokens of the Registry `main`, as its status has it.
pub(crate) async fn signing(space: &Space) -> Result<String> {
    let status = space.api::<Registry>().get("main").await?.status.context("no status")?;
    Ok(status.token_keys.context("no keys")?.signing)
}

/// The statuses of requests that go out at once, each by a connection of its own, so that every replica gets some.
fn at_once(space: &Space, token: &str, method: &str, urls: &[String]) -> Result<Vec<u16>> {
    let mut command = space.cluster.inside("curl")?;
    command.args(["--silent", "--show-error", "--max-time", "20", "--parallel", "--parallel-immediate"]);
    command.args(["--request", method, "--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--write-out", "%{http_code}\n"]);
    for url in urls {
        command.args(["--output", "/dev/null", url]);
    }
    run::checked(command)?.lines().map(|line| line.parse().with_context(|| line.to_owned())).collect()
}

/// Whether every replica signs by a key.
async fn every_replica_signs_by(space: &Space, key: &str) -> Result<()> {
    let pods = space.api::<Pod>().list(&ListParams::default().labels("berth.dev/registry=main")).await?;
    ensure!(pods.items.len() == 2, "{} pods", pods.items.len());
    for pod in pods {
        let ip = pod.status.and_then(|status| status.pod_ip).context("a pod without an address")?;
        let found = kid(&token(space, &format!("{ip}:5000"), "repository:team/app:pull")?)?;
        ensure!(found == key, "{ip} signs by {found}");
    }
    Ok(())
}

/// Clients get tokens, and pull and begin pushes with them and with the ones before, from one replica or the other.
async fn rotated_under_load(space: &Space, address: &str) -> Result<()> {
    let first = signing(space).await?;
    let (requests, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let scope = "repository:team/app:pull,push";
    let at = |path: &str| format!("http://{address}/v2/team/app/{path}");
    let pulls: Vec<_> = ["tags/list", "manifests/v1"].iter().flat_map(|path| vec![at(path); 6]).collect();
    let pushes = vec![at("blobs/uploads/"); 4];
    every_replica_signs_by(space, &first).await?;
    let load = async {
        let mut before = token(space, address, scope)?;
        while !done.load(Ordering::Relaxed) {
            let now = token(space, address, scope)?;
            for token in [&before, &now] {
                for (method, urls, expected) in [("GET", &pulls, 200), ("POST", &pushes, 202)] {
                    let found = at_once(space, token, method, urls)?;
                    let made = requests.fetch_add(found.len(), Ordering::Relaxed);
                    let is_right = found.len() == urls.len() && found.iter().all(|status| *status == expected);
                    ensure!(is_right, "after {made} requests, {method}: {found:?}");
                }
            }
            before = now;
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let rotate = async {
        let outcome = async {
            space.kubectl(&["annotate", "reg/main", &format!("{ROTATE_KEY_ANNOTATION}=now")])?;
            until("another key signs", DEADLINE, async || {
                let now = signing(space).await?;
                ensure!(now != first, "{now} still signs");
                Ok(())
            })
            .await?;
            // Until every replica signs by it, and for some requests more.
            until("tokens are signed by it", DEADLINE, async || {
                every_replica_signs_by(space, &signing(space).await?).await
            })
            .await?;
            let enough = requests.load(Ordering::Relaxed) + 200;
            until("clients go on", DEADLINE, async || {
                ensure!(requests.load(Ordering::Relaxed) >= enough, "not yet");
                Ok(())
            })
            .await
        }
        .await;
        done.store(true, Ordering::Relaxed);
        outcome
    };
    let (loaded, rotated) = tokio::join!(load, rotate);
    loaded?;
    rotated?;
    println!("{} requests while the key was rotated, none failed", requests.load(Ordering::Relaxed));
    // No private half of the first key is left.
    let secret = space.api::<Secret>().get("main-token-keys").await?;
    let private =
        secret.data.iter().flatten().filter(|(_, content)| String::from_utf8_lossy(&content.0).contains("PRIVATE KEY"));
    ensure!(private.count() == 1, "the earlier key could still sign");
    let described = space.kubectl(&["describe", "reg/main"])?;
    ensure!(described.contains("TokenKeysReady") && described.contains(&signing(space).await?), "{described}");
    Ok(())
}

/// What a token calls the key that has signed it.
fn kid(token: &str) -> Result<String> {
    use base64::Engine as _;
    let header = token.split('.').next().context("no token")?;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header)?;
    let header: Value = serde_json::from_slice(&header)?;
    Ok(header["kid"].as_str().context("no kid")?.to_owned())
}

fn revoked(space: &Space, address: &str) -> Result<()> {
    let at = |path: &str| format!("http://{address}/auth/{path}");
    let (status, body) = curl(space, &["--user", "alice:swordfish", &at("token?offline_token=true")])?;
    let answer: Value = serde_json::from_str(&body)?;
    let refresh = answer["refresh_token"].as_str().with_context(|| format!("{status} {body}"))?;
    let form = format!("refresh_token={refresh}");
    let again = || curl(space, &["--data", "grant_type=refresh_token", "--data", &form, &at("token")]);
    // By one replica or the other, it makes no difference.
    for _ in 0..6 {
        let (status, body) = again()?;
        ensure!(status == 200, "{status} {body}");
    }
    let (status, _) = curl(space, &["--data", &format!("token={refresh}"), &at("revoke")])?;
    ensure!(status == 200, "{status}");
    for _ in 0..6 {
        let (status, body) = again()?;
        ensure!(status == 400 && body.contains("invalid_grant"), "{status} {body}");
    }
    println!("a revoked refresh token: 400 invalid_grant");
    Ok(())
}
