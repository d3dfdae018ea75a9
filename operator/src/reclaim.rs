//! [pure] Fields of our objects that others set and that keep ours from being applied.
//!
//! Server-side apply adds what we ask for and removes what we asked for before; what somebody else set stays. Most of
//! that is theirs to set, such as the annotation of `kubectl rollout restart`. But a port under our port's name, or a
//! second source in our volume, makes the object invalid, and then nothing of ours is applied any more. The way out is
//! to note their fields as ours: the next apply does not have them, and so removes them. Only the parts of the spec that
//! the server complains of are touched: who narrowed a Service's source ranges by hand does not find it open to everyone
//! because somebody else broke its ports.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

use crate::names;

/// Fields of a Service's spec that the cluster chooses or never changes again: to remove them would be refused.
const KEPT: &[&str] = &["clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies", "loadBalancerClass"];

/// Who manages which fields, after the fields of others were noted as ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Reclaimed {
    /// The entries to write in the place of those that were read.
    pub entries: Vec<ManagedFieldsEntry>,
    /// Who had set the fields.
    pub managers: Vec<String>,
}

/// Notes what others set in the complained-of parts of the spec as ours; `None` when there is nothing of the kind.
/// `complaints` are paths as the server writes them, such as `spec.ports[1].name`. Labels and annotations of pods stay
/// theirs, because they are never in the way.
#[must_use]
pub fn reclaim(entries: &[ManagedFieldsEntry], complaints: &[&str]) -> Option<Reclaimed> {
    let parts: BTreeSet<&str> = complaints.iter().filter_map(|path| part_of_spec(path)).collect();
    let own = entries.iter().find(|entry| is_own(entry))?;
    let mut fields = own.fields_v1.as_ref()?.0.clone();
    let mut others = Vec::new();
    let mut managers = Vec::new();
    for entry in entries.iter().filter(|entry| !is_own(entry)) {
        let mut entry = entry.clone();
        // Fields of another version of the API may have other names.
        let is_comparable = entry.api_version == own.api_version && entry.subresource.is_none();
        if let Some(taken) =
            entry.fields_v1.as_mut().filter(|_| is_comparable).and_then(|theirs| take(&mut theirs.0, &parts))
        {
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

/// The field right below the spec in which a path lies.
fn part_of_spec(path: &str) -> Option<&str> {
    let part = path.strip_prefix("spec.")?.split(['.', '[']).next()?;
    (!KEPT.contains(&part)).then_some(part)
}

/// Takes the fields of those parts of the spec out, but for those that are left to whoever set them.
fn take(fields: &mut Value, parts: &BTreeSet<&str>) -> Option<Value> {
    let spec = fields.get_mut("f:spec")?.as_object_mut()?;
    let mut taken: Map<_, _> = parts.iter().filter_map(|part| spec.remove_entry(&format!("f:{part}"))).collect();
    if let Some(Value::Object(template)) = taken.get_mut("f:template")
        && let Some(metadata) = template.remove_entry("f:metadata")
    {
        spec.insert("f:template".into(), Value::Object(Map::from_iter([metadata])));
    }
    taken.retain(|key, part| key != "f:template" || !is_empty(part));
    if spec.is_empty() {
        fields.as_object_mut()?.remove("f:spec");
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

    fn check(entries: &[Value], complaints: &[&str], expected: Option<(&[&str], &[Value])>) {
        let read = |entries: &[Value]| -> Vec<ManagedFieldsEntry> {
            entries.iter().map(|entry| serde_json::from_value(entry.clone()).unwrap()).collect()
        };
        let expected = expected.map(|(managers, entries)| Reclaimed {
            entries: read(entries),
            managers: managers.iter().map(|&manager| manager.to_owned()).collect(),
        });
        assert_eq!(reclaim(&read(entries), complaints), expected, "{entries:?} {complaints:?}");
    }

    #[test]
    fn what_is_in_the_way_becomes_ours() {
        let own = entry(
            names::MANAGER,
            "Apply",
            &json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:type": {}, "f:strategy": {"f:type": {}}}}),
        );
        let port = json!({"k:{\"port\":5002,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}});
        let theirs = json!({"f:spec": {"f:ports": port, "f:strategy": {"f:rollingUpdate": {}}}});
        check(
            &[own, entry("kubectl-patch", "Update", &theirs)],
            &["spec.ports[1].name", "spec.strategy.rollingUpdate"],
            Some((
                &["kubectl-patch"],
                &[entry(
                    names::MANAGER,
                    "Apply",
                    &json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:type": {}, "f:ports": port,
                        "f:strategy": {"f:type": {}, "f:rollingUpdate": {}}}}),
                )],
            )),
        );
    }

    #[test]
    fn what_is_in_nobodys_way_stays_theirs() {
        let own = entry(names::MANAGER, "Apply", &json!({"f:spec": {"f:type": {}}}));
        let metadata = json!({"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}});
        let volume = json!({"f:volumes": {"k:{\"name\":\"data\"}": {"f:configMap": {}}}});
        check(
            &[
                entry(
                    "editor",
                    "Apply",
                    &json!({"f:metadata": {"f:annotations": {}}, "f:spec": {"f:loadBalancerSourceRanges": {},
                        "f:template": {"f:metadata": metadata, "f:spec": volume}}}),
                ),
                own.clone(),
            ],
            &["spec.template.spec.volumes[0].configMap", "spec.template.spec.containers[0].volumeMounts[0].name"],
            Some((
                &["editor"],
                &[
                    entry(
                        names::MANAGER,
                        "Apply",
                        &json!({"f:spec": {"f:type": {}, "f:template": {"f:spec": volume}}}),
                    ),
                    entry(
                        "editor",
                        "Apply",
                        &json!({"f:metadata": {"f:annotations": {}}, "f:spec": {"f:loadBalancerSourceRanges": {},
                            "f:template": {"f:metadata": metadata}}}),
                    ),
                ],
            )),
        );
    }

    #[test]
    fn there_may_be_nothing_to_take() {
        let own = entry(names::MANAGER, "Apply", &json!({"f:spec": {"f:type": {}}}));
        let by = |spec: Value| entry("editor", "Update", &json!({"f:spec": spec}));
        let mut scaler = by(json!({"f:replicas": {}}));
        scaler["subresource"] = json!("scale");
        let mut older = by(json!({"f:replicas": {}}));
        older["apiVersion"] = json!("v1beta1");
        let restarted = by(json!({"f:template": {"f:metadata": {}}}));
        check(&[own.clone(), scaler], &["spec.replicas"], None);
        check(&[own.clone(), older], &["spec.replicas"], None);
        check(&[own.clone(), restarted], &["spec.template.metadata"], None);
        check(&[own.clone(), by(json!({"f:clusterIPs": {}}))], &["spec.clusterIPs[0]"], None);
        check(&[own.clone(), by(json!({"f:type": {}}))], &["spec.ports[0]", "metadata.name", "spec", ""], None);
        check(&[own.clone(), by(json!({"f:type": {}}))], &[], None);
        check(&[own], &["spec.type"], None);
        check(&[by(json!({"f:type": {}}))], &["spec.type"], None);
        check(&[], &["spec.type"], None);
    }
}
