//! Keys themselves: ECDSA on P-256, made by the operating system's randomness, as PEM.

use aws_lc_rs::{
    encoding::AsDer as _,
    error::Unspecified,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use sha2::{Digest as _, Sha256};

/// A key pair.
pub struct Pair(EcdsaKeyPair);

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pair").field(&self.kid()).finish()
    }
}

/// The name of a block, and what it is written with between.
fn block(name: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
}

impl Pair {
    /// Makes one.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn make() -> Result<Self, Unspecified> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self)
    }

    /// Reads one that [`Pair::private`] has written; none if it is no such text.
    #[must_use]
    pub fn read(pem: &str) -> Option<Self> {
        let lines = pem.lines().map(str::trim).filter(|line| !line.is_empty());
        let text: String = lines.filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(text).ok()?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok().map(Self)
    }

    /// The private key.
    ///
    /// # Errors
    /// It cannot be written, which the library says of no key of its own.
    pub fn private(&self) -> Result<String, Unspecified> {
        Ok(block("PRIVATE KEY", self.0.to_pkcs8v1()?.as_ref()))
    }

    /// The public key.
    ///
    /// # Errors
    /// It cannot be written, which the library says of no key of its own.
    pub fn public(&self) -> Result<String, Unspecified> {
        Ok(block("PUBLIC KEY", self.0.public_key().as_der()?.as_ref()))
    }

    /// What tokens call it: its thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> String {
        // Uncompressed (SEC 1, 2.3.3): a byte, and both coordinates.
        let point = self.0.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
    }

    /// A JSON Web Token with these claims (RFC 7515, 3.1).
    ///
    /// # Errors
    /// It cannot be signed, which the library says of no key of its own.
    pub fn sign(&self, claims: &serde_json::Value) -> Result<String, Unspecified> {
        let header = serde_json::json!({"typ": "JWT", "alg": "ES256", "kid": self.kid()});
        let text = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(&header), text(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn a_key_is_read_back_and_signs() {
        let pair = Pair::make().unwrap();
        let private = pair.private().unwrap();
        assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n") && private.lines().all(|line| line.len() <= 64));
        assert!(pair.public().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        let again = Pair::read(&private).unwrap();
        assert_eq!((again.kid(), again.kid().len()), (pair.kid(), 43));
        assert_ne!(Pair::make().unwrap().kid(), pair.kid());
        let token = again.sign(&serde_json::json!({"sub": "a"})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.0.public_key().as_ref());
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        for text in ["", "secret", &pair.public().unwrap()] {
            assert!(Pair::read(text).is_none(), "{text}");
        }
        assert!(!format!("{pair:?}").contains(&private[40..60]));
    }
}
