//! [pure] Who is let in, and who may do what.
//!
//! The server has the last word on what fits together: what it would be told is put to the check that it starts with, and what
//! that refuses is said of the field of the Registry. What is checked here besides is what only a Registry has, and what is
//! better said in its words.

mod issuer;
mod rules;

use berth_config::rules::{Everybody, Rule};
use berth_crds::{Auth, HtpasswdAuth, KeySet, KeySetRef, SecretRef, TokenService, pattern};
use regex::Regex;

use super::object_store::{ObjectKind, ValidCa, check_object_name, check_text, key_of};
use crate::{names, problem::Problems};

pub use issuer::{ValidIssuer, ValidKeys, ValidOidc, ValidRefreshTokens, ValidServiceAccounts};
pub(super) use {issuer::span, rules::check_fixed_patterns};

const FIELD: &str = "spec.auth";

/// Who is let in, and who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidAuth {
    /// How it is found out who asks; none if nobody can say so.
    pub method: Option<ValidMethod>,
    /// What everybody may do.
    pub anonymous: Vec<Everybody>,
    /// Who may do what.
    pub rules: Vec<Rule>,
}

/// How it is found out who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidMethod {
    /// By names and passwords.
    Htpasswd(ValidHtpasswd),
    /// By tokens of another service.
    Token(ValidToken),
    /// By tokens that the registry signs itself.
    Issuer(Box<ValidIssuer>),
}

impl ValidMethod {
    /// The field of `spec.auth` that chooses it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Htpasswd(_) => "htpasswd",
            Self::Token(_) => "token",
            Self::Issuer(_) => "issuer",
        }
    }
}

/// Names and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidHtpasswd {
    /// The Secret with the file.
    pub secret: String,
    /// What clients are told.
    pub realm: String,
}

/// Tokens of another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidToken {
    /// Where clients get one.
    pub realm: String,
    /// Whom it must be for.
    pub service: String,
    /// Who must have issued it.
    pub issuer: String,
    /// The keys that sign them.
    pub jwks: Option<ValidKeySet>,
    /// Certificates whose keys or chains sign them.
    pub root_certificates: Option<ValidCa>,
}

/// Where a set of keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidKeySet {
    /// At an address.
    Url {
        /// The address.
        url: String,
        /// The authorities that it is trusted by, beside those of the system.
        ca: Option<ValidCa>,
    },
    /// Under a key of a Secret or ConfigMap.
    Object(ValidCa),
}

/// What is under a key of a Secret or ConfigMap, and becomes a file of the pods that the server reads again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidFile {
    /// What holds it.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The key.
    pub key: String,
    /// The file, inside the configuration's directory.
    pub path: String,
    /// Where the spec names it.
    pub field: String,
    /// What there has to be under the key.
    pub content: &'static str,
}

impl ValidAuth {
    /// Whether the server believes what keys of others have signed.
    #[must_use]
    pub fn believes_others(&self) -> bool {
        match &self.method {
            Some(ValidMethod::Issuer(issuer)) => !issuer.oidc.is_empty() || issuer.service_accounts.is_some(),
            Some(ValidMethod::Token(_)) => true,
            Some(ValidMethod::Htpasswd(_)) | None => false,
        }
    }

    /// The registry's own issuer, if it has one.
    #[must_use]
    pub fn issuer(&self) -> Option<&ValidIssuer> {
        match &self.method {
            Some(ValidMethod::Issuer(issuer)) => Some(issuer),
            Some(ValidMethod::Htpasswd(_) | ValidMethod::Token(_)) | None => None,
        }
    }

    /// What the spec names that becomes files of the pods, in the order of the fields.
    #[must_use]
    pub fn files(&self) -> Vec<ValidFile> {
        match &self.method {
            None => Vec::new(),
            Some(ValidMethod::Htpasswd(htpasswd)) => vec![users_file(&htpasswd.secret, "spec.auth.htpasswd.secretRef")],
            Some(ValidMethod::Token(ValidToken { jwks, root_certificates, .. })) => {
                let mut files = Vec::new();
                match jwks {
                    Some(ValidKeySet::Object(object)) => {
                        let keys = "a JSON Web Key Set";
                        files.push(file(object, names::JWKS_FILE.to_owned(), "spec.auth.token.jwks", keys));
                    }
                    Some(ValidKeySet::Url { ca: Some(object), .. }) => {
                        let (path, field) = (names::JWKS_CA_FILE.to_owned(), "spec.auth.token.jwks.ca");
                        files.push(file(object, path, field, CERTIFICATES));
                    }
                    Some(ValidKeySet::Url { ca: None, .. }) | None => {}
                }
                if let Some(object) = root_certificates {
                    let (path, field) = (names::ROOT_CERTIFICATES_FILE, "spec.auth.token.rootCertificates");
                    files.push(file(object, path.to_owned(), field, CERTIFICATES));
                }
                files
            }
            Some(ValidMethod::Issuer(issuer)) => {
                let users =
                    issuer.htpasswd.iter().map(|secret| users_file(secret, "spec.auth.issuer.htpasswd.secretRef"));
                let authorities = issuer.oidc.iter().enumerate().filter_map(|(at, oidc)| {
                    let field = format!("spec.auth.issuer.oidc[{at}].ca");
                    Some(file(oidc.ca.as_ref()?, names::oidc_ca_file(&oidc.name), &field, CERTIFICATES))
                });
                users.chain(authorities).collect()
            }
        }
    }
}

const CERTIFICATES: &str = "certificates in PEM";

fn users_file(secret: &str, field: &str) -> ValidFile {
    ValidFile {
        kind: ObjectKind::Secret,
        name: secret.to_owned(),
        key: names::HTPASSWD_KEY.to_owned(),
        path: names::HTPASSWD_FILE.to_owned(),
        field: field.to_owned(),
        content: "a line NAME:HASH for each user, as htpasswd -B writes it",
    }
}

fn file(object: &ValidCa, path: String, field: &str, content: &'static str) -> ValidFile {
    let ValidCa { kind, name, key } = object.clone();
    let field = match kind {
        ObjectKind::Secret => format!("{field}.secretRef"),
        ObjectKind::ConfigMap => format!("{field}.configMapRef"),
    };
    ValidFile { kind, name, key, path, field, content }
}

/// What else of a Registry its authentication is made from.
pub(super) struct About<'a> {
    /// `NAME.NAMESPACE`.
    pub(super) name: &'a str,
    /// The address of the Service.
    pub(super) url: &'a str,
}

pub(super) fn auth_of(auth: Auth, about: &About<'_>, problems: &mut Problems) -> ValidAuth {
    // Taken apart without `..`: a new method must be dealt with here.
    let Auth { anonymous, rules, htpasswd, token, issuer } = auth;
    rules::check_names(&rules, issuer.as_deref(), problems);
    let anonymous = rules::anonymous_of(anonymous, problems);
    let rules = rules::rules_of(rules, problems);
    if [htpasswd.is_some(), token.is_some(), issuer.is_some()].into_iter().filter(|named| *named).count() > 1 {
        problems.add(FIELD, "names two methods: keep at most one of htpasswd, token and issuer");
    }
    let htpasswd = htpasswd.map(|htpasswd| ValidMethod::Htpasswd(htpasswd_of(htpasswd, about, problems)));
    let token = token.map(|token| ValidMethod::Token(token_of(*token, problems)));
    let issuer = issuer.map(|issuer| ValidMethod::Issuer(Box::new(issuer::issuer_of(*issuer, about, problems))));
    let method = htpasswd.or(token).or(issuer);
    match &method {
        None if anonymous.is_empty() && rules.is_empty() => problems.add(
            FIELD,
            "lets nobody in: add one of htpasswd, token and issuer, or anonymous, or leave auth out to let everybody do \
             everything",
        ),
        None if !rules.is_empty() => problems.add(
            "spec.auth.rules",
            "name people, and nobody can say who they are: add one of htpasswd, token and issuer, or use anonymous for \
             what everybody may do",
        ),
        _ => {}
    }
    ValidAuth { method, anonymous, rules }
}

fn htpasswd_of(htpasswd: HtpasswdAuth, about: &About<'_>, problems: &mut Problems) -> ValidHtpasswd {
    let HtpasswdAuth { secret_ref, realm } = htpasswd;
    let secret = secret_of(secret_ref, "spec.auth.htpasswd.secretRef", problems);
    let realm = realm.unwrap_or_else(|| about.name.to_owned());
    check_printable("spec.auth.htpasswd.realm", &realm, problems);
    ValidHtpasswd { secret, realm }
}

fn token_of(token: TokenService, problems: &mut Problems) -> ValidToken {
    const FIELD: &str = "spec.auth.token";
    let TokenService { realm, service, issuer, jwks, root_certificates } = token;
    let message = "must be an address such as https://auth.example/token, without a name or password";
    check_text(&format!("{FIELD}.realm"), &realm, pattern::WEB_ADDRESS, message, problems);
    check_printable(&format!("{FIELD}.service"), &service, problems);
    if issuer.is_empty() {
        problems.add(format!("{FIELD}.issuer"), "is missing: say who issues the tokens (iss)");
    }
    if jwks.is_none() && root_certificates.is_none() {
        problems.add(FIELD, "names no key to check tokens with: set jwks or rootCertificates");
    }
    let jwks = jwks.and_then(|jwks| key_set_of(jwks, problems));
    let root_certificates = root_certificates
        .and_then(|authority| super::object_store::ca_of(authority, &format!("{FIELD}.rootCertificates"), problems));
    ValidToken { realm, service, issuer, jwks, root_certificates }
}

fn key_set_of(jwks: KeySet, problems: &mut Problems) -> Option<ValidKeySet> {
    const FIELD: &str = "spec.auth.token.jwks";
    let KeySet { url, ca, config_map_ref, secret_ref } = jwks;
    if ca.is_some() && url.is_none() {
        problems.add(format!("{FIELD}.ca"), "says whom url is trusted by: set url, or leave ca out");
    }
    let (kind, field, reference) = match (url, config_map_ref, secret_ref) {
        (Some(url), None, None) => {
            check_https(&format!("{FIELD}.url"), &url, problems);
            let ca = ca.and_then(|ca| super::object_store::ca_of(ca, &format!("{FIELD}.ca"), problems));
            return Some(ValidKeySet::Url { url, ca });
        }
        (None, Some(reference), None) => (ObjectKind::ConfigMap, "configMapRef", reference),
        (None, None, Some(reference)) => (ObjectKind::Secret, "secretRef", reference),
        _ => {
            problems.add(FIELD, "must have exactly one of url, configMapRef and secretRef");
            return None;
        }
    };
    let KeySetRef { name, key } = reference;
    let key = key.unwrap_or_else(|| names::JWKS_KEY.to_owned());
    Some(ValidKeySet::Object(key_of(kind, &format!("{FIELD}.{field}"), name, key, problems)))
}

fn secret_of(reference: SecretRef, field: &str, problems: &mut Problems) -> String {
    let SecretRef { name } = reference;
    check_object_name(&format!("{field}.name"), &name, problems);
    name
}

fn check_printable(field: &str, text: &str, problems: &mut Problems) {
    let message = "must be of ASCII characters that can be printed: clients get it in a header";
    check_text(field, text, pattern::PRINTABLE, message, problems);
}

fn check_https(field: &str, address: &str, problems: &mut Problems) {
    let message = "must be an address that begins with https://, without a name or password: with http:// whoever is in \
                   between could put other keys there";
    check_text(field, address, pattern::HTTPS_ADDRESS, message, problems);
}

/// Puts what the server would be told to the check that it starts with.
pub(super) fn check_as_server(auth: &berth_config::Auth, problems: &mut Problems) {
    if let Err(error) = auth.check(None) {
        let (field, message) = match error {
            berth_config::Error::Key { path, message } => (in_registry(&path), in_registry(&message)),
            other => (FIELD.to_owned(), other.to_string()),
        };
        problems.add(field, message);
    }
}

/// What the server calls a key, in the words of the Registry.
fn in_registry(text: &str) -> String {
    const FIELDS: [(&str, &str); 16] = [
        ("auth.issuer.issuer", "auth.issuer.url"),
        ("auth.issuer.expiry", "auth.issuer.tokenExpiry"),
        ("auth.issuer.refresh", "auth.issuer.refreshTokens"),
        ("auth.issuer.serviceaccounts", "auth.issuer.serviceAccounts"),
        ("serviceaccounts", "serviceAccounts"),
        ("usernameclaim", "usernameClaim"),
        ("usernameprefix", "usernamePrefix"),
        ("groupsclaim", "groupsClaim"),
        ("jwkscafile", "jwks.ca"),
        ("cafile", "ca"),
        ("rootcertbundle", "rootCertificates"),
        ("auth.token", "spec.auth.token"),
        ("auth.issuer", "spec.auth.issuer"),
        ("auth.htpasswd", "spec.auth.htpasswd"),
        ("auth.rules", "spec.auth.rules"),
        ("auth.anonymous", "spec.auth.anonymous"),
    ];
    let mut said = text.to_owned();
    for (server, registry) in FIELDS {
        said = said.replace(server, registry);
    }
    // An element of a list is a number between points there.
    match Regex::new(r"\.([0-9]+)(\.|$)") {
        Ok(element) => element.replace_all(&said, "[$1]$2").into_owned(),
        Err(_) => said,
    }
}

#[cfg(test)]
mod tests;
