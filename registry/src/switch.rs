//! `read-only`: makes a running registry read-only, and writable again, through its admin route.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};

use crate::admin::READ_ONLY_PATH;
use crate::admin::read_only::{Answer, Asked};
use crate::remote::Remote;

/// How long the server may take beyond what it was asked to wait for.
const SLACK: Duration = Duration::from_secs(60);

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
    let reply = remote.send(method, READ_ONLY_PATH, body, timeout.as_std() + SLACK).await?;
    let (status, answer) = reply.read::<Answer>().await?;
    println!("{}", serde_json::to_string(&answer)?);
    let in_flight = answer.writes_in_flight;
    ensure!(status != StatusCode::ACCEPTED, "{in_flight} writes that had begun before are still in flight");
    Ok(())
}
