//! Docker's schema 1: what is signed, what is stored, and what is served.
//!
//! Such a manifest travels as one JSON document that carries its own signatures ([`jws`]). The registry stores the signed
//! text alone, and its digest is that of this text, as CNCF Distribution 2.8 has it. Who pulls gets the text with one
//! signature of the registry's own ([`key`]): a client trusts the digest, and needs the signature only because the form
//! demands one.
//!
//! Whether schema 1 is accepted, and whether its layers are there, is not known here.

mod jws;
mod key;

use berth_oci::{ManifestKind, RepositoryName, Tag, media_type};
use bytes::Bytes;
use serde::Deserialize;

pub use jws::JwsError;
pub use key::{Signer, TrustKey, TrustKeyError};

/// Why a document is not a schema 1 manifest that can be stored.
#[derive(Debug, thiserror::Error)]
pub enum Schema1Error {
    /// The registry takes none.
    #[error(
        "schema 1 manifests are not accepted: push the image in the form of Docker's schema 2 or of OCI, or set \
         compatibility.schema1.enabled"
    )]
    NotAccepted,
    /// The form of the document or of its signatures is wrong, or a signature does not verify.
    #[error("schema 1 manifest: {0}")]
    Signature(#[from] JwsError),
    /// The signed text is not a schema 1 manifest.
    #[error("schema 1 manifest: {0}")]
    Json(#[source] serde_json::Error),
    /// The signed text says another version of itself.
    #[error("schema 1 manifest has schemaVersion {0}, not 1")]
    SchemaVersion(u32),
    /// The name in it can be no repository's.
    #[error("schema 1 manifest: {0}")]
    Name(#[source] berth_oci::NameError),
    /// The tag in it can be none.
    #[error("schema 1 manifest: {0}")]
    Tag(#[source] berth_oci::TagError),
    /// There is not one entry of history for every layer.
    #[error("schema 1 manifest has {history} entries in history for {layers} in fsLayers")]
    History {
        /// How many entries of history it has.
        history: usize,
        /// How many layers it has.
        layers: usize,
    },
}

/// What the signed text has to say for itself; which layers it refers to is read when it is stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    schema_version: u32,
    name: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    fs_layers: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    history: Vec<serde::de::IgnoredAny>,
}

/// Whether a pushed document is meant to be schema 1: by its `Content-Type` or, where that says nothing, by its version.
#[must_use]
pub fn is_meant(content_type: Option<&str>, raw: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: u32,
    }
    let essence = media_type::essence(content_type.unwrap_or_default()).to_ascii_lowercase();
    match essence.as_str() {
        media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED => true,
        "" | "application/json" => {
            serde_json::from_slice::<Version>(raw).is_ok_and(|version| version.schema_version == 1)
        }
        _ => false,
    }
}

/// The signed text of a pushed document, once every signature has verified and the text is a schema 1 manifest.
///
/// The name and the tag in it must be possible ones. That they are those of the request is not asked, as it is not by
/// Distribution: the same document may be pushed under a second tag.
///
/// # Errors
/// [`Schema1Error`].
pub fn open(raw: &[u8]) -> Result<Bytes, Schema1Error> {
    let payload = jws::open(raw)?;
    let Payload { schema_version, name, tag, fs_layers, history } =
        serde_json::from_slice(&payload).map_err(Schema1Error::Json)?;
    if schema_version != 1 {
        return Err(Schema1Error::SchemaVersion(schema_version));
    }
    name.parse::<RepositoryName>().map_err(Schema1Error::Name)?;
    if !tag.is_empty() {
        tag.parse::<Tag>().map_err(Schema1Error::Tag)?;
    }
    let (layers, history) = (fs_layers.len(), history.len());
    if layers != history {
        return Err(Schema1Error::History { history, layers });
    }
    Ok(payload.into())
}

/// The document to serve for a stored manifest: its bytes with a signature if it is schema 1, else as they are.
///
/// # Errors
/// When the stored text cannot be signed.
pub fn for_client(kind: ManifestKind, raw: &Bytes, signer: &Signer, now: jiff::Timestamp) -> Result<Bytes, JwsError> {
    if kind.is_schema1() { jws::sign(raw, signer.key()?, now).map(Bytes::from) } else { Ok(raw.clone()) }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
