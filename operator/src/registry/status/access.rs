//! [pure] What is told of who is let in: keys, pull secrets, and the keys of other issuers.

use berth_crds::{RegistryStatus, TokenKeysStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    conditions::{self, Wanted},
    registry::{
        issuers::{self, Standing},
        pull_secrets::{self, Written},
        token_keys::{self, Kept},
        tokens::Tokens,
        validate::{ValidAuth, ValidRegistry},
    },
};

/// What is known of who is let in, beside what the spec names.
#[derive(Debug, Default)]
pub struct Access<'a> {
    /// What the registry's own issuer has; none if it has none, or nothing may be changed.
    pub tokens: Option<&'a Tokens>,
    /// How it stands with the keys of other issuers; none if no pod says.
    pub standings: Option<&'a [Standing]>,
}

impl Access<'_> {
    pub(super) fn conditions(&self, valid: &ValidRegistry, previous: &RegistryStatus) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let known = |type_| conditions::find(&previous.conditions, type_).map(|known| Wanted::again(type_, known));
        match self.tokens {
            Some(tokens) => wanted.extend(of_tokens(tokens, &valid.name, !valid.pull_secrets.is_empty(), previous)),
            // What was known goes on to be known while nothing may be changed.
            None if has_issuer(valid) => {
                wanted.extend(known(token_keys::CONDITION));
                // But those end if nobody makes them anew.
                wanted.extend(known(pull_secrets::CONDITION).map(|known| unrenewed(Some(&known), &PAUSED)));
            }
            None => {}
        }
        if valid.auth.as_ref().is_some_and(ValidAuth::believes_others) {
            wanted.push(issuers::condition(self.standings));
        }
        wanted
    }

    pub(super) fn token_keys(&self, has_issuer: bool, previous: &RegistryStatus) -> Option<TokenKeysStatus> {
        match self.tokens.and_then(|tokens| tokens.keys.as_ref()) {
            Some(Ok(Kept { signing, published, next_rotation, .. })) => Some(TokenKeysStatus {
                signing: signing.clone(),
                published: published.clone(),
                next_rotation: next_rotation.map(Time),
            }),
            Some(Err(_)) => previous.token_keys.clone(),
            None => previous.token_keys.clone().filter(|_| has_issuer),
        }
    }

    /// Those that were written before and could not be emptied are written still; also while nobody looks at them.
    pub(super) fn pull_secrets(&self, previous: &RegistryStatus) -> Vec<String> {
        match self.tokens.and_then(|tokens| tokens.pull_secrets.as_ref()) {
            Some(written) => [written.there.as_slice(), &written.left].concat(),
            None => previous.pull_secrets.clone(),
        }
    }
}

/// The conditions of what was kept for the Registry of this name, which asks for pull secrets or does not.
pub(super) fn of_tokens(tokens: &Tokens, name: &str, has_pull_secrets: bool, previous: &RegistryStatus) -> Vec<Wanted> {
    let Tokens { keys, pull_secrets } = tokens;
    let is_told = |written: &&Written| has_pull_secrets || !written.problems.is_empty();
    let mut wanted: Vec<Wanted> = keys.iter().map(|keys| token_keys::condition(name, keys.as_ref())).collect();
    match pull_secrets {
        Some(written) => wanted.extend(Some(written).filter(is_told).map(pull_secrets::condition)),
        None if !has_pull_secrets => {}
        None => {
            let known = conditions::find(&previous.conditions, pull_secrets::CONDITION);
            let known = known.map(|known| Wanted::again(pull_secrets::CONDITION, known));
            wanted.push(unrenewed(known.as_ref(), &WITHOUT_KEYS));
        }
    }
    wanted
}

/// Why pull secrets are not made anew.
struct Hindrance {
    reason: &'static str,
    /// What has to end before they are: what stands behind "while".
    cause: &'static str,
}

const PAUSED: Hindrance = Hindrance { reason: "Paused", cause: "spec.paused is true" };
const STALLED: Hindrance = Hindrance { reason: "Stalled", cause: "the Registry is stalled" };
const WITHOUT_KEYS: Hindrance = Hindrance { reason: "KeysUnusable", cause: "TokenKeysReady is false" };

/// What was known of pull secrets before they could not be made anew any more.
fn unrenewed(known: Option<&Wanted>, hindrance: &Hindrance) -> Wanted {
    const BEFORE: &str = "; before: ";
    let Hindrance { reason, cause } = hindrance;
    let mut message = format!("none is made anew while {cause}, and they end one after the other");
    if let Some(known) = known {
        let first = known.message.split_once(BEFORE).map_or(known.message.as_str(), |(_, before)| before);
        message = [&message, BEFORE, first].concat();
    }
    Wanted { type_: pull_secrets::CONDITION, holds: None, reason: (*reason).into(), message }
}

/// What is told of pull secrets while nothing at all can be done for the Registry.
pub(in crate::registry) fn stalled(known: &[Condition]) -> Option<Wanted> {
    let known = conditions::find(known, pull_secrets::CONDITION)?;
    Some(unrenewed(Some(&Wanted::again(pull_secrets::CONDITION, known)), &STALLED))
}

pub(super) fn has_issuer(valid: &ValidRegistry) -> bool {
    valid.auth.as_ref().and_then(ValidAuth::issuer).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, registry::validate::validate};
    use berth_crds::Registry;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn valid(spec: &Value) -> ValidRegistry {
        let registry: Registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "namespace": "apps"}, "spec": spec}))
        .unwrap();
        validate(&registry, &Settings::default()).unwrap()
    }

    #[test]
    fn pull_secrets_are_known_until_they_are_emptied() {
        let valid = valid(&json!({"storage": {"emptyDir": {}}}));
        let problem = pull_secrets::Problem { reason: "Refused", message: "Secret b/x cannot be emptied".into() };
        let written = Written {
            there: vec!["a/x".into()],
            left: vec!["b/x".into()],
            problems: vec![problem],
            revisit: Timestamp::MAX,
        };
        let tokens = Tokens { keys: None, pull_secrets: Some(written) };
        let access = Access { tokens: Some(&tokens), standings: None };
        let previous = RegistryStatus::default();
        assert_eq!(access.pull_secrets(&previous), ["a/x", "b/x"]);
        // Also when none is wanted any more.
        let told = access.conditions(&valid, &previous);
        let condition = told.iter().find(|wanted| wanted.type_ == pull_secrets::CONDITION).unwrap();
        assert_eq!((condition.holds, condition.message.as_str()), (Some(false), "Secret b/x cannot be emptied"));
    }

    #[test]
    fn pull_secrets_that_nobody_renews_are_not_said_to_be_good() {
        let known = |message: &str| Wanted {
            type_: pull_secrets::CONDITION,
            holds: Some(true),
            reason: "Written".into(),
            message: message.into(),
        };
        for (hindrance, reason) in [(PAUSED, "Paused"), (STALLED, "Stalled"), (WITHOUT_KEYS, "KeysUnusable")] {
            let once = unrenewed(Some(&known("2 pull secrets are there")), &hindrance);
            assert_eq!((once.holds, once.reason.as_str()), (None, reason));
            assert!(
                once.message.ends_with("one after the other; before: 2 pull secrets are there"),
                "{}",
                once.message
            );
            assert_eq!(unrenewed(Some(&once), &hindrance), once, "it is said once");
        }
    }

    #[test]
    fn pull_secrets_without_keys_are_told_of() {
        let auth = json!({"issuer": {"url": "https://registry.example/auth",
            "htpasswd": {"secretRef": {"name": "users"}}}});
        let valid = valid(&json!({"storage": {"emptyDir": {}}, "auth": auth,
            "pullSecrets": [{"name": "pull", "namespaces": ["apps"], "repositories": ["**"]}]}));
        let tokens = Tokens { keys: Some(Err(token_keys::secret::SecretError::Current)), pull_secrets: None };
        let access = Access { tokens: Some(&tokens), standings: None };
        let previous = RegistryStatus { pull_secrets: vec!["apps/pull".into()], ..RegistryStatus::default() };
        let told = access.conditions(&valid, &previous);
        let told: Vec<_> = told.iter().map(|one| (one.type_, one.holds, one.reason.as_str())).collect();
        let expected =
            [(token_keys::CONDITION, Some(false), "KeysUnusable"), (pull_secrets::CONDITION, None, "KeysUnusable")];
        assert_eq!(told, expected);
        assert_eq!(access.pull_secrets(&previous), ["apps/pull"], "they are there still");
        assert_eq!(Access::default().pull_secrets(&previous), ["apps/pull"], "a paused Registry forgets none");
    }
}
