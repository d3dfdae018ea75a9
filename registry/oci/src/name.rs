//! A repository name, in the grammar of CNCF Distribution.
//!
//! `[domain/]component[/component…]`, where a component is lower-case letters and digits separated by `.`, `_`, `__` or
//! dashes. The domain, which may hold capital letters and a port, is allowed because Distribution's routes allow it and
//! stores hold such names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::excerpt;

/// The longest repository name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a text is not a repository name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("repository name is empty")]
    Empty,
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error("repository name has {0} bytes, more than {MAX_NAME_BYTES}")]
    TooLong(usize),
    /// One part between slashes does not follow the grammar.
    #[error("repository name {name:?} has an invalid component {component:?}")]
    Component {
        /// The whole name, shortened.
        name: String,
        /// The part that is wrong, shortened.
        component: String,
    },
}

/// The name of a repository. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(Box<str>);

impl RepositoryName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        let has_domain_place = text.contains('/');
        for (index, component) in text.split('/').enumerate() {
            let may_be_domain = index == 0 && has_domain_place;
            if !(is_component(component) || may_be_domain && is_domain(component)) {
                return Err(NameError::Component { name: excerpt(text), component: excerpt(component) });
            }
        }
        Ok(RepositoryName(text.into()))
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> String {
        name.0.into()
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| is_alphanumeric(**byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|byte| !is_alphanumeric(**byte)).count();
        let valid = match &rest[..separator] {
            b"." | b"_" | b"__" => true,
            other => other.iter().all(|byte| *byte == b'-'),
        };
        if !valid {
            return false;
        }
        rest = &rest[separator..];
    }
}

/// A host name or an IPv6 address in brackets, with an optional port.
fn is_domain(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match text.split_once(':') {
        None => is_host(text),
        Some((host, port)) => is_host(host) && is_port(port),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Labels of letters, digits and inner dashes, separated by dots.
fn is_host(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        fn check(text: &str, valid: bool) {
            assert_eq!(text.parse::<RepositoryName>().is_ok(), valid, "{text:?}");
        }
        for valid in [
            "a",
            "a/b",
            "a/b/c/d",
            "a-b",
            "a--b",
            "a_b",
            "a__b",
            "a.b",
            "0",
            "a0.b-1_c",
            "xn--n3h.com/app",
            "localhost:5000/app",
            "Example.com/app",
            "[2001:db8::1]/app",
            "[2001:db8::1]:5000/app",
            "a1/b2/c3",
        ] {
            check(valid, true);
        }
        for invalid in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "A",
            "a/B",
            "-a",
            "a-",
            ".a",
            "a.",
            "a..b",
            "a___b",
            "_a",
            "a_",
            "a/_b",
            "a/..",
            "../a",
            ".",
            "..",
            "a b",
            "a/b\n",
            "a\\b",
            "ä",
            "localhost:5000",
            "localhost:/a",
            "[::1/a",
            "[]/a",
            "a._b",
            "host_name:5000/a",
            "-host/a",
            "a/b:c/d",
            "a%2fb",
            "a\0b",
        ] {
            check(invalid, false);
        }
        check(&"a".repeat(MAX_NAME_BYTES), true);
        check(&"a".repeat(MAX_NAME_BYTES + 1), false);
    }

    #[test]
    fn the_error_names_the_component() {
        let error = "team/App/x".parse::<RepositoryName>().unwrap_err();
        assert_eq!(error.to_string(), "repository name \"team/App/x\" has an invalid component \"App\"");
    }

    proptest::proptest! {
        #[test]
        fn a_valid_name_is_a_safe_relative_path(text in "[a-zA-Z0-9._:/\\[\\]-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                for component in name.as_str().split('/') {
                    proptest::prop_assert!(!component.is_empty() && component != "." && component != "..");
                    proptest::prop_assert!(!component.starts_with('_') && !component.starts_with('.'));
                }
            }
        }
    }
}
