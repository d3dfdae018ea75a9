//! [client] The rendered objects of a policy into the cluster.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{fetch::Observed, render::Rendered};
use crate::{
    cluster::{self, Error},
    context::Announcer,
    names,
    ownership::{Owner, Taken},
    registry::apply::ApplyError,
};

/// Applies the schedule, and starts the run that is asked for, once.
///
/// # Errors
/// [`ApplyError`], which names the object.
pub async fn apply(
    client: &Client,
    owner: &Owner<'_>,
    namespace: &str,
    rendered: Rendered,
    observed: &Observed,
    announcer: &Announcer<'_>,
) -> Result<(), ApplyError> {
    // Taken apart without `..`: an object that is rendered and not applied does not compile.
    let Rendered { cron_job, run_now: job } = rendered;
    let live = observed.cron_job.as_ref().map(|object| &object.metadata);
    owner.check("CronJob", live)?;
    let cron_jobs = Api::<CronJob>::namespaced(client.clone(), namespace);
    cluster::apply(&cron_jobs, &cron_job, live, announcer).await?;
    match job {
        Some(job) => start(client, owner, namespace, &job, announcer).await,
        None => Ok(()),
    }
}

/// Creates the Job of a requested run. No other run has its name: when it is there already, the operator was stopped
/// before it could note so. One that is on its way out is waited for: whether it ran cannot be told.
async fn start(
    client: &Client,
    owner: &Owner<'_>,
    namespace: &str,
    job: &Job,
    announcer: &Announcer<'_>,
) -> Result<(), ApplyError> {
    let api = Api::<Job>::namespaced(client.clone(), namespace);
    let name = job.name_any();
    let failed = |source| Error::Apply { kind: "Job".into(), name: name.clone(), source };
    let parameters = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
    match api.create(&parameters, job).await {
        Ok(created) => {
            let reference = Some(created.object_ref(&()));
            announcer.normal("RunStarted", format!("started the requested run {name}"), reference).await;
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let live = api.get_metadata_opt(&name).await.map_err(failed)?;
            let Some(live) = live else { return Err(Taken::Leaving { kind: "Job", name }.into()) };
            Ok(owner.check("Job", Some(&live.metadata))?)
        }
        Err(source) => Err(failed(source).into()),
    }
}

/// Stops the schedule while the CronJob cannot be brought to what is asked for, and leaves the rest of it as it is.
///
/// # Errors
/// [`Error::Apply`], which names the CronJob.
pub async fn suspend(
    client: &Client,
    owner: &Owner<'_>,
    cron_job: Option<&CronJob>,
    announcer: &Announcer<'_>,
) -> Result<(), Error> {
    let Some(cron_job) = cron_job else { return Ok(()) };
    let is_suspended = cron_job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    if is_suspended || owner.check("CronJob", Some(&cron_job.metadata)).is_err() {
        return Ok(());
    }
    let api = Api::<CronJob>::namespaced(client.clone(), &cron_job.namespace().unwrap_or_default());
    let name = cron_job.name_any();
    let parameters = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"suspend": true}}));
    let suspended = api.patch(&name, &parameters, &patch).await.map_err(|source| Error::Apply {
        kind: "CronJob".into(),
        name: name.clone(),
        source,
    })?;
    announcer.normal("Suspended", format!("suspended CronJob {name}"), Some(suspended.object_ref(&()))).await;
    Ok(())
}
