//! A manifest, parsed from the raw bytes that a client pushed.
//!
//! The digest of a manifest is the digest of those bytes, never of something serialized again. Only what a registry acts
//! on is read: the kind, the references and the subject. Whether a reference exists is not known here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, ManifestKind, media_type};

/// The largest manifest that is accepted, in bytes: the size that the OCI distribution specification asks every registry
/// to accept at least, and the limit of CNCF Distribution.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are not a manifest that can be stored.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The body does not start with a JSON object.
    #[error("manifest is not a JSON object")]
    NotAnObject,
    /// The body is not JSON, or a field has the wrong type or value.
    #[error("manifest field {path}: {source}")]
    Json {
        /// Where in the document.
        path: String,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// `schemaVersion` is not 2, or in a stored manifest neither 1 nor 2.
    #[error("manifest has schemaVersion {0}, not 2")]
    SchemaVersion(u32),
    /// The media type is not one of the kinds.
    #[error("manifest media type {0:?} is not supported")]
    UnsupportedMediaType(String),
    /// The `Content-Type` of the request and the `mediaType` field disagree.
    #[error("manifest was sent as {declared} but its mediaType field says {found:?}")]
    MediaTypeMismatch {
        /// What the request said.
        declared: &'static str,
        /// What the body says; empty when the field is missing where it must not be.
        found: String,
    },
    /// An image holds `manifests`, or an index holds `config` or `layers`, so that its kind depends on the reader.
    #[error("manifest of type {kind} has a field {field:?} that belongs to another kind")]
    Ambiguous {
        /// The media type of the manifest.
        kind: &'static str,
        /// The field that does not belong.
        field: &'static str,
    },
    /// A field that the kind requires is missing.
    #[error("manifest of type {kind} lacks the field {field:?}")]
    Missing {
        /// The media type of the manifest.
        kind: &'static str,
        /// The field that is missing.
        field: &'static str,
    },
}

/// The platform that an image of an index runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, as Go names it.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, as Go names it.
    #[serde(default)]
    pub os: String,
    /// The variant of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A reference to content by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the content.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content in bytes; 0 in a schema 1 image, which does not say it.
    pub size: u64,
    /// Where else the content can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// In an index: the platform of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Whether the content may live elsewhere, so that a push need not bring it.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        media_type::is_foreign_layer(&self.media_type) && self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
    }
}

/// A parsed manifest: what it is and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    kind: ManifestKind,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

/// The union of the fields of all kinds; `null` counts as absent, as it does for every Go client.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    fs_layers: Option<Vec<FsLayer>>,
}

/// A layer of a schema 1 image.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: Digest,
}

impl Manifest {
    /// Parses a stored manifest. Its kind is what the `mediaType` field says or, in an OCI manifest without one, what its
    /// fields are.
    ///
    /// # Errors
    /// When the bytes are not one of the kinds.
    pub fn parse(raw: &[u8]) -> Result<Self, ManifestError> {
        let document = read(raw)?;
        if document.schema_version == 1 {
            return schema1(document);
        }
        let kind = match document.media_type.as_deref().unwrap_or_default() {
            "" if document.manifests.is_some() => ManifestKind::OciIndex,
            "" => ManifestKind::OciImage,
            text => ManifestKind::from_media_type(text)
                .ok_or_else(|| ManifestError::UnsupportedMediaType(crate::digest::excerpt(text)))?,
        };
        build(kind, document)
    }

    /// Parses a manifest that was sent with a `Content-Type`, which must agree with the `mediaType` field. Without a
    /// `Content-Type` this is [`Manifest::parse`]. Schema 1 is refused: it is sent with signatures, which are not looked
    /// at here.
    ///
    /// # Errors
    /// When the bytes are not a manifest of the declared kind.
    pub fn parse_declared(raw: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let Some(content_type) = content_type.filter(|text| !media_type::essence(text).is_empty()) else {
            let manifest = Manifest::parse(raw)?;
            return if manifest.kind.is_schema1() { Err(ManifestError::SchemaVersion(1)) } else { Ok(manifest) };
        };
        let kind = ManifestKind::from_media_type(content_type)
            .filter(|kind| !kind.is_schema1())
            .ok_or_else(|| ManifestError::UnsupportedMediaType(crate::digest::excerpt(content_type)))?;
        let document = read(raw)?;
        if document.schema_version == 1 {
            return Err(ManifestError::SchemaVersion(1));
        }
        let found = document.media_type.as_deref().unwrap_or_default();
        // The field is optional in OCI documents and required in Docker's.
        let may_be_absent = matches!(kind, ManifestKind::OciImage | ManifestKind::OciIndex);
        if found != kind.media_type() && !(found.is_empty() && may_be_absent) {
            return Err(ManifestError::MediaTypeMismatch {
                declared: kind.media_type(),
                found: crate::digest::excerpt(found),
            });
        }
        build(kind, document)
    }

    /// Which of the kinds this is.
    #[must_use]
    pub fn kind(&self) -> ManifestKind {
        self.kind
    }

    /// The configuration of an image.
    #[must_use]
    pub fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The layers of an image, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The manifests of an index.
    #[must_use]
    pub fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// The manifest that this one says something about.
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The type of the artifact, if the manifest states one.
    #[must_use]
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The annotations of the manifest itself.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The blobs of an image: its configuration and its layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// The image of an index that a client without support for indexes is given: the first for this platform.
    #[must_use]
    pub fn for_platform(&self, os: &str, architecture: &str) -> Option<&Descriptor> {
        self.manifests.iter().find(|descriptor| {
            descriptor
                .platform
                .as_ref()
                .is_some_and(|platform| platform.os == os && platform.architecture == architecture)
        })
    }
}

fn read(raw: &[u8]) -> Result<Document, ManifestError> {
    // The derived parser would take an array of the fields as well.
    if raw.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ManifestError::NotAnObject);
    }
    let document = parse_document(raw)?;
    if !matches!(document.schema_version, 1 | 2) {
        return Err(ManifestError::SchemaVersion(document.schema_version));
    }
    Ok(document)
}

fn parse_document(raw: &[u8]) -> Result<Document, ManifestError> {
    let mut deserializer = serde_json::Deserializer::from_slice(raw);
    let document: Document = match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(document) => document,
        Err(error) => {
            // The derived parser refuses a field that stands there twice. Go, and so every registry and client that is
            // written in it, takes the last one, and stores are full of what they have taken.
            let tolerant = serde_json::from_slice::<serde_json::Value>(raw).and_then(serde_json::from_value);
            let refused = |_| ManifestError::Json { path: error.path().to_string(), source: error.into_inner() };
            return tolerant.map_err(refused);
        }
    };
    // Bytes after the document would be signed by the digest and read by nobody.
    deserializer.end().map_err(|source| ManifestError::Json { path: ".".to_owned(), source })?;
    Ok(document)
}

/// The layers of a schema 1 image are all that it refers to. They stand highest first; what it repeats stays repeated.
fn schema1(document: Document) -> Result<Manifest, ManifestError> {
    let kind = ManifestKind::DockerSchema1;
    let layers = document.fs_layers;
    let layers = layers.ok_or(ManifestError::Missing { kind: kind.media_type(), field: "fsLayers" })?;
    let media_type = media_type::DOCKER_SCHEMA1_LAYER;
    let layer = |digest| Descriptor { media_type: media_type.to_owned(), digest, size: 0, urls: None, platform: None };
    Ok(Manifest {
        kind,
        config: None,
        layers: layers.into_iter().rev().map(|FsLayer { blob_sum }| layer(blob_sum)).collect(),
        manifests: Vec::new(),
        subject: None,
        artifact_type: None,
        annotations: BTreeMap::new(),
    })
}

fn build(kind: ManifestKind, document: Document) -> Result<Manifest, ManifestError> {
    let Document {
        schema_version: _,
        media_type: _,
        config,
        layers,
        manifests,
        subject,
        artifact_type,
        annotations,
        fs_layers: _,
    } = document;
    let ambiguous = |field| ManifestError::Ambiguous { kind: kind.media_type(), field };
    let missing = |field| ManifestError::Missing { kind: kind.media_type(), field };
    if kind.is_index() {
        if config.is_some() {
            return Err(ambiguous("config"));
        }
        if layers.is_some() {
            return Err(ambiguous("layers"));
        }
        if manifests.is_none() {
            return Err(missing("manifests"));
        }
    } else {
        if manifests.is_some() {
            return Err(ambiguous("manifests"));
        }
        if config.is_none() {
            return Err(missing("config"));
        }
    }
    Ok(Manifest {
        kind,
        config,
        layers: layers.unwrap_or_default(),
        manifests: manifests.unwrap_or_default(),
        subject,
        artifact_type,
        annotations: annotations.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX};

    fn descriptor() -> String {
        format!("{{\"mediaType\":\"x\",\"digest\":\"{}\",\"size\":3}}", Digest::sha256(b"abc"))
    }

    fn image(media_type: Option<&str>) -> String {
        let field = media_type.map(|text| format!("\"mediaType\":{text:?},")).unwrap_or_default();
        format!("{{\"schemaVersion\":2,{field}\"config\":{0},\"layers\":[{0}]}}", descriptor())
    }

    fn index(media_type: Option<&str>) -> String {
        let field = media_type.map(|text| format!("\"mediaType\":{text:?},")).unwrap_or_default();
        format!("{{\"schemaVersion\":2,{field}\"manifests\":[{}]}}", descriptor())
    }

    #[test]
    fn of_a_field_that_stands_twice_the_last_counts() {
        let text = image(Some(OCI_IMAGE));
        let other = Digest::sha256(b"other");
        let twice = text.replacen(
            "\"config\":",
            &format!("\"config\":{{\"digest\":\"{other}\",\"size\":1}},\"schemaVersion\":2,\"config\":"),
            1,
        );
        assert_eq!(Manifest::parse(twice.as_bytes()).expect("it is read"), Manifest::parse(text.as_bytes()).unwrap());
        let wrong = twice.replacen("\"size\":3", "\"size\":-3", 1);
        let error = Manifest::parse(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("manifest field "), "{error}");
    }

    #[test]
    fn the_kind_comes_from_the_field_or_the_shape() {
        fn check(raw: &str, expected: Result<ManifestKind, &str>) {
            let found = Manifest::parse(raw.as_bytes()).map(|manifest| manifest.kind()).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{raw}");
        }
        check(&image(None), Ok(ManifestKind::OciImage));
        check(&image(Some(OCI_IMAGE)), Ok(ManifestKind::OciImage));
        check(&image(Some(DOCKER_IMAGE)), Ok(ManifestKind::DockerImage));
        check(&index(None), Ok(ManifestKind::OciIndex));
        check(&index(Some(OCI_INDEX)), Ok(ManifestKind::OciIndex));
        check(&index(Some(DOCKER_LIST)), Ok(ManifestKind::DockerList));
        check(&image(Some("text/plain")), Err("manifest media type \"text/plain\" is not supported"));
        check(
            &image(Some(OCI_INDEX)),
            Err(
                "manifest of type application/vnd.oci.image.index.v1+json has a field \"config\" that belongs to another kind",
            ),
        );
        check(
            &index(Some(OCI_IMAGE)),
            Err(
                "manifest of type application/vnd.oci.image.manifest.v1+json has a field \"manifests\" that belongs to another kind",
            ),
        );
        check(
            "{\"schemaVersion\":2}",
            Err("manifest of type application/vnd.oci.image.manifest.v1+json lacks the field \"config\""),
        );
        check("{\"schemaVersion\":3}", Err("manifest has schemaVersion 3, not 2"));
        check("{\"schemaVersion\":1,\"fsLayers\":[]}", Ok(ManifestKind::DockerSchema1));
        check(
            "{\"schemaVersion\":1}",
            Err(
                "manifest of type application/vnd.docker.distribution.manifest.v1+prettyjws lacks the field \"fsLayers\"",
            ),
        );
        check(
            "{\"schemaVersion\":1,\"fsLayers\":[{\"blobSum\":\"tarsum.v1+sha256:00\"}]}",
            Err(
                "manifest field fsLayers[0].blobSum: digest algorithm \"tarsum.v1+sha256\" is not supported: use sha256, sha384 or sha512 at line 1 column 64",
            ),
        );
        check("{}", Err("manifest field .: missing field `schemaVersion` at line 1 column 2"));
        check("[2]", Err("manifest is not a JSON object"));
        check("", Err("manifest is not a JSON object"));
        check("{", Err("manifest field ?: EOF while parsing an object at line 1 column 1"));
        let trailing = format!("{}{{}}", image(None));
        let column = image(None).len() + 1;
        check(&trailing, Err(&format!("manifest field .: trailing characters at line 1 column {column}")));
        check(
            "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:0\",\"size\":1}}",
            Err("manifest field config.digest: sha256 digest has 1 hexadecimal characters, not 64 at line 1 column 48"),
        );
    }

    #[test]
    fn the_content_type_must_agree_with_the_field() {
        fn check(raw: &str, content_type: Option<&str>, valid: bool) {
            let found = Manifest::parse_declared(raw.as_bytes(), content_type);
            assert_eq!(found.is_ok(), valid, "{content_type:?} {raw}: {found:?}");
        }
        check(&image(None), Some(OCI_IMAGE), true);
        check(&image(None), None, true);
        check(&image(Some(OCI_IMAGE)), Some(OCI_IMAGE), true);
        check(&image(Some(OCI_IMAGE)), Some(&format!("{OCI_IMAGE}; charset=utf-8")), true);
        check(&image(Some(DOCKER_IMAGE)), Some(DOCKER_IMAGE), true);
        check(&image(None), Some(DOCKER_IMAGE), false);
        check(&image(Some(OCI_IMAGE)), Some(DOCKER_IMAGE), false);
        check(&image(Some(DOCKER_IMAGE)), Some(OCI_IMAGE), false);
        check(&index(None), Some(OCI_INDEX), true);
        check(&index(None), Some(OCI_IMAGE), false);
        check(&image(None), Some(OCI_INDEX), false);
        check(&image(None), Some("application/json"), false);
    }

    #[test]
    fn the_layers_of_schema_1_are_its_blobs() {
        let (low, high) = (Digest::sha256(b"low"), Digest::sha256(b"high"));
        let raw = format!(
            "{{\"schemaVersion\":1,\"name\":\"a\",\"fsLayers\":[{{\"blobSum\":\"{high}\"}},{{\"blobSum\":\"{low}\"}}],\
             \"config\":null}}"
        );
        let manifest = Manifest::parse(raw.as_bytes()).unwrap();
        let blobs: Vec<&Digest> = manifest.blobs().map(|descriptor| &descriptor.digest).collect();
        assert_eq!(blobs, [&low, &high]);
        assert!(manifest.manifests().is_empty() && manifest.subject().is_none());
        for content_type in [None, Some(DOCKER_IMAGE), Some(media_type::DOCKER_SCHEMA1_SIGNED)] {
            assert!(Manifest::parse_declared(raw.as_bytes(), content_type).is_err(), "{content_type:?}");
        }
    }

    #[test]
    fn null_counts_as_absent() {
        let raw = format!(
            "{{\"schemaVersion\":2,\"config\":{},\"layers\":null,\"manifests\":null,\"annotations\":null}}",
            descriptor()
        );
        let manifest = Manifest::parse(raw.as_bytes()).unwrap();
        assert_eq!(manifest.kind(), ManifestKind::OciImage);
        assert_eq!(manifest.blobs().count(), 1);
    }

    #[test]
    fn the_platform_is_chosen_by_both_words() {
        let entry = |os: &str, architecture: &str, content: &[u8]| {
            let digest = Digest::sha256(content);
            format!(
                "{{\"digest\":\"{digest}\",\"size\":1,\"platform\":{{\"os\":{os:?},\"architecture\":{architecture:?}}}}}"
            )
        };
        let raw = format!(
            "{{\"schemaVersion\":2,\"manifests\":[{},{},{}]}}",
            entry("windows", "amd64", b"1"),
            entry("linux", "arm64", b"2"),
            entry("linux", "amd64", b"3")
        );
        let manifest = Manifest::parse(raw.as_bytes()).unwrap();
        let chosen = manifest.for_platform("linux", "amd64").map(|descriptor| descriptor.digest.clone());
        assert_eq!(chosen, Some(Digest::sha256(b"3")));
        assert_eq!(manifest.for_platform("plan9", "amd64"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(raw: Vec<u8>) {
            let _ = Manifest::parse(&raw);
        }
    }
}
