//! A content digest, `<algorithm>:<lower-case hex>`, as the OCI image specification defines it.
//!
//! Only three algorithms exist here: the two that the specification registers, and SHA-384, by which CNCF Distribution takes
//! and serves content. Where a digest is stored is not known here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256, which every implementation must support.
    Sha256,
    /// SHA-384, which is well-formed but not registered. Go's digest package, and so Distribution, knows it.
    Sha384,
    /// SHA-512, which an implementation may support.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in the order of their names.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

    /// The name in front of the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The number of hexadecimal characters of a digest.
    #[must_use]
    pub fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha384 => 96,
            Algorithm::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| DigestError::UnsupportedAlgorithm(excerpt(text)))
    }
}

/// Why a text is not a digest. The text is given back shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon between an algorithm and an encoded part.
    #[error("digest {0:?} is not of the form <algorithm>:<hex>")]
    NoSeparator(String),
    /// The algorithm is none of [`Algorithm::ALL`].
    #[error("digest algorithm {0:?} is not supported: use sha256, sha384 or sha512")]
    UnsupportedAlgorithm(String),
    /// The encoded part has the wrong number of characters.
    #[error("{algorithm} digest has {found} hexadecimal characters, not {expected}")]
    WrongLength {
        /// The algorithm in front of the colon.
        algorithm: Algorithm,
        /// The number of characters that the algorithm asks for.
        expected: usize,
        /// The number of characters found.
        found: usize,
    },
    /// The encoded part holds something other than `0-9a-f`.
    #[error("digest {0:?} holds characters other than 0-9 and a-f")]
    NotLowerHex(String),
}

/// A content digest. Equality is equality of algorithm and value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    /// The whole text, so that it can be borrowed as one string.
    text: Box<str>,
}

impl Digest {
    /// Makes a digest from the raw output of a hash function, which has the right length by construction.
    pub(crate) fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Self {
        debug_assert_eq!(raw.len() * 2, algorithm.hex_len());
        Digest { text: format!("{algorithm}:{}", hex::encode(raw)).into_boxed_str() }
    }

    /// The digest of a whole content.
    #[must_use]
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = crate::Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The SHA-256 digest of a whole content.
    #[must_use]
    pub fn sha256(content: &[u8]) -> Self {
        Digest::of(Algorithm::Sha256, content)
    }

    /// The algorithm in front of the colon.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.text.starts_with("sha256:") {
            Algorithm::Sha256
        } else if self.text.starts_with("sha384:") {
            Algorithm::Sha384
        } else {
            Algorithm::Sha512
        }
    }

    /// The hexadecimal part behind the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm().as_str().len() + 1..]
    }

    /// The whole digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or_else(|| DigestError::NoSeparator(excerpt(text)))?;
        let algorithm: Algorithm = algorithm.parse()?;
        if encoded.len() != algorithm.hex_len() {
            return Err(DigestError::WrongLength { algorithm, expected: algorithm.hex_len(), found: encoded.len() });
        }
        if !encoded.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::NotLowerHex(excerpt(text)));
        }
        Ok(Digest { text: text.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.text.into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first characters of a text that came from outside, so that an error cannot grow with its input.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain("…".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_published_one() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY_SHA256);
        assert_eq!(Digest::of(Algorithm::Sha384, b"").hex().get(..16), Some("38b060a751ac9638"));
        assert_eq!(Digest::of(Algorithm::Sha512, b"").hex().get(..16), Some("cf83e1357eefb8bd"));
    }

    #[test]
    fn parses_or_says_why_not() {
        fn check(text: &str, expected: Result<Algorithm, &str>) {
            let found = text.parse::<Digest>().map(|digest| digest.algorithm()).map_err(|error| error.to_string());
            assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text), "{text:?}");
        }
        check(EMPTY_SHA256, Ok(Algorithm::Sha256));
        check(&format!("sha384:{}", "0".repeat(96)), Ok(Algorithm::Sha384));
        check(&format!("sha512:{}", "0".repeat(128)), Ok(Algorithm::Sha512));
        check(&format!("sha384:{}", "0".repeat(64)), Err("sha384 digest has 64 hexadecimal characters, not 96"));
        check("", Err("digest \"\" is not of the form <algorithm>:<hex>"));
        check("latest", Err("digest \"latest\" is not of the form <algorithm>:<hex>"));
        check("md5:00", Err("digest algorithm \"md5\" is not supported: use sha256, sha384 or sha512"));
        check("SHA256:00", Err("digest algorithm \"SHA256\" is not supported: use sha256, sha384 or sha512"));
        check("sha256:00", Err("sha256 digest has 2 hexadecimal characters, not 64"));
        let upper = EMPTY_SHA256.replace('e', "E");
        check(&upper, Err(&format!("digest {upper:?} holds characters other than 0-9 and a-f")));
        let slash = format!("sha256:../{}", "0".repeat(61));
        check(&slash, Err(&format!("digest {slash:?} holds characters other than 0-9 and a-f")));
    }

    #[test]
    fn an_error_does_not_grow_with_its_input() {
        let error = "x".repeat(1 << 20).parse::<Digest>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_parses_back(content: Vec<u8>, which in 0..Algorithm::ALL.len()) {
            let algorithm = Algorithm::ALL[which];
            let digest = Digest::of(algorithm, &content);
            let back: Digest = digest.to_string().parse().unwrap();
            proptest::prop_assert_eq!(&back, &digest);
            proptest::prop_assert_eq!(back.algorithm(), algorithm);
            proptest::prop_assert_eq!(format!("{}:{}", back.algorithm(), back.hex()), digest.to_string());
        }

        #[test]
        fn what_parses_has_one_form_only(
            text in "(sha256|sha512|SHA256|md5)?:?([0-9a-f]{64}|[0-9a-f]{128}|[0-9a-fA-F]{0,130})|\\PC{0,80}",
        ) {
            if let Ok(digest) = text.parse::<Digest>() {
                proptest::prop_assert_eq!(digest.as_str(), text);
                proptest::prop_assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
                proptest::prop_assert!(digest.hex().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
            }
        }
    }
}
