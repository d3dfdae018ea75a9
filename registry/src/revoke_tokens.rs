//! The command that has a running server revoke the refresh tokens of a user.

use std::time::Duration;

use anyhow::Result;
use http::Method;

use crate::admin::REVOKE_PATH;
use crate::admin::revoke::{Answer, Asked};
use crate::remote::Remote;

const PATIENCE: Duration = Duration::from_secs(60);

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
    let reply = remote.send(Method::POST, REVOKE_PATH, body, PATIENCE).await?;
    let (_, answer) = reply.read::<Answer>().await?;
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}
