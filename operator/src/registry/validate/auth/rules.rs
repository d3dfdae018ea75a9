//! [pure] Rules as a Registry has them to rules as the server has them.

use std::{collections::BTreeMap, str::FromStr};

use berth_config::rules::{Action, Everybody, NamePattern, PatternError, RepositoryPattern, Rule, RuleError};
use berth_crds::{AccessAction, AccessRule, AnonymousRule, Issuer, OidcIssuer};

use crate::problem::Problems;

const FIELD: &str = "spec.auth.rules";

fn action_of(action: AccessAction) -> Action {
    match action {
        AccessAction::Pull => Action::Pull,
        AccessAction::Push => Action::Push,
        AccessAction::Delete => Action::Delete,
        AccessAction::List => Action::List,
        AccessAction::All => Action::All,
    }
}

pub(super) fn anonymous_of(anonymous: Vec<AnonymousRule>, problems: &mut Problems) -> Vec<Everybody> {
    let rule_of = |(at, AnonymousRule { repositories, actions })| {
        let field = format!("spec.auth.anonymous[{at}]");
        let everybody = Everybody {
            repositories: repositories_of(&format!("{field}.repositories"), &repositories, problems),
            actions: actions.into_iter().map(action_of).collect(),
        };
        // A pattern that is none has been said already.
        if repositories.len() == everybody.repositories.len() {
            everybody.rule().check().unwrap_or_else(|error| problems.add(field, error.to_string()));
        }
        everybody
    };
    anonymous.into_iter().enumerate().map(rule_of).collect()
}

pub(super) fn rules_of(rules: Vec<AccessRule>, problems: &mut Problems) -> Vec<Rule> {
    rules.into_iter().enumerate().map(|(at, rule)| rule_of(&format!("{FIELD}[{at}]"), rule, problems)).collect()
}

fn rule_of(field: &str, rule: AccessRule, problems: &mut Problems) -> Rule {
    // Taken apart without `..`: a new list must be dealt with here.
    let AccessRule { users, groups, service_accounts, subjects, claims, repositories, actions } = rule;
    let before = problems.lines().len();
    let list = |name: &str, texts: &[String], problems: &mut Problems| {
        patterns::<NamePattern>(&format!("{field}.{name}"), "names", texts, problems)
    };
    let mut claim_patterns = BTreeMap::new();
    for (claim, text) in claims {
        match text.parse() {
            Ok(pattern) => drop(claim_patterns.insert(claim, pattern)),
            Err(error) => problems.add(format!("{field}.claims.{claim}"), none(&text, "texts", &error)),
        }
    }
    let rule = Rule {
        users: list("users", &users, problems),
        groups: list("groups", &groups, problems),
        service_accounts: list("serviceAccounts", &service_accounts, problems),
        subjects: list("subjects", &subjects, problems),
        claims: claim_patterns,
        anonymous: false,
        repositories: repositories_of(&format!("{field}.repositories"), &repositories, problems),
        actions: actions.into_iter().map(action_of).collect(),
    };
    // What is left when patterns are left out says nothing of what was meant.
    if problems.lines().len() == before {
        match rule.check() {
            Ok(()) => {}
            // Everybody has a list of their own here.
            Err(RuleError::Nobody) => problems.add(
                field,
                "it names nobody: add users, groups, serviceAccounts, subjects or claims, or use spec.auth.anonymous for \
                 everybody",
            ),
            Err(error @ (RuleError::Nowhere | RuleError::Nothing)) => problems.add(field, error.to_string()),
        }
    }
    rule
}

fn none(text: &str, what: &str, error: &PatternError) -> String {
    format!("{text:?} is no pattern of {what}: {error}")
}

fn patterns<T: FromStr<Err = PatternError>>(
    field: &str,
    what: &str,
    texts: &[String],
    problems: &mut Problems,
) -> Vec<T> {
    let mut found = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(pattern) => found.push(pattern),
            Err(error) => problems.add(format!("{field}[{at}]"), none(text, what, &error)),
        }
    }
    found
}

pub(super) fn repositories_of(field: &str, texts: &[String], problems: &mut Problems) -> Vec<RepositoryPattern> {
    patterns(field, "repositories", texts, problems)
}

/// Patterns of repositories that stand for the same whoever asks.
pub(in super::super) fn check_fixed_patterns(
    field: &str,
    texts: &[String],
    problems: &mut Problems,
) -> Vec<RepositoryPattern> {
    for (at, text) in texts.iter().enumerate().filter(|(_, text)| text.contains(['{', '}'])) {
        problems
            .add(format!("{field}[{at}]"), format!("{text:?} has a placeholder, and nobody is there to stand for it"));
    }
    repositories_of(field, texts, problems)
}

/// Refuses lists by which nobody can be named: the server does so, too, but in the words of its own methods.
pub(super) fn check_names(rules: &[AccessRule], issuer: Option<&Issuer>, problems: &mut Problems) {
    let oidc = issuer.map(|issuer| issuer.oidc.as_slice()).unwrap_or_default();
    let has_groups = oidc.iter().any(|oidc| oidc.groups_claim.is_some());
    let has_accounts = issuer.is_some_and(|issuer| issuer.service_accounts.is_some());
    for (at, rule) in rules.iter().enumerate() {
        let AccessRule { groups, service_accounts, subjects, claims, .. } = rule;
        for (list, is_named, message) in [
            (
                "groups",
                !groups.is_empty() && !has_groups,
                "nobody has any: name the claim that has them in spec.auth.issuer.oidc[].groupsClaim, or use users",
            ),
            (
                "serviceAccounts",
                !service_accounts.is_empty() && !has_accounts,
                "nobody is one: add spec.auth.issuer.serviceAccounts: {}",
            ),
            (
                "subjects",
                !subjects.is_empty() && oidc.is_empty(),
                "nobody has any: add their issuer to spec.auth.issuer.oidc",
            ),
        ] {
            if is_named {
                problems.add(format!("{FIELD}[{at}].{list}"), message);
            }
        }
        let is_of = |claim: &str, oidc: &OidcIssuer| claim.split_once(':').is_some_and(|(name, _)| name == oidc.name);
        for claim in claims.keys().filter(|claim| !oidc.iter().any(|oidc| is_of(claim, oidc))) {
            problems.add(
                format!("{FIELD}[{at}].claims"),
                format!(
                    "{claim:?} is no claim of an issuer in spec.auth.issuer.oidc: write NAME:CLAIM with the issuer's name"
                ),
            );
        }
    }
    let knows_strangers = !oidc.is_empty() || has_accounts;
    if rules.is_empty() && knows_strangers {
        problems.add(
            FIELD,
            "is missing beside spec.auth.issuer.oidc and serviceAccounts: without rules, everybody whom those know could do \
             everything",
        );
    }
}
