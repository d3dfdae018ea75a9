//! The reconciliation of a GCPolicy: fetch → validate → render → apply → status, one file a step.
//!
//! | step | needs the cluster |
//! |---|---|
//! | [`fetch`] | reads |
//! | [`validate`], [`target`] | no |
//! | [`render`] | no |
//! | [`apply`] | writes |
//! | [`runs`], [`status`] | no; this file writes what they compute |

pub mod apply;
pub mod fetch;
pub mod render;
pub mod runs;
pub mod schedule;
pub mod status;
pub mod target;
pub mod validate;

use std::{sync::Arc, time::Duration};

use berth_crds::{GCPolicy, GCPolicyStatus, Outcome, Run};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _, runtime::controller::Action};

use self::{fetch::Observed, validate::ValidPolicy};
use crate::{
    cluster::{self, Error},
    conditions::{self, Progress},
    context::{Announcer, Context},
    names,
    ownership::{Owner, Taken},
    problem::Problems,
    registry::apply::ApplyError,
};

/// How often a policy is looked at when nothing happens.
const REVISIT: Duration = Duration::from_secs(300);
/// How soon a name that somebody else's object has is looked at again; those objects are not watched.
const REVISIT_TAKEN: Duration = Duration::from_secs(10);

/// Why a policy could not be brought to what its spec asks for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Invalid(#[from] Problems),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Failure {
    fn progress(&self) -> Progress {
        match self {
            Self::Invalid(problems) => Progress::stalled("InvalidSpec", problems.to_string()),
            Self::Apply(ApplyError::Taken(taken @ Taken::Foreign { .. })) => {
                Progress::stalled("NameTaken", taken.to_string())
            }
            Self::Apply(ApplyError::Taken(taken @ Taken::Leaving { .. })) => {
                Progress::underway("NameLeaving", taken.to_string())
            }
            Self::Apply(ApplyError::Cluster(error)) if error.refusal().is_some() => {
                Progress::stalled("Refused", error.to_string())
            }
            Self::Apply(ApplyError::Cluster(error)) => Progress::underway("Error", error.to_string()),
        }
    }
}

/// Brings the cluster closer to what a policy asks for, and says in its status how far it is and how its runs ended.
///
/// # Errors
/// [`Error`]; the controller tries again later, and less and less often.
pub async fn reconcile(cached: Arc<GCPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let announcer = context.announcer(&*cached);
    let namespace = cached.namespace().unwrap_or_default();
    let api = Api::<GCPolicy>::namespaced(context.client.clone(), &namespace);
    // The watch may be behind our own last write of the status; what is news is decided by what is stored.
    let stored =
        api.get_opt(&cached.name_any()).await.map_err(|source| Error::Read { what: "the GCPolicy", source })?;
    let Some(policy) = stored.filter(|policy| policy.metadata.deletion_timestamp.is_none()) else {
        context.attempts.succeeded(&*cached);
        return Ok(Action::await_change());
    };
    let previous = policy.status.clone().unwrap_or_default();
    let observed = fetch::fetch(&context.client, &namespace, &policy).await?;
    let now = Timestamp::now();
    let (valid, advanced) = match validate::validate(&policy, &context.settings) {
        Ok(valid) => {
            let advanced = advance(&policy, &valid, &observed, &context, &announcer).await;
            (Some(valid), advanced.map_err(Failure::Apply))
        }
        Err(problems) => (None, Err(Failure::Invalid(problems))),
    };
    let (progress, handled_run_now, result) = match advanced {
        Ok((progress, handled)) => (progress, handled, Ok(REVISIT)),
        Err(failure) => {
            let progress = failure.progress();
            let result = match failure {
                Failure::Invalid(_) => Ok(REVISIT),
                Failure::Apply(ApplyError::Taken(_)) => Ok(REVISIT_TAKEN),
                Failure::Apply(ApplyError::Cluster(error)) => Err(error),
            };
            (progress, previous.handled_run_now.clone(), result)
        }
    };
    let runs = runs::collect(&previous.runs, &observed.jobs, &observed.pods);
    let outcome = status::Outcome { valid: valid.as_ref(), progress, runs, handled_run_now };
    let status = status::status(&policy, outcome, now);
    report(&api, &policy, &previous, &status, &announcer).await?;
    let revisit = result?;
    context.attempts.succeeded(&policy);
    Ok(Action::requeue(until_next(&status, now).map_or(revisit, |wait| wait.min(revisit))))
}

/// Applies the policy's objects when runs can be started, and stops the schedule when not.
async fn advance(
    policy: &GCPolicy,
    valid: &ValidPolicy,
    observed: &Observed,
    context: &Context,
    announcer: &Announcer<'_>,
) -> Result<(Progress, Option<String>), ApplyError> {
    let owner =
        Owner { kind: "GCPolicy", label: names::POLICY_LABEL, name: &valid.name, uid: policy.metadata.uid.as_deref() };
    let client = &context.client;
    match target::resolve(&valid.registry, observed.registry.as_ref(), &context.settings) {
        Ok(registry) => {
            let rendered = render::render(valid, &registry);
            let run_now = valid.run_now.as_deref();
            let handled = apply::apply(client, &owner, policy, run_now, rendered, observed, announcer).await?;
            Ok((status::scheduled(valid), handled))
        }
        Err(blocked) => {
            apply::suspend(client, &owner, observed, announcer).await?;
            let handled = policy.status.as_ref().and_then(|status| status.handled_run_now.clone());
            Ok((blocked.progress(), handled))
        }
    }
}

/// The time until the next run is past and another one is next.
fn until_next(status: &GCPolicyStatus, now: Timestamp) -> Option<Duration> {
    let seconds = status.next_run.as_ref()?.0.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0) + 1))
}

/// Writes the status if it changed, and announces what is news in it.
async fn report(
    api: &Api<GCPolicy>,
    policy: &GCPolicy,
    previous: &GCPolicyStatus,
    status: &GCPolicyStatus,
    announcer: &Announcer<'_>,
) -> Result<(), Error> {
    if policy.status.as_ref() == Some(status) {
        return Ok(());
    }
    cluster::replace_status(api, policy, status).await?;
    for run in runs::news(&previous.runs, &status.runs) {
        announce(run, announcer).await;
    }
    if let Some(stalled) = conditions::find(&status.conditions, "Stalled") {
        let same = conditions::find(&previous.conditions, "Stalled").is_some_and(|old| old.message == stalled.message);
        if !same {
            announcer.warning(&stalled.reason, stalled.message.clone(), None).await;
        }
    }
    Ok(())
}

async fn announce(run: &Run, announcer: &Announcer<'_>) {
    let freed = status::human_bytes(run.bytes_freed.unwrap_or(0));
    let counted = if run.dry_run { " (dry run)" } else { "" };
    let told = run.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
    match run.outcome {
        Outcome::Clean => announcer.normal("RunClean", format!("run {} freed {freed}{counted}", run.job), None).await,
        Outcome::Partial => {
            announcer.warning("RunPartial", format!("run {} freed {freed}{counted}{told}", run.job), None).await;
        }
        Outcome::Failed => announcer.warning("RunFailed", format!("run {} failed{told}", run.job), None).await,
    }
}
