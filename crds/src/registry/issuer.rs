//! `Registry.spec.auth.issuer`: tokens that the registry signs itself.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::reference::{CertificateAuthority, SecretRef};
use crate::{Span, pattern, span};

/// Tokens that the registry signs itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.htpasswd) || has(self.serviceAccounts) || (has(self.oidc) && self.oidc.size() > 0)")
        .message("issuer knows nobody: add htpasswd, oidc or serviceAccounts"),
    validation = Rule::new("!has(self.oidc) || self.oidc.all(one, self.oidc.exists_one(other, other.url == one.url))")
        .message("oidc names one url twice: leave one out"),
    validation = Rule::new("!has(self.oidc) || !has(self.url) || self.oidc.all(oidc, oidc.url != self.url)")
        .message("oidc names this issuer itself: leave it out"),
    validation = Rule::new("!has(self.services) || self.services.all(one, self.services.exists_one(other, other == one))")
        .message("services names one registry twice: leave one out")
)]
pub struct Issuer {
    /// The address that the issuer is known by, without a slash at its end, such as https://registry.example/auth. Clients get
    /// tokens at /token below it, so they must reach it, and what is below it must come to this registry. The address of the
    /// Registry's Service, http(s)://NAME.NAMESPACE.svc:PORT/auth, when it is left out. When it changes, tokens that were issued
    /// before count no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::ISSUER_ADDRESS))
        .message("url must be an address such as https://registry.example/auth: no slash at its end, no name or password, no \
            query and no fragment"))]
    pub url: Option<String>,
    /// The name of this registry, which its tokens are for (aud). NAME.NAMESPACE of the Registry when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::PRINTABLE))
        .message("service must be of ASCII characters that can be printed: clients get it in a header"))]
    pub service: Option<String>,
    /// The names of other registries that tokens are issued for, by the same rules. None when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub services: Vec<String>,
    /// Users with a name and a password. None when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<IssuerHtpasswd>,
    /// Other issuers (OpenID Connect), whose tokens are taken for a password: of people, and of jobs such as those of GitHub
    /// Actions. One that cannot be reached keeps out its own users alone. They need rules. None when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub oidc: Vec<OidcIssuer>,
    /// Service accounts of the cluster, whose token is taken for a password; {} is enough. They need rules. None when it is
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountTokens>,
    /// How long a token is valid, as a duration from 1m to 24h. A change of the rules counts when it ends. 5m when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(span::between("1m", "24h")).message("tokenExpiry must be a duration from 1m to 24h, such as 5m"))]
    pub token_expiry: Option<Span>,
    /// Refresh tokens, which clients get in place of a password that they would have to keep. What is in its fields when it is
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_tokens: Option<RefreshTokens>,
    /// The keys that sign tokens, which Berth makes and changes. What is in its fields when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<TokenKeys>,
}

/// Users with a name and a password, from a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerHtpasswd {
    /// The Secret with the key htpasswd: a line NAME:HASH for each user, with bcrypt, as htpasswd -B writes it. When its
    /// content changes, the registry takes it up without a restart, within about a minute, when the node has told the pods.
    pub secret_ref: SecretRef,
}

/// Another issuer, by OpenID Connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIssuer {
    /// What it is called in rules: its users are NAME:USER, its groups NAME:GROUP, its subjects NAME:SUBJECT and its claims
    /// NAME:CLAIM.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self != 'system' && self.matches('^[a-z0-9-]+$')")
        .message("name must be of a-z, 0-9 and '-', and not system"))]
    pub name: String,
    /// Its address, exactly as its tokens have it in iss, with a slash at its end if they have one. Its keys are found below it
    /// by discovery. It begins with https://.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new(pattern::rule(pattern::OIDC_ADDRESS))
        .message("url must be an address such as https://id.example/realms/dev: with http:// whoever is in between could put \
            other keys there, and it holds no name, password or query"))]
    pub url: String,
    /// Whom its tokens must be for (aud).
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// The claim that is the user's name. sub when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub username_claim: Option<String>,
    /// What stands in front of the user's name, so that nobody is taken for a user of that name from elsewhere; with - nothing
    /// does. NAME: when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub username_prefix: Option<String>,
    /// The claim that lists the user's groups. There are none when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub groups_claim: Option<String>,
    /// Whether its users get refresh tokens, which count until they end themselves, also when the issuer's own have ended or it
    /// has shut the user out: for people who log in, not for jobs. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_tokens: Option<bool>,
    /// Certificates (PEM) of authorities that are trusted in addition, for an issuer with a certificate of one's own authority.
    /// When they change, the registry takes them up without a restart. Those of the system alone when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,
}

/// Service accounts of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountTokens {
    /// Whom their tokens must be for (aud): the audience that a pod asks for in its projected token. The issuer's service when
    /// it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: Option<String>,
}

/// Refresh tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshTokens {
    /// Whether there are none. false when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// How long one is valid, whether it is used or not, as a duration that is not shorter than tokenExpiry. 720h when it is left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(span::between("1m", "87600h"))
        .message("expiry must be a duration from 1m to 87600h, such as 720h"))]
    pub expiry: Option<Span>,
}

/// The keys that sign tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenKeys {
    /// How often another key signs, as a duration of at least 1m. The key before it is published until the last token that it
    /// signed has ended. 720h when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(span::between("1m", "87600h"))
        .message("rotateEvery must be a duration from 1m to 87600h, such as 720h"))]
    pub rotate_every: Option<Span>,
    /// How long a new key is published before it signs, as a duration from 10s to 24h: as long as nodes take to bring it to the
    /// pods, which is about a minute, and other registries to fetch it, which is ten minutes for Berth. 5m when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(span::between("10s", "24h"))
        .message("publishFor must be a duration from 10s to 24h, such as 5m"))]
    pub publish_for: Option<Span>,
}
