//! The resource definitions as Kubernetes gets them, and the fields that they know.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::{GCPolicy, Registry};

/// The definition of every kind, each with the name of its file.
///
/// # Panics
/// Never: what is taken apart was made by the derive.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 2] {
    [("registries.yaml", tidy(Registry::crd())), ("gcpolicies.yaml", tidy(GCPolicy::crd()))]
}

/// A definition as YAML.
///
/// # Errors
/// What the serializer says.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(definition)
}

/// The paths of the fields of `resource` that its kind does not have, such as `spec.storage.pvc`; none for a kind that
/// is not known here.
#[must_use]
pub fn unknown_fields(kind: &str, resource: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (_, schema) in SCHEMAS.iter().filter(|(known, _)| known == kind) {
        for key in ["spec", "status"] {
            if let (Some(value), Some(schema)) = (resource.get(key), schema["properties"].get(key)) {
                collect_unknown(value, schema, key, &mut found);
            }
        }
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        let top = resource.as_object().into_iter().flatten().map(|(key, _)| key);
        found.extend(top.filter(|key| !known.contains(&key.as_str())).cloned());
    }
    found
}

/// The schema of every version of every kind. To make one takes longer than to use it.
static SCHEMAS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let mut schemas = Vec::new();
    for (_, definition) in definitions() {
        let kind = definition.spec.names.kind;
        for version in definition.spec.versions {
            let schema = version.schema.and_then(|validation| validation.open_api_v3_schema);
            schemas.extend(serde_json::to_value(schema).ok().map(|schema| (kind.clone(), schema)));
        }
    }
    schemas
});

fn collect_unknown(value: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_unknown(item, &schema["items"], &format!("{path}[{index}]"), found);
            }
        }
        // A map has `additionalProperties` in place of properties, and every key is right.
        Value::Object(fields) if schema["properties"].is_object() => {
            for (key, field) in fields {
                match schema["properties"].get(key) {
                    Some(known) => collect_unknown(field, known, &format!("{path}.{key}"), found),
                    None => found.push(format!("{path}.{key}")),
                }
            }
        }
        _ => {}
    }
}

/// The greatest whole number up to which a JSON number, which every reader may take for a float, is exact.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// Takes out what the derive adds and nobody wants: `nullable`, which would make a null differ from an absent field in
/// every rule, and the line breaks of the source in descriptions. Adds the one name that the API server would add, so
/// that what is stored is what was applied; and to every whole number its bounds, because the API server does not hold
/// it to its format.
fn tidy(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    definition.spec.names.list_kind = Some(format!("{}List", definition.spec.names.kind));
    let mut value = serde_json::to_value(&definition).unwrap_or_default();
    tidy_value(&mut value, false);
    serde_json::from_value(value).unwrap_or(definition)
}

fn tidy_value(value: &mut Value, is_property_map: bool) {
    match value {
        Value::Object(fields) => {
            if !is_property_map {
                fields.remove("nullable");
                if let Some(Value::String(text)) = fields.get_mut("description") {
                    *text = join_lines(text);
                }
                bound(fields);
            }
            for (key, field) in fields {
                tidy_value(field, key == "properties" && !is_property_map);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| tidy_value(item, false)),
        _ => {}
    }
}

/// Bounds a number by what its format can hold, where it has no bounds of its own.
fn bound(schema: &mut Map<String, Value>) {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
        Some("int64") => (-MAX_EXACT, MAX_EXACT),
        _ => return,
    };
    schema.entry("minimum").or_insert_with(|| least.into());
    schema.entry("maximum").or_insert_with(|| most.into());
}

/// Joins the lines of a paragraph; paragraphs and lists stay apart.
fn join_lines(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.lines() {
        let starts_anew = line.is_empty() || line.starts_with([' ', '-', '*']) || joined.ends_with('\n');
        if !joined.is_empty() {
            joined.push(if starts_anew { '\n' } else { ' ' });
        }
        joined.push_str(line);
    }
    joined
}
