//! The configuration as a tree of plain values, before it has types: Distribution's short forms and old names are put in
//! full, and what means nothing is taken out.

use serde_json::{Map, Value};

/// The keys under `storage` and `auth` that may stand alone, without parameters.
const DRIVERS: &[&str] = &["filesystem", "inmemory", "s3", "s3aws", "azure", "gcs", "swift", "oss"];
const METHODS: &[&str] = &["silly", "htpasswd", "token", "issuer", "certificate", NO_METHOD];
const NO_METHOD: &str = "none";

/// Sections that mean something by being there, inner ones first: one under which nothing is set, as an empty variable
/// leaves it, is not there.
const OPTIONAL: &[&str] =
    &["http.debug", "http.tls.letsencrypt", "http.tls", "proxy.exec", "proxy", "storage.azure.credentials"];

/// Numbers and lengths of time whose zero is Go's word for "not set", so that the default counts. `*` is any key.
const ZERO_IS_UNSET: &[&str] = &[
    "catalog.maxentries",
    "health.*.*.interval",
    "health.*.*.statuscode",
    "health.*.*.threshold",
    "health.*.*.timeout",
    "health.storagedriver.interval",
    "health.storagedriver.threshold",
    "notifications.endpoints.*.backoff",
    "notifications.endpoints.*.threshold",
    "notifications.endpoints.*.timeout",
    "storage.azure.max_retries",
    "tags.maxtags",
];

/// Puts a tree into the form that the types read: `storage: inmemory` is `storage: {inmemory: {}}`, a driver or a method
/// of `auth` may be null, and any other null is a key that is not there. So is an empty text, and in some places a zero,
/// for that is how Go has it.
pub(crate) fn normalize(tree: &mut Value) {
    for (section, choices) in [("storage", DRIVERS), ("auth", METHODS)] {
        let Some(section) = tree.get_mut(section) else { continue };
        if let Value::String(choice) = section {
            let named = (!choice.is_empty()).then(|| (choice.clone(), Value::Object(Map::new())));
            *section = Value::Object(Map::from_iter(named));
        }
        for choice in choices {
            if let Some(parameters @ Value::Null) = section.get_mut(choice) {
                *parameters = Value::Object(Map::new());
            }
        }
    }
    if let Some(Value::Object(methods)) = tree.get_mut("auth") {
        // `none` is the absence of a method, spelled out.
        methods.retain(|method, parameters| method != NO_METHOD || !sets_nothing(parameters));
        if methods.is_empty() {
            remove(tree, "auth");
        }
    }
    drop_unset(tree);
    for path in ZERO_IS_UNSET {
        drop_zeros(tree, path);
    }
    for path in OPTIONAL {
        if at(tree, path).is_some_and(sets_nothing) {
            remove(tree, path);
        }
    }
}

fn drop_unset(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
            map.values_mut().for_each(drop_unset);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_unset),
        _ => {}
    }
}

fn drop_zeros(value: &mut Value, path: &str) {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    match (value, rest) {
        (Value::Object(map), None) if map.get(key).is_some_and(is_zero) => {
            map.remove(key);
        }
        (Value::Object(map), Some(rest)) => {
            map.iter_mut()
                .filter(|(name, _)| key == "*" || *name == key)
                .for_each(|(_, below)| drop_zeros(below, rest));
        }
        (Value::Array(list), Some(rest)) if key == "*" => list.iter_mut().for_each(|below| drop_zeros(below, rest)),
        _ => {}
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.parse::<u64>() == Ok(0) || text.parse() == Ok(crate::Duration::default()),
        _ => false,
    }
}

fn sets_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(|map| map.values().all(sets_nothing))
}

/// The value at a path of keys joined by dots.
pub(crate) fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |value, key| value.get(key))
}

/// Takes the value at a path of keys joined by dots out of the tree.
pub(crate) fn remove(tree: &mut Value, path: &str) -> Option<Value> {
    let (parents, key) = path.rsplit_once('.').map_or((None, path), |(parents, key)| (Some(parents), key));
    let parent = parents.into_iter().flat_map(|path| path.split('.')).try_fold(tree, |value, key| value.get_mut(key));
    parent?.as_object_mut()?.remove(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_is_put_in_full() {
        for (before, after) in [
            (json!({"storage": "inmemory"}), json!({"storage": {"inmemory": {}}})),
            (json!({"storage": {"s3": null, "delete": null}}), json!({"storage": {"s3": {}}})),
            (json!({"auth": "none"}), json!({})),
            (json!({"auth": ""}), json!({})),
            (json!({"auth": {"none": {}}}), json!({})),
            (json!({"auth": {"none": null, "silly": null}}), json!({"auth": {"silly": {}}})),
            (json!({"auth": {}}), json!({})),
            (
                json!({"http": {"host": "", "tls": {"certificate": "", "letsencrypt": {"email": null}}}}),
                json!({"http": {}}),
            ),
            (
                json!({"http": {"debug": {"prometheus": {"enabled": true}}}}),
                json!({"http": {"debug": {"prometheus": {"enabled": true}}}}),
            ),
            (json!({"catalog": {"maxentries": 0}, "tags": {"maxtags": "0"}}), json!({"catalog": {}, "tags": {}})),
            (
                json!({"health": {"tcp": [{"interval": "0s", "threshold": 0, "addr": ":1"}]}}),
                json!({"health": {"tcp": [{"addr": ":1"}]}}),
            ),
            (json!({"proxy": {"ttl": 0, "remoteurl": "x"}}), json!({"proxy": {"ttl": 0, "remoteurl": "x"}})),
        ] {
            let mut tree = before.clone();
            normalize(&mut tree);
            assert_eq!(tree, after, "{before}");
        }
    }
}
