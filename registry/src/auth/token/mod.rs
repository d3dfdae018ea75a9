//! `auth.token`: tokens that another service has signed (RFC 7519), as Distribution's specification of token authentication
//! describes them. Who has one may do what it says until it ends; nothing is asked of the service that issued it.

mod believed;
pub(crate) mod claims;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Uri, header};

use super::{Answer, AuthError, Authenticator, Challenge, Identity, Standing, quoted};
use crate::fetch::{Document, Trust};
use crate::issuer::Keyring;
pub use crate::jose::SourceError;
use crate::jose::{Algorithm, Jws, JwsError, Keys, Place, Remote, Source, Untrusted};
use believed::Believed;
use claims::{Claims, ClaimsError};

/// The keys of the configuration that say where keys of tokens are.
const BUNDLE: &str = "auth.token.rootcertbundle";
const SET: &str = "auth.token.jwks";
/// How much the log has of why a token is refused.
const MAX_TOLD_CHARACTERS: usize = 300;

/// What tokens have to be like, and where clients get them.
pub struct Token {
    settings: Settings,
    trusted: Trusted,
    believed: Believed,
}

/// Whose keys tokens are verified with.
enum Trusted {
    /// Those of another service.
    Others(Arc<Source>),
    /// Those of the issuer of this server.
    Own(Arc<Keyring>),
}

impl Trusted {
    async fn keys(&self) -> Arc<Keys> {
        match self {
            Trusted::Others(source) => source.keys().await,
            Trusted::Own(keyring) => keyring.keys().await,
        }
    }

    /// The keys after somebody was asked for one that is not among `known`; none if they are the same.
    async fn other_than(&self, known: &Arc<Keys>) -> Option<Arc<Keys>> {
        match self {
            Trusted::Others(source) => source.other_than(known).await,
            Trusted::Own(keyring) => Some(keyring.keys().await).filter(|keys| !Arc::ptr_eq(keys, known)),
        }
    }
}

/// What the configuration says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    realm: String,
    service: String,
    issuer: String,
    algorithms: Vec<Algorithm>,
    /// The path below which clients are sent to this registry's own address for a token; none if they are sent to the realm.
    redirect_path: Option<String>,
}

/// Settings that cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// No algorithm is left.
    #[error("auth.token.signingalgorithms: none of {} is for keys that others may know; name one of {}", .0.join(", "), known())]
    Symmetric(Vec<String>),
    /// An algorithm is none.
    #[error("auth.token.signingalgorithms: {:?} is none of {}", .0, known())]
    Algorithm(String),
    /// The address of the keys is none.
    #[error("auth.token.jwks: {0:?} is neither a file nor an address")]
    Address(String),
}

fn known() -> String {
    Algorithm::ALL.map(Algorithm::name).join(", ")
}

/// The algorithms of which Distribution knows the names, and which it takes no key for.
const SYMMETRIC: [&str; 3] = ["HS256", "HS384", "HS512"];

/// The algorithms of these names; all if there are none; pure.
fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, SettingsError> {
    if names.is_empty() {
        return Ok(Algorithm::ALL.to_vec());
    }
    let wanted: Vec<&String> = names.iter().filter(|name| !SYMMETRIC.contains(&name.as_str())).collect();
    if wanted.is_empty() {
        return Err(SettingsError::Symmetric(names.to_vec()));
    }
    let named = |name: &&String| Algorithm::named(name).ok_or_else(|| SettingsError::Algorithm((*name).clone()));
    wanted.iter().map(named).collect()
}

/// Where a set of keys is; pure.
fn place(text: &str, authorities: Option<&Path>) -> Result<Place, SettingsError> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Ok(Place::File(text.into()));
    }
    let address = text.parse::<Uri>().ok().filter(|address| address.host().is_some());
    let trust = authorities.map_or(Trust::System, |file| Trust::Also(file.to_owned()));
    let remote = |address| Place::Remote(Remote::Set(Document { trust, ..Document::new(SET, address) }).into());
    address.map(remote).ok_or_else(|| SettingsError::Address(text.to_owned()))
}

/// Checks settings without reading what they name.
pub(crate) fn check(token: &berth_config::Token) -> Result<(), SettingsError> {
    algorithms(&token.signingalgorithms)?;
    token.jwks.as_deref().map(|text| place(text, token.jwkscafile.as_deref())).transpose()?;
    Ok(())
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is none.
    #[error(transparent)]
    Form(#[from] JwsError),
    /// Nobody who is believed has signed it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Its signature is another's.
    #[error("its signature is not that of its key")]
    Signature,
    /// It is for somebody or for some time else.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}

/// Who a token is about, and until when it counts without another look, in seconds since 1970; pure.
fn verify(token: &str, settings: &Settings, keys: &Keys, now: i64) -> Result<(Identity, i64), Refusal> {
    let jws = Jws::parse(token, &settings.algorithms)?;
    let signer = keys.signer(&jws, now)?;
    if !signer.key.has_signed(jws.algorithm, jws.signed, &jws.signature) {
        return Err(Refusal::Signature);
    }
    let claims = Claims::parse(&jws.payload)?;
    let until = claims.check(&settings.issuer, &settings.service, now)?;
    let name = claims.sub.clone().unwrap_or_default();
    Ok((Identity::granted(&name, claims.grants()), until.min(signer.until)))
}

impl Token {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// When the settings cannot be followed, or a file of keys cannot be used.
    pub async fn open(token: berth_config::Token) -> anyhow::Result<Self> {
        let berth_config::Token {
            realm,
            service,
            issuer,
            rootcertbundle,
            jwks,
            jwkscafile,
            signingalgorithms,
            autoredirect,
            autoredirectpath,
        } = token;
        let symmetric: Vec<_> = signingalgorithms.iter().filter(|name| SYMMETRIC.contains(&name.as_str())).collect();
        if !symmetric.is_empty() {
            tracing::warn!(
                ?symmetric,
                "auth.token.signingalgorithms: no token is taken that is signed by a shared secret"
            );
        }
        let settings = Settings {
            realm,
            service,
            issuer,
            algorithms: algorithms(&signingalgorithms)?,
            redirect_path: autoredirect.then_some(autoredirectpath),
        };
        let set = jwks.as_deref().map(|text| place(text, jwkscafile.as_deref())).transpose()?;
        let bundle = rootcertbundle.map(|path| (BUNDLE, path));
        let source = Arc::new(Source::open(bundle, set.map(|set| (SET, set))).await?);
        Ok(Token { settings, trusted: Trusted::Others(source), believed: Believed::default() })
    }

    /// Tokens that the issuer of this server signs.
    pub(crate) fn of_issuer(issuer: &berth_config::Issuer, keyring: Arc<Keyring>) -> Self {
        let settings = Settings {
            realm: format!("{}/token", issuer.issuer),
            service: issuer.service.clone(),
            issuer: issuer.issuer.clone(),
            algorithms: Algorithm::ALL.to_vec(),
            redirect_path: issuer.autoredirect.then(|| format!("{}/token", issuer.path())),
        };
        Token { settings, trusted: Trusted::Own(keyring), believed: Believed::default() }
    }

    async fn believe(&self, token: &str) -> Result<Answer, AuthError> {
        let keys = self.trusted.keys().await;
        let now = jiff::Timestamp::now().as_second();
        let digest = Believed::digest(token);
        if let Some(identity) = self.believed.find(&digest, &keys, now) {
            return Ok(Answer::Known(identity));
        }
        let mut outcome = verify(token, &self.settings, &keys, now);
        let mut by = keys;
        if let Err(Refusal::Untrusted(Untrusted::Unknown(_))) = outcome
            && let Some(newer) = self.trusted.other_than(&by).await
        {
            outcome = verify(token, &self.settings, &newer, now);
            by = newer;
        }
        match outcome {
            Ok((identity, until)) => {
                self.believed.insert((digest, token.len()), &by, identity.clone(), now, until);
                Ok(Answer::Known(identity))
            }
            Err(_) if by.counts() == (0, 0) => Err(AuthError::NoKeys),
            Err(refusal) => {
                // It may hold what a stranger has written, at any length.
                let refusal: String = refusal.to_string().chars().take(MAX_TOLD_CHARACTERS).collect();
                tracing::info!(refusal, "a token was refused");
                Ok(Answer::BadCredentials)
            }
        }
    }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Where clients are sent that are to get a token at this registry's own address, as Distribution says it; pure.
fn own_realm(headers: &HeaderMap, host: &str, path: &str) -> String {
    let forwarded = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let scheme = forwarded.filter(|scheme| ["http", "https"].contains(scheme)).unwrap_or("https");
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}{slash}{path}")
}

#[async_trait]
impl Authenticator for Token {
    async fn authenticate(&self, headers: &HeaderMap, _: Option<IpAddr>) -> Result<Answer, AuthError> {
        match bearer(headers) {
            Some(token) => self.believe(token).await,
            None => Ok(Answer::NoCredentials),
        }
    }

    async fn standings(&self) -> Vec<Standing> {
        match &self.trusted {
            Trusted::Others(source) => vec![source.standing().await],
            Trusted::Own(_) => Vec::new(),
        }
    }

    fn challenge(&self, challenge: &Challenge<'_>) -> Option<String> {
        let Challenge { wanted, why, headers, host } = challenge;
        let realm = match &self.settings.redirect_path {
            Some(path) => own_realm(headers, host, path),
            None => self.settings.realm.clone(),
        };
        let mut text = format!("Bearer realm={},service={}", quoted(&realm), quoted(&self.settings.service));
        let scope = super::access::scopes(wanted);
        if !scope.is_empty() {
            text += &format!(",scope={}", quoted(&scope));
        }
        if let Some(error) = why.error() {
            text += &format!(",error={}", quoted(error));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests;
