//! [pure] Fields of our objects that others set and that keep ours from being applied.
//!
//! Server-side apply adds what we ask for and removes what we asked for before; what somebody else set stays. Most of
//! that is theirs to set, such as the annotation of `kubectl rollout restart`. But a port under our port's name, or a
//! second source in our volume, makes the object invalid, and then nothing of ours is applied any more. The way out is
//! to note their fields as ours: the next apply does not have them, and so removes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

use crate::names;

/// Fields of a Service's spec that the cluster chooses or never changes again: to remove them would be refused.
const KEPT: &[&str] = &[
    "f:clusterIP",
    "f:clusterIPs",
    "f:healthCheckNodePort",
    "f:ipFamilies",
    "f:ipFamilyPolicy",
    "f:loadBalancerClass",
];

/// Who manages which fields, after the fields of others were noted as ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Reclaimed {
    /// The entries to write in the place of those that were read.
    pub entries: Vec<ManagedFieldsEntry>,
    /// Who had set the fields.
    pub managers: Vec<String>,
}

/// Notes what others set in the spec as ours; `None` when there is nothing of the kind. Labels and annotations of pods
/// stay theirs, because they are never in the way.
#[must_use]
pub fn reclaim(entries: &[ManagedFieldsEntry]) -> Option<Reclaimed> {
    let own = entries.iter().find(|entry| is_own(entry))?;
    let mut fields = own.fields_v1.as_ref()?.0.clone();
    let mut others = Vec::new();
    let mut managers = Vec::new();
    for entry in entries.iter().filter(|entry| !is_own(entry)) {
        let mut entry = entry.clone();
        // Fields of another version of the API may have other names.
        let is_comparable = entry.api_version == own.api_version && entry.subresource.is_none();
        if let Some(taken) = entry.fields_v1.as_mut().filter(|_| is_comparable).and_then(|theirs| take(&mut theirs.0)) {
            merge(&mut fields, taken);
            managers.push(entry.manager.clone().unwrap_or_default());
        }
        if entry.fields_v1.as_ref().is_none_or(|left| !is_empty(&left.0)) {
            others.push(entry);
        }
    }
    if managers.is_empty() {
        return None;
    }
    let own = ManagedFieldsEntry { fields_v1: Some(FieldsV1(fields)), ..own.clone() };
    Some(Reclaimed { entries: std::iter::once(own).chain(others).collect(), managers })
}

/// Whether an entry tells of our own applies.
#[must_use]
pub fn is_own(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(names::MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.is_none()
}

/// Takes the fields of the spec out, but for those that are left to whoever set them.
fn take(fields: &mut Value) -> Option<Value> {
    let fields = fields.as_object_mut()?;
    let Some(Value::Object(mut taken)) = fields.remove("f:spec") else { return None };
    let mut kept = Map::new();
    for key in KEPT {
        kept.extend(taken.remove_entry(*key));
    }
    if let Some(Value::Object(template)) = taken.get_mut("f:template")
        && let Some(metadata) = template.remove_entry("f:metadata")
    {
        kept.insert("f:template".into(), Value::Object(Map::from_iter([metadata])));
    }
    if taken.get("f:template").is_some_and(is_empty) {
        taken.remove("f:template");
    }
    if !kept.is_empty() {
        fields.insert("f:spec".into(), Value::Object(kept));
    }
    (!taken.is_empty()).then(|| Value::Object(Map::from_iter([("f:spec".to_owned(), Value::Object(taken))])))
}

fn is_empty(fields: &Value) -> bool {
    fields.as_object().is_some_and(Map::is_empty)
}

/// The union of two sets of fields.
fn merge(into: &mut Value, other: Value) {
    let (Value::Object(into), Value::Object(other)) = (into, other) else { return };
    for (key, fields) in other {
        match into.get_mut(&key) {
            Some(known) => merge(known, fields),
            None => {
                into.insert(key, fields);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": fields})
    }

    fn check(entries: &[Value], expected: Option<(&[&str], &[Value])>) {
        let read = |entries: &[Value]| -> Vec<ManagedFieldsEntry> {
            entries.iter().map(|entry| serde_json::from_value(entry.clone()).unwrap()).collect()
        };
        let expected = expected.map(|(managers, entries)| Reclaimed {
            entries: read(entries),
            managers: managers.iter().map(|&manager| manager.to_owned()).collect(),
        });
        assert_eq!(reclaim(&read(entries)), expected, "{entries:?}");
    }

    #[test]
    fn what_others_set_in_the_spec_becomes_ours() {
        let own = entry(
            names::MANAGER,
            "Apply",
            &json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:type": {}, "f:strategy": {"f:type": {}}}}),
        );
        let port = json!({"k:{\"port\":5002,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}});
        check(
            &[own, entry("kubectl-patch", "Update", &json!({"f:spec": {"f:ports": port, "f:strategy": {"f:x": {}}}}))],
            Some((
                &["kubectl-patch"],
                &[entry(
                    names::MANAGER,
                    "Apply",
                    &json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:type": {}, "f:ports": port,
                        "f:strategy": {"f:type": {}, "f:x": {}}}}),
                )],
            )),
        );
    }

    #[test]
    fn what_is_in_nobodys_way_stays_theirs() {
        let own = entry(names::MANAGER, "Apply", &json!({"f:spec": {"f:type": {}}}));
        let restart = json!({"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}});
        let mixed = json!({"f:metadata": {"f:annotations": {}}, "f:spec": {"f:paused": {}, "f:loadBalancerClass": {},
            "f:template": restart}});
        check(
            &[entry("editor", "Apply", &mixed), own.clone()],
            Some((
                &["editor"],
                &[
                    entry(names::MANAGER, "Apply", &json!({"f:spec": {"f:type": {}, "f:paused": {}}})),
                    entry(
                        "editor",
                        "Apply",
                        &json!({"f:metadata": {"f:annotations": {}},
                            "f:spec": {"f:loadBalancerClass": {}, "f:template": restart}}),
                    ),
                ],
            )),
        );

        let mut scaler = entry("scaler", "Update", &json!({"f:spec": {"f:replicas": {}}}));
        scaler["subresource"] = json!("scale");
        let mut older = entry("older", "Update", &json!({"f:spec": {"f:replicas": {}}}));
        older["apiVersion"] = json!("v1beta1");
        let restarted = entry("kubectl", "Update", &json!({"f:spec": {"f:template": restart}}));
        check(&[own.clone(), scaler, older, restarted], None);
        check(&[own], None);
        check(&[entry("editor", "Update", &json!({"f:spec": {"f:type": {}}}))], None);
        check(&[], None);
    }
}
