//! Pull secrets that a Registry writes into namespaces, with credentials that end by themselves and are made anew before.
//!
//! A namespace other than the Registry's own lets it do so by a label, since whoever makes a Registry could otherwise write
//! into every namespace. A Secret of that name that is somebody else's is never written over.

pub mod secret;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, Client, api::PostParams};

use self::secret::{Of, Site, Wanted};
use super::{token_keys::Kept, validate::ValidRegistry};
use crate::{cluster::Error, conditions, names};

/// The type of the condition.
pub const CONDITION: &str = "PullSecretsReady";

/// Why a pull secret is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A word for it.
    pub reason: &'static str,
    /// A sentence that says what to do.
    pub message: String,
}

impl Problem {
    /// Whether there is certainly no pull secret of ours.
    fn is_gone(&self) -> bool {
        matches!(self.reason, "NamespaceNotFound" | "NameTaken")
    }
}

/// What has become of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// `NAMESPACE/NAME` of those that are there.
    pub there: Vec<String>,
    /// `NAMESPACE/NAME` of those that were written once and could be neither made anew nor emptied: they are not forgotten.
    pub left: Vec<String>,
    /// Why others are not.
    pub problems: Vec<Problem>,
    /// When one of them has to be made anew.
    pub revisit: Timestamp,
}

impl Written {
    fn nothing() -> Self {
        Written { there: Vec::new(), left: Vec::new(), problems: Vec::new(), revisit: Timestamp::MAX }
    }

    /// Soon, where there was a problem.
    fn tried_again(mut self, now: Timestamp) -> Self {
        if !self.problems.is_empty() {
            self.revisit = self.revisit.min(now.saturating_add(AGAIN).unwrap_or(now));
        }
        self
    }
}

fn path(wanted: &Wanted) -> String {
    format!("{}/{}", wanted.namespace, wanted.name)
}

/// [pure] Whether a namespace lets a Registry write into it.
fn lets_in(namespace: &Namespace, of: &Of) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(names::PULL_SECRETS_FROM_LABEL)) == Some(&of.namespace)
}

/// [pure] Those that were written before and are not wanted any more.
fn stale(before: &[String], wanted: &[Wanted]) -> Vec<(String, String)> {
    let is_wanted = |one: &String| wanted.iter().any(|wanted| path(wanted) == *one);
    let parts = before.iter().filter(|one| !is_wanted(one)).filter_map(|one| one.split_once('/'));
    parts.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).collect()
}

/// How soon it is tried again where there was a problem.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// [pure] What the API server has refused of one Secret is a problem of that one, and holds up nothing else.
fn problem_of(what: &str, source: kube::Error, error: impl FnOnce(kube::Error) -> Error) -> Result<Problem, Error> {
    match source {
        kube::Error::Api(status) => {
            Ok(Problem { reason: "Refused", message: format!("{what}: {} ({})", status.message, status.code) })
        }
        source => Err(error(source)),
    }
}

/// Writes those that are wanted, as far as they are not good any more, and empties those that were written `before` and are
/// not.
///
/// # Errors
/// [`Error`], when the cluster does not answer. What it refuses is a [`Problem`] of one of them.
pub async fn keep(
    client: &Client,
    registry: &ValidRegistry,
    site: &Site,
    wanted: &[Wanted],
    before: &[String],
    kept: &Kept,
    now: Timestamp,
) -> Result<Written, Error> {
    let mut written = Written::nothing();
    for one in wanted {
        match keep_one(client, registry, site, one, kept, now).await? {
            Ok(renewal) => {
                written.there.push(path(one));
                written.revisit = written.revisit.min(renewal);
            }
            Err(problem) => {
                // One that is not there, or is somebody else's by now, is none of ours any more.
                if !problem.is_gone() {
                    written.left.extend(before.iter().filter(|before| **before == path(one)).cloned());
                }
                written.problems.push(problem);
            }
        }
    }
    empty_stale(client, &site.of, stale(before, wanted), &mut written).await?;
    Ok(written.tried_again(now))
}

/// Empties all that were written `before`.
///
/// # Errors
/// As of [`keep`].
pub async fn empty_all(client: &Client, of: &Of, before: &[String], now: Timestamp) -> Result<Written, Error> {
    let mut written = Written::nothing();
    empty_stale(client, of, stale(before, &[]), &mut written).await?;
    Ok(written.tried_again(now))
}

async fn empty_stale(
    client: &Client,
    of: &Of,
    stale: Vec<(String, String)>,
    written: &mut Written,
) -> Result<(), Error> {
    for (namespace, name) in stale {
        if let Err(problem) = empty(client, of, &namespace, &name).await? {
            written.left.push(format!("{namespace}/{name}"));
            written.problems.push(problem);
        }
    }
    Ok(())
}

/// Takes the credential out of a Secret that is not wanted any more.
async fn empty(client: &Client, of: &Of, namespace: &str, name: &str) -> Result<Result<(), Problem>, Error> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let found = match api.get_metadata_opt(name).await {
        Ok(found) => found.filter(|found| secret::is_ours(&found.metadata, of)),
        Err(source) => {
            let what = format!("Secret {namespace}/{name}, which is not wanted any more, cannot be read");
            return problem_of(&what, source, |source| Error::Read { what: "a pull secret", source }).map(Err);
        }
    };
    let Some(found) = found else { return Ok(Ok(())) };
    // To delete Secrets is a right that nothing else here needs.
    let emptied = secret::emptied(of, name, &found.metadata);
    match api.replace(name, &parameters(), &emptied).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Ok(())),
        Err(source) => {
            let what = format!("Secret {namespace}/{name}, which is not wanted any more, cannot be emptied");
            let error = |source| Error::Apply { kind: "Secret".into(), name: name.to_owned(), source };
            problem_of(&what, source, error).map(Err)
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() }
}

async fn keep_one(
    client: &Client,
    registry: &ValidRegistry,
    site: &Site,
    wanted: &Wanted,
    kept: &Kept,
    now: Timestamp,
) -> Result<Result<Timestamp, Problem>, Error> {
    let Wanted { name, namespace, .. } = wanted;
    let problem = |reason, message: String| Ok(Err(Problem { reason, message }));
    if *namespace != site.of.namespace {
        match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
            Ok(Some(found)) if lets_in(&found, &site.of) => {}
            Ok(Some(_)) => {
                let label = format!("{}={}", names::PULL_SECRETS_FROM_LABEL, site.of.namespace);
                let message = format!(
                    "namespace {namespace} does not let this Registry in: kubectl label namespace {namespace} {label}"
                );
                return problem("NotAllowed", message);
            }
            Ok(None) => return problem("NamespaceNotFound", format!("there is no namespace {namespace}")),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let message = format!(
                    "the operator may not look at namespace {namespace}: it serves some namespaces alone, where pull \
                     secrets are for the Registry's own"
                );
                return problem("NotAllowed", message);
            }
            Err(source) => {
                let what = format!("namespace {namespace} cannot be read");
                let error = |source| Error::Read { what: "the namespace of a pull secret", source };
                return problem_of(&what, source, error).map(Err);
            }
        }
    }
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let found = match api.get_opt(name).await {
        Ok(found) => found,
        Err(source) => {
            let what = format!("Secret {} cannot be read", path(wanted));
            return problem_of(&what, source, |source| Error::Read { what: "a pull secret", source }).map(Err);
        }
    };
    if let Some(found) = &found {
        if !secret::is_ours(&found.metadata, &site.of) {
            let message = format!("Secret {} is somebody else's: delete it, or choose another name", path(wanted));
            return problem("NameTaken", message);
        }
        if let Some(renewal) = secret::renewal(found, site, wanted, &kept.published).filter(|renewal| now < *renewal) {
            return Ok(Ok(renewal));
        }
    }
    let Ok(credential) = kept.pair.sign(&secret::claims(site, wanted, now)) else {
        return problem("KeysUnusable", "the key that signs tokens cannot be used".into());
    };
    let version = found.as_ref().and_then(|found| found.metadata.resource_version.clone());
    let content = secret::build(site, wanted, &credential, &kept.signing, registry.owner.clone(), version, now);
    let parameters = parameters();
    let outcome = match found {
        None => api.create(&parameters, &content).await,
        Some(_) => api.replace(name, &parameters, &content).await,
    };
    match outcome {
        Ok(made) => Ok(Ok(secret::renewal(&made, site, wanted, &kept.published).unwrap_or(now))),
        Err(source) => {
            let what = format!("Secret {} cannot be written", path(wanted));
            let error = |source| Error::Apply { kind: "Secret".into(), name: name.clone(), source };
            problem_of(&what, source, error).map(Err)
        }
    }
}

/// The condition `PullSecretsReady`.
#[must_use]
pub fn condition(written: &Written) -> conditions::Wanted {
    let (holds, reason, message) = match &written.problems[..] {
        [] => (true, "Written", format!("{} pull secrets are there", written.there.len())),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            (false, first.reason, format!("{}{more}", first.message))
        }
    };
    conditions::Wanted { type_: CONDITION, holds: Some(holds), reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use serde_json::json;

    fn wanted(namespace: &str, name: &str) -> Wanted {
        let (name, namespace) = (name.into(), namespace.into());
        Wanted { name, namespace, repositories: vec!["a".into()], lifetime: SignedDuration::from_hours(1) }
    }

    #[test]
    fn a_namespace_lets_in_whom_its_label_names() {
        let of = Of { registry: "main".into(), namespace: "registry".into() };
        for (labels, expected) in [
            (json!({}), false),
            (json!({"berth.dev/pull-secrets-from": "registry"}), true),
            (json!({"berth.dev/pull-secrets-from": "other"}), false),
        ] {
            let namespace = serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap();
            assert_eq!(lets_in(&namespace, &of), expected, "{labels}");
        }
    }

    #[test]
    fn what_is_not_wanted_any_more_goes() {
        let before = ["a/x".to_owned(), "b/x".to_owned(), "a/y".to_owned()];
        let expected = [("b".to_owned(), "x".to_owned()), ("a".to_owned(), "y".to_owned())];
        assert_eq!(stale(&before, &[wanted("a", "x"), wanted("c", "z")]), expected);
        assert_eq!(stale(&[], &[wanted("a", "x")]), []);
    }

    /// A namespace that goes away, a quota, a webhook of somebody: none of it stops what the Registry does else.
    #[test]
    fn what_is_refused_of_one_is_a_problem_of_that_one() {
        let error = |source| Error::Read { what: "a pull secret", source };
        for code in [400, 403, 404, 409, 410, 422, 429, 500, 503] {
            let status = kube::core::Status { code, message: "no".into(), ..kube::core::Status::default() };
            let problem = problem_of("Secret a/x cannot be read", kube::Error::Api(Box::new(status)), error).unwrap();
            assert_eq!(problem.message, format!("Secret a/x cannot be read: no ({code})"));
        }
        assert!(problem_of("x", kube::Error::TlsRequired, error).is_err(), "the cluster does not answer");
    }

    #[test]
    fn the_first_problem_is_told() {
        let problem = |reason, message: &str| Problem { reason, message: message.into() };
        let mut written =
            Written { there: vec!["a/x".into()], left: vec![], problems: vec![], revisit: Timestamp::MAX };
        let told = |written: &Written| {
            let conditions::Wanted { holds, reason, message, .. } = condition(written);
            (holds, reason, message)
        };
        assert_eq!(told(&written), (Some(true), "Written".into(), "1 pull secrets are there".into()));
        written.problems = vec![problem("NotAllowed", "no"), problem("NameTaken", "taken")];
        assert_eq!(told(&written), (Some(false), "NotAllowed".into(), "no (and 1 more)".into()));
        assert_eq!(written.problems.iter().map(Problem::is_gone).collect::<Vec<_>>(), [false, true]);
    }
}
