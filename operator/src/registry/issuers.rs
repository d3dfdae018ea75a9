//! [client] A pod of a Registry, asked whether it has the keys of the issuers whose tokens are believed.
//!
//! A server answers `GET /debug/issuers` on its debug port, and goes on to fetch and read keys by itself: an issuer that is away
//! keeps out its own users alone, and a file of keys that is none leaves those of before, so this is told, and the Registry is
//! ready all the same.

use std::time::Duration;

use http::{StatusCode, Uri};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use super::reach;
use crate::{conditions::Wanted, probe};

/// The type of the condition.
pub const CONDITION: &str = "IssuersReachable";
/// How long a pod may take. It answers from memory.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The longest answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// How it stands with the keys of one issuer. Whoever reads it passes over fields that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// Where the keys are fetched, or the files that they are in.
    pub address: String,
    /// Why they could not be fetched or read last.
    #[serde(default)]
    pub problem: Option<String>,
    /// Whether they were there, and are none that can be used.
    #[serde(default)]
    pub unusable: bool,
}

#[derive(Deserialize)]
struct Answer {
    issuers: Vec<Standing>,
}

/// What a pod says; none if none says anything.
pub(super) async fn ask(pods: &[Pod]) -> Option<Vec<Standing>> {
    let asked = reach::chosen(pods).into_iter().find(|asked| asked.ready)?;
    let uri = Uri::builder().scheme("http").authority(asked.address.to_string()).path_and_query("/debug/issuers");
    let answer = tokio::time::timeout(PATIENCE, probe::get(uri.build().ok()?, MAX_ANSWER_BYTES)).await;
    match answer.ok()?.ok()? {
        (StatusCode::OK, body) => Some(serde_json::from_slice::<Answer>(&body).ok()?.issuers),
        _ => None,
    }
}

/// The condition `IssuersReachable`: unknown where no pod says anything.
#[must_use]
pub fn condition(standings: Option<&[Standing]>) -> Wanted {
    let (holds, reason, message) = match standings {
        None => (None, "NotAsked", "no pod has said yet whether it has the keys of the issuers".to_owned()),
        Some(standings) => {
            let problems: Vec<(&Standing, &str)> =
                standings.iter().filter_map(|standing| Some((standing, standing.problem.as_deref()?))).collect();
            match &problems[..] {
                [] => (Some(true), "Known", format!("the keys of {} issuers are known", standings.len())),
                [(standing, first), rest @ ..] => {
                    let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                    let reason = if standing.unusable { "KeysUnusable" } else { "NotFetched" };
                    (Some(false), reason, format!("{first}{more}"))
                }
            }
        }
    };
    Wanted { type_: CONDITION, holds, reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_say_is_told() {
        let at = |problem: Option<&str>, unusable| Standing {
            address: "https://a".into(),
            problem: problem.map(str::to_owned),
            unusable,
        };
        let standing = |problem| at(problem, false);
        for (standings, expected) in [
            (None, (None, "NotAsked", "no pod has said yet")),
            (Some(vec![standing(None)]), (Some(true), "Known", "the keys of 1 issuers are known")),
            (
                Some(vec![standing(None), standing(Some("cannot fetch x"))]),
                (Some(false), "NotFetched", "cannot fetch x"),
            ),
            (Some(vec![at(Some("no set"), true)]), (Some(false), "KeysUnusable", "no set")),
            (Some(vec![standing(Some("one")), standing(Some("two"))]), (Some(false), "NotFetched", "one (and 1 more)")),
        ] {
            let found = condition(standings.as_deref());
            assert_eq!((found.holds, found.reason.as_str()), (expected.0, expected.1));
            assert!(found.message.starts_with(expected.2), "{}", found.message);
        }
        let answer: Answer =
            serde_json::from_str(r#"{"issuers": [{"address": "https://a", "problem": null, "new": 1}]}"#).unwrap();
        assert_eq!(answer.issuers, [standing(None)]);
    }
}
