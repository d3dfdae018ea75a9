//! [pure] The Registry that a policy is for, and whether its garbage can be collected now.

use berth_crds::Registry;

use crate::{
    Settings,
    conditions::Progress,
    registry::validate::{self, ValidRegistry},
    stored::Stored,
};

/// Why no run can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// There is no Registry of that name.
    RegistryNotFound(String),
    /// The Registry itself cannot run.
    RegistryInvalid(String),
    /// The Registry is scaled to nothing, and a run needs its server.
    RegistryStopped(String),
    /// Several replicas share the volume, and only one of them would know of the run.
    SharedVolume(String),
    /// The content is on an object store, which this version cannot collect on.
    ObjectStore {
        /// The Registry.
        registry: String,
        /// Where its content lies.
        place: String,
    },
}

impl Blocked {
    /// What it means for the policy.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let reason = match self {
            Self::RegistryNotFound(_) => "RegistryNotFound",
            Self::RegistryInvalid(_) => "RegistryInvalid",
            Self::RegistryStopped(_) => "RegistryStopped",
            Self::SharedVolume(_) => "SharedVolume",
            Self::ObjectStore { .. } => "ObjectStore",
        };
        Progress::stalled(reason, self.message())
    }

    /// What is in the way, and what to do.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::RegistryNotFound(name) => {
                format!("there is no Registry {name} in this namespace: create it, and the schedule begins")
            }
            Self::RegistryInvalid(name) => {
                format!("the spec of Registry {name} is not valid: correct what its Ready condition names")
            }
            Self::RegistryStopped(name) => {
                format!("Registry {name} is stopped, and its server does the work: set its spec.replicas to 1")
            }
            Self::SharedVolume(name) => format!(
                "Registry {name} has several replicas on one volume, where a collection is not safe while they serve: \
                 set its spec.replicas to 1"
            ),
            Self::ObjectStore { registry, place } => format!(
                "the content of Registry {registry} is on an object store, {place}, where this version of Berth cannot \
                 collect garbage while it is served: nothing is run and nothing deleted; delete the GCPolicy, or keep it \
                 for a version that can"
            ),
        }
    }
}

/// The Registry, if its garbage can be collected.
///
/// # Errors
/// [`Blocked`], which says what is in the way.
pub fn resolve(name: &str, registry: Option<&Stored<Registry>>, settings: &Settings) -> Result<ValidRegistry, Blocked> {
    let registry = match registry {
        None => return Err(Blocked::RegistryNotFound(name.to_owned())),
        Some(Stored::Unreadable(_)) => return Err(Blocked::RegistryInvalid(name.to_owned())),
        Some(Stored::Readable(registry)) => registry,
    };
    let valid = validate::validate(registry, settings).map_err(|_| Blocked::RegistryInvalid(name.to_owned()))?;
    check(&valid)?;
    Ok(valid)
}

/// Checks that the garbage of a valid Registry can be collected.
///
/// # Errors
/// [`Blocked::ObjectStore`], [`Blocked::RegistryStopped`] and [`Blocked::SharedVolume`].
pub fn check(registry: &ValidRegistry) -> Result<(), Blocked> {
    if let Some(store) = registry.storage.object_store() {
        return Err(Blocked::ObjectStore { registry: registry.name.clone(), place: store.place() });
    }
    match registry.replicas {
        0 => Err(Blocked::RegistryStopped(registry.name.clone())),
        1 => Ok(()),
        _ => Err(Blocked::SharedVolume(registry.name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored;
    use serde_json::{Value, json};

    #[test]
    fn targets() {
        let resolve = |spec: Value| {
            let registry: Option<Stored<Registry>> = (!spec.is_null()).then(|| {
                let raw = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
                    "metadata": {"name": "main"}, "spec": spec});
                stored::parse(&raw).unwrap()
            });
            resolve("main", registry.as_ref(), &Settings::default()).map(|registry| registry.name)
        };
        let shared = json!({"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}});
        assert_eq!(resolve(json!(null)), Err(Blocked::RegistryNotFound("main".into())));
        assert_eq!(resolve(json!({"storage": {}})), Err(Blocked::RegistryInvalid("main".into())));
        let unreadable = json!({"storage": shared, "replicas": 3_000_000_000_i64});
        assert_eq!(resolve(unreadable), Err(Blocked::RegistryInvalid("main".into())));
        assert_eq!(resolve(json!({"replicas": 0, "storage": shared})), Err(Blocked::RegistryStopped("main".into())));
        assert_eq!(resolve(json!({"replicas": 2, "storage": shared})), Err(Blocked::SharedVolume("main".into())));
        assert_eq!(resolve(json!({"replicas": 1, "storage": shared})), Ok("main".into()));
        let s3 = json!({"s3": {"bucket": "b", "region": "r", "credentials": {"workloadIdentity": {}}}});
        let on_s3 = Err(Blocked::ObjectStore { registry: "main".into(), place: "s3://b".into() });
        for replicas in [0, 1, 3] {
            assert_eq!(resolve(json!({"replicas": replicas, "storage": s3})), on_s3, "{replicas}");
        }
        assert_eq!(resolve(json!({"storage": {"inMemory": {}}})), Ok("main".into()));
    }
}
