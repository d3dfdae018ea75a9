//! `Registry.spec.validation`: what a pushed manifest may say.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked of pushed content, beyond that it is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// What a pushed manifest may say. Anything that is well formed when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<ManifestValidation>,
}

/// What a pushed manifest may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestValidation {
    /// The addresses that layers may name as another place to fetch them from. Any when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urls: Option<UrlRules>,
    /// Which images of an index must be in the repository before the index. All of them when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexes: Option<IndexRules>,
}

/// Addresses that layers may name. With both lists empty no layer may name any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UrlRules {
    /// Regular expressions, of which an address must match one. Every address, if deny is not empty, when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<String>,
    /// Regular expressions, of which an address must match none. None when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub deny: Vec<String>,
}

/// Which images of an index must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.platforms) && self.platforms == 'List') \
        == (has(self.platformList) && self.platformList.size() > 0)")
        .message("platformList goes with platforms List: name the platforms with it, or leave it out")
)]
pub struct IndexRules {
    /// All: every image of the index. None: none of them, which makes a sparse index. List: those for the platforms in
    /// platformList. All when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platforms: Option<IndexPlatforms>,
    /// The platforms whose images must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub platform_list: Vec<Platform>,
}

/// Which images of an index must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IndexPlatforms {
    /// Every one.
    #[default]
    All,
    /// None.
    None,
    /// Those of a list of platforms.
    List,
}

/// A platform, in the words of an OCI image index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// The processor's architecture, such as amd64 or arm64.
    #[schemars(length(min = 1, max = 64))]
    pub architecture: String,
    /// The operating system, such as linux.
    #[schemars(length(min = 1, max = 64))]
    pub os: String,
}
