//! `auth` of the server's configuration. No secret is here: it names files.

use std::path::PathBuf;

use berth_config::{Auth, Htpasswd, Issuer, Method, Oidc, Refresh, ServiceAccounts, Token, UsersFile};

use super::config_map::mounted;
use crate::{
    names,
    registry::validate::{
        ValidAuth, ValidHtpasswd, ValidIssuer, ValidKeySet, ValidMethod, ValidOidc, ValidRefreshTokens,
        ValidServiceAccounts, ValidToken,
    },
};

/// Nothing is left to a default of the server's, so that a newer server runs the same.
#[must_use]
pub fn build_auth(auth: &ValidAuth) -> Auth {
    let ValidAuth { method, anonymous, rules } = auth;
    let method = method.as_ref().map(|method| match method {
        ValidMethod::Htpasswd(ValidHtpasswd { secret: _, realm }) => {
            Method::Htpasswd(Htpasswd { realm: realm.clone(), path: mounted(names::HTPASSWD_FILE) })
        }
        ValidMethod::Token(token) => Method::Token(build_token(token)),
        ValidMethod::Issuer(issuer) => Method::Issuer(build_issuer(issuer)),
    });
    Auth { method, certificate: None, anonymous: anonymous.clone(), rules: rules.clone() }
}

fn build_token(token: &ValidToken) -> Token {
    let ValidToken { realm, service, issuer, jwks, root_certificates } = token.clone();
    let (jwks, jwkscafile) = match jwks {
        None => (None, None),
        Some(ValidKeySet::Url { url, ca }) => (Some(url), ca.map(|_| mounted(names::JWKS_CA_FILE))),
        Some(ValidKeySet::Object(_)) => (Some(mounted(names::JWKS_FILE).display().to_string()), None),
    };
    Token {
        realm,
        service,
        issuer,
        rootcertbundle: root_certificates.map(|_| mounted(names::ROOT_CERTIFICATES_FILE)),
        jwks,
        jwkscafile,
        signingalgorithms: Vec::new(),
        autoredirect: false,
        autoredirectpath: "/auth/token".into(),
    }
}

fn build_issuer(issuer: &ValidIssuer) -> Issuer {
    let ValidIssuer {
        url,
        service,
        services,
        htpasswd,
        oidc,
        service_accounts,
        token_expiry,
        refresh_tokens: ValidRefreshTokens { disabled, expiry },
        keys: _, // whoever makes them looks at it
    } = issuer.clone();
    Issuer {
        service,
        issuer: url,
        keys: PathBuf::from(names::TOKEN_KEYS_DIRECTORY),
        autoredirect: false,
        expiry: token_expiry,
        refresh: Refresh { disabled, expiry },
        services,
        htpasswd: htpasswd.map(|_| UsersFile { path: mounted(names::HTPASSWD_FILE) }),
        oidc: oidc.into_iter().map(build_oidc).collect(),
        serviceaccounts: service_accounts.map(|ValidServiceAccounts { audience }| ServiceAccounts {
            url: names::API_SERVER.into(),
            audience: Some(audience),
            cafile: mounted(names::CLUSTER_CA_FILE),
            tokenfile: mounted(names::ACCOUNT_TOKEN_FILE),
        }),
    }
}

fn build_oidc(oidc: ValidOidc) -> Oidc {
    let ValidOidc { name, url, audience, username_claim, username_prefix, groups_claim, refresh_tokens, ca } = oidc;
    Oidc {
        cafile: ca.map(|_| mounted(&names::oidc_ca_file(&name))),
        name,
        url,
        audience,
        usernameclaim: username_claim,
        usernameprefix: username_prefix,
        groupsclaim: groups_claim,
        refresh: refresh_tokens,
    }
}
