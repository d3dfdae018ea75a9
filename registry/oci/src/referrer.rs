//! A referrer: a manifest, described as the list of those that refer to a subject has it.
//!
//! The rules are those of the OCI distribution specification, "Listing Referrers". Which manifests a repository has is not
//! known here.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Digest, Manifest};

/// A descriptor in the list of referrers. Serialized, it is an entry of an OCI index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The media type of the manifest.
    pub media_type: &'static str,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The length of the manifest in bytes.
    pub size: u64,
    /// What kind of thing the manifest is: what it says itself, or else the media type of an image's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The annotations of the manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Referrer {
    /// Describes a manifest with these annotations, of this digest and length, whether it has a subject or not.
    #[must_use]
    pub fn of(manifest: &Manifest, annotations: BTreeMap<String, String>, digest: Digest, size: u64) -> Self {
        let stated = manifest.artifact_type();
        let configured = || manifest.config().map(|config| config.media_type.as_str());
        let filled = |text: &&str| !text.is_empty();
        let artifact_type = stated.filter(filled).or_else(|| configured().filter(filled)).map(str::to_owned);
        Referrer { media_type: manifest.kind().media_type(), digest, size, artifact_type, annotations }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_is_stated_or_that_of_the_configuration() {
        fn check(raw: &serde_json::Value, expected: &serde_json::Value) {
            let raw = raw.to_string();
            let (manifest, annotations) = Manifest::parse_annotated(raw.as_bytes()).unwrap();
            let referrer = Referrer::of(&manifest, annotations, Digest::sha256(b""), 7);
            let mut expected = expected.clone();
            expected["digest"] = json!(Digest::sha256(b""));
            expected["size"] = json!(7);
            assert_eq!(serde_json::to_value(&referrer).unwrap(), expected, "{raw}");
        }
        let (image, index) = (crate::media_type::OCI_IMAGE, crate::media_type::OCI_INDEX);
        let config = |media_type: &str| json!({ "mediaType": media_type, "digest": Digest::sha256(b"c"), "size": 1 });
        let notes = json!({ "note": "one", "other": "" });
        check(
            &json!({ "schemaVersion": 2, "config": config("a/config"), "artifactType": "a/type", "annotations": notes }),
            &json!({ "mediaType": image, "artifactType": "a/type", "annotations": notes }),
        );
        for missing in [json!(null), json!("")] {
            check(
                &json!({ "schemaVersion": 2, "config": config("a/config"), "artifactType": missing }),
                &json!({ "mediaType": image, "artifactType": "a/config" }),
            );
            check(
                &json!({ "schemaVersion": 2, "manifests": [], "artifactType": missing, "annotations": null }),
                &json!({ "mediaType": index }),
            );
        }
        check(&json!({ "schemaVersion": 2, "config": config("") }), &json!({ "mediaType": image }));
        check(
            &json!({ "schemaVersion": 2, "manifests": [], "artifactType": "a/type" }),
            &json!({ "mediaType": index, "artifactType": "a/type" }),
        );
    }
}
