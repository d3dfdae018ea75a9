//! `middleware`: what lies between the registry and its store.

use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// `middleware`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Middleware {
    /// Around the registry. Distribution has none of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registry: Vec<Layer>,
    /// Around each repository. Distribution has none of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repository: Vec<Layer>,
    /// Around the storage driver: `cloudfront`, `redirect`, `rewrite` and, in no release of Distribution, `alicdn`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<Layer>,
}

/// An entry of a list under `middleware`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Which middleware.
    pub name: String,
    /// Whether it is left out.
    #[serde(default)]
    pub disabled: bool,
    /// Its parameters; which of them it takes depends on the name.
    #[serde(default)]
    pub options: LayerOptions,
}

/// `options` of a middleware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LayerOptions {
    /// The address that clients are redirected to (cloudfront, redirect, alicdn).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseurl: Option<String>,
    /// The file of the private key that signs addresses (cloudfront), or the key itself (alicdn).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privatekey: Option<Secret>,
    /// The name of the key pair (cloudfront).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keypairid: Option<String>,
    /// How long a signed address is good for (cloudfront, alicdn).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// The time between two looks at `iprangesurl` (cloudfront).
    #[serde(skip_serializing_if = "Option::is_none", alias = "updatefrenquency")]
    pub updatefrequency: Option<Duration>,
    /// Where the address ranges of AWS are published (cloudfront).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iprangesurl: Option<String>,
    /// Which clients are sent to the store itself: `none`, `aws` or `awsregion` (cloudfront).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipfilteredby: Option<String>,
    /// The regions of `ipfilteredby: awsregion`, separated by commas (cloudfront).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awsregion: Option<String>,
    /// The scheme that takes the place of the address's own (rewrite).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host that takes the place of the address's own (rewrite).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What is cut from the beginning of the path (rewrite).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trimpathprefix: Option<String>,
    /// How an address is signed: `a`, `b` or `c` (alicdn).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authtype: Option<String>,
}
