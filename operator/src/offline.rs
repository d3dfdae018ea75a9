//! [pure] `berth-operator render`: resources in files to the objects that the operator would apply, with no cluster.
//!
//! The same validation and the same rendering as in a cluster. What only a cluster knows is left out: owner references,
//! the Secrets with the admin token and with the keys that sign tokens, which are random, and what is in Secrets and ConfigMaps that a spec names.

use std::{collections::BTreeMap, fmt::Write as _};

use berth_crds::{GCPolicy, GROUP, Registry};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Settings, gc_policy, names,
    problem::Problems,
    registry::{self, render::Pins, validate::ValidRegistry},
};

/// A file with resources.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, for errors.
    pub file: String,
    /// Its text: one or more YAML documents.
    pub text: String,
}

/// Why resources cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A file is not YAML.
    #[error("{file}: {source}")]
    Yaml {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: Box<serde_saphyr::Error>,
    },
    /// A document is no Kubernetes resource.
    #[error("{file}: document {document} has no apiVersion and kind")]
    NoResource {
        /// The file.
        file: String,
        /// The number of the document, from 1.
        document: usize,
    },
    /// A resource is of a kind that the operator does not render.
    #[error("{file}: {resource}: render knows the kinds Registry and GCPolicy of berth.dev/v1alpha1")]
    UnknownKind {
        /// The file.
        file: String,
        /// apiVersion, kind and name.
        resource: String,
    },
    /// A resource has a field that its kind does not have.
    #[error("{file}: {resource}: {field}: there is no such field")]
    UnknownField {
        /// The file.
        file: String,
        /// Kind and name.
        resource: String,
        /// The path of the field.
        field: String,
    },
    /// A field has a value of the wrong type.
    #[error("{file}: {resource}: {field}: {source}")]
    Type {
        /// The file.
        file: String,
        /// Kind and name.
        resource: String,
        /// The path of the field.
        field: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A resource is not valid.
    #[error("{}", lines(file, resource, problems))]
    Invalid {
        /// The file.
        file: String,
        /// Kind and name.
        resource: String,
        /// What is wrong with it.
        problems: Problems,
    },
    /// The Registry of a GCPolicy is not among the files.
    #[error("{file}: {resource}: spec.registryRef.name: Registry {registry} is in none of the files: add its file")]
    NoRegistry {
        /// The file.
        file: String,
        /// Kind and name.
        resource: String,
        /// The Registry.
        registry: String,
    },
    /// The garbage of the Registry cannot be collected.
    #[error("{file}: {resource}: spec.registryRef.name: {message}")]
    Blocked {
        /// The file.
        file: String,
        /// Kind and name.
        resource: String,
        /// Why.
        message: String,
    },
    /// An object could not be written.
    #[error("an object could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An object could not be written.
    #[error("an object could not be written as YAML: {0}")]
    Write(#[from] serde_saphyr::ser::Error),
}

fn lines(file: &str, resource: &str, problems: &Problems) -> String {
    problems.lines().iter().map(|line| format!("{file}: {resource}: {line}")).collect::<Vec<_>>().join("\n")
}

/// A resource of a kind that is known, and where it comes from.
struct Document {
    file: String,
    resource: String,
    kind: Kind,
}

enum Kind {
    Registry(Box<Registry>),
    Policy(Box<GCPolicy>),
}

/// Renders the resources of all files as one text of YAML documents, in the order in which they are applied.
///
/// # Errors
/// [`RenderError`], which names file, resource and field.
pub fn render(sources: &[Source], settings: &Settings) -> Result<String, RenderError> {
    let mut documents = Vec::new();
    for source in sources {
        documents.extend(read(source)?);
    }
    let mut registries: BTreeMap<(String, String), ValidRegistry> = BTreeMap::new();
    let mut text = String::new();
    for Document { file, resource, kind } in &documents {
        let Kind::Registry(registry) = kind else { continue };
        let valid = registry::validate::validate(registry, settings).map_err(|problems| RenderError::Invalid {
            file: file.clone(),
            resource: resource.clone(),
            problems,
        })?;
        write_registry(&mut text, &valid)?;
        registries.insert((valid.namespace.clone(), valid.name.clone()), valid);
    }
    for Document { file, resource, kind } in &documents {
        let Kind::Policy(policy) = kind else { continue };
        let (file, resource) = (file.clone(), resource.clone());
        let valid = match gc_policy::validate::validate(policy, settings) {
            Ok(valid) => valid,
            Err(problems) => return Err(RenderError::Invalid { file, resource, problems }),
        };
        let Some(registry) = registries.get(&(valid.namespace.clone(), valid.registry.clone())) else {
            return Err(RenderError::NoRegistry { file, resource, registry: valid.registry });
        };
        if let Err(blocked) = gc_policy::target::check(registry) {
            return Err(RenderError::Blocked { file, resource, message: blocked.message() });
        }
        write_objects(&mut text, &gc_policy::render::render(&valid, registry).objects()?)?;
    }
    Ok(text)
}

fn write_registry(text: &mut String, valid: &ValidRegistry) -> Result<(), RenderError> {
    let secret = names::admin_secret(&valid.name);
    let _ = writeln!(text, "# Secret {secret} is not shown: the operator makes it once, with a random token.");
    if valid.issuer().is_some() {
        let secret = names::token_keys(&valid.name);
        let _ = writeln!(
            text,
            "# Secret {secret} is not shown: the operator makes it, with random keys, and changes them."
        );
    }
    write_objects(text, &registry::render::render(valid, &Pins::default()).objects()?)
}

fn write_objects(text: &mut String, objects: &[Value]) -> Result<(), RenderError> {
    for object in objects {
        let _ = write!(text, "---\n{}", serde_saphyr::to_string(object)?);
    }
    Ok(())
}

fn read(source: &Source) -> Result<Vec<Document>, RenderError> {
    let values: Vec<Value> = serde_saphyr::from_multiple(&source.text)
        .map_err(|error| RenderError::Yaml { file: source.file.clone(), source: Box::new(error) })?;
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate().filter(|(_, value)| !value.is_null()) {
        documents.push(read_document(&source.file, index + 1, value)?);
    }
    Ok(documents)
}

fn read_document(file: &str, document: usize, value: Value) -> Result<Document, RenderError> {
    let file = file.to_owned();
    let (Some(version), Some(kind)) = (value["apiVersion"].as_str(), value["kind"].as_str()) else {
        return Err(RenderError::NoResource { file, document });
    };
    let name = value["metadata"]["name"].as_str().unwrap_or("without a name");
    let resource = format!("{kind} {name}");
    let is_known = version == format!("{GROUP}/v1alpha1") && matches!(kind, "Registry" | "GCPolicy");
    if !is_known {
        return Err(RenderError::UnknownKind { file, resource: format!("{version} {resource}") });
    }
    if let Some(field) = berth_crds::unknown_fields(kind, &value).into_iter().next() {
        return Err(RenderError::UnknownField { file, resource, field });
    }
    let kind = if kind == "Registry" {
        typed(&file, &resource, value).map(|registry| Kind::Registry(Box::new(registry)))
    } else {
        typed(&file, &resource, value).map(|policy| Kind::Policy(Box::new(policy)))
    }?;
    Ok(Document { file, resource, kind })
}

fn typed<T: DeserializeOwned>(file: &str, resource: &str, value: Value) -> Result<T, RenderError> {
    serde_path_to_error::deserialize(value).map_err(|error| RenderError::Type {
        file: file.to_owned(),
        resource: resource.to_owned(),
        field: error.path().to_string(),
        source: error.into_inner(),
    })
}
