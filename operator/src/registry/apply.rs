//! [client] The rendered objects into the cluster, in the order in which a pod needs them.

use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};

use super::{
    fetch::Observed,
    render::Rendered,
    rollout::{Rollout, rollout},
    source::{Sources, Unusable},
    validate::{ValidRegistry, ValidServiceAccount, ValidStorage},
    volume,
};
use crate::{
    cluster::{self, Error},
    context::Announcer,
    names,
    ownership::{Owner, Taken},
};

/// The random bytes of an admin token.
const TOKEN_BYTES: usize = 32;

/// What is in the cluster now. Only this step makes one, so a status cannot be computed from what was only wanted.
#[derive(Debug)]
pub struct Applied {
    /// The Deployment as the server has it; none while a paused Registry was never applied, or one was held back.
    pub deployment: Option<Deployment>,
    /// Why the pods were left as they are, if they were.
    pub held: Option<Unusable>,
    /// The claim as the server has it.
    pub volume_claim: Option<PersistentVolumeClaim>,
    /// Why the server refused a change of the claim.
    pub refusal: Option<String>,
    /// Whether what the spec names beside the Registry can be used.
    pub sources: Sources,
}

impl Applied {
    /// What there is where nothing was applied: the Registry is paused, or all was applied before.
    #[must_use]
    pub fn nothing(registry: &ValidRegistry, observed: &Observed) -> Self {
        Self {
            deployment: observed.deployment.clone(),
            held: None,
            volume_claim: observed.volume_claim.clone().filter(|_| registry.storage.claim().is_some()),
            refusal: None,
            sources: Sources::of(registry, observed),
        }
    }

    /// Whether nothing was held back or refused.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.held.is_none() && self.refusal.is_none()
    }
}

/// [pure] Checks that every name is free, or taken by an object of this Registry.
///
/// # Errors
/// [`Taken`], which names the first object that is in the way.
pub fn check_names(owner: &Owner<'_>, registry: &ValidRegistry, observed: &Observed) -> Result<(), Taken> {
    // Taken apart without `..`: a new kind must be checked here.
    let Observed {
        service_account,
        admin_secret,
        config_maps: _,    // found by our label, and checked by name when it is applied
        certificate: _,    // the user's own
        storage_secret: _, // the user's own
        storage_ca: _,     // the user's own
        auth: _,           // the user's own
        pins: _,
        volume_claim,
        service,
        debug_service,
        deployment,
        pods: _,
    } = observed;
    if let ValidServiceAccount::Own(_) = registry.service_account {
        owner.check("ServiceAccount", service_account.as_ref().map(|object| &object.metadata))?;
    }
    owner.check("Secret", admin_secret.as_ref().map(|object| &object.metadata))?;
    if let (ValidStorage::OwnClaim { .. }, Some(claim)) = (&registry.storage, volume_claim) {
        // A claim has no owner, so that it outlives the Registry; its labels alone tell.
        owner.check("PersistentVolumeClaim", Some(&claim.metadata))?;
    }
    owner.check("Service", service.as_ref().map(|object| &object.metadata))?;
    owner.check("Service", debug_service.as_ref().map(|object| &object.metadata))?;
    owner.check("Deployment", deployment.as_ref().map(|object| &object.metadata))
}

/// [pure] Why the pods are to be left as they are: what runs with another certificate, with none, or with other credentials
/// goes on until those that the spec names are there. Where there are to be no pods, none can fail to start.
pub(super) fn held(registry: &ValidRegistry, sources: &Sources) -> Option<Unusable> {
    sources.missing().filter(|_| registry.replicas > 0).cloned()
}

/// Why applying stopped.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A name is in use.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// The cluster did not do it.
    #[error(transparent)]
    Cluster(#[from] Error),
}

/// Applies what was rendered, and removes what is no longer needed. While something that the spec names is missing, the pods
/// stay as they are, and everything else is applied.
///
/// # Errors
/// [`ApplyError`], which names the object. What came before it is applied.
pub async fn apply(
    client: &Client,
    owner: &Owner<'_>,
    registry: &ValidRegistry,
    rendered: Rendered,
    observed: &Observed,
    announcer: &Announcer<'_>,
) -> Result<Applied, ApplyError> {
    let namespace = &registry.namespace;
    // Taken apart without `..`: an object that is rendered and not applied does not compile.
    let Rendered { service_account, config_map, state, volume_claim, service, debug_service, deployment } = rendered;
    let sources = Sources::of(registry, observed);
    let held = held(registry, &sources);

    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    // The identity of pods is in its annotations, so it is held back with them.
    if let Some(account) = service_account.filter(|_| held.is_none() || observed.service_account.is_none()) {
        let live = observed.service_account.as_ref().map(|object| &object.metadata);
        cluster::apply(&accounts, &account, live, announcer).await?;
    }
    if observed.admin_secret.is_none() {
        create_admin_secret(client, registry, announcer).await?;
    }
    for config_map in [&config_map, &state] {
        apply_config_map(client, owner, namespace, config_map, observed, announcer).await?;
    }
    let (volume_claim, refusal) = match volume_claim {
        Some(claim) => apply_claim(client, namespace, claim, observed, announcer).await?,
        None => (observed.volume_claim.clone().filter(|_| registry.storage.claim().is_some()), None),
    };
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let live = observed.service.as_ref().map(|object| &object.metadata);
    cluster::apply(&services, &service, live, announcer).await?;
    let live = observed.debug_service.as_ref().map(|object| &object.metadata);
    cluster::apply(&services, &debug_service, live, announcer).await?;
    if held.is_some() {
        return Ok(Applied { deployment: observed.deployment.clone(), held, volume_claim, refusal, sources });
    }
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let live = observed.deployment.as_ref().map(|object| &object.metadata);
    let deployment = cluster::apply(&deployments, &deployment, live, announcer).await?;

    if rollout(&deployment) == Rollout::Complete {
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        for stale in stale_config_maps(owner, &[&config_map, &state], observed) {
            cluster::delete(&config_maps, stale, announcer).await?;
        }
        if let Some(stale) = stale_account(owner, &registry.service_account, observed) {
            cluster::delete(&accounts, stale, announcer).await?;
        }
    }
    Ok(Applied { deployment: Some(deployment), held: None, volume_claim, refusal, sources })
}

/// Made once, with `create`: a token that is there is never written again.
async fn create_admin_secret(
    client: &Client,
    registry: &ValidRegistry,
    announcer: &Announcer<'_>,
) -> Result<(), Error> {
    let mut token = [0; TOKEN_BYTES];
    getrandom::fill(&mut token)?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(names::admin_secret(&registry.name)),
            labels: Some(names::registry_labels(&registry.name)),
            owner_references: registry.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([(names::TOKEN_KEY.to_owned(), ByteString(hex::encode(token).into_bytes()))].into()),
        type_: Some("Opaque".into()),
        ..Secret::default()
    };
    let name = secret.name_any();
    let parameters = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
    Api::<Secret>::namespaced(client.clone(), &registry.namespace)
        .create(&parameters, &secret)
        .await
        .map_err(|source| Error::Apply { kind: "Secret".into(), name: name.clone(), source })?;
    announcer.normal("Created", format!("created Secret {name}"), None).await;
    Ok(())
}

async fn apply_config_map(
    client: &Client,
    owner: &Owner<'_>,
    namespace: &str,
    config_map: &ConfigMap,
    observed: &Observed,
    announcer: &Announcer<'_>,
) -> Result<(), ApplyError> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let name = config_map.name_any();
    let found = match observed.config_maps.iter().find(|live| live.name_any() == name) {
        Some(labelled) => Some(labelled.metadata.clone()),
        None => api
            .get_metadata_opt(&name)
            .await
            .map_err(|source| Error::Read { what: "the ConfigMap", source })?
            .map(|live| live.metadata),
    };
    owner.check("ConfigMap", found.as_ref())?;
    cluster::apply(&api, config_map, found.as_ref(), announcer).await?;
    Ok(())
}

/// A claim that is there and cannot be changed as asked is no reason to leave everything else undone.
async fn apply_claim(
    client: &Client,
    namespace: &str,
    claim: PersistentVolumeClaim,
    observed: &Observed,
    announcer: &Announcer<'_>,
) -> Result<(Option<PersistentVolumeClaim>, Option<String>), Error> {
    let live = observed.volume_claim.as_ref();
    let claim = volume::never_smaller(claim, live);
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    // The cluster writes into the spec of a claim, too, and nothing of that may be taken away.
    match cluster::apply_once(&api, &claim, live.map(|claim| &claim.metadata), announcer).await {
        Ok(applied) => Ok((Some(applied), None)),
        Err(error) => match (error.refusal(), live) {
            (Some(refusal), Some(live)) => Ok((Some(live.clone()), Some(refusal.to_owned()))),
            _ => Err(error),
        },
    }
}

/// [pure] The configurations that no pod uses any more, once the rollout is complete.
fn stale_config_maps<'a>(owner: &Owner<'_>, current: &[&ConfigMap], observed: &'a Observed) -> Vec<&'a ObjectMeta> {
    let is_current = |live: &ObjectMeta| current.iter().any(|current| current.metadata.name == live.name);
    let all = observed.config_maps.iter().map(|live| &live.metadata);
    all.filter(|live| !is_current(live) && owner.controls(live)).collect()
}

/// [pure] The account that was made before the spec named another.
fn stale_account<'a>(
    owner: &Owner<'_>,
    wanted: &ValidServiceAccount,
    observed: &'a Observed,
) -> Option<&'a ObjectMeta> {
    let live = &observed.service_account.as_ref()?.metadata;
    match wanted {
        ValidServiceAccount::Own(_) => None,
        // The spec may name the very account that was made: it is in use.
        ValidServiceAccount::Existing(name) if live.name.as_ref() == Some(name) => None,
        ValidServiceAccount::Existing(_) => Some(live).filter(|live| owner.controls(live)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, registry::render::Pins, registry::validate::validate};
    use serde_json::{Value, json};

    const OWNER: Owner<'_> = Owner { kind: "Registry", label: names::REGISTRY_LABEL, name: "main", uid: Some("u1") };

    fn registry(account: &Value) -> ValidRegistry {
        let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "namespace": "default", "uid": "u1"},
            "spec": {"storage": {"emptyDir": {}}, "serviceAccount": account}}))
        .unwrap();
        validate(&registry, &Settings::default()).unwrap()
    }

    /// A cluster with nothing but an account `main`.
    fn observed(made_by_us: bool) -> Observed {
        let mut metadata = json!({"name": "main"});
        if made_by_us {
            metadata["ownerReferences"] = json!([{"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
                "name": "main", "uid": "u1", "controller": true}]);
        }
        Observed {
            service_account: Some(serde_json::from_value(json!({"metadata": metadata})).unwrap()),
            admin_secret: None,
            config_maps: Vec::new(),
            certificate: None,
            storage_secret: None,
            storage_ca: None,
            auth: Vec::new(),
            pins: Pins::default(),
            volume_claim: None,
            service: None,
            debug_service: None,
            deployment: None,
            pods: Vec::new(),
        }
    }

    #[test]
    fn pods_are_held_back_unless_there_are_to_be_none() {
        let missing = Unusable { reason: "SecretNotFound".into(), message: "there is no Secret".into() };
        for (replicas, sources, expected) in [
            (1, Sources { certificate: Ok(()), storage: Ok(()), auth: Ok(()) }, None),
            (1, Sources { certificate: Err(missing.clone()), storage: Ok(()), auth: Ok(()) }, Some(&missing)),
            (1, Sources { certificate: Ok(()), storage: Err(missing.clone()), auth: Ok(()) }, Some(&missing)),
            (1, Sources { certificate: Ok(()), storage: Ok(()), auth: Err(missing.clone()) }, Some(&missing)),
            (0, Sources { certificate: Ok(()), storage: Err(missing.clone()), auth: Ok(()) }, None),
        ] {
            let registry = ValidRegistry { replicas, ..registry(&json!({})) };
            assert_eq!(held(&registry, &sources).as_ref(), expected, "{replicas} {sources:?}");
        }
    }

    #[test]
    fn an_account_in_use_is_neither_taken_over_nor_deleted() {
        for (account, made_by_us, is_free, is_stale) in [
            (json!({}), true, true, false),
            (json!({}), false, false, false),
            (json!({"name": "main"}), true, true, false),
            (json!({"name": "main"}), false, true, false),
            (json!({"name": "other"}), true, true, true),
            (json!({"name": "other"}), false, true, false),
        ] {
            let (registry, observed) = (registry(&account), observed(made_by_us));
            let at = format!("{account}, made by us: {made_by_us}");
            assert_eq!(check_names(&OWNER, &registry, &observed).is_ok(), is_free, "{at}");
            assert_eq!(stale_account(&OWNER, &registry.service_account, &observed).is_some(), is_stale, "{at}");
        }
    }
}
