//! What a manifest is asked for by: a tag or a digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::excerpt;
use crate::{Digest, DigestError};

/// The longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// Why a text is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The tag is empty or longer than [`MAX_TAG_BYTES`].
    #[error("tag has {0} bytes, not 1 to {MAX_TAG_BYTES}")]
    Length(usize),
    /// The tag holds a character outside `[A-Za-z0-9_.-]`, or starts with `.` or `-`.
    #[error("tag {0:?} does not match [A-Za-z0-9_][A-Za-z0-9_.-]*")]
    Characters(String),
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        if text.is_empty() || text.len() > MAX_TAG_BYTES {
            return Err(TagError::Length(text.len()));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first_is_word = text.bytes().next().is_some_and(is_word);
        if !first_is_word || !text.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-') {
            return Err(TagError::Characters(excerpt(text)));
        }
        Ok(Tag(text.into()))
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> String {
        tag.0.into()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is neither a tag nor a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is a colon, so it was meant as a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// There is no colon, so it was meant as a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
}

/// A tag or a digest. A tag never holds a colon and a digest always does, so no text is both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A name that can be moved.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') { Ok(Reference::Digest(text.parse()?)) } else { Ok(Reference::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_tag_a_digest_or_an_error() {
        fn check(text: &str, expected: Result<&str, &str>) {
            let found = match text.parse::<Reference>() {
                Ok(Reference::Tag(_)) => Ok("tag".to_owned()),
                Ok(Reference::Digest(_)) => Ok("digest".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text:?}");
        }
        for tag in ["latest", "v1.0", "_x", "A-B_c.d", "0", &"t".repeat(128)] {
            check(tag, Ok("tag"));
        }
        check(Digest::sha256(b"").as_str(), Ok("digest"));
        check("", Err("tag has 0 bytes, not 1 to 128"));
        check(&"t".repeat(129), Err("tag has 129 bytes, not 1 to 128"));
        for bad in [".x", "-x", "a/b", "a b", "ü", "..", "a\n"] {
            check(bad, Err(&format!("tag {bad:?} does not match [A-Za-z0-9_][A-Za-z0-9_.-]*")));
        }
        check("sha256:12", Err("sha256 digest has 2 hexadecimal characters, not 64"));
    }

    proptest::proptest! {
        #[test]
        fn what_parses_is_printed_as_it_was_and_leads_nowhere_else(
            text in "[A-Za-z0-9_.:/-]{0,140}|(sha256|sha512|md5):[0-9a-fA-F]{0,130}|\\PC{0,40}",
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(reference.to_string(), text.clone());
                proptest::prop_assert!(!text.contains('/') && !text.starts_with('.'), "{text:?}");
                proptest::prop_assert_eq!(matches!(reference, Reference::Digest(_)), text.contains(':'));
                proptest::prop_assert_eq!(text.parse::<Tag>().is_ok(), matches!(reference, Reference::Tag(_)));
            }
        }
    }
}
