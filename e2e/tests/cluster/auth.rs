//! Names and passwords from a Secret: a missing one is named, whoever is in it is let in, and a change of it is taken up without
//! a restart.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::kit::{self, Space, condition, in_namespace, until};
use berth_e2e::run;
use serde_json::{Value, json};

use super::tls::pods;

/// The kubelet brings a changed Secret to its pods when it looks at them next: here every ten seconds, elsewhere every minute.
const UPDATE_DEADLINE: Duration = Duration::from_secs(90);

const PASSWORD: &str = "swordfish";
/// The bcrypt hash of the password.
const HASH: &str = "$2b$05$U7G/Cyq35gZmcslXRmdi4.rTnsw6ro5s7xMoOrZ16dCt68f7XNlqe";

const WITH_PASSWORDS: &str = "
apiVersion: berth.dev/v1alpha1
kind: Registry
metadata: {name: main}
spec:
  storage: {emptyDir: {}}
  auth:
    htpasswd: {secretRef: {name: users}}
    anonymous: [{repositories: [\"public/**\"], actions: [pull]}]
    rules: [{users: [alice], repositories: [\"**\"], actions: [\"*\"]}]
";

/// A Secret with one user.
pub(crate) fn users_secret(secret: &str, user: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret},
        "stringData": {"htpasswd": format!("{user}:{HASH}\n")}})
}

/// The status of the answer to whoever says this name, or none.
fn answer(space: &Space, path: &str, user: Option<&str>) -> Result<String> {
    let mut curl = space.cluster.inside("curl")?;
    curl.args(["--silent", "--show-error", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    if let Some(user) = user {
        curl.arg("--user").arg(format!("{user}:{PASSWORD}"));
    }
    curl.arg(format!("http://{}{path}", kit::registry_address(space, "main")));
    Ok(run::outcome(curl, b"")?.stdout)
}

#[tokio::test]
async fn users_are_awaited_let_in_and_changed() -> Result<()> {
    in_namespace("auth", async |space| {
        space.apply(WITH_PASSWORDS)?;
        super::conditions::stalled(space, "reg/main", "there is no Secret users").await?;
        space.apply(&users_secret("users", "alice").to_string())?;
        let status = kit::ready(space, "main").await?.status.context("no status")?;
        let found = condition(&status.conditions, "AuthReady").context("no AuthReady")?;
        ensure!(found.status == "True", "{found:?}");
        for (path, user, expected) in [
            ("/v2/", None, "401"),
            ("/v2/", Some("alice"), "200"),
            ("/v2/", Some("bob"), "401"),
            ("/v2/team/app/manifests/v1", Some("alice"), "404"),
            ("/v2/team/app/manifests/v1", None, "401"),
            ("/v2/public/app/manifests/v1", None, "404"),
        ] {
            let found = answer(space, path, user)?;
            ensure!(found == expected, "{path} of {user:?}: {found}, not {expected}");
        }
        let before = pods(space).await?;
        space.apply(&users_secret("users", "bob").to_string())?;
        until("the new user is let in, and the old one is not", UPDATE_DEADLINE, async || {
            let (old, new) = (answer(space, "/v2/", Some("alice"))?, answer(space, "/v2/", Some("bob"))?);
            ensure!((old.as_str(), new.as_str()) == ("401", "200"), "alice gets {old}, bob {new}");
            Ok(())
        })
        .await?;
        ensure!(pods(space).await? == before, "a pod was restarted or replaced");
        Ok(())
    })
    .await
}
