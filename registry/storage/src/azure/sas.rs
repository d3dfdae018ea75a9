//! Shared access signatures: addresses that let whoever has them read one blob for some time.
//!
//! They are signed with the account's key; where only tokens are there, with a key that the service gives out for a day,
//! which is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::{QUERY, encode};
use crate::StoreError;

/// The version of the service that says what is signed, and how.
pub(super) const VERSION: &str = "2023-11-03";
/// For how long a key is asked for.
const KEY_VALIDITY: Duration = Duration::from_secs(24 * 3600);
/// How long nobody asks for a key after that has failed.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a key must be good for beyond the address that is signed with it.
const KEY_RESERVE: Duration = Duration::from_secs(5 * 60);

/// A key that the service has given out to sign with.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DelegationKey {
    signed_oid: String,
    signed_tid: String,
    signed_start: String,
    signed_expiry: String,
    signed_service: String,
    signed_version: String,
    value: String,
}

/// The key that was given out last.
#[derive(Default)]
pub(super) struct Delegation {
    kept: ArcSwapOption<DelegationKey>,
    /// Held by whoever asks for the next; when that has failed last.
    turn: Mutex<Option<Instant>>,
}

impl Delegation {
    /// A key that is good for so long, which `ask` gets from the service. None while another asks, and for a while after
    /// that has failed: nobody waits for what may never come, for there is another way to serve the blob.
    pub(super) async fn key<F>(&self, window: Window, ask: impl FnOnce(Window) -> F) -> Option<Arc<DelegationKey>>
    where
        F: Future<Output = Result<DelegationKey, StoreError>>,
    {
        let kept = || self.kept.load_full().filter(|key| window.is_covered_by(key));
        if let Some(key) = kept() {
            return Some(key);
        }
        let mut failed = self.turn.try_lock().ok()?;
        if let Some(key) = kept() {
            return Some(key);
        }
        if failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        match ask(window).await {
            Ok(key) => {
                let key = Arc::new(key);
                self.kept.store(Some(key.clone()));
                *failed = None;
                Some(key)
            }
            Err(error) => {
                tracing::warn!(driver = "azure", %error, "no signed addresses: blobs are sent by the registry itself");
                *failed = Some(Instant::now());
                None
            }
        }
    }
}

/// For what time a key must be good at the least to sign an address, and for what time one is asked for.
#[derive(Clone, Copy)]
pub(super) struct Window {
    needed: Timestamp,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Window {
    /// For an address that is good for so long.
    pub(super) fn of(now: Timestamp, validity: Duration) -> Self {
        let needed = later(now, validity + KEY_RESERVE);
        // A clock that is a little ahead must not make a key that is not good yet.
        Window { needed, start: earlier(now, KEY_RESERVE), end: later(needed, KEY_VALIDITY) }
    }

    /// Whether a key is good for it.
    pub(super) fn is_covered_by(&self, key: &DelegationKey) -> bool {
        key.signed_expiry.parse::<Timestamp>().is_ok_and(|expiry| expiry >= self.needed)
    }
}

/// What an address is signed with.
pub(super) enum Signer<'a> {
    /// The account's key.
    Account(&'a [u8]),
    /// A key that was given out.
    Delegated(&'a DelegationKey),
}

/// What an address allows to be read.
pub(super) struct Grant<'a> {
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    pub(super) blob: &'a str,
    pub(super) expires: Timestamp,
    /// Whether only over TLS.
    pub(super) encrypted: bool,
}

impl Grant<'_> {
    /// The query that makes the blob's address one that is signed.
    pub(super) fn sign(&self, signer: &Signer<'_>) -> Result<String, StoreError> {
        let expires = written(self.expires);
        let key = match signer {
            Signer::Account(key) => hmac::Key::new(hmac::HMAC_SHA256, key),
            Signer::Delegated(key) => {
                let invalid = |_| super::access::settings("credentials", "the service gave out a key that is none");
                hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&key.value).map_err(invalid)?)
            }
        };
        let signature = STANDARD.encode(hmac::sign(&key, self.text(signer, &expires).as_bytes()));
        let mut pairs = vec![("sv", VERSION), ("se", &expires), ("sr", "b"), ("sp", "r")];
        if self.encrypted {
            pairs.push(("spr", "https"));
        }
        if let Signer::Delegated(key) = signer {
            pairs.extend([
                ("skoid", key.signed_oid.as_str()),
                ("sktid", &key.signed_tid),
                ("skt", &key.signed_start),
                ("ske", &key.signed_expiry),
                ("sks", &key.signed_service),
                ("skv", &key.signed_version),
            ]);
        }
        pairs.push(("sig", &signature));
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value, QUERY))).collect();
        Ok(pairs.join("&"))
    }

    /// What is signed: a line for each thing that may be allowed, most of which are not used.
    fn text(&self, signer: &Signer<'_>, expires: &str) -> String {
        let Grant { account, container, blob, encrypted, expires: _ } = self;
        let protocol = if *encrypted { "https" } else { "" };
        let what = format!("/blob/{account}/{container}/{blob}");
        let mut lines = vec!["r", "", expires, &what];
        match signer {
            Signer::Account(_) => lines.push(""),
            Signer::Delegated(key) => lines.extend([
                key.signed_oid.as_str(),
                &key.signed_tid,
                &key.signed_start,
                &key.signed_expiry,
                &key.signed_service,
                &key.signed_version,
                "",
                "",
                "",
            ]),
        }
        lines.extend(["", protocol, VERSION, "b", "", "", "", "", "", "", ""]);
        lines.join("\n")
    }
}

/// The end of a time that begins now.
pub(super) fn later(start: Timestamp, time: Duration) -> Timestamp {
    start.checked_add(time).unwrap_or(Timestamp::MAX)
}

fn earlier(end: Timestamp, time: Duration) -> Timestamp {
    end.checked_sub(time).unwrap_or(Timestamp::MIN)
}

/// A time as the service wants it: whole seconds, in UTC.
pub(super) fn written(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(encrypted: bool) -> Grant<'static> {
        let expires = "2030-01-02T03:04:05.6Z".parse().unwrap();
        Grant { account: "acct", container: "box", blob: "a b/ü", expires, encrypted }
    }

    fn delegated(expiry: &str) -> DelegationKey {
        let body = format!(
            "<?xml version=\"1.0\"?><UserDelegationKey><SignedOid>oid</SignedOid><SignedTid>tid</SignedTid>\
             <SignedStart>2030-01-01T00:00:00Z</SignedStart><SignedExpiry>{expiry}</SignedExpiry>\
             <SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion><Value>a2V5</Value>\
             </UserDelegationKey>"
        );
        super::super::answer::xml(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_signed_with_the_account_s_key_is_what_the_service_says() {
        let text = grant(true).text(&Signer::Account(b"key"), "2030-01-02T03:04:05Z");
        let expected = "r\n\n2030-01-02T03:04:05Z\n/blob/acct/box/a b/ü\n\n\nhttps\n2023-11-03\nb\n\n\n\n\n\n\n";
        assert_eq!(text, expected);
        let query = grant(false).sign(&Signer::Account(b"key")).unwrap();
        let expected = "sv=2023-11-03&se=2030-01-02T03%3A04%3A05Z&sr=b&sp=r&sig=SIGNATURE";
        let (query, signature) = query.split_once("sig=").unwrap();
        assert_eq!(format!("{query}sig=SIGNATURE"), expected);
        assert_eq!(signature, "IlYQeSCdsMq1FvGdu1N0h8D7oYwbnuVjoNFpVNysCkQ%3D");
    }

    #[test]
    fn what_is_signed_with_a_key_that_was_given_out_is_what_the_service_says() {
        let key = delegated("2030-01-03T00:00:00Z");
        let text = grant(true).text(&Signer::Delegated(&key), "2030-01-02T03:04:05Z");
        let expected = "r\n\n2030-01-02T03:04:05Z\n/blob/acct/box/a b/ü\noid\ntid\n2030-01-01T00:00:00Z\n\
                        2030-01-03T00:00:00Z\nb\n2023-11-03\n\n\n\n\nhttps\n2023-11-03\nb\n\n\n\n\n\n\n";
        assert_eq!(text, expected);
        let query = grant(true).sign(&Signer::Delegated(&key)).unwrap();
        let expected = "sv=2023-11-03&se=2030-01-02T03%3A04%3A05Z&sr=b&sp=r&spr=https&skoid=oid&sktid=tid\
                        &skt=2030-01-01T00%3A00%3A00Z&ske=2030-01-03T00%3A00%3A00Z&sks=b&skv=2023-11-03&sig=";
        assert!(query.starts_with(expected), "{query}");
    }

    #[test]
    fn a_key_is_good_until_it_would_end_before_an_address() {
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let window = |hours: u64| Window::of(now, Duration::from_secs(hours * 3600));
        let key = delegated(&written(window(1).end));
        for (hours, expected) in [(0, true), (1, true), (25, true), (26, false)] {
            assert_eq!(window(hours).is_covered_by(&key), expected, "{hours}");
        }
        assert!(window(1).start < now);
    }
}
