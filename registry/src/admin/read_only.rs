//! `/admin/v1/read-only`: a registry takes no writes, and takes them again, without a restart.
//!
//! The switch counts for this process, until it ends: the next one begins as its configuration says. Writes are refused
//! from the moment of the switch; its answer comes when those that had been admitted have ended, or when the caller's
//! patience has, and then says how many are left.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::gate::Standing;
use crate::http::{Body, answer};

use super::{Admin, Refused};

/// The most that a caller may wait for writes in flight, in seconds.
const MAX_TIMEOUT_SECONDS: u64 = 3600;
/// The longest reason in characters: every refused write repeats it.
const MAX_REASON_CHARACTERS: usize = 200;
/// How long the locks of a store may take that was opened to only read.
const PREPARING: Duration = Duration::from_secs(30);
/// The reason where none is given.
const NO_REASON: &str = "an administrator has switched writing off";

/// What is asked of the switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) read_only: bool,
    /// Told to every client whose write is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// How long to wait for writes in flight.
    #[serde(default = "thirty_seconds")]
    pub(crate) timeout_seconds: u64,
}

fn thirty_seconds() -> u64 {
    30
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// How many writes were admitted and have not ended.
    pub(crate) writes_in_flight: usize,
}

impl From<Standing> for Answer {
    fn from(standing: Standing) -> Self {
        let Standing { closed, writing } = standing;
        Answer { read_only: closed.is_some(), reason: closed, writes_in_flight: writing }
    }
}

/// Checks what is asked; pure.
fn check(asked: &Asked) -> Result<(), String> {
    if asked.timeout_seconds > MAX_TIMEOUT_SECONDS {
        return Err(format!("timeoutSeconds: {} is more than {MAX_TIMEOUT_SECONDS}", asked.timeout_seconds));
    }
    let Some(reason) = &asked.reason else { return Ok(()) };
    if !asked.read_only {
        return Err("reason: only who makes a registry read-only gives a reason".to_owned());
    }
    if reason.trim().is_empty() || reason.chars().count() > MAX_REASON_CHARACTERS {
        return Err(format!("reason: it has {} characters, not 1 to {MAX_REASON_CHARACTERS}", reason.chars().count()));
    }
    if reason.chars().any(char::is_control) {
        return Err("reason: it holds a control character".to_owned());
    }
    Ok(())
}

/// Says how things stand.
pub(super) fn standing(admin: &Admin, head: bool) -> Response<Body> {
    json(StatusCode::OK, admin.registry.gate.standing(), head)
}

/// Does what is asked.
///
/// # Errors
/// When the request is none, or the store cannot be written.
pub(super) async fn switch(admin: &Admin, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let asked: Asked = super::read(request).await?;
    check(&asked).map_err(Refused::bad_request)?;
    if !asked.read_only {
        return open(admin).await;
    }
    let reason = asked.reason.unwrap_or_else(|| NO_REASON.to_owned());
    admin.registry.gate.close(reason.clone());
    tracing::warn!(reason, "the registry is read-only");
    let standing = admin.registry.gate.drained(Duration::from_secs(asked.timeout_seconds)).await;
    let writes_in_flight = standing.writing;
    if standing.closed.is_none() || writes_in_flight == 0 {
        return Ok(json(StatusCode::OK, standing, false));
    }
    tracing::warn!(writes_in_flight, "writes that began before the registry became read-only are still being done");
    Ok(json(StatusCode::ACCEPTED, standing, false))
}

async fn open(admin: &Admin) -> Result<Response<Body>, Refused> {
    let refused = |message: String| {
        tracing::error!(message, "the registry stays read-only");
        Refused { status: StatusCode::SERVICE_UNAVAILABLE, code: "NOT_WRITABLE", message }
    };
    admin.registry.open_gate(PREPARING).await.map_err(refused)?;
    Ok(json(StatusCode::OK, admin.registry.gate.standing(), false))
}

fn json(status: StatusCode, standing: Standing, head: bool) -> Response<Body> {
    answer::json(status, serde_json::json!(Answer::from(standing)).to_string().into(), head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked() {
        fn is_valid(text: &str) -> Result<(), String> {
            check(&serde_json::from_str(text).map_err(|error| error.to_string())?)
        }
        for valid in [
            "{\"readOnly\": true}",
            "{\"readOnly\": false}",
            "{\"readOnly\": true, \"reason\": \"a backup\", \"timeoutSeconds\": 0}",
        ] {
            assert_eq!(is_valid(valid), Ok(()), "{valid}");
        }
        for (invalid, said) in [
            ("{}", "readOnly"),
            ("{\"readonly\": true}", "readonly"),
            ("{\"readOnly\": true, \"timeoutSeconds\": 3601}", "timeoutSeconds"),
            ("{\"readOnly\": true, \"reason\": \" \"}", "reason"),
            ("{\"readOnly\": true, \"reason\": \"a\\nb\"}", "control character"),
            ("{\"readOnly\": false, \"reason\": \"a backup\"}", "reason"),
        ] {
            let refused = is_valid(invalid).unwrap_err();
            assert!(refused.contains(said), "{invalid}: {refused}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_contract() {
        let closed = Answer::from(Standing { closed: Some("a backup".to_owned()), writing: 2 });
        let text = serde_json::to_string(&closed).unwrap();
        assert_eq!(text, "{\"readOnly\":true,\"reason\":\"a backup\",\"writesInFlight\":2}");
        let open = serde_json::to_string(&Answer::from(Standing { closed: None, writing: 0 })).unwrap();
        assert_eq!(open, "{\"readOnly\":false,\"writesInFlight\":0}");
    }
}
