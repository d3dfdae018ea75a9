//! [pure] Credentials that this issuer's keys have signed and that stand for a password, with all that they are good for: the
//! operator of a cluster makes such ones for pull secrets.
//!
//! Their audience is the issuer, where that of a token is a registry. They hold `sub`, the name; `repositories`, a list of
//! patterns without placeholders; and `actions`, of which only `pull` and `list` are taken: who is to write has an identity.

use std::collections::BTreeSet;

use berth_config::rules::{Action, NamePattern, RepositoryPattern, Rule, Subject};
use serde::Deserialize;

/// How every such name begins, so that none is taken for that of a user.
const PREFIX: &str = "system:pullsecret:";
/// The most patterns.
const MAX_PATTERNS: usize = 64;

/// Why a credential is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("the credential cannot be read: {0}")]
    Form(String),
    #[error("the credential is of {0:?}, which does not begin with {PREFIX}")]
    Name(String),
    #[error("the credential names no repository, or more than {MAX_PATTERNS} patterns")]
    Repositories,
    #[error("the credential grants more than to pull")]
    Actions,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    repositories: Vec<RepositoryPattern>,
    actions: BTreeSet<Action>,
}

/// Whose it is, and what it is good for.
pub(super) fn read(payload: &[u8]) -> Result<(Subject, Rule), CredentialError> {
    let claims = crate::jose::strict::from_slice(payload).map_err(|error| CredentialError::Form(error.to_string()))?;
    let Claims { sub, repositories, actions } = claims;
    if !sub.starts_with(PREFIX) {
        return Err(CredentialError::Name(sub));
    }
    if repositories.is_empty() || repositories.len() > MAX_PATTERNS {
        return Err(CredentialError::Repositories);
    }
    if actions.is_empty() || actions.iter().any(|action| !matches!(action, Action::Pull | Action::List)) {
        return Err(CredentialError::Actions);
    }
    let name: NamePattern = sub.parse().map_err(|_| CredentialError::Name(sub.clone()))?;
    let subject = Subject { user: Some(sub), ..Subject::default() };
    Ok((subject, Rule { users: vec![name], repositories, actions, ..Rule::default() }))
}

#[cfg(test)]
mod tests {
    use berth_config::rules::allows;

    use super::*;

    #[test]
    fn a_credential_is_good_for_what_it_says() {
        let payload =
            br#"{"sub": "system:pullsecret:team-a/registry", "repositories": ["team-a/**"], "actions": ["pull"]}"#;
        let (subject, rule) = read(payload).unwrap();
        let may = |name: &str, action| allows(std::slice::from_ref(&rule), &subject, name, action);
        assert!(may("team-a/app", Action::Pull) && may("team-a/app", Action::List));
        assert!(!may("team-a/app", Action::Push) && !may("team-b/app", Action::Pull));
        let other = Subject { user: Some("alice".into()), ..Subject::default() };
        assert!(!allows(&[rule], &other, "team-a/app", Action::Pull));
    }

    #[test]
    fn what_is_none_is_refused() {
        let name = CredentialError::Name("alice".into());
        for (payload, expected) in [
            (r#"{"sub": "alice", "repositories": ["a"], "actions": ["pull"]}"#, name),
            (
                r#"{"sub": "system:pullsecret:a/b", "repositories": [], "actions": ["pull"]}"#,
                CredentialError::Repositories,
            ),
            (r#"{"sub": "system:pullsecret:a/b", "repositories": ["a"], "actions": []}"#, CredentialError::Actions),
            (r#"{"sub": "system:pullsecret:a/b", "repositories": ["a"], "actions": ["*"]}"#, CredentialError::Actions),
            (
                r#"{"sub": "system:pullsecret:a/b", "repositories": ["a"], "actions": ["push"]}"#,
                CredentialError::Actions,
            ),
        ] {
            assert_eq!(read(payload.as_bytes()), Err(expected), "{payload}");
        }
        for payload in ["", "{}", r#"{"sub": "system:pullsecret:a/b", "access": []}"#] {
            assert!(matches!(read(payload.as_bytes()), Err(CredentialError::Form(_))), "{payload}");
        }
    }
}
