//! The two Services of a Registry: one for clients, one for health, metrics and administration.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{ValidRegistry, metadata};
use crate::names;

/// The Service that clients use.
pub(super) fn build_service(registry: &ValidRegistry) -> Service {
    let mut metadata = metadata(registry, registry.name.clone());
    metadata.annotations = Some(registry.service.annotations.clone()).filter(|annotations| !annotations.is_empty());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            publish_not_ready_addresses: Some(false),
            type_: Some(registry.service.type_.as_str().into()),
            selector: Some(names::registry_selector(&registry.name)),
            external_ips: no_external_ips(),
            external_name: Some(String::new()),
            session_affinity: Some("None".into()),
            ports: Some(vec![ServicePort {
                node_port: registry.service.node_port,
                ..port("registry", registry.service.port)
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service of the debug port. It has no address of its own, and stays inside the cluster. A pod that is not ready
/// is reachable through it, because that is when its health and metrics matter.
pub(super) fn build_debug_service(registry: &ValidRegistry) -> Service {
    Service {
        metadata: metadata(registry, names::debug_service(&registry.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::registry_selector(&registry.name)),
            external_ips: no_external_ips(),
            external_name: Some(String::new()),
            session_affinity: Some("None".into()),
            ports: Some(vec![port("debug", names::DEBUG_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Said aloud, because what is not said is left as somebody else sets it: a registry is reachable where the spec says,
/// and nowhere else.
#[expect(clippy::unnecessary_wraps, reason = "the type of the field")]
fn no_external_ips() -> Option<Vec<String>> {
    Some(Vec::new())
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: number,
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String(name.into())),
        ..ServicePort::default()
    }
}
