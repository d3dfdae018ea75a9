//! What the chart has from the code: the resource definitions and the operator's permissions.
//!
//! `make generate` writes the files; otherwise they are compared.

use std::{collections::BTreeMap, fs, path::Path};

use berth_operator::rbac;
use serde_json::{Value, json};

/// The generated files of the chart, by path.
fn expected() -> BTreeMap<String, String> {
    let definitions = berth_crds::definitions();
    let mut files: BTreeMap<_, _> = definitions
        .iter()
        .map(|(file, definition)| {
            (format!("files/crds/{file}"), berth_crds::to_yaml(definition).expect("a definition is YAML"))
        })
        .collect();
    let rules = json!({
        "served": concise(&json!(rbac::rules(rbac::WORK))),
        "cluster": concise(&json!(rbac::rules(rbac::CLUSTER))),
        "own": concise(&json!(rbac::rules(rbac::LEADER_ELECTION))),
    });
    let yaml = serde_saphyr::to_string(&rules).expect("rules are YAML");
    let header = "# Made from operator/src/rbac.rs by `make generate`: what the operator may do in a namespace that it\n\
                  # serves, of the cluster as a whole where it serves all, and in its own.\n";
    files.insert("files/rules.yaml".into(), format!("{header}{yaml}"));
    files
}

/// Without what is empty.
fn concise(rules: &Value) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().into_iter().flatten() {
        if let Some(fields) = rule.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
    }
    rules
}

#[test]
fn the_chart_has_what_the_code_says() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/berth");
    let write = std::env::var_os("BERTH_GENERATE").is_some();
    let mut stale = Vec::new();
    for (path, content) in expected() {
        let file = chart.join(&path);
        if write {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &content).unwrap();
        }
        if fs::read_to_string(&file).ok().as_deref() != Some(content.as_str()) {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "charts/berth: {stale:?} differ from the code: run `make generate`");
}
