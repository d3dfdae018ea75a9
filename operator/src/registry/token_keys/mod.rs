//! The keys that sign the tokens of a Registry's issuer: made, rotated on schedule and on demand, and published until the last
//! token that each has signed has ended.
//!
//! | | needs the cluster |
//! |---|---|
//! | [`plan`]: what is to be done when | no |
//! | [`secret`]: the Secret that holds the keys | no |
//! | [`pem`]: the keys themselves | no |
//! | [`keep`] | reads and writes that Secret |

pub mod pem;
pub mod plan;
pub mod secret;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};

use self::{
    pem::Pair,
    plan::{Plan, Times},
    secret::{Content, SecretError},
};
use super::{apply::ApplyError, validate::ValidRegistry};
use crate::{cluster::Error, conditions::Wanted, context::Announcer, names, ownership::Owner};

/// The type of the condition.
pub const CONDITION: &str = "TokenKeysReady";

/// The keys as they are, and what is told of them.
#[derive(Debug)]
pub struct Kept {
    /// What the key that signs is called.
    pub signing: String,
    /// What all are called that tokens are believed by, in the order in which they were made.
    pub published: Vec<String>,
    /// When another one is to sign.
    pub next_rotation: Option<Timestamp>,
    /// When to look again.
    pub revisit: Timestamp,
    /// What signs credentials.
    pub pair: Pair,
}

/// Does what is to be done with the keys now.
///
/// # Errors
/// [`ApplyError`], when the cluster does not do it; within, [`SecretError`], when what is there is of no use.
pub async fn keep(
    client: &Client,
    owner: &Owner<'_>,
    registry: &ValidRegistry,
    times: &Times,
    asked: Option<&str>,
    now: Timestamp,
    announcer: &Announcer<'_>,
) -> Result<Result<Kept, SecretError>, ApplyError> {
    let api = Api::<Secret>::namespaced(client.clone(), &registry.namespace);
    let name = names::token_keys(&registry.name);
    let found = api.get_opt(&name).await;
    let found = found.map_err(|source| Error::Read { what: "the Secret with the keys of tokens", source })?;
    owner.check("Secret", found.as_ref().map(|secret| &secret.metadata))?;
    let content = match found.as_ref().map(Content::read).transpose() {
        Ok(content) => content.unwrap_or_default(),
        Err(error) => return Ok(Err(error)),
    };
    let Plan { steps, next } = content.keys.plan(asked, times, now);
    if steps.is_empty() {
        return Ok(kept(&content, times, next));
    }
    let changed = match content.follow(&steps, asked, times.retain_for, now) {
        Ok(changed) => changed,
        Err(error) => return Ok(Err(error)),
    };
    let version = found.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
    let secret = changed.secret(&registry.name, registry.owner.clone(), version);
    let parameters = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
    // Who has changed it meanwhile is not written over: the version would be another.
    let written = match found {
        None => api.create(&parameters, &secret).await,
        Some(_) => api.replace(&name, &parameters, &secret).await,
    };
    written.map_err(|source| Error::Apply { kind: "Secret".into(), name: name.clone(), source })?;
    let signing = |content: &Content| content.keys.signing().map(|key| key.kid.clone());
    if signing(&changed) != signing(&content) {
        let kid = signing(&changed).unwrap_or_default();
        announcer.normal("TokenKey", format!("key {kid} signs tokens from now on"), None).await;
    }
    let Plan { steps, next } = changed.keys.plan(asked, times, now);
    Ok(kept(&changed, times, if steps.is_empty() { next } else { now }))
}

fn kept(content: &Content, times: &Times, revisit: Timestamp) -> Result<Kept, SecretError> {
    let pair = content.signing()?;
    Ok(Kept {
        signing: pair.kid(),
        published: content.keys.keys.iter().map(|key| key.kid.clone()).collect(),
        next_rotation: content.keys.next_rotation(times),
        revisit,
        pair,
    })
}

/// The condition `TokenKeysReady`.
#[must_use]
pub fn condition(name: &str, kept: Result<&Kept, &SecretError>) -> Wanted {
    let (holds, reason, message) = match kept {
        Ok(Kept { signing, next_rotation, .. }) => {
            let next = next_rotation.map(|at| format!("; another one is to sign at {at}")).unwrap_or_default();
            (true, "Signing", format!("key {signing} signs{next}"))
        }
        Err(error) => (false, "KeysUnusable", format!("Secret {}: {error}", names::token_keys(name))),
    };
    Wanted { type_: CONDITION, holds: Some(holds), reason: reason.to_owned(), message }
}
