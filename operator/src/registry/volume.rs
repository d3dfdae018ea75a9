//! [pure] The volume claim: what is asked of it, and what it says of itself.

use berth_crds::bytes;
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::api::resource::Quantity};

use super::validate::ValidStorage;

/// What a claim says of the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// There is nothing to wait for.
    Ready {
        /// A word for why.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
    /// The cluster works on it.
    Underway {
        /// A word for what is waited for.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
    /// Somebody has to do something.
    Stuck {
        /// A word for what is in the way.
        reason: &'static str,
        /// A sentence that says what to do.
        message: String,
    },
}

/// The claim that asks for no less than the live one does. A volume that outlived an earlier Registry may be larger
/// than the new spec says, and no volume can shrink.
#[must_use]
pub fn never_smaller(
    mut desired: PersistentVolumeClaim,
    live: Option<&PersistentVolumeClaim>,
) -> PersistentVolumeClaim {
    let Some(held) = live.and_then(requested).cloned() else { return desired };
    let wanted = requested(&desired).and_then(|quantity| bytes(&quantity.0).ok());
    let is_smaller = wanted < bytes(&held.0).ok();
    let requests = desired
        .spec
        .as_mut()
        .and_then(|spec| spec.resources.as_mut())
        .and_then(|resources| resources.requests.as_mut());
    if let (true, Some(requests)) = (is_smaller, requests) {
        requests.insert("storage".into(), held);
    }
    desired
}

/// What is known of the storage.
#[must_use]
pub fn state(storage: &ValidStorage, claim: Option<&PersistentVolumeClaim>, refusal: Option<&str>) -> VolumeState {
    let (name, modes) = match storage {
        ValidStorage::EmptyDir { .. } => {
            return VolumeState::Ready { reason: "EmptyDir", message: "the content lives as long as the pod".into() };
        }
        ValidStorage::InMemory => {
            let message = "the content lives as long as the process";
            return VolumeState::Ready { reason: "InMemory", message: message.into() };
        }
        ValidStorage::Object(store) => {
            let message = format!("no volume: the content is on {}", store.place());
            return VolumeState::Ready { reason: "ObjectStore", message };
        }
        ValidStorage::OwnClaim { name, access_modes, .. } | ValidStorage::ExistingClaim { name, access_modes } => {
            (name, access_modes)
        }
    };
    let Some(claim) = claim else {
        return match storage {
            // Applying makes it or fails, so only a Registry of which nothing is applied has none.
            ValidStorage::OwnClaim { .. } => VolumeState::Underway {
                reason: "ClaimNotMade",
                message: format!("PersistentVolumeClaim {name} is made when the Registry is no longer paused"),
            },
            ValidStorage::ExistingClaim { .. }
            | ValidStorage::EmptyDir { .. }
            | ValidStorage::InMemory
            | ValidStorage::Object(_) => VolumeState::Stuck {
                reason: "ClaimNotFound",
                message: format!("PersistentVolumeClaim {name} does not exist: create it in the Registry's namespace"),
            },
        };
    };
    if let Some(refusal) = refusal {
        return VolumeState::Stuck {
            reason: "ResizeRefused",
            message: format!("PersistentVolumeClaim {name} cannot be changed: {refusal}"),
        };
    }
    let offered = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    if let Some(missing) = modes.iter().find(|mode| !offered.iter().any(|offer| offer == mode.as_str())) {
        return VolumeState::Stuck {
            reason: "AccessModeMissing",
            message: format!(
                "PersistentVolumeClaim {name} does not offer {}: it offers {}",
                missing.as_str(),
                offered.join(", ")
            ),
        };
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    match phase {
        "Bound" => size_state(name, claim),
        "Lost" => VolumeState::Stuck {
            reason: "VolumeLost",
            message: format!("the volume of PersistentVolumeClaim {name} is gone: restore it"),
        },
        _ => {
            let has_class = claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some());
            let hint = if has_class {
                "waits for a volume"
            } else {
                "waits for a volume and has no storage class: the cluster has no default class, so name one in \
                 spec.storage.persistentVolumeClaim.storageClassName"
            };
            VolumeState::Underway { reason: "Pending", message: format!("PersistentVolumeClaim {name} {hint}") }
        }
    }
}

fn size_state(name: &str, claim: &PersistentVolumeClaim) -> VolumeState {
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()).and_then(|all| all.get("storage"));
    let (Some(wanted), Some(held)) = (requested(claim), capacity) else {
        return VolumeState::Ready { reason: "Bound", message: format!("PersistentVolumeClaim {name} is bound") };
    };
    match (bytes(&wanted.0), bytes(&held.0)) {
        (Ok(wanted_bytes), Ok(held_bytes)) if wanted_bytes > held_bytes => {
            let told = claim
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .filter(|condition| condition.status == "True")
                .find_map(|condition| condition.message.as_deref())
                .map_or_else(String::new, |message| format!(": {message}"));
            VolumeState::Underway {
                reason: "Resizing",
                message: format!("PersistentVolumeClaim {name} grows from {} to {}{told}", held.0, wanted.0),
            }
        }
        _ => VolumeState::Ready {
            reason: "Bound",
            message: format!("PersistentVolumeClaim {name} is bound to {}", held.0),
        },
    }
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_crds::AccessMode;
    use serde_json::{Value, json};

    fn claim(size: &str, status: &Value) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "main"}, "status": status, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": size}}}}))
        .unwrap()
    }

    #[test]
    fn a_claim_never_shrinks() {
        for (wanted, held, expected) in [("1Gi", "2Gi", "2Gi"), ("2Gi", "1Gi", "2Gi"), ("1024Mi", "1Gi", "1024Mi")] {
            let found = never_smaller(claim(wanted, &json!({})), Some(&claim(held, &json!({}))));
            assert_eq!(requested(&found).unwrap().0, expected, "{wanted} over {held}");
        }
        assert_eq!(requested(&never_smaller(claim("1Gi", &json!({})), None)).unwrap().0, "1Gi");
    }

    #[test]
    fn the_storage_tells_its_state() {
        let storage = |mode| ValidStorage::ExistingClaim { name: "main".into(), access_modes: vec![mode] };
        let once = storage(AccessMode::ReadWriteOnce);
        let own = ValidStorage::OwnClaim {
            name: "main".into(),
            size: berth_crds::Size::new("1Gi"),
            class: None,
            access_modes: vec![AccessMode::ReadWriteOnce],
        };
        let bound = claim("1Gi", &json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}));
        let growing = claim(
            "2Gi",
            &json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "conditions": [
            {"type": "FileSystemResizePending", "status": "True", "message": "waits for the pod"}]}),
        );
        let pending = claim("1Gi", &json!({"phase": "Pending"}));
        let lost = claim("1Gi", &json!({"phase": "Lost"}));
        for (storage, claim, refusal, expected) in [
            (&ValidStorage::EmptyDir { limit: None }, None, None, "the content lives as long as the pod"),
            (&ValidStorage::InMemory, None, None, "the content lives as long as the process"),
            (&once, None, None, "PersistentVolumeClaim main does not exist: create it in the Registry's namespace"),
            (&own, None, None, "PersistentVolumeClaim main is made when the Registry is no longer paused"),
            (&once, Some(&bound), None, "PersistentVolumeClaim main is bound to 1Gi"),
            (&once, Some(&growing), None, "PersistentVolumeClaim main grows from 1Gi to 2Gi: waits for the pod"),
            (&once, Some(&pending), None, "PersistentVolumeClaim main waits for a volume"),
            (&once, Some(&lost), None, "the volume of PersistentVolumeClaim main is gone: restore it"),
            (&once, Some(&bound), Some("no"), "PersistentVolumeClaim main cannot be changed: no"),
            (
                &storage(AccessMode::ReadWriteMany),
                Some(&bound),
                None,
                "PersistentVolumeClaim main does not offer ReadWriteMany: it offers ReadWriteOnce",
            ),
        ] {
            let (VolumeState::Ready { message, .. }
            | VolumeState::Underway { message, .. }
            | VolumeState::Stuck { message, .. }) = state(storage, claim, refusal);
            assert_eq!(message, expected);
        }
    }
}
