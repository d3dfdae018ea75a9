//! [pure] A pull secret: what it holds, and whether the one that is there is still good.
//!
//! It holds a credential that the issuer's own key has signed, in place of a password. That says for which repositories it is,
//! and can do no more than pull; it ends by itself, and is made anew when half of its time is over, or when the key that has
//! signed it is not published any more.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::names;

const KEY: &str = ".dockerconfigjson";
const TYPE: &str = "kubernetes.io/dockerconfigjson";
/// What stands beside the credential, which says itself whose it is.
const USER: &str = "pull-secret";

/// The Registry that pull secrets are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Of {
    /// Its name.
    pub registry: String,
    /// Its namespace.
    pub namespace: String,
}

/// Where a Registry is, and who issues its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Which one it is.
    pub of: Of,
    /// `HOST` or `HOST:PORT`, as it stands in front of an image: each that the registry is known by.
    pub hosts: Vec<String>,
    /// The address of the issuer.
    pub issuer: String,
}

/// A pull secret that is wanted in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The namespace that it is to be in.
    pub namespace: String,
    /// What may be pulled by it.
    pub repositories: Vec<String>,
    /// How long a credential is good.
    pub lifetime: SignedDuration,
}

/// What a pull secret was made of, as its annotation says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    of: String,
    kid: String,
    at: Timestamp,
    until: Timestamp,
}

/// What makes one pull secret another.
fn digest(site: &Site, wanted: &Wanted) -> String {
    let Site { of: Of { registry, namespace }, hosts, issuer } = site;
    let Wanted { name, namespace: of, repositories, lifetime } = wanted;
    let text = json!([registry, namespace, hosts, issuer, name, of, repositories, lifetime.as_secs()]).to_string();
    names::digest(text.as_bytes())
}

/// The labels of what is written for a Registry, in whatever namespace.
#[must_use]
pub fn labels(of: &Of) -> BTreeMap<String, String> {
    let mut labels = names::registry_labels(&of.registry);
    labels.insert(names::REGISTRY_NAMESPACE_LABEL.to_owned(), of.namespace.clone());
    labels
}

/// Whether a Secret was written for this Registry.
#[must_use]
pub fn is_ours(secret: &ObjectMeta, of: &Of) -> bool {
    let found = secret.labels.clone().unwrap_or_default();
    labels(of).iter().all(|(key, value)| found.get(key) == Some(value))
}

/// When a Secret that is there has to be written again; now if it is none that is good.
#[must_use]
pub fn renewal(found: &Secret, site: &Site, wanted: &Wanted, published: &[String]) -> Option<Timestamp> {
    let annotations = found.metadata.annotations.as_ref()?;
    let made: Made = serde_json::from_str(annotations.get(names::PULL_SECRET_ANNOTATION)?).ok()?;
    let Made { of, kid, at, until } = made;
    let has_content =
        found.data.as_ref().is_some_and(|data| data.get(KEY).is_some_and(|content| !content.0.is_empty()));
    if of != digest(site, wanted) || !published.contains(&kid) || !has_content {
        return None;
    }
    // Nobody who pulls meanwhile is to meet one that has ended.
    let half = until.duration_since(at) / 2;
    at.checked_add(half).ok()
}

/// What the credential says.
#[must_use]
pub fn claims(site: &Site, wanted: &Wanted, now: Timestamp) -> Value {
    let Wanted { name, namespace, repositories, lifetime } = wanted;
    json!({
        "iss": site.issuer, "aud": site.issuer, "sub": format!("system:pullsecret:{namespace}/{name}"),
        "iat": now.as_second(), "nbf": now.as_second(), "exp": now.as_second().saturating_add(lifetime.as_secs()),
        "repositories": repositories, "actions": ["pull"],
    })
}

/// The Secret with a credential that this key has signed, in place of one with this version, or of none.
#[must_use]
pub fn build(
    site: &Site,
    wanted: &Wanted,
    credential: &str,
    kid: &str,
    owner: Option<OwnerReference>,
    version: Option<String>,
    now: Timestamp,
) -> Secret {
    let auth = STANDARD.encode(format!("{USER}:{credential}"));
    let entry = json!({"username": USER, "password": credential, "auth": auth});
    let auths: BTreeMap<&str, &Value> = site.hosts.iter().map(|host| (host.as_str(), &entry)).collect();
    let made = Made {
        of: digest(site, wanted),
        kid: kid.to_owned(),
        at: now,
        until: now.checked_add(wanted.lifetime).unwrap_or(Timestamp::MAX),
    };
    // It has nothing that could not be written.
    let made = serde_json::to_string(&made).unwrap_or_default();
    Secret {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            namespace: Some(wanted.namespace.clone()),
            labels: Some(labels(&site.of)),
            annotations: Some([(names::PULL_SECRET_ANNOTATION.to_owned(), made)].into()),
            // An owner is of the same namespace.
            owner_references: owner.filter(|_| wanted.namespace == site.of.namespace).map(|owner| vec![owner]),
            resource_version: version,
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), ByteString(json!({ "auths": auths }).to_string().into_bytes()))].into()),
        type_: Some(TYPE.into()),
        ..Secret::default()
    }
}

/// The Secret of this name without any credential, in place of one that is not wanted any more.
#[must_use]
pub fn emptied(of: &Of, name: &str, found: &ObjectMeta) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: found.namespace.clone(),
            labels: Some(labels(of)),
            owner_references: found.owner_references.clone(),
            resource_version: found.resource_version.clone(),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), ByteString(br#"{"auths":{}}"#.to_vec()))].into()),
        type_: Some(TYPE.into()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            of: Of { registry: "main".into(), namespace: "registry".into() },
            hosts: vec!["main.registry.svc:5000".into(), "registry.example".into()],
            issuer: "https://registry.example/auth".into(),
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            name: "registry-pull".into(),
            namespace: "team-a".into(),
            repositories: vec!["team-a/**".into()],
            lifetime: SignedDuration::from_hours(1),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn made() -> Secret {
        build(&site(), &wanted(), "a.b.c", "kid", Some(OwnerReference::default()), None, at(1000))
    }

    #[test]
    fn a_kubelet_finds_the_credential_for_every_name_of_the_registry() {
        let secret = made();
        let content: Value = serde_json::from_slice(&secret.data.as_ref().unwrap()[KEY].0).unwrap();
        for host in ["main.registry.svc:5000", "registry.example"] {
            let entry = &content["auths"][host];
            assert_eq!((entry["username"].as_str(), entry["password"].as_str()), (Some("pull-secret"), Some("a.b.c")));
            assert_eq!(STANDARD.decode(entry["auth"].as_str().unwrap()).unwrap(), b"pull-secret:a.b.c");
        }
        assert_eq!((secret.type_.as_deref(), secret.metadata.owner_references.clone()), (Some(TYPE), None));
        assert!(is_ours(&secret.metadata, &site().of));
        let other = Of { namespace: "other".into(), ..site().of };
        assert!(!is_ours(&secret.metadata, &other) && !is_ours(&ObjectMeta::default(), &site().of));
        let own = Wanted { namespace: "registry".into(), ..wanted() };
        let own = build(&site(), &own, "c", "kid", Some(OwnerReference::default()), None, at(0));
        assert_eq!(own.metadata.owner_references.unwrap().len(), 1);
    }

    #[test]
    fn it_is_made_anew_when_half_of_its_time_is_over_or_it_is_good_for_nothing() {
        let published = ["other".to_owned(), "kid".to_owned()];
        let renewed = |secret: &Secret, site: &Site, wanted: &Wanted| renewal(secret, site, wanted, &published);
        assert_eq!(renewed(&made(), &site(), &wanted()), Some(at(1000 + 1800)));
        assert_eq!(renewal(&made(), &site(), &wanted(), &published[..1]), None, "its key is published no more");
        let more = Wanted { repositories: vec!["**".into()], ..wanted() };
        assert_eq!(renewed(&made(), &site(), &more), None);
        let moved = Site { issuer: "https://other.example/auth".into(), ..site() };
        assert_eq!(renewed(&made(), &moved, &wanted()), None);
        let none = emptied(&site().of, "registry-pull", &made().metadata);
        assert!(is_ours(&none.metadata, &site().of));
        assert_eq!(renewed(&none, &site(), &wanted()), None);
        assert_eq!(renewed(&Secret::default(), &site(), &wanted()), None);
    }

    #[test]
    fn a_credential_says_what_it_is_good_for() {
        let said = claims(&site(), &wanted(), at(1000));
        assert_eq!(
            (said["iss"].as_str(), said["aud"].as_str()),
            (Some("https://registry.example/auth"), said["iss"].as_str())
        );
        assert_eq!(said["sub"], "system:pullsecret:team-a/registry-pull");
        assert_eq!((said["exp"].as_i64(), said["actions"][0].as_str()), (Some(4600), Some("pull")));
    }
}
