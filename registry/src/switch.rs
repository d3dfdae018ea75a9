//! `read-only`: makes a running registry read-only, and writable again, through its admin route.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};

use crate::admin::READ_ONLY_PATH;
use crate::admin::read_only::{Answer, Asked};
use crate::remote::{Remote, Reply};

/// How long the server may take beyond what it was asked to wait for.
const SLACK: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What is asked of the server.
#[derive(Debug, Args)]
pub(crate) struct Switch {
    #[command(flatten)]
    remote: Remote,
    /// Told to every client whose write is refused.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for writes in flight to end. Writes that come later are refused at once.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    timeout: berth_config::Duration,
    /// Refuse writes, take them again, or only say how things stand.
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    On,
    Off,
    Status,
}

/// Asks the server, and prints what it says. Fails if writes are left in flight, so that a script does not take a copy of
/// a store that still changes.
pub(crate) async fn switch(arguments: Switch) -> Result<()> {
    let Switch { remote, reason, timeout, state } = arguments;
    ensure!(reason.is_none() || state == State::On, "--reason: only \"on\" has one");
    let (method, body) = match state {
        State::Status => (Method::GET, Vec::new()),
        State::On | State::Off => {
            let asked = Asked { read_only: state == State::On, reason, timeout_seconds: timeout.as_secs() };
            (Method::PUT, serde_json::to_vec(&asked)?)
        }
    };
    let Reply { response, target, connection } =
        remote.send(method, READ_ONLY_PATH, body, timeout.as_std() + SLACK).await?;
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
    let in_flight = answer.writes_in_flight;
    ensure!(status != StatusCode::ACCEPTED, "{in_flight} writes that had begun before are still in flight");
    Ok(())
}
