//! [pure] What the server is told about its answers and about what it takes: TLS, headers, and the checks of pushed
//! content.

use std::collections::BTreeMap;

use berth_crds::{
    IndexPlatforms, IndexRules, ManifestValidation, Platform, SecretRef, Tls, TlsVersion, UrlRules, Validation,
};
use http::{HeaderName, HeaderValue, header};
use regex::Regex;

use crate::problem::Problems;

/// Headers by which a client knows where an answer ends.
const FRAMING_HEADERS: [HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];

/// TLS at the registry's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidTls {
    /// The Secret with the certificate and its key.
    pub secret: String,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// What is asked of pushed content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidValidation {
    /// The addresses that layers may name; none for any.
    pub urls: Option<UrlRules>,
    /// Which images of an index must be there.
    pub platforms: ValidPlatforms,
}

/// Which images of an index must be in the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValidPlatforms {
    /// Every one.
    #[default]
    All,
    /// None.
    None,
    /// Those for these platforms; not empty.
    List(Vec<Platform>),
}

pub(super) fn tls_of(tls: Tls, problems: &mut Problems) -> ValidTls {
    let Tls { secret_ref: SecretRef { name }, min_version } = tls;
    if name.is_empty() {
        problems.add("spec.tls.secretRef.name", "is missing: name a Secret with tls.crt and tls.key");
    }
    ValidTls { secret: name, min_version: min_version.unwrap_or_default() }
}

pub(super) fn check_headers(headers: &BTreeMap<String, Vec<String>>, problems: &mut Problems) {
    for (name, values) in headers {
        let field = format!("spec.headers.{name}");
        match name.parse::<HeaderName>() {
            Err(_) => problems.add(field, "is no name of a header, such as X-Content-Type-Options"),
            Ok(name) if FRAMING_HEADERS.contains(&name) => {
                problems.add(field, "says how an answer ends, which the registry alone knows: leave it out");
            }
            Ok(_) if values.is_empty() => problems.add(field, "has no value: give one, as in [nosniff]"),
            Ok(_) if values.iter().any(|value| HeaderValue::from_str(value).is_err()) => {
                problems.add(field, "has a value with a character that no header may hold");
            }
            Ok(_) => {}
        }
    }
}

pub(super) fn validation_of(validation: Validation, problems: &mut Problems) -> ValidValidation {
    const FIELD: &str = "spec.validation.manifests";
    let Validation { manifests } = validation;
    let ManifestValidation { urls, indexes } = manifests.unwrap_or_default();
    for (list, patterns) in urls.iter().flat_map(|UrlRules { allow, deny }| [("allow", allow), ("deny", deny)]) {
        for (index, pattern) in patterns.iter().enumerate() {
            if let Err(error) = Regex::new(pattern) {
                // The last line of several; those before it draw the place.
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                problems.add(
                    format!("{FIELD}.urls.{list}[{index}]"),
                    format!("{pattern:?} is no regular expression: {reason}"),
                );
            }
        }
    }
    let IndexRules { platforms, platform_list } = indexes.unwrap_or_default();
    let platforms = platforms.unwrap_or_default();
    if (platforms == IndexPlatforms::List) == platform_list.is_empty() {
        problems.add(
            format!("{FIELD}.indexes.platformList"),
            "goes with platforms List: name the platforms with it, or leave it out",
        );
    }
    let platforms = match platforms {
        IndexPlatforms::All => ValidPlatforms::All,
        IndexPlatforms::None => ValidPlatforms::None,
        IndexPlatforms::List => ValidPlatforms::List(platform_list),
    };
    ValidValidation { urls, platforms }
}
