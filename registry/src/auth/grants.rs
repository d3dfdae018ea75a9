//! [pure] What somebody may do, as a token says it, and whether that is enough for a request.

use std::sync::Arc;

use super::access::Access;

/// What may be done with one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What `name` is the name of: `repository` or `registry`.
    pub kind: String,
    /// The class of the repository; empty for images.
    pub class: String,
    /// Which one, exactly.
    pub name: String,
    /// What may be done; `*` is everything.
    pub actions: Vec<String>,
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
