//! [pure] The Secrets and ConfigMaps that a spec names: whether a pod can start with them, and what to say if not.
//!
//! Whether what is in them is right is the server's to say: it reads the files, and goes on with the last that were.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::{
    auth, certificate,
    fetch::Observed,
    object_store,
    validate::{ObjectKind, ValidRegistry, ValidStorage},
};
use crate::conditions::Progress;

/// What was seen of a Secret or ConfigMap, and nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is none of that name.
    Absent,
    /// It does not have this key, or has nothing under it.
    Without(String),
    /// It has all that is wanted of it.
    Complete,
}

impl Seen {
    /// Looks for keys in a Secret.
    pub fn of_secret<'a>(secret: Option<&Secret>, keys: impl IntoIterator<Item = &'a str>) -> Self {
        let Some(secret) = secret else { return Self::Absent };
        let data = secret.data.as_ref();
        first_missing(keys, |key| data.and_then(|data| data.get(key)).is_some_and(|text| !text.0.is_empty()))
    }

    /// Looks for a key in a ConfigMap.
    #[must_use]
    pub fn of_config_map(config_map: Option<&ConfigMap>, key: &str) -> Self {
        let Some(ConfigMap { data, binary_data, .. }) = config_map else { return Self::Absent };
        first_missing([key], |key| {
            let text = data.as_ref().and_then(|data| data.get(key)).is_some_and(|text| !text.is_empty());
            text || binary_data.as_ref().and_then(|data| data.get(key)).is_some_and(|bytes| !bytes.0.is_empty())
        })
    }

    /// What keeps a pod from starting with what has this name, if anything does. `field` is where the spec names it, and
    /// `remedy` says how it comes to be.
    ///
    /// # Errors
    /// [`Unusable`], which says what to do.
    pub(super) fn check(&self, kind: ObjectKind, name: &str, field: &str, remedy: &Remedy<'_>) -> Result<(), Unusable> {
        let kind_name = kind.as_str();
        let (problem, message) = match self {
            Self::Complete => return Ok(()),
            Self::Absent => {
                ("NotFound", format!("{field}: there is no {kind_name} {name} in this namespace: {}", remedy.if_absent))
            }
            Self::Without(key) => {
                ("Incomplete", format!("{field}: {kind_name} {name} has no {key}: {}", remedy.if_incomplete))
            }
        };
        Err(Unusable { reason: format!("{kind_name}{problem}"), message })
    }
}

/// Whether a reason is that something is missing.
pub(super) fn is_missing(reason: &str) -> bool {
    let problem =
        [ObjectKind::Secret, ObjectKind::ConfigMap].iter().find_map(|kind| reason.strip_prefix(kind.as_str()));
    matches!(problem, Some("NotFound" | "Incomplete"))
}

/// How what is missing comes to be there.
pub(super) struct Remedy<'a> {
    pub(super) if_absent: &'a str,
    pub(super) if_incomplete: &'a str,
}

fn first_missing<'a>(keys: impl IntoIterator<Item = &'a str>, has: impl Fn(&str) -> bool) -> Seen {
    match keys.into_iter().find(|key| !has(key)) {
        Some(key) => Seen::Without(key.to_owned()),
        None => Seen::Complete,
    }
}

/// Why a Secret or ConfigMap cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unusable {
    /// A word for it.
    pub reason: String,
    /// A sentence that says what to do.
    pub message: String,
}

impl Unusable {
    /// What it means for the Registry.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::stalled(&*self.reason, &self.message)
    }
}

/// Whether a Registry's pods can start with what its spec names, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The certificate of the registry's own port; fine where there is to be none.
    pub certificate: Result<(), Unusable>,
    /// Credentials and authorities of the object store; fine where there are to be none.
    pub storage: Result<(), Unusable>,
    /// What `spec.auth` names; fine where it names nothing.
    pub auth: Result<(), Unusable>,
}

impl Sources {
    /// Checks all of them.
    #[must_use]
    pub fn of(registry: &ValidRegistry, observed: &Observed) -> Self {
        let certificate = match (&registry.tls, &observed.certificate) {
            (Some(tls), Some(seen)) => certificate::check(tls, seen),
            _ => Ok(()),
        };
        let storage = match &registry.storage {
            ValidStorage::Object(store) => object_store::check(store, observed),
            _ => Ok(()),
        };
        let auth = registry.auth.as_ref().map_or(Ok(()), |auth| auth::check(auth, &observed.auth));
        Self { certificate, storage, auth }
    }

    /// The first that cannot be used.
    #[must_use]
    pub fn missing(&self) -> Option<&Unusable> {
        let Self { certificate, storage, auth } = self;
        [certificate, storage, auth].into_iter().find_map(|checked| checked.as_ref().err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(content: &Value) -> Option<Secret> {
        (!content.is_null()).then(|| serde_json::from_value(content.clone()).unwrap())
    }

    #[test]
    fn what_is_missing_is_seen() {
        let without = |key: &str| Seen::Without(key.into());
        for (content, expected) in [
            (json!(null), Seen::Absent),
            (json!({}), without("a")),
            (json!({"data": {"a": "YQ=="}}), without("b")),
            (json!({"data": {"a": "YQ==", "b": ""}}), without("b")),
            (json!({"data": {"a": "YQ==", "b": "YQ==", "c": ""}}), Seen::Complete),
        ] {
            assert_eq!(Seen::of_secret(secret(&content).as_ref(), ["a", "b"]), expected, "{content}");
        }
        for (content, expected) in [
            (json!(null), Seen::Absent),
            (json!({"data": {"a": ""}}), without("a")),
            (json!({"data": {"a": "x"}}), Seen::Complete),
            (json!({"binaryData": {"a": "YQ=="}}), Seen::Complete),
        ] {
            let found = (!content.is_null()).then(|| serde_json::from_value(content.clone()).unwrap());
            assert_eq!(Seen::of_config_map(found.as_ref(), "a"), expected, "{content}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let remedy = Remedy { if_absent: "create it", if_incomplete: "add it" };
        let check = |seen: &Seen, kind| seen.check(kind, "s3", "spec.x", &remedy).map_err(|e| (e.reason, e.message));
        assert_eq!(check(&Seen::Complete, ObjectKind::Secret), Ok(()));
        let absent =
            ("SecretNotFound".to_owned(), "spec.x: there is no Secret s3 in this namespace: create it".to_owned());
        assert_eq!(check(&Seen::Absent, ObjectKind::Secret), Err(absent));
        let incomplete = ("ConfigMapIncomplete".to_owned(), "spec.x: ConfigMap s3 has no ca.crt: add it".to_owned());
        assert_eq!(check(&Seen::Without("ca.crt".into()), ObjectKind::ConfigMap), Err(incomplete));
        for seen in [Seen::Absent, Seen::Without("a".into())] {
            let (reason, _) = check(&seen, ObjectKind::Secret).unwrap_err();
            assert!(is_missing(&reason), "{reason}");
        }
        assert!(!is_missing("NotFound"), "a store may say this");
    }
}
