//! The command that has a running server revoke the refresh tokens of a user.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Method;
use http_body_util::{BodyExt as _, Limited};

use crate::admin::REVOKE_PATH;
use crate::admin::revoke::{Answer, Asked};
use crate::remote::{Remote, Reply};

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What the command is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeTokens {
    #[command(flatten)]
    remote: Remote,
    /// The user, as the log of the issuer has them: alice, keycloak:alice.
    user: String,
}

/// Asks the server, and prints how many tokens there were.
pub(crate) async fn revoke(RevokeTokens { remote, user }: RevokeTokens) -> Result<()> {
    let body = serde_json::to_vec(&Asked { user })?;
    let Reply { response, target, connection } = remote.send(Method::POST, REVOKE_PATH, body, PATIENCE).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).context("the server ended the connection")?.to_bytes();
    drop(connection);
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        match said["error"]["message"].as_str() {
            Some(message) => bail!("{target} answered {status}: {message}"),
            None => bail!("{target} answered {status}: is this the debug port of a registry with an admin token?"),
        }
    };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}
