//! [client] What there is in the cluster for a GCPolicy, before anything is decided.

use berth_crds::{GCPolicy, Registry};
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

use crate::{cluster::Error, names};

/// The most Jobs and pods that are looked at; the history limits keep far fewer.
const MAX_LISTED: u32 = 200;

/// What was found.
#[derive(Debug)]
pub struct Observed {
    /// The Registry that the policy names.
    pub registry: Option<Registry>,
    /// The CronJob with the policy's name.
    pub cron_job: Option<CronJob>,
    /// The Jobs with the policy's label.
    pub jobs: Vec<Job>,
    /// Their pods.
    pub pods: Vec<Pod>,
}

/// Looks at everything that carries a name of the policy's.
///
/// # Errors
/// [`Error::Read`].
pub async fn fetch(client: &Client, namespace: &str, policy: &GCPolicy) -> Result<Observed, Error> {
    let name = policy.name_any();
    let labelled =
        ListParams::default().labels(&format!("{},{}={name}", names::MANAGED, names::POLICY_LABEL)).limit(MAX_LISTED);
    let registries = Api::<Registry>::namespaced(client.clone(), namespace);
    let cron_jobs = Api::<CronJob>::namespaced(client.clone(), namespace);
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let cron_job_name = names::cron_job(&name);
    let read = |what| move |source| Error::Read { what, source };
    let (registry, cron_job, jobs, pods) = tokio::try_join!(
        async { registries.get_opt(&policy.spec.registry_ref.name).await.map_err(read("the Registry")) },
        async { cron_jobs.get_opt(&cron_job_name).await.map_err(read("the CronJob")) },
        async { jobs.list(&labelled).await.map_err(read("the Jobs")) },
        async { pods.list(&labelled).await.map_err(read("the pods")) },
    )?;
    // A Registry on its way out takes no more runs.
    let registry = registry.filter(|registry| registry.metadata.deletion_timestamp.is_none());
    Ok(Observed { registry, cron_job, jobs: jobs.items, pods: pods.items })
}
