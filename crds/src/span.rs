//! Lengths of time as a resource has them: `30m`, `1h30m`, `72h`, `30d`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
