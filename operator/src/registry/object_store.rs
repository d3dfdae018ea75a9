//! [pure] The object store of a registry: whether pods can start with what it needs, and what they say of it.
//!
//! Nobody but the server speaks to the store, so nothing is guessed here: the pods are asked (`reach`), and their answers
//! become the condition `StorageReachable`.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    fetch::Observed,
    reach::{Answer, Told},
    source::{self, Remedy, Unusable},
    validate::{ObjectKind, ValidCa, ValidCredentials, ValidObjectStore, ValidRegistry},
};
use crate::conditions::{self, Wanted};

/// The type of the condition.
pub const CONDITION: &str = "StorageReachable";
/// The reason where no pod has answered.
const NO_ANSWER: &str = "NoAnswer";

/// The most of a server's message that is kept, in bytes: what follows it, the name of a Secret, must not be cut.
const MAX_TOLD_BYTES: usize = 600;

/// Checks that pods can start with the Secrets and ConfigMaps that the store needs.
///
/// # Errors
/// [`Unusable`], which says what to do.
pub fn check(store: &ValidObjectStore, observed: &Observed) -> Result<(), Unusable> {
    if let (ValidCredentials::Secret(secret), Some(seen)) = (&store.credentials, &observed.storage_secret) {
        let if_absent = format!("create it with {}", keys_in_words(&secret.required));
        let remedy = Remedy { if_absent: &if_absent, if_incomplete: "add it" };
        seen.check(ObjectKind::Secret, &secret.name, &secret.field, &remedy)?;
    }
    if let (Some(ValidCa { kind, name, key }), Some(seen)) = (&store.ca, &observed.storage_ca) {
        let field = format!("spec.storage.{}.ca", store.driver.name());
        let if_absent = format!("create it with {}", keys_in_words(&[key]));
        let remedy = Remedy { if_absent: &if_absent, if_incomplete: "add it, with certificates in PEM" };
        seen.check(*kind, name, &field, &remedy)?;
    }
    Ok(())
}

/// `the key a`, or `the keys a and b`.
fn keys_in_words(keys: &[impl AsRef<str>]) -> String {
    let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
    match keys.as_slice() {
        [one] => format!("the key {one}"),
        several => format!("the keys {}", several.join(" and ")),
    }
}

/// What is known of whether the pods reach their store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every pod that answered does.
    Reached {
        /// A sentence for people.
        message: String,
    },
    /// One does not, or none can start.
    Unreached {
        /// A word for it: the server's own where it has one.
        reason: String,
        /// A sentence that says what to do, or what the store says.
        message: String,
        /// Whether it may pass by itself.
        transient: bool,
    },
    /// Nobody can tell.
    Unknown {
        /// A word for why.
        reason: String,
        /// A sentence for people.
        message: String,
    },
}

impl Reach {
    /// What is known after a check of what the store needs, and of what the pods answered.
    #[must_use]
    pub fn of(
        registry: &ValidRegistry,
        store: &ValidObjectStore,
        checked: &Result<(), Unusable>,
        answers: &[Answer],
    ) -> Self {
        if let Err(Unusable { reason, message }) = checked {
            return Self::Unreached { reason: reason.clone(), message: message.clone(), transient: false };
        }
        let place = store.place();
        let told = || answers.iter().filter_map(|answer| answer.told.as_ref().ok());
        // What does not pass by itself needs somebody, so it is said first.
        if let Some(told) = told().filter(|told| !told.reachable).min_by_key(|told| told.transient) {
            let (reason, message) = (reason_of(told), complaint(registry, store, told));
            return Self::Unreached { reason, message, transient: told.transient };
        }
        if told().next().is_some() {
            return Self::Reached { message: format!("{place} is reached") };
        }
        let silence = answers.iter().find_map(|answer| Some((&answer.pod, answer.told.as_ref().err()?)));
        match silence {
            _ if registry.replicas == 0 => Self::Unknown {
                reason: "Stopped".into(),
                message: format!("spec.replicas is 0: there is no pod to ask whether it reaches {place}"),
            },
            None => Self::Unknown {
                reason: NO_ANSWER.into(),
                message: format!("there is no pod yet that could tell whether it reaches {place}"),
            },
            Some((pod, silence)) => Self::Unknown {
                reason: NO_ANSWER.into(),
                message: format!("pod {pod} does not tell whether it reaches {place}: {silence}"),
            },
        }
    }

    /// What is known while the pods are still asked: what they said of the same spec before. That something was missing says
    /// nothing of now, when it is there.
    #[must_use]
    pub fn before(store: &ValidObjectStore, previous: &[Condition], generation: Option<i64>) -> Self {
        let known = conditions::find(previous, CONDITION)
            .filter(|known| known.observed_generation == generation && !source::is_missing(&known.reason));
        let Some(Condition { status, reason, message, .. }) = known.cloned() else {
            let message = format!("the pods are asked whether they reach {}, and have not answered yet", store.place());
            return Self::Unknown { reason: NO_ANSWER.into(), message };
        };
        match status.as_str() {
            "True" => Self::Reached { message },
            "False" => {
                let stalled = conditions::find(previous, "Stalled").is_some_and(|stalled| stalled.reason == reason);
                Self::Unreached { reason, message, transient: !stalled }
            }
            _ => Self::Unknown { reason, message },
        }
    }

    /// The same, in the words of before where only numbers and times are others: a store names each request, and that is
    /// no news. What the spec has changed since is.
    #[must_use]
    pub fn steady(mut self, previous: &[Condition], generation: Option<i64>) -> Self {
        let Self::Unreached { reason, message, .. } = &mut self else { return self };
        let before = conditions::find(previous, CONDITION).filter(|before| {
            before.status == "False" && before.reason == *reason && before.observed_generation == generation
        });
        if let Some(before) = before.filter(|before| conditions::same_but_for_numbers(&before.message, message)) {
            message.clone_from(&before.message);
        }
        self
    }

    /// The condition that says it.
    #[must_use]
    pub fn condition(&self) -> Wanted {
        let (holds, reason, message) = match self {
            Self::Reached { message } => (Some(true), "Reachable", message),
            Self::Unreached { reason, message, transient: _ } => (Some(false), reason.as_str(), message),
            Self::Unknown { reason, message } => (None, reason.as_str(), message),
        };
        Wanted { type_: CONDITION, holds, reason: reason.to_owned(), message: message.clone() }
    }
}

/// The server's word for it, if it can be that of a condition.
fn reason_of(told: &Told) -> String {
    const MAX_REASON_BYTES: usize = 64;
    let is_reason = |text: &&str| {
        text.len() <= MAX_REASON_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    told.reason.as_deref().filter(is_reason).unwrap_or("Unreachable").to_owned()
}

/// What the store says, where, and whose credentials it says it to.
fn complaint(registry: &ValidRegistry, store: &ValidObjectStore, told: &Told) -> String {
    let place = store.place();
    let said = told.message.as_deref().unwrap_or("it cannot be reached, and the pod does not say why");
    // A server's message begins with the place as it writes it, which is said already.
    let named = told.place.iter().map(String::as_str).chain([place.as_str()]);
    let said = named.filter_map(|name| said.strip_prefix(name)?.strip_prefix(": ")).next().unwrap_or(said);
    // One line, whatever the store sent.
    let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let said = match said.len() {
        0..=MAX_TOLD_BYTES => said,
        _ => format!("{}…", &said[..said.floor_char_boundary(MAX_TOLD_BYTES)]),
    };
    let mut message = format!("{place}: {said}");
    if let Some(secret) = store.secret() {
        let _ = write!(message, " (credentials from Secret {}/{})", registry.namespace, secret.name);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, registry::reach::Silence, registry::validate::validate};
    use serde_json::{Value, json};

    fn registry(replicas: i32, credentials: &Value) -> ValidRegistry {
        let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "namespace": "apps"}, "spec": {"replicas": replicas, "storage": {"s3": {
                "bucket": "acme-images", "region": "eu-central-1", "credentials": credentials}}}}))
        .unwrap();
        validate(&registry, &Settings::default()).unwrap()
    }

    fn told(reachable: bool, reason: &str, message: &str) -> Answer {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Answer {
            pod: "main-1".into(),
            told: Ok(Told {
                place: Some("s3://acme-images/".into()),
                reachable,
                reason: text(reason),
                message: text(message),
                transient: false,
            }),
        }
    }

    fn passing(reason: &str, message: &str) -> Answer {
        let mut answer = told(false, reason, message);
        answer.told.iter_mut().for_each(|told| told.transient = true);
        answer
    }

    /// One look that failed is no reason to call for help, and a refusal is one beside any number of those.
    #[test]
    fn what_may_pass_is_told_apart() {
        let registry = registry(2, &json!({"workloadIdentity": {}}));
        let store = registry.storage.object_store().unwrap();
        let of = |answers: &[Answer]| Reach::of(&registry, store, &Ok(()), answers);
        let unreached = |reason: &str, message: &str, transient| Reach::Unreached {
            reason: reason.into(),
            message: format!("s3://acme-images: {message}"),
            transient,
        };
        let (busy, denied) = (passing("SlowDown", "slow down"), told(false, "AccessDenied", "no"));
        assert_eq!(of(&[told(true, "", ""), busy]), unreached("SlowDown", "slow down", true));
        let busy = passing("SlowDown", "slow down");
        assert_eq!(of(&[busy, denied]), unreached("AccessDenied", "no", false));
    }

    #[test]
    fn what_was_said_holds_until_the_next_answer() {
        let registry = registry(1, &json!({"workloadIdentity": {}}));
        let store = registry.storage.object_store().unwrap();
        let known = |status: &str, reason: &str, beside: &str| -> Vec<Condition> {
            let condition = |type_: &str, status: &str| {
                json!({"type": type_, "status": status, "reason": reason, "message": "m", "observedGeneration": 4,
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            };
            serde_json::from_value(json!([condition(CONDITION, status), condition(beside, "True")])).unwrap()
        };
        let message = || "m".to_owned();
        let unreached =
            |reason: &str, transient| Reach::Unreached { reason: reason.into(), message: message(), transient };
        let unknown = Reach::Unknown {
            reason: "NoAnswer".into(),
            message: "the pods are asked whether they reach s3://acme-images, and have not answered yet".into(),
        };
        for (previous, generation, expected) in [
            (known("True", "Reachable", "Ready"), 4, Reach::Reached { message: message() }),
            (known("True", "Reachable", "Ready"), 5, unknown.clone()),
            (known("False", "AccessDenied", "Stalled"), 4, unreached("AccessDenied", false)),
            (known("False", "SlowDown", "Reconciling"), 4, unreached("SlowDown", true)),
            (known("False", "SecretNotFound", "Stalled"), 4, unknown.clone()),
            (
                known("Unknown", "NoAnswer", "Ready"),
                4,
                Reach::Unknown { reason: "NoAnswer".into(), message: message() },
            ),
            (Vec::new(), 4, unknown.clone()),
        ] {
            assert_eq!(Reach::before(store, &previous, Some(generation)), expected, "{previous:?}");
        }
    }

    #[test]
    fn the_number_of_a_request_is_no_news() {
        let known = |message: &str, generation: i64| -> Vec<Condition> {
            serde_json::from_value(json!([{"type": "StorageReachable", "status": "False", "reason": "X",
                "message": message, "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"}]))
            .unwrap()
        };
        let now = |reason: &str| Reach::Unreached {
            reason: reason.into(),
            message: "no: request 8f2a at 10:00:05".into(),
            transient: false,
        };
        let said = |known: &[Condition], reason: &str| now(reason).steady(known, Some(4)).condition().message;
        let (old, new) = ("no: request 17bc at 10:00:00", "no: request 8f2a at 10:00:05");
        assert_eq!(said(&known(old, 4), "X"), old);
        assert_eq!(said(&known(old, 3), "X"), new, "the spec may name another Secret");
        assert_eq!(said(&known(old, 4), "Y"), new);
        assert_eq!(said(&known("gone: request 17bc at 10:00:00", 4), "X"), new);
        assert_eq!(said(&[], "X"), new);
    }

    #[test]
    fn what_pods_say_becomes_the_condition() {
        let secret = json!({"secretRef": {"name": "s3"}});
        let silent = || Answer { pod: "main-2".into(), told: Err(Silence::Timeout) };
        let long = "é".repeat(1000);
        for (replicas, credentials, answers, expected) in [
            (1, &secret, vec![told(true, "", "")], (Some(true), "Reachable", "s3://acme-images is reached")),
            (2, &secret, vec![silent(), told(true, "", "")], (Some(true), "Reachable", "s3://acme-images is reached")),
            (
                2,
                &secret,
                vec![
                    told(true, "", ""),
                    told(false, "AccessDenied", "s3://acme-images/: the server says: Access Denied"),
                ],
                (
                    Some(false),
                    "AccessDenied",
                    "s3://acme-images: the server says: Access Denied (credentials from Secret apps/s3)",
                ),
            ),
            (
                1,
                &json!({"workloadIdentity": {}}),
                vec![told(false, "no such\nbucket", "s3://acme-images: no\nbucket")],
                (Some(false), "Unreachable", "s3://acme-images: no bucket"),
            ),
            (
                1,
                &json!({"workloadIdentity": {}}),
                vec![told(false, "", "")],
                (Some(false), "Unreachable", "s3://acme-images: it cannot be reached, and the pod does not say why"),
            ),
            (
                1,
                &secret,
                vec![told(false, "Timeout", &long)],
                (Some(false), "Timeout", "(credentials from Secret apps/s3)"),
            ),
            (1, &secret, vec![], (None, "NoAnswer", "there is no pod yet that could tell whether it reaches s3://")),
            (
                1,
                &secret,
                vec![silent()],
                (None, "NoAnswer", "pod main-2 does not tell whether it reaches s3://acme-images: "),
            ),
            (0, &secret, vec![silent()], (None, "Stopped", "spec.replicas is 0: there is no pod to ask")),
        ] {
            let registry = registry(replicas, credentials);
            let store = registry.storage.object_store().unwrap();
            let found = Reach::of(&registry, store, &Ok(()), &answers).condition();
            let (holds, reason, message) = expected;
            assert_eq!((found.holds, found.reason.as_str()), (holds, reason), "{found:?}");
            assert!(found.message.contains(message) && found.message.len() < 800, "{found:?}");
        }
    }

    #[test]
    fn what_is_missing_comes_first() {
        let registry = registry(1, &json!({"secretRef": {"name": "s3"}}));
        let store = registry.storage.object_store().unwrap();
        let missing = Unusable { reason: "SecretNotFound".into(), message: "there is no Secret s3".into() };
        let found = Reach::of(&registry, store, &Err(missing.clone()), &[told(true, "", "")]).condition();
        assert_eq!((found.holds, &found.reason, &found.message), (Some(false), &missing.reason, &missing.message));
    }

    #[test]
    fn keys_are_named_together() {
        assert_eq!(keys_in_words(&["a"]), "the key a");
        assert_eq!(keys_in_words(&["a", "b"]), "the keys a and b");
    }
}
