//! [pure] The Secrets and ConfigMaps that `spec.auth` names: whether pods can start with them, and what to say if not.
//!
//! Whether what is in them is right is the server's to say: it reads the files again when they change, and lets nobody in by one
//! that it cannot read.

use super::{
    source::{Remedy, Seen, Unusable},
    validate::{ObjectKind, ValidAuth, ValidFile},
};
use crate::{conditions::Wanted, names};

/// The type of the condition.
pub const CONDITION: &str = "AuthReady";

/// Checks that pods can start with what is named. What was seen is in the order of [`ValidAuth::files`].
///
/// # Errors
/// [`Unusable`], which says what to do.
pub fn check(auth: &ValidAuth, seen: &[Seen]) -> Result<(), Unusable> {
    for (ValidFile { kind, name, key, path, field, content }, seen) in auth.files().iter().zip(seen) {
        let if_absent = match (kind, path.as_str()) {
            (ObjectKind::Secret, names::HTPASSWD_FILE) => {
                format!("create it with kubectl create secret generic {name} --from-file={key}=FILE")
            }
            _ => format!("create it with the key {key}, {content}"),
        };
        let if_incomplete = format!("add it, with {content}");
        let remedy = Remedy { if_absent: &if_absent, if_incomplete: &if_incomplete };
        seen.check(*kind, name, field, &remedy)?;
    }
    Ok(())
}

/// The condition that says it.
#[must_use]
pub fn condition(auth: &ValidAuth, checked: &Result<(), Unusable>) -> Wanted {
    let (holds, reason, message) = match checked {
        Ok(()) => (true, "Found", found(&auth.files())),
        Err(Unusable { reason, message }) => (false, reason.as_str(), message.clone()),
    };
    Wanted { type_: CONDITION, holds: Some(holds), reason: reason.to_owned(), message }
}

fn found(files: &[ValidFile]) -> String {
    let mut names = Vec::new();
    for ValidFile { kind, name, .. } in files {
        let named = format!("{} {name}", kind.as_str());
        if !names.contains(&named) {
            names.push(named);
        }
    }
    match names.as_slice() {
        [] => "spec.auth names no Secret and no ConfigMap".to_owned(),
        [one] => format!("{one} has what spec.auth needs"),
        [several @ .., last] => format!("{} and {last} have what spec.auth needs", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, registry::validate::validate};
    use serde_json::{Value, json};

    fn auth(auth: &Value) -> ValidAuth {
        let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main"}, "spec": {"storage": {"emptyDir": {}}, "auth": auth}}))
        .unwrap();
        validate(&registry, &Settings::default()).unwrap().auth.unwrap()
    }

    #[test]
    fn what_is_missing_is_named() {
        let htpasswd = auth(&json!({"htpasswd": {"secretRef": {"name": "users"}}}));
        let token = auth(&json!({"token": {"realm": "https://a/token", "service": "s", "issuer": "i",
            "jwks": {"configMapRef": {"name": "keys"}}, "rootCertificates": {"secretRef": {"name": "ca", "key": "a.crt"}}}}));
        let oidc = |ca: &str, name: &str| json!({"name": name, "url": format!("https://{name}"), "audience": "a", "ca": {"configMapRef": {"name": ca}}});
        let issuer = auth(&json!({"rules": [{"users": ["*"], "repositories": ["**"], "actions": ["*"]}], "issuer": {
            "htpasswd": {"secretRef": {"name": "users"}}, "serviceAccounts": {},
            "oidc": [{"name": "a", "url": "https://a", "audience": "a"}, oidc("ca", "b"), oidc("ca", "c")]}}));
        let everybody = auth(&json!({"anonymous": [{"repositories": ["**"], "actions": ["pull"]}]}));
        let (whole, absent) = (|| Seen::Complete, || Seen::Absent);
        let without = |key: &str| Seen::Without(key.to_owned());
        for (auth, seen, reason, message) in [
            (&htpasswd, vec![whole()], "Found", "Secret users has what spec.auth needs"),
            (
                &htpasswd,
                vec![absent()],
                "SecretNotFound",
                "spec.auth.htpasswd.secretRef: there is no Secret users in this namespace: create it with kubectl create \
                 secret generic users --from-file=htpasswd=FILE",
            ),
            (
                &htpasswd,
                vec![without("htpasswd")],
                "SecretIncomplete",
                "spec.auth.htpasswd.secretRef: Secret users has no htpasswd: add it, with a line NAME:HASH for each user, as \
                 htpasswd -B writes it",
            ),
            (&token, vec![whole(), whole()], "Found", "ConfigMap keys and Secret ca have what spec.auth needs"),
            (
                &token,
                vec![absent(), whole()],
                "ConfigMapNotFound",
                "spec.auth.token.jwks.configMapRef: there is no ConfigMap keys in this namespace: create it with the key \
                 jwks.json, a JSON Web Key Set",
            ),
            (
                &token,
                vec![whole(), without("a.crt")],
                "SecretIncomplete",
                "spec.auth.token.rootCertificates.secretRef: Secret ca has no a.crt: add it, with certificates in PEM",
            ),
            (
                &issuer,
                vec![whole(), whole(), absent()],
                "ConfigMapNotFound",
                "spec.auth.issuer.oidc[2].ca.configMapRef: there is no ConfigMap ca in this namespace: create it with the key \
                 ca.crt, certificates in PEM",
            ),
            (
                &issuer,
                vec![whole(), whole(), whole()],
                "Found",
                "Secret users and ConfigMap ca have what spec.auth needs",
            ),
            (&everybody, vec![], "Found", "spec.auth names no Secret and no ConfigMap"),
        ] {
            assert_eq!(auth.files().len(), seen.len(), "{auth:?}");
            let said = condition(auth, &check(auth, &seen));
            assert_eq!((said.reason.as_str(), said.message.as_str()), (reason, message));
            assert_eq!((said.type_, said.holds), (CONDITION, Some(reason == "Found")));
        }
    }
}
