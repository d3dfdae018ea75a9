//! The controllers: which watch starts which reconciliation. What a reconciliation does is not known here.
//!
//! Everything is watched as metadata only, and what is made for a resource by its labels: that something changed is all
//! that is needed, because a reconciliation reads what it decides on. So no resource, whatever it holds, keeps the others
//! from being seen. Secrets are not watched at all.

use std::{fmt, fmt::Debug, future::Future, sync::Arc, time::Instant};

use berth_crds::Registry;
use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        batch::v1::{CronJob, Job},
        core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    },
};
use kube::{
    Api, Resource, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        Controller, Predicate as _, PredicateConfig, WatchStreamExt as _,
        controller::{self, Action, Error as ControllerError},
        predicates,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Error,
    conditions,
    context::Context,
    gc_policy::{self, WatchedPolicy},
    names, registry,
};

/// How many resources of a kind are reconciled at once.
const CONCURRENCY: u16 = 8;
/// How long changes of one resource are gathered before it is reconciled.
const DEBOUNCE: std::time::Duration = std::time::Duration::from_millis(100);

/// How often it is looked whether the admin Secrets are still there, which no watch tells.
const LOOK_FOR_SECRETS: std::time::Duration = std::time::Duration::from_secs(30);
/// How many of them are looked for at once.
const LOOKS_AT_ONCE: usize = 4;

/// Which namespaces a controller is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// One.
    Namespace(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("all namespaces"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
        }
    }
}

impl Scope {
    fn api<K>(&self, client: &kube::Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

/// Runs the controllers of every scope until `stop`, and then until what is underway is done.
pub async fn run(context: Arc<Context>, scopes: Vec<Scope>, stop: CancellationToken) {
    let mut all: Vec<BoxFuture<'static, ()>> = Vec::new();
    for scope in scopes {
        all.push(run_registries(Arc::clone(&context), scope.clone(), stop.clone()).boxed());
        all.push(run_policies(Arc::clone(&context), scope, stop.clone()).boxed());
    }
    futures::future::join_all(all).await;
}

async fn run_registries(context: Arc<Context>, scope: Scope, stop: CancellationToken) {
    const LABEL: &str = names::REGISTRY_LABEL;
    let (resources, store) = main_stream::<PartialObjectMeta<Registry>>(&context, &scope);
    let owned = futures::stream::select_all([
        labelled::<Deployment, PartialObjectMeta<Registry>>(&context, &scope, LABEL),
        labelled::<Service, PartialObjectMeta<Registry>>(&context, &scope, LABEL),
        labelled::<ConfigMap, PartialObjectMeta<Registry>>(&context, &scope, LABEL),
        labelled::<ServiceAccount, PartialObjectMeta<Registry>>(&context, &scope, LABEL),
        labelled::<PersistentVolumeClaim, PartialObjectMeta<Registry>>(&context, &scope, LABEL),
        labelled::<Pod, PartialObjectMeta<Registry>>(&context, &scope, LABEL),
        without_secret(&context, store.clone()),
    ]);
    let events = Controller::for_stream(resources, store)
        .reconcile_on(owned)
        .with_config(configuration())
        .graceful_shutdown_on(async move { stop.cancelled_owned().await })
        .run(|object, context| measured("Registry", object, context, registry::reconcile), wait, context);
    log("Registry", events).await;
}

async fn run_policies(context: Arc<Context>, scope: Scope, stop: CancellationToken) {
    const LABEL: &str = names::POLICY_LABEL;
    let (resources, store) = main_stream::<WatchedPolicy>(&context, &scope);
    let owned = futures::stream::select_all([
        labelled::<CronJob, WatchedPolicy>(&context, &scope, LABEL),
        labelled::<Job, WatchedPolicy>(&context, &scope, LABEL),
        labelled::<Pod, WatchedPolicy>(&context, &scope, LABEL),
        policies_of_registries(&context, &scope, store.clone()),
    ]);
    let events = Controller::for_stream(resources, store)
        .reconcile_on(owned)
        .with_config(configuration())
        .graceful_shutdown_on(async move { stop.cancelled_owned().await })
        .run(|object, context| measured("GCPolicy", object, context, gc_policy::reconcile), wait, context);
    log("GCPolicy", events).await;
}

fn configuration() -> controller::Config {
    controller::Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE)
}

type Resources<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// A watch, tried again when it breaks; whether it sees anything is noted for readiness. `reader` tells the watches of
/// one kind apart.
fn watch<K>(
    context: &Context,
    scope: &Scope,
    reader: &str,
    config: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (watches, name) = (Arc::clone(&context.watches), format!("{} in {scope}, for {reader}", K::plural(&())));
    watcher(scope.api::<K>(&context.client), config).default_backoff().inspect(move |event| watches.note(&name, event))
}

/// The resources themselves, whenever somebody else changed them: our own status does not start a reconciliation.
fn main_stream<K>(context: &Context, scope: &Scope) -> (Resources<K>, Store<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K: Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let stream = watch::<K>(context, scope, &K::kind(&()), watcher::Config::default())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations).combine(predicates::finalizers),
            PredicateConfig::default(),
        );
    (stream.boxed(), store)
}

/// The resources whose objects of a kind changed or went away: by the label that names the resource.
fn labelled<C, K>(context: &Context, scope: &Scope, label: &'static str) -> BoxStream<'static, ObjectRef<K>>
where
    C: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let selector = format!("{},{label}", names::MANAGED);
    let kind = C::kind(&()).into_owned();
    let config = watcher::Config::default().labels(&selector);
    watch::<PartialObjectMeta<C>>(context, scope, &K::kind(&()), config)
        .touched_objects()
        .filter_map(move |event| {
            let reference = match event {
                Ok(object) => {
                    let name = object.labels().get(label).cloned();
                    name.zip(object.namespace()).map(|(name, ns)| ObjectRef::new(&name).within(&ns))
                }
                Err(error) => {
                    warn_of(&kind, &error);
                    None
                }
            };
            futures::future::ready(reference)
        })
        .boxed()
}

/// The Registries whose admin Secret is gone, at the latest half a minute after it went.
fn without_secret(
    context: &Context,
    registries: Store<PartialObjectMeta<Registry>>,
) -> BoxStream<'static, ObjectRef<PartialObjectMeta<Registry>>> {
    let client = context.client.clone();
    let rounds = futures::stream::unfold((), async |()| {
        tokio::time::sleep(LOOK_FOR_SECRETS).await;
        Some(((), ()))
    });
    rounds
        .flat_map(move |()| {
            let client = client.clone();
            let look = move |registry: Arc<PartialObjectMeta<Registry>>| {
                let namespace = registry.namespace().unwrap_or_default();
                let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
                async move {
                    let found = secrets.get_metadata_opt(&names::admin_secret(&registry.name_any())).await;
                    matches!(found, Ok(None)).then(|| ObjectRef::from_obj(&*registry))
                }
            };
            futures::stream::iter(registries.state()).map(look).buffer_unordered(LOOKS_AT_ONCE)
        })
        .filter_map(futures::future::ready)
        .boxed()
}

/// The policies of the Registries that changed, came or went.
fn policies_of_registries(
    context: &Context,
    scope: &Scope,
    policies: Store<WatchedPolicy>,
) -> BoxStream<'static, ObjectRef<WatchedPolicy>> {
    let config = watcher::Config::default();
    watch::<PartialObjectMeta<Registry>>(context, scope, "GCPolicy", config)
        .touched_objects()
        .filter_map(move |event| {
            let found = event.inspect_err(|error| warn_of("Registry", error)).ok().map(|registry| {
                let refers = |policy: &Arc<WatchedPolicy>| {
                    policy.namespace() == registry.namespace() && policy.registry() == Some(&*registry.name_any())
                };
                let policies = policies.state().into_iter().filter(refers);
                futures::stream::iter(policies.map(|policy| ObjectRef::from_obj(&*policy)).collect::<Vec<_>>())
            });
            futures::future::ready(found)
        })
        .flatten()
        .boxed()
}

async fn measured<K, F>(
    kind: &'static str,
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, Error>
where
    F: Future<Output = Result<Action, Error>>,
{
    let start = Instant::now();
    let result = reconcile(object, Arc::clone(&context)).await;
    context.metrics.reconciled(kind, start.elapsed(), result.is_err());
    result
}

#[expect(clippy::needless_pass_by_value, reason = "the controller gives what it shares")]
fn wait<K: Resource>(object: Arc<K>, _error: &Error, context: Arc<Context>) -> Action {
    Action::requeue(context.attempts.failed(&*object))
}

async fn log<K>(
    kind: &'static str,
    events: impl Stream<Item = Result<(ObjectRef<K>, Action), ControllerError<Error, watcher::Error>>>,
) where
    K: Resource<DynamicType = ()>,
{
    events
        .for_each(|event| {
            match event {
                Ok((resource, _)) => tracing::debug!(kind, %resource, "reconciled"),
                // An object that outlives its resource still names it.
                Err(ControllerError::ObjectNotFound(resource)) => {
                    tracing::debug!(kind, %resource, "the resource is gone");
                }
                Err(ControllerError::ReconcilerFailed(error, resource)) => {
                    let error = conditions::shorten(&error.to_string());
                    tracing::warn!(kind, %resource, error, "a reconciliation failed and is tried again");
                }
                Err(error) => warn_of(kind, &error),
            }
            futures::future::ready(())
        })
        .await;
}

/// What the cluster answers may be long, and comes again with every attempt.
fn warn_of(kind: &str, error: &impl fmt::Display) {
    let error = conditions::shorten(&error.to_string());
    tracing::warn!(kind, error, "a watch broke and is made again");
}
