//! The claim of the volume that holds the content.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{ValidRegistry, metadata};
use crate::registry::validate::ValidStorage;

/// The claim, if Berth makes one. It has no owner: the content outlives the Registry.
pub(super) fn build_volume_claim(registry: &ValidRegistry) -> Option<PersistentVolumeClaim> {
    let ValidStorage::OwnClaim { name, size, class, access_modes } = &registry.storage else { return None };
    let mut metadata = metadata(registry, name.clone());
    metadata.owner_references = None;
    Some(PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access_modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.to_string()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}
