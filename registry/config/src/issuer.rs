//! `auth.issuer`: tokens that this server signs itself, for whoever its rules grant something.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Duration;

/// `auth.issuer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The name of this registry, which its tokens are for.
    pub service: String,
    /// The address that the issuer is known by, without a slash at its end: clients get tokens at `/token` below it, and its
    /// documents lie at `/.well-known/openid-configuration` and `/keys`. What is below its host has to be served by this
    /// server: `https://registry.example.com/auth`.
    pub issuer: String,
    /// The private key (PEM) that signs tokens, or a directory of keys, `NAME.pem` each; there, the file `current` says which
    /// NAME signs if it is not the only one.
    pub keys: PathBuf,
    /// Whether clients are sent for a token to the address that they have for this registry, in place of that of the issuer.
    #[serde(default)]
    pub autoredirect: bool,
    /// How long a token is valid.
    #[serde(default = "default_expiry")]
    pub expiry: Duration,
    /// Refresh tokens, which clients get in place of a password that they would have to keep.
    #[serde(default)]
    pub refresh: Refresh,
    /// The names of other registries that tokens are issued for, by the same rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Users by name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<UsersFile>,
    /// Identities of other issuers (OpenID Connect), whose token is the password.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oidc: Vec<Oidc>,
    /// Service accounts of the Kubernetes cluster that the server runs in, whose token is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serviceaccounts: Option<ServiceAccounts>,
}

impl Issuer {
    /// The path below which its documents and its token endpoint are, without a slash at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        let behind_scheme = self.issuer.split_once("://").map_or("", |(_, rest)| rest);
        behind_scheme.find('/').map_or("", |at| &behind_scheme[at..])
    }
}

const fn default_expiry() -> Duration {
    Duration::from_secs(300)
}

/// `auth.issuer.refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Refresh {
    /// Whether there are none.
    pub disabled: bool,
    /// How long one is valid, whether it is used or not.
    pub expiry: Duration,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { disabled: false, expiry: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// `auth.issuer.htpasswd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UsersFile {
    /// The file of names and bcrypt hashes, as `htpasswd -B` writes it. It is read again when it changes, and never
    /// created.
    pub path: PathBuf,
}

/// `auth.issuer.oidc[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// What it is called in rules: its groups are `NAME:GROUP`, its subjects `NAME:SUBJECT`, its claims `NAME:CLAIM`.
    pub name: String,
    /// Its address, exactly as its tokens have it in `iss`; its keys are found below it by discovery.
    pub url: String,
    /// Whom its tokens have to be for (`aud`).
    pub audience: String,
    /// The claim that is the user's name.
    #[serde(default = "default_username_claim")]
    pub usernameclaim: String,
    /// What stands in front of the user's name, so that nobody is taken for a user of that name from elsewhere. Unset:
    /// `NAME:`. With `-` there is nothing in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usernameprefix: Option<String>,
    /// The claim that lists the user's groups. Unset: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groupsclaim: Option<String>,
    /// Whether its users get refresh tokens, which count until they end themselves, also when its own have ended or it has
    /// shut the user out: for people who log in with a client that keeps one, not for jobs. The groups and claims are those
    /// of the login.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// Certificates (PEM) of authorities that are trusted in addition, where its certificate is of one's own authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cafile: Option<PathBuf>,
}

impl Oidc {
    /// What stands in front of the user's name.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self.usernameprefix.as_deref() {
            // An empty text is the same as none here.
            None | Some("") => format!("{}:", self.name),
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
        }
    }
}

fn default_username_claim() -> String {
    "sub".into()
}

/// `auth.issuer.serviceaccounts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ServiceAccounts {
    /// The address of the API server.
    pub url: String,
    /// Whom their tokens have to be for. Unset: `service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Certificates (PEM) that the API server is trusted by.
    pub cafile: PathBuf,
    /// The token of this server's own service account, by which it asks for the cluster's keys.
    pub tokenfile: PathBuf,
}

impl Default for ServiceAccounts {
    fn default() -> Self {
        Self {
            url: "https://kubernetes.default.svc".into(),
            audience: None,
            cafile: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".into(),
            tokenfile: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
        }
    }
}
