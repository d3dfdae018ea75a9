//! [pure] Secrets that pods pull with.

use std::collections::BTreeSet;

use berth_config::{Duration, rules::RepositoryPattern};
use berth_crds::{PullSecret, pattern};

use super::{
    auth::{check_fixed_patterns, span},
    object_store::{check_object_name, check_text},
};
use crate::problem::Problems;

/// A Secret that pods pull with, in each of some namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPullSecret {
    /// Its name.
    pub name: String,
    /// Where it is; not empty.
    pub namespaces: BTreeSet<String>,
    /// What can be pulled with it; not empty, and without placeholders.
    pub repositories: Vec<RepositoryPattern>,
    /// How long what is in it is valid.
    pub lifetime: Duration,
}

pub(super) fn pull_secrets_of(
    secrets: Vec<PullSecret>,
    has_issuer: bool,
    problems: &mut Problems,
) -> Vec<ValidPullSecret> {
    const FIELD: &str = "spec.pullSecrets";
    if !secrets.is_empty() && !has_issuer {
        problems.add(FIELD, "hold tokens of the registry's own issuer: add spec.auth.issuer");
    }
    let mut found: Vec<ValidPullSecret> = Vec::new();
    for (at, secret) in secrets.into_iter().enumerate() {
        let secret = pull_secret_of(&format!("{FIELD}[{at}]"), secret, problems);
        for other in found.iter().filter(|other| other.name == secret.name) {
            if let Some(namespace) = other.namespaces.intersection(&secret.namespaces).next() {
                problems.add(
                    format!("{FIELD}[{at}]"),
                    format!(
                        "another one is Secret {} of namespace {namespace}, too: give it another name",
                        secret.name
                    ),
                );
            }
        }
        found.push(secret);
    }
    found
}

fn pull_secret_of(field: &str, secret: PullSecret, problems: &mut Problems) -> ValidPullSecret {
    let PullSecret { name, namespaces, repositories, lifetime } = secret;
    check_object_name(&format!("{field}.name"), &name, problems);
    for (at, namespace) in namespaces.iter().enumerate() {
        let message = "must be the name of a namespace: a-z, 0-9 and '-'";
        check_text(&format!("{field}.namespaces[{at}]"), namespace, pattern::NAMESPACE, message, problems);
    }
    if namespaces.is_empty() {
        problems.add(format!("{field}.namespaces"), "is empty: name the namespaces whose pods pull");
    }
    if repositories.is_empty() {
        problems.add(format!("{field}.repositories"), "is empty: say what is pulled, such as team/**");
    }
    let bounds = (Duration::from_secs(120), Duration::from_secs(24 * 3600));
    ValidPullSecret {
        name,
        namespaces: namespaces.into_iter().collect(),
        repositories: check_fixed_patterns(&format!("{field}.repositories"), &repositories, problems),
        lifetime: span(lifetime, &format!("{field}.lifetime"), Duration::from_secs(3600), bounds, problems),
    }
}
