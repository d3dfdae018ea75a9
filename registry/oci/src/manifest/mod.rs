//! A manifest, parsed from raw bytes.
//!
//! The digest of a manifest is the digest of those bytes, never of something serialized again. Only what a registry acts
//! on is read: the kind, the references and the subject. Whether a reference exists is not known here.
//!
//! What is *stored* is read for whatever it says ([`Manifest::parse`], [`ManifestKind::of_stored`], [`Mentions`]): it was
//! taken once, here or by CNCF Distribution, and is to be served. What is *pushed* is refused where Distribution refuses
//! it, or the OCI specification does ([`Manifest::parse_declared`]).

mod document;
mod json;
mod mentions;
mod pushed;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Digest, DigestError, ManifestKind, media_type};
use document::{Described, Document, FsLayers, Listed, Outline};
use json::{Field, Unkept, Wrong};

pub use mentions::Mentions;

/// The largest manifest that is accepted, in bytes: the size that the OCI distribution specification asks every registry
/// to accept at least, and the limit of CNCF Distribution.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are not a manifest that can be stored.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The body does not start with a JSON object.
    #[error("manifest is not a JSON object")]
    NotAnObject,
    /// The body is not JSON.
    #[error("manifest field {path}: {source}")]
    Json {
        /// Where in the document.
        path: String,
        /// What is wrong there.
        source: serde_json::Error,
    },
    /// A field has a value of another type than it should have.
    #[error("manifest field {path} is {found}, not {expected}")]
    Type {
        /// Where in the document.
        path: String,
        /// What stands there.
        found: &'static str,
        /// What should.
        expected: &'static str,
    },
    /// A reference names nothing.
    #[error("manifest field {path}: {source}")]
    Digest {
        /// Where in the document.
        path: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// `schemaVersion` is missing.
    #[error("manifest lacks the field \"schemaVersion\"")]
    NoSchemaVersion,
    /// `schemaVersion` is not 2, or in a stored manifest neither 1 nor 2.
    #[error("manifest has schemaVersion {0}, not 2")]
    SchemaVersion(i64),
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// The processor, as Go names it.
    pub architecture: String,
    /// The operating system, as Go names it.
    pub os: String,
    /// The variant of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A reference to content by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the content; empty if it is not said.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content in bytes; 0 if it is not said, as in a schema 1 image.
    pub size: u64,
    /// Where else the content can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// In an index: the platform of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Whether the content may live elsewhere, so that nothing is wrong if it is not here.
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
    unnamed: Vec<Unnamed>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
}

/// An entry of an index that names nothing that could be stored: its digest is none, or of an algorithm that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Where it stands.
    pub at: usize,
    /// What is wrong with its digest.
    pub error: DigestError,
    /// For which platform it is.
    pub platform: Option<Platform>,
}

impl ManifestKind {
    /// The kind of a stored manifest, without reading more of it than that takes.
    ///
    /// # Errors
    /// When it is none of the kinds.
    pub fn of_stored(raw: &[u8]) -> Result<Self, ManifestError> {
        let Outline { schema_version, media_type, manifests } = document::read(raw)?;
        kind(&schema_version, &media_type, &manifests)
    }
}

impl Manifest {
    /// Parses a stored manifest: what it refers to, as far as it can be read. Its kind is what the `mediaType` field says
    /// or, in an OCI manifest without one, what its fields are.
    ///
    /// # Errors
    /// When the bytes are not one of the kinds.
    pub fn parse(raw: &[u8]) -> Result<Self, ManifestError> {
        let document: Document<Unkept> = document::read(raw)?;
        let kind = kind(&document.schema_version, &document.media_type, &document.manifests)?;
        Ok(Manifest::found(kind, document).0)
    }

    /// As [`Manifest::parse`], with the annotations of the manifest itself.
    ///
    /// # Errors
    /// When the bytes are not one of the kinds.
    pub fn parse_annotated(raw: &[u8]) -> Result<(Self, BTreeMap<String, String>), ManifestError> {
        let document: Document<BTreeMap<String, String>> = document::read(raw)?;
        let kind = kind(&document.schema_version, &document.media_type, &document.manifests)?;
        let (manifest, annotations) = Manifest::found(kind, document);
        Ok((manifest, annotations.unwrap_or_default()))
    }

    /// Parses a manifest that is pushed with a `Content-Type`, which must agree with the `mediaType` field; without one its
    /// kind is what it says itself. Schema 1 is refused: it is sent with signatures, which are not looked at here.
    ///
    /// # Errors
    /// When the bytes are not a manifest of the declared kind, or it has something wrong that matters to its kind.
    pub fn parse_declared(raw: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let content_type = content_type.filter(|text| !media_type::essence(text).is_empty());
        let declared = content_type.map(|text| {
            let kind = ManifestKind::from_media_type(text).filter(|kind| !kind.is_schema1());
            kind.ok_or_else(|| ManifestError::UnsupportedMediaType(crate::digest::excerpt(text)))
        });
        let declared = declared.transpose()?;
        let document: Document<Unkept> = document::read(raw)?;
        let found = kind(&document.schema_version, &document.media_type, &document.manifests);
        if matches!(found, Ok(ManifestKind::DockerSchema1)) {
            return Err(ManifestError::SchemaVersion(1));
        }
        let kind = match declared {
            None => found?,
            Some(kind) => {
                // Before the media type: without a version there is nothing to agree with.
                version(&document.schema_version)?;
                pushed::agree(kind, &document.media_type)?;
                kind
            }
        };
        pushed::check(kind, &document)?;
        Ok(Manifest::found(kind, document).0)
    }

    /// Parses a schema 1 manifest that is pushed, without its signatures.
    ///
    /// # Errors
    /// When the bytes are not such a manifest, or one of its layers has no digest.
    pub fn parse_schema1(raw: &[u8]) -> Result<Self, ManifestError> {
        let document: Document<Unkept> = document::read(raw)?;
        let kind = kind(&document.schema_version, &document.media_type, &document.manifests)?;
        if !kind.is_schema1() {
            return Err(ManifestError::UnsupportedMediaType(kind.media_type().to_owned()));
        }
        pushed::check_schema1(&document)?;
        Ok(Manifest::found(kind, document).0)
    }

    /// What a document says, where it says something.
    fn found<A>(kind: ManifestKind, document: Document<A>) -> (Self, Option<A>) {
        let Document {
            schema_version: _,
            media_type: _,
            config,
            layers,
            manifests,
            subject,
            artifact_type,
            annotations,
            fs_layers,
        } = document;
        let described = |field: Field<Described>| field.value().and_then(|found| found.descriptor.ok());
        let listed = |field: Field<Listed>| field.value().unwrap_or_default();
        let empty = Manifest {
            kind,
            config: None,
            layers: Vec::new(),
            manifests: Vec::new(),
            unnamed: Vec::new(),
            subject: None,
            artifact_type: None,
        };
        if kind.is_schema1() {
            return (Manifest { layers: schema1_layers(fs_layers.value().unwrap_or_default()), ..empty }, None);
        }
        let common = Manifest { subject: described(subject), artifact_type: artifact_type.value(), ..empty };
        let manifest = if kind.is_index() {
            let Listed { descriptors, unnamed, .. } = listed(manifests);
            let unnamed = unnamed.into_iter().map(|(at, error, platform)| Unnamed { at, error, platform });
            Manifest { manifests: descriptors, unnamed: unnamed.collect(), ..common }
        } else {
            Manifest { config: described(config), layers: listed(layers).descriptors, ..common }
        };
        (manifest, annotations.value())
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

    /// The first entries of an index that name nothing.
    #[must_use]
    pub fn unnamed(&self) -> &[Unnamed] {
        &self.unnamed
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

/// The version of a document, if it is one that is known.
fn version(schema_version: &Field<i64>) -> Result<i64, ManifestError> {
    match schema_version {
        Field::Is(version @ (1 | 2)) => Ok(*version),
        Field::Is(other) => Err(ManifestError::SchemaVersion(*other)),
        Field::Absent => Err(ManifestError::NoSchemaVersion),
        Field::Wrong(wrong) => Err(type_error("schemaVersion".to_owned(), *wrong)),
    }
}

/// The kind that a document says it is or, where it does not say, that its fields are of.
fn kind<T>(
    schema_version: &Field<i64>,
    media_type: &Field<String>,
    manifests: &Field<T>,
) -> Result<ManifestKind, ManifestError> {
    if version(schema_version)? == 1 {
        return Ok(ManifestKind::DockerSchema1);
    }
    match media_type {
        Field::Is(text) if !text.is_empty() => ManifestKind::from_media_type(text)
            .ok_or_else(|| ManifestError::UnsupportedMediaType(crate::digest::excerpt(text))),
        Field::Wrong(wrong) => Err(type_error("mediaType".to_owned(), *wrong)),
        Field::Is(_) | Field::Absent if matches!(manifests, Field::Is(_)) => Ok(ManifestKind::OciIndex),
        Field::Is(_) | Field::Absent => Ok(ManifestKind::OciImage),
    }
}

fn type_error(path: String, wrong: Wrong) -> ManifestError {
    let Wrong { found, expected } = wrong;
    ManifestError::Type { path, found, expected }
}

/// The layers of a schema 1 image are all that it refers to. They stand highest first; what it repeats stays repeated.
fn schema1_layers(layers: FsLayers) -> Vec<Descriptor> {
    let media_type = media_type::DOCKER_SCHEMA1_LAYER;
    let layer = |digest| Descriptor { media_type: media_type.to_owned(), digest, size: 0, urls: None, platform: None };
    layers.digests.into_iter().rev().map(layer).collect()
}

#[cfg(test)]
mod tests;
