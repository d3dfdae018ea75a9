//! [pure] What somebody may do, as a token says it, and whether that is enough for a request.

use std::sync::Arc;

use berth_config::rules::RepositoryPattern;
use serde::{Serialize, Serializer};

use super::access::Access;

/// What may be done with one thing; written as a token has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// What `name` is the name of: `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class of the repository; empty for images.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Which one, exactly.
    pub name: String,
    /// What may be done; `*` is everything.
    pub actions: Vec<String>,
    /// Of the catalog: which repositories may be listed, where it is not all of them.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_texts")]
    pub repositories: Vec<RepositoryPattern>,
}

fn as_texts<S: Serializer>(patterns: &[RepositoryPattern], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(patterns.iter().map(ToString::to_string))
}

/// All that somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants(Arc<[Grant]>);

impl Grants {
    /// What these are together.
    #[must_use]
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(grants.into())
    }

    /// Whether this may be done. Names are compared byte by byte: those of a request are names already.
    #[must_use]
    pub fn has(&self, wanted: &Access) -> bool {
        let mut of_it = self.0.iter().filter(|grant| grant.kind == wanted.kind && grant.name == wanted.name);
        of_it.any(|grant| grant.actions.iter().any(|action| action == "*" || action == wanted.action))
    }

    /// Which repositories may be listed, where it is not all of them: Berth's own addition to tokens, as an action of the
    /// catalog that others do not know.
    pub fn listed(&self) -> impl Iterator<Item = &RepositoryPattern> {
        let of_catalog = self.0.iter().filter(|grant| grant.kind == "registry" && grant.name == "catalog");
        let lists = of_catalog.filter(|grant| grant.actions.iter().any(|action| action == "list"));
        lists.flat_map(|grant| &grant.repositories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_what_is_named() {
        let grant = |kind: &str, name: &str, actions: &[&str]| Grant {
            kind: kind.into(),
            class: String::new(),
            name: name.into(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            repositories: Vec::new(),
        };
        let grants = Grants::new(vec![
            grant("repository", "team/app", &["pull"]),
            grant("repository", "team/app", &["push"]),
            grant("repository", "own", &["*"]),
            grant("registry", "catalog", &["*"]),
            grant("repository", "none", &[]),
        ]);
        for (kind, name, action, expected) in [
            ("repository", "team/app", "pull", true),
            ("repository", "team/app", "push", true),
            ("repository", "team/app", "delete", false),
            ("repository", "own", "delete", true),
            ("repository", "none", "pull", false),
            ("repository", "team", "pull", false),
            ("repository", "team/app/sub", "pull", false),
            ("repository", "Team/App", "pull", false),
            ("repository", "catalog", "*", false),
            ("registry", "catalog", "*", true),
            ("registry", "team/app", "pull", false),
        ] {
            let wanted = Access::of(kind, name, action);
            assert_eq!(grants.has(&wanted), expected, "{}", wanted.scope());
        }
        assert!(!Grants::new(Vec::new()).has(&Access::of("repository", "team/app", "pull")));
    }
}
