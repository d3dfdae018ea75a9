//! One run: the Job that the run-now annotation starts, and the template of those that the schedule starts.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};

use super::{RunNow, ValidPolicy, ValidRegistry, metadata, pod::build_pod_template};
use crate::names;

/// How long the Job of a requested run is kept for its logs; the report is in the status by then. The history limits of
/// the CronJob do not count it, because it has its owner in the policy.
const KEEP_SECONDS: i32 = 3600;

/// What a Job is given beyond the deadline of its run: for the start of its pod, the lists that the server does not stop
/// in, and the report.
const SLACK: Duration = Duration::from_secs(600);

pub(super) fn build_job(policy: &ValidPolicy, registry: &ValidRegistry, run_now: &RunNow) -> Job {
    let RunNow { value, number } = run_now;
    let uid = policy.owner.as_ref().map_or("", |owner| &owner.uid);
    Job {
        metadata: metadata(policy, names::run_now_job(&policy.name, uid, *number, value)),
        spec: Some(JobSpec { ttl_seconds_after_finished: Some(KEEP_SECONDS), ..build_job_spec(policy, registry) }),
        status: None,
    }
}

pub(super) fn build_job_spec(policy: &ValidPolicy, registry: &ValidRegistry) -> JobSpec {
    let deadline = policy.active_deadline.as_std().saturating_add(SLACK);
    JobSpec {
        active_deadline_seconds: Some(i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX)),
        // A failed run says why in the status; the next one is the schedule's.
        backoff_limit: Some(0),
        template: build_pod_template(policy, registry),
        ..JobSpec::default()
    }
}
