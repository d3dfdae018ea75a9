//! The words of the OCI distribution API as types: digest, repository name, tag, reference, descriptor, manifest, media
//! type and error code.
//!
//! Every type parses once, at the edge, and cannot be built wrong afterwards. This crate knows nothing of HTTP, of
//! storage keys or of configuration.

mod digest;
mod error_code;
mod hasher;
mod manifest;
pub mod media_type;
mod name;
mod reference;
mod referrer;

pub use digest::{Algorithm, Digest, DigestError};
pub use error_code::ErrorCode;
pub use hasher::Hasher;
pub use manifest::{Descriptor, MAX_MANIFEST_BYTES, Manifest, ManifestError, Mentions, Platform, Unnamed};
pub use media_type::ManifestKind;
pub use name::{MAX_NAME_BYTES, NameError, RepositoryName};
pub use reference::{MAX_TAG_BYTES, Reference, ReferenceError, Tag, TagError};
pub use referrer::Referrer;
