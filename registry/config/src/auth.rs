//! `auth`: who may speak to the registry, by one method at most, and who may do what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::rules::{Everybody, Rule};
use crate::{Certificate, Issuer};

/// `auth`. None, and `auth: none`, let everybody in to do everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Auth {
    /// How it is found out who asks; none if nobody can say so.
    pub method: Option<Method>,
    /// How the certificate of a client says who asks, where nothing else does.
    pub certificate: Option<Certificate>,
    /// What everybody may do, also who says no name.
    pub anonymous: Vec<Everybody>,
    /// Who may do what. Without rules, whoever is let in by a name and a password may do everything.
    pub rules: Vec<Rule>,
}

impl From<Method> for Auth {
    fn from(method: Method) -> Self {
        Auth { method: Some(method), certificate: None, anonymous: Vec::new(), rules: Vec::new() }
    }
}

/// How it is found out who asks, with the parameters of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Lets everybody in who sends any `Authorization` at all. For tests of clients only.
    Silly(Silly),
    /// User names and passwords from a file.
    Htpasswd(Htpasswd),
    /// Tokens that another service has signed.
    Token(Token),
    /// Tokens that this server signs itself.
    Issuer(Issuer),
}

impl Method {
    /// The key under `auth` that chooses the method.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Silly(_) => "silly",
            Self::Htpasswd(_) => "htpasswd",
            Self::Token(_) => "token",
            Self::Issuer(_) => "issuer",
        }
    }
}

/// `auth.silly`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Silly {
    /// The realm that clients are told.
    pub realm: String,
    /// The service that clients are told.
    pub service: String,
}

/// `auth.htpasswd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Htpasswd {
    /// The realm that clients are told.
    pub realm: String,
    /// The file of names and bcrypt hashes, as `htpasswd -B` writes it. It is read again when it changes, and never
    /// created.
    pub path: PathBuf,
}

/// `auth.token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Where clients get a token: the address of the token service.
    pub realm: String,
    /// The name of this registry, which must be the token's audience.
    pub service: String,
    /// Who must have issued the token.
    pub issuer: String,
    /// Certificates (PEM) whose keys, or whose chains, sign tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootcertbundle: Option<PathBuf>,
    /// Public keys (a JSON Web Key Set) that sign tokens: a file, or an address (`https://…`) that they are fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Certificates (PEM) of authorities that are trusted in addition where `jwks` is an address with a certificate of one's own
    /// authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwkscafile: Option<PathBuf>,
    /// The algorithms a token may be signed with; empty for every asymmetric one that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signingalgorithms: Vec<String>,
    /// Whether clients are sent to this registry's own address for a token, in place of `realm`.
    #[serde(default)]
    pub autoredirect: bool,
    /// The path at which they then get it.
    #[serde(default = "default_redirect_path")]
    pub autoredirectpath: String,
}

fn default_redirect_path() -> String {
    "/auth/token".into()
}

/// The keys under `auth` as they are written; [`Auth`] holds what they mean.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Fields {
    /// Lets everybody in who sends any `Authorization` at all. For tests of clients only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silly: Option<Silly>,
    /// User names and passwords from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    htpasswd: Option<Htpasswd>,
    /// Tokens that another service has signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
    /// Tokens that this server signs itself, for whoever its rules grant something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<Issuer>,
    /// How the certificate of a client says who asks, where nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    /// What everybody may do, also who says no name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    anonymous: Vec<Everybody>,
    /// Who may do what. Without rules, whoever is let in by a name and a password may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<Rule>>,
}

impl TryFrom<Fields> for Auth {
    type Error = String;

    fn try_from(
        Fields { silly, htpasswd, token, issuer, certificate, anonymous, rules }: Fields,
    ) -> Result<Self, Self::Error> {
        // Somebody who writes that means that nobody may do anything; left out, they let everybody do everything.
        if rules.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                "auth.rules has no rule: add one, or leave it out, and whoever has a name and a password may do \
                        everything"
                    .into(),
            );
        }
        let rules = rules.unwrap_or_default();
        let (silly, htpasswd) = (silly.map(Method::Silly), htpasswd.map(Method::Htpasswd));
        let methods = [silly, htpasswd, token.map(Method::Token), issuer.map(Method::Issuer)];
        let mut methods = methods.into_iter().flatten();
        let method = match (methods.next(), methods.next()) {
            (Some(one), Some(other)) => {
                return Err(format!("auth names two methods, {} and {}: keep one", one.name(), other.name()));
            }
            (None, _) if certificate.is_none() && anonymous.is_empty() && rules.is_empty() => {
                return Err(
                    "auth names no method: add one of silly, htpasswd, token, issuer, or write `auth: none`".into()
                );
            }
            (method, _) => method,
        };
        Ok(Auth { method, certificate, anonymous, rules })
    }
}

impl From<Auth> for Fields {
    fn from(Auth { method, certificate, anonymous, rules }: Auth) -> Self {
        let rules = Some(rules).filter(|rules| !rules.is_empty());
        let fields = Fields { certificate, anonymous, rules, ..Fields::default() };
        match method {
            None => fields,
            Some(Method::Silly(silly)) => Fields { silly: Some(silly), ..fields },
            Some(Method::Htpasswd(htpasswd)) => Fields { htpasswd: Some(htpasswd), ..fields },
            Some(Method::Token(token)) => Fields { token: Some(token), ..fields },
            Some(Method::Issuer(issuer)) => Fields { issuer: Some(issuer), ..fields },
        }
    }
}
