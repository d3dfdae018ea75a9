//! The reference page of the configuration, made from the types: their keys, defaults and comments. It is built for tests
//! only; the test that compares it with `docs/configuration.md` also writes it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::environment::{FIELD_NAMES, variable};
use crate::load::{SECRETS, UNUSED};
use crate::{Config, Duration, Secret, Version};

/// Keys, with what lies below them, that only one of Distribution's series has, or neither. The longest counts.
const SERIES: &[(&str, &str)] = &[
    ("auth.anonymous", "–"),
    ("auth.certificate", "–"),
    ("auth.issuer", "–"),
    ("auth.rules", "–"),
    ("auth.token.autoredirectpath", "3"),
    ("auth.token.jwks", "3"),
    ("auth.token.signingalgorithms", "3"),
    ("compatibility", "2.8"),
    ("http.debug.admin", "–"),
    ("http.h2c", "3"),
    ("http.tls.clientauth", "3"),
    ("http.tls.letsencrypt.directoryca", "–"),
    ("http.tls.letsencrypt.directoryurl", "3"),
    ("log.auditlog", "–"),
    ("log.reportcaller", "3"),
    ("middleware.storage[].options.authtype", "–"),
    ("middleware.storage[].options.host", "3"),
    ("middleware.storage[].options.scheme", "3"),
    ("middleware.storage[].options.trimpathprefix", "3"),
    ("proxy.cachewritetimeout", "3"),
    ("proxy.exec", "3"),
    ("proxy.ttl", "3"),
    ("reporting", "2.8"),
    ("storage.azure.cafile", "–"),
    ("storage.azure.connectionstring", "3"),
    ("storage.azure.credentials", "3"),
    ("storage.azure.credentialsdirectory", "–"),
    ("storage.azure.max_retries", "3"),
    ("storage.azure.retry_delay", "3"),
    ("storage.azure.rootdirectory", "3"),
    ("storage.azure.serviceurl", "3"),
    ("storage.azure.skipverify", "3"),
    ("storage.gcs.cafile", "–"),
    ("storage.gcs.endpoint", "–"),
    ("storage.gcs.skipverify", "–"),
    ("storage.gcs.useragent", "3"),
    ("storage.maintenance.readonly.file", "–"),
    ("storage.oss", "2.8"),
    ("storage.oss.cafile", "–"),
    ("storage.oss.credentialsdirectory", "–"),
    ("storage.oss.skipverify", "–"),
    ("storage.s3.accelerate", "3"),
    ("storage.s3.cafile", "–"),
    ("storage.s3.credentialsdirectory", "–"),
    ("storage.s3.forcepathstyle", "3"),
    ("storage.s3.loglevel", "3"),
    ("storage.s3.redirectendpoint", "3"),
    ("storage.s3.sessiontoken", "3"),
    ("storage.s3.usedualstack", "3"),
    ("storage.s3.usefipsendpoint", "3"),
    ("storage.swift", "2.8"),
    ("storage.swift.cafile", "–"),
    ("storage.swift.credentialsdirectory", "–"),
    ("storage.tag", "3"),
    ("tags", "3"),
    ("validation.manifests.indexes", "3"),
];

/// Sections that stand on the page once, though several keys have their form.
const SAME: &[(&str, &str)] = &[
    ("middleware.registry", "middleware.storage"),
    ("middleware.repository", "middleware.storage"),
    ("storage.s3aws", "storage.s3"),
];

const HEAD: &str = "\
<!-- Made from the types in registry/config by `make generate`. -->
# Configuration

`berth-registry serve CONFIG` reads a file in the form of CNCF Distribution's, of its 2.8 and of its 3 series. Without an
argument it is the file that `REGISTRY_CONFIGURATION_PATH` names, else `/etc/distribution/config.yml`, else
`/etc/docker/registry/config.yml`; if there is none of them, `./data` is served on port 5000.

```yaml
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
```

`berth-registry check-config CONFIG` shows the configuration in force, with variables applied, defaults filled in and
secrets hidden; if the server would not start with it, it names the key and exits with 1. A file that is named and is not
there is only warned of, since a configuration is often checked elsewhere: with `--files` the files are read as well, and
one that cannot be used is an error.

- **An unknown key stops the start** with its path and the nearest known name. Distribution passes over it.
- A key that is known and has no use is said once in the log at start, with the reason; they are listed at the end.
- A key that this version cannot follow stops the start by its name, so that nobody believes, for example, that a registry
  asks for tokens when it does not.
- An empty value is a key that is not set. So is a zero where zero would mean nothing: the default counts.
- A length of time is written as `90s`, `1h30m` or `7d`; a number alone is of nanoseconds.

## Variables

`REGISTRY_` and the path of a key in capitals, joined by `_`, sets the key: `REGISTRY_HTTP_ADDR=:8080`. Variables are
applied in lexical order, so that `REGISTRY_STORAGE=inmemory` comes before what lies below it, and it replaces the whole
section. Values are YAML, except that a secret is the text itself.

- In a list, an index stands for the entry, and one equal to the list's length appends: `REGISTRY_HEALTH_TCP_0_ADDR`. With
  Distribution a list of plain texts cannot be set entry by entry; here it can.
- Distribution goes by the names of its fields where they differ from the keys'; both are taken.
- Keys that contain a `_` cannot be set with Distribution; here they can.
- A variable that names no key is said in the log and has no effect, as with Distribution: Kubernetes sets
  `REGISTRY_PORT` and the like for a Service named `registry`. Below `auth` and `storage` it stops the start.
- `version` cannot be set by a variable.

## Keys

*Series* says which of Distribution's series have the key: `2.8`, `3`, or `–` for Berth alone; nothing where both do.
";

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kind": "`0.1`" })
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kind": "duration" })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kind": "secret" })
    }
}

/// A key of the configuration.
#[derive(Debug)]
struct Key {
    /// Its path, `[]` behind a list.
    path: String,
    kind: String,
    /// As YAML; nothing if there is none.
    default: Option<String>,
    is_required: bool,
    meaning: String,
}

/// Every key that holds a value, by name.
fn keys() -> Vec<Key> {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<Config>();
    let mut keys = Vec::new();
    collect("", schema.as_value(), &mut keys);
    keys
}

fn collect(path: &str, section: &Value, keys: &mut Vec<Key>) {
    let required = |name: &str| section["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    let mut properties: Vec<_> = section["properties"].as_object().into_iter().flatten().collect();
    // A map of serde_json has the order of its names, or not, as the build has it.
    properties.sort_by_key(|(name, _)| *name);
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if SAME.iter().any(|(same, _)| *same == path) {
            continue;
        }
        let value = without_null(property);
        let items = without_null(&value["items"]);
        if value["properties"].is_object() {
            collect(&path, value, keys);
        } else if items["properties"].is_object() {
            collect(&format!("{path}[]"), items, keys);
        } else {
            let text =
                |value: &Value| value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            keys.push(Key {
                kind: kind(value),
                default: property.get("default").and_then(default),
                is_required: required(name),
                meaning: text(&property["description"]),
                path,
            });
        }
    }
}

/// The schema of a value that may also be absent.
fn without_null(schema: &Value) -> &Value {
    let choices = schema["anyOf"].as_array();
    choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null")).unwrap_or(schema)
}

fn kind(schema: &Value) -> String {
    if let Some(kind) = schema["x-kind"].as_str() {
        return kind.to_owned();
    }
    if let Some(choices) = schema["oneOf"].as_array().or(schema["enum"].as_array()) {
        let names = choices.iter().flat_map(|choice| match (choice["const"].as_str(), choice["enum"].as_array()) {
            (Some(name), _) => vec![name],
            (_, Some(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => choice.as_str().into_iter().collect(),
        });
        return names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    }
    let types = &schema["type"];
    let name =
        types.as_str().or_else(|| types.as_array()?.iter().filter_map(Value::as_str).find(|name| *name != "null"));
    match name {
        Some("string") => "text".into(),
        Some("integer") => "number".into(),
        Some("boolean") => "`true`, `false`".into(),
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"]["type"] == "array" => {
            format!("map to lists of {}", kind(&schema["additionalProperties"]["items"]))
        }
        Some("object") => match kind(&schema["additionalProperties"]).as_str() {
            "" => "map".into(),
            kind => format!("map to {kind}"),
        },
        _ => String::new(),
    }
}

fn default(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(list) if list.is_empty() => None,
        Value::Object(map) if map.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn series(path: &str) -> &'static str {
    let is_below =
        |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let found = SERIES.iter().filter(|(key, _)| is_below(key)).max_by_key(|(key, _)| key.len());
    found.map_or("", |(_, series)| *series)
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    let keys = keys();
    for key in &keys {
        // A driver and a method have a section each.
        let parts: Vec<&str> = key.path.split('.').collect();
        let depth = if matches!(parts[0], "storage" | "auth") && parts.len() > 2 { 2 } else { 1 };
        let its_section = &key.path[..parts[..depth].join(".").len()];
        if its_section != section {
            section = its_section;
            let _ = writeln!(
                page,
                "\n### `{section}`\n\n| Key and variable | Value | Default | Series | |\n|---|---|---|---|---|"
            );
        }
        let Key { path, kind, default, is_required, meaning } = key;
        let default = default.as_ref().map(|default| format!("`{default}`"));
        let default = default.unwrap_or_else(|| if *is_required { "required".into() } else { String::new() });
        let variable = if path == "version" { String::new() } else { format!("<br>`{}`", variable(path)) };
        let series = series(path);
        let _ = writeln!(page, "| `{path}`{variable} | {kind} | {default} | {series} | {meaning} |");
    }
    page += "\nKeys of another spelling: `storage.s3aws` for `storage.s3`, `trustkey` for `signingkeyfile`, `updatefrenquency` \
             for `updatefrequency`,\n`loglevel` for `log.level`. `auth: none` is `auth` left out. `middleware.registry` and \
             `middleware.repository` have the form of\n`middleware.storage`.\n";
    page += "\n## Variables by the names of Distribution's fields\n\n| Variable | Key |\n|---|---|\n";
    for (fields, key) in FIELD_NAMES {
        let parent = fields[..fields.len() - 1].join(".");
        let _ = writeln!(page, "| `{}` | `{parent}.{key}` |", variable(&fields.join(".")));
    }
    page += "\n## Keys without use\n\n| Key | Series | Why |\n|---|---|---|\n";
    for (path, reason) in UNUSED {
        let _ = writeln!(page, "| `{path}` | {} | {reason} |", series(path));
    }
    page
}

#[test]
fn the_page_is_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let expected = page();
    if std::env::var_os("BERTH_GENERATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/configuration.md is out of date: run `make generate`");
}

#[test]
fn every_key_is_documented() {
    for key in keys() {
        assert!(key.meaning.len() > 5 && !key.kind.is_empty(), "{key:?}");
        assert!(!key.meaning.contains('|'), "{key:?}");
        assert!(!key.meaning.starts_with("Berth's own") || series(&key.path) == "–", "{key:?}: add it to SERIES");
    }
}

#[test]
fn the_variables_of_secrets_are_known() {
    let found = keys().into_iter().filter(|key| key.kind == "secret" && !key.path.contains("[]")).map(|key| key.path);
    let mut found: Vec<String> = found.collect();
    let s3: Vec<_> = found.iter().filter(|path| path.starts_with("storage.s3.")).cloned().collect();
    found.extend(s3.iter().map(|path| path.replace("storage.s3.", "storage.s3aws.")));
    found.sort();
    assert_eq!(found, SECRETS);
}

#[test]
fn the_series_name_keys() {
    let keys = keys();
    for (path, _) in SERIES {
        let is_key = keys.iter().any(|key| key.path.starts_with(path));
        assert!(is_key || UNUSED.iter().any(|(unused, _)| unused == path), "{path}");
    }
}
