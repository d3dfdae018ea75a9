//! The resource types of Berth, group `berth.dev`: [`Registry`] and [`GCPolicy`], one kind a file.
//!
//! The types are read leniently, because one resource that cannot be read would stop the watch of all of them: text
//! with a syntax ([`Size`], [`Span`]) is kept as it was written, and checked by the rules of the schema at admission and
//! by the operator when it validates. The schemas have no defaults, so that a stored resource is exactly what was
//! applied; the operator computes defaults and shows them in `status.effective`.
//!
//! This crate knows nothing of what is made from a resource.

#![expect(unreachable_pub, reason = "the schema derive puts a copy of each type inside a function")]

mod definition;
mod gc_policy;
pub mod pattern;
mod registry;
mod size;
mod span;

pub use definition::{definitions, to_yaml, unknown_fields};
pub use gc_policy::{
    GCPolicy, GCPolicySpec, GCPolicyStatus, GcEffective, GcSummary, MAX_RUNS, Outcome, RegistryRef, Run,
};
pub use registry::auth::{
    AccessAction, AccessRule, AnonymousRule, Auth, HtpasswdAuth, KeySet, KeySetRef, TokenService,
};
pub use registry::issuer::{Issuer, IssuerHtpasswd, OidcIssuer, RefreshTokens, ServiceAccountTokens, TokenKeys};
pub use registry::object_store::{
    SecretCredentials,
    azure::{Azure, AzureClientSecret, AzureCredentials, AzureWorkloadIdentity},
    gcs::{Gcs, GcsCredentials, GcsWorkloadIdentity},
    oss::{Oss, OssCredentials, OssWorkloadIdentity},
    s3::{S3, S3Credentials, S3Encryption, S3WorkloadIdentity},
    swift::{Swift, SwiftEndpointType},
};
pub use registry::pull_secret::PullSecret;
pub use registry::reference::{CertificateAuthority, KeyRef, SecretRef};
pub use registry::status::{Effective, EffectiveAuth, EffectiveStorage, RegistryStatus, Summary, TokenKeysStatus};
pub use registry::storage::{AccessMode, EmptyDir, InMemory, PersistentVolumeClaim, Storage};
pub use registry::tls::{Tls, TlsVersion};
pub use registry::validation::{IndexPlatforms, IndexRules, ManifestValidation, Platform, UrlRules, Validation};
pub use registry::{
    AuditEvents, DeletionPolicy, ImagePullPolicy, Log, LogFormat, LogLevel, Registry, RegistrySpec, Service,
    ServiceAccount, ServiceType,
};
pub use size::{ParseSizeError, Size, bytes};
pub use span::Span;

/// The API group of every kind here.
pub const GROUP: &str = "berth.dev";

/// The annotation on a [`GCPolicy`] whose every new value starts one run at once.
pub const RUN_NOW_ANNOTATION: &str = "berth.dev/run-now";
/// The annotation of a Registry by which somebody asks for another key that signs tokens; each value is followed once.
pub const ROTATE_KEY_ANNOTATION: &str = "berth.dev/rotate-token-key";

/// The longest name of a resource, in bytes: room for what is appended to it in the names of its objects.
pub const MAX_NAME_BYTES: usize = 40;
