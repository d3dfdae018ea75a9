//! A GCPolicy as far as it is watched: what it is called, and which Registry it names.

use berth_crds::GCPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

/// A GCPolicy of which a watch reads no more than this: whatever else it holds, the others are seen.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = GCPolicy)]
pub struct WatchedPolicy {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default, rename = "registryRef")]
    registry_ref: Value,
}

impl WatchedPolicy {
    /// The name of the Registry that it names.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        self.spec.registry_ref["name"].as_str()
    }
}
