//! A resource as it is stored, read so that one that cannot be understood is a matter of its own.
//!
//! The watches read no more of a resource than its name and what it names; a reconciliation reads the rest here. What the
//! schema of another version let in, or what no schema keeps out, then stalls one resource, and not the list of all.

use std::{fmt::Debug, marker::PhantomData};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{
    Api, Resource, ResourceExt as _,
    api::GetParams,
    core::{PartialObjectMeta, Request},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    cluster::{self, Error},
    conditions::{self, Progress, Wanted},
    context::Context,
};

/// The reason of a resource that cannot be read.
const REASON: &str = "Unreadable";

/// A resource that is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored<K> {
    /// As its type has it.
    Readable(Box<K>),
    /// A field holds what the type cannot.
    Unreadable(Box<Unreadable<K>>),
}

/// A resource of which a field holds what its type cannot.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable<K> {
    /// Its metadata.
    pub metadata: ObjectMeta,
    status: Map<String, Value>,
    problem: String,
    kind: PhantomData<K>,
}

impl<K: Resource> Stored<K> {
    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Readable(resource) => resource.meta(),
            Self::Unreadable(unreadable) => &unreadable.metadata,
        }
    }
}

/// Reads a resource; none when there is none of that name.
///
/// # Errors
/// What the cluster says, and what is wrong with metadata that cannot be read.
pub async fn read<K>(api: &Api<K>, name: &str) -> Result<Option<Stored<K>>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let request = Request::new(api.resource_url()).get(name, &GetParams::default());
    let request = request.map_err(kube::Error::BuildRequest)?;
    match api.clone().into_client().request::<Value>(request).await {
        Ok(raw) => Ok(Some(parse(&raw).map_err(kube::Error::SerdeError)?)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// [pure] Reads a resource, and names the field that cannot be.
///
/// # Errors
/// When not even the metadata can be read.
pub(crate) fn parse<K: DeserializeOwned>(raw: &Value) -> Result<Stored<K>, serde_json::Error> {
    let error = match serde_path_to_error::deserialize::<_, K>(raw) {
        Ok(resource) => return Ok(Stored::Readable(Box::new(resource))),
        Err(error) => error,
    };
    Ok(Stored::Unreadable(Box::new(Unreadable {
        metadata: serde::Deserialize::deserialize(&raw["metadata"])?,
        status: raw["status"].as_object().cloned().unwrap_or_default(),
        problem: format!("{}: {}: correct it", error.path(), error.inner()),
        kind: PhantomData,
    })))
}

/// What of the conditions that are known is true no more while a resource cannot be read.
pub type Also = fn(&[Condition]) -> Vec<Wanted>;

impl<K> Unreadable<K> {
    /// Which field cannot be read, and why.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::stalled(REASON, &*self.problem)
    }

    fn conditions(&self) -> Vec<Condition> {
        let conditions = self.status.get("conditions").cloned().unwrap_or_default();
        serde_json::from_value(conditions).unwrap_or_default()
    }

    /// [pure] The status that says `progress`, and `also` of what was known; what else it holds stays as it is.
    fn status(&self, progress: &Progress, also: Also, now: Timestamp) -> Value {
        let (before, generation) = (self.conditions(), self.metadata.generation);
        let also = also(&before);
        let said: Vec<_> =
            ["Ready", "Reconciling", "Stalled"].into_iter().chain(also.iter().map(|one| one.type_)).collect();
        let wanted = progress.conditions().into_iter().chain(also).collect();
        let mut conditions = conditions::merge(&before, wanted, generation, now);
        conditions.extend(before.into_iter().filter(|condition| !said.contains(&condition.type_.as_str())));
        let mut status = self.status.clone();
        status.insert("conditions".into(), json!(conditions));
        status.insert("observedGeneration".into(), json!(generation));
        Value::Object(status)
    }
}

/// Says in the status of a resource that cannot be read how far it is, and announces it if that is news.
///
/// # Errors
/// [`Error::Update`].
pub async fn report<K>(
    unreadable: &Unreadable<K>,
    progress: &Progress,
    also: Also,
    context: &Context,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug,
{
    let status = unreadable.status(progress, also, Timestamp::now());
    if unreadable.status == *status.as_object().unwrap_or(&unreadable.status) {
        return Ok(());
    }
    let resource = PartialObjectMeta::<K> { types: None, metadata: unreadable.metadata.clone(), _phantom: PhantomData };
    // Only the metadata of the answer is read.
    let namespace = resource.namespace().unwrap_or_default();
    let api = Api::<PartialObjectMeta<K>>::namespaced(context.client.clone(), &namespace);
    cluster::replace_status(&api, &resource, &status).await?;
    let before = unreadable.conditions();
    let told = progress.conditions().into_iter().find(|condition| condition.type_ == "Stalled");
    if let Some(stalled) = told {
        let message = conditions::shorten(&stalled.message);
        if conditions::find(&before, "Stalled").is_none_or(|old| old.message != message) {
            context.announcer(&resource).warning(&stalled.reason, message, None).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_crds::{GCPolicy, Registry};

    fn problem<K: DeserializeOwned>(raw: &Value) -> String {
        match parse::<K>(raw).unwrap() {
            Stored::Readable(_) => String::new(),
            Stored::Unreadable(unreadable) => unreadable.problem,
        }
    }

    #[test]
    fn the_field_is_named() {
        let registry = |spec: Value| {
            json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main"}, "spec": spec})
        };
        let spread = |skew: Value| {
            registry(json!({"storage": {"emptyDir": {}}, "topologySpreadConstraints": [
                {"maxSkew": skew, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}))
        };
        for (raw, expected) in [
            (spread(json!(1)), ""),
            (spread(json!(3_000_000_000_i64)), "spec.topologySpreadConstraints[0].maxSkew: "),
            (registry(json!({"storage": {"emptyDir": {}}, "replicas": 1.5})), "spec.replicas: "),
            (registry(json!({})), "spec: missing field `storage`"),
        ] {
            let found = problem::<Registry>(&raw);
            assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{raw}: {found}");
        }
        let policy = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy", "metadata": {"name": "nightly"},
            "spec": {"registryRef": {"name": "main"}, "schedule": "@daily"}, "status": {"runs": [{}]}});
        assert!(problem::<GCPolicy>(&policy).starts_with("status.runs[0]: missing field"), "{policy}");
    }

    #[test]
    fn the_rest_of_the_status_stays() {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "1 of 1 pods are ready",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut storage = ready.clone();
        storage["type"] = json!("StorageReady");
        let raw = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "generation": 7}, "spec": {"storage": {}, "replicas": "one"},
            "status": {"url": "http://main", "conditions": [ready, storage]}});
        let Stored::Unreadable(unreadable) = parse::<Registry>(&raw).unwrap() else { panic!("{raw}") };
        let status = unreadable.status(&unreadable.progress(), |_| Vec::new(), "2026-01-02T00:00:00Z".parse().unwrap());
        insta::assert_yaml_snapshot!(status);
        let also: Also = |known| {
            let other = Wanted {
                type_: "StorageReady",
                holds: None,
                reason: "Unread".into(),
                message: known.len().to_string(),
            };
            vec![other]
        };
        let status = unreadable.status(&unreadable.progress(), also, "2026-01-02T00:00:00Z".parse().unwrap());
        let found: Vec<_> =
            status["conditions"].as_array().unwrap().iter().filter(|one| one["type"] == "StorageReady").collect();
        assert!(matches!(&found[..], [one] if one["status"] == "Unknown" && one["message"] == "2"), "{found:?}");
    }
}
