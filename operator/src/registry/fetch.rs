//! [client] What there is in the cluster for a Registry, before anything is decided.

use berth_crds::Registry;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams, core::PartialObjectMeta};

use super::certificate::Certificate;
use crate::{cluster::Error, names};

/// The most objects of a kind that are looked at; a Registry has a handful.
const MAX_LISTED: u32 = 200;

/// What was found. Of what the operator does not need to read, and of Secrets above all, only the metadata.
#[derive(Debug)]
pub struct Observed {
    /// The account with the Registry's name.
    pub service_account: Option<PartialObjectMeta<ServiceAccount>>,
    /// The Secret with the admin token.
    pub admin_secret: Option<PartialObjectMeta<Secret>>,
    /// The Secret with the certificate, where the spec names one.
    pub certificate: Option<Certificate>,
    /// Every configuration with the Registry's label.
    pub config_maps: Vec<PartialObjectMeta<ConfigMap>>,
    /// The claim that the spec names, or that has the Registry's name.
    pub volume_claim: Option<PersistentVolumeClaim>,
    /// The Service for clients.
    pub service: Option<PartialObjectMeta<Service>>,
    /// The Service of the debug port.
    pub debug_service: Option<PartialObjectMeta<Service>>,
    /// The Deployment.
    pub deployment: Option<Deployment>,
    /// The pods of the Registry.
    pub pods: Vec<Pod>,
}

/// Looks at everything that carries a name of the Registry's.
///
/// # Errors
/// [`Error::Read`].
pub async fn fetch(client: &Client, namespace: &str, registry: &Registry) -> Result<Observed, Error> {
    let name = registry.name_any();
    let claim_name = registry
        .spec
        .storage
        .persistent_volume_claim
        .as_ref()
        .and_then(|claim| claim.existing_claim.clone())
        .unwrap_or_else(|| name.clone());
    let (admin_secret_name, debug_service_name) = (names::admin_secret(&name), names::debug_service(&name));
    let labelled =
        ListParams::default().labels(&format!("{},{}={name}", names::MANAGED, names::REGISTRY_LABEL)).limit(MAX_LISTED);
    let service_accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let read = |what| move |source| Error::Read { what, source };
    let certificate_name = registry.spec.tls.as_ref().map(|tls| tls.secret_ref.name.as_str());
    let (
        service_account,
        admin_secret,
        certificate,
        config_maps,
        volume_claim,
        service,
        debug_service,
        deployment,
        pods,
    ) = tokio::try_join!(
        async { service_accounts.get_metadata_opt(&name).await.map_err(read("the ServiceAccount")) },
        async { secrets.get_metadata_opt(&admin_secret_name).await.map_err(read("the Secret's metadata")) },
        async {
            let Some(name) = certificate_name.filter(|name| !name.is_empty()) else { return Ok(None) };
            let found = secrets.get_opt(name).await.map_err(read("the Secret with the certificate"))?;
            Ok(Some(Certificate::of(found.as_ref())))
        },
        async { config_maps.list_metadata(&labelled).await.map_err(read("the ConfigMaps")) },
        async { claims.get_opt(&claim_name).await.map_err(read("the PersistentVolumeClaim")) },
        async { services.get_metadata_opt(&name).await.map_err(read("the Service")) },
        async { services.get_metadata_opt(&debug_service_name).await.map_err(read("the debug Service")) },
        async { deployments.get_opt(&name).await.map_err(read("the Deployment")) },
        async { pods.list(&labelled).await.map_err(read("the pods")) },
    )?;
    Ok(Observed {
        service_account,
        admin_secret,
        certificate,
        config_maps: config_maps.items,
        volume_claim,
        service,
        debug_service,
        deployment,
        pods: pods.items,
    })
}
