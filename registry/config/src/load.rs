//! From the text of a file and the environment to a [`Config`], or to an error that names the key.

use serde_json::Value;

use crate::check::check;
use crate::environment::{self, Setting};
use crate::read::{Problem, Refusal, read};
use crate::{Auth, Config, Method, TlsVersion, tree};

/// Keys that Berth knows and has no use for: said at start, with the reason.
pub(crate) const UNUSED: &[(&str, &str)] = &[
    ("log.hooks", "Berth sends no mail; watch the log instead"),
    ("log.reportcaller", "log lines name their module"),
    ("redis", "Berth needs no Redis: replicas share nothing but the store"),
    ("reporting", "Berth sends no reports; watch the log and the metrics instead"),
    ("storage.cache", "Berth needs no choice of cache"),
    ("storage.tag", "Berth looks a tag up without a walk"),
];

/// Keys whose variable holds the text itself and no YAML: a secret may begin with any character.
pub(crate) const SECRETS: &[&str] = &[
    "http.secret",
    "proxy.password",
    "storage.azure.accountkey",
    "storage.azure.connectionstring",
    "storage.azure.credentials.secret",
    "storage.oss.accesskeysecret",
    "storage.s3.secretkey",
    "storage.s3.sessiontoken",
    "storage.s3aws.secretkey",
    "storage.s3aws.sessiontoken",
    "storage.swift.accesskey",
    "storage.swift.password",
    "storage.swift.secretkey",
];

/// Sections in which Distribution takes any key, and then stops. A variable that is mistyped there must not be passed over:
/// the registry would run without what it was meant to set, such as a password.
const CLOSED: &[&str] = &["auth", "storage"];

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
        tree::remove(&mut value, LEVEL);
        in_force(value, variables)
    }
}

/// From what a file holds to what is in force.
fn in_force(mut tree: Value, variables: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Error> {
    let mut warnings = Vec::new();
    tree::normalize(&mut tree);
    overlay(&mut tree, variables, &mut warnings)?;
    move_old_level(&mut tree, &mut warnings);
    for (path, reason) in UNUSED {
        if tree::remove(&mut tree, path).is_some() {
            warnings.push(format!("{path} has no effect: {reason}"));
        }
    }
    if tree::at(&tree, "http.debug").is_some_and(|debug| debug.is_object() && debug.get("addr").is_none()) {
        tree::remove(&mut tree, "http.debug");
        warnings.push("http.debug has no effect: it has no addr".into());
    }
    let config: Config = read(&tree).map_err(|refusal| key_error(&refusal))?;
    check(&config)?;
    warnings.extend(remarks(&config, &tree));
    Ok(Loaded { config, warnings })
}

/// A value, or the place in `text` where it stops being YAML.
fn yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    // What a key wants is not known yet, so what could be text stays text: `no`, and a key of digits with its zeros.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| match error.location() {
        Some(at) => format!("it cannot be read at line {}, column {}", at.line(), at.column()),
        None => "it cannot be read".to_owned(),
    })
}

fn overlay(
    tree: &mut Value,
    variables: impl IntoIterator<Item = (String, String)>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    for setting in environment::settings(variables) {
        let name = &setting.name;
        if environment::is_service_link(&setting) {
            warnings.push(format!("environment variable {name} is Kubernetes' link to a Service and has no effect"));
            continue;
        }
        let refused = |message: String| Error::Variable { name: name.clone(), message };
        let value = value_of(&setting).map_err(|place| refused(format!("its value is not YAML: {place}")))?;
        if let Err(reason) = names_a_key(&setting, &value) {
            if CLOSED.contains(&setting.path[0].as_str()) {
                return Err(refused(reason));
            }
            // Kubernetes sets REGISTRY_PORT and the like for a Service named `registry`, so an unknown name is said, not
            // refused. So does Distribution.
            warnings.push(format!("environment variable {name} has no effect: {reason}"));
            continue;
        }
        environment::place(tree, &setting.path, value).map_err(|error| refused(error.to_string()))?;
        tree::normalize(tree);
    }
    Ok(())
}

/// What a variable sets its key to. A plain value stays the text that it is, for the types to read: an access key of
/// digits must keep its zeros.
fn value_of(Setting { path, yaml: text, .. }: &Setting) -> Result<Value, String> {
    let dotted = path.join(".");
    if SECRETS.contains(&dotted.as_str()) || dotted.starts_with("storage.gcs.credentials.") {
        return Ok(Value::String(text.clone()));
    }
    let value = yaml(text)?;
    let is_plain = value.is_number() || value.is_boolean();
    Ok(if is_plain && !dotted.starts_with("log.fields.") { Value::String(text.trim().to_owned()) } else { value })
}

/// Whether the key that a variable sets is one of the configuration's, asked of the types themselves; or why not.
fn names_a_key(Setting { path, .. }: &Setting, value: &Value) -> Result<(), String> {
    if path.iter().any(String::is_empty) {
        return Err("it names no key".into());
    }
    let dotted = path.join(".");
    let is_below = |key: &str| dotted.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if dotted == OLD_LEVEL || UNUSED.iter().any(|(key, _)| is_below(key)) {
        return Ok(());
    }
    let mut alone = Value::Null;
    // What is built from nothing has no list to miss an index of and no plain value in the way.
    let _ = environment::place(&mut alone, path, value.clone());
    tree::normalize(&mut alone);
    for (key, _) in UNUSED {
        tree::remove(&mut alone, key);
    }
    match read::<Config>(&alone) {
        Err(refusal) if matches!(refusal.problem, Problem::Unknown { .. }) && refusal.path().len() <= path.len() => {
            Err(format!("{}: {refusal}", refusal.path().join(".")))
        }
        _ => Ok(()),
    }
}

fn move_old_level(tree: &mut Value, warnings: &mut Vec<String>) {
    let Some(level) = tree::remove(tree, OLD_LEVEL) else { return };
    warnings.push(format!("{OLD_LEVEL} is old: write {LEVEL}"));
    if tree::at(tree, LEVEL).is_none() {
        let path = ["log".to_owned(), "level".to_owned()];
        // A `log` that is not a map is refused by the types, which name it.
        let _ = environment::place(tree, &path, level);
    }
}

fn key_error(refusal: &Refusal) -> Error {
    let path = refusal.path().join(".");
    Error::Key { path: if path.is_empty() { ".".into() } else { path }, message: refusal.to_string() }
}

/// What is to be said of a configuration that is right.
fn remarks(config: &Config, tree: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    let minimum = tree::at(tree, "http.tls.minimumtls").and_then(Value::as_str);
    if let Some(old @ ("tls1.0" | "tls1.1")) = minimum {
        remarks.push(format!("http.tls.minimumtls: {old} is read as tls1.2, the oldest version that Berth speaks"));
    }
    if let Some(tls) = &config.http.tls
        && tls.minimumtls == TlsVersion::Tls13
        && !tls.ciphersuites.is_empty()
    {
        remarks.push("http.tls.ciphersuites has no effect: the suites of TLS 1.3 cannot be chosen".into());
    }
    if let Some(tls) = &config.http.tls
        && tls.clientauth.is_some()
        && tls.clientcas.is_empty()
    {
        remarks.push("http.tls.clientauth has no effect without http.tls.clientcas".into());
    }
    if matches!(&config.auth, Some(Auth { method: Some(Method::Silly(_)), .. })) {
        remarks.push("auth.silly protects nothing: any Authorization header is let in".into());
    }
    remarks
}
