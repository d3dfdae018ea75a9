//! A key: the validated, relative name of an object in a store.

use std::fmt;
use std::str::FromStr;

/// The longest key in bytes; the limit of the strictest object store.
const MAX_KEY_BYTES: usize = 1024;
/// The longest part between slashes in bytes; the limit of common file systems.
const MAX_COMPONENT_BYTES: usize = 255;

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key is empty or too long.
    #[error("key has {0} bytes, not 1 to {MAX_KEY_BYTES}")]
    Length(usize),
    /// A part between slashes is empty, `.`, `..`, too long, or holds a control character or a backslash.
    #[error("key {0:?} has an invalid component")]
    Component(String),
}

/// The name of an object: parts separated by slashes, none of which can lead out of the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The key of something below this one.
    ///
    /// # Errors
    /// When the result is not a key.
    pub fn join(&self, below: &str) -> Result<Key, KeyError> {
        format!("{}/{below}", self.0).parse()
    }

    /// What is below `self` in `other`, if it is below.
    #[must_use]
    pub fn strip<'a>(&self, other: &'a Key) -> Option<&'a str> {
        other.0.strip_prefix(&*self.0)?.strip_prefix('/')
    }

    /// A key made of parts that are valid by construction.
    pub(crate) fn built(text: String) -> Self {
        debug_assert_eq!(validate(&text), Ok(()), "{text}");
        Key(text.into())
    }
}

fn validate(text: &str) -> Result<(), KeyError> {
    if text.is_empty() || text.len() > MAX_KEY_BYTES {
        return Err(KeyError::Length(text.len()));
    }
    let is_valid = |component: &str| {
        !component.is_empty()
            && component != "."
            && component != ".."
            && component.len() <= MAX_COMPONENT_BYTES
            && !component.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\')
    };
    if text.split('/').all(is_valid) { Ok(()) } else { Err(KeyError::Component(text.to_owned())) }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        validate(text)?;
        Ok(Key(text.into()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_keys() {
        fn check(text: &str, valid: bool) {
            assert_eq!(text.parse::<Key>().is_ok(), valid, "{text:?}");
        }
        for valid in ["a", "a/b", "docker/registry/v2/x", "...", "a b", "_x", "a:b"] {
            check(valid, true);
        }
        for invalid in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\\b", "a\0", "a\n/b"] {
            check(invalid, false);
        }
        check(&"a".repeat(255), true);
        check(&"a".repeat(256), false);
        check(&"a/".repeat(600), false);
    }

    proptest::proptest! {
        #[test]
        fn a_key_never_leaves_its_root(text in "[a./\\\\]{0,12}") {
            if let Ok(key) = text.parse::<Key>() {
                let path = std::path::Path::new("/root").join(key.as_str());
                proptest::prop_assert!(path.starts_with("/root"));
                let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
                proptest::prop_assert!(plain);
            }
        }
    }
}
