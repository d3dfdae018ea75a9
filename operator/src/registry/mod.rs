//! The reconciliation of a Registry: fetch → validate → render → apply → status, one file a step.
//!
//! | step | needs the cluster |
//! |---|---|
//! | [`fetch`] | reads |
//! | [`validate`] | no |
//! | [`render`] | no |
//! | [`apply`] | writes |
//! | [`reach`] | asks the pods, not the cluster, and is not waited for long ([`asks`]) |
//! | [`status`] | no; this file writes what it computes |
//!
//! Two reconciliations of one Registry never run at once (the controller sees to it), and only the elected operator
//! runs any. Between the fetch and the apply somebody else may change an object: server-side apply then puts our fields
//! back, and the watch of that change starts the next reconciliation.

pub mod apply;
pub mod asks;
pub mod auth;
pub mod certificate;
mod delete;
pub mod fetch;
pub mod issuers;
pub mod object_store;
pub mod pull_secrets;
pub mod reach;
pub mod render;
pub mod rollout;
pub mod settled;
pub mod source;
pub mod status;
pub mod token_keys;
pub mod tokens;
pub mod validate;
pub mod volume;

use std::{sync::Arc, time::Duration};

use berth_crds::{DeletionPolicy, Registry, RegistryStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, core::PartialObjectMeta, runtime::controller::Action};

use self::{
    apply::{Applied, ApplyError},
    issuers::Standing,
    reach::Answer,
    source::Sources,
    status::access::Access,
    tokens::Tokens,
    validate::{ValidAuth, ValidRegistry, ValidStorage},
};
use crate::{
    cluster::{self, Error},
    conditions::{self, Progress},
    context::{Announcer, Context},
    names,
    ownership::{Owner, Taken},
    problem::Problems,
    stored::{self, Stored},
};

/// How often a Registry is looked at when nothing happens: for what no watch tells.
const REVISIT: Duration = Duration::from_secs(300);
/// How soon what is in the way is looked at again when it is not watched: somebody else's object, or a missing Secret.
const REVISIT_BLOCKED: Duration = Duration::from_secs(10);
/// How often pods are asked whether they still reach their store. One that does not becomes unready, and then is asked at
/// once; this is for what that does not show.
const REVISIT_REACHED: Duration = Duration::from_secs(60);
/// How often they are asked while one does not. One that does again becomes ready, and is asked at once; this is for a
/// store that says something else. An answer may take its time, so it is not asked for all the time.
const REVISIT_UNREACHED: Duration = Duration::from_secs(30);
/// How soon an answer that was not waited for is taken.
const REVISIT_ASKED: Duration = Duration::from_secs(4);

/// Why a Registry could not be brought to what its spec asks for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Invalid(#[from] Problems),
    #[error(transparent)]
    Taken(#[from] Taken),
    #[error(transparent)]
    Cluster(#[from] Error),
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Taken(taken) => Self::Taken(taken),
            ApplyError::Cluster(error) => Self::Cluster(error),
        }
    }
}

impl Failure {
    fn progress(&self) -> Progress {
        match self {
            Self::Invalid(problems) => Progress::stalled("InvalidSpec", problems.to_string()),
            Self::Taken(taken @ Taken::Foreign { .. }) => Progress::stalled("NameTaken", taken.to_string()),
            Self::Taken(taken @ Taken::Leaving { .. }) => Progress::underway("NameLeaving", taken.to_string()),
            Self::Cluster(error) if error.refusal().is_some() => Progress::stalled("Refused", error.to_string()),
            Self::Cluster(error) => Progress::underway("Error", error.to_string()),
        }
    }
}

/// Brings the cluster closer to what a Registry asks for, and says in its status how far it is.
///
/// # Errors
/// [`Error`]; the controller tries again later, and less and less often.
pub async fn reconcile(cached: Arc<PartialObjectMeta<Registry>>, context: Arc<Context>) -> Result<Action, Error> {
    let announcer = context.announcer(&*cached);
    let api = Api::<Registry>::namespaced(context.client.clone(), &cached.namespace().unwrap_or_default());
    // The watch may be behind our own last write of the status; what is news is decided by what is stored.
    let stored = stored::read(&api, &cached.name_any()).await;
    let registry = match stored.map_err(|source| Error::Read { what: "the Registry", source })? {
        Some(Stored::Readable(registry)) => *registry,
        // What runs goes on to run as it was asked for last.
        Some(Stored::Unreadable(unreadable)) => {
            // But what ends by itself is not made anew.
            let also: stored::Also = |known| status::access::stalled(known).into_iter().collect();
            stored::report(&unreadable, &unreadable.progress(), also, &context).await?;
            return Ok(Action::requeue(REVISIT));
        }
        None => {
            context.attempts.succeeded(&*cached);
            return Ok(Action::await_change());
        }
    };
    if registry.metadata.deletion_timestamp.is_some() {
        delete::finish(&context.client, &api, &registry, &announcer).await?;
        context.attempts.succeeded(&registry);
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let mut tokens = None;
    let (status, result) = match advance(&api, &registry, &context, &announcer, now, &mut tokens).await {
        Ok(Advanced { valid, applied, pods, standings, answers }) => {
            let access = Access { tokens: tokens.as_ref(), standings: standings.as_deref() };
            let status = status::of_applied(&registry, &valid, &applied, &pods, answers.as_deref(), &access, now);
            let revisit = match &answers {
                None => REVISIT_ASKED,
                Some(_) if applied.held.is_some() => REVISIT_BLOCKED,
                Some(_) => revisit(&valid, &status),
            };
            let revisit = tokens.iter().map(|tokens| tokens.revisit(now)).fold(revisit, Duration::min);
            (status, Ok(revisit))
        }
        Err(failure) => {
            let status = status::of_failure(&registry, &failure.progress(), tokens.as_ref(), now);
            let result = match failure {
                Failure::Invalid(_) => Ok(REVISIT),
                Failure::Taken(_) => Ok(REVISIT_BLOCKED),
                Failure::Cluster(error) => Err(error),
            };
            (status, result)
        }
    };
    report(&api, &registry, &status, &announcer).await?;
    let revisit = result?;
    context.attempts.succeeded(&registry);
    Ok(Action::requeue(revisit))
}

/// [pure] When a Registry whose objects are applied is looked at again.
fn revisit(valid: &ValidRegistry, status: &RegistryStatus) -> Duration {
    let keys = match conditions::find(&status.conditions, issuers::CONDITION) {
        _ if valid.replicas == 0 => REVISIT,
        None => REVISIT,
        Some(known) if known.status == "True" => REVISIT,
        Some(_) => REVISIT_UNREACHED,
    };
    let store = match conditions::find(&status.conditions, object_store::CONDITION) {
        // There is nobody to ask, until a change of the spec starts somebody.
        _ if valid.replicas == 0 => REVISIT,
        None => REVISIT,
        Some(reachable) if reachable.status == "True" => REVISIT_REACHED,
        Some(_) => REVISIT_UNREACHED,
    };
    store.min(keys)
}

/// How far a Registry came.
struct Advanced {
    valid: ValidRegistry,
    applied: Applied,
    pods: Vec<Pod>,
    /// How it stands with the keys of other issuers; none if no pod says.
    standings: Option<Vec<Standing>>,
    /// What the pods say of their object store, if they have one; none while they are still asked.
    answers: Option<Vec<Answer>>,
}

/// `tokens` are what the registry's own issuer has, as soon as that is kept: none if it has none, or nothing may be changed.
async fn advance(
    api: &Api<Registry>,
    registry: &Registry,
    context: &Context,
    announcer: &Announcer<'_>,
    now: Timestamp,
    tokens: &mut Option<Tokens>,
) -> Result<Advanced, Failure> {
    let valid = validate::validate(registry, &context.settings)?;
    let observed = fetch::fetch(&context.client, &valid).await?;
    if valid.paused {
        let applied = Applied::nothing(&valid, &observed);
        return Ok(told(context, valid, applied, observed.pods).await);
    }
    let owner = owner_of(registry);
    apply::check_names(&owner, &valid, &observed)?;
    // Before the pods, which cannot start without the keys.
    *tokens = tokens::keep(&context.client, &owner, registry, &valid, now, announcer).await?;
    let deletes_volume =
        valid.deletion_policy == DeletionPolicy::Delete && matches!(valid.storage, ValidStorage::OwnClaim { .. });
    cluster::set_finalizer(api, registry, names::VOLUME_FINALIZER, deletes_volume).await?;
    let rendered = render::render(&valid, &observed.pins);
    let print = settled::fingerprint(&rendered, &observed).map_err(Error::from)?;
    let uid = owner.uid.unwrap_or_default();
    let is_held = apply::held(&valid, &Sources::of(&valid, &observed)).is_some();
    if !is_held && context.settled.holds(uid, print) {
        let applied = Applied::nothing(&valid, &observed);
        return Ok(told(context, valid, applied, observed.pods).await);
    }
    let applied = apply::apply(&context.client, &owner, &valid, rendered, &observed, announcer).await?;
    if applied.is_whole() {
        context.settled.note(uid, print);
    }
    Ok(told(context, valid, applied, observed.pods).await)
}

/// Asks the pods of a Registry on an object store what they say of it, unless what it needs is known to be missing.
async fn told(context: &Context, valid: ValidRegistry, applied: Applied, pods: Vec<Pod>) -> Advanced {
    let asked = valid.storage.object_store().is_some() && applied.sources.storage.is_ok();
    let uid = valid.owner.as_ref().map(|owner| owner.uid.as_str()).unwrap_or_default();
    let answers = match asked {
        true => context.asks.ask(uid, reach::chosen(&pods)).await,
        false => Some(Vec::new()),
    };
    let standings = match valid.auth.as_ref().is_some_and(ValidAuth::believes_others) {
        true => issuers::ask(&pods).await,
        false => None,
    };
    Advanced { valid, applied, pods, standings, answers }
}

fn owner_of(registry: &Registry) -> Owner<'_> {
    Owner {
        kind: "Registry",
        label: names::REGISTRY_LABEL,
        name: registry.metadata.name.as_deref().unwrap_or_default(),
        uid: registry.metadata.uid.as_deref(),
    }
}

/// Writes the status if it changed, and announces what is news in it.
async fn report(
    api: &Api<Registry>,
    registry: &Registry,
    status: &RegistryStatus,
    announcer: &Announcer<'_>,
) -> Result<(), Error> {
    let previous = registry.status.as_ref();
    if previous == Some(status) {
        return Ok(());
    }
    cluster::replace_status(api, registry, status).await?;
    let before = previous.map(|status| status.conditions.as_slice()).unwrap_or_default();
    if let Some(ready) = conditions::find(&status.conditions, "Ready") {
        let same = conditions::find(before, "Ready").is_some_and(|old| old.status == ready.status);
        if ready.status == "True" && !same {
            announcer.normal("Ready", ready.message.clone(), None).await;
        }
    }
    if let Some(stalled) = conditions::find(&status.conditions, "Stalled") {
        let same = conditions::find(before, "Stalled").is_some_and(|old| old.message == stalled.message);
        if !same {
            announcer.warning(&stalled.reason, stalled.message.clone(), None).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use serde_json::{Value, json};

    #[test]
    fn a_store_that_is_not_reached_is_looked_at_soon() {
        let s3 = json!({"s3": {"bucket": "b", "region": "r", "credentials": {"workloadIdentity": {}}}});
        for (replicas, storage, condition, expected) in [
            (1, json!({"emptyDir": {}}), json!([]), REVISIT),
            (2, s3.clone(), json!("True"), REVISIT_REACHED),
            (2, s3.clone(), json!("False"), REVISIT_UNREACHED),
            (2, s3.clone(), json!("Unknown"), REVISIT_UNREACHED),
            (0, s3, json!("Unknown"), REVISIT),
        ] {
            let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
                "metadata": {"name": "main"}, "spec": {"replicas": replicas, "storage": storage}}))
            .unwrap();
            let valid = validate::validate(&registry, &Settings::default()).unwrap();
            let conditions: Vec<Value> = condition
                .as_str()
                .iter()
                .map(|status| {
                    json!({"type": "StorageReachable", "status": status, "reason": "X", "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"})
                })
                .collect();
            let status: RegistryStatus = serde_json::from_value(json!({ "conditions": conditions })).unwrap();
            assert_eq!(revisit(&valid, &status), expected, "{replicas} {condition}");
        }
    }
}
