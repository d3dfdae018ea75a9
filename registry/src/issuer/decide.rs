//! [pure] What somebody is given of what was asked for. A token may hold less than was asked for, down to nothing: the client
//! learns from the registry what is missing.

use berth_config::rules::{self, Action, Rule, Subject};
use berth_oci::RepositoryName;

use super::scope::Scope;
use crate::auth::Grant;

/// The actions of a repository, by their names.
const ACTIONS: [(&str, Action); 3] = [("pull", Action::Pull), ("push", Action::Push), ("delete", Action::Delete)];
/// The most bytes that a token spends on saying what may be listed: it is sent with every request, in a header.
const MAX_LISTED_BYTES: usize = 2048;

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) rules: Vec<Rule>,
    /// Whether who is known may do everything: there are no rules but for everybody.
    pub(super) named_has_everything: bool,
}

impl Policy {
    /// What everybody may do, and what this rule grants.
    pub(super) fn for_everybody_and(&self, rule: &Rule) -> Policy {
        let everybody = self.rules.iter().filter(|rule| rule.anonymous);
        Policy { rules: everybody.chain([rule]).cloned().collect(), named_has_everything: false }
    }

    fn has_everything(&self, subject: &Subject) -> bool {
        self.named_has_everything && subject.user.is_some()
    }

    fn allows(&self, subject: &Subject, repository: &str, action: Action) -> bool {
        self.has_everything(subject) || rules::allows(&self.rules, subject, repository, action)
    }

    /// Whether somebody has more than everybody has.
    pub(super) fn is_about(&self, subject: &Subject) -> bool {
        self.has_everything(subject) || self.rules.iter().any(|rule| !rule.anonymous && rule.names(subject))
    }

    /// Whether everybody may do something, also who says no name.
    pub(super) fn is_for_everybody(&self) -> bool {
        self.rules.iter().any(|rule| rule.anonymous)
    }

    /// What somebody is given of these scopes; nothing of what is not known here.
    pub(super) fn grant(&self, subject: &Subject, scopes: &[Scope]) -> Vec<Grant> {
        let mut grants: Vec<Grant> = Vec::new();
        for scope in scopes {
            let granted = match (scope.kind.as_str(), scope.name.as_str()) {
                ("repository", _) => self.repository(subject, scope),
                ("registry", "catalog") => self.catalog(subject, scope),
                _ => None,
            };
            grants.extend(granted.filter(|grant| !grants.contains(grant)));
        }
        grants
    }

    fn repository(&self, subject: &Subject, scope: &Scope) -> Option<Grant> {
        let name: RepositoryName = scope.name.parse().ok()?;
        let allows = |action| self.allows(subject, name.as_str(), action);
        let mut actions: Vec<String> = Vec::new();
        let mut add = |action: &str| {
            if !actions.iter().any(|known| known == action) {
                actions.push(action.to_owned());
            }
        };
        for wanted in &scope.actions {
            match (wanted.as_str(), ACTIONS.iter().find(|(known, _)| known == wanted)) {
                ("*", _) if allows(Action::All) => add("*"),
                ("*", _) => ACTIONS.iter().filter(|(_, action)| allows(*action)).for_each(|(known, _)| add(known)),
                (_, Some((known, action))) if allows(*action) => add(known),
                _ => {}
            }
        }
        let (kind, class) = (scope.kind.clone(), scope.class.clone());
        (!actions.is_empty()).then(|| Grant { kind, class, name: name.to_string(), actions, repositories: Vec::new() })
    }

    /// The catalog: all of it, or what one may list. The second is called by another name, which only Berth knows: who does
    /// not know it refuses to show any.
    fn catalog(&self, subject: &Subject, scope: &Scope) -> Option<Grant> {
        let grant = |action: &str, repositories| Grant {
            kind: scope.kind.clone(),
            class: String::new(),
            name: scope.name.clone(),
            actions: vec![action.to_owned()],
            repositories,
        };
        if !scope.actions.iter().any(|action| action == "*" || action == "list") {
            return None;
        }
        if self.has_everything(subject) {
            return Some(grant("*", Vec::new()));
        }
        let listed = rules::granted(&self.rules, subject, Action::List);
        let bytes: usize = listed.iter().map(|pattern| pattern.to_string().len()).sum();
        match listed.iter().any(|pattern| pattern.to_string() == "**") {
            true => Some(grant("*", Vec::new())),
            false if listed.is_empty() => None,
            false if bytes > MAX_LISTED_BYTES => {
                tracing::warn!(
                    user = subject.user,
                    bytes,
                    "the rules name too much that this user may list: nothing is"
                );
                None
            }
            false => Some(grant("list", listed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope;
    use super::*;

    fn policy(rules: &str) -> Policy {
        let rules = if rules.is_empty() { String::new() } else { format!(", rules: {rules}") };
        let text = format!("version: 0.1\nstorage: inmemory\nauth: {{htpasswd: {{realm: r, path: /p}}{rules}}}");
        let rules = berth_config::Config::load(&text, []).unwrap().config.auth.unwrap().rules;
        Policy { named_has_everything: rules.is_empty(), rules }
    }

    fn user(name: &str) -> Subject {
        Subject { user: Some(name.into()), ..Subject::default() }
    }

    /// What is granted, as text.
    fn granted(policy: &Policy, subject: &Subject, scopes: &str) -> String {
        let grants = policy.grant(subject, &scope::parse([scopes]).unwrap());
        let texts = grants.iter().map(|grant| {
            let Grant { kind, class, name, actions, repositories } = grant;
            let class = if class.is_empty() { String::new() } else { format!("({class})") };
            let listed: Vec<String> = repositories.iter().map(ToString::to_string).collect();
            format!("{kind}{class}:{name}:{} {}", actions.join(","), listed.join(",")).trim_end().to_owned()
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_token_holds_what_was_asked_for_and_may_be_had() {
        let ruled = policy(
            "[{anonymous: true, repositories: 'public/**', actions: [pull]}, \
              {users: ['*'], repositories: 'home/{user}/**', actions: ['*']}, \
              {users: [ci], repositories: 'team/**', actions: [pull, push]}]",
        );
        let (nobody, alice, ci) = (Subject::default(), user("alice"), user("ci"));
        for (subject, scopes, expected) in [
            (&nobody, "", ""),
            (&nobody, "repository:public/a:pull", "repository:public/a:pull"),
            (&nobody, "repository:public/a:pull,push", "repository:public/a:pull"),
            (&nobody, "repository:public/a:*", "repository:public/a:pull"),
            (&nobody, "repository:home/alice/a:pull", ""),
            (&nobody, "registry:catalog:*", "registry:catalog:list public/**"),
            (&alice, "repository:home/alice/a:pull,push", "repository:home/alice/a:pull,push"),
            (&alice, "repository:home/alice/a:*", "repository:home/alice/a:*"),
            (&alice, "repository:home/alice/a:delete,pull,pull", "repository:home/alice/a:delete,pull"),
            (&alice, "repository:home/bob/a:pull,push,delete,*", ""),
            (&alice, "registry:catalog:*", "registry:catalog:list public/**,home/alice/**"),
            (&alice, "registry:catalog:pull", ""),
            (
                &ci,
                "repository:team/a:pull,push repository:public/a:pull,push repository:other:pull repository:team/a:pull,push",
                "repository:team/a:pull,push; repository:public/a:pull",
            ),
            (&ci, "repository(plugin):team/a:pull,push,delete", "repository(plugin):team/a:pull,push"),
            (&ci, "repository:team/../home/alice/a:pull repository:Team/a:pull repository:team/a/:pull", ""),
            (&ci, "repository:**:pull repository:team/*:pull repository:host:5000/team/a:pull", ""),
            (&ci, "user:team/a:pull registry:other:* repository:team/a:write", ""),
        ] {
            assert_eq!(granted(&ruled, subject, scopes), expected, "{subject:?} {scopes}");
        }
        assert!(ruled.is_for_everybody());
    }

    #[test]
    fn without_rules_who_is_known_may_do_everything() {
        let open = policy("");
        let asked = "repository:a:pull,push repository:b:* registry:catalog:*";
        assert_eq!(granted(&open, &user("alice"), asked), "repository:a:pull,push; repository:b:*; registry:catalog:*");
        assert_eq!(granted(&open, &Subject::default(), asked), "");
        assert!(!open.is_for_everybody());
    }

    #[test]
    fn who_may_list_everything_needs_no_list() {
        let all = policy("[{users: [root], repositories: ['a/**', '**'], actions: [list]}]");
        assert_eq!(granted(&all, &user("root"), "registry:catalog:*"), "registry:catalog:*");
        let name = "x".repeat(100);
        let rule = format!("{{users: [root], repositories: [{}], actions: [list]}}", {
            let names: Vec<String> = (0..30).map(|at| format!("'{name}{at}/**'")).collect();
            names.join(", ")
        });
        assert_eq!(
            granted(&policy(&format!("[{rule}]")), &user("root"), "registry:catalog:*"),
            "",
            "too long for a header"
        );
    }
}
