//! [pure] Who may do what: what a token grants, what the rules of the configuration grant, and what is left where there are
//! neither.

use std::cell::LazyCell;

use berth_config::rules::{self, Action, Rule, Subject};
use berth_config::{Auth, Config, Method};

use super::{Access, Identity, Listed};

/// What somebody has who is let in by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// Everything: there are no rules.
    Everything,
    /// What rules grant.
    Rules,
}

/// Why somebody may do what a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// Nobody is asked for a name, and everybody may do everything.
    Open,
    /// It is for everybody, also who says no name.
    Everybody,
    /// Whoever says a name may do everything.
    NoRules,
    /// The token says so.
    Token,
    /// Rules say so, at least of a part.
    Rule,
    /// Nothing is wanted of which it could be said who may do it.
    Nothing,
}

/// The rules of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Those for everybody first.
    rules: Vec<Rule>,
    /// How many of them add to what a token says.
    beside_tokens: usize,
    named: Named,
    /// Whether somebody who says no name may do everything.
    is_open: bool,
}

/// What a request wants of the rules.
enum Wanted<'a> {
    Of(&'a str, Action),
    Catalog,
    /// What no rule is about.
    Other,
}

fn wanted_by(access: &Access) -> Wanted<'_> {
    match (access.kind, access.name.as_str(), access.action) {
        ("repository", name, "pull") => Wanted::Of(name, Action::Pull),
        ("repository", name, "push") => Wanted::Of(name, Action::Push),
        ("repository", name, "delete") => Wanted::Of(name, Action::Delete),
        ("registry", "catalog", _) => Wanted::Catalog,
        _ => Wanted::Other,
    }
}

fn subject(identity: Option<&Identity>) -> Subject {
    let Some(identity) = identity else { return Subject::default() };
    // Who has a token without a subject (one that is issued to everybody) is no user whom a rule for all users names.
    let user = Some(identity.name()).filter(|name| !name.is_empty()).map(str::to_owned);
    Subject { user, groups: identity.groups().to_vec(), ..Subject::default() }
}

impl Policy {
    /// The rules of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let Some(Auth { method, certificate, anonymous, rules: named }) = &config.auth else {
            return Policy { rules: Vec::new(), beside_tokens: 0, named: Named::Everything, is_open: true };
        };
        let everybody = anonymous.iter().map(berth_config::rules::Everybody::rule);
        let named_has = match method {
            Some(Method::Htpasswd(_) | Method::Silly(_)) if named.is_empty() => Named::Everything,
            None if named.is_empty() && certificate.is_some() => Named::Everything,
            _ => Named::Rules,
        };
        let rules: Vec<Rule> = everybody.chain(named.iter().cloned()).collect();
        // The issuer has gone by the rules: what they grant of what was asked for is in the token.
        let beside_tokens = if matches!(method, Some(Method::Issuer(_))) { anonymous.len() } else { rules.len() };
        Policy { rules, beside_tokens, named: named_has, is_open: false }
    }

    /// The rules that are about somebody, as far as they are not in a token.
    fn rules_for(&self, identity: Option<&Identity>) -> &[Rule] {
        match identity.and_then(Identity::grants) {
            Some(_) => &self.rules[..self.beside_tokens],
            None => &self.rules,
        }
    }

    /// Why somebody, or nobody that is known, may do all of this; none if they may not.
    #[must_use]
    pub fn grounds(&self, identity: Option<&Identity>, wanted: &[Access]) -> Option<Grounds> {
        if self.has_everything(identity) {
            return Some(if identity.is_none() { Grounds::Open } else { Grounds::NoRules });
        }
        if wanted.is_empty() {
            return Some(Grounds::Nothing);
        }
        let rules = self.rules_for(identity);
        // Where the token says all of it, nobody asks.
        let subject = LazyCell::new(|| subject(identity));
        let grants = identity.and_then(Identity::grants);
        let by_rules = |access| match wanted_by(access) {
            Wanted::Of(repository, action) => rules::allows(rules, &subject, repository, action),
            Wanted::Catalog => rules.iter().any(|rule| rule.names(&subject)),
            Wanted::Other => false,
        };
        let by_token = |access: &Access| {
            let lists = || grants.is_some_and(|grants| grants.listed().next().is_some());
            grants.is_some_and(|grants| grants.has(access)) || (matches!(wanted_by(access), Wanted::Catalog) && lists())
        };
        let mut grounds = Grounds::Token;
        for access in wanted.iter().filter(|access| !by_token(access)) {
            if !by_rules(access) {
                return None;
            }
            grounds = if identity.is_none() { Grounds::Everybody } else { Grounds::Rule };
        }
        Some(grounds)
    }

    /// Whether who says no name is let in for anything at all.
    #[must_use]
    pub fn is_for_everybody(&self) -> bool {
        self.is_open || self.rules.iter().any(|rule| rule.anonymous)
    }

    /// Whether everybody who is let in may read everything.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        (self.is_open || self.named == Named::Everything) && self.rules.is_empty()
    }

    fn has_everything(&self, identity: Option<&Identity>) -> bool {
        match identity {
            None => self.is_open,
            Some(identity) => self.named == Named::Everything && identity.grants().is_none(),
        }
    }

    /// Which repositories somebody is told of; none if it is all of them.
    #[must_use]
    pub fn listed(&self, identity: Option<&Identity>) -> Option<Listed> {
        let catalog = Access::of("registry", "catalog", "*");
        let grants = identity.and_then(Identity::grants);
        if grants.is_some_and(|grants| grants.has(&catalog)) || self.has_everything(identity) {
            return None;
        }
        // What a token lists has no placeholder left.
        let by_token = grants.into_iter().flat_map(|grants| grants.listed().cloned());
        let by_rules = rules::granted(self.rules_for(identity), &subject(identity), Action::List);
        Some(Listed::new(by_token.chain(by_rules).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Grant, Grants};
    use super::*;
    use berth_oci::RepositoryName;

    fn policy(auth: &str) -> Policy {
        let text = format!("version: 0.1\nstorage: inmemory\nauth: {auth}");
        Policy::of(&Config::load(&text, []).unwrap().config)
    }

    const HTPASSWD: &str = "htpasswd: {realm: r, path: /p}";
    const TOKEN: &str = "token: {realm: 'https://r.example/token', service: s, issuer: i, jwks: /k}";
    const ANONYMOUS: &str = "anonymous: [{repositories: 'public/**', actions: [pull]}]";
    const RULES: &str = "rules: [{users: ['*'], repositories: 'home/{user}/**', actions: ['*']}]";

    fn check(policy: &Policy, identity: Option<&Identity>, expected: [(&str, &'static str, bool); 5]) {
        for (name, action, allowed) in expected {
            let kind = if name == "catalog" { "registry" } else { "repository" };
            let access = [Access::of(kind, name, action)];
            assert_eq!(policy.grounds(identity, &access).is_some(), allowed, "{identity:?} {name} {action}");
        }
    }

    #[test]
    fn who_says_a_name_has_more_than_who_says_none() {
        let alice = Identity::new("alice");
        let everything = [
            ("public/a", "pull", true),
            ("public/a", "push", true),
            ("home/alice/a", "delete", true),
            ("home/bob/a", "pull", true),
            ("catalog", "*", true),
        ];
        let nothing = everything.map(|(name, action, _)| (name, action, false));
        let public = [
            ("public/a", "pull", true),
            ("public/a", "push", false),
            ("home/alice/a", "pull", false),
            ("other", "pull", false),
            ("catalog", "*", true),
        ];
        let home = [
            ("public/a", "pull", true),
            ("public/a", "push", false),
            ("home/alice/a", "delete", true),
            ("home/bob/a", "pull", false),
            ("catalog", "*", true),
        ];
        let open = policy("none");
        check(&open, None, everything);
        let pull = [Access::of("repository", "public/a", "pull")];
        assert_eq!(open.grounds(None, &pull), Some(Grounds::Open));
        assert!(open.is_unlimited() && open.is_for_everybody() && open.listed(None).is_none());

        let passwords = policy(&format!("{{{HTPASSWD}}}"));
        check(&passwords, None, nothing);
        check(&passwords, Some(&alice), everything);
        assert_eq!(passwords.grounds(Some(&alice), &pull), Some(Grounds::NoRules));
        assert!(passwords.is_unlimited() && !passwords.is_for_everybody());

        let beside = policy(&format!("{{{HTPASSWD}, {ANONYMOUS}}}"));
        check(&beside, None, public);
        check(&beside, Some(&alice), everything);
        assert!(!beside.is_unlimited() && beside.is_for_everybody());

        let ruled = policy(&format!("{{{HTPASSWD}, {ANONYMOUS}, {RULES}}}"));
        check(&ruled, None, public);
        check(&ruled, Some(&alice), home);
        assert_eq!(ruled.grounds(None, &pull), Some(Grounds::Everybody));
        assert_eq!(ruled.grounds(Some(&alice), &pull), Some(Grounds::Rule));
        assert_eq!(ruled.grounds(Some(&alice), &[]), Some(Grounds::Nothing));

        let alone = policy(&format!("{{{ANONYMOUS}}}"));
        check(&alone, None, public);

        let tokens = policy(&format!("{{{TOKEN}}}"));
        check(&tokens, None, nothing);
        check(&tokens, Some(&Identity::granted("alice", Grants::new(Vec::new()))), nothing);
        assert!(!tokens.is_unlimited());

        // A token that is issued to everybody has no subject: nobody is a user by it.
        let users = policy(&format!("{{{TOKEN}, rules: [{{users: ['*'], repositories: '**', actions: ['*']}}]}}"));
        let pull = [Access::of("repository", "team/a", "pull")];
        let grounds = |name| users.grounds(Some(&Identity::granted(name, Grants::new(Vec::new()))), &pull);
        assert_eq!([grounds(""), grounds("alice")], [None, Some(Grounds::Rule)]);
    }

    #[test]
    fn a_token_of_the_issuer_has_what_it_says_and_a_certificate_what_rules_grant() {
        let issuer = "issuer: {service: s, issuer: 'https://r.example/auth', keys: /k, htpasswd: {path: /p}}";
        let policy = policy(&format!("{{{issuer}, {ANONYMOUS}, {RULES}}}"));
        let grant = Grant {
            kind: "repository".into(),
            class: String::new(),
            name: "home/alice/a".into(),
            actions: vec!["pull".into()],
            repositories: Vec::new(),
        };
        let token = Identity::granted("alice", Grants::new(vec![grant]));
        check(
            &policy,
            Some(&token),
            [
                ("home/alice/a", "pull", true),
                ("home/alice/a", "push", false),
                ("home/alice/b", "pull", false),
                ("public/a", "pull", true),
                ("public/a", "push", false),
            ],
        );
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let listed = policy.listed(Some(&token)).expect("not all of them");
        assert!(listed.has(&name("public/a")) && !listed.has(&name("home/alice/a")));
        let shown = Identity::of_certificate("alice", Vec::new());
        check(
            &policy,
            Some(&shown),
            [
                ("home/alice/a", "pull", true),
                ("home/alice/a", "push", true),
                ("home/alice/b", "pull", true),
                ("public/a", "pull", true),
                ("home/bob/a", "pull", false),
            ],
        );
    }

    #[test]
    fn a_token_has_what_it_says_and_what_rules_grant_beside() {
        let grant = |kind: &str, name: &str| Grant {
            kind: kind.into(),
            class: String::new(),
            name: name.into(),
            actions: vec!["*".into()],
            repositories: Vec::new(),
        };
        let policy = policy(&format!("{{{TOKEN}, {ANONYMOUS}, {RULES}}}"));
        let alice = Identity::granted("alice", Grants::new(vec![grant("repository", "team/app")]));
        check(
            &policy,
            Some(&alice),
            [
                ("team/app", "push", true),
                ("team/other", "pull", false),
                ("home/alice/a", "push", true),
                ("public/a", "pull", true),
                ("public/a", "push", false),
            ],
        );
        let both = [Access::of("repository", "team/app", "push"), Access::of("repository", "public/a", "pull")];
        assert_eq!(policy.grounds(Some(&alice), &both), Some(Grounds::Rule), "a mount");
        assert_eq!(policy.grounds(Some(&alice), &both[..1]), Some(Grounds::Token));
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let listed = policy.listed(Some(&alice)).expect("not all of them");
        assert!(listed.has(&name("public/a")) && listed.has(&name("home/alice/a")) && !listed.has(&name("home/bob/a")));
        let catalog = Identity::granted("", Grants::new(vec![grant("registry", "catalog")]));
        assert!(policy.listed(Some(&catalog)).is_none());
        let some = Grant {
            actions: vec!["list".into()],
            repositories: vec!["team/**".parse().unwrap(), "{user}/**".parse().unwrap()],
            ..grant("registry", "catalog")
        };
        let some = Identity::granted("bob", Grants::new(vec![some]));
        let grounds = policy.grounds(Some(&some), &[Access::of("registry", "catalog", "*")]);
        assert_eq!(grounds, Some(Grounds::Token));
        let listed = policy.listed(Some(&some)).expect("not all of them");
        assert!(listed.has(&name("team/a")) && listed.has(&name("home/bob/a")) && listed.has(&name("public/a")));
        assert!(!listed.has(&name("bob/a")) && !listed.has(&name("home/alice/a")), "a token has no placeholders");
        assert!(!policy.listed(None).expect("not all of them").has(&name("home/alice/a")));
    }
}
