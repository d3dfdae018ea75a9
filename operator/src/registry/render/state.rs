//! The ConfigMap with what a running server takes up without a restart. Its name never changes, so that a change of its
//! content is no change of the pods; the kubelet brings it to them, within about a minute.

use k8s_openapi::api::core::v1::ConfigMap;

use super::{ValidRegistry, metadata};
use crate::names;

pub(super) fn build_state(registry: &ValidRegistry) -> ConfigMap {
    ConfigMap {
        metadata: metadata(registry, names::state(&registry.name)),
        data: Some([(names::READ_ONLY_KEY.to_owned(), format!("{}\n", registry.read_only))].into()),
        immutable: Some(false),
        ..ConfigMap::default()
    }
}
