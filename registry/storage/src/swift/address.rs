//! Temporary addresses: good for one object and some time, signed with a key that the container or the account has.
//!
//! A key of the settings is given to the store where it does not have it. It goes where no key is, or else in the place of
//! the second: the first may be docker-registry's, or that of addresses which are still good. Without a key in the
//! settings the store's own is used, which docker-registry makes up where there is none; it is not made up here, since of
//! several replicas that do so at once all but one would sign in vain. The store is asked again every few minutes, for its
//! keys may be replaced.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::Inner;
use super::credentials::Secrets;
use super::info::{Digest, Temporary};
use super::wire::{Ask, decoded, encoded, encoded_part};
use crate::{Key, StoreError};

/// How long nobody asks the store for its key after that has failed.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a key is believed to be the store's. Others may replace it, and then no address that it signs is any good.
const BELIEVED: Duration = Duration::from_secs(5 * 60);

/// The key that signs, and what it was settled for.
#[derive(Clone)]
pub(super) struct Settled {
    /// The key of the settings at that time.
    wanted: Option<String>,
    /// The key that the store knows; none if it has none.
    key: Option<String>,
    /// When the store was asked.
    at: Instant,
}

impl fmt::Debug for Settled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Settled")
    }
}

impl Settled {
    /// Whether there is a key.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether it holds for these credentials without asking the store again.
    fn is_of(&self, secrets: &Secrets) -> bool {
        self.wanted == secrets.secret_key && self.at.elapsed() < BELIEVED
    }

    /// The same as if the store had been asked long ago.
    #[cfg(test)]
    pub(super) fn aged(&self) -> Self {
        Settled { at: self.at.checked_sub(BELIEVED).unwrap_or(self.at), ..self.clone() }
    }
}

/// What is to be done about the store's keys.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// This key signs, or none does.
    Use(Option<String>),
    /// The settings' key is given to the store, as its first or second.
    Give(&'static str),
}

/// Decides it. `first` and `second` are the keys that the store has.
fn plan(wanted: Option<&str>, first: Option<&str>, second: Option<&str>) -> Plan {
    match wanted {
        None => Plan::Use(first.or(second).map(str::to_owned)),
        Some(wanted) if first == Some(wanted) || second == Some(wanted) => Plan::Use(Some(wanted.to_owned())),
        Some(_) if first.is_none() => Plan::Give("key"),
        Some(_) => Plan::Give("key-2"),
    }
}

impl Inner {
    /// The address of an object, good until a moment.
    pub(super) async fn address(&self, key: &Key, end: SystemTime) -> Result<Option<String>, StoreError> {
        // Nothing is known of the cluster yet, or it has no such addresses.
        let Some(temporary) = self.info.get().and_then(|info| info.temporary) else { return Ok(None) };
        let secrets = self.credentials.recent().await;
        let Some(secret) = self.signing_key(temporary, &secrets).await? else { return Ok(None) };
        let session = self.sessions.current().await?;
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let path = format!("{}/{}", self.container, self.root.name(key));
        let named = secrets.access_key.as_deref().map(|access| (session.tenant.as_deref().unwrap_or_default(), access));
        Ok(address(&session.storage, self.redirect_endpoint.as_deref(), &path, temporary.digest, &secret, named, end))
    }

    async fn signing_key(&self, temporary: Temporary, secrets: &Secrets) -> Result<Option<String>, StoreError> {
        let settled = self.settled.load_full();
        if let Some(settled) = settled.as_deref().filter(|settled| settled.is_of(secrets)) {
            return Ok(settled.key.clone());
        }
        // One asks for all. The old key stays in use meanwhile, where there is one.
        let mut turn = match (self.settling.try_lock(), &settled) {
            (Ok(turn), _) => turn,
            (Err(_), Some(settled)) => return Ok(settled.key.clone()),
            (Err(_), None) => self.settling.lock().await,
        };
        let old = self.settled.load_full();
        if let Some(settled) = old.as_deref().filter(|settled| settled.is_of(secrets)) {
            return Ok(settled.key.clone());
        }
        if turn.is_some_and(|failed: Instant| failed + PAUSE > Instant::now()) {
            return Ok(old.and_then(|old| old.key.clone()));
        }
        match self.settle(temporary, secrets).await {
            Ok(settled) => {
                *turn = None;
                Ok(settled.key.clone())
            }
            Err(error) => {
                *turn = Some(Instant::now());
                tracing::warn!(driver = "swift", %error, "cannot settle the key of temporary addresses");
                Ok(old.and_then(|old| old.key.clone()))
            }
        }
    }

    /// Finds the key that signs, and gives the settings' to the store if it does not have it.
    pub(super) async fn settle(&self, temporary: Temporary, secrets: &Secrets) -> Result<Arc<Settled>, StoreError> {
        const ACTION: &str = "see to the key of temporary addresses";
        let (path, first, second) = match temporary.container_key {
            true => (self.container_path(), "x-container-meta-temp-url-key", "x-container-meta-temp-url-key-2"),
            false => (String::new(), "x-account-meta-temp-url-key", "x-account-meta-temp-url-key-2"),
        };
        let look = self.send(&Ask::new(Method::HEAD, path.clone(), ACTION, &self.place)).await?;
        let (has_first, has_second) = (of(look.headers(), first), of(look.headers(), second));
        drop(look);
        let key = match plan(secrets.secret_key.as_deref(), has_first.as_deref(), has_second.as_deref()) {
            Plan::Use(key) => key,
            Plan::Give(place) => {
                let name = if place == "key" { first } else { second };
                let secret = secrets.secret_key.clone().unwrap_or_default();
                let ask = Ask::new(Method::POST, path, ACTION, &self.place).header(name, secret.clone());
                let given = self.send(&ask.known(&[StatusCode::FORBIDDEN])).await?;
                if !given.status().is_success() {
                    // Who may not see or set the key has it from somebody who did.
                    tracing::info!(driver = "swift", "may not set the key of temporary addresses; it is taken for set");
                }
                Some(secret)
            }
        };
        let settled = Arc::new(Settled { wanted: secrets.secret_key.clone(), key, at: Instant::now() });
        self.settled.store(Some(settled.clone()));
        Ok(settled)
    }
}

fn of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned()).filter(|value| !value.is_empty())
}

/// A signed address of what lies under `path`, a container and a name, at an account. None if the account's address is none.
fn address(
    storage: &str,
    endpoint: Option<&str>,
    path: &str,
    digest: Digest,
    secret: &str,
    named: Option<(&str, &str)>,
    end: u64,
) -> Option<String> {
    let (_, behind) = storage.split_once("://")?;
    let account = behind.find('/').map_or("", |slash| &behind[slash..]);
    let origin = endpoint.map_or(&storage[..storage.len() - account.len()], |endpoint| endpoint.trim_end_matches('/'));
    let mut signature = sign(digest, secret, &format!("GET\n{end}\n{}/{path}", decoded(account)));
    if let Some((tenant, access)) = named {
        signature = format!("{tenant}:{access}:{signature}");
    }
    let signature = encoded_part(&signature);
    Some(format!("{origin}{account}/{}?temp_url_sig={signature}&temp_url_expires={end}", encoded(path)))
}

/// The signature of a text.
fn sign(digest: Digest, secret: &str, text: &str) -> String {
    let sign = |algorithm| hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), text.as_bytes());
    let hex = |tag: hmac::Tag| tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    match digest {
        Digest::Sha1 => hex(sign(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY)),
        Digest::Sha256 => hex(sign(hmac::HMAC_SHA256)),
        Digest::Sha512 => format!("sha512:{}", URL_SAFE.encode(sign(hmac::HMAC_SHA512))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_swifts_documentation() {
        let text = |end: u64| format!("GET\n{end}\n/v1/AUTH_account/container/object");
        assert_eq!(
            sign(Digest::Sha256, "mykey", &text(1_512_508_563)),
            "732fcac368abb10c78a4cbe95c3fab7f311584532bf779abd5074e13cbe8b88b"
        );
        assert_eq!(
            sign(Digest::Sha512, "mykey", &text(1_516_741_234)),
            "sha512:ZrSijn0GyDhsv1ltIj9hWUTrbAeE45NcKXyBaz7aPbSMvROQ4jtYH4nRAmm5ErY2X11Yc1Yhy2OMCyN3yueeXg=="
        );
    }

    #[test]
    fn an_older_signature_is_that_of_rfc_2202() {
        let signature = sign(Digest::Sha1, "Jefe", "what do ya want for nothing?");
        assert_eq!(signature, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    #[test]
    fn an_address_leads_to_the_object() {
        let signed = |storage: &str, endpoint: Option<&str>, named| {
            address(storage, endpoint, "container/object", Digest::Sha256, "mykey", named, 1_512_508_563)
        };
        let signature = "732fcac368abb10c78a4cbe95c3fab7f311584532bf779abd5074e13cbe8b88b";
        let rest = format!("/v1/AUTH_account/container/object?temp_url_sig={signature}&temp_url_expires=1512508563");
        let storage = "http://swift.example:8080/v1/AUTH_account";
        assert_eq!(signed(storage, None, None), Some(format!("http://swift.example:8080{rest}")));
        let other = signed(storage, Some("https://cdn.example/"), None);
        assert_eq!(other, Some(format!("https://cdn.example{rest}")));
        let named = signed(storage, None, Some(("7", "name"))).unwrap();
        assert!(named.contains(&format!("?temp_url_sig=7%3Aname%3A{signature}&")), "{named}");
        assert_eq!(signed("nowhere", None, None), None);
        // What is signed is the plain path, whatever stands in the address.
        let odd = address("http://a/v1/AUTH_%C3%A4", None, "c/x y", Digest::Sha1, "k", None, 7).unwrap();
        let signature = sign(Digest::Sha1, "k", "GET\n7\n/v1/AUTH_ä/c/x y");
        assert_eq!(odd, format!("http://a/v1/AUTH_%C3%A4/c/x%20y?temp_url_sig={signature}&temp_url_expires=7"));
    }

    #[test]
    fn keys_of_others_are_left_alone() {
        let give = Plan::Give;
        let used = |key: &str| Plan::Use(Some(key.to_owned()));
        assert_eq!(plan(None, None, None), Plan::Use(None));
        assert_eq!(plan(None, Some("a"), Some("b")), used("a"));
        assert_eq!(plan(None, None, Some("b")), used("b"));
        assert_eq!(plan(Some("w"), None, None), give("key"));
        assert_eq!(plan(Some("w"), Some("w"), None), used("w"));
        assert_eq!(plan(Some("w"), Some("a"), Some("w")), used("w"));
        assert_eq!(plan(Some("w"), Some("a"), None), give("key-2"));
        assert_eq!(plan(Some("w"), Some("a"), Some("b")), give("key-2"));
    }
}
