//! [pure] The Secret with the certificate of a registry: whether a pod can start with it, and what to say if not.
//!
//! Whether the certificate is right for its key or its host is the server's to say: it reads the files, and goes on with
//! the last pair that was.

use k8s_openapi::api::core::v1::Secret;

use crate::{
    conditions::{Progress, Wanted},
    names,
};

/// What was seen of the Secret, and nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// There is no such Secret.
    Absent,
    /// It does not have this key, or has nothing under it.
    Incomplete(&'static str),
    /// It has both keys.
    Present,
}

impl Certificate {
    /// Looks at a Secret.
    #[must_use]
    pub fn of(secret: Option<&Secret>) -> Self {
        let Some(secret) = secret else { return Self::Absent };
        let has =
            |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).is_some_and(|text| !text.0.is_empty());
        names::TLS_KEYS.into_iter().find(|key| !has(key)).map_or(Self::Present, Self::Incomplete)
    }

    /// What keeps a pod from starting with the Secret of this name, if anything does.
    ///
    /// # Errors
    /// [`Unusable`], which says what to do.
    pub fn check(self, secret: &str) -> Result<(), Unusable> {
        let (reason, message) = match self {
            Self::Present => return Ok(()),
            Self::Absent => (
                "SecretNotFound",
                format!(
                    "spec.tls.secretRef: there is no Secret {secret} in this namespace: create it with kubectl create \
                     secret tls {secret} --cert=FILE --key=FILE, or let cert-manager"
                ),
            ),
            Self::Incomplete(key) => (
                "SecretIncomplete",
                format!("spec.tls.secretRef: Secret {secret} has no {key}: it must be of the type kubernetes.io/tls"),
            ),
        };
        Err(Unusable { reason, message })
    }
}

/// Why a Secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unusable {
    /// A word for it.
    pub reason: &'static str,
    /// A sentence that says what to do.
    pub message: String,
}

impl Unusable {
    /// What it means for the Registry.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::stalled(self.reason, &self.message)
    }
}

/// The condition `CertificateReady`, for a Secret of this name.
#[must_use]
pub fn condition(secret: &str, checked: &Result<(), Unusable>) -> Wanted {
    let (holds, reason, message) = match checked {
        Ok(()) => (true, "SecretFound", format!("Secret {secret} has a certificate and its key")),
        Err(Unusable { reason, message }) => (false, *reason, message.clone()),
    };
    Wanted { type_: "CertificateReady", holds: Some(holds), reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_missing_is_named() {
        for (secret, reason, part) in [
            (json!(null), "SecretNotFound", "there is no Secret main-tls in this namespace: create it"),
            (json!({}), "SecretIncomplete", "Secret main-tls has no tls.crt"),
            (json!({"data": {"tls.crt": "YQ=="}}), "SecretIncomplete", "Secret main-tls has no tls.key"),
            (json!({"data": {"tls.crt": "YQ==", "tls.key": ""}}), "SecretIncomplete", "Secret main-tls has no tls.key"),
            (json!({"data": {"tls.crt": "YQ==", "tls.key": "YQ=="}}), "SecretFound", "has a certificate and its key"),
        ] {
            let secret = (secret != Value::Null).then(|| serde_json::from_value::<Secret>(secret).unwrap());
            let found = condition("main-tls", &Certificate::of(secret.as_ref()).check("main-tls"));
            assert_eq!((found.reason.as_str(), found.holds), (reason, Some(reason == "SecretFound")));
            assert!(found.message.contains(part), "{}", found.message);
        }
    }
}
