//! [client] What the issuer of a Registry needs of the operator beside its pods: keys, and pull secrets that they sign.

use std::time::Duration;

use berth_crds::{ROTATE_KEY_ANNOTATION, Registry};
use http::Uri;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt as _};

use super::{
    apply::ApplyError,
    pull_secrets::{self, Written, secret},
    token_keys::{self, Kept, plan::Times, secret::SecretError},
    validate::{ValidIssuer, ValidPullSecret, ValidRegistry},
};
use crate::{context::Announcer, ownership::Owner};

/// How long a key is published after the last token that it has signed has ended: for clocks that differ, and for a pod that
/// has learnt late that another one signs.
const MARGIN: SignedDuration = SignedDuration::from_mins(3);
/// How soon what is due is looked at, at the earliest.
const SOONEST: Duration = Duration::from_secs(1);

/// What was kept.
#[derive(Debug)]
pub struct Tokens {
    /// The keys, or why those that are there are of no use; none if the registry has no issuer any more.
    pub keys: Option<Result<Kept, SecretError>>,
    /// The pull secrets; none if there are no keys to sign them, or there are to be none.
    pub pull_secrets: Option<Written>,
}

fn signed(length: berth_config::Duration) -> SignedDuration {
    SignedDuration::try_from(length.as_std()).unwrap_or(SignedDuration::MAX)
}

/// [pure] How keys are rotated.
fn times(issuer: &ValidIssuer, pull_secrets: &[ValidPullSecret]) -> Times {
    let longest = pull_secrets.iter().map(|one| one.lifetime).chain([issuer.token_expiry]).max();
    Times {
        rotate_every: signed(issuer.keys.rotate_every),
        publish_for: signed(issuer.keys.publish_for),
        retain_for: signed(longest.unwrap_or(issuer.token_expiry)).saturating_add(MARGIN),
    }
}

/// [pure] Where a Registry is, by every name that it is known by.
fn site(registry: &ValidRegistry, issuer: &ValidIssuer) -> secret::Site {
    let authority = |url: &str| url.parse::<Uri>().ok().and_then(|uri| Some(uri.authority()?.to_string()));
    let mut hosts: Vec<String> = authority(&registry.url()).into_iter().collect();
    hosts.extend(authority(&issuer.url).filter(|host| !hosts.contains(host)));
    secret::Site { of: whose(registry), hosts, issuer: issuer.url.clone() }
}

/// [pure] Whose pull secrets those are that a Registry has written.
fn whose(registry: &ValidRegistry) -> secret::Of {
    secret::Of { registry: registry.name.clone(), namespace: registry.namespace.clone() }
}

/// [pure] One for each namespace.
fn wanted(pull_secrets: &[ValidPullSecret]) -> Vec<secret::Wanted> {
    let one = |secret: &ValidPullSecret, namespace: &String| secret::Wanted {
        name: secret.name.clone(),
        namespace: namespace.clone(),
        repositories: secret.repositories.iter().map(ToString::to_string).collect(),
        lifetime: signed(secret.lifetime),
    };
    pull_secrets
        .iter()
        .flat_map(|secret| secret.namespaces.iter().map(move |namespace| one(secret, namespace)))
        .collect()
}

/// Keeps keys and pull secrets, where the registry has an issuer, and empties those that it had written when it had one.
///
/// # Errors
/// [`ApplyError`], when the cluster does not do it.
pub async fn keep(
    client: &Client,
    owner: &Owner<'_>,
    registry: &Registry,
    valid: &ValidRegistry,
    now: Timestamp,
    announcer: &Announcer<'_>,
) -> Result<Option<Tokens>, ApplyError> {
    let before = registry.status.as_ref().map(|status| status.pull_secrets.as_slice()).unwrap_or_default();
    let Some(issuer) = valid.auth.as_ref().and_then(|auth| auth.issuer()) else {
        let written = pull_secrets::empty_all(client, &whose(valid), before, now).await?;
        return Ok((!before.is_empty()).then_some(Tokens { keys: None, pull_secrets: Some(written) }));
    };
    let asked = registry.annotations().get(ROTATE_KEY_ANNOTATION).map(String::as_str);
    let times = times(issuer, &valid.pull_secrets);
    let keys = token_keys::keep(client, owner, valid, &times, asked, now, announcer).await?;
    let pull_secrets = match &keys {
        Ok(kept) if !valid.pull_secrets.is_empty() || !before.is_empty() => {
            let (site, wanted) = (site(valid, issuer), wanted(&valid.pull_secrets));
            Some(pull_secrets::keep(client, valid, &site, &wanted, before, kept, now).await?)
        }
        // To empty those that are not wanted any more takes no key.
        Err(_) if valid.pull_secrets.is_empty() && !before.is_empty() => {
            Some(pull_secrets::empty_all(client, &whose(valid), before, now).await?)
        }
        Ok(_) | Err(_) => None,
    };
    Ok(Some(Tokens { keys: Some(keys), pull_secrets }))
}

impl Tokens {
    /// How long nothing has to be done with them.
    #[must_use]
    pub fn revisit(&self, now: Timestamp) -> Duration {
        let times =
            self.keys.iter().flatten().map(|kept| kept.revisit).chain(self.pull_secrets.iter().map(|one| one.revisit));
        let next = times.min().unwrap_or(Timestamp::MAX);
        Duration::try_from(next.duration_since(now)).unwrap_or_default().max(SOONEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, registry::validate::validate};
    use serde_json::json;

    fn valid() -> ValidRegistry {
        let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "namespace": "reg"}, "spec": {"storage": {"emptyDir": {}},
                "auth": {
                    "rules": [{"users": ["*"], "repositories": ["**"], "actions": ["*"]}],
                    "issuer": {"url": "https://registry.example/auth", "htpasswd": {"secretRef": {"name": "users"}},
                        "keys": {"rotateEvery": "24h", "publishFor": "1m"}},
                },
                "pullSecrets": [{"name": "pull", "namespaces": ["a", "b"], "repositories": ["a/**"], "lifetime": "2h"}]}}))
        .unwrap();
        validate(&registry, &Settings::default()).unwrap()
    }

    #[test]
    fn a_key_is_published_until_the_last_of_what_it_has_signed_has_ended() {
        let valid = valid();
        let issuer = valid.auth.as_ref().unwrap().issuer().unwrap();
        let times = times(issuer, &valid.pull_secrets);
        assert_eq!(
            (times.rotate_every, times.publish_for),
            (SignedDuration::from_hours(24), SignedDuration::from_mins(1))
        );
        assert_eq!(times.retain_for, SignedDuration::from_mins(123));
        assert_eq!(super::times(issuer, &[]).retain_for, SignedDuration::from_mins(8));
    }

    #[test]
    fn a_pull_secret_is_one_in_each_namespace_for_every_name_of_the_registry() {
        let valid = valid();
        let site = site(&valid, valid.auth.as_ref().unwrap().issuer().unwrap());
        assert_eq!(site.hosts, ["main.reg.svc:5000", "registry.example"]);
        let wanted = wanted(&valid.pull_secrets);
        assert_eq!(wanted.iter().map(|one| one.namespace.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (wanted[0].repositories.join(","), wanted[0].lifetime),
            ("a/**".into(), SignedDuration::from_hours(2))
        );
    }
}
