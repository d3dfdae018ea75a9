//! Keys of schema 1 signatures: those in a pushed document, and the one that this registry signs with. They are named as
//! libtrust does it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, ParsedPublicKey, RsaKeyPair, RsaParameters};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::jws::BASE64;
use crate::libtrust;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A signature has neither `jwk` nor `x5c`.
    #[error("there is none")]
    Missing,
    /// The algorithm is none that libtrust signs with.
    #[error("algorithm {0:?} is not one of ES256, ES384, ES512, RS256, RS384, RS512")]
    Algorithm(String),
    /// A field that the key needs is missing or is not Base64.
    #[error("field {0:?} of the key is missing or malformed")]
    Field(&'static str),
    /// The key is not one for the algorithm.
    #[error("it is not a key for {0}")]
    Rejected(String),
    /// The name that the key gives itself is another's.
    #[error("its kid does not name it")]
    Id,
    /// The first certificate cannot be read.
    #[error("the first certificate of x5c cannot be read")]
    Certificate,
}

/// A JSON Web Key (RFC 7517), its fields in the order in which libtrust writes them. Private parts are read, for the key
/// that the registry signs with, and never written.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Jwk {
    #[serde(skip_serializing_if = "String::is_empty")]
    crv: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    e: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kid: String,
    kty: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    n: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    x: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    y: String,
    #[serde(skip_serializing)]
    d: String,
    #[serde(skip_serializing)]
    p: String,
    #[serde(skip_serializing)]
    q: String,
    #[serde(skip_serializing)]
    dp: String,
    #[serde(skip_serializing)]
    dq: String,
    #[serde(skip_serializing)]
    qi: String,
}

impl Jwk {
    /// The bytes of a field.
    fn field(name: &'static str, text: &str) -> Result<Vec<u8>, KeyError> {
        let bytes = BASE64.decode(text).map_err(|_| KeyError::Field(name))?;
        if bytes.is_empty() { Err(KeyError::Field(name)) } else { Ok(bytes) }
    }

    /// A point on a curve, uncompressed (SEC 1, 2.3.3).
    fn point(&self) -> Result<Vec<u8>, KeyError> {
        Ok([vec![4], Self::field("x", &self.x)?, Self::field("y", &self.y)?].concat())
    }

    fn rsa(&self) -> Result<PublicKeyComponents<Vec<u8>>, KeyError> {
        Ok(PublicKeyComponents { n: Self::field("n", &self.n)?, e: Self::field("e", &self.e)? })
    }
}

/// One of the curves of libtrust.
#[derive(Clone, Copy)]
struct Curve {
    name: &'static str,
    algorithm: &'static str,
    coordinate_bytes: usize,
    signing: &'static signature::EcdsaSigningAlgorithm,
    verifying: &'static signature::EcdsaVerificationAlgorithm,
}

const CURVES: [Curve; 3] = [
    Curve {
        name: "P-256",
        algorithm: "ES256",
        coordinate_bytes: 32,
        signing: &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        verifying: &signature::ECDSA_P256_SHA256_FIXED,
    },
    Curve {
        name: "P-384",
        algorithm: "ES384",
        coordinate_bytes: 48,
        signing: &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        verifying: &signature::ECDSA_P384_SHA384_FIXED,
    },
    Curve {
        name: "P-521",
        algorithm: "ES512",
        coordinate_bytes: 66,
        signing: &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        verifying: &signature::ECDSA_P521_SHA512_FIXED,
    },
];

fn curve(algorithm: &str) -> Option<&'static Curve> {
    CURVES.iter().find(|curve| curve.algorithm == algorithm)
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    match algorithm {
        "RS256" => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

/// A public key, bound to the algorithm that a signature says.
pub(super) struct PublicKey(ParsedPublicKey);

impl PublicKey {
    pub(super) fn of_jwk(jwk: &Jwk, algorithm: &str) -> Result<Self, KeyError> {
        let rejected = |_| KeyError::Rejected(algorithm.to_owned());
        let key = match (jwk.kty.as_str(), curve(algorithm), rsa(algorithm)) {
            ("EC", Some(curve), _) if curve.name == jwk.crv => {
                ParsedPublicKey::new(curve.verifying, jwk.point()?).map_err(rejected)?
            }
            ("RSA", _, Some(parameters)) => jwk.rsa()?.to_parsed_public_key(parameters).map_err(rejected)?,
            (_, None, None) => return Err(KeyError::Algorithm(algorithm.to_owned())),
            _ => return Err(KeyError::Rejected(algorithm.to_owned())),
        };
        if !jwk.kid.is_empty() && jwk.kid != key_id(&key)? {
            return Err(KeyError::Id);
        }
        Ok(PublicKey(key))
    }

    /// The key of a certificate in (standard) Base64, as `x5c` has it.
    pub(super) fn of_certificate(certificate: &str, algorithm: &str) -> Result<Self, KeyError> {
        let verifying: &'static dyn signature::VerificationAlgorithm = match (curve(algorithm), rsa(algorithm)) {
            (Some(curve), _) => curve.verifying,
            (_, Some(parameters)) => parameters,
            (None, None) => return Err(KeyError::Algorithm(algorithm.to_owned())),
        };
        let der = STANDARD.decode(certificate).map_err(|_| KeyError::Certificate)?;
        let der = CertificateDer::from(der);
        let certificate = webpki::EndEntityCert::try_from(&der).map_err(|_| KeyError::Certificate)?;
        let key = ParsedPublicKey::new(verifying, certificate.subject_public_key_info());
        key.map(PublicKey).map_err(|_| KeyError::Rejected(algorithm.to_owned()))
    }

    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(signed, signature).is_ok()
    }
}

/// How libtrust names a key.
fn key_id(key: &ParsedPublicKey) -> Result<String, KeyError> {
    let der = key.as_der().map_err(|_| KeyError::Field("kid"))?;
    Ok(libtrust::key_id(der.as_ref()))
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// The key that this registry signs schema 1 manifests with when it serves them.
pub struct TrustKey {
    pair: Pair,
    algorithm: &'static str,
    /// Its public part only.
    jwk: Jwk,
}

impl fmt::Debug for TrustKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustKey({})", self.jwk.kid)
    }
}

/// What signs schema 1 manifests when they are served.
///
/// Without a configured key, one is made when it is first needed: making it takes tens of milliseconds, the most of a start,
/// and hardly a registry still serves such a manifest.
#[derive(Debug, Default)]
pub struct Signer {
    key: OnceLock<TrustKey>,
}

impl Signer {
    /// The key to sign with.
    ///
    /// # Errors
    /// [`TrustKeyError::Generate`].
    pub fn key(&self) -> Result<&TrustKey, TrustKeyError> {
        match self.key.get() {
            Some(key) => Ok(key),
            None => {
                let made = TrustKey::generate()?;
                Ok(self.key.get_or_init(|| made))
            }
        }
    }
}

impl From<TrustKey> for Signer {
    fn from(key: TrustKey) -> Self {
        Self { key: key.into() }
    }
}

/// Why there is no key to sign with: mostly, why `compatibility.schema1.signingkeyfile` cannot be used. What the file holds
/// is not said.
#[derive(Debug, thiserror::Error)]
pub enum TrustKeyError {
    /// The file cannot be read.
    #[error("compatibility.schema1.signingkeyfile: cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file holds no private key in one of the forms of libtrust.
    #[error(
        "compatibility.schema1.signingkeyfile: {} holds neither a private JSON Web Key (.json, .jwk) nor one in PEM (EC \
         PRIVATE KEY, RSA PRIVATE KEY), of P-256, P-384, P-521 or RSA from 2048 bits",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made.
    #[error("cannot make a key to sign schema 1 manifests with")]
    Generate,
}

impl TrustKey {
    /// A new key for as long as the process lives, as Distribution makes one without a configured key.
    ///
    /// # Errors
    /// [`TrustKeyError::Generate`].
    pub fn generate() -> Result<Self, TrustKeyError> {
        let curve = &CURVES[0];
        let pair = EcdsaKeyPair::generate(curve.signing).map_err(|_| TrustKeyError::Generate)?;
        TrustKey::of_ec(curve, pair).ok_or(TrustKeyError::Generate)
    }

    /// The key in a file, in one of the forms of libtrust: a JSON Web Key if the name ends in `.json` or `.jwk`, else PEM.
    ///
    /// # Errors
    /// [`TrustKeyError`], which names the file.
    pub fn read(path: &Path) -> Result<Self, TrustKeyError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TrustKeyError::Read { path: path.to_path_buf(), source })?;
        let is_json = path.extension().is_some_and(|extension| extension == "json" || extension == "jwk");
        let key = if is_json { TrustKey::of_jwk(&text) } else { TrustKey::of_pem(&text) };
        key.ok_or_else(|| TrustKeyError::Form { path: path.to_path_buf() })
    }

    fn of_jwk(text: &str) -> Option<Self> {
        let jwk: Jwk = serde_json::from_str(text).ok()?;
        let field = |text: &str| BASE64.decode(text).ok();
        if jwk.kty == "RSA" {
            let components = KeyPairComponents {
                public_key: jwk.rsa().ok()?,
                d: field(&jwk.d)?,
                p: field(&jwk.p)?,
                q: field(&jwk.q)?,
                dP: field(&jwk.dp)?,
                dQ: field(&jwk.dq)?,
                qInv: field(&jwk.qi)?,
            };
            return TrustKey::of_rsa(RsaKeyPair::from_components(&components).ok()?);
        }
        let curve = CURVES.iter().find(|curve| curve.name == jwk.crv)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, &field(&jwk.d)?, &jwk.point().ok()?);
        TrustKey::of_ec(curve, pair.ok()?)
    }

    fn of_pem(text: &str) -> Option<Self> {
        if let Some(der) = pem(text, "RSA PRIVATE KEY") {
            return TrustKey::of_rsa(RsaKeyPair::from_der(&der).ok()?);
        }
        let der = pem(text, "EC PRIVATE KEY")?;
        let pairs = CURVES.iter().map(|curve| (curve, EcdsaKeyPair::from_private_key_der(curve.signing, &der)));
        let (curve, pair) = pairs.into_iter().find_map(|(curve, pair)| Some((curve, pair.ok()?)))?;
        TrustKey::of_ec(curve, pair)
    }

    fn of_ec(curve: &Curve, pair: EcdsaKeyPair) -> Option<Self> {
        let public = ParsedPublicKey::new(curve.verifying, pair.public_key()).ok()?;
        let coordinates = pair.public_key().as_ref().strip_prefix(&[4])?;
        let (x, y) = coordinates.split_at_checked(curve.coordinate_bytes)?;
        let jwk = Jwk {
            crv: curve.name.to_owned(),
            kid: key_id(&public).ok()?,
            kty: "EC".to_owned(),
            x: BASE64.encode(x),
            y: BASE64.encode(y),
            ..Jwk::default()
        };
        Some(TrustKey { pair: Pair::Ec(pair), algorithm: curve.algorithm, jwk })
    }

    fn of_rsa(pair: RsaKeyPair) -> Option<Self> {
        let public = ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, pair.public_key()).ok()?;
        let components = pair.public_key();
        let jwk = Jwk {
            e: BASE64.encode(components.exponent().big_endian_without_leading_zero()),
            kid: key_id(&public).ok()?,
            kty: "RSA".to_owned(),
            n: BASE64.encode(components.modulus().big_endian_without_leading_zero()),
            ..Jwk::default()
        };
        Some(TrustKey { pair: Pair::Rsa(pair), algorithm: "RS256", jwk })
    }

    pub(super) fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    pub(super) fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// A signature in the form of a JSON Web Signature (RFC 7518, 3.3 and 3.4).
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&random, text)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, text, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

/// The bytes of a PEM block (RFC 1421). libtrust writes headers into it, which end with an empty line.
fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (block, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let block = block.replace('\r', "");
    let body = if block.contains(':') { block.split_once("\n\n")?.1 } else { block.as_str() };
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}
