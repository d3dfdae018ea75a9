//! [pure] Tokens that the registry signs itself.

use berth_config::Duration;
use berth_crds::{Issuer, IssuerHtpasswd, OidcIssuer, RefreshTokens, ServiceAccountTokens, Span, TokenKeys, pattern};

use super::{About, check_printable, check_text, secret_of};
use crate::{
    problem::Problems,
    registry::validate::object_store::{ValidCa, ca_of},
};

const FIELD: &str = "spec.auth.issuer";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = Duration::from_secs(87_600 * 3600);

/// The registry's own issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidIssuer {
    /// The address that it is known by, without a slash at its end.
    pub url: String,
    /// The name of this registry.
    pub service: String,
    /// Those of others that tokens are issued for.
    pub services: Vec<String>,
    /// The Secret with names and passwords.
    pub htpasswd: Option<String>,
    /// Other issuers.
    pub oidc: Vec<ValidOidc>,
    /// Service accounts of the cluster.
    pub service_accounts: Option<ValidServiceAccounts>,
    /// How long a token is valid.
    pub token_expiry: Duration,
    /// Refresh tokens.
    pub refresh_tokens: ValidRefreshTokens,
    /// The keys that sign.
    pub keys: ValidKeys,
}

/// Another issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidOidc {
    /// What it is called.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Whom its tokens must be for.
    pub audience: String,
    /// The claim that is the user's name.
    pub username_claim: String,
    /// What stands in front of it, where the spec says so.
    pub username_prefix: Option<String>,
    /// The claim that lists groups.
    pub groups_claim: Option<String>,
    /// Whether its users get refresh tokens.
    pub refresh_tokens: bool,
    /// Authorities that are trusted in addition.
    pub ca: Option<ValidCa>,
}

/// Service accounts of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidServiceAccounts {
    /// Whom their tokens must be for.
    pub audience: String,
}

/// Refresh tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidRefreshTokens {
    /// Whether there are none.
    pub disabled: bool,
    /// How long one is valid.
    pub expiry: Duration,
}

/// The keys that sign tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidKeys {
    /// How often another one signs.
    pub rotate_every: Duration,
    /// How long one is published before it signs.
    pub publish_for: Duration,
}

pub(super) fn issuer_of(issuer: Issuer, about: &About<'_>, problems: &mut Problems) -> ValidIssuer {
    // Taken apart without `..`: a new field must be dealt with here.
    let Issuer { url, service, services, htpasswd, oidc, service_accounts, token_expiry, refresh_tokens, keys } =
        issuer;
    let url = url.unwrap_or_else(|| format!("{}/auth", about.url));
    let message = "must be an address such as https://registry.example/auth: no slash at its end, no name or password, no \
                   query and no fragment";
    check_text(&format!("{FIELD}.url"), &url, pattern::ISSUER_ADDRESS, message, problems);
    let service = service.unwrap_or_else(|| about.name.to_owned());
    check_printable(&format!("{FIELD}.service"), &service, problems);
    let htpasswd = htpasswd
        .map(|IssuerHtpasswd { secret_ref }| secret_of(secret_ref, &format!("{FIELD}.htpasswd.secretRef"), problems));
    let oidc = oidc.into_iter().enumerate();
    let oidc = oidc.map(|(at, oidc)| oidc_of(&format!("{FIELD}.oidc[{at}]"), oidc, problems)).collect();
    let service_accounts = service_accounts.map(|ServiceAccountTokens { audience }| ValidServiceAccounts {
        audience: audience.unwrap_or_else(|| service.clone()),
    });
    let token_expiry =
        span(token_expiry, &format!("{FIELD}.tokenExpiry"), Duration::from_secs(300), (MINUTE, DAY), problems);
    let RefreshTokens { disabled, expiry } = refresh_tokens.unwrap_or_default();
    let refresh_tokens = ValidRefreshTokens {
        disabled: disabled.unwrap_or(false),
        expiry: span(
            expiry,
            &format!("{FIELD}.refreshTokens.expiry"),
            Duration::from_secs(30 * 24 * 3600),
            (MINUTE, TEN_YEARS),
            problems,
        ),
    };
    let keys = keys_of(keys.unwrap_or_default(), problems);
    ValidIssuer { url, service, services, htpasswd, oidc, service_accounts, token_expiry, refresh_tokens, keys }
}

fn oidc_of(field: &str, oidc: OidcIssuer, problems: &mut Problems) -> ValidOidc {
    let OidcIssuer { name, url, audience, username_claim, username_prefix, groups_claim, refresh_tokens, ca } = oidc;
    let message = "must be an address such as https://id.example/realms/dev: with http:// whoever is in between could put other \
                   keys there, and it holds no name, password or query";
    check_text(&format!("{field}.url"), &url, pattern::OIDC_ADDRESS, message, problems);
    ValidOidc {
        name,
        url,
        audience,
        username_claim: username_claim.unwrap_or_else(|| "sub".to_owned()),
        // An empty text is none.
        refresh_tokens: refresh_tokens.unwrap_or_default(),
        username_prefix: username_prefix.filter(|prefix| !prefix.is_empty()),
        groups_claim,
        ca: ca.and_then(|ca| ca_of(ca, &format!("{field}.ca"), problems)),
    }
}

fn keys_of(keys: TokenKeys, problems: &mut Problems) -> ValidKeys {
    let TokenKeys { rotate_every, publish_for } = keys;
    ValidKeys {
        rotate_every: span(
            rotate_every,
            &format!("{FIELD}.keys.rotateEvery"),
            Duration::from_secs(30 * 24 * 3600),
            (MINUTE, TEN_YEARS),
            problems,
        ),
        publish_for: span(
            publish_for,
            &format!("{FIELD}.keys.publishFor"),
            Duration::from_secs(300),
            (Duration::from_secs(10), DAY),
            problems,
        ),
    }
}

/// A length of time between two.
pub(in super::super) fn span(
    span: Option<Span>,
    field: &str,
    default: Duration,
    (least, most): (Duration, Duration),
    problems: &mut Problems,
) -> Duration {
    let Some(span) = span else { return default };
    match span.parse() {
        Ok(length) if (least..=most).contains(&length) => length,
        Ok(_) => {
            problems.add(field, format!("{span} is not from {least} to {most}"));
            default
        }
        Err(error) => {
            problems.add(field, error.to_string());
            default
        }
    }
}
