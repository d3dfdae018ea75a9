//! `Registry.spec.auth`: who is let in, and who may do what.
//!
//! The rules are those of the server's configuration (`berth_config::rules`), field by field, and a test holds them to it. They
//! are no type of their own there for two reasons. A pattern that is none would make the whole resource unreadable, and nothing
//! but that one would be said of it; here it is a text that admission checks and the operator checks again. And the messages of
//! admission need `kube`, which nothing below `registry/` may depend on.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    issuer::Issuer,
    reference::{CertificateAuthority, SecretRef},
};
use crate::pattern;

/// That every text of a list, if it is there, is of a pattern, in CEL.
pub(crate) fn each(list: &str, pattern: &str) -> String {
    format!("!has({list}) || {list}.all(text, text.matches('{pattern}'))")
}

/// That every text of a list is a pattern of names of repositories, made of what `pattern` says, in CEL.
pub(crate) fn repositories(pattern: &str) -> String {
    let none = pattern::NO_REPOSITORY_PATTERN;
    format!(
        "!has(self.repositories) || self.repositories.all(text, text.matches('{pattern}') && !text.matches('{none}'))"
    )
}

/// That no rule has a field, or something else holds, in CEL.
fn no_rule_has(field: &str, unless: &str) -> String {
    format!(
        "!has(self.rules) || !self.rules.exists(rule, has(rule.{field}) && rule.{field}.size() > 0) \
         || (has(self.issuer) && {unless})"
    )
}

/// What text of names is told where it is no pattern.
const NAME_PATTERN_MESSAGE: &str = "users, groups, serviceAccounts and subjects must be patterns of names, such as ci-*; {} \
                                    is for placeholders such as {user}";
/// What is told where a text is no pattern of repositories.
const REPOSITORIES_MESSAGE: &str = "repositories must be patterns of names of repositories, such as team/app, team/* or \
                                    home/{user}/**: small letters and digits, with '.', '_' and '-' between, '*' for any text \
                                    within a component, and '**' for any components";

/// Who is let in, by one method at most, and who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.htpasswd), has(self.token), has(self.issuer)].filter(named, named).size() <= 1")
        .message("auth names two methods: keep at most one of htpasswd, token and issuer"),
    validation = Rule::new("has(self.htpasswd) || has(self.token) || has(self.issuer) \
        || (has(self.anonymous) && self.anonymous.size() > 0)")
        .message("auth lets nobody in: add one of htpasswd, token and issuer, or anonymous, or leave auth out to let everybody \
            do everything"),
    validation = Rule::new("has(self.htpasswd) || has(self.token) || has(self.issuer) || !has(self.rules) \
        || self.rules.size() == 0")
        .message("rules name people, and nobody can say who they are: add one of htpasswd, token and issuer, or use anonymous \
            for what everybody may do"),
    validation = Rule::new("!has(self.issuer) || (has(self.rules) && self.rules.size() > 0) \
        || !(has(self.issuer.serviceAccounts) || (has(self.issuer.oidc) && self.issuer.oidc.size() > 0))")
        .message("rules are needed beside issuer.oidc and issuer.serviceAccounts: without rules, everybody whom those know \
            could do everything"),
    validation = Rule::new(crate::registry::auth::no_rule_has("groups",
        "has(self.issuer.oidc) && self.issuer.oidc.exists(oidc, has(oidc.groupsClaim))"))
        .message("rules name groups, and nobody has any: name the claim that has them in issuer.oidc[].groupsClaim, or use users"),
    validation = Rule::new(crate::registry::auth::no_rule_has("serviceAccounts", "has(self.issuer.serviceAccounts)"))
        .message("rules name serviceAccounts, and nobody is one: add issuer.serviceAccounts: {}"),
    validation = Rule::new(crate::registry::auth::no_rule_has("subjects",
        "has(self.issuer.oidc) && self.issuer.oidc.size() > 0"))
        .message("rules name subjects, and nobody has any: add their issuer to issuer.oidc"),
    validation = Rule::new("!has(self.rules) || self.rules.all(rule, !has(rule.claims) || rule.claims.all(claim, \
        has(self.issuer) && has(self.issuer.oidc) && self.issuer.oidc.exists(oidc, claim.startsWith(oidc.name + ':'))))")
        .message("rules name a claim that is of no issuer in issuer.oidc: write NAME:CLAIM with the issuer's name")
)]
pub struct Auth {
    /// What everybody may do, also who says no name. Nothing when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub anonymous: Vec<AnonymousRule>,
    /// Who may do what. A rule grants, and none takes away: with rules, what none of them grants is refused. To what a token of
    /// the service in token says, they add. When it is left out, whoever has a name and a password may do everything. A change
    /// makes other pods, one after the other; a token that was issued before counts until it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rules: Vec<AccessRule>,
    /// Names and passwords from a Secret, sent with every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<HtpasswdAuth>,
    /// Tokens that another service has signed. What they say may be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Box<TokenService>>,
    /// Tokens that the registry signs itself, for users with a password, for those whom other issuers (OpenID Connect) know,
    /// and for service accounts of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<Issuer>>,
}

/// What may be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessAction {
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

/// What everybody may do with which repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(crate::registry::auth::repositories(pattern::REPOSITORY_PATTERN)).message(REPOSITORIES_MESSAGE)
)]
pub struct AnonymousRule {
    /// With which repositories: patterns, in which * is any text within one component of a name, and ** any components.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub repositories: Vec<String>,
    /// What may be done: pull, push, delete, list (to be in the catalog, which pull includes), or * for everything. Pushing
    /// needs pull as well.
    #[schemars(length(min = 1, max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub actions: Vec<AccessAction>,
}

/// Who may do what with which repositories. Whoever is named by any of the lists may do all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.users) && self.users.size() > 0) || (has(self.groups) && self.groups.size() > 0) \
        || (has(self.serviceAccounts) && self.serviceAccounts.size() > 0) || (has(self.subjects) && self.subjects.size() > 0) \
        || (has(self.claims) && self.claims.size() > 0)")
        .message("a rule names nobody: add users, groups, serviceAccounts, subjects or claims, or use anonymous for everybody"),
    validation = Rule::new(crate::registry::auth::each("self.users", pattern::NAME_PATTERN)).message(NAME_PATTERN_MESSAGE),
    validation = Rule::new(crate::registry::auth::each("self.groups", pattern::NAME_PATTERN)).message(NAME_PATTERN_MESSAGE),
    validation = Rule::new(crate::registry::auth::each("self.serviceAccounts", pattern::NAME_PATTERN)).message(NAME_PATTERN_MESSAGE),
    validation = Rule::new(crate::registry::auth::each("self.subjects", pattern::NAME_PATTERN)).message(NAME_PATTERN_MESSAGE),
    validation = Rule::new(format!("!has(self.claims) || self.claims.all(claim, self.claims[claim].matches('{}'))",
        pattern::NAME_PATTERN))
        .message("claims must be of the form NAME:CLAIM: PATTERN, with a pattern of texts, such as acme-*; {} is for \
            placeholders such as {user}"),
    validation = Rule::new(crate::registry::auth::repositories(pattern::REPOSITORY_PATTERN)).message(REPOSITORIES_MESSAGE)
)]
pub struct AccessRule {
    /// Users by name: patterns, in which * is any text. Those of an issuer in oidc are NAME:USER, unless usernamePrefix says
    /// otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub users: Vec<String>,
    /// Users by a group of theirs, NAME:GROUP: patterns, in which * is any text. Only issuers in oidc with groupsClaim say
    /// groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub groups: Vec<String>,
    /// Service accounts of the cluster, NAMESPACE/NAME: patterns, in which * is any text. They need issuer.serviceAccounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub service_accounts: Vec<String>,
    /// Identities of issuers in oidc, NAME:SUBJECT: patterns, in which * is any text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub subjects: Vec<String>,
    /// Whoever has all of these claims of an issuer in oidc, NAME:CLAIM, each with a pattern of its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 512}))]
    pub claims: BTreeMap<String, String>,
    /// With which repositories: patterns, in which * is any text within one component of a name, and ** any components.
    /// {user}, {namespace} and {serviceAccount} of a service account, and any claim stand for what is known of who asks; where
    /// that is nothing, or can be no part of a repository's name, the rule grants nothing.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub repositories: Vec<String>,
    /// What may be done: pull, push, delete, list (to be in the catalog, which pull includes), or * for everything. Pushing
    /// needs pull as well.
    #[schemars(length(min = 1, max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub actions: Vec<AccessAction>,
}

/// Names and passwords from a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HtpasswdAuth {
    /// The Secret with the key htpasswd: a line NAME:HASH for each user, with bcrypt, as htpasswd -B writes it. When its
    /// content changes, the registry takes it up without a restart, within about a minute, when the node has told the pods.
    pub secret_ref: SecretRef,
    /// The realm that clients are told. NAME.NAMESPACE of the Registry when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::PRINTABLE))
        .message("realm must be of ASCII characters that can be printed: clients get it in a header"))]
    pub realm: Option<String>,
}

/// Tokens that another service has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.jwks) || has(self.rootCertificates)")
        .message("token names no key to check tokens with: set jwks or rootCertificates")
)]
pub struct TokenService {
    /// Where clients get a token: the address of the token service, such as https://auth.example/token. Clients must reach it.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::WEB_ADDRESS))
        .message("realm must be an address such as https://auth.example/token, without a name or password"))]
    pub realm: String,
    /// The name of this registry, which tokens must be for (aud).
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::PRINTABLE))
        .message("service must be of ASCII characters that can be printed: clients get it in a header"))]
    pub service: String,
    /// Who must have issued tokens (iss).
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// The public keys that sign tokens, a JSON Web Key Set. None, but those of rootCertificates, when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySet>,
    /// Certificates (PEM) whose keys, or whose chains, sign tokens. When they change, the registry takes them up without a
    /// restart. None, but the keys of jwks, when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_certificates: Option<CertificateAuthority>,
}

/// A JSON Web Key Set: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.url), has(self.configMapRef), has(self.secretRef)].filter(named, named).size() == 1")
        .message("jwks must be from one place: set exactly one of url, configMapRef and secretRef"),
    validation = Rule::new("!has(self.ca) || has(self.url)")
        .message("jwks.ca says whom url is trusted by: set url, or leave ca out")
)]
pub struct KeySet {
    /// An address that it is fetched from, now and then, and for a key that is not known; it begins with https://, and is
    /// trusted by the authorities of the system and those of ca. That of the issuer of another Registry is its url with /keys
    /// behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::HTTPS_ADDRESS))
        .message("url must be an address such as https://auth.example/keys: with http:// whoever is in between could put other \
            keys there, and it holds no name or password"))]
    pub url: Option<String>,
    /// Certificates (PEM) of authorities that are trusted in addition, for a url with a certificate of one's own authority. When
    /// they change, the registry takes them up without a restart. Those of the system alone when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
    /// A ConfigMap. When its content changes, the registry takes it up without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeySetRef>,
    /// A Secret. When its content changes, the registry takes it up without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeySetRef>,
}

/// A key of a Secret or a ConfigMap in the same namespace, with a JSON Web Key Set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySetRef {
    /// The name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OBJECT_NAME))
        .message("name must be that of a Secret or ConfigMap: a-z, 0-9, '-' and '.'"))]
    pub name: String,
    /// The key in it. jwks.json when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OBJECT_KEY))
        .message("key must be that of a Secret or ConfigMap: letters, digits, '-', '_' and '.'"))]
    pub key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What stands in a Registry is read as a rule of the server's, and the other way round.
    #[test]
    fn rules_are_those_of_the_server() {
        let rule = json!({"users": ["a*"], "groups": ["k:g"], "serviceAccounts": ["n/*"], "subjects": ["k:s"],
            "claims": {"k:c": "v"}, "repositories": ["a/**"], "actions": ["pull", "push", "delete", "list", "*"]});
        let everybody = json!({"repositories": ["public/**"], "actions": ["pull"]});
        let of_registry: AccessRule = serde_json::from_value(rule.clone()).unwrap();
        assert_eq!(serde_json::to_value(of_registry).unwrap(), rule);
        let of_server: berth_config::rules::Rule = serde_json::from_value(rule.clone()).unwrap();
        assert_eq!(serde_json::to_value(of_server).unwrap(), rule);
        let of_registry: AnonymousRule = serde_json::from_value(everybody.clone()).unwrap();
        assert_eq!(serde_json::to_value(of_registry).unwrap(), everybody);
        let of_server: berth_config::rules::Everybody = serde_json::from_value(everybody.clone()).unwrap();
        assert_eq!(serde_json::to_value(of_server).unwrap(), everybody);
    }
}
