//! [client] The end of a Registry. Its objects go by their owner references; only the volume needs a hand, and only
//! when the deletion policy says so.

use berth_crds::{DeletionPolicy, Registry};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::PersistentVolumeClaim},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, ResourceExt as _};

use super::owner_of;
use crate::{
    cluster::{self, Error},
    context::Announcer,
    names,
};

/// The finalizer of a resource that is deleted with `--cascade=orphan`, until its objects are let go.
const ORPHAN_FINALIZER: &str = "orphan";

/// Deletes the volume if it goes with the Registry, and lets the Registry go.
pub(super) async fn finish(
    client: &Client,
    api: &Api<Registry>,
    registry: &Registry,
    announcer: &Announcer<'_>,
) -> Result<(), Error> {
    if !registry.finalizers().iter().any(|finalizer| finalizer == names::VOLUME_FINALIZER) {
        return Ok(());
    }
    let (name, namespace) = (registry.name_any(), registry.namespace().unwrap_or_default());
    let deployment = Api::<Deployment>::namespaced(client.clone(), &namespace)
        .get_metadata_opt(&name)
        .await
        .map_err(|source| Error::Read { what: "the Deployment", source })?;
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    let claim = claims
        .get_metadata_opt(&name)
        .await
        .map_err(|source| Error::Read { what: "the PersistentVolumeClaim", source })?;
    if let Some(claim) = claim.filter(|claim| owner_of(registry).labels_match(&claim.metadata)) {
        match reason_to_keep(registry, deployment.as_ref().map(|live| &live.metadata)) {
            None => cluster::delete(&claims, &claim.metadata, announcer).await?,
            Some(reason) => {
                announcer.normal("VolumeKept", format!("kept PersistentVolumeClaim {name}: {reason}"), None).await;
            }
        }
    }
    cluster::set_finalizer(api, registry, names::VOLUME_FINALIZER, false).await
}

/// [pure] Why the volume outlives the Registry, if it does.
fn reason_to_keep(registry: &Registry, deployment: Option<&ObjectMeta>) -> Option<&'static str> {
    let owner = owner_of(registry);
    // The policy may have been changed after the deletion began; the last word counts.
    if registry.spec.deletion_policy != Some(DeletionPolicy::Delete) {
        return Some("spec.deletionPolicy is Retain");
    }
    if registry.spec.paused == Some(true) {
        return Some("nothing is changed while spec.paused is true");
    }
    // The cluster may be done with letting the objects go, and its finalizer be gone, before we come to look. Then the
    // Deployment tells: in every other deletion it is gone, or still the Registry's.
    let was_let_go = deployment.is_some_and(|live| owner.labels_match(live) && !owner.controls(live));
    if was_let_go || registry.finalizers().iter().any(|finalizer| finalizer == ORPHAN_FINALIZER) {
        return Some("the Registry was deleted without its objects, and its pods go on to use it");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_volume_goes_only_when_its_pods_go() {
        let owned_by = |uid: &str| {
            json!({"labels": names::registry_labels("main"), "ownerReferences": [{"apiVersion": "berth.dev/v1alpha1",
                "kind": "Registry", "name": "main", "uid": uid, "controller": true}]})
        };
        let let_go = json!({"labels": names::registry_labels("main")});
        let foreign = json!({"labels": {"app": "main"}});
        let delete = json!({"deletionPolicy": "Delete"});
        let ours = names::VOLUME_FINALIZER;
        for (spec, finalizers, deployment, kept) in [
            (&delete, vec![ours], None, false),
            (&delete, vec![ours], Some(owned_by("u1")), false),
            (&delete, vec![ours], Some(foreign), false),
            (&delete, vec![ours, "foregroundDeletion"], Some(owned_by("u1")), false),
            (&delete, vec![ours, "orphan"], Some(owned_by("u1")), true),
            (&delete, vec![ours], Some(let_go), true),
            (&json!({}), vec![ours], None, true),
            (&json!({"deletionPolicy": "Retain"}), vec![ours], None, true),
            (&json!({"deletionPolicy": "Delete", "paused": true}), vec![ours], None, true),
        ] {
            let mut spec: Value = spec.clone();
            spec["storage"] = json!({"persistentVolumeClaim": {"size": "1Gi"}});
            let registry: Registry =
                serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "spec": spec,
                    "metadata": {"name": "main", "uid": "u1", "finalizers": finalizers}}))
                .unwrap();
            let deployment: Option<ObjectMeta> = deployment.map(|live| serde_json::from_value(live).unwrap());
            let found = reason_to_keep(&registry, deployment.as_ref());
            assert_eq!(found.is_some(), kept, "{spec} {finalizers:?} {deployment:?}: {found:?}");
        }
    }
}
