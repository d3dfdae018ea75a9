//! Signatures that CloudFront knows who made: of a canned policy, by a key whose other half it has been given.
//!
//! An RSA key signs as Distribution does, with SHA-1, so that an address is the same to the byte. ECDSA keys, which
//! Distribution does not know, sign with SHA-256, and the address says so, as CloudFront wants to be told. SHA-1 is no danger
//! here: what is signed is made by the registry alone.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{self, PemObject as _};
use sha1::Sha1;

/// The longest file that can hold a key, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why there is no key. Nothing of what the file holds is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It is too long.
    #[error("{} has more than the {MAX_FILE_BYTES} bytes of the longest key", path.display())]
    TooLong { path: PathBuf },
    /// There is no key in it.
    #[error("{} holds no private key in PEM form (an encrypted one cannot be read)", path.display())]
    Absent { path: PathBuf },
    /// It is PEM, and broken.
    #[error("{} is not PEM", path.display())]
    Pem { path: PathBuf },
    /// It is another kind of key.
    #[error("{} holds no key that CloudFront takes: RSA (PKCS#1 or PKCS#8) or ECDSA P-256 (SEC1 or PKCS#8)", path.display())]
    Kind { path: PathBuf },
}

/// A key did not sign.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the key did not sign")]
pub(super) struct SignError;

/// A private key.
pub(super) enum Signer {
    Rsa(Box<SigningKey<Sha1>>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl Signer {
    /// The key in a file.
    ///
    /// # Errors
    /// [`KeyError`], which names the file.
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        let at = || path.to_path_buf();
        let mut content = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content));
        read.map_err(|source| KeyError::Read { path: at(), source })?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(KeyError::TooLong { path: at() });
        }
        let key = PrivateKeyDer::from_pem_slice(&content).map_err(|error| match error {
            pem::Error::NoItemsFound => KeyError::Absent { path: at() },
            _ => KeyError::Pem { path: at() },
        })?;
        Signer::of(&key).ok_or_else(|| KeyError::Kind { path: at() })
    }

    fn of(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let rsa = |key| Signer::Rsa(Box::new(SigningKey::new(key)));
        let ecdsa = |key| Signer::Ecdsa(Box::new(key));
        match key {
            PrivateKeyDer::Pkcs1(key) => rsa::PrivateKey::from_pkcs1_der(key.secret_pkcs1_der()).ok().map(rsa),
            PrivateKeyDer::Sec1(key) => {
                let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_sec1_der());
                key.ok().map(ecdsa)
            }
            PrivateKeyDer::Pkcs8(key) => {
                let key = key.secret_pkcs8_der();
                let rsa = rsa::PrivateKey::from_pkcs8_der(key).ok().map(rsa);
                rsa.or_else(|| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key).ok().map(ecdsa))
            }
            _ => None,
        }
    }

    /// The address of a resource with the parameters by which CloudFront gives it out until `expires`, in seconds since 1970.
    /// This takes a processor for some milliseconds where the key is one of RSA.
    pub(super) fn address(&self, resource: &str, expires: u64, key_pair_id: &str) -> Result<String, SignError> {
        let signature = escaped(&self.sign(policy(resource, expires).as_bytes())?);
        let hash = match self {
            Signer::Rsa(_) => "",
            Signer::Ecdsa(_) => "&Hash-Algorithm=SHA256",
        };
        Ok(format!("{resource}?Expires={expires}&Signature={signature}&Key-Pair-Id={key_pair_id}{hash}"))
    }

    fn sign(&self, policy: &[u8]) -> Result<Vec<u8>, SignError> {
        match self {
            Signer::Rsa(key) => Ok(key.try_sign(policy).map_err(|_| SignError)?.to_vec()),
            Signer::Ecdsa(key) => Ok(key.sign(&SystemRandom::new(), policy).map_err(|_| SignError)?.as_ref().to_vec()),
        }
    }
}

/// What is signed, to the byte: CloudFront makes the same text of what it is asked, and has no other.
fn policy(resource: &str, expires: u64) -> String {
    let resource = serde_json::Value::from(resource);
    format!(
        r#"{{"Statement":[{{"Resource":{resource},"Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
    )
}

/// Base64 with the characters that CloudFront has in place of those that mean something in an address.
fn escaped(signature: &[u8]) -> String {
    let replaced = |letter| match letter {
        '+' => '-',
        '=' => '_',
        '/' => '~',
        letter => letter,
    };
    STANDARD.encode(signature).chars().map(replaced).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, KeyPair as _, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
        VerificationAlgorithm,
    };
    use rsa::pkcs1::EncodeRsaPrivateKey as _;

    use super::*;

    /// A key as PEM, and what its signatures are verified with.
    pub(in super::super) struct TestKey {
        pub(in super::super) pem: String,
        algorithm: &'static dyn VerificationAlgorithm,
        public: Vec<u8>,
    }

    impl TestKey {
        /// Whether an address is as CloudFront wants it: the resource, and when it ends.
        pub(in super::super) fn opened(&self, address: &str) -> (String, u64) {
            let (resource, query) = address.split_once('?').unwrap();
            let parameters: Vec<&str> = query.split('&').map(|pair| pair.split_once('=').unwrap().1).collect();
            let expires: u64 = parameters[0].parse().unwrap();
            let signature = parameters[1].replace('-', "+").replace('_', "=").replace('~', "/");
            let policy = format!(
                "{{\"Statement\":[{{\"Resource\":\"{resource}\",\
                 \"Condition\":{{\"DateLessThan\":{{\"AWS:EpochTime\":{expires}}}}}}}]}}"
            );
            let key = UnparsedPublicKey::new(self.algorithm, &self.public);
            key.verify(policy.as_bytes(), &STANDARD.decode(signature).unwrap()).unwrap();
            (resource.to_owned(), expires)
        }
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    /// An RSA key, in the form of PKCS#1 and of PKCS#8.
    pub(in super::super) fn rsa_keys() -> [TestKey; 2] {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = pair.as_der().unwrap().as_ref().to_vec();
        let pkcs1 = rsa::PrivateKey::from_pkcs8_der(&pkcs8).unwrap().to_pkcs1_der().unwrap();
        [pem("RSA PRIVATE KEY", pkcs1.as_bytes()), pem("PRIVATE KEY", &pkcs8)].map(|pem| TestKey {
            pem,
            algorithm: &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            public: pair.public_key().as_ref().to_vec(),
        })
    }

    /// An ECDSA key, in the form of SEC1 and of PKCS#8.
    fn ecdsa_keys() -> [TestKey; 2] {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let sec1 = pair.private_key().as_der().unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        [pem("EC PRIVATE KEY", sec1.as_ref()), pem("PRIVATE KEY", pkcs8.as_ref())].map(|pem| TestKey {
            pem,
            algorithm: &ECDSA_P256_SHA256_ASN1,
            public: pair.public_key().as_ref().to_vec(),
        })
    }

    #[test]
    fn addresses_are_signed_by_the_key_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloudfront.pem");
        let resource = "https://d111111abcdef8.cloudfront.net/a/docker/x%20y";
        let check = |key: TestKey, ending: &str| {
            std::fs::write(&path, &key.pem).unwrap();
            let address = Signer::read(&path).unwrap().address(resource, 1_767_290_400, "K2JCJMDEHXQW5F").unwrap();
            assert!(address.starts_with(&format!("{resource}?Expires=1767290400&Signature=")), "{address}");
            assert!(address.ends_with(ending), "{address}");
            assert_eq!(key.opened(&address), (resource.to_owned(), 1_767_290_400));
            address
        };
        let rsa = rsa_keys().map(|key| check(key, "&Key-Pair-Id=K2JCJMDEHXQW5F"));
        assert_eq!(rsa[0], rsa[1], "there is one signature of RSA for a text");
        for key in ecdsa_keys() {
            check(key, "&Key-Pair-Id=K2JCJMDEHXQW5F&Hash-Algorithm=SHA256");
        }
    }

    #[test]
    fn a_signature_can_stand_in_an_address() {
        assert_eq!(escaped(&[0xfb, 0xff, 0xfe, 0xfb]), "-~~--w__");
    }

    #[test]
    fn a_file_without_a_key_is_named_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.pem");
        let check = |expected: &str| {
            let Err(error) = Signer::read(&path) else { panic!("{expected}") };
            let (error, name) = (error.to_string(), path.display().to_string());
            assert_eq!(error.replace(&name, "FILE").split(" (").next().unwrap(), expected);
        };
        check("cannot read FILE: No such file or directory");
        let [key, _] = rsa_keys();
        let certificate = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap().cert.pem();
        let larger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let kind = "FILE holds no key that CloudFront takes: RSA";
        for (content, expected) in [
            ("", "FILE holds no private key in PEM form"),
            (certificate.as_str(), "FILE holds no private key in PEM form"),
            (&key.pem.replace("RSA PRIVATE", "ENCRYPTED PRIVATE"), "FILE holds no private key in PEM form"),
            (&key.pem[..key.pem.len() / 2], "FILE is not PEM"),
            (&key.pem.replace("RSA PRIVATE", "PRIVATE"), kind),
            (&larger, kind),
            (&"x".repeat(70_000), "FILE has more than the 65536 bytes of the longest key"),
        ] {
            std::fs::write(&path, content).unwrap();
            check(expected);
        }
    }
}
