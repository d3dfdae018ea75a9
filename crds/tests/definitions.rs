//! The YAML beside the types is what the types say.

use std::{fs, path::Path};

use berth_crds::{definitions, to_yaml};

#[test]
fn the_yaml_is_what_the_types_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    for (file, definition) in definitions() {
        let expected = to_yaml(&definition).unwrap();
        let found = fs::read_to_string(directory.join(file)).unwrap_or_default();
        assert!(found == expected, "crds/yaml/{file} is out of date: run `make generate`");
    }
}

#[test]
fn the_yaml_reads_back() {
    for (file, definition) in definitions() {
        let text = to_yaml(&definition).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, serde_json::to_value(&definition).unwrap(), "{file}");
    }
}

/// `kubectl explain` has a sentence for every field.
#[test]
fn every_field_is_documented() {
    fn walk(schema: &serde_json::Value, path: &str, missing: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(|text| text.len() < 10) {
                missing.push(path.clone());
            }
            walk(field, &path, missing);
            walk(&field["items"], &path, missing);
        }
    }
    for (_, definition) in definitions() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        let mut missing = Vec::new();
        for part in ["spec", "status"] {
            walk(&schema["openAPIV3Schema"]["properties"][part], part, &mut missing);
        }
        assert!(missing.is_empty(), "{}: no description of {missing:?}", definition.spec.names.kind);
    }
}

/// A default in the schema would be written into stored resources, and show as a difference to what was applied.
#[test]
fn no_field_has_a_default() {
    fn walk(value: &serde_json::Value, path: &str, found: &mut Vec<String>, property_map: bool) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, field) in fields {
                    let path = format!("{path}.{key}");
                    if key == "default" && !property_map {
                        found.push(path.clone());
                    }
                    walk(field, &path, found, key == "properties" && !property_map);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, path, found, false)),
            _ => {}
        }
    }
    for (file, definition) in definitions() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        let mut found = Vec::new();
        walk(&schema, "", &mut found, false);
        assert!(found.is_empty(), "{file}: {found:?}");
    }
}

/// The API server takes 3000000000 for an `int32`, and whoever reads the resource then cannot.
#[test]
fn every_whole_number_is_bounded() {
    fn walk(schema: &serde_json::Value, path: &str, seen: &mut Vec<String>) {
        if schema["type"] == "integer" {
            let bound = |key: &str| schema[key].as_f64().unwrap_or_else(|| panic!("{path} has no {key}"));
            let (least, most) = match schema["format"].as_str() {
                Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
                Some("int64") => (-2_f64.powi(53), 2_f64.powi(53)),
                other => panic!("{path} has the format {other:?}"),
            };
            assert!(least <= bound("minimum") && bound("maximum") <= most, "{path}: {schema}");
            seen.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(field, &format!("{path}.{name}"), seen);
        }
        for below in ["items", "additionalProperties"] {
            if schema[below].is_object() {
                walk(&schema[below], &format!("{path}[]"), seen);
            }
        }
    }
    let mut seen = Vec::new();
    for (_, definition) in definitions() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap();
        walk(&schema["openAPIV3Schema"], "", &mut seen);
    }
    for path in [".spec.topologySpreadConstraints[].maxSkew", ".spec.tolerations[].tolerationSeconds"] {
        assert!(seen.iter().any(|found| found == path), "{path} is not in {seen:?}");
    }
}
