//! Amounts of storage as Kubernetes writes them: `20Gi`, `500M`, `1.5Ti`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An amount of storage, as written; [`Size::bytes`] is its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Size(#[schemars(length(max = 32))] String);

/// Why a text is not an amount of storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// It does not start with a number.
    #[error("{0:?} is not a size: write a number and a unit, such as 20Gi")]
    Number(String),
    /// The unit is not known.
    #[error("{0:?} has no known unit: use Ki, Mi, Gi, Ti, Pi or Ei, or k, M, G, T, P or E, as in 20Gi")]
    Unit(String),
    /// It is more than can be counted.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

impl Size {
    /// Keeps `text` as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The amount in bytes.
    ///
    /// # Errors
    /// [`ParseSizeError`] when the text is not an amount.
    pub fn bytes(&self) -> Result<u64, ParseSizeError> {
        bytes(&self.0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const UNITS: [(&str, u128); 13] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];

/// More digits than this after the point are below a byte in every unit.
const MAX_FRACTION_DIGITS: usize = 18;

/// The bytes that a Kubernetes quantity stands for, rounded up.
///
/// Of the quantity syntax the decimal and binary suffixes are known; the exponent form and fractions of a byte (`1e9`,
/// `500m`) are not used for storage and are refused.
///
/// # Errors
/// [`ParseSizeError`], which holds the text.
pub fn bytes(text: &str) -> Result<u64, ParseSizeError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > MAX_FRACTION_DIGITS {
        return Err(ParseSizeError::Number(text.to_owned()));
    }
    let (_, factor) =
        UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| ParseSizeError::Unit(text.to_owned()))?;
    let too_large = || ParseSizeError::TooLarge(text.to_owned());
    let digits = format!("{whole}{fraction}").parse::<u128>().map_err(|_| too_large())?;
    // The scale is at most 10^18, which an u128 holds.
    let scale = 10u128.pow(fraction.len() as u32);
    let total = digits.checked_mul(*factor).ok_or_else(too_large)?.div_ceil(scale);
    u64::try_from(total).map_err(|_| too_large())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes() {
        for (text, expected) in [
            ("0", 0),
            ("20Gi", 20 << 30),
            ("1.5Ki", 1536),
            (".5Ki", 512),
            ("0.3", 1),
            ("500M", 500_000_000),
            ("7Ei", 7 << 60),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_named() {
        for (text, expected) in [
            ("", ParseSizeError::Number(String::new())),
            ("Gi", ParseSizeError::Number("Gi".into())),
            ("1.2.3Gi", ParseSizeError::Number("1.2.3Gi".into())),
            ("-1Gi", ParseSizeError::Number("-1Gi".into())),
            ("20GB", ParseSizeError::Unit("20GB".into())),
            ("500m", ParseSizeError::Unit("500m".into())),
            ("16Ei", ParseSizeError::TooLarge("16Ei".into())),
        ] {
            assert_eq!(bytes(text), Err(expected), "{text}");
        }
    }
}
