//! From the text of a file and the environment to a [`Config`], or to an error that names the key.

use serde_json::{Map, Value};

use crate::{
    Config,
    environment::{self, PlaceError},
};

/// Keys of Distribution that change what a registry does and that this version does not have: refused, so that nobody
/// believes, for example, that a registry asks for passwords when it does not.
const UNSUPPORTED: &[&str] = &[
    "auth",
    "compatibility",
    "health.file",
    "health.http",
    "health.tcp",
    "http.h2c",
    "http.http2",
    "http.net",
    "http.tls",
    "middleware",
    "notifications",
    "policy",
    "proxy",
    "storage.azure",
    "storage.gcs",
    "storage.oss",
    "storage.s3",
    "storage.s3aws",
    "storage.swift",
    "validation",
];

/// Keys that Berth knows and has no use for: said at start, with the reason.
const UNUSED: &[(&str, &str)] = &[
    ("log.hooks", "Berth sends no mail; watch the log instead"),
    ("log.reportcaller", "log lines name their module"),
    ("redis", "Berth needs no Redis: replicas share nothing but the store"),
    ("storage.cache", "Berth needs no choice of cache"),
    ("storage.tag", "Berth looks a tag up without a walk"),
];

/// Keys whose variable holds the text itself and no YAML: a secret may begin with any character.
const SECRETS: &[&str] = &["http.secret"];

/// What `log.level` is called in configurations that are older than it.
const OLD_LEVEL: &str = "loglevel";
const LEVEL: &str = "log.level";

/// A configuration, and what is to be said about it at start.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration in force.
    pub config: Config,
    /// One sentence for each key or variable that has no effect.
    pub warnings: Vec<String>,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not YAML. The parser's own message may quote the text, and the text may hold a secret, so only the
    /// place is told.
    #[error("the configuration is not YAML: {place}")]
    Yaml {
        /// Line and column, as far as known.
        place: String,
    },
    /// A key has a value that it cannot have, or is not known.
    #[error("{path}: {message}")]
    Key {
        /// The key's path, joined by dots.
        path: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A key of Distribution that this version does not have.
    #[error(
        "{path}: this version of Berth does not have this key of Distribution's configuration; remove it to go on without it"
    )]
    Unsupported {
        /// The key's path, joined by dots.
        path: &'static str,
    },
    /// A variable cannot be applied.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// The variable's name.
        name: String,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Reads a configuration: `text`, overlaid with the `REGISTRY_*` variables among `variables`.
    ///
    /// # Errors
    /// [`Error`], which names the key or the variable.
    pub fn load(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Error> {
        let value: Value = yaml(text).map_err(|place| Error::Yaml { place })?;
        if !value.is_object() {
            let message = "the configuration is not a map: begin with `version: 0.1`".into();
            return Err(Error::Key { path: ".".into(), message });
        }
        in_force(value, variables)
    }

    /// The built-in configuration, overlaid with the `REGISTRY_*` variables among `variables`.
    ///
    /// # Errors
    /// [`Error`], which names the variable or the key.
    pub fn load_default(variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Error> {
        let mut value = yaml(&Self::default().to_yaml()).map_err(|place| Error::Yaml { place })?;
        // Nobody has written the level, so its old name counts.
        remove(&mut value, LEVEL);
        in_force(value, variables)
    }
}

/// From what a file holds to what is in force.
fn in_force(mut value: Value, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Error> {
    let mut warnings = Vec::new();
    normalize(&mut value);
    overlay(&mut value, variables, &mut warnings)?;
    move_old_level(&mut value, &mut warnings);
    UNSUPPORTED.iter().for_each(|path| drop_if_empty(&mut value, path));
    if let Some(path) = UNSUPPORTED.iter().find(|path| at(&value, path).is_some()) {
        return Err(Error::Unsupported { path });
    }
    for (path, reason) in UNUSED {
        if remove(&mut value, path).is_some() {
            warnings.push(format!("{path} has no effect: {reason}"));
        }
    }
    let config = typed(value)?;
    check(&config)?;
    Ok(Loaded { config, warnings })
}

/// A value, or the place in `text` where it stops being YAML.
fn yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(at) => format!("it cannot be read at line {}, column {}", at.line(), at.column()),
        None => "it cannot be read".to_owned(),
    })
}

fn overlay(
    value: &mut Value,
    variables: impl IntoIterator<Item = (String, String)>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    for setting in environment::settings(variables) {
        if environment::is_service_link(&setting) {
            warnings.push(format!(
                "environment variable {} is Kubernetes' link to a Service and has no effect",
                setting.name
            ));
            continue;
        }
        if setting.path.iter().any(String::is_empty) {
            warnings.push(format!("environment variable {} names no key and has no effect", setting.name));
            continue;
        }
        let refused = |message: String| Error::Variable { name: setting.name.clone(), message };
        let parsed = if SECRETS.iter().any(|key| setting.path.iter().map(String::as_str).eq(key.split('.'))) {
            Value::String(setting.yaml.clone())
        } else {
            yaml(&setting.yaml).map_err(|place| refused(format!("its value is not YAML: {place}")))?
        };
        let mut changed = value.clone();
        let placed = environment::place(&mut changed, &setting.path, parsed);
        normalize(&mut changed);
        match placed {
            // Kubernetes sets REGISTRY_PORT and the like for a Service named `registry`, so an unknown name is said,
            // not refused.
            _ if !is_known(&changed, &setting.path) => {
                warnings.push(format!("environment variable {} names no key and has no effect", setting.name));
            }
            Ok(()) => *value = changed,
            Err(error @ (PlaceError::Index { .. } | PlaceError::Scalar { .. })) => {
                return Err(refused(error.to_string()));
            }
        }
    }
    Ok(())
}

/// Whether the key that a variable sets is one of the configuration's: asked of the types themselves.
fn is_known(changed: &Value, path: &[String]) -> bool {
    let dotted = path.join(".");
    let listed = |key: &str| dotted == key || dotted.starts_with(&format!("{key}."));
    if dotted == OLD_LEVEL || UNSUPPORTED.iter().any(|key| listed(key)) || UNUSED.iter().any(|(key, _)| listed(key)) {
        return true;
    }
    let mut pruned = changed.clone();
    for key in UNSUPPORTED.iter().copied().chain(UNUSED.iter().map(|(key, _)| *key)).chain([OLD_LEVEL]) {
        remove(&mut pruned, key);
    }
    !matches!(typed(pruned), Err(Error::Key { message, .. }) if message.starts_with("unknown field"))
}

/// Distribution's short forms, in full: `storage: inmemory` is `storage: {inmemory: {}}`, a driver without parameters
/// may be null, and any other null is a key that is not there.
fn normalize(value: &mut Value) {
    if let Some(storage) = value.get_mut("storage") {
        if let Value::String(driver) = storage {
            *storage = Value::Object(Map::from_iter([(driver.clone(), Value::Null)]));
        }
        if let Value::Object(keys) = storage {
            for driver in ["filesystem", "inmemory"] {
                if let Some(parameters @ Value::Null) = keys.get_mut(driver) {
                    *parameters = Value::Object(Map::new());
                }
            }
        }
    }
    drop_nulls(value);
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Drops an unsupported key under which nothing is set, as an empty variable leaves it. Of `auth` and a driver the name
/// alone already decides something, so there only an empty map at the key itself is nothing.
fn drop_if_empty(value: &mut Value, path: &str) {
    let is_nothing = match at(value, path) {
        Some(Value::Object(map)) if path == "auth" => map.is_empty(),
        Some(found) => !path.starts_with("storage.") && sets_nothing(found),
        None => false,
    };
    if is_nothing {
        remove(value, path);
    }
}

fn sets_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(sets_nothing))
}

fn move_old_level(value: &mut Value, warnings: &mut Vec<String>) {
    let Some(level) = remove(value, OLD_LEVEL) else { return };
    warnings.push(format!("{OLD_LEVEL} is old: write {LEVEL}"));
    if at(value, LEVEL).is_none() {
        let path = ["log".to_owned(), "level".to_owned()];
        // A `log` that is not a map is refused by the types, which name it.
        let _ = environment::place(value, &path, level);
    }
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

fn remove(value: &mut Value, path: &str) -> Option<Value> {
    let (parents, key) = path.rsplit_once('.').map_or((None, path), |(parents, key)| (Some(parents), key));
    let parent = parents.into_iter().flat_map(|path| path.split('.')).try_fold(value, |value, key| value.get_mut(key));
    parent?.as_object_mut()?.remove(key)
}

fn typed(value: Value) -> Result<Config, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        Error::Key { path, message }
    })
}

/// What the types cannot say.
fn check(config: &Config) -> Result<(), Error> {
    let refuse = |path: &str, message: String| Err(Error::Key { path: path.into(), message });
    let http = &config.http;
    let debug = http.debug.as_ref().map(|debug| ("http.debug.addr", &debug.addr));
    for (path, addr) in [("http.addr", &http.addr)].into_iter().chain(debug) {
        if addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
            return refuse(path, format!("{addr:?} is not HOST:PORT; write for example :5000"));
        }
    }
    if debug.is_some_and(|(_, addr)| *addr == http.addr && !addr.ends_with(":0")) {
        return refuse("http.debug.addr", "the same address as http.addr: the debug port must be another".into());
    }
    let prefix = http.prefix.as_str();
    if !prefix.is_empty() && (!prefix.starts_with('/') || !prefix.ends_with('/')) {
        return refuse("http.prefix", format!("{prefix:?} must begin and end with a slash"));
    }
    if let Some(host) =
        http.host.as_deref().filter(|host| !host.starts_with("http://") && !host.starts_with("https://"))
    {
        return refuse("http.host", format!("{host:?} is not an address: write https://{host}"));
    }
    if config.catalog.maxentries == 0 {
        return refuse("catalog.maxentries", "must be at least 1".into());
    }
    if config.tags.maxtags == 0 {
        return refuse("tags.maxtags", "must be at least 1".into());
    }
    Ok(())
}
