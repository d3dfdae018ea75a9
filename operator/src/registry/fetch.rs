//! [client] What there is in the cluster for a Registry, before anything is decided.

use futures::future::try_join_all;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
};
use kube::{Api, Client, api::ListParams, core::PartialObjectMeta};

use super::{
    render::Pins,
    source::Seen,
    validate::{ObjectKind, ValidAuth, ValidCa, ValidFile, ValidObjectStore, ValidRegistry},
};
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
    pub certificate: Option<Seen>,
    /// The Secret with the credentials of the object store, where the spec names one.
    pub storage_secret: Option<Seen>,
    /// What holds the authorities that the object store is trusted by, where the spec names it.
    pub storage_ca: Option<Seen>,
    /// What holds what `spec.auth` names, in the order of `ValidAuth::files`.
    pub auth: Vec<Seen>,
    /// What of them pods take up only when they are made.
    pub pins: Pins,
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
pub async fn fetch(client: &Client, registry: &ValidRegistry) -> Result<Observed, Error> {
    let (name, namespace) = (registry.name.as_str(), registry.namespace.as_str());
    let claim_name = registry.storage.claim().unwrap_or(name);
    let (admin_secret_name, debug_service_name) = (names::admin_secret(name), names::debug_service(name));
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
    let store = registry.storage.object_store();
    let (
        service_account,
        admin_secret,
        (certificate, tls_secret),
        (storage_secret, credentials),
        (storage_ca, authorities),
        (auth, auth_pin),
        config_maps,
        volume_claim,
        service,
        debug_service,
        deployment,
        pods,
    ) = tokio::try_join!(
        async { service_accounts.get_metadata_opt(name).await.map_err(read("the ServiceAccount")) },
        async { secrets.get_metadata_opt(&admin_secret_name).await.map_err(read("the Secret's metadata")) },
        async {
            let Some(tls) = &registry.tls else { return Ok((None, None)) };
            let found = secrets.get_opt(&tls.secret).await.map_err(read("the Secret with the certificate"))?;
            Ok((Some(Seen::of_secret(found.as_ref(), names::TLS_KEYS)), found.as_ref().and_then(fixed_uid)))
        },
        async {
            let Some(secret) = store.and_then(ValidObjectStore::secret) else { return Ok((None, None)) };
            let found =
                secrets.get_opt(&secret.name).await.map_err(read("the Secret with the storage's credentials"))?;
            let seen = Seen::of_secret(found.as_ref(), secret.required.iter().copied());
            Ok((Some(seen), found.as_ref().and_then(fixed_uid)))
        },
        async {
            let Some(ValidCa { kind, name, key }) = store.and_then(|store| store.ca.as_ref()) else {
                return Ok((None, None));
            };
            let what = read("the authorities that the storage is trusted by");
            Ok(match kind {
                ObjectKind::Secret => {
                    let found = secrets.get_opt(name).await.map_err(what)?;
                    let content = found.as_ref().and_then(|secret| secret_key(secret, key));
                    (Some(Seen::of_secret(found.as_ref(), [key.as_str()])), content.map(names::digest))
                }
                ObjectKind::ConfigMap => {
                    let found = config_maps.get_opt(name).await.map_err(what)?;
                    let content = found.as_ref().and_then(|config_map| config_map_key(config_map, key));
                    (Some(Seen::of_config_map(found.as_ref(), key)), content.map(names::digest))
                }
            })
        },
        async { fetch_auth(registry, &secrets, &config_maps).await },
        async { config_maps.list_metadata(&labelled).await.map_err(read("the ConfigMaps")) },
        async { claims.get_opt(claim_name).await.map_err(read("the PersistentVolumeClaim")) },
        async { services.get_metadata_opt(name).await.map_err(read("the Service")) },
        async { services.get_metadata_opt(&debug_service_name).await.map_err(read("the debug Service")) },
        async { deployments.get_opt(name).await.map_err(read("the Deployment")) },
        async { pods.list(&labelled).await.map_err(read("the pods")) },
    )?;
    Ok(Observed {
        service_account,
        admin_secret,
        certificate,
        storage_secret,
        storage_ca,
        auth,
        pins: Pins { authorities, credentials, certificate: tls_secret, auth: auth_pin },
        config_maps: config_maps.items,
        volume_claim,
        service,
        debug_service,
        deployment,
        pods: pods.items,
    })
}

/// What `spec.auth` names, in the order of `ValidAuth::files`, and one pin for all of it that is immutable.
async fn fetch_auth(
    registry: &ValidRegistry,
    secrets: &Api<Secret>,
    config_maps: &Api<ConfigMap>,
) -> Result<(Vec<Seen>, Option<String>), Error> {
    let files = registry.auth.as_ref().map(ValidAuth::files).unwrap_or_default();
    let looks = files.iter().map(async |ValidFile { kind, name, key, .. }| {
        let what = |source| Error::Read { what: "what spec.auth names", source };
        Ok::<_, Error>(match kind {
            ObjectKind::Secret => {
                let found = secrets.get_opt(name).await.map_err(what)?;
                (Seen::of_secret(found.as_ref(), [key.as_str()]), found.as_ref().and_then(fixed_uid))
            }
            ObjectKind::ConfigMap => {
                let found = config_maps.get_opt(name).await.map_err(what)?;
                (Seen::of_config_map(found.as_ref(), key), found.as_ref().and_then(fixed_uid_of_config_map))
            }
        })
    });
    let (seen, fixed): (Vec<_>, Vec<_>) = try_join_all(looks).await?.into_iter().unzip();
    Ok((seen, one_pin(fixed)))
}

/// [pure] The uid of a Secret that never changes. Nodes stop looking at such a one, so that its pods have its content for as
/// long as they are, and not that of another by its name.
fn fixed_uid(secret: &Secret) -> Option<String> {
    secret.metadata.uid.clone().filter(|_| secret.immutable == Some(true))
}

/// [pure] The same of a ConfigMap.
fn fixed_uid_of_config_map(config_map: &ConfigMap) -> Option<String> {
    config_map.metadata.uid.clone().filter(|_| config_map.immutable == Some(true))
}

/// [pure] One pin for all that never change; none if there are none.
fn one_pin(uids: Vec<Option<String>>) -> Option<String> {
    let uids: Vec<_> = uids.into_iter().flatten().collect();
    (!uids.is_empty()).then(|| names::digest(uids.join("\n").as_bytes()))
}

/// [pure] What a Secret has under a key.
fn secret_key<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|content| content.0.as_slice())
}

/// [pure] What a ConfigMap has under a key, which is one of either kind.
fn config_map_key<'a>(config_map: &'a ConfigMap, key: &str) -> Option<&'a [u8]> {
    let text = config_map.data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    let bytes = config_map.binary_data.as_ref().and_then(|data| data.get(key)).map(|content| content.0.as_slice());
    text.or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_read_wherever_it_is() {
        let config_map: ConfigMap =
            serde_json::from_value(json!({"data": {"a": "one"}, "binaryData": {"b": "dHdv"}})).unwrap();
        for (key, expected) in [("a", Some("one")), ("b", Some("two")), ("c", None)] {
            assert_eq!(config_map_key(&config_map, key), expected.map(str::as_bytes), "{key}");
        }
        let secret: Secret = serde_json::from_value(json!({"data": {"a": "b25l"}})).unwrap();
        assert_eq!((secret_key(&secret, "a"), secret_key(&secret, "b")), (Some("one".as_bytes()), None));
    }

    #[test]
    fn what_never_changes_is_told_by_one_pin() {
        let of = |uids: [Option<&str>; 2]| one_pin(uids.into_iter().map(|uid| uid.map(str::to_owned)).collect());
        assert_eq!(of([None, None]), None);
        assert!(of([Some("a"), None]).is_some());
        assert_ne!(of([Some("a"), None]), of([Some("b"), None]));
        assert_ne!(of([Some("a"), None]), of([Some("a"), Some("b")]));
    }

    #[test]
    fn only_a_secret_that_never_changes_is_told_by_its_uid() {
        for (immutable, expected) in [(json!(null), None), (json!(false), None), (json!(true), Some("u"))] {
            let secret = serde_json::from_value(json!({"metadata": {"uid": "u"}, "immutable": immutable})).unwrap();
            assert_eq!(fixed_uid(&secret).as_deref(), expected, "{immutable}");
            let config_map = serde_json::from_value(json!({"metadata": {"uid": "u"}, "immutable": immutable})).unwrap();
            assert_eq!(fixed_uid_of_config_map(&config_map).as_deref(), expected, "{immutable}");
        }
    }
}
