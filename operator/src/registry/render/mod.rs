//! [pure] A valid Registry to the objects that make it run: one file an object. No clock and no randomness.
//!
//! The Secret with the admin token is not rendered: the driver makes it, once, when there is none.

mod auth;
mod config_map;
mod deployment;
mod service;
mod service_account;
mod state;
mod store;
mod volume_claim;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

use super::validate::ValidRegistry;
use crate::names;

pub use auth::build_auth;
pub use config_map::build_config;

/// The objects of a Registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The account of the pods, unless one that exists is used.
    pub service_account: Option<ServiceAccount>,
    /// The configuration.
    pub config_map: ConfigMap,
    /// What a running server takes up without a restart.
    pub state: ConfigMap,
    /// The claim of the volume, if Berth makes one.
    pub volume_claim: Option<PersistentVolumeClaim>,
    /// The Service for clients.
    pub service: Service,
    /// The Service for health, metrics and administration.
    pub debug_service: Service,
    /// The pods.
    pub deployment: Deployment,
}

/// What pods take up only when they are made, of the Secrets and ConfigMaps that the spec names: another makes other pods.
/// Nothing where a running pod is brought what changes, and where there is no cluster to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The digest of the certificates that the object store is trusted by, which are no secret.
    pub authorities: Option<String>,
    /// The uid of the Secret with the credentials of the object store, if it is immutable.
    pub credentials: Option<String>,
    /// The uid of the Secret with the certificate, if it is immutable.
    pub certificate: Option<String>,
    /// A digest of the uids of what `spec.auth` names, of all that is immutable.
    pub auth: Option<String>,
}

/// Renders a Registry.
#[must_use]
pub fn render(registry: &ValidRegistry, pins: &Pins) -> Rendered {
    let config_map = config_map::build_config_map(registry);
    Rendered {
        service_account: service_account::build_service_account(registry),
        state: state::build_state(registry),
        volume_claim: volume_claim::build_volume_claim(registry),
        service: service::build_service(registry),
        debug_service: service::build_debug_service(registry),
        deployment: deployment::build_deployment(
            registry,
            config_map.metadata.name.as_deref().unwrap_or_default(),
            pins,
        ),
        config_map,
    }
}

impl Rendered {
    /// The objects in the order in which they are applied: what a pod needs comes before it.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn objects(&self) -> Result<Vec<Value>, serde_json::Error> {
        let Self { service_account, config_map, state, volume_claim, service, debug_service, deployment } = self;
        let mut objects = Vec::new();
        objects.extend(service_account.as_ref().map(serde_json::to_value));
        objects.push(serde_json::to_value(config_map));
        objects.push(serde_json::to_value(state));
        objects.extend(volume_claim.as_ref().map(serde_json::to_value));
        objects.push(serde_json::to_value(service));
        objects.push(serde_json::to_value(debug_service));
        objects.push(serde_json::to_value(deployment));
        objects.into_iter().collect()
    }
}

/// Name, namespace, labels and owner of an object that goes with its Registry.
fn metadata(registry: &ValidRegistry, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(registry.namespace.clone()),
        labels: Some(names::registry_labels(&registry.name)),
        owner_references: registry.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}
