//! Decides what to do about claims and volumes. Pure.

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::cluster::objects::PROVISIONER;
use crate::cluster::spec::NODE;

/// Says which provisioner made a volume; the controller manager leaves such a volume's deletion to it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Set by the scheduler on a claim whose class waits for a pod.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Make the directory and the volume.
    Create {
        /// The volume, bound to its claim.
        volume: Box<PersistentVolume>,
    },
    /// Remove the directory and the volume.
    Delete {
        /// The volume's name.
        name: String,
    },
    /// Raise a volume's capacity to what its claim asks for.
    GrowVolume {
        /// The volume's name.
        name: String,
        /// A merge patch.
        patch: Value,
    },
    /// Tell the claim how large its volume is now.
    ReportSize {
        /// The claim's namespace.
        namespace: String,
        /// The claim's name.
        name: String,
        /// A merge patch of the status.
        patch: Value,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { volume } => write!(f, "create {}", volume.metadata.name.as_deref().unwrap_or_default()),
            Self::Delete { name } => write!(f, "delete {name}"),
            Self::GrowVolume { name, .. } => write!(f, "grow {name}"),
            Self::ReportSize { namespace, name, .. } => write!(f, "report the size of {namespace}/{name}"),
        }
    }
}

/// Everything that is to be done now.
pub(super) fn plan(
    claims: &[impl Borrow<PersistentVolumeClaim>],
    volumes: &[impl Borrow<PersistentVolume>],
    classes: &[impl Borrow<StorageClass>],
    directory: &Path,
) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    for volume in volumes.iter().map(Borrow::borrow).filter(|volume| is_ours(volume)) {
        if is_released(volume) {
            actions.push(Action::Delete { name: name_of(volume).to_owned() });
        }
    }
    for claim in claims.iter().map(Borrow::borrow).filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        match bound {
            Some(bound) => {
                if let Some(volume) = volumes.iter().map(Borrow::borrow).find(|volume| name_of(volume) == bound)
                    && is_ours(volume)
                {
                    actions.extend(resize(claim, volume)?);
                }
            }
            None => {
                if let Some(volume) = provision(claim, classes, directory)?
                    && !volumes.iter().any(|known| name_of(known.borrow()) == name_of(&volume))
                {
                    actions.push(Action::Create { volume: Box::new(volume) });
                }
            }
        }
    }
    Ok(actions)
}

fn name_of(volume: &PersistentVolume) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

fn is_ours(volume: &PersistentVolume) -> bool {
    volume.metadata.annotations.as_ref().and_then(|all| all.get(PROVISIONED_BY)).is_some_and(|by| by == PROVISIONER)
}

fn is_released(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    phase == Some("Released") && policy == Some("Delete") && volume.metadata.deletion_timestamp.is_none()
}

/// The volume for a claim, if it is one of ours and its time has come.
fn provision(
    claim: &PersistentVolumeClaim,
    classes: &[impl Borrow<StorageClass>],
    directory: &Path,
) -> Result<Option<PersistentVolume>> {
    let Some(spec) = &claim.spec else { return Ok(None) };
    let class = spec.storage_class_name.as_deref().unwrap_or_default();
    let Some(class) = classes.iter().map(Borrow::borrow).find(|known| known.metadata.name.as_deref() == Some(class))
    else {
        return Ok(None);
    };
    let selected = claim.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") && selected.is_none();
    // A block device cannot be had from a directory: such a claim stays pending.
    let block = spec.volume_mode.as_deref() == Some("Block");
    if class.provisioner != PROVISIONER || waits || block {
        return Ok(None);
    }
    let uid = claim.metadata.uid.as_deref().context("a claim without a uid")?;
    let name = format!("pvc-{uid}");
    let request = spec.resources.as_ref().and_then(|all| all.requests.as_ref()?.get("storage"));
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": request.context("a claim without a size")?},
            "accessModes": spec.access_modes,
            "storageClassName": class.metadata.name,
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "local": {"path": directory.join(&name)},
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": claim.metadata.namespace, "name": claim.metadata.name, "uid": uid,
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]},
            ]}]}},
        },
    });
    Ok(Some(serde_json::from_value(volume).context("a volume that does not fit its type")?))
}

/// What is missing for the volume, and then the claim's status, to have the size that is asked for.
fn resize(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Option<Action>> {
    let requested = claim.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    let reported = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    let (Some(requested), Some(capacity), Some(reported)) = (requested, capacity, reported) else {
        // Not bound yet: the controller manager fills the status in.
        return Ok(None);
    };
    let (wanted, has) = (bytes_of(&requested.0)?, bytes_of(&capacity.0)?);
    if wanted > has {
        let patch = json!({"spec": {"capacity": {"storage": requested}}});
        return Ok(Some(Action::GrowVolume { name: name_of(volume).to_owned(), patch }));
    }
    if bytes_of(&reported.0)? < has {
        let patch = json!({"status": {"capacity": {"storage": capacity}, "conditions": null}});
        let namespace = claim.metadata.namespace.clone().unwrap_or_default();
        let name = claim.metadata.name.clone().unwrap_or_default();
        return Ok(Some(Action::ReportSize { namespace, name, patch }));
    }
    Ok(None)
}

/// A quantity of bytes; whole numbers with a binary or decimal suffix, which is what sizes are written in.
fn bytes_of(quantity: &str) -> Result<u128> {
    let digits = quantity.find(|c: char| !c.is_ascii_digit()).unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(digits);
    let factor: u128 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => bail!("quantity {quantity:?}: a whole number with k, M, G, T, Ki, Mi, Gi or Ti is understood"),
    };
    let number: u64 = number.parse().with_context(|| format!("quantity {quantity:?}"))?;
    Ok(u128::from(number) * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, binding: &str) -> StorageClass {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": binding,
        }))
        .expect("a class")
    }

    fn claim(class: &str, merge: &Value) -> PersistentVolumeClaim {
        let mut value = json!({
            "metadata": {"name": "main", "namespace": "default", "uid": "u1"},
            "spec": {"storageClassName": class, "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        merge_into(&mut value, merge);
        serde_json::from_value(value).expect("a claim")
    }

    fn volume(merge: &Value) -> PersistentVolume {
        let mut value = json!({
            "metadata": {"name": "pvc-u1", "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {"capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete"},
            "status": {"phase": "Bound"},
        });
        merge_into(&mut value, merge);
        serde_json::from_value(value).expect("a volume")
    }

    fn merge_into(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge_into(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    fn check(claims: &[PersistentVolumeClaim], volumes: &[PersistentVolume], expected: &[&str]) {
        let classes = [class("now", "Immediate"), class("later", "WaitForFirstConsumer")];
        let actions = plan(claims, volumes, &classes, Path::new("/v")).expect("a plan");
        assert_eq!(actions.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn claims_get_volumes_when_their_time_has_come() {
        let chosen = json!({"metadata": {"annotations": {SELECTED_NODE: NODE}}});
        check(&[claim("now", &json!({}))], &[], &["create pvc-u1"]);
        check(&[claim("later", &json!({}))], &[], &[]);
        check(&[claim("later", &chosen)], &[], &["create pvc-u1"]);
        check(&[claim("foreign", &json!({}))], &[], &[]);
        check(&[claim("now", &json!({"spec": {"volumeMode": "Block"}}))], &[], &[]);
        check(&[claim("now", &json!({}))], &[volume(&json!({}))], &[]);
    }

    #[test]
    fn released_volumes_go_unless_they_are_to_stay() {
        let released = json!({"status": {"phase": "Released"}});
        let retained = json!({"status": {"phase": "Released"}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}});
        let foreign = json!({"status": {"phase": "Released"}, "metadata": {"annotations": {PROVISIONED_BY: "other"}}});
        check(&[], &[volume(&released)], &["delete pvc-u1"]);
        check(&[], &[volume(&retained)], &[]);
        check(&[], &[volume(&foreign)], &[]);
        check(&[], &[volume(&json!({}))], &[]);
    }

    #[test]
    fn growth_goes_to_the_volume_then_to_the_claim() {
        let bound = |request: &str, reported: &str| {
            claim(
                "now",
                &json!({
                    "spec": {"volumeName": "pvc-u1", "resources": {"requests": {"storage": request}}},
                    "status": {"capacity": {"storage": reported}},
                }),
            )
        };
        let grown = volume(&json!({"spec": {"capacity": {"storage": "2Gi"}}}));
        check(&[bound("2Gi", "1Gi")], &[volume(&json!({}))], &["grow pvc-u1"]);
        check(&[bound("2Gi", "1Gi")], std::slice::from_ref(&grown), &["report the size of default/main"]);
        check(&[bound("2Gi", "2Gi")], &[grown], &[]);
        check(&[bound("1024Mi", "1Gi")], &[volume(&json!({}))], &[]);
    }

    #[test]
    fn the_volume() {
        let created = provision(&claim("now", &json!({})), &[class("now", "Immediate")], Path::new("/v"));
        insta::assert_yaml_snapshot!("volume", created.expect("valid").expect("one"));
    }

    #[test]
    fn quantities() {
        for (text, expected) in
            [("1Ki", Some(1024)), ("5", Some(5)), ("2G", Some(2_000_000_000)), ("1.5Gi", None), ("", None)]
        {
            assert_eq!(bytes_of(text).ok(), expected, "{text:?}");
        }
    }
}
