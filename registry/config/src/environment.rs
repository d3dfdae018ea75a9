//! Distribution's environment rule: `REGISTRY_` and the key's path in capitals, joined by `_`, sets that key.
//!
//! Variables are applied in lexical order, and their values are YAML, except that a secret is the text itself. In a list,
//! an index equal to its length appends. `REGISTRY_STORAGE=inmemory` replaces the whole of `storage`, as it does there.
//! Distribution goes by the names of its fields, which here and there are not those of the keys; both are taken. Keys that
//! contain a `_` cannot be set there; here they can.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use crate::PATH_VARIABLE;

/// What Distribution's fields are called whose keys have other names: the path by fields, and the key.
pub(crate) const FIELD_NAMES: &[(&[&str], &str)] = &[
    (&["compatibility", "schema1", "trustkey"], "signingkeyfile"),
    (&["health", "filecheckers"], "file"),
    (&["health", "httpcheckers"], "http"),
    (&["health", "tcpcheckers"], "tcp"),
    (&["notifications", "eventconfig"], "events"),
];

/// Keys that contain a `_`, in parts.
const JOINED: &[&[&str]] = &[&["storage", "azure", "max", "retries"], &["storage", "azure", "retry", "delay"]];

/// Below this, all that follows is one key: the fields of a Google service account, most of which contain a `_`.
const JOINED_BELOW: &[&str] = &["storage", "gcs", "credentials"];

/// One `REGISTRY_*` variable, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The variable's name, for messages.
    pub(crate) name: String,
    /// The key's path, in lower case. A part is empty where the name has two `_` together or one at its end.
    pub(crate) path: Vec<String>,
    /// The value: YAML, or the text of a secret.
    pub(crate) yaml: String,
}

/// Why a setting cannot be put in its place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    /// A list is entered with something that is not an index up to its length.
    #[error("a list of {len} entries is entered with {given:?}: use an index from 0 to {len}")]
    Index { given: String, len: usize },
    /// A value stands where the path goes on.
    #[error("{key:?} lies below a plain value")]
    Scalar { key: String },
}

/// The settings among `variables`, in the order in which they apply.
pub(crate) fn settings(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Setting> {
    let mut settings: Vec<_> = variables
        .into_iter()
        .filter(|(name, _)| name != PATH_VARIABLE)
        .filter_map(|(name, yaml)| {
            let parts = name.strip_prefix("REGISTRY_")?.split('_').map(str::to_lowercase).collect();
            let path = key_path(parts);
            Some(Setting { name, path, yaml })
        })
        .collect();
    settings.sort_by_cached_key(|setting| setting.path.iter().map(|key| rank(key)).collect::<Vec<_>>());
    settings
}

/// The path of the key that is meant by the parts of a variable's name.
fn key_path(mut parts: Vec<String>) -> Vec<String> {
    if let Some((fields, key)) = FIELD_NAMES.iter().find(|(fields, _)| starts_with(&parts, fields)) {
        parts[fields.len() - 1] = (*key).to_owned();
    }
    if let Some(joined) = JOINED.iter().find(|joined| starts_with(&parts, joined)) {
        let tail = parts.split_off(joined.len());
        let key = parts.split_off(2).join("_");
        parts.push(key);
        parts.extend(tail);
    }
    if starts_with(&parts, JOINED_BELOW) && parts.len() > JOINED_BELOW.len() {
        let key = parts.split_off(JOINED_BELOW.len()).join("_");
        parts.push(key);
    }
    parts
}

/// The variable that sets a key, given by its path with `[]` behind a list.
#[cfg(test)]
pub(crate) fn variable(path: &str) -> String {
    format!("REGISTRY_{}", path.replace("[]", ".0").replace('.', "_").to_uppercase())
}

fn starts_with(parts: &[String], beginning: &[&str]) -> bool {
    parts.len() >= beginning.len() && parts.iter().zip(beginning).all(|(part, key)| part == key)
}

/// Where a key stands among its neighbours: by name, and indices by value, so that entry 10 is appended after entry 9.
fn rank(key: &str) -> (u64, String) {
    (key.parse().unwrap_or(u64::MAX), key.to_owned())
}

/// Whether Kubernetes has set the variable for a Service in the pod's namespace: one named `registry-auth` makes
/// `REGISTRY_AUTH_SERVICE_HOST`, `REGISTRY_AUTH_PORT` and more. The name alone could be meant for us, so the value must be
/// of the kind that such a variable has.
pub(crate) fn is_service_link(Setting { path, yaml: value, .. }: &Setting) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let is_url = || {
        let (protocol, rest) = value.split_once("://").unwrap_or_default();
        let authority = rest.parse::<SocketAddr>();
        is_protocol(protocol) && authority.is_ok()
    };
    let link = match path.as_slice() {
        [.., "service", "host"] => return is_address(value),
        // With or without the name of a port, which may have parts of its own.
        [before @ .., "port"] if before.last() == Some(&"service") => return is_number(value),
        [.., "port", number, protocol, "port"] if is_number(number) && is_protocol(protocol) => {
            return is_number(value);
        }
        [.., "port"] => return is_url(),
        path if path.windows(2).any(|pair| pair == ["service", "port"]) => return is_number(value),
        path => path.iter().rposition(|part| *part == "port").map(|at| &path[at + 1..]),
    };
    match link {
        Some([port, protocol]) if is_number(port) && is_protocol(protocol) => is_url(),
        Some([port, protocol, part]) if is_number(port) && is_protocol(protocol) => match *part {
            "proto" => is_protocol(value),
            "addr" => is_address(value),
            _ => false,
        },
        _ => false,
    }
}

fn is_protocol(text: &str) -> bool {
    matches!(text, "tcp" | "udp" | "sctp")
}

/// Puts `value` at `path` below `root`, making maps on the way.
pub(crate) fn place(root: &mut Value, path: &[String], value: Value) -> Result<(), PlaceError> {
    let Some((key, rest)) = path.split_first() else {
        *root = value;
        return Ok(());
    };
    if root.is_null() {
        *root = Value::Object(Map::new());
    }
    match root {
        Value::Object(map) => {
            // The file may have the name of a header in capitals.
            let there = map.keys().find(|there| there.eq_ignore_ascii_case(key)).cloned();
            let key = there.unwrap_or_else(|| key.clone());
            place(map.entry(key).or_insert(Value::Null), rest, value)
        }
        Value::Array(list) => {
            let len = list.len();
            let index = key.parse().ok().filter(|index| *index <= len);
            let index: usize = index.ok_or_else(|| PlaceError::Index { given: key.clone(), len })?;
            if index == len {
                list.push(Value::Null);
            }
            place(&mut list[index], rest, value)
        }
        _ => Err(PlaceError::Scalar { key: key.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_apply_in_lexical_order_and_leave_the_rest_out() {
        let given = [
            "REGISTRY_B",
            "PATH",
            "REGISTRY_A_10_C",
            "REGISTRY_A_9_C",
            "REGISTRY_CONFIGURATION_PATH",
            "REGISTRY_",
            "REGISTRY_A",
        ];
        let found = settings(given.map(|name| (name.to_owned(), String::new())));
        let paths: Vec<_> = found.iter().map(|setting| setting.path.join(".")).collect();
        assert_eq!(paths, ["", "a", "a.9.c", "a.10.c", "b"]);
    }

    #[test]
    fn fields_and_keys_with_underscores_are_found() {
        for (name, path) in [
            ("REGISTRY_HEALTH_FILECHECKERS_0_FILE", "health.file.0.file"),
            ("REGISTRY_HEALTH_HTTPCHECKERS_0_STATUSCODE", "health.http.0.statuscode"),
            ("REGISTRY_HEALTH_TCPCHECKERS", "health.tcp"),
            ("REGISTRY_HEALTH_FILE_0_FILE", "health.file.0.file"),
            ("REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES", "notifications.events.includereferences"),
            ("REGISTRY_COMPATIBILITY_SCHEMA1_TRUSTKEY", "compatibility.schema1.signingkeyfile"),
            ("REGISTRY_STORAGE_AZURE_MAX_RETRIES", "storage.azure.max_retries"),
            ("REGISTRY_STORAGE_AZURE_RETRY_DELAY", "storage.azure.retry_delay"),
            ("REGISTRY_STORAGE_GCS_CREDENTIALS_PRIVATE_KEY_ID", "storage.gcs.credentials.private_key_id"),
            ("REGISTRY_STORAGE_GCS_CREDENTIALS", "storage.gcs.credentials"),
        ] {
            let setting = settings([(name.to_owned(), String::new())]).remove(0);
            assert_eq!(setting.path.join("."), path, "{name}");
        }
    }

    #[test]
    fn service_links_are_told_from_settings() {
        for (name, value, is_link) in [
            ("REGISTRY_SERVICE_HOST", "10.0.0.1", true),
            ("REGISTRY_AUTH_SERVICE_HOST", "10.0.0.1", true),
            ("REGISTRY_AUTH_SERVICE_HOST", "fd00::1", true),
            ("REGISTRY_AUTH_SERVICE_HOST", "auth.example", false),
            ("REGISTRY_AUTH_SERVICE_PORT", "5000", true),
            ("REGISTRY_AUTH_SERVICE_PORT_HTTP", "5000", true),
            ("REGISTRY_AUTH_SERVICE_PORT_HTTP_ALT", "5000", true),
            ("REGISTRY_AUTH_SERVICE_PORT_HTTP", "yes", false),
            ("REGISTRY_PORT", "tcp://10.0.0.1:5000", true),
            ("REGISTRY_AUTH_PORT", "tcp://10.0.0.1:5000", true),
            ("REGISTRY_AUTH_PORT", "tcp://[fd00::1]:5000", true),
            ("REGISTRY_AUTH_PORT", "5000", false),
            ("REGISTRY_AUTH_PORT_5000_TCP", "tcp://10.0.0.1:5000", true),
            ("REGISTRY_AUTH_PORT_53_UDP", "udp://10.0.0.1:53", true),
            ("REGISTRY_AUTH_PORT_5000_TCP_PROTO", "tcp", true),
            ("REGISTRY_AUTH_PORT_5000_TCP_PORT", "5000", true),
            ("REGISTRY_AUTH_PORT_5000_TCP_ADDR", "10.0.0.1", true),
            ("REGISTRY_AUTH_PORT_5000_TCP_X", "10.0.0.1", false),
            ("REGISTRY_HTTP_ADDR", "10.0.0.1:5000", false),
            ("REGISTRY_AUTH_TOKEN_SERVICE", "10.0.0.1", false),
            ("REGISTRY_REDIS_ADDR", "10.0.0.1", false),
        ] {
            let setting = settings([(name.to_owned(), value.to_owned())]).remove(0);
            assert_eq!(is_service_link(&setting), is_link, "{name}={value}");
        }
    }

    #[test]
    fn a_value_is_placed() {
        for (before, path, after) in [
            (json!(null), "a.b", Ok(json!({"a": {"b": 1}}))),
            (json!({"a": {"c": 2}}), "a.b", Ok(json!({"a": {"b": 1, "c": 2}}))),
            (json!({"A": {"X-B": 5}}), "a.x-b", Ok(json!({"A": {"X-B": 1}}))),
            (json!({"a": [5]}), "a.0", Ok(json!({"a": [1]}))),
            (json!({"a": [5]}), "a.1.x", Ok(json!({"a": [5, {"x": 1}]}))),
            (json!({"a": [5]}), "a.2", Err(PlaceError::Index { given: "2".into(), len: 1 })),
            (json!({"a": "s"}), "a.b", Err(PlaceError::Scalar { key: "b".into() })),
        ] {
            let path: Vec<_> = path.split('.').map(str::to_owned).collect();
            let mut root = before.clone();
            let result = place(&mut root, &path, json!(1)).map(|()| root);
            assert_eq!(result, after, "{before} {path:?}");
        }
    }
}
