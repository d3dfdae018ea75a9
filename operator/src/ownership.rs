//! [pure] Whose an object is: nothing that the operator did not make is ever taken over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::names;

/// Why a name cannot be used for now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// Somebody else's object has the name.
    #[error(
        "{kind} {name} exists and was not made for this {owner_kind}: delete it, or choose another name for the \
         {owner_kind}"
    )]
    Foreign {
        /// The object's kind.
        kind: &'static str,
        /// The object's name.
        name: String,
        /// The kind of the resource that wants the name.
        owner_kind: &'static str,
    },
    /// An object of an earlier resource of that name is on its way out.
    #[error("{kind} {name} is being deleted")]
    Leaving {
        /// The object's kind.
        kind: &'static str,
        /// The object's name.
        name: String,
    },
}

/// The resource that objects are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// The label that names it on its objects.
    pub label: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: Option<&'a str>,
}

impl Owner<'_> {
    /// Whether an object may be applied over `live`.
    ///
    /// # Errors
    /// [`Taken`], which names the object.
    pub fn check(&self, kind: &'static str, live: Option<&ObjectMeta>) -> Result<(), Taken> {
        let Some(live) = live else { return Ok(()) };
        let name = || live.name.clone().unwrap_or_default();
        let is_ours = match controller_of(live) {
            Some(controller) if Some(controller.uid.as_str()) == self.uid => true,
            // It belongs to an earlier resource of this name: the cluster collects it, and then the name is free.
            Some(controller) if controller.kind == self.kind && controller.name == self.name => {
                return Err(Taken::Leaving { kind, name: name() });
            }
            Some(_) => false,
            None => self.labels_match(live),
        };
        if !is_ours {
            return Err(Taken::Foreign { kind, name: name(), owner_kind: self.kind });
        }
        if live.deletion_timestamp.is_some() {
            return Err(Taken::Leaving { kind, name: name() });
        }
        Ok(())
    }

    /// Whether the object was made for the resource, by its labels.
    #[must_use]
    pub fn labels_match(&self, live: &ObjectMeta) -> bool {
        let label = |key: &str| live.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
        label("app.kubernetes.io/managed-by") == Some(names::MANAGER) && label(self.label) == Some(self.name)
    }

    /// Whether the object is controlled by the resource.
    #[must_use]
    pub fn controls(&self, live: &ObjectMeta) -> bool {
        controller_of(live).is_some_and(|controller| Some(controller.uid.as_str()) == self.uid)
    }
}

fn controller_of(live: &ObjectMeta) -> Option<&OwnerReference> {
    live.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_our_own_is_taken() {
        let owner = Owner { kind: "Registry", label: names::REGISTRY_LABEL, name: "main", uid: Some("u1") };
        let by = |kind: &str, name: &str, uid: &str| {
            json!({"name": "main", "ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": name, "uid": uid,
                "controller": true}]})
        };
        let labels = |of: &str| {
            json!({"name": "main", "labels": {"app.kubernetes.io/managed-by": "berth-operator",
                "berth.dev/registry": of}})
        };
        let mut deleted = labels("main");
        deleted["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let check = |live: Value| {
            let live: ObjectMeta = serde_json::from_value(live).unwrap();
            match owner.check("Service", Some(&live)) {
                Ok(()) => "ours",
                Err(Taken::Leaving { .. }) => "leaving",
                Err(Taken::Foreign { .. }) => "foreign",
            }
        };
        assert_eq!(owner.check("Service", None), Ok(()));
        for (live, expected) in [
            (json!({"name": "main"}), "foreign"),
            (by("Registry", "main", "u1"), "ours"),
            (by("Registry", "main", "u0"), "leaving"),
            (by("Registry", "other", "u0"), "foreign"),
            (by("StatefulSet", "main", "u2"), "foreign"),
            (labels("main"), "ours"),
            (labels("other"), "foreign"),
            (deleted, "leaving"),
        ] {
            assert_eq!(check(live.clone()), expected, "{live}");
        }
    }
}
