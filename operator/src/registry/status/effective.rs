//! [pure] What a Registry runs with, as its status says it.

use berth_crds::{Effective, EffectiveAuth, EffectiveStorage};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::registry::validate::{
    ValidAuth, ValidHtpasswd, ValidIssuer, ValidMethod, ValidRegistry, ValidStorage, ValidToken,
};

pub(super) fn effective(valid: &ValidRegistry) -> Effective {
    let modes = |modes: &[berth_crds::AccessMode]| modes.iter().map(|mode| mode.as_str().to_owned()).collect();
    let none = EffectiveStorage::default();
    let storage = match &valid.storage {
        ValidStorage::OwnClaim { name, size, class: _, access_modes } => EffectiveStorage {
            claim: Some(name.clone()),
            size: Some(size.to_string()),
            access_modes: modes(access_modes),
            ..none
        },
        ValidStorage::ExistingClaim { name, access_modes } => {
            EffectiveStorage { claim: Some(name.clone()), access_modes: modes(access_modes), ..none }
        }
        ValidStorage::EmptyDir { limit } => EffectiveStorage { size: limit.as_ref().map(ToString::to_string), ..none },
        ValidStorage::InMemory => none,
        ValidStorage::Object(store) => EffectiveStorage {
            place: Some(store.place()),
            credentials_secret: store.secret().map(|secret| secret.name.clone()),
            redirect: Some(store.redirect),
            ..none
        },
    };
    Effective {
        image: valid.image.clone(),
        image_pull_policy: valid.image_pull_policy,
        replicas: valid.replicas,
        storage,
        delete: valid.delete,
        read_only: valid.read_only,
        tls_secret: valid.tls.as_ref().map(|tls| tls.secret.clone()),
        auth: valid.auth.as_ref().map(effective_auth),
        service_type: valid.service.type_,
        service_port: valid.service.port,
        service_account: valid.service_account_name().to_owned(),
        resources: valid.resources.clone(),
        log_level: valid.log_level,
        log_format: valid.log_format,
        log_requests: valid.log_requests,
        log_audit: valid.log_audit,
        deletion_policy: valid.deletion_policy,
    }
}

fn effective_auth(auth: &ValidAuth) -> EffectiveAuth {
    let named = EffectiveAuth {
        method: auth.method.as_ref().map(|method| method.name().to_owned()),
        ..EffectiveAuth::default()
    };
    match &auth.method {
        None => named,
        Some(ValidMethod::Htpasswd(ValidHtpasswd { secret: _, realm })) => {
            EffectiveAuth { realm: Some(realm.clone()), ..named }
        }
        Some(ValidMethod::Token(ValidToken { realm, service, issuer, .. })) => EffectiveAuth {
            realm: Some(realm.clone()),
            issuer: Some(issuer.clone()),
            service: Some(service.clone()),
            ..named
        },
        Some(ValidMethod::Issuer(issuer)) => {
            let ValidIssuer { url, service, .. } = issuer.as_ref();
            EffectiveAuth {
                realm: Some(format!("{url}/token")),
                issuer: Some(url.clone()),
                service: Some(service.clone()),
                ..named
            }
        }
    }
}

/// The tag of an image, or the start of its digest.
pub(super) fn version(image: &str) -> String {
    const DIGEST_CHARS: usize = 12;
    if let Some((_, digest)) = image.split_once('@') {
        let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
        return hex.chars().take(DIGEST_CHARS).collect();
    }
    // A colon before the last slash belongs to the port of a host.
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').map_or("latest", |(_, tag)| tag).to_owned()
}

pub(super) fn storage_summary(storage: &ValidStorage, claim: Option<&PersistentVolumeClaim>) -> String {
    let capacity = claim
        .and_then(|claim| claim.status.as_ref())
        .and_then(|status| status.capacity.as_ref())
        .and_then(|capacity| capacity.get("storage"))
        .map(|quantity| quantity.0.as_str());
    let with_modes = |size: &str, modes: &[berth_crds::AccessMode]| {
        let modes: Vec<_> = modes.iter().map(|mode| mode.short()).collect();
        format!("{size} {}", modes.join(","))
    };
    match storage {
        ValidStorage::OwnClaim { size, access_modes, .. } => {
            with_modes(capacity.unwrap_or(size.as_str()), access_modes)
        }
        ValidStorage::ExistingClaim { name, access_modes } => with_modes(capacity.unwrap_or(name), access_modes),
        ValidStorage::EmptyDir { limit: Some(limit) } => format!("emptyDir {limit}"),
        ValidStorage::EmptyDir { limit: None } => "emptyDir".to_owned(),
        ValidStorage::InMemory => "inMemory".to_owned(),
        ValidStorage::Object(store) => store.place(),
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions() {
        for (image, expected) in [
            ("berth.dev/berth-registry:0.1.0", "0.1.0"),
            ("localhost:5000/berth-registry", "latest"),
            ("localhost:5000/berth-registry:1", "1"),
            ("a/b:1@sha256:0123456789abcdef", "0123456789ab"),
        ] {
            assert_eq!(version(image), expected, "{image}");
        }
    }
}
