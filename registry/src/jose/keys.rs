//! [pure] The keys that tokens are believed by: certificates, which vouch for others, and keys by their names.
//!
//! A token says in its header which key has signed it, in one of three ways, as Distribution has them. None of them is
//! believed further than it can be checked:
//!
//! - `x5c`: the chain has to lead to a certificate of the bundle. Without a bundle it is passed over, and `kid` counts.
//! - `jwk`: the key itself. Its chain has to lead to the bundle; without a chain it has to be a key that is known, by its name
//!   or by what it is, and then the key that is known counts and not the one in the token.
//! - `kid`: the name of a key that is known.

use std::collections::HashMap;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::jws::{Jws, certificates};
use super::key::{Jwk, KeyError, PublicKey};

/// The most keys of a set.
const MAX_KEYS: usize = 1000;

/// Why no key can be believed to have signed a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untrusted {
    /// It names none.
    #[error("it names no key: neither x5c nor jwk nor kid")]
    Unnamed,
    /// It names one that is not known.
    #[error("its key, {0:?}, is not known")]
    Unknown(String),
    /// Its chain leads to none of the certificates of the bundle.
    #[error("its certificate is not believed: {0}")]
    Chain(String),
    /// The key in it cannot be used.
    #[error("its key cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// Why keys cannot be read. It holds nothing of what a file says but names.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysError {
    /// A certificate is none.
    #[error("certificate {0} cannot be read")]
    Certificate(usize),
    /// There is no certificate.
    #[error("there is no certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// The set is no set.
    #[error("it is no JSON Web Key Set: {0}")]
    Set(String),
    /// There is no key that could be used.
    #[error("there is no key in it that could sign a token{}", because(.0))]
    NoKey(Vec<String>),
    /// There are too many.
    #[error("it has more than {MAX_KEYS} keys")]
    Many,
}

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) }
}

/// A certificate of the bundle.
#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    /// When it counts, in seconds since 1970.
    begin: i64,
    end: i64,
    key: Option<Arc<PublicKey>>,
}

/// The keys that are believed.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    roots: Vec<Root>,
    by_name: HashMap<String, Arc<PublicKey>>,
    /// Who issues what these keys sign, where they were told.
    issuer: Option<String>,
}

/// The key that has signed a token if anybody has.
pub(crate) struct Signer {
    pub(crate) key: Arc<PublicKey>,
    /// When a certificate ends that vouches for it, in seconds since 1970.
    pub(crate) until: i64,
}

/// What was passed over when keys were read: what each is called, and why.
pub(crate) type PassedOver = Vec<String>;

/// A JSON Web Key Set (RFC 7517, 5).
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    /// None yet, of an issuer that is known or not.
    pub(crate) fn of_issuer(issuer: Option<String>) -> Self {
        Keys { issuer, ..Keys::default() }
    }

    /// Who issues what these keys sign, where they were told.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Adds the certificates of a bundle in PEM, and their keys by name.
    pub(crate) fn add_bundle(&mut self, pem: &[u8]) -> Result<PassedOver, KeysError> {
        let (mut passed_over, before) = (Vec::new(), self.roots.len());
        for (at, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let unreadable = || KeysError::Certificate(at + 1);
            let der = der.map_err(|_| unreadable())?;
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| unreadable())?;
            let validity = certificate.validity();
            let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
            let key = match PublicKey::of_spki(certificate.public_key().raw) {
                Ok(key) => Some(self.add(key, None)),
                Err(error) => {
                    passed_over.push(format!("certificate {}: {error}", at + 1));
                    None
                }
            };
            self.roots.push(Root { der, begin, end, key });
        }
        if self.roots.len() == before { Err(KeysError::NoCertificate) } else { Ok(passed_over) }
    }

    /// Adds the keys of a JSON Web Key Set. Those that can sign no token here are passed over (RFC 7517, 5).
    pub(crate) fn add_set(&mut self, json: &[u8]) -> Result<PassedOver, KeysError> {
        let Set { keys } = serde_json::from_slice(json).map_err(|error| KeysError::Set(error.to_string()))?;
        if keys.len() > MAX_KEYS {
            return Err(KeysError::Many);
        }
        let (mut passed_over, mut usable) = (Vec::new(), 0);
        for (at, key) in keys.into_iter().enumerate() {
            let kid = key["kid"].as_str().unwrap_or_default().to_owned();
            let called = if kid.is_empty() { format!("key {}", at + 1) } else { format!("key {kid:?}") };
            let read: Result<Jwk, _> = serde_json::from_value(key);
            let key = match read {
                Err(error) => Err(error.to_string()),
                // One that encrypts is nothing to be told of.
                Ok(jwk) if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") => continue,
                Ok(jwk) => PublicKey::of_jwk(&jwk).map_err(|error| error.to_string()),
            };
            match key {
                Ok(key) => {
                    self.add(key, Some(kid));
                    usable += 1;
                }
                Err(reason) => passed_over.push(format!("{called}: {reason}")),
            }
        }
        if usable == 0 { Err(KeysError::NoKey(passed_over)) } else { Ok(passed_over) }
    }

    /// Adds a key, by a name that its owner has for it where there is one.
    pub(crate) fn add(&mut self, key: PublicKey, kid: Option<String>) -> Arc<PublicKey> {
        let key = Arc::new(key);
        for name in key.names() {
            self.by_name.entry(name).or_insert_with(|| key.clone());
        }
        // What its owner calls it comes before what others would.
        if let Some(kid) = kid.filter(|kid| !kid.is_empty()) {
            self.by_name.insert(kid, key.clone());
        }
        key
    }

    /// How many keys are known by name, and how many certificates vouch for others.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let keys: std::collections::HashSet<_> = self.by_name.values().map(Arc::as_ptr).collect();
        (keys.len(), self.roots.len())
    }

    /// The key that has signed a token if anybody has who is believed; `now` in seconds since 1970.
    pub(crate) fn signer(&self, token: &Jws<'_>, now: i64) -> Result<Signer, Untrusted> {
        let known = |key| Signer { key, until: i64::MAX };
        if let Some(chain) = token.chain.as_ref().filter(|_| !self.roots.is_empty()) {
            return self.vouched(chain, now);
        }
        let by_name = |name: &str| self.by_name.get(name).cloned();
        match (&token.jwk, token.kid.as_deref()) {
            (Some(jwk), _) if !jwk.x5c.is_empty() => {
                let chain = certificates(&jwk.x5c).map_err(|error| Untrusted::Chain(error.to_string()))?;
                self.vouched(&chain, now)
            }
            (Some(jwk), _) => {
                let names = PublicKey::of_jwk(jwk)?.names();
                let found = by_name(&jwk.kid).or_else(|| names.iter().find_map(|name| by_name(name)));
                found.map(known).ok_or_else(|| Untrusted::Unknown(names.into_iter().next().unwrap_or_default()))
            }
            (None, Some(kid)) if !kid.is_empty() => {
                by_name(kid).map(known).ok_or_else(|| Untrusted::Unknown(kid.to_owned()))
            }
            (None, _) => Err(Untrusted::Unnamed),
        }
    }

    /// The key of a certificate that one of the bundle vouches for, or is.
    fn vouched(&self, chain: &[CertificateDer<'static>], now: i64) -> Result<Signer, Untrusted> {
        let refuse = |reason: &str| Untrusted::Chain(reason.to_owned());
        let (leaf, between) = chain.split_first().ok_or_else(|| refuse("there is none"))?;
        if let Some(root) = self.roots.iter().find(|root| root.der == *leaf) {
            let counts = (root.begin..=root.end).contains(&now);
            let key = root.key.clone().filter(|_| counts);
            let key = key.ok_or_else(|| refuse("it has ended, has not begun, or has a key of another kind"))?;
            return Ok(Signer { key, until: root.end });
        }
        let counting = || self.roots.iter().filter(|root| (root.begin..=root.end).contains(&now));
        let anchors: Vec<TrustAnchor<'_>> =
            counting().filter_map(|root| webpki::anchor_from_trusted_cert(&root.der).ok()).collect();
        let time = u64::try_from(now).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(time));
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| refuse(&error.to_string()))?;
        certificate
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, between, time, AnyUsage, None, None)
            .map_err(|error| refuse(&error.to_string()))?;
        let key = Arc::new(PublicKey::of_spki(&certificate.subject_public_key_info())?);
        // Which of them have vouched is not said: the first that ends is soon enough to look again.
        let ends = chain
            .iter()
            .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1.validity().not_after.timestamp()));
        Ok(Signer { key, until: ends.chain(counting().map(|root| root.end)).min().unwrap_or(now) })
    }
}

/// What the certificates are for is not asked, as Distribution does not: there is no usage of its own for tokens.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, mut usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        usages.try_for_each(|usage| usage.map(|_| ()))
    }
}
