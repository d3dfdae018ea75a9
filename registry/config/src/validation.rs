//! `validation`: what a pushed manifest may hold.

use serde::{Deserialize, Serialize};

/// `validation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Whether manifests are validated even though `disabled` is set. As with Distribution, they are validated unless
    /// `disabled` is set, so this key changes nothing where that one is not.
    pub enabled: bool,
    /// Whether manifests are not validated.
    pub disabled: bool,
    /// What is asked of manifests.
    pub manifests: ManifestValidation,
}

impl Validation {
    /// Whether manifests are validated.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.enabled || !self.disabled
    }
}

/// `validation.manifests`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ManifestValidation {
    /// Where layers may lie that the registry does not hold.
    pub urls: Urls,
    /// What an index may leave out.
    pub indexes: IndexValidation,
}

/// `validation.manifests.urls`: regular expressions for the `urls` of layers. With neither list, no address is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Urls {
    /// An address must match one of these, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// An address must match none of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// `validation.manifests.indexes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IndexValidation {
    /// Which manifests of an index must be there when it is pushed.
    pub platforms: Platforms,
    /// The platforms of `platforms: list`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platformlist: Vec<Platform>,
}

/// `validation.manifests.indexes.platforms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Platforms {
    /// The default: every manifest of the index.
    #[default]
    All,
    /// No manifest: an index may be sparse.
    None,
    /// The manifests for the platforms of `platformlist`.
    List,
}

/// An entry of `validation.manifests.indexes.platformlist`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `linux`.
    pub os: String,
}
