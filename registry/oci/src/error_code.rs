//! The error codes of the distribution API, with the messages that CNCF Distribution gives them.
//!
//! Which HTTP status a code has is not known here.

use std::fmt;

/// A code in the `errors` list of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A blob is not known to the repository.
    BlobUnknown,
    /// An upload session cannot be gone on with.
    BlobUploadInvalid,
    /// An upload session does not exist.
    BlobUploadUnknown,
    /// The identity may not do this.
    Denied,
    /// The content does not have the digest that was given, or the digest is malformed.
    DigestInvalid,
    /// A manifest refers to content that the repository does not have.
    ManifestBlobUnknown,
    /// A manifest cannot be parsed or is not allowed.
    ManifestInvalid,
    /// A manifest is not known to the repository.
    ManifestUnknown,
    /// A manifest did not verify.
    ManifestUnverified,
    /// A repository name is malformed.
    NameInvalid,
    /// A repository is not known.
    NameUnknown,
    /// The number of entries asked for is malformed or too large.
    PaginationNumberInvalid,
    /// A range does not fit the content.
    RangeInvalid,
    /// A length does not fit the content.
    SizeInvalid,
    /// A tag is malformed or does not match.
    TagInvalid,
    /// The client asks too much.
    TooManyRequests,
    /// The identity is not known.
    Unauthorized,
    /// The service cannot answer now.
    Unavailable,
    /// Something else went wrong.
    Unknown,
    /// The operation is not supported, or switched off.
    Unsupported,
}

impl ErrorCode {
    /// The code as it stands in an answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.texts().0
    }

    /// The message as it stands in an answer.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            ErrorCode::BlobUnknown => ("BLOB_UNKNOWN", "blob unknown to registry"),
            ErrorCode::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
            ErrorCode::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
            ErrorCode::Denied => ("DENIED", "requested access to the resource is denied"),
            ErrorCode::DigestInvalid => ("DIGEST_INVALID", "provided digest did not match uploaded content"),
            ErrorCode::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
            ErrorCode::ManifestInvalid => ("MANIFEST_INVALID", "manifest invalid"),
            ErrorCode::ManifestUnknown => ("MANIFEST_UNKNOWN", "manifest unknown"),
            ErrorCode::ManifestUnverified => ("MANIFEST_UNVERIFIED", "manifest failed signature verification"),
            ErrorCode::NameInvalid => ("NAME_INVALID", "invalid repository name"),
            ErrorCode::NameUnknown => ("NAME_UNKNOWN", "repository name not known to registry"),
            ErrorCode::PaginationNumberInvalid => ("PAGINATION_NUMBER_INVALID", "invalid number of results requested"),
            ErrorCode::RangeInvalid => ("RANGE_INVALID", "invalid content range"),
            ErrorCode::SizeInvalid => ("SIZE_INVALID", "provided length did not match content length"),
            ErrorCode::TagInvalid => ("TAG_INVALID", "manifest tag did not match URI"),
            ErrorCode::TooManyRequests => ("TOOMANYREQUESTS", "too many requests"),
            ErrorCode::Unauthorized => ("UNAUTHORIZED", "authentication required"),
            ErrorCode::Unavailable => ("UNAVAILABLE", "service unavailable"),
            ErrorCode::Unknown => ("UNKNOWN", "unknown error"),
            ErrorCode::Unsupported => ("UNSUPPORTED", "The operation is unsupported."),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
