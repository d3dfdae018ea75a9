//! `policy` and `compatibility`: which kinds of content are taken.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Of repositories.
    pub repository: RepositoryPolicy,
}

/// `policy.repository`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RepositoryPolicy {
    /// The classes of content that are taken, such as `image` and `plugin`; empty for every class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// `compatibility`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Compatibility {
    /// Manifests of schema version 1.
    pub schema1: Schema1,
}

/// `compatibility.schema1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Schema1 {
    /// The key that signs manifests of schema version 1 when they are served.
    #[serde(skip_serializing_if = "Option::is_none", alias = "trustkey")]
    pub signingkeyfile: Option<PathBuf>,
    /// Whether manifests of schema version 1 may be pushed. What is stored can be pulled either way.
    pub enabled: bool,
}
