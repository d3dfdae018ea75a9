//! What a pushed manifest is refused for, besides being none: pure decisions over what stands in the document.

use super::document::{Described, Document, Fault, FsLayers, Listed};
use super::json::{Field, Unkept};
use super::{ManifestError, type_error};
use crate::ManifestKind;

/// Whether the `mediaType` field says the kind that was declared. It is optional in OCI documents and required in
/// Docker's.
pub(super) fn agree(kind: ManifestKind, media_type: &Field<String>) -> Result<(), ManifestError> {
    let found = match media_type {
        Field::Is(text) => text.as_str(),
        Field::Absent => "",
        Field::Wrong(wrong) => return Err(type_error("mediaType".to_owned(), *wrong)),
    };
    let may_be_absent = matches!(kind, ManifestKind::OciImage | ManifestKind::OciIndex);
    if found == kind.media_type() || (found.is_empty() && may_be_absent) {
        return Ok(());
    }
    Err(ManifestError::MediaTypeMismatch { declared: kind.media_type(), found: crate::digest::excerpt(found) })
}

/// Refuses a pushed document for what Distribution refuses it for: what it reads of this kind must be of the right type,
/// everything in an image must name something, and an OCI document must not be of both kinds.
pub(super) fn check(kind: ManifestKind, document: &Document<Unkept>) -> Result<(), ManifestError> {
    let Document {
        schema_version: _,
        media_type: _,
        config,
        layers,
        manifests,
        // What they say is for clients; one that names nothing is no subject.
        subject: _,
        artifact_type: _,
        annotations,
        fs_layers: _,
    } = document;
    let is_oci = matches!(kind, ManifestKind::OciImage | ManifestKind::OciIndex);
    let others = if kind.is_index() {
        [("config", !config.is_absent()), ("layers", !layers.is_absent())]
    } else {
        [("manifests", !manifests.is_absent()), ("", false)]
    };
    if let Some((field, _)) = others.into_iter().find(|(_, is_there)| *is_there && is_oci) {
        return Err(ManifestError::Ambiguous { kind: kind.media_type(), field });
    }
    if is_oci {
        check_annotations(annotations)?;
    }
    if kind.is_index() {
        return check_list("manifests", manifests).map(drop);
    }
    match config {
        Field::Absent => return Err(ManifestError::Missing { kind: kind.media_type(), field: "config" }),
        Field::Wrong(wrong) => return Err(type_error("config".to_owned(), *wrong)),
        Field::Is(Described { fault: Some(fault), .. }) => return Err(fault_error("config", fault)),
        Field::Is(Described { descriptor: Err(error), .. }) => {
            return Err(ManifestError::Digest { path: "config.digest".to_owned(), source: error.clone() });
        }
        Field::Is(_) => {}
    }
    match check_list("layers", layers)?.and_then(|layers| layers.unnamed.first()) {
        None => Ok(()),
        Some((at, error, _)) => {
            Err(ManifestError::Digest { path: format!("layers[{at}].digest"), source: error.clone() })
        }
    }
}

/// As [`check`], for schema 1.
pub(super) fn check_schema1(document: &Document<Unkept>) -> Result<(), ManifestError> {
    let kind = ManifestKind::DockerSchema1.media_type();
    match &document.fs_layers {
        Field::Absent => Err(ManifestError::Missing { kind, field: "fsLayers" }),
        Field::Wrong(wrong) => Err(type_error("fsLayers".to_owned(), *wrong)),
        Field::Is(FsLayers { unnamed: Some((at, error)), .. }) => {
            Err(ManifestError::Digest { path: format!("fsLayers[{at}].blobSum"), source: error.clone() })
        }
        Field::Is(_) => Ok(()),
    }
}

fn check_annotations(annotations: &Field<Unkept>) -> Result<(), ManifestError> {
    match annotations {
        Field::Wrong(wrong) => Err(type_error("annotations".to_owned(), *wrong)),
        Field::Is(Unkept { wrong: Some((key, wrong)) }) => Err(type_error(format!("annotations.{key}"), *wrong)),
        Field::Absent | Field::Is(Unkept { wrong: None }) => Ok(()),
    }
}

fn check_list<'a>(field: &str, list: &'a Field<Listed>) -> Result<Option<&'a Listed>, ManifestError> {
    match list {
        Field::Absent => Ok(None),
        Field::Wrong(wrong) => Err(type_error(field.to_owned(), *wrong)),
        Field::Is(Listed { fault: Some((at, fault)), .. }) => Err(fault_error(&format!("{field}[{at}]"), fault)),
        Field::Is(listed) => Ok(Some(listed)),
    }
}

fn fault_error(descriptor: &str, fault: &Fault) -> ManifestError {
    let dot = if fault.field.is_empty() { "" } else { "." };
    type_error(format!("{descriptor}{dot}{}", fault.field), fault.wrong)
}
