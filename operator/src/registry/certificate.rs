//! [pure] The Secret with the certificate of a registry: whether a pod can start with it, and what to say if not.
//!
//! Whether the certificate is right for its key or its host is the server's to say: it reads the files, and goes on with
//! the last pair that was.

use super::{
    source::{Remedy, Seen, Unusable},
    validate::{ObjectKind, ValidTls},
};
use crate::conditions::Wanted;

/// Checks that pods can start with the Secret that holds the certificate.
///
/// # Errors
/// [`Unusable`], which says what to do.
pub fn check(tls: &ValidTls, seen: &Seen) -> Result<(), Unusable> {
    let secret = &tls.secret;
    let if_absent =
        format!("create it with kubectl create secret tls {secret} --cert=FILE --key=FILE, or let cert-manager");
    let remedy = Remedy { if_absent: &if_absent, if_incomplete: "it must be of the type kubernetes.io/tls" };
    seen.check(ObjectKind::Secret, secret, "spec.tls.secretRef", &remedy)
}

/// The condition `CertificateReady`, for a Secret of this name.
#[must_use]
pub fn condition(secret: &str, checked: &Result<(), Unusable>) -> Wanted {
    let (holds, reason, message) = match checked {
        Ok(()) => (true, "SecretFound", format!("Secret {secret} has a certificate and its key")),
        Err(Unusable { reason, message }) => (false, reason.as_str(), message.clone()),
    };
    Wanted { type_: "CertificateReady", holds: Some(holds), reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;
    use berth_crds::TlsVersion;
    use k8s_openapi::api::core::v1::Secret;
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
            let tls = ValidTls { secret: "main-tls".into(), min_version: TlsVersion::default() };
            let seen = Seen::of_secret(secret.as_ref(), names::TLS_KEYS);
            let found = condition("main-tls", &check(&tls, &seen));
            assert_eq!((found.reason.as_str(), found.holds), (reason, Some(reason == "SecretFound")));
            assert!(found.message.contains(part), "{}", found.message);
        }
    }
}
