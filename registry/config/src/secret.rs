//! A string that is not to be shown.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const HIDDEN: &str = "<hidden>";

thread_local! {
    /// Whether this thread writes secrets in clear. Serde hands no context to a value that is written, and a secret that
    /// somebody forgot to hide would be worse than this.
    static IN_CLEAR: Cell<bool> = const { Cell::new(false) };
}

/// A secret from the configuration. `Debug`, `Display` and serialization write `<hidden>`; only
/// [`Config::to_yaml`](crate::Config::to_yaml) writes the value.
///
/// It is read from any plain value, for `secret: 123456` is meant as text. No error of reading one holds the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Runs `write`, in which secrets are serialized as what they are.
pub(crate) fn in_clear<T>(write: impl FnOnce() -> T) -> T {
    /// Puts the flag back even if `write` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IN_CLEAR.set(self.0);
        }
    }
    let _restore = Restore(IN_CLEAR.replace(true));
    write()
}

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the code that computes with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if IN_CLEAR.get() { &self.0 } else { HIDDEN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Plain)
    }
}

/// An address as it may be shown: without the name and the password before an `@`, and without its query, either of which
/// may be what lets somebody in.
#[must_use]
pub fn shown_address(address: &str) -> String {
    let (address, query) = match address.split_once('?') {
        Some((address, _)) => (address, "?<hidden>"),
        None => (address, ""),
    };
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let separator = if scheme.is_empty() { "" } else { "://" };
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{separator}{HIDDEN}@{host}{path}{query}"),
        None => format!("{address}{query}"),
    }
}

/// Serializes an address as [`shown_address`] has it, unless secrets are written.
pub(crate) fn serialize_address<S: Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if IN_CLEAR.get() { serializer.serialize_str(address) } else { serializer.serialize_str(&shown_address(address)) }
}

/// Takes every plain value, so that serde's own error, which shows the value, cannot arise from one. Its errors for maps
/// and lists name only the kind.
struct Plain;

impl de::Visitor<'_> for Plain {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Secret, E> {
        Ok(Secret(value.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Secret, E> {
        Ok(Secret(value.to_string()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_lets_somebody_in() {
        for (address, shown) in [
            ("https://a.example:8443/x/y", "https://a.example:8443/x/y"),
            ("https://me:pass@a.example/x", "https://<hidden>@a.example/x"),
            ("https://me:p@ss@a.example", "https://<hidden>@a.example"),
            ("http://a/x@y?token=1@2/3", "http://a/x@y?<hidden>"),
            ("http://token@a?", "http://<hidden>@a?<hidden>"),
            ("me:pass@a/x", "<hidden>@a/x"),
            ("", ""),
        ] {
            assert_eq!(shown_address(address), shown, "{address}");
        }
    }
}
