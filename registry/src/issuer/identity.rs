//! [pure] Who somebody is whose token another issuer has signed: from its claims to a subject of rules.

use std::collections::BTreeMap;

use berth_config::rules::Subject;
use berth_config::{Oidc, ServiceAccounts};
use serde_json::{Map, Value};

use crate::jose::strict;

/// How the API server calls a service account: `system:serviceaccount:NAMESPACE:NAME`.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Why a token makes nobody known, though its signature is right.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClaimError {
    #[error("its claims are no JSON object, or one of them is there twice")]
    Form,
    #[error("it has no claim {0:?} that is a text")]
    Missing(String),
    #[error("its claim email is not verified (email_verified)")]
    Unverified,
    #[error("its subject is no service account")]
    Account,
    #[error("its user begins with {0:?}, as those of another place do")]
    Reserved(String),
}

type Claims = Map<String, Value>;

pub(super) fn claims(payload: &[u8]) -> Result<Claims, ClaimError> {
    strict::from_slice(payload).map_err(|_| ClaimError::Form)
}

fn text<'a>(claims: &'a Claims, name: &str) -> Result<&'a str, ClaimError> {
    let text = claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| ClaimError::Missing(name.to_owned()))
}

/// What a claim is as text: rules compare texts.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Who an identity of another issuer is. Where nothing stands in front of its users, none of them begins with what is
/// `reserved` for those of another place.
pub(super) fn of_oidc(oidc: &Oidc, reserved: &[String], claims: &Claims) -> Result<Subject, ClaimError> {
    let of = |text: &str| format!("{}:{text}", oidc.name);
    let (prefix, name) = (oidc.prefix(), text(claims, &oidc.usernameclaim)?);
    if let Some(other) = reserved.iter().find(|other| prefix.is_empty() && name.starts_with(other.as_str())) {
        return Err(ClaimError::Reserved(other.clone()));
    }
    // Where a name is an address that anybody may write, somebody could take another's.
    let is_unverified = claims.get("email_verified").is_some_and(|verified| *verified != Value::Bool(true));
    if oidc.usernameclaim == "email" && is_unverified {
        return Err(ClaimError::Unverified);
    }
    let groups = match oidc.groupsclaim.as_ref().and_then(|claim| claims.get(claim)) {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(of).collect(),
        Some(Value::String(group)) => vec![of(group)],
        _ => Vec::new(),
    };
    // Nor does a rule take for said what the issuer does not vouch for.
    let said = |(name, _): &(&String, &Value)| !is_unverified || *name != "email";
    let plain_claims: BTreeMap<String, String> =
        claims.iter().filter(said).filter_map(|(name, value)| Some((name.clone(), plain(value)?))).collect();
    Ok(Subject {
        user: Some(prefix + name),
        groups,
        service_account: None,
        subject: Some(of(text(claims, "sub")?)),
        issuer: Some(oidc.name.clone()),
        claims: plain_claims,
    })
}

/// Which service account a token of the cluster is of.
pub(super) fn of_service_account(claims: &Claims) -> Result<Subject, ClaimError> {
    let name = text(claims, "sub")?;
    let account =
        name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')).ok_or(ClaimError::Account)?;
    match account {
        ("", _) | (_, "") => Err(ClaimError::Account),
        (namespace, account) => Ok(Subject {
            user: Some(name.to_owned()),
            service_account: Some((namespace.to_owned(), account.to_owned())),
            ..Subject::default()
        }),
    }
}

/// Whom the tokens of service accounts have to be for.
pub(super) fn audience<'a>(accounts: &'a ServiceAccounts, service: &'a str) -> &'a str {
    accounts.audience.as_deref().unwrap_or(service)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn oidc(username: &str, prefix: Option<&str>) -> Oidc {
        Oidc {
            name: "id".into(),
            url: "https://id.example".into(),
            audience: "registry".into(),
            usernameclaim: username.into(),
            usernameprefix: prefix.map(str::to_owned),
            groupsclaim: Some("groups".into()),
            refresh: false,
            cafile: None,
        }
    }

    fn subject(oidc: &Oidc, value: &Value) -> Result<Subject, ClaimError> {
        let reserved = ["keycloak:".to_owned(), "system:".to_owned()];
        of_oidc(oidc, &reserved, &claims(value.to_string().as_bytes())?)
    }

    #[test]
    fn an_identity_is_what_its_issuer_says_under_the_issuers_name() {
        let said = json!({
            "sub": "f:1", "preferred_username": "alice", "groups": ["dev", 7, "ops"], "email": "a@b.example",
            "email_verified": true, "ref_protected": true, "run": 12, "address": {"city": "x"},
        });
        let found = subject(&oidc("preferred_username", None), &said).unwrap();
        assert_eq!(found.user.as_deref(), Some("id:alice"));
        assert_eq!((found.subject.as_deref(), found.issuer.as_deref()), (Some("id:f:1"), Some("id")));
        assert_eq!(found.groups, ["id:dev", "id:ops"]);
        let claim = |name: &str| found.claims.get(name).map(String::as_str);
        assert_eq!([claim("ref_protected"), claim("run"), claim("address")], [Some("true"), Some("12"), None]);

        assert_eq!(subject(&oidc("email", Some("-")), &said).unwrap().user.as_deref(), Some("a@b.example"));
        assert_eq!(subject(&oidc("sub", Some("x-")), &said).unwrap().user.as_deref(), Some("x-f:1"));
        let one = json!({"sub": "s", "groups": "dev"});
        assert_eq!(subject(&oidc("sub", None), &one).unwrap().groups, ["id:dev"]);
        let unverified = json!({"sub": "s", "email": "admin@corp.example", "email_verified": false, "team": "x"});
        let found = subject(&oidc("sub", None), &unverified).unwrap();
        assert_eq!(
            found.claims.keys().collect::<Vec<_>>(),
            ["email_verified", "sub", "team"],
            "no address is believed"
        );
        let none = json!({"sub": "s", "groups": null});
        assert!(subject(&oidc("sub", None), &none).unwrap().groups.is_empty());
    }

    /// Its issuer has checked one of the two, and who knows which.
    #[test]
    fn a_claim_that_is_there_twice_makes_nobody_known() {
        for text in [
            r#"{"sub": "s", "preferred_username": "alice", "preferred_username": "bob"}"#,
            r#"{"sub": "s", "groups": ["people"], "groups": ["platform"]}"#,
            r#"{"sub": "s", "address": {"city": "x", "city": "y"}}"#,
        ] {
            assert_eq!(claims(text.as_bytes()), Err(ClaimError::Form), "{text}");
        }
    }

    #[test]
    fn who_says_too_little_is_nobody() {
        for (username, said, expected) in [
            ("preferred_username", json!({"sub": "s"}), ClaimError::Missing("preferred_username".into())),
            ("preferred_username", json!({"preferred_username": "a"}), ClaimError::Missing("sub".into())),
            ("sub", json!({"sub": ""}), ClaimError::Missing("sub".into())),
            ("sub", json!({"sub": ["s"]}), ClaimError::Missing("sub".into())),
            ("email", json!({"sub": "s", "email": "a@b", "email_verified": false}), ClaimError::Unverified),
            ("email", json!({"sub": "s", "email": "a@b", "email_verified": "true"}), ClaimError::Unverified),
            ("sub", json!([1]), ClaimError::Form),
        ] {
            assert_eq!(subject(&oidc(username, None), &said), Err(expected), "{said}");
        }
    }

    #[test]
    fn who_has_nothing_in_front_is_nobody_of_another_place() {
        for name in ["keycloak:admin", "system:serviceaccount:a:b", "keycloak:"] {
            let said = json!({"sub": name});
            let bare = subject(&oidc("sub", Some("-")), &said);
            assert!(matches!(bare, Err(ClaimError::Reserved(_))), "{name}: {bare:?}");
            assert_eq!(subject(&oidc("sub", None), &said).unwrap().user, Some(format!("id:{name}")));
        }
        let harmless = subject(&oidc("sub", Some("-")), &json!({"sub": "keycloak"})).unwrap();
        assert_eq!(harmless.user.as_deref(), Some("keycloak"));
    }

    #[test]
    fn a_service_account_is_its_namespace_and_its_name() {
        let of = |sub: &str| of_service_account(&claims(json!({"sub": sub}).to_string().as_bytes()).unwrap());
        let found = of("system:serviceaccount:team-a:builder").unwrap();
        assert_eq!(found.service_account, Some(("team-a".into(), "builder".into())));
        assert_eq!(found.user.as_deref(), Some("system:serviceaccount:team-a:builder"));
        for sub in [
            "alice",
            "system:serviceaccount:a",
            "system:serviceaccount::a",
            "system:serviceaccount:a:",
            "system:node:a:b",
        ] {
            assert_eq!(of(sub), Err(ClaimError::Account), "{sub}");
        }
    }
}
