//! Why the registry cannot do what was asked, in its own words. How an error looks over HTTP is not known here.

use berth_oci::{Digest, DigestError, ManifestError, RepositoryName};
use berth_storage::{BoxError, StoreError};

use crate::conditions::Unmet;
use crate::rules::RuleError;
use crate::schema1::Schema1Error;

/// An error of the registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository does not have the blob.
    #[error("blob {digest} is not known to repository {name}")]
    BlobUnknown {
        /// The repository.
        name: RepositoryName,
        /// The blob.
        digest: Digest,
    },
    /// There is no such repository.
    #[error("repository {name} is not known")]
    NameUnknown {
        /// The repository.
        name: RepositoryName,
    },
    /// The repository does not have the manifest or the tag.
    #[error("manifest {reference} is not known to repository {name}")]
    ManifestUnknown {
        /// The repository.
        name: RepositoryName,
        /// The tag or digest that was asked for.
        reference: String,
    },
    /// A stored manifest is of a kind that cannot be served.
    #[error("manifest {digest} of repository {name} cannot be served: {source}")]
    ManifestUnreadable {
        /// The repository.
        name: RepositoryName,
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A pushed manifest is not one.
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    /// A pushed document is not a schema 1 manifest that is taken.
    #[error(transparent)]
    Schema1(#[from] Schema1Error),
    /// A pushed manifest is well-formed, but may not be pushed here.
    #[error(transparent)]
    ManifestRefused(#[from] RuleError),
    /// A pushed manifest refers to content that the repository does not have.
    #[error("the manifest refers to {} blobs or manifests that repository {name} does not have", missing.len() + more)]
    ReferencesUnknown {
        /// The repository.
        name: RepositoryName,
        /// What is missing, in the order of the manifest; the first of it.
        missing: Vec<Digest>,
        /// How much more is.
        more: usize,
    },
    /// Content does not have the digest that was given for it.
    #[error("the content has digest {found}, not {expected}")]
    DigestMismatch {
        /// The digest that was given.
        expected: Digest,
        /// The digest that the content has.
        found: Digest,
    },
    /// There is no such upload session.
    #[error("upload {id} is not known to repository {name}")]
    UploadUnknown {
        /// The repository.
        name: RepositoryName,
        /// The session.
        id: uuid::Uuid,
    },
    /// Another request has been working on the session for too long.
    #[error("upload {id} is busy with another request")]
    UploadBusy {
        /// The session.
        id: uuid::Uuid,
    },
    /// A chunk does not begin where the upload ends.
    #[error("upload {id} goes on at byte {offset}")]
    UploadOffset {
        /// The session.
        id: uuid::Uuid,
        /// The length of the upload so far, in bytes.
        offset: u64,
    },
    /// A request's body broke off, or is malformed. What had arrived stays in the session.
    #[error("the body cannot be read to its end")]
    BodyInterrupted {
        /// What the connection said.
        source: BoxError,
    },
    /// Others have kept the server busy with large manifests for too long.
    #[error("too many large manifests are being pushed or read: try again")]
    TooManyLargeManifests,
    /// The garbage collector is deleting what the request is about, and takes long.
    #[error("the content is being collected: try again")]
    BeingCollected,
    /// Other servers on the same store change the repository all the time.
    #[error("repository {name} is being changed by other servers: try again")]
    RepositoryBusy {
        /// The repository.
        name: RepositoryName,
    },
    /// The request is only to be done under a condition that does not hold.
    #[error(transparent)]
    ConditionUnmet(#[from] Unmet),
    /// Deletion is switched off.
    #[error("deletion is switched off (storage.delete.enabled)")]
    DeleteDisabled,
    /// Writing is switched off.
    #[error("the registry is read-only: {reason}")]
    ReadOnly {
        /// Who or what has switched it off, for the client.
        reason: String,
    },
    /// A link in the store does not hold a digest.
    #[error("{key}: {source}")]
    Link {
        /// The key of the link.
        key: String,
        /// What is wrong with its content.
        source: DigestError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task was stopped before it ended.
    #[error("the request was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}
