//! [client] The end of a Registry. Its objects go by their owner references; only the volume needs a hand, and only
//! when the deletion policy says so.

use berth_crds::{DeletionPolicy, Registry};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, Client, ResourceExt as _};

use super::owner_of;
use crate::{
    cluster::{self, Error},
    context::Announcer,
    names,
};

/// Deletes the volume if the policy says so, and lets the Registry go.
pub(super) async fn finish(
    client: &Client,
    api: &Api<Registry>,
    registry: &Registry,
    announcer: &Announcer<'_>,
) -> Result<(), Error> {
    if !registry.finalizers().iter().any(|finalizer| finalizer == names::VOLUME_FINALIZER) {
        return Ok(());
    }
    // The policy may have been changed after the deletion began; the last word counts.
    if registry.spec.deletion_policy == Some(DeletionPolicy::Delete) {
        let claims =
            Api::<PersistentVolumeClaim>::namespaced(client.clone(), &registry.namespace().unwrap_or_default());
        let claim = claims
            .get_metadata_opt(&registry.name_any())
            .await
            .map_err(|source| Error::Read { what: "the PersistentVolumeClaim", source })?;
        if let Some(claim) = claim.filter(|claim| owner_of(registry).labels_match(&claim.metadata)) {
            cluster::delete(&claims, &claim.metadata, announcer).await?;
        }
    }
    cluster::set_finalizer(api, registry, names::VOLUME_FINALIZER, false).await
}
