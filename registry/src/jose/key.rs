//! [pure] Public keys that tokens are signed with: how they are read from a JSON Web Key (RFC 7517, RFC 7518, RFC 8037) or from
//! a certificate, what they are called, and whether one has signed something.
//!
//! A key verifies only the algorithms of its own kind, so a token cannot choose to have an RSA key taken for a shared secret;
//! there are no shared secrets here at all.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::libtrust;

/// The fewest bits of an RSA key: what a key of fewer has signed, others can sign as well.
const MIN_RSA_BITS: usize = 2048;

/// What a token may be signed with (RFC 7518, 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    pub(crate) const ALL: [Algorithm; 10] = {
        use Algorithm::*;
        [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA]
    };

    /// Its name in a token's header.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::ES512 => "ES512",
            Algorithm::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDSA => None,
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// Its kind is none that signs tokens.
    #[error("its kind, {0:?}, is none of RSA, EC and OKP")]
    Kind(String),
    /// The curve is none that is known.
    #[error("its curve, {0:?}, is none of P-256, P-384, P-521 and Ed25519")]
    Curve(String),
    /// A field is missing, or is not what it has to be.
    #[error("its field {0:?} is missing or malformed")]
    Field(&'static str),
    /// The key is too short.
    #[error("it has {0} bits, fewer than {MIN_RSA_BITS}")]
    Short(usize),
    /// A certificate holds another kind of key, or cannot be read.
    #[error("the certificate has no RSA, EC or Ed25519 key that can be read")]
    Certificate,
}

/// A JSON Web Key, as far as a public key is concerned. A field that is there twice is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Jwk {
    pub(crate) kty: String,
    pub(crate) kid: String,
    #[serde(rename = "use")]
    pub(crate) purpose: Option<String>,
    pub(crate) alg: Option<String>,
    pub(crate) crv: String,
    pub(crate) n: String,
    pub(crate) e: String,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) x5c: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    const fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    const fn coordinate_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Curve::P256 => Algorithm::ES256,
            Curve::P384 => Algorithm::ES384,
            Curve::P521 => Algorithm::ES512,
        }
    }

    const fn verifying(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    material: Material,
    /// The only algorithm that it is for, where its owner says so.
    only: Option<Algorithm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without zeros in front.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Both coordinates in their full length.
    Ec {
        curve: Curve,
        x: Vec<u8>,
        y: Vec<u8>,
    },
    Ed25519 {
        x: Vec<u8>,
    },
}

fn field(name: &'static str, text: &str) -> Result<Vec<u8>, KeyError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| KeyError::Field(name))?;
    if bytes.is_empty() { Err(KeyError::Field(name)) } else { Ok(bytes) }
}

fn stripped(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// A number in a fixed length. Some write coordinates without the zeros in front, which RFC 7518 (6.2.1.2) asks for.
fn padded(name: &'static str, bytes: &[u8], length: usize) -> Result<Vec<u8>, KeyError> {
    let digits = stripped(bytes);
    let zeros = length.checked_sub(digits.len()).ok_or(KeyError::Field(name))?;
    Ok([vec![0; zeros], digits.to_vec()].concat())
}

impl Material {
    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (stripped(n), stripped(e));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        match bits < MIN_RSA_BITS {
            true => Err(KeyError::Short(bits)),
            false => Ok(Material::Rsa { n: n.to_vec(), e: e.to_vec() }),
        }
    }

    fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let length = curve.coordinate_bytes();
        let (x, y) = (padded("x", x, length)?, padded("y", y, length)?);
        let material = Material::Ec { curve, x, y };
        // A point that is on no curve is no key.
        material.der().map(|_| material).ok_or(KeyError::Field("x"))
    }

    fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        if x.len() == 32 { Ok(Material::Ed25519 { x: x.to_vec() }) } else { Err(KeyError::Field("x")) }
    }

    /// A point on a curve, uncompressed (SEC 1, 2.3.3).
    fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
        [&[4], x, y].concat()
    }

    /// Its `SubjectPublicKeyInfo`, of the kinds that libtrust knows.
    fn der(&self) -> Option<Vec<u8>> {
        let parsed = match self {
            Material::Rsa { n, e } => {
                let components = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                components.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256).ok()?
            }
            Material::Ec { curve, x, y } => ParsedPublicKey::new(curve.verifying(), Self::point(x, y)).ok()?,
            Material::Ed25519 { .. } => return None,
        };
        Some(parsed.as_der().ok()?.as_ref().to_vec())
    }
}

/// The SHA-256 of a JSON Web Key in the form that RFC 7638 gives it.
fn thumbprint(canonical: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

impl PublicKey {
    /// The key that a JSON Web Key is.
    pub(crate) fn of_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let material = match (jwk.kty.as_str(), jwk.crv.as_str()) {
            ("RSA", _) => Material::rsa(&field("n", &jwk.n)?, &field("e", &jwk.e)?)?,
            ("EC", name) => {
                let curve = Curve::ALL.into_iter().find(|curve| curve.name() == name);
                let curve = curve.ok_or_else(|| KeyError::Curve(name.to_owned()))?;
                Material::ec(curve, &field("x", &jwk.x)?, &field("y", &jwk.y)?)?
            }
            ("OKP", "Ed25519") => Material::ed25519(&field("x", &jwk.x)?)?,
            ("OKP", name) => return Err(KeyError::Curve(name.to_owned())),
            (kind, _) => return Err(KeyError::Kind(kind.to_owned())),
        };
        let only = jwk.alg.as_deref().map(|name| Algorithm::named(name).ok_or(KeyError::Field("alg")));
        Ok(PublicKey { material, only: only.transpose()? })
    }

    /// The key of a `SubjectPublicKeyInfo` in DER.
    pub(crate) fn of_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Certificate)?;
        let kind = &info.algorithm.algorithm;
        let material = if *kind == OID_PKCS1_RSAENCRYPTION {
            let Ok(Parsed::RSA(key)) = info.parsed() else { return Err(KeyError::Certificate) };
            Material::rsa(key.modulus, key.exponent)?
        } else if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let named = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            let named = named.ok_or(KeyError::Certificate)?;
            let curves = [(OID_EC_P256, Curve::P256), (OID_NIST_EC_P384, Curve::P384), (OID_NIST_EC_P521, Curve::P521)];
            let curve = curves.into_iter().find(|(oid, _)| *oid == named).ok_or(KeyError::Certificate)?.1;
            let coordinates = info.subject_public_key.data.strip_prefix(&[4]).ok_or(KeyError::Certificate)?;
            let (x, y) = coordinates.split_at_checked(curve.coordinate_bytes()).ok_or(KeyError::Certificate)?;
            Material::ec(curve, x, y)?
        } else if *kind == OID_SIG_ED25519 {
            Material::ed25519(&info.subject_public_key.data)?
        } else {
            return Err(KeyError::Certificate);
        };
        Ok(PublicKey { material, only: None })
    }

    /// The key of a certificate in DER.
    pub(crate) fn of_certificate(der: &[u8]) -> Result<Self, KeyError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| KeyError::Certificate)?;
        Self::of_spki(certificate.public_key().raw)
    }

    /// Its thumbprint (RFC 7638).
    pub(crate) fn name(&self) -> String {
        self.names().swap_remove(0)
    }

    /// The key as others fetch it (RFC 7517), under its thumbprint.
    pub(crate) fn jwk(&self) -> serde_json::Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.material {
            Material::Rsa { n, e } => json!({"kty": "RSA", "n": text(n), "e": text(e)}),
            Material::Ec { curve, x, y } => json!({"kty": "EC", "crv": curve.name(), "x": text(x), "y": text(y)}),
            Material::Ed25519 { x } => json!({"kty": "OKP", "crv": "Ed25519", "x": text(x)}),
        };
        let algorithm = self.only.unwrap_or(match &self.material {
            Material::Rsa { .. } => Algorithm::RS256,
            Material::Ec { curve, .. } => curve.algorithm(),
            Material::Ed25519 { .. } => Algorithm::EdDSA,
        });
        jwk["use"] = "sig".into();
        jwk["alg"] = algorithm.name().into();
        jwk["kid"] = self.name().into();
        jwk
    }

    /// What the key is called: by RFC 7638, by CNCF Distribution, which leaves out zeros in front of a coordinate, and by
    /// libtrust.
    pub(crate) fn names(&self) -> Vec<String> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut names = match &self.material {
            Material::Rsa { n, e } => {
                vec![thumbprint(&format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)))]
            }
            Material::Ec { curve, x, y } => {
                let named = |x: &[u8], y: &[u8]| {
                    let (curve, x, y) = (curve.name(), text(x), text(y));
                    thumbprint(&format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#))
                };
                vec![named(x, y), named(stripped(x), stripped(y))]
            }
            Material::Ed25519 { x } => {
                vec![thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x)))]
            }
        };
        names.dedup();
        names.extend(self.material.der().map(|der| libtrust::key_id(&der)));
        names
    }

    /// Whether the key is for this algorithm and has signed this.
    pub(crate) fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa { n, e } => algorithm.rsa().is_some_and(|parameters| {
                let key = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                key.verify(parameters, signed, signature).is_ok()
            }),
            Material::Ec { curve, x, y } => {
                let key = UnparsedPublicKey::new(curve.verifying(), Material::point(x, y));
                curve.algorithm() == algorithm && key.verify(signed, signature).is_ok()
            }
            Material::Ed25519 { x } => {
                algorithm == Algorithm::EdDSA
                    && UnparsedPublicKey::new(&signature::ED25519, x).verify(signed, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwk(text: &str) -> Jwk {
        serde_json::from_str(text).unwrap()
    }

    /// The key of RFC 7638, 3.1.
    const RSA: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;

    /// The key of RFC 8037, A.2 and A.3.
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn keys_are_called_what_the_specifications_call_them() {
        let key = PublicKey::of_jwk(&jwk(RSA)).unwrap();
        assert_eq!(key.names()[0], "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let key = PublicKey::of_jwk(&jwk(ED25519)).unwrap();
        assert_eq!(key.names(), ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]);
    }

    /// RFC 8037, A.4.
    #[test]
    fn the_signature_of_rfc_8037_verifies_and_no_other() {
        let key = PublicKey::of_jwk(&jwk(ED25519)).unwrap();
        let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();
        assert!(key.has_signed(Algorithm::EdDSA, signed, &signature));
        assert!(!key.has_signed(Algorithm::EdDSA, &signed[1..], &signature));
        assert!(!key.has_signed(Algorithm::ES256, signed, &signature));
    }

    /// RFC 7515, A.3: ES256.
    #[test]
    fn the_signature_of_rfc_7515_verifies() {
        let key = jwk(
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        );
        let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = URL_SAFE_NO_PAD
            .decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
            .unwrap();
        let key_of =
            |alg: Option<&str>| PublicKey::of_jwk(&Jwk { alg: alg.map(str::to_owned), ..key.clone() }).unwrap();
        assert!(key_of(None).has_signed(Algorithm::ES256, signed, &signature));
        assert!(key_of(Some("ES256")).has_signed(Algorithm::ES256, signed, &signature));
        assert!(!key_of(Some("ES384")).has_signed(Algorithm::ES256, signed, &signature), "it is for another");
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        for (text, expected) in [
            (r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}"#, KeyError::Kind("oct".into())),
            (r#"{}"#, KeyError::Kind(String::new())),
            (r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#, KeyError::Curve("secp256k1".into())),
            (r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#, KeyError::Curve("X25519".into())),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#, KeyError::Field("x")),
            (r#"{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}"#, KeyError::Field("x")),
            (r#"{"kty":"EC","crv":"P-256","x":"*","y":"AQ"}"#, KeyError::Field("x")),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, KeyError::Short(17)),
            (r#"{"kty":"RSA","n":"","e":"AQAB"}"#, KeyError::Field("n")),
        ] {
            assert_eq!(PublicKey::of_jwk(&jwk(text)).unwrap_err(), expected, "{text}");
        }
        assert!(serde_json::from_str::<Jwk>(r#"{"kty":"RSA","kty":"EC"}"#).is_err(), "a field twice");
    }

    proptest::proptest! {
        #[test]
        fn no_certificate_makes_the_reader_panic(der: Vec<u8>) {
            let _ = PublicKey::of_spki(&der);
        }
    }
}
