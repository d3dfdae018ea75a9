//! `POST /admin/v1/gc`: a collection in the running server, for whoever holds the token.
//!
//! The answer is a line of JSON for every step, and last the report or an error. A client that goes away does not end the
//! collection; another request is refused until it has ended.

use std::sync::Arc;
use std::time::Duration;

use berth_storage::StoreError;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::gc::{self, Listener, Options, Progress, Report, Run};
use crate::http::{Body, answer};
use crate::registry::Registry;

use super::{Admin, Refused};

/// How many steps wait for a slow client before some are left out.
const QUEUED_STEPS: usize = 64;
/// How long nothing is said at most.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What a collection is asked to do, over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) delete_untagged: bool,
    #[serde(default = "one_hour")]
    pub(crate) grace_period_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_seconds: Option<u64>,
}

fn one_hour() -> u64 {
    3600
}

/// One line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    /// How far the collection has come.
    Progress(serde_json::Value),
    /// What it did: the last line.
    Report(Report),
    /// Why it did not: the last line.
    Error(Refusal),
}

/// Why a collection did not run, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Runs the collection that a request asks for.
///
/// # Errors
/// When the request is none, or a collection is running.
pub(super) async fn collect(admin: &Admin, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let asked: Asked = super::read(request).await?;
    let run = admin.registry.guard.begin_run();
    let run = run.ok_or_else(|| Refused {
        status: StatusCode::CONFLICT,
        code: "ALREADY_RUNNING",
        message: "a collection is running".to_owned(),
    })?;
    let grace = Duration::from_secs(asked.grace_period_seconds);
    let timeout = asked.timeout_seconds.map(Duration::from_secs);
    let options = Options { dry_run: asked.dry_run, delete_untagged: asked.delete_untagged, grace, timeout };
    Ok(stream_collection(admin.registry.clone(), options, run))
}

fn stream_collection(registry: Arc<Registry>, options: Options, run: Run) -> Response<Body> {
    let (steps, following) = mpsc::channel(QUEUED_STEPS);
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let outcome = gc::collect(&registry, &run, options, &Listener::new(steps)).await;
        // The run ends before the client is told, so that it may ask for another one at once.
        drop(run);
        let _ = end.send(outcome);
    });
    let steps = with_heartbeat(following, HEARTBEAT).map(|progress| Line::Progress(json!(progress)));
    let last = stream::once(async move {
        match ended.await {
            Ok(Ok(report)) => Line::Report(report),
            Ok(Err(error)) => Line::Error(refusal(&error)),
            Err(_) => Line::Error(Refusal { code: "STOPPED".into(), message: "the collection was stopped".into() }),
        }
    });
    let mut response = answer::empty(StatusCode::OK);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    answer::set(&mut response, header::CONTENT_TYPE, "application/x-ndjson");
    *response.body_mut() = answer::lines(steps.chain(last).map(|line| to_bytes(&line)));
    response
}

/// Every step, and where there is none for a while the last one again: a client takes silence for a server that is gone.
fn with_heartbeat(following: mpsc::Receiver<Progress>, every: Duration) -> impl Stream<Item = Progress> {
    let none_yet = Progress { phase: gc::Phase::List, done: 0, total: 0 };
    stream::unfold((following, none_yet), move |(mut following, last)| async move {
        let step = match tokio::time::timeout(every, following.recv()).await {
            Ok(step) => step?,
            Err(_) => last,
        };
        Some((step, (following, step)))
    })
}

fn refusal(error: &Error) -> Refusal {
    tracing::error!(%error, "garbage collection failed");
    let code = if matches!(error, Error::Store(StoreError::Locked { .. })) { "IN_USE" } else { "STORE" };
    Refusal { code: code.into(), message: error.to_string() }
}

fn to_bytes(line: &Line) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_contract() {
        let progress = gc::Progress { phase: gc::Phase::Mark, done: 3, total: 10 };
        let line = to_bytes(&Line::Progress(json!(progress)));
        assert_eq!(line, "{\"progress\":{\"done\":3,\"phase\":\"mark\",\"total\":10}}\n");
        let line = to_bytes(&Line::Error(Refusal { code: "STORE".into(), message: "gone".into() }));
        assert_eq!(line, "{\"error\":{\"code\":\"STORE\",\"message\":\"gone\"}}\n");
    }

    #[tokio::test]
    async fn a_collection_that_takes_long_is_heard_of() {
        let (steps, following) = mpsc::channel(1);
        let mut heard = std::pin::pin!(with_heartbeat(following, Duration::from_millis(1)));
        let nothing = gc::Progress { phase: gc::Phase::List, done: 0, total: 0 };
        assert_eq!(heard.next().await, Some(nothing));
        let step = gc::Progress { phase: gc::Phase::Sweep, done: 1, total: 2 };
        steps.send(step).await.unwrap();
        assert_eq!((heard.next().await, heard.next().await), (Some(step), Some(step)));
        drop(steps);
        assert_eq!(heard.next().await, None);
    }

    #[test]
    fn what_is_not_said_has_a_careful_default() {
        let asked: Asked = serde_json::from_str("{}").unwrap();
        let careful =
            Asked { dry_run: false, delete_untagged: false, grace_period_seconds: 3600, timeout_seconds: None };
        assert_eq!(asked, careful);
        assert!(serde_json::from_str::<Asked>("{\"dryrun\": true}").is_err(), "a typing error must not delete");
    }
}
