//! [pure] A valid GCPolicy and its Registry to the objects that collect: one file an object. No clock, no randomness.

mod cron_job;
mod job;
mod pod;

use k8s_openapi::{
    api::batch::v1::{CronJob, Job},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

use super::validate::{RunNow, ValidPolicy};
use crate::{names, registry::validate::ValidRegistry};

/// The name of the container that collects.
pub const CONTAINER: &str = "collect";
/// The argument that makes a run only count.
pub const DRY_RUN_ARGUMENT: &str = "--dry-run";

/// The objects of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The runs that the schedule starts.
    pub cron_job: CronJob,
    /// The run that the annotation asks for and that was not started yet.
    pub run_now: Option<Job>,
}

/// Renders a policy for its Registry.
#[must_use]
pub fn render(policy: &ValidPolicy, registry: &ValidRegistry) -> Rendered {
    Rendered {
        cron_job: cron_job::build_cron_job(policy, registry),
        run_now: policy.run_now.as_ref().map(|run_now| job::build_job(policy, registry, run_now)),
    }
}

impl Rendered {
    /// The objects in the order in which they are applied.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn objects(&self) -> Result<Vec<Value>, serde_json::Error> {
        let Self { cron_job, run_now } = self;
        let mut objects = vec![serde_json::to_value(cron_job)?];
        if let Some(job) = run_now {
            objects.push(serde_json::to_value(job)?);
        }
        Ok(objects)
    }
}

/// Name, namespace, labels and owner of an object that goes with its policy.
fn metadata(policy: &ValidPolicy, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(policy.namespace.clone()),
        labels: Some(names::policy_labels(&policy.name)),
        owner_references: policy.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}
