//! The operator: it turns a `Registry` into a running `berth-registry`, and a `GCPolicy` into scheduled garbage
//! collection.
//!
//! Every kind goes through the same steps, one file each: fetch (reads the cluster) → validate → render (pure) → apply
//! (writes) → status (pure). `berth-operator render` runs the pure steps with no cluster.
//!
//! The operator knows the server only by its image, its configuration (`berth-config`) and its admin route; no code of
//! the server is linked.

pub mod cli;
pub mod cluster;
pub mod conditions;
pub mod context;
pub mod controllers;
pub mod events;
pub mod gc_policy;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod offline;
pub mod ownership;
pub mod pods;
pub mod probe;
pub mod problem;
pub mod rbac;
pub mod reclaim;
pub mod registry;
pub mod server;
pub mod stored;
pub mod watches;

/// The image of the server that belongs to this version of the operator.
pub const DEFAULT_REGISTRY_IMAGE: &str = concat!("berth.dev/berth-registry:", env!("CARGO_PKG_VERSION"));

/// What validation needs to know beside the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image of a Registry that names none.
    pub registry_image: String,
    /// The namespace of a resource that names none; in a cluster every resource has one.
    pub namespace: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { registry_image: DEFAULT_REGISTRY_IMAGE.into(), namespace: "default".into() }
    }
}
