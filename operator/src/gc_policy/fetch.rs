//! [client] What there is in the cluster for a GCPolicy, before anything is decided.

use std::fmt::Debug;

use berth_crds::{GCPolicy, Registry};
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    cluster::Error,
    names,
    stored::{self, Stored},
};

/// How many Jobs or pods are asked for at once.
const PAGE: u32 = 200;
/// How many pages are read; the history limits keep far fewer.
const MAX_PAGES: usize = 10;

/// What was found.
#[derive(Debug)]
pub struct Observed {
    /// The Registry that the policy names.
    pub registry: Option<Stored<Registry>>,
    /// The CronJob with the policy's name.
    pub cron_job: Option<CronJob>,
    /// The Jobs with the policy's label.
    pub jobs: Vec<Job>,
    /// Their pods, which were read after the Jobs: the pod of a finished Job is there as it ended.
    pub pods: Vec<Pod>,
    /// Whether there are more pods than were read.
    pub has_more_pods: bool,
}

/// Looks at everything that carries a name of the policy's.
///
/// # Errors
/// [`Error::Read`].
pub async fn fetch(client: &Client, namespace: &str, policy: &GCPolicy) -> Result<Observed, Error> {
    let name = policy.name_any();
    let labelled = format!("{},{}={name}", names::MANAGED, names::POLICY_LABEL);
    let registries = Api::<Registry>::namespaced(client.clone(), namespace);
    let cron_jobs = Api::<CronJob>::namespaced(client.clone(), namespace);
    let jobs = Api::<Job>::namespaced(client.clone(), namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let cron_job_name = names::cron_job(&name);
    let read = |what| move |source| Error::Read { what, source };
    let (registry, cron_job, (jobs, pods)) = tokio::try_join!(
        async { stored::read(&registries, &policy.spec.registry_ref.name).await.map_err(read("the Registry")) },
        async { cron_jobs.get_opt(&cron_job_name).await.map_err(read("the CronJob")) },
        async {
            // One after the other: a Job that finishes between the two would seem to have left no report.
            let jobs = list(&jobs, &labelled).await.map_err(read("the Jobs"))?;
            let pods = list(&pods, &labelled).await.map_err(read("the pods"))?;
            Ok((jobs, pods))
        },
    )?;
    // A Registry on its way out takes no more runs.
    let registry = registry.filter(|registry| registry.metadata().deletion_timestamp.is_none());
    Ok(Observed { registry, cron_job, jobs: jobs.items, pods: pods.items, has_more_pods: pods.has_more })
}

/// What was read of a list, and whether there is more.
struct Listed<K> {
    items: Vec<K>,
    has_more: bool,
}

/// Reads a list page by page, up to a bound.
async fn list<K>(api: &Api<K>, labelled: &str) -> Result<Listed<K>, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut parameters = ListParams::default().labels(labelled).limit(PAGE);
    let mut items = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = api.list(&parameters).await?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(Listed { items, has_more: false }),
        }
    }
    Ok(Listed { items, has_more: true })
}
