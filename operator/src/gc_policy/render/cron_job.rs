//! The CronJob that starts the runs of the schedule.

use k8s_openapi::{
    api::batch::v1::{CronJob, CronJobSpec, JobTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{ValidPolicy, ValidRegistry, job::build_job_spec, metadata};
use crate::names;

/// How late a run may still start, after the cluster was down at its time.
const STARTING_DEADLINE_SECONDS: i64 = 600;

pub(super) fn build_cron_job(policy: &ValidPolicy, registry: &ValidRegistry) -> CronJob {
    CronJob {
        metadata: metadata(policy, names::cron_job(&policy.name)),
        spec: Some(CronJobSpec {
            // A second run during the first would be refused by the server.
            concurrency_policy: Some("Forbid".into()),
            failed_jobs_history_limit: Some(policy.failed_runs_history_limit),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::policy_labels(&policy.name)),
                    ..ObjectMeta::default()
                }),
                spec: Some(build_job_spec(policy, registry)),
            },
            schedule: policy.schedule_text.clone(),
            starting_deadline_seconds: Some(STARTING_DEADLINE_SECONDS),
            successful_jobs_history_limit: Some(policy.successful_runs_history_limit),
            suspend: Some(policy.suspend),
            time_zone: Some(policy.time_zone.clone()),
        }),
        status: None,
    }
}
