//! Who somebody is who shows a name and a password, or a token of another issuer.
//!
//! A password that is a token says who has signed it, and is believed if that is one of the issuers that the configuration
//! names and its signature is right. Which name stands beside it does not matter: clients want one.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_config::rules::{Rule, Subject};
use berth_config::{Issuer, Oidc, ServiceAccounts};
use serde::Deserialize;

use super::credential::{self, CredentialError};
use super::identity::{self, ClaimError};
use super::keyring::Keyring;
use crate::auth::token::claims::{Claims, ClaimsError};
use crate::auth::{AuthError, Htpasswd, Standing};
use crate::fetch::{Document, Trust};
use crate::jose::{Algorithm, Jws, JwsError, Keys, Place, Remote, Source, Untrusted};

/// How much of what a stranger has sent is told in the log.
const MAX_TOLD_CHARACTERS: usize = 300;

/// Who has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) subject: Subject,
    pub(super) by: By,
    /// Until when what was shown is valid, in seconds since 1970; none of a password.
    pub(super) until: Option<i64>,
    /// What it is good for, where it says so itself; the rules do not count then.
    pub(super) rule: Option<Rule>,
}

/// How somebody has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    /// By a password. What stands for it changes with it.
    Password(String),
    /// By a token of the issuer at this address.
    Oidc(String),
    /// By a token of a service account.
    Account,
    /// By a credential that this issuer has made, as pull secrets hold one.
    Credential,
}

impl By {
    /// How it is called where it is told of.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            By::Password(_) => "htpasswd",
            By::Oidc(_) => "oidc",
            By::Account => "serviceaccount",
            By::Credential => "credential",
        }
    }
}

/// All that may vouch for somebody.
pub(super) struct Providers {
    htpasswd: Option<Htpasswd>,
    oidc: Vec<(Oidc, Arc<Source>)>,
    /// What users of another place begin with.
    reserved: Vec<String>,
    accounts: Option<(ServiceAccounts, Arc<Source>)>,
    service: String,
    /// What this issuer is called, and its keys.
    own: (String, Arc<Keyring>),
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Form(#[from] JwsError),
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("its signature is not that of its key")]
    Signature,
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error(transparent)]
    Subject(#[from] ClaimError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("the keys of its issuer are not there yet")]
    NoKeys,
    #[error("it is of no issuer that is known here, but of {0:?}")]
    Issuer(String),
}

/// Whom to trust, and how to ask, at an address that is not known yet.
fn like(key: &str) -> Document {
    Document::new(key, http::Uri::from_static("https://invalid"))
}

const OIDC_KEY: &str = "auth.issuer.oidc[].url";
const ACCOUNTS_KEY: &str = "auth.issuer.serviceaccounts.url";

fn remote_of(oidc: &Oidc) -> anyhow::Result<Remote> {
    let trust = oidc.cafile.clone().map_or(Trust::System, Trust::Also);
    let remote =
        Remote::of_issuer(&oidc.url, &Document { trust, ..like(&format!("auth.issuer.oidc ({})", oidc.name)) });
    remote.map_err(|error| anyhow::anyhow!("auth.issuer.oidc ({}).url: {error}", oidc.name))
}

fn remote_of_accounts(accounts: &ServiceAccounts) -> anyhow::Result<Remote> {
    let trust = Trust::Only(accounts.cafile.clone());
    let document = Document { trust, token: Some(accounts.tokenfile.clone()), ..like(ACCOUNTS_KEY) };
    Remote::of_cluster(&accounts.url, &document).map_err(|error| anyhow::anyhow!("{ACCOUNTS_KEY}: {error}"))
}

/// Refuses addresses that are none.
pub(super) fn check(issuer: &Issuer) -> anyhow::Result<()> {
    issuer.oidc.iter().try_for_each(|oidc| remote_of(oidc).map(drop))?;
    issuer.serviceaccounts.as_ref().map_or(Ok(()), |accounts| remote_of_accounts(accounts).map(drop))
}

impl Providers {
    pub(super) async fn open(issuer: &Issuer, reserved: Vec<String>, keyring: Arc<Keyring>) -> anyhow::Result<Self> {
        let htpasswd = match &issuer.htpasswd {
            None => None,
            Some(file) => Some(Htpasswd::open("auth.issuer.htpasswd.path", String::new(), file.path.clone()).await?),
        };
        // An issuer that is slow holds up none of the others.
        let open = async |key, remote| {
            Ok::<_, anyhow::Error>(Arc::new(Source::open(None, Some((key, Place::Remote(Box::new(remote))))).await?))
        };
        let oidc = futures::future::try_join_all(
            issuer
                .oidc
                .iter()
                .map(async |oidc| Ok::<_, anyhow::Error>((oidc.clone(), open(OIDC_KEY, remote_of(oidc)?).await?))),
        );
        let accounts = async {
            match &issuer.serviceaccounts {
                None => Ok(None),
                Some(accounts) => {
                    let source = open(ACCOUNTS_KEY, remote_of_accounts(accounts)?).await?;
                    Ok::<_, anyhow::Error>(Some((accounts.clone(), source)))
                }
            }
        };
        let (oidc, accounts) = futures::try_join!(oidc, accounts)?;
        let own = (issuer.issuer.clone(), keyring);
        Ok(Providers { htpasswd, oidc, reserved, accounts, service: issuer.service.clone(), own })
    }

    /// Who shows this name and this password; nobody if they are wrong.
    pub(super) async fn password(
        &self,
        name: &str,
        password: Vec<u8>,
        from: Option<IpAddr>,
    ) -> Result<Option<Known>, AuthError> {
        if let Some(token) = std::str::from_utf8(&password).ok().filter(|password| issuer_of(password).is_some()) {
            return Ok(self.token(token).await);
        }
        let Some(htpasswd) = &self.htpasswd else { return Ok(None) };
        let stamp = htpasswd.login(name, password, from).await?;
        Ok(stamp.map(|stamp| Known { subject: user(name), by: By::Password(stamp), until: None, rule: None }))
    }

    /// How it stands with the keys of other issuers.
    pub(super) async fn standings(&self) -> Vec<Standing> {
        let sources = self.oidc.iter().map(|(_, source)| source).chain(self.accounts.iter().map(|(_, source)| source));
        futures::future::join_all(sources.map(Source::standing)).await
    }

    /// A name, if it is that of a user with a password: what else is written there may be a password.
    pub(super) async fn is_user(&self, name: &str) -> bool {
        match &self.htpasswd {
            Some(htpasswd) => htpasswd.stamp(name).await.is_ok_and(|stamp| stamp.is_some()),
            None => false,
        }
    }

    /// Whether somebody is still there who has shown who they are before.
    pub(super) async fn still(&self, subject: &Subject, by: &By) -> Result<bool, AuthError> {
        Ok(match (by, &self.htpasswd, subject.user.as_deref()) {
            (By::Password(stamp), Some(htpasswd), Some(name)) => htpasswd.stamp(name).await?.as_ref() == Some(stamp),
            (By::Password(_), ..) => false,
            (By::Oidc(url), ..) => {
                let is_issuer = |oidc: &Oidc| oidc.url == *url && subject.issuer.as_ref() == Some(&oidc.name);
                self.oidc.iter().any(|(oidc, _)| is_issuer(oidc) && oidc.refresh)
            }
            (By::Account | By::Credential, ..) => false,
        })
    }

    /// Whose token this is; nobody's if it is not believed.
    pub(super) async fn token(&self, token: &str) -> Option<Known> {
        match self.verify(token).await {
            Ok(known) => Some(known),
            Err(refusal) => {
                let refusal: String = refusal.to_string().chars().take(MAX_TOLD_CHARACTERS).collect();
                tracing::info!(refusal, "a token of another issuer was refused");
                None
            }
        }
    }

    async fn verify(&self, token: &str) -> Result<Known, Refusal> {
        let said = issuer_of(token).ok_or(JwsError::Form)?;
        let (own, keyring) = &self.own;
        if said == *own {
            let keys = keyring.keys().await;
            let now = jiff::Timestamp::now().as_second();
            // It is for this issuer, as what it issues is for registries: neither is taken for the other.
            let (payload, until) = verified(token, &keys, own, own, now)?;
            let (subject, rule) = credential::read(&payload)?;
            return Ok(Known { subject, by: By::Credential, until: Some(until), rule: Some(rule) });
        }
        if let Some((oidc, source)) = self.oidc.iter().find(|(oidc, _)| oidc.url == said) {
            return with_keys(source, |keys, now| {
                let (payload, until) = verified(token, keys, &oidc.url, &oidc.audience, now)?;
                let subject = identity::of_oidc(oidc, &self.reserved, &identity::claims(&payload)?)?;
                Ok(Known { subject, by: By::Oidc(oidc.url.clone()), until: Some(until), rule: None })
            })
            .await;
        }
        let Some((accounts, source)) = &self.accounts else { return Err(Refusal::Issuer(said)) };
        let audience = identity::audience(accounts, &self.service);
        with_keys(source, |keys, now| {
            let issuer = keys.issuer().ok_or(Refusal::NoKeys)?;
            let (payload, until) = verified(token, keys, issuer, audience, now)?;
            let subject = identity::of_service_account(&identity::claims(&payload)?)?;
            Ok(Known { subject, by: By::Account, until: Some(until), rule: None })
        })
        .await
    }
}

fn user(name: &str) -> Subject {
    Subject { user: Some(name.to_owned()), ..Subject::default() }
}

/// Does it with the keys that there are, and again with newer ones if a key is not known.
async fn with_keys(
    source: &Arc<Source>,
    verify: impl Fn(&Keys, i64) -> Result<Known, Refusal>,
) -> Result<Known, Refusal> {
    let (keys, now) = (source.keys().await, jiff::Timestamp::now().as_second());
    let outcome = verify(&keys, now);
    if matches!(outcome, Err(Refusal::Untrusted(Untrusted::Unknown(_)) | Refusal::NoKeys))
        && let Some(newer) = source.other_than(&keys).await
    {
        return verify(&newer, now);
    }
    outcome
}

/// What a token says that one of these keys has signed, and until when it counts.
fn verified(token: &str, keys: &Keys, issuer: &str, audience: &str, now: i64) -> Result<(Vec<u8>, i64), Refusal> {
    let jws = Jws::parse(token, &Algorithm::ALL)?;
    // Keys that a token brings itself are a matter of registries and their issuers.
    if jws.jwk.is_some() {
        return Err(Untrusted::Unnamed.into());
    }
    if !keys.signer(&jws, now)?.key.has_signed(jws.algorithm, jws.signed, &jws.signature) {
        return Err(Refusal::Signature);
    }
    let until = Claims::parse(&jws.payload)?.check(issuer, audience, now)?;
    Ok((jws.payload, until))
}

/// Who says to have signed a token; none of what is no token. Nothing of it is believed.
fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Payload {
        iss: String,
    }
    #[derive(Deserialize)]
    struct Header {
        #[serde(rename = "alg")]
        _alg: String,
    }
    let mut parts = token.split('.');
    let (header, payload, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    serde_json::from_slice::<Header>(&decode(header)?).ok()?;
    Some(serde_json::from_slice::<Payload>(&decode(payload)?).ok()?.iss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_has_signed_it_and_a_password_does_not() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = |header: &str, payload: &str| format!("{}.{}.c2ln", part(header), part(payload));
        let jwt = token(r#"{"alg":"RS256"}"#, r#"{"iss":"https://id.example","sub":"x"}"#);
        assert_eq!(issuer_of(&jwt).as_deref(), Some("https://id.example"));
        for text in [
            "",
            "s3cr3t",
            "a.b.c",
            "..",
            &token(r#"{"alg":"RS256"}"#, "{}"),
            &token("{}", r#"{"iss":"x"}"#),
            &format!("{jwt}.x"),
            jwt.rsplit_once('.').unwrap().0,
        ] {
            assert_eq!(issuer_of(text), None, "{text}");
        }
    }
}
