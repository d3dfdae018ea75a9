//! [pure] Who may do what with which repositories: rules, and the one decision that is made of them.
//!
//! A rule grants, and none takes away: what no rule grants is refused. The same rules stand in the configuration of a server
//! and in a `Registry`.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use pattern::{Known, NamePattern, PatternError, RepositoryPattern};

/// What may be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Manifests, blobs, tags and referrers are read, and the repository is listed.
    Pull,
    /// Manifests and blobs are written.
    Push,
    /// Tags, manifests, blobs and uploads are deleted.
    Delete,
    /// The repository's name is in the catalog.
    List,
    /// Everything.
    #[serde(rename = "*")]
    All,
}

impl Action {
    /// Whether who may do this may do the other.
    #[must_use]
    pub fn includes(self, other: Action) -> bool {
        self == other || self == Action::All || (self, other) == (Action::Pull, Action::List)
    }
}

/// What everybody may do with which repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Everybody {
    /// With which repositories: a pattern, or several. `*` is any text within a component of a name, `**` any components.
    #[serde(deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub repositories: Vec<RepositoryPattern>,
    /// What may be done: `pull`, `push`, `delete`, `list`, or `*`.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub actions: BTreeSet<Action>,
}

impl Everybody {
    /// The rule that this is.
    #[must_use]
    pub fn rule(&self) -> Rule {
        let Everybody { repositories, actions } = self.clone();
        Rule { anonymous: true, repositories, actions, ..Rule::default() }
    }
}

/// Who may do what with which repositories. Whoever is named by any of the lists may do all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// Users by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub users: Vec<NamePattern>,
    /// Users by a group of theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub groups: Vec<NamePattern>,
    /// Service accounts of Kubernetes, `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub service_accounts: Vec<NamePattern>,
    /// Identities of other issuers, `ISSUER:SUBJECT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub subjects: Vec<NamePattern>,
    /// Whoever has all of these claims, `ISSUER:CLAIM`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub claims: BTreeMap<String, NamePattern>,
    /// Everybody, also who says no name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// With which repositories: a pattern, or several. `{user}`, `{namespace}` and claims stand for what is known of who asks.
    #[serde(deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub repositories: Vec<RepositoryPattern>,
    /// What may be done: `pull`, `push`, `delete`, `list`, or `*`.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub actions: BTreeSet<Action>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<RepositoryPattern>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    let parsed = texts.iter().map(|text| {
        text.parse()
            .map_err(|error| serde::de::Error::custom(format!("{text:?} is no pattern of repositories: {error}")))
    });
    parsed.collect()
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It names nobody.
    #[error(
        "it names nobody: add users, groups, serviceAccounts, subjects or claims, or anonymous: true for everybody"
    )]
    Nobody,
    /// It names no repository.
    #[error("it names no repositories")]
    Nowhere,
    /// It grants nothing.
    #[error("it grants no actions: add some of pull, push, delete, list, or *")]
    Nothing,
}

/// What is known of whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// The name; none of somebody who says none.
    pub user: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// The namespace and the name of a service account.
    pub service_account: Option<(String, String)>,
    /// `ISSUER:SUBJECT` of an identity of another issuer.
    pub subject: Option<String>,
    /// Which other issuer it is an identity of.
    pub issuer: Option<String>,
    /// What that issuer claims of it.
    pub claims: BTreeMap<String, String>,
}

impl Subject {
    /// What is claimed by the name `ISSUER:CLAIM`: of what an issuer says, nothing is taken for what another has said.
    fn claim(&self, name: &str) -> Option<&String> {
        let (issuer, claim) = name.split_once(':')?;
        self.claims.get(claim).filter(|_| self.issuer.as_deref() == Some(issuer))
    }
}

impl Known for Subject {
    fn value(&self, name: &str) -> Option<&str> {
        match name {
            "user" => self.user.as_deref(),
            "namespace" => self.service_account.as_ref().map(|(namespace, _)| namespace.as_str()),
            "serviceAccount" => self.service_account.as_ref().map(|(_, name)| name.as_str()),
            claim => self.claims.get(claim).map(String::as_str),
        }
    }
}

impl Rule {
    /// Whether the rule says something.
    ///
    /// # Errors
    /// What it does not say.
    pub fn check(&self) -> Result<(), RuleError> {
        let Rule { users, groups, service_accounts, subjects, claims, anonymous, repositories, actions } = self;
        let names = [users, groups, service_accounts, subjects];
        if names.into_iter().all(Vec::is_empty) && claims.is_empty() && !anonymous {
            return Err(RuleError::Nobody);
        }
        if repositories.is_empty() {
            return Err(RuleError::Nowhere);
        }
        if actions.is_empty() { Err(RuleError::Nothing) } else { Ok(()) }
    }

    /// Whether the rule is about somebody.
    #[must_use]
    pub fn names(&self, subject: &Subject) -> bool {
        let any = |patterns: &[NamePattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name, subject));
        let account = subject.service_account.as_ref().map(|(namespace, name)| format!("{namespace}/{name}"));
        self.anonymous
            || subject.user.as_deref().is_some_and(|user| any(&self.users, user))
            || subject.groups.iter().any(|group| any(&self.groups, group))
            || account.is_some_and(|account| any(&self.service_accounts, &account))
            || subject.subject.as_deref().is_some_and(|of| any(&self.subjects, of))
            || (!self.claims.is_empty()
                && self
                    .claims
                    .iter()
                    .all(|(claim, pattern)| subject.claim(claim).is_some_and(|value| pattern.matches(value, subject))))
    }

    fn grants(&self, subject: &Subject, repository: &str, action: Action) -> bool {
        self.actions.iter().any(|granted| granted.includes(action))
            && self.names(subject)
            && self.repositories.iter().any(|pattern| pattern.matches(repository, subject))
    }
}

/// The patterns of all that somebody may do this with, with what is known of them in place of the placeholders.
#[must_use]
pub fn granted(rules: &[Rule], subject: &Subject, action: Action) -> Vec<RepositoryPattern> {
    let rules = rules.iter().filter(|rule| rule.actions.iter().any(|granted| granted.includes(action)));
    let mut patterns = Vec::new();
    for pattern in rules.filter(|rule| rule.names(subject)).flat_map(|rule| &rule.repositories) {
        patterns.extend(pattern.of(subject).filter(|pattern| !patterns.contains(pattern)));
    }
    patterns
}

/// Whether somebody may do this with a repository.
#[must_use]
pub fn allows(rules: &[Rule], subject: &Subject, repository: &str, action: Action) -> bool {
    rules.iter().any(|rule| rule.grants(subject, repository, action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &str) -> Vec<Rule> {
        let rules: Vec<Rule> = serde_saphyr::from_str(yaml).unwrap();
        rules.iter().for_each(|rule| rule.check().unwrap());
        rules
    }

    fn user(name: &str, groups: &[&str]) -> Subject {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Subject { user: Some(name.into()), groups, ..Subject::default() }
    }

    fn account(namespace: &str, name: &str) -> Subject {
        let user = Some(format!("{namespace}/{name}"));
        Subject { user, service_account: Some((namespace.into(), name.into())), ..Subject::default() }
    }

    #[test]
    fn a_rule_grants_what_it_says_to_whom_it_says() {
        let rules = rules(
            "- {anonymous: true, repositories: 'public/**', actions: [pull]}\n\
             - {groups: ['keycloak:platform'], repositories: '**', actions: ['*']}\n\
             - {subjects: ['github:repo:acme/*'], repositories: 'ci/{repository}/**', actions: [pull, push]}\n\
             - {serviceAccounts: ['{namespace}/*'], repositories: '{namespace}/**', actions: [pull, push]}\n\
             - {users: ['*'], repositories: ['home/{user}', 'home/{user}/**'], actions: ['*']}\n\
             - {claims: {'gitlab:team': 'x*', 'gitlab:ref': main}, repositories: 'x/**', actions: [list]}\n",
        );
        let github = Subject {
            subject: Some("github:repo:acme/app:ref:refs/heads/main".into()),
            claims: BTreeMap::from([("repository".into(), "acme/app".into())]),
            ..Subject::default()
        };
        let of = |issuer: &str, team: &str, branch: &str| Subject {
            issuer: Some(issuer.into()),
            claims: BTreeMap::from([("team".into(), team.into()), ("ref".into(), branch.into())]),
            ..Subject::default()
        };
        let claims = |team: &str, branch: &str| of("gitlab", team, branch);
        let (nobody, alice, admin) =
            (Subject::default(), user("alice", &["dev"]), user("root", &["keycloak:platform"]));
        for (subject, repository, action, expected) in [
            (&nobody, "public/a", Action::Pull, true),
            (&nobody, "public/a", Action::List, true),
            (&nobody, "public/a", Action::Push, false),
            (&nobody, "public", Action::Pull, false),
            (&nobody, "home/alice", Action::Pull, false),
            (&alice, "public/a", Action::Pull, true),
            (&alice, "home/alice/app", Action::Delete, true),
            (&alice, "home/alice", Action::Push, true),
            (&alice, "home/bob/app", Action::Pull, false),
            (&alice, "home/alice2", Action::Pull, false),
            (&admin, "any/thing", Action::Delete, true),
            (&user("x", &["keycloak:platform2"]), "any/thing", Action::Pull, false),
            (&github, "ci/acme/app/main", Action::Push, true),
            (&github, "ci/acme/other/main", Action::Push, false),
            (&github, "ci/acme/app/main", Action::Delete, false),
            (&account("team-a", "builder"), "team-a/app", Action::Push, true),
            (&account("team-a", "builder"), "team-b/app", Action::Push, false),
            (&claims("xy", "main"), "x/a", Action::List, true),
            (&claims("xy", "main"), "x/a", Action::Pull, false),
            (&claims("xy", "other"), "x/a", Action::List, false),
            (&claims("yx", "main"), "x/a", Action::List, false),
            (&of("other", "xy", "main"), "x/a", Action::List, false),
        ] {
            assert_eq!(allows(&rules, subject, repository, action), expected, "{subject:?} {repository} {action:?}");
        }
        assert!(!allows(&[], &admin, "any/thing", Action::Pull), "what no rule grants is refused");
    }

    #[test]
    fn what_somebody_may_list_is_told_without_placeholders() {
        let rules = rules(
            "- {anonymous: true, repositories: ['public/**', 'public/**'], actions: [pull]}\n\
             - {users: ['*'], repositories: ['home/{user}/**', 'a-{user}/*'], actions: ['*']}\n\
             - {users: ['*'], repositories: 'drop/**', actions: [push]}\n\
             - {serviceAccounts: ['*'], repositories: '{namespace}/**', actions: [list]}\n\
             - {users: [root], repositories: '**', actions: [pull]}\n",
        );
        let told = |subject: &Subject| {
            granted(&rules, subject, Action::List).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&Subject::default()), ["public/**"]);
        assert_eq!(told(&user("alice", &[])), ["public/**", "home/alice/**", "a-alice/*"]);
        assert_eq!(told(&user("Alice", &[])), ["public/**"], "it is no part of a name");
        assert_eq!(told(&user("root", &[])), ["public/**", "home/root/**", "a-root/*", "**"]);
        assert_eq!(told(&user("a/b", &[])), ["public/**", "home/a/b/**"], "several components, and no part of one");
        let builder = account("team-a", "builder");
        assert_eq!(told(&builder)[1..], ["home/team-a/builder/**", "team-a/**"]);
        for subject in [Subject::default(), user("alice", &[]), user("a/b", &[]), builder] {
            let patterns = granted(&rules, &subject, Action::List);
            for name in ["public/a", "home/alice/x", "home/a/b/x", "a-alice/x", "team-a/x", "team-b/x", "drop/x"] {
                let told = patterns.iter().any(|pattern| pattern.matches(name, &Subject::default()));
                assert_eq!(told, allows(&rules, &subject, name, Action::List), "{subject:?} {name}");
            }
        }
    }

    #[test]
    fn a_name_is_no_pattern() {
        let rules = rules("- {users: ['*'], repositories: '{user}/**', actions: ['*']}");
        for name in ["*", "**", "a/*", "../alice", "Alice", "a/", "", "a//b", "{user}"] {
            assert!(!allows(&rules, &user(name, &[]), "alice/app", Action::Pull), "{name}");
        }
        assert!(allows(&rules, &user("alice", &[]), "alice/app", Action::Pull));
    }

    #[test]
    fn a_rule_that_says_nothing_is_refused() {
        for (yaml, expected) in [
            ("{repositories: a, actions: [pull]}", RuleError::Nobody),
            ("{anonymous: false, repositories: a, actions: [pull]}", RuleError::Nobody),
            ("{anonymous: true, repositories: [], actions: [pull]}", RuleError::Nowhere),
            ("{anonymous: true, actions: [pull]}", RuleError::Nowhere),
            ("{anonymous: true, repositories: a}", RuleError::Nothing),
        ] {
            let rule: Rule = serde_saphyr::from_str(yaml).unwrap();
            assert_eq!(rule.check(), Err(expected), "{yaml}");
        }
        for (yaml, said) in [
            ("{anonymous: true, repositories: 'A', actions: [pull]}", "no pattern of repositories"),
            ("{anonymous: true, repositories: a, actions: [write]}", "write"),
            ("{anonymous: true, repository: a, actions: [pull]}", "repository"),
            ("{users: ['{'], repositories: a, actions: [pull]}", "placeholder"),
        ] {
            let refused = serde_saphyr::from_str::<Rule>(yaml).unwrap_err().to_string();
            assert!(refused.contains(said), "{yaml}: {refused}");
        }
    }
}
