//! [client] The few ways in which the operator changes the cluster: server-side apply, delete, and a new status.
//!
//! It knows nothing of what the objects mean.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{context::Announcer, names, reclaim};

/// Why the cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Objects could not be read.
    #[error("cannot read {what}: {}", tell(source))]
    Read {
        /// What was read.
        what: &'static str,
        /// Why it failed.
        source: kube::Error,
    },
    /// An object could not be applied.
    #[error("cannot apply {kind} {name}: {}", tell(source))]
    Apply {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why it failed.
        source: kube::Error,
    },
    /// An object could not be deleted.
    #[error("cannot delete {kind} {name}: {}", tell(source))]
    Delete {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why it failed.
        source: kube::Error,
    },
    /// The status or the finalizers of a resource could not be written.
    #[error("cannot update {kind} {name}: {}", tell(source))]
    Update {
        /// The resource's kind.
        kind: String,
        /// The resource's name.
        name: String,
        /// Why it failed.
        source: kube::Error,
    },
    /// An object could not be written as JSON.
    #[error("cannot write an object as JSON: {0}")]
    Serialize(#[from] serde_json::Error),
    /// The operating system gives no randomness for a token.
    #[error("cannot make a token: {0}")]
    Random(#[from] getrandom::Error),
}

impl Error {
    /// What the server said when it understood a request and refused it for what it asks: trying it again as it is
    /// does not help.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        let (Self::Apply { source, .. } | Self::Update { source, .. } | Self::Delete { source, .. }) = self else {
            return None;
        };
        match source {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => Some(&status.message),
            _ => None,
        }
    }

    /// The fields that the server found invalid, as it names them.
    fn invalid_fields(&self) -> Vec<&str> {
        match self {
            Self::Apply { source: kube::Error::Api(status), .. } if status.code == 422 => {
                status.details.iter().flat_map(|details| &details.causes).map(|cause| cause.field.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The server's own words where there are any: the client's repeat them in the form of a debugger.
fn tell(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// Server-side apply of an object, and an event if that changed anything. Where fields that others set make the object
/// invalid, they are removed; see [`crate::reclaim`].
///
/// # Errors
/// [`Error::Apply`].
pub async fn apply<K>(
    api: &Api<K>,
    desired: &K,
    live: Option<&ObjectMeta>,
    announcer: &Announcer<'_>,
) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let error = match apply_once(api, desired, live, announcer).await {
        Ok(applied) => return Ok(applied),
        Err(error) => error,
    };
    let Some(live) = live else { return Err(error) };
    let entries = live.managed_fields.as_deref().unwrap_or_default();
    let Some(reclaimed) = reclaim::reclaim(entries, &error.invalid_fields()) else { return Err(error) };
    let (kind, name) = (K::kind(&()), desired.name_any());
    // Whoever changes the object meanwhile makes this a conflict, and the reconciliation is tried again.
    let operations = serde_json::from_value(json!([
        {"op": "test", "path": "/metadata/uid", "value": live.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live.resource_version},
        {"op": "replace", "path": "/metadata/managedFields", "value": reclaimed.entries},
    ]))?;
    api.patch(&name, &PatchParams::default(), &Patch::<()>::Json(operations)).await.map_err(|source| Error::Apply {
        kind: kind.clone().into_owned(),
        name: name.clone(),
        source,
    })?;
    let note = format!("removed from {kind} {name} what {} set in its spec: {error}", reclaimed.managers.join(", "));
    let applied = apply_once(api, desired, Some(live), announcer).await?;
    announcer.warning("Reclaimed", note, Some(applied.object_ref(&()))).await;
    Ok(applied)
}

/// Server-side apply of an object whose refusal is an answer, and an event if that changed anything.
///
/// # Errors
/// [`Error::Apply`].
pub async fn apply_once<K>(
    api: &Api<K>,
    desired: &K,
    live: Option<&ObjectMeta>,
    announcer: &Announcer<'_>,
) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = desired.name_any();
    let kind = K::kind(&()).into_owned();
    let parameters = PatchParams::apply(names::MANAGER).force();
    let applied = api.patch(&name, &parameters, &Patch::Apply(desired)).await.map_err(|source| Error::Apply {
        kind: kind.clone(),
        name: name.clone(),
        source,
    })?;
    let reference = Some(applied.object_ref(&()));
    match live {
        None => announcer.normal("Created", format!("created {kind} {name}"), reference).await,
        Some(live) if own_fields(live) != own_fields(applied.meta()) => {
            announcer.normal("Updated", format!("updated {kind} {name}"), reference).await;
        }
        Some(_) => {}
    }
    Ok(applied)
}

/// What the API server noted of our last apply that changed something: which fields, and when. The version of the object
/// would not tell, because others change its status and more at the same time.
fn own_fields(metadata: &ObjectMeta) -> Option<&ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten().find(|entry| reclaim::is_own(entry))
}

/// Deletes exactly the object that was seen; one that is gone already is fine.
///
/// # Errors
/// [`Error::Delete`].
pub async fn delete<K>(api: &Api<K>, live: &ObjectMeta, announcer: &Announcer<'_>) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let name = live.name.clone().unwrap_or_default();
    let kind = K::kind(&()).into_owned();
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: live.uid.clone(), resource_version: None }),
        ..DeleteParams::background()
    };
    match api.delete(&name, &parameters).await {
        Ok(_) => {
            announcer.normal("Deleted", format!("deleted {kind} {name}"), None).await;
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(Error::Delete { kind, name, source }),
    }
}

/// Puts a status in the place of the one before, on the very resource that was seen.
///
/// # Errors
/// [`Error::Update`], or [`Error::Serialize`].
pub async fn replace_status<K, S>(api: &Api<K>, resource: &K, status: &S) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let operations = serde_json::from_value(json!([
        {"op": "test", "path": "/metadata/uid", "value": resource.uid()},
        {"op": "add", "path": "/status", "value": status},
    ]))?;
    let patch = Patch::<()>::Json(operations);
    match api.patch_status(&resource.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        // The resource went away meanwhile, and nobody reads its status any more.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(update_error(resource, source)),
    }
}

/// Adds or removes a finalizer, if it is not so yet. A change that somebody else made meanwhile is a conflict, and the
/// reconciliation is tried again.
///
/// # Errors
/// [`Error::Update`].
pub async fn set_finalizer<K>(api: &Api<K>, resource: &K, finalizer: &str, present: bool) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut finalizers = resource.finalizers().to_vec();
    if finalizers.iter().any(|f| f == finalizer) == present {
        return Ok(());
    }
    if present {
        finalizers.push(finalizer.to_owned());
    } else {
        finalizers.retain(|f| f != finalizer);
    }
    let patch = json!({
        "metadata": {"resourceVersion": resource.resource_version(), "finalizers": finalizers}
    });
    let parameters = PatchParams { field_manager: Some(names::MANAGER.into()), ..PatchParams::default() };
    api.patch(&resource.name_any(), &parameters, &Patch::Merge(&patch))
        .await
        .map_err(|source| update_error(resource, source))?;
    Ok(())
}

fn update_error<K: Resource<DynamicType = ()>>(resource: &K, source: kube::Error) -> Error {
    Error::Update { kind: K::kind(&()).into_owned(), name: resource.name_any(), source }
}
