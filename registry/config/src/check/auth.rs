//! What fits together below `auth`.

use std::net::Ipv4Addr;

use super::{refuse, require, require_header, require_web_address};
use crate::load::Error;
use crate::rules::Rule;
use crate::{Auth, Certificate, CertificateGroups, ClientAuth, Duration, Issuer, Method, Oidc, Tls};

/// What stands in front of service accounts, as a cluster calls them.
const SYSTEM_PREFIX: &str = "system:";

impl Auth {
    /// Whether what is said here fits together, and with the TLS of the registry's own port: what the server checks when it
    /// starts, for those who write its configuration.
    ///
    /// # Errors
    /// [`Error`], which names the key.
    pub fn check(&self, tls: Option<&Tls>) -> Result<(), Error> {
        check(self, tls)
    }

    /// What stands in front of names that are of one place: who has nothing in front is none of those, whatever an issuer or a
    /// certificate says.
    #[must_use]
    pub fn reserved_prefixes(&self) -> Vec<String> {
        let Auth { method, certificate, .. } = self;
        let of_certificates =
            certificate.as_ref().map(|certificate| certificate.prefix_beside(method.as_ref()).to_owned());
        // There are service accounts where somebody knows them.
        let of_cluster = matches!(method, Some(Method::Issuer(_))).then(|| SYSTEM_PREFIX.to_owned());
        let all = self.oidc_prefixes().into_iter().chain(of_certificates).chain(of_cluster);
        all.filter(|prefix| !prefix.is_empty()).collect()
    }

    /// What stands in front of the users of other issuers, and of their groups.
    fn oidc_prefixes(&self) -> Vec<String> {
        let Some(Method::Issuer(issuer)) = &self.method else { return Vec::new() };
        issuer.oidc.iter().flat_map(|oidc| [oidc.prefix(), format!("{}:", oidc.name)]).collect()
    }
}

pub(super) fn check(auth: &Auth, tls: Option<&Tls>) -> Result<(), Error> {
    let Auth { method, certificate, anonymous, rules } = auth;
    let lists = [
        ("anonymous", anonymous.iter().map(|everybody| everybody.rule().check()).collect::<Vec<_>>()),
        ("rules", rules.iter().map(Rule::check).collect()),
    ];
    for (list, checked) in lists {
        for (at, outcome) in checked.into_iter().enumerate() {
            outcome.or_else(|error| refuse(&format!("auth.{list}.{at}"), error.to_string()))?;
        }
    }
    for (at, rule) in rules.iter().enumerate() {
        check_lists(&format!("auth.rules.{at}"), rule, auth)?;
    }
    if let Some(certificate) = certificate {
        check_certificate(certificate, auth, tls)?;
    }
    match method {
        None => Ok(()),
        Some(Method::Silly(silly)) => {
            require_header("auth.silly.realm", &silly.realm)?;
            require_header("auth.silly.service", &silly.service)
        }
        Some(Method::Htpasswd(htpasswd)) => require_header("auth.htpasswd.realm", &htpasswd.realm),
        Some(Method::Token(token)) => {
            require_header("auth.token.service", &token.service)?;
            if !token.autoredirect {
                require_web_address("auth.token.realm", &token.realm)?;
            }
            if token.rootcertbundle.is_none() && token.jwks.is_none() {
                return refuse("auth.token", "names no key to check tokens with: set rootcertbundle or jwks");
            }
            if token.jwkscafile.is_some() && !token.jwks.as_deref().is_some_and(|place| place.starts_with("https://")) {
                return refuse(
                    "auth.token.jwkscafile",
                    "has no effect: auth.token.jwks is no address that begins with https://",
                );
            }
            match token.jwks.as_deref().filter(|place| place.starts_with("http://")) {
                Some(address) => require_trusted_address("auth.token.jwks", address),
                None => Ok(()),
            }
        }
        Some(Method::Issuer(issuer)) => {
            check_issuer(issuer)?;
            if !rules.is_empty() || (issuer.oidc.is_empty() && issuer.serviceaccounts.is_none()) {
                return Ok(());
            }
            let message = "must be set beside auth.issuer.oidc and auth.issuer.serviceaccounts: without rules, everybody \
                           whom those know could do everything";
            refuse("auth.rules", message)
        }
    }
}

/// Refuses lists of a rule that nobody can be named by.
fn check_lists(path: &str, rule: &Rule, auth: &Auth) -> Result<(), Error> {
    let Rule { groups, service_accounts, subjects, claims, .. } = rule;
    let Auth { method, certificate, .. } = auth;
    let of_certificates = certificate.as_ref().is_some_and(|certificate| certificate.groups != CertificateGroups::None);
    let Some(Method::Issuer(issuer)) = method else {
        let lists = [
            ("groups", groups.is_empty() || of_certificates),
            ("serviceAccounts", service_accounts.is_empty()),
            ("subjects", subjects.is_empty()),
            ("claims", claims.is_empty()),
        ];
        return match lists.into_iter().find(|(_, is_empty)| !is_empty) {
            None => Ok(()),
            Some((list, _)) => refuse(
                &format!("{path}.{list}"),
                "nobody has any: htpasswd, silly and token say a name and nothing else, and auth.certificate groups; use users",
            ),
        };
    };
    if !service_accounts.is_empty() && issuer.serviceaccounts.is_none() {
        let message = "nobody is one: add auth.issuer.serviceaccounts";
        return refuse(&format!("{path}.serviceAccounts"), message);
    }
    if !groups.is_empty() && !of_certificates && issuer.oidc.iter().all(|oidc| oidc.groupsclaim.is_none()) {
        let message = "nobody has any: name the claim that has them in auth.issuer.oidc[].groupsclaim";
        return refuse(&format!("{path}.groups"), message);
    }
    if !subjects.is_empty() && issuer.oidc.is_empty() {
        return refuse(&format!("{path}.subjects"), "nobody has any: add the issuer of them to auth.issuer.oidc");
    }
    let is_of = |claim: &str, oidc: &Oidc| claim.split_once(':').is_some_and(|(name, _)| name == oidc.name);
    match claims.keys().find(|claim| !issuer.oidc.iter().any(|oidc| is_of(claim, oidc))) {
        None => Ok(()),
        Some(claim) => refuse(
            &format!("{path}.claims"),
            format!("{claim:?} is no claim of an issuer in auth.issuer.oidc: write NAME:CLAIM with its name"),
        ),
    }
}

/// How long a token has to be valid at least: clients take each for valid for a minute.
const LEAST_EXPIRY: Duration = Duration::from_secs(60);
const MOST_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// What a token is for keeps credentials that are for the issuer apart from tokens that are for a registry.
const IS_THE_ISSUER: &str = "must not be auth.issuer.issuer: give the registry a name of its own, such as its host";

fn check_issuer(issuer: &Issuer) -> Result<(), Error> {
    let Issuer {
        service, issuer: address, keys: _, expiry, refresh, services, htpasswd, oidc, serviceaccounts, ..
    } = issuer;
    require("auth.issuer.service", service)?;
    require_header("auth.issuer.service", service)?;
    require_web_address("auth.issuer.issuer", address)?;
    require_header("auth.issuer.issuer", address)?;
    if address.ends_with('/') || address.contains(['?', '#', '@']) {
        return refuse(
            "auth.issuer.issuer",
            "must have no slash at its end, no name or password, no query and no fragment",
        );
    }
    if !(LEAST_EXPIRY..=MOST_EXPIRY).contains(expiry) {
        return refuse("auth.issuer.expiry", format!("{expiry} is not from {LEAST_EXPIRY} to {MOST_EXPIRY}"));
    }
    if refresh.expiry < *expiry {
        return refuse("auth.issuer.refresh.expiry", format!("must not be less than auth.issuer.expiry, {expiry}"));
    }
    for (at, other) in services.iter().enumerate() {
        require(&format!("auth.issuer.services.{at}"), other)?;
        if other == service || services[..at].contains(other) {
            return refuse(&format!("auth.issuer.services.{at}"), format!("{other:?} is there twice"));
        }
        if other == address {
            return refuse(&format!("auth.issuer.services.{at}"), IS_THE_ISSUER);
        }
    }
    if service == address {
        return refuse("auth.issuer.service", IS_THE_ISSUER);
    }
    if htpasswd.is_none() && oidc.is_empty() && serviceaccounts.is_none() {
        return refuse("auth.issuer", "knows nobody: add htpasswd, oidc or serviceaccounts");
    }
    for (at, other) in oidc.iter().enumerate() {
        check_oidc(&format!("auth.issuer.oidc.{at}"), other, address)?;
        for (key, is_taken) in [
            ("name", oidc[..at].iter().any(|before| before.name == other.name)),
            ("url", oidc[..at].iter().any(|before| before.url == other.url)),
        ] {
            if is_taken {
                return refuse(&format!("auth.issuer.oidc.{at}.{key}"), "another issuer has the same");
            }
        }
    }
    for (at, one) in oidc.iter().enumerate() {
        check_prefix(&format!("auth.issuer.oidc.{at}.usernameprefix"), one, oidc)?;
    }
    match serviceaccounts {
        Some(accounts) => require_trusted_address("auth.issuer.serviceaccounts.url", &accounts.url),
        None => Ok(()),
    }
}

fn check_oidc(path: &str, oidc: &Oidc, own: &str) -> Result<(), Error> {
    let Oidc { name, url, audience, usernameclaim, usernameprefix: _, groupsclaim, refresh: _, cafile: _ } = oidc;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(is_name) || name == "system" {
        return refuse(
            &format!("{path}.name"),
            format!("{name:?} is not a name of a-z, 0-9 and '-'; nor may it be system"),
        );
    }
    require_trusted_address(&format!("{path}.url"), url)?;
    if url == own {
        return refuse(&format!("{path}.url"), "is this issuer itself");
    }
    for (key, value) in
        [("audience", Some(audience)), ("usernameclaim", Some(usernameclaim)), ("groupsclaim", groupsclaim.as_ref())]
    {
        value.map_or(Ok(()), |value| require(&format!("{path}.{key}"), value))?;
    }
    Ok(())
}

/// Whether a name could begin as both say. Who has none in front wants names of several places to be one; what is another's
/// is refused when somebody comes by it.
fn overlap(prefix: &str, other: &str) -> bool {
    !prefix.is_empty() && !other.is_empty() && (prefix.starts_with(other) || other.starts_with(prefix))
}

/// Refuses what would make the users of one issuer those of another, or service accounts.
fn check_prefix(path: &str, one: &Oidc, all: &[Oidc]) -> Result<(), Error> {
    let prefix = one.prefix();
    let overlaps = |other: &str| overlap(&prefix, other);
    if overlaps(SYSTEM_PREFIX) {
        return refuse(path, "must not begin as system: does, which is in front of service accounts");
    }
    match all.iter().find(|other| other.name != one.name && overlaps(&other.prefix())) {
        Some(other) => refuse(
            path,
            format!("must not begin as {:?} does, which is in front of another issuer's users", other.prefix()),
        ),
        None => Ok(()),
    }
}

/// Refuses an address where keys would be believed that anybody in between has put there.
fn require_trusted_address(path: &str, given: &str) -> Result<(), Error> {
    require_web_address(path, given)?;
    let Some(rest) = given.strip_prefix("http://") else { return Ok(()) };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let is_loopback =
        matches!(host, "localhost" | "[::1]") || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    match is_loopback {
        true => Ok(()),
        false => refuse(path, "must begin with https://: whoever is in between could put other keys there"),
    }
}

/// Refuses names of certificates that nobody would have, or that nobody has verified.
fn check_certificate(certificate: &Certificate, auth: &Auth, tls: Option<&Tls>) -> Result<(), Error> {
    let authorities = tls.map(|tls| tls.clientcas.as_slice()).unwrap_or_default();
    if authorities.is_empty() {
        return refuse(
            "auth.certificate",
            "needs http.tls.clientcas: name there the authorities that sign the certificates of clients",
        );
    }
    match tls.and_then(|tls| tls.clientauth).unwrap_or_default() {
        ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert => {}
        mode @ (ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert) => {
            let message = format!(
                "has no effect where http.tls.clientauth is {}, which verifies no certificate: write {} or {}",
                mode.as_str(),
                ClientAuth::VerifyClientCertIfGiven.as_str(),
                ClientAuth::RequireAndVerifyClientCert.as_str()
            );
            return refuse("auth.certificate", message);
        }
    }
    let prefix = certificate.prefix.as_deref().unwrap_or_default();
    if prefix.len() > 64 || prefix.chars().any(|c| c.is_control() || "*{}".contains(c)) {
        return refuse(
            "auth.certificate.prefix",
            "must be at most 64 bytes of text without * { and }, which rules use",
        );
    }
    let Auth { method, rules, .. } = auth;
    let prefix = certificate.prefix_beside(method.as_ref());
    if overlap(prefix, SYSTEM_PREFIX) && matches!(method, Some(Method::Issuer(_))) {
        return refuse(
            "auth.certificate.prefix",
            "must not begin as system: does, which is in front of service accounts",
        );
    }
    if let Some(other) = auth.oidc_prefixes().into_iter().find(|other| overlap(prefix, other)) {
        return refuse(
            "auth.certificate.prefix",
            format!(
                "{prefix:?} must not begin as {other:?} does, which is in front of what an issuer in auth.issuer.oidc says"
            ),
        );
    }
    if let Some(method @ (Method::Token(_) | Method::Issuer(_))) = method
        && rules.is_empty()
    {
        return refuse(
            "auth.certificate",
            format!(
                "needs auth.rules beside auth.{}: a certificate says a name, and not what may be done, as a token does",
                method.name()
            ),
        );
    }
    Ok(())
}
