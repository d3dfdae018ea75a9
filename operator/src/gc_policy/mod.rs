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
mod watched;

use std::{sync::Arc, time::Duration};

use berth_crds::{GCPolicy, GCPolicyStatus, Outcome, Run};
use jiff::Timestamp;
use k8s_openapi::{
    api::{batch::v1::CronJob, core::v1::ObjectReference},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, ResourceExt as _, runtime::controller::Action};

pub use self::watched::WatchedPolicy;
use self::{fetch::Observed, runs::Collected, target::Blocked, validate::ValidPolicy};
use crate::{
    cluster::{self, Error},
    conditions::{self, Progress},
    context::{Announcer, Context},
    names,
    ownership::{Owner, Taken},
    problem::Problems,
    registry::apply::ApplyError,
    stored::{self, Stored, Unreadable},
};

/// How often a policy is looked at when nothing happens.
const REVISIT: Duration = Duration::from_secs(300);
/// How soon a name that somebody else's object has is looked at again; those objects are not watched.
const REVISIT_TAKEN: Duration = Duration::from_secs(10);

/// How soon a finished run is looked for again whose report could not be read yet.
const REVISIT_UNREAD: Duration = Duration::from_secs(5);

/// Why a policy could not be brought to what its spec asks for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Invalid(#[from] Problems),
    #[error("{}", .0.message())]
    Blocked(Blocked),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Failure {
    fn progress(&self) -> Progress {
        match self {
            Self::Invalid(problems) => Progress::stalled("InvalidSpec", problems.to_string()),
            Self::Blocked(blocked) => blocked.progress(),
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

    /// Whether the CronJob in the cluster is of a spec that is not asked for any more, and stays so until somebody
    /// helps: it must not go on deleting by it.
    fn outdates_schedule(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Blocked(_) => true,
            Self::Apply(ApplyError::Cluster(error @ Error::Apply { kind, .. })) => {
                kind == "CronJob" && error.refusal().is_some()
            }
            Self::Apply(_) => false,
        }
    }

    /// When the policy is looked at again.
    fn revisit(self) -> Result<Duration, Error> {
        match self {
            Self::Invalid(_) | Self::Blocked(_) => Ok(REVISIT),
            Self::Apply(ApplyError::Taken(_)) => Ok(REVISIT_TAKEN),
            Self::Apply(ApplyError::Cluster(error)) => Err(error),
        }
    }
}

/// Brings the cluster closer to what a policy asks for, and says in its status how far it is and how its runs ended.
///
/// # Errors
/// [`Error`]; the controller tries again later, and less and less often.
pub async fn reconcile(cached: Arc<WatchedPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let announcer = context.announcer(&*cached);
    let namespace = cached.namespace().unwrap_or_default();
    let api = Api::<GCPolicy>::namespaced(context.client.clone(), &namespace);
    // The watch may be behind our own last write of the status; what is news is decided by what is stored.
    let stored = stored::read(&api, &cached.name_any()).await;
    let policy = match stored.map_err(|source| Error::Read { what: "the GCPolicy", source })? {
        Some(Stored::Unreadable(unreadable)) => return stall(&unreadable, &context, &announcer).await,
        Some(Stored::Readable(policy)) if policy.metadata.deletion_timestamp.is_none() => *policy,
        Some(Stored::Readable(_)) | None => {
            context.attempts.succeeded(&*cached);
            return Ok(Action::await_change());
        }
    };
    let previous = policy.status.clone().unwrap_or_default();
    let observed = fetch::fetch(&context.client, &namespace, &policy).await?;
    let now = Timestamp::now();
    let name = policy.name_any();
    let owner = owner_of(&name, policy.metadata.uid.as_deref());
    let (valid, advanced) = match validate::validate(&policy, &context.settings) {
        Ok(valid) => {
            let advanced = advance(&valid, &owner, &observed, &context, &announcer).await;
            (Some(valid), advanced)
        }
        Err(problems) => (None, Err(Failure::Invalid(problems))),
    };
    let (progress, started, result) = match advanced {
        Ok(progress) => (progress, valid.as_ref().and_then(|valid| valid.run_now.clone()), Ok(REVISIT)),
        Err(failure) => {
            let (progress, result) = give_up(failure, &owner, &observed, &context, &announcer).await;
            (progress, None, result)
        }
    };
    let Collected { runs, is_unread } = runs::collect(&previous.runs, &observed);
    let outcome = status::Outcome { valid: valid.as_ref(), progress, runs, started };
    let status = status::status(&policy, outcome, now);
    report(&api, &policy, &previous, &status, &announcer).await?;
    let revisit = if is_unread { result?.min(REVISIT_UNREAD) } else { result? };
    context.attempts.succeeded(&policy);
    Ok(Action::requeue(until_next(&status, now).map_or(revisit, |wait| wait.min(revisit))))
}

/// Applies the policy's objects when runs can be started.
async fn advance(
    valid: &ValidPolicy,
    owner: &Owner<'_>,
    observed: &Observed,
    context: &Context,
    announcer: &Announcer<'_>,
) -> Result<Progress, Failure> {
    let registry =
        target::resolve(&valid.registry, observed.registry.as_ref(), &context.settings).map_err(Failure::Blocked)?;
    let rendered = render::render(valid, &registry);
    apply::apply(&context.client, owner, &valid.namespace, rendered, observed, announcer).await?;
    Ok(status::scheduled(valid))
}

/// What a failure comes to: how far the policy is, and when it is looked at again. A schedule that the spec does not
/// ask for any more is stopped; that it could not be is said as loudly as why it should.
async fn give_up(
    failure: Failure,
    owner: &Owner<'_>,
    observed: &Observed,
    context: &Context,
    announcer: &Announcer<'_>,
) -> (Progress, Result<Duration, Error>) {
    let progress = failure.progress();
    if !failure.outdates_schedule() {
        return (progress, failure.revisit());
    }
    match apply::suspend(&context.client, owner, observed.cron_job.as_ref(), announcer).await {
        Ok(()) => (progress, failure.revisit()),
        Err(error) => (progress.also(&still_starts(&error)), Err(error)),
    }
}

fn still_starts(error: &Error) -> String {
    format!("the schedule from before still starts runs, because it could not be stopped: {error}")
}

/// A policy that cannot be read asks for nothing that is known, so its schedule is stopped.
async fn stall(
    unreadable: &Unreadable<GCPolicy>,
    context: &Context,
    announcer: &Announcer<'_>,
) -> Result<Action, Error> {
    let ObjectMeta { name, namespace, uid, .. } = &unreadable.metadata;
    let (name, namespace) = (name.as_deref().unwrap_or_default(), namespace.as_deref().unwrap_or_default());
    let cron_jobs = Api::<CronJob>::namespaced(context.client.clone(), namespace);
    let found = cron_jobs.get_opt(&names::cron_job(name)).await;
    let cron_job = found.map_err(|source| Error::Read { what: "the CronJob", source })?;
    let owner = owner_of(name, uid.as_deref());
    let (progress, result) = match apply::suspend(&context.client, &owner, cron_job.as_ref(), announcer).await {
        Ok(()) => (unreadable.progress(), Ok(Action::requeue(REVISIT))),
        Err(error) => (unreadable.progress().also(&still_starts(&error)), Err(error)),
    };
    stored::report(unreadable, &progress, |_| Vec::new(), context).await?;
    result
}

fn owner_of<'a>(name: &'a str, uid: Option<&'a str>) -> Owner<'a> {
    Owner { kind: "GCPolicy", label: names::POLICY_LABEL, name, uid }
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
        announce(run, policy.namespace(), announcer).await;
    }
    if let Some(stalled) = conditions::find(&status.conditions, "Stalled") {
        let same = conditions::find(&previous.conditions, "Stalled").is_some_and(|old| old.message == stalled.message);
        if !same {
            announcer.warning(&stalled.reason, stalled.message.clone(), None).await;
        }
    }
    Ok(())
}

async fn announce(run: &Run, namespace: Option<String>, announcer: &Announcer<'_>) {
    let job = Some(ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        name: Some(run.job.clone()),
        namespace,
        uid: run.job_uid.clone(),
        ..ObjectReference::default()
    });
    let freed = status::human_bytes(run.bytes_freed.unwrap_or(0));
    let counted = if run.dry_run { " (dry run)" } else { "" };
    let spared = status::spared(run).map_or_else(String::new, |told| format!(", {told}"));
    let told = run.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
    match run.outcome {
        Outcome::Clean => {
            announcer.normal("RunClean", format!("run {} freed {freed}{counted}{spared}", run.job), job).await;
        }
        Outcome::Partial => {
            let note = format!("run {} freed {freed}{counted}{spared}{told}", run.job);
            announcer.warning("RunPartial", note, job).await;
        }
        Outcome::Failed => announcer.warning("RunFailed", format!("run {} failed{told}", run.job), job).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn cluster(kind: &str, code: u16) -> Failure {
        let status = Status { code, ..Status::failure("no", "Refused") };
        let source = kube::Error::Api(Box::new(status));
        Failure::Apply(ApplyError::Cluster(Error::Apply { kind: kind.into(), name: "nightly-gc".into(), source }))
    }

    #[test]
    fn a_schedule_that_is_not_asked_for_any_more_is_stopped() {
        let mut problems = Problems::default();
        problems.add("spec.timeZone", "is not in the tz database");
        let foreign = Taken::Foreign { kind: "CronJob", name: "nightly-gc".into(), owner_kind: "GCPolicy" };
        for (failure, expected) in [
            (Failure::Invalid(problems), true),
            (Failure::Blocked(Blocked::RegistryStopped("main".into())), true),
            (cluster("CronJob", 422), true),
            (cluster("CronJob", 403), true),
            // The schedule is applied already, or will be as soon as the server answers again.
            (cluster("Job", 403), false),
            (cluster("CronJob", 500), false),
            // What belongs to somebody else is left alone.
            (Failure::Apply(ApplyError::Taken(foreign)), false),
        ] {
            assert_eq!(failure.outdates_schedule(), expected, "{failure}");
        }
    }
}
