//! Lengths of time as a resource has them: `30m`, `1h30m`, `72h`, `30d`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The CEL rule that a text is a length of time between two. CEL knows no days, so of what is written with them only the form is
/// checked there; the operator checks the rest.
pub(crate) fn between(least: &str, most: &str) -> String {
    format!(
        "self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h|d))+$') && (self.contains('d') \
         || (duration(self) >= duration('{least}') && duration(self) <= duration('{most}')))"
    )
}

/// A length of time, as written; [`Span::parse`] is its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Span(#[schemars(length(max = 32))] String);

impl Span {
    /// Keeps `text` as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length.
    ///
    /// # Errors
    /// [`berth_config::ParseDurationError`] when the text is not a length of time.
    pub fn parse(&self) -> Result<berth_config::Duration, berth_config::ParseDurationError> {
        self.0.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
