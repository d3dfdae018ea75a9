//! [pure] A private key that signs tokens, as it is read from a file, and all that are published.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde::Serialize;
use serde_json::{Value, json};

use crate::jose::{Algorithm, Keys, PublicKey};

/// The most keys that are published: more than the operator makes.
const MAX_KEYS: usize = 256;

/// Why files hold no keys. It holds nothing of what they say.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    /// There is no key at all.
    #[error("there is no key in it; make one with `berth-registry create-key`")]
    None,
    /// There are too many.
    #[error("there are more than {MAX_KEYS} keys in it")]
    Many,
    /// A file holds no key that signs tokens.
    #[error(
        "{0}: it holds no private key (PEM) of ECDSA (P-256, P-384, P-521), Ed25519, or RSA with 2048 bits at least"
    )]
    Key(String),
    /// A certificate is of another key.
    #[error("{0}: the first certificate in it is of another key")]
    Certificate(String),
    /// It is not said which key signs.
    #[error("which of {} signs? Write one of the names into the file `current`", .0.join(", "))]
    Which(Vec<String>),
    /// The key that is to sign is not there.
    #[error("current: there is no private key {0:?}")]
    Current(String),
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key.
pub(crate) struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    public: PublicKey,
    kid: String,
    /// The certificates of the key, in Base64; its own first.
    chain: Vec<String>,
}

const CURVES: [(&EcdsaSigningAlgorithm, Algorithm); 3] = [
    (&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256),
    (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384),
    (&ECDSA_P521_SHA512_FIXED_SIGNING, Algorithm::ES512),
];

fn pair(der: &PrivateKeyDer<'_>) -> Option<(Pair, Algorithm)> {
    let of_curve = |read: &dyn Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>| {
        CURVES.iter().find_map(|(curve, algorithm)| Some((Pair::Ec(read(curve)?), *algorithm)))
    };
    match der {
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let ec = of_curve(&|curve| EcdsaKeyPair::from_pkcs8(curve, der).ok());
            let ed25519 = || Some((Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).ok()?), Algorithm::EdDSA));
            let rsa = || Some((Pair::Rsa(RsaKeyPair::from_pkcs8(der).ok()?), Algorithm::RS256));
            ec.or_else(ed25519).or_else(rsa)
        }
        PrivateKeyDer::Sec1(der) => {
            let der = der.secret_sec1_der();
            of_curve(&|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok())
        }
        PrivateKeyDer::Pkcs1(der) => {
            Some((Pair::Rsa(RsaKeyPair::from_der(der.secret_pkcs1_der()).ok()?), Algorithm::RS256))
        }
        _ => None,
    }
}

impl Pair {
    fn public(&self) -> Option<PublicKey> {
        let der: PublicKeyX509Der<'_> = match self {
            Pair::Rsa(pair) => pair.public_key().as_der().ok()?,
            Pair::Ec(pair) => pair.public_key().as_der().ok()?,
            Pair::Ed25519(pair) => pair.public_key().as_der().ok()?,
        };
        PublicKey::of_spki(der.as_ref()).ok()
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Pair::Ec(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl SigningKey {
    /// The private key of a file, with the certificates that stand behind it.
    fn of_pem(name: &str, pem: &[u8]) -> Result<Self, SigningError> {
        let unusable = || SigningError::Key(name.to_owned());
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable())?;
        let (pair, algorithm) = pair(&der).ok_or_else(unusable)?;
        let public = pair.public().ok_or_else(unusable)?;
        let mut chain = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| SigningError::Certificate(name.to_owned()))?;
            if chain.is_empty() && PublicKey::of_certificate(&certificate).ok().as_ref() != Some(&public) {
                return Err(SigningError::Certificate(name.to_owned()));
            }
            chain.push(STANDARD.encode(&certificate));
        }
        Ok(SigningKey { kid: public.name(), pair, algorithm, public, chain })
    }

    /// What the key is called: its thumbprint (RFC 7638).
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// A token with these claims; none if the key cannot sign, which the library says of no key that it has read.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm.name(), "kid": self.kid});
        if !self.chain.is_empty() {
            header["x5c"] = self.chain.clone().into();
        }
        let part = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
        let signed = format!("{}.{}", part(header.to_string().as_bytes()), part(&serde_json::to_vec(claims).ok()?));
        let signature = part(&self.pair.sign(signed.as_bytes())?);
        Some(format!("{signed}.{signature}"))
    }
}

/// The key that signs, and all by which tokens are believed.
pub(crate) struct Ring {
    pub(crate) signer: SigningKey,
    /// The name of its file.
    pub(crate) file: String,
    pub(crate) keys: Arc<Keys>,
    /// The set of public keys, as others fetch it.
    pub(crate) document: Bytes,
    /// What the keys are called; the one that signs first.
    pub(crate) names: Vec<String>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The keys of files, each with a name; `current` is the name of the one that signs. A file may hold a public key alone: one
/// that has signed, and does no more.
pub(crate) fn ring(files: &[(String, Vec<u8>)], current: Option<&str>) -> Result<Ring, SigningError> {
    if files.len() > MAX_KEYS {
        return Err(SigningError::Many);
    }
    let (mut private, mut public) = (Vec::new(), Vec::new());
    for (name, pem) in files {
        match SubjectPublicKeyInfoDer::from_pem_slice(pem) {
            Ok(der) => public.push(PublicKey::of_spki(&der).map_err(|_| SigningError::Key(name.clone()))?),
            Err(_) => private.push((name, SigningKey::of_pem(name, pem)?)),
        }
    }
    let at = match (current, &private[..]) {
        (_, []) => return Err(SigningError::None),
        (None, [_]) => 0,
        (None, several) => return Err(SigningError::Which(several.iter().map(|(name, _)| (*name).clone()).collect())),
        (Some(current), private) => {
            let at = private.iter().position(|(name, _)| *name == current);
            at.ok_or_else(|| SigningError::Current(current.to_owned()))?
        }
    };
    let (file, signer) = private.swap_remove(at);
    let file = file.clone();
    let mut published = vec![signer.public.clone()];
    for key in private.into_iter().map(|(_, key)| key.public).chain(public) {
        if !published.contains(&key) {
            published.push(key);
        }
    }
    let mut keys = Keys::default();
    for key in &published {
        keys.add(key.clone(), None);
    }
    let set: Vec<Value> = published.iter().map(PublicKey::jwk).collect();
    let names = published.iter().map(PublicKey::name).collect();
    let document = json!({ "keys": set }).to_string().into();
    Ok(Ring { signer, file, keys: keys.into(), document, names })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::jose::Jws;

    fn file(name: &str, pem: &str) -> (String, Vec<u8>) {
        (name.to_owned(), pem.as_bytes().to_vec())
    }

    fn made() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    fn verifies(ring: &Ring, token: &str, header_has: &str) {
        let jws = Jws::parse(token, &Algorithm::ALL).unwrap();
        let key = ring.keys.signer(&jws, 0).unwrap().key;
        assert!(key.has_signed(jws.algorithm, jws.signed, &jws.signature), "{header_has}");
        assert_eq!(jws.payload, br#"{"sub":"alice"}"#);
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header = String::from_utf8(header).unwrap();
        assert!(header.contains(header_has), "{header}");
        // Others know the key from the document.
        let mut keys = Keys::default();
        assert!(keys.add_set(&ring.document).unwrap().is_empty());
        assert!(keys.signer(&jws, 0).unwrap().key.has_signed(jws.algorithm, jws.signed, &jws.signature));
    }

    #[test]
    fn every_kind_of_key_signs_what_the_published_one_verifies() {
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap().serialize_pem();
        let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
        for (pem, algorithm) in [
            (made().serialize_pem(), "ES256"),
            (p384, "ES384"),
            (p521, "ES512"),
            (ed25519, "EdDSA"),
            (rsa, "RS256"),
            (include_str!("../../tests/data/issuer/sec1.pem").to_owned(), "ES256"),
            (include_str!("../../tests/data/issuer/pkcs1.pem").to_owned(), "RS256"),
        ] {
            let ring = ring(&[file("a", &pem)], None).unwrap();
            let token = ring.signer.sign(&json!({"sub": "alice"})).unwrap();
            verifies(&ring, &token, &format!(r#""alg":"{algorithm}","kid":"{}""#, ring.signer.kid()));
        }
    }

    #[test]
    fn a_certificate_goes_with_each_token() {
        let key = made();
        let certificate = CertificateParams::new(vec!["i.example".into()]).unwrap().self_signed(&key).unwrap();
        let pem = key.serialize_pem() + &certificate.pem();
        let with = ring(&[file("a", &pem)], None).unwrap();
        verifies(&with, &with.signer.sign(&json!({"sub": "alice"})).unwrap(), r#""x5c":["MII"#);
        let other = CertificateParams::new(vec!["i.example".into()]).unwrap().self_signed(&made()).unwrap();
        let refused = ring(&[file("a", &(key.serialize_pem() + &other.pem()))], None).unwrap_err();
        assert_eq!(refused, SigningError::Certificate("a".into()));
    }

    #[test]
    fn what_signed_before_is_published_and_signs_no_more() {
        let (old, new, oldest) = (made(), made(), made());
        let files = [
            file("new", &new.serialize_pem()),
            file("old", &old.serialize_pem()),
            file("oldest", &oldest.public_key_pem()),
        ];
        let before = ring(&files, Some("old")).unwrap();
        let after = ring(&files, Some("new")).unwrap();
        let token = before.signer.sign(&json!({"sub": "alice"})).unwrap();
        verifies(&after, &token, before.signer.kid());
        assert_ne!(before.signer.kid(), after.signer.kid());
        assert_eq!(after.names.len(), 3);
        assert_eq!((after.names[0].as_str(), before.names[0].as_str()), (after.signer.kid(), before.signer.kid()));
        let which = ring(&files, None).unwrap_err();
        assert_eq!(which, SigningError::Which(vec!["new".into(), "old".into()]));
        assert_eq!(ring(&files, Some("oldest")).unwrap_err(), SigningError::Current("oldest".into()));
        assert_eq!(ring(&files[2..], None).unwrap_err(), SigningError::None);
        assert_eq!(ring(&[], None).unwrap_err(), SigningError::None);
        assert!(ring(&files[1..], None).is_ok(), "the only private one");
        // The same key twice is one.
        let twice = [file("a", &new.serialize_pem()), file("b", &new.public_key_pem())];
        assert_eq!(ring(&twice, None).unwrap().names.len(), 1);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let short = include_str!("../../tests/data/issuer/rsa1024.pem");
        for pem in ["", "secret", short, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
            let refused = ring(&[file("k", pem)], None).unwrap_err();
            assert_eq!(refused, SigningError::Key("k".into()), "{pem}");
        }
        let many: Vec<_> = (0..=MAX_KEYS).map(|at| file(&at.to_string(), "")).collect();
        assert_eq!(ring(&many, None).unwrap_err(), SigningError::Many);
    }
}
