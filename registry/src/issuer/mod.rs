//! The bundled issuer of tokens: who asks is found out (`providers`), what of the scopes may be had is decided (`decide`), and
//! a token that says so is signed (`signing`). Registries believe it by the published keys and ask the issuer nothing.
//!
//! HTTP is not known here; `http/issuer` speaks it.

mod credential;
mod decide;
mod identity;
mod keyring;
mod providers;
mod refresh;
mod request;
mod scope;
mod signing;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_config::Auth;
use berth_config::rules::{Everybody, Subject};
use berth_storage::{Store, StoreError};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::Reason;
use crate::auth::{AuthError, Grant, Standing};
use crate::gate::Writing;
use crate::jose::DISCOVERY;
use decide::Policy;
pub(crate) use keyring::Keyring;
pub use keyring::KeyringError;
use providers::{By, Known, Providers};
use refresh::{Record, RefreshTokens};
pub(crate) use request::{ACCESS_TOKEN, RequestError, Shown, Wanted, of_form, of_query};

/// How long every token is valid at least, in seconds: clients do not look at less.
const LEAST_SECONDS: i64 = 60;
/// How often refresh tokens that have ended are looked for.
const SWEEP_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// A path of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Where tokens are issued.
    Token,
    /// Where refresh tokens are revoked (RFC 7009).
    Revoke,
    /// The public keys (RFC 7517).
    Keys,
    /// What the issuer says of itself (RFC 8414; OpenID Connect Discovery 1.0).
    Discovery,
}

impl Endpoint {
    /// Every one.
    pub const ALL: [Endpoint; 4] = [Endpoint::Token, Endpoint::Revoke, Endpoint::Keys, Endpoint::Discovery];

    /// Its path, below that of the issuer.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::Token => "/token",
            Endpoint::Revoke => "/revoke",
            Endpoint::Keys => "/keys",
            Endpoint::Discovery => DISCOVERY,
        }
    }
}

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denial {
    /// Nobody said who they are, and nothing is for everybody.
    #[error("a name and a password are needed")]
    Anonymous,
    /// The name or the password is wrong.
    #[error("the name or the password is wrong")]
    Password,
    /// The refresh token counts no more, or never did.
    #[error("the refresh token has ended, was revoked, is for another service, or is none")]
    Refresh,
    /// The token of another issuer is not believed.
    #[error("the token is not believed: it has ended, or is not for this issuer, or not of one that is known here")]
    Token,
    /// There is no such registry.
    #[error("service {0:?} is not known")]
    Service(String),
    /// Who it is cannot be found out now.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The store, which keeps refresh tokens, does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key does not sign.
    #[error("the key that signs tokens cannot be used")]
    Key,
}

impl Denial {
    /// Why, as it is audited.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Denial::Anonymous => Reason::NoCredentials,
            Denial::Password | Denial::Refresh | Denial::Token => Reason::BadCredentials,
            Denial::Service(_) => Reason::NotGranted,
            Denial::Auth(error) => Reason::of_failure(error),
            Denial::Store(_) | Denial::Key => Reason::Unverifiable,
        }
    }
}

/// A token that was issued.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) refresh_token: Option<String>,
    /// When, in seconds since 1970, and for how long.
    pub(crate) at: i64,
    pub(crate) seconds: i64,
    pub(crate) grants: Vec<Grant>,
    /// Whose it is; none if it is everybody's.
    pub(crate) user: Option<String>,
    /// How it was shown who that is.
    pub(crate) authentication: &'static str,
}

/// What a token claims. A field is as others read it.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    access: &'a [Grant],
}

/// The issuer of a server.
pub struct Issuer {
    config: berth_config::Issuer,
    keyring: Arc<Keyring>,
    providers: Providers,
    policy: Policy,
    refresh: Option<RefreshTokens>,
}

/// Refuses what an issuer cannot start with, as far as that is seen without a file.
pub(crate) fn check(config: &berth_config::Issuer) -> anyhow::Result<()> {
    providers::check(config)
}

/// What the private key (PEM) of a file is called.
///
/// # Errors
/// It is none that signs tokens.
pub(crate) fn kid(pem: &[u8]) -> anyhow::Result<String> {
    Ok(signing::ring(&[("the key".to_owned(), pem.to_vec())], None)?.signer.kid().to_owned())
}

fn policy(auth: &Auth) -> Policy {
    let everybody = auth.anonymous.iter().map(Everybody::rule);
    Policy { rules: everybody.chain(auth.rules.iter().cloned()).collect(), named_has_everything: auth.rules.is_empty() }
}

/// How long a token is valid that is issued `now` to somebody whose own is valid `until` then, in seconds.
fn lifetime(expiry: Duration, until: Option<i64>, now: i64) -> i64 {
    let expiry = i64::try_from(expiry.as_secs()).unwrap_or(i64::MAX);
    until.map_or(expiry, |until| expiry.min(until.saturating_sub(now))).max(LEAST_SECONDS)
}

impl Issuer {
    /// Reads the keys and the users, and asks other issuers for their keys. It issues no refresh tokens until it has a store.
    pub(crate) async fn open(config: &berth_config::Issuer, auth: &Auth) -> anyhow::Result<Self> {
        let keyring = Arc::new(Keyring::open(config.keys.clone()).await?);
        Ok(Issuer {
            providers: Providers::open(config, auth.reserved_prefixes(), keyring.clone()).await?,
            keyring,
            policy: policy(auth),
            refresh: None,
            config: config.clone(),
        })
    }

    /// The same with a store that keeps refresh tokens.
    pub(crate) fn with_store(self, store: Arc<dyn Store>) -> Self {
        let refresh = (!self.config.refresh.disabled).then(|| RefreshTokens::new(store));
        Issuer { refresh, ..self }
    }

    pub(crate) fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// What is at a path; nothing if it is none of the issuer.
    pub(crate) fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let below = path.strip_prefix(self.config.path())?;
        Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == below)
    }

    /// The name of the registry.
    pub(crate) fn service(&self) -> &str {
        &self.config.service
    }

    /// What the issuer says of itself.
    pub(crate) fn discovery(&self) -> Value {
        let issuer = &self.config.issuer;
        let at = |endpoint: Endpoint| format!("{issuer}{}", endpoint.path());
        json!({
            "issuer": issuer,
            "token_endpoint": at(Endpoint::Token),
            "revocation_endpoint": at(Endpoint::Revoke),
            "jwks_uri": at(Endpoint::Keys),
            "grant_types_supported": ["password", "refresh_token", request::EXCHANGE],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": crate::jose::Algorithm::ALL.map(crate::jose::Algorithm::name),
        })
    }

    /// The set of public keys.
    pub(crate) async fn keys(&self) -> Bytes {
        self.keyring.ring().await.document.clone()
    }

    /// Who has shown this; nobody in particular where nothing was shown and something is for everybody.
    async fn identify(
        &self,
        shown: Shown,
        service: &str,
        from: Option<IpAddr>,
        now: i64,
    ) -> Result<Option<Known>, Denial> {
        match shown {
            Shown::Nothing if self.policy.is_for_everybody() => Ok(None),
            Shown::Nothing => Err(Denial::Anonymous),
            Shown::Password { name, password } => {
                self.providers.password(&name, password, from).await?.map(Some).ok_or(Denial::Password)
            }
            Shown::Token(token) => self.providers.token(&token).await.map(Some).ok_or(Denial::Token),
            Shown::Refresh(token) => {
                let Some(refresh) = &self.refresh else { return Err(Denial::Refresh) };
                let now = u64::try_from(now).unwrap_or_default();
                let record = refresh.find(&token, now).await?.filter(|record| record.service == service);
                let Record { subject, by, service: _ } = record.ok_or(Denial::Refresh)?;
                match self.providers.still(&subject, &by).await? {
                    true => Ok(Some(Known { subject, by, until: None, rule: None })),
                    false => Err(Denial::Refresh),
                }
            }
        }
    }

    /// Issues a token for as much of what is wanted as may be had; a refresh token beside it only where the store may be written
    /// now, as `writing` says.
    pub(crate) async fn issue(
        &self,
        wanted: Wanted,
        from: Option<IpAddr>,
        writing: impl Fn() -> Option<Writing>,
    ) -> Result<Issued, Denial> {
        let Wanted { shown, service, scopes, offline, is_exchange: _ } = wanted;
        let config = &self.config;
        let service = service.as_deref().unwrap_or(&config.service);
        if service != config.service && !config.services.iter().any(|other| other == service) {
            return Err(Denial::Service(service.chars().take(200).collect()));
        }
        let at = jiff::Timestamp::now().as_second();
        let used = if let Shown::Refresh(token) = &shown { Some(token.clone()) } else { None };
        let known = self.identify(shown, service, from, at).await?;
        let nobody = Subject::default();
        let subject = known.as_ref().map_or(&nobody, |known| &known.subject);
        let grants = match known.as_ref().and_then(|known| known.rule.as_ref()) {
            None => self.policy.grant(subject, &scopes),
            Some(rule) => self.policy.for_everybody_and(rule).grant(subject, &scopes),
        };
        let seconds = lifetime(config.expiry.as_std(), known.as_ref().and_then(|known| known.until), at);
        let claims = Claims {
            iss: &config.issuer,
            sub: subject.user.as_deref().unwrap_or_default(),
            aud: service,
            exp: at.saturating_add(seconds),
            nbf: at,
            iat: at,
            jti: Uuid::new_v4().to_string(),
            access: &grants,
        };
        let token = self.keyring.ring().await.signer.sign(&claims).ok_or(Denial::Key)?;
        let authentication = match (&used, &known) {
            (Some(_), _) => "refresh-token",
            (None, Some(known)) => known.by.name(),
            (None, None) => "anonymous",
        };
        let user = subject.user.clone();
        let refresh_token = match (used, known) {
            (Some(used), _) => Some(used),
            (None, Some(known)) if offline => self.refresh_token(known, service, at, writing).await,
            (None, _) => None,
        };
        Ok(Issued { token, refresh_token, at, seconds, grants, user, authentication })
    }

    /// A refresh token, where there are any for such as this one. Who gets none has a token all the same.
    async fn refresh_token(
        &self,
        known: Known,
        service: &str,
        now: i64,
        writing: impl Fn() -> Option<Writing>,
    ) -> Option<String> {
        let Known { subject, by, until: _, rule: _ } = known;
        let refresh = self.refresh.as_ref()?;
        // A service account has a token of its own at any time, which ends with it, and a credential is one.
        let may_have_one = match &by {
            By::Password(_) => true,
            By::Oidc(url) => self.config.oidc.iter().any(|oidc| oidc.url == *url && oidc.refresh),
            By::Account | By::Credential => false,
        };
        // It would be of no use to somebody whom no rule names, and others could fill the store with them.
        if !may_have_one || !self.policy.is_about(&subject) {
            return None;
        }
        let user = subject.user.clone()?;
        let expiry = self.config.refresh.expiry.as_std().as_secs();
        let end = u64::try_from(now).unwrap_or_default().saturating_add(expiry);
        let (refresh, writing, name) = (refresh.clone(), writing()?, user.clone());
        let record = Record { subject, service: service.to_owned(), by };
        // A client that goes away does not end the write.
        let issuing = tokio::spawn(async move {
            let _writing = writing;
            refresh.issue(&name, &record, end).await
        });
        match issuing.await.ok()? {
            Ok(token) => Some(token),
            Err(error) => {
                tracing::warn!(%error, user, "no refresh token can be issued");
                None
            }
        }
    }

    /// How it stands with the keys of other issuers.
    pub(crate) async fn standings(&self) -> Vec<Standing> {
        self.providers.standings().await
    }

    /// Whether there is a user with a password of this name.
    pub(crate) async fn is_user(&self, name: &str) -> bool {
        self.providers.is_user(name).await
    }

    /// Whose a refresh token is that counts; nobody's if it is none.
    pub(crate) async fn owner(&self, token: &str) -> Result<Option<String>, StoreError> {
        let Some(refresh) = &self.refresh else { return Ok(None) };
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        Ok(refresh.find(token, now).await?.and_then(|record| record.subject.user))
    }

    /// Makes a refresh token count no more. Of what is none, nothing is said.
    pub(crate) async fn revoke(&self, token: &str) -> Result<(), StoreError> {
        match &self.refresh {
            Some(refresh) => refresh.revoke(token).await,
            None => Ok(()),
        }
    }

    /// Makes all refresh tokens of a user count no more; how many there were.
    pub(crate) async fn revoke_all(&self, user: &str) -> Result<u64, StoreError> {
        match &self.refresh {
            Some(refresh) => refresh.revoke_all(user).await,
            None => Ok(0),
        }
    }

    /// Removes refresh tokens that have ended, again and again until `stop`.
    pub(crate) async fn sweep(&self, writable: impl Fn() -> bool, stop: CancellationToken) {
        let Some(refresh) = &self.refresh else { return };
        let (random, _) = Uuid::new_v4().as_u64_pair();
        // Replicas that start together do not all look at once.
        let mut wait = Duration::from_secs(random % SWEEP_PAUSE.as_secs());
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = SWEEP_PAUSE;
            if !writable() {
                continue;
            }
            match refresh.sweep(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed refresh tokens that have ended"),
                Err(error) => tracing::warn!(%error, "cannot remove refresh tokens that have ended"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_outlives_what_it_was_issued_for_by_no_more_than_clients_need() {
        let expiry = Duration::from_secs(300);
        for (until, expected) in
            [(None, 300), (Some(10_000), 300), (Some(1200), 200), (Some(1030), 60), (Some(0), 60), (Some(i64::MIN), 60)]
        {
            assert_eq!(lifetime(expiry, until, 1000), expected, "{until:?}");
        }
    }
}
