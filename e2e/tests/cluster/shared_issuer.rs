//! One issuer for two registries: the second believes what the first has signed, by keys that it fetches from it, also when
//! another key signs.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use berth_crds::{ROTATE_KEY_ANNOTATION, Registry};
use berth_e2e::kit::{self, Space, condition, in_namespace, until};
use serde_json::{Value, json};

use super::access::{DEADLINE, curl, signing, users};
use super::tls::Pair;

/// The Registry that issues the tokens, and the one that believes them.
fn registries(issuer: &str) -> [Value; 2] {
    let of = |name: &str, spec: Value| json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": name}, "spec": spec});
    let main = json!({
        "storage": {"emptyDir": {}},
        "tls": {"secretRef": {"name": "main-tls"}},
        "auth": {
            "issuer": {
                "url": issuer, "services": ["second"], "htpasswd": {"secretRef": {"name": "users"}},
                "keys": {"publishFor": "10s"},
            },
            "rules": [{"users": ["alice"], "repositories": ["team/**"], "actions": ["pull", "push"]}],
        },
    });
    let keys = json!({"url": format!("{issuer}/keys"), "ca": {"configMapRef": {"name": "main-ca"}}});
    let second = json!({
        "storage": {"emptyDir": {}},
        "auth": {"token": {
            "realm": format!("{issuer}/token"), "service": "second", "issuer": issuer, "jwks": keys,
        }},
    });
    [of("main", main), of("second", second)]
}

/// A token for the second registry with these scopes, by the password of alice.
fn token(space: &Space, issuer: &str, authority: &Path, scope: &str) -> Result<String> {
    let authority = authority.display().to_string();
    let url = format!("{issuer}/token?service=second&scope={scope}");
    let (status, body) = curl(space, &["--cacert", &authority, "--user", "alice:swordfish", &url])?;
    ensure!(status == 200, "{status} {body}");
    let answer: Value = serde_json::from_str(&body)?;
    Ok(answer["token"].as_str().context("no token")?.to_owned())
}

#[tokio::test]
async fn two_registries_share_an_issuer() -> Result<()> {
    in_namespace("shared-issuer", async |space| {
        let directory = tempfile::tempdir()?;
        let authority = directory.path().join("ca.crt");
        let pair = Pair::make(&format!("main.{}.svc", space.name))?;
        std::fs::write(&authority, pair.authority())?;
        space.apply(&users().to_string())?;
        space.apply(&pair.secret("main-tls").to_string())?;
        let issuer = format!("https://{}/auth", kit::registry_address(space, "main"));
        let [main, second] = registries(&issuer);
        space.apply(&main.to_string())?;
        space.apply(&second.to_string())?;
        // Without the authority there is no second registry, and it is said what is missing.
        super::conditions::stalled(space, "reg/second", "there is no ConfigMap main-ca").await?;
        let metadata = json!({"name": "main-ca"});
        let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": pair.authority()}});
        space.apply(&ca.to_string())?;
        kit::ready(space, "main").await?;
        kit::ready(space, "second").await?;
        until("the second registry has the keys of the first", DEADLINE, async || {
            let status = space.api::<Registry>().get("second").await?.status.context("no status")?;
            let found = condition(&status.conditions, "IssuersReachable").context("no IssuersReachable")?;
            ensure!(found.status == "True", "{}", found.message);
            Ok(())
        })
        .await?;

        let upload = format!("http://{}/v2/team/app/blobs/uploads/", kit::registry_address(space, "second"));
        let begin = |token: &str| -> Result<u16> {
            let bearer = format!("Authorization: Bearer {token}");
            Ok(curl(space, &["--request", "POST", "--header", &bearer, &upload])?.0)
        };
        let first = token(space, &issuer, &authority, "repository:team/app:pull,push")?;
        ensure!(begin(&first)? == 202, "a token of the issuer is not believed by the second registry");
        ensure!(begin("none")? == 401, "anything is believed");
        let pull = token(space, &issuer, &authority, "repository:team/app:pull")?;
        ensure!(begin(&pull)? == 401, "a token to pull pushes");

        let before = signing(space).await?;
        space.kubectl(&["annotate", "reg/main", &format!("{ROTATE_KEY_ANNOTATION}=now")])?;
        let by_another = until("another key signs", DEADLINE, async || {
            ensure!(signing(space).await? != before, "it is the first one");
            let token = token(space, &issuer, &authority, "repository:team/app:pull,push")?;
            ensure!(token.split('.').next() != first.split('.').next(), "the pod signs by the first one still");
            Ok(token)
        })
        .await?;
        for token in [&by_another, &first] {
            ensure!(begin(token)? == 202, "a token of either key is believed");
        }
        Ok(())
    })
    .await
}
