//! [pure] Object stores: the fields that all drivers have, and how the registry shows a store who it is.
//!
//! What is peculiar to a driver is in a file of its own.

mod azure;
mod gcs;
mod oss;
mod s3;
mod swift;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use berth_crds::{CertificateAuthority, KeyRef, SecretRef, Size, pattern};
use regex::Regex;

use crate::problem::Problems;

pub use azure::ValidAzure;
pub use gcs::ValidGcs;
pub use oss::ValidOss;
pub use s3::ValidS3;
pub use swift::ValidSwift;
pub(super) use {azure::azure_of, gcs::gcs_of, oss::oss_of, s3::s3_of, swift::swift_of};

/// The key with certificates of authorities, unless the spec names another.
const CA_KEY: &str = "ca.crt";

/// An object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidObjectStore {
    /// What is peculiar to its driver.
    pub driver: ValidDriver,
    /// Where in the bucket or container the content lies; empty for its root.
    pub root_directory: String,
    /// How the registry shows the store who it is.
    pub credentials: ValidCredentials,
    /// Authorities that are trusted in addition.
    pub ca: Option<ValidCa>,
    /// Whether any certificate of the store is believed.
    pub skip_verify: bool,
    /// Whether clients are sent to the store for blobs.
    pub redirect: bool,
}

impl ValidObjectStore {
    /// Where the content lies, as people write it: `s3://acme-images`.
    #[must_use]
    pub fn place(&self) -> String {
        let place = self.driver.place();
        match self.root_directory.trim_start_matches('/') {
            "" => place,
            path => format!("{place}/{path}"),
        }
    }

    /// The name of the Secret with the credentials, if they are in one.
    #[must_use]
    pub fn secret(&self) -> Option<&ValidSecret> {
        match &self.credentials {
            ValidCredentials::Secret(secret) => Some(secret),
            ValidCredentials::Identity(_) => None,
        }
    }
}

/// What is peculiar to a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidDriver {
    /// Amazon S3, and what speaks its protocol.
    S3(ValidS3),
    /// Azure Blob Storage.
    Azure(ValidAzure),
    /// Google Cloud Storage.
    Gcs(ValidGcs),
    /// OpenStack Swift.
    Swift(ValidSwift),
    /// Alibaba Cloud's object store.
    Oss(ValidOss),
}

impl ValidDriver {
    /// The field of `spec.storage` that chooses it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Azure(_) => "azure",
            Self::Gcs(_) => "gcs",
            Self::Swift(_) => "swift",
            Self::Oss(_) => "oss",
        }
    }

    fn place(&self) -> String {
        match self {
            Self::S3(s3) => format!("s3://{}", s3.bucket),
            Self::Azure(ValidAzure { account: Some(account), container, .. }) => {
                format!("azure://{account}/{container}")
            }
            Self::Azure(ValidAzure { account: None, container, .. }) => format!("azure://{container}"),
            Self::Gcs(gcs) => format!("gs://{}", gcs.bucket),
            Self::Swift(swift) => format!("swift://{}", swift.container),
            Self::Oss(oss) => format!("oss://{}", oss.bucket),
        }
    }
}

/// How the registry shows the store who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidCredentials {
    /// By what a Secret holds.
    Secret(ValidSecret),
    /// By what the pod is given.
    Identity(ValidIdentity),
}

/// A Secret with credentials, and its keys; each becomes a file of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidSecret {
    /// Its name.
    pub name: String,
    /// Where the spec names it.
    pub field: String,
    /// The keys that it must have.
    pub required: Vec<&'static str>,
    /// The keys that it may have.
    pub optional: Vec<&'static str>,
}

/// An identity that the pod is given by its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidIdentity {
    /// The annotations of its ServiceAccount that choose the identity; none for whatever there is.
    pub annotations: BTreeMap<String, String>,
    /// The labels of the pod by which it is given the identity.
    pub pod_labels: BTreeMap<String, String>,
    /// The field that chooses the identity.
    pub field: String,
}

/// A kind of object that a spec names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl ObjectKind {
    /// The name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// A key of a Secret or ConfigMap, such as one with certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCa {
    /// What holds them.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The key.
    pub key: String,
}

/// Adds a problem unless `value` is of the pattern.
pub(super) fn check_text(field: &str, value: &str, pattern: &str, message: &str, problems: &mut Problems) {
    if !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(value)) {
        problems.add(field, message);
    }
}

pub(super) fn check_object_name(field: &str, name: &str, problems: &mut Problems) {
    let message = "must be the name of an object in the same namespace: a-z, 0-9, '-' and '.'";
    check_text(field, name, pattern::OBJECT_NAME, message, problems);
}

/// Certificates of authorities, named at `field`.
pub(super) fn ca_of(ca: CertificateAuthority, field: &str, problems: &mut Problems) -> Option<ValidCa> {
    let CertificateAuthority { config_map_ref, secret_ref } = ca;
    let (kind, name, reference) = match (config_map_ref, secret_ref) {
        (Some(reference), None) => (ObjectKind::ConfigMap, "configMapRef", reference),
        (None, Some(reference)) => (ObjectKind::Secret, "secretRef", reference),
        (None, None) | (Some(_), Some(_)) => {
            problems.add(field, "must have exactly one of configMapRef and secretRef");
            return None;
        }
    };
    let field = format!("{field}.{name}");
    let KeyRef { name, key } = reference;
    Some(key_of(kind, &field, name, key.unwrap_or_else(|| CA_KEY.to_owned()), problems))
}

/// A key of a Secret or ConfigMap, named at `field`.
pub(super) fn key_of(kind: ObjectKind, field: &str, name: String, key: String, problems: &mut Problems) -> ValidCa {
    check_object_name(&format!("{field}.name"), &name, problems);
    let message = "must be a key of a Secret or ConfigMap: letters, digits, '-', '_' and '.'";
    check_text(&format!("{field}.key"), &key, pattern::OBJECT_KEY, message, problems);
    ValidCa { kind, name, key }
}

/// Checks the fields of one driver.
struct Checker<'a> {
    driver: &'static str,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn path(&self, field: &str) -> String {
        format!("spec.storage.{}.{field}", self.driver)
    }

    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.problems.add(self.path(field), message);
    }

    /// Adds a problem unless `value` is of the pattern.
    fn matches(&mut self, field: &str, value: &str, pattern: &str, message: &str) {
        check_text(&self.path(field), value, pattern, message, self.problems);
    }

    fn bucket(&mut self, bucket: &str) {
        let message = "must be the name alone, without a scheme: a folder in it goes into rootDirectory";
        self.matches("bucket", bucket, pattern::BUCKET, message);
    }

    fn region(&mut self, region: &str) {
        self.matches("region", region, pattern::REGION, "must be the name of a region, such as eu-central-1");
    }

    fn address(&mut self, field: &str, address: Option<&String>) {
        let message = "must be an address such as https://store.example, without a name or password";
        if let Some(address) = address {
            self.matches(field, address, pattern::ADDRESS, message);
        }
    }

    fn host_address(&mut self, field: &str, address: Option<&String>) {
        let message = "must be an address such as https://store.example, without a path, a name or a password";
        if let Some(address) = address {
            self.matches(field, address, pattern::HOST_ADDRESS, message);
        }
    }

    fn root_directory(&mut self, path: Option<String>) -> String {
        let message = "must be a path such as team/images: no slash at its end, and no part that begins with a dot";
        if let Some(path) = &path {
            self.matches("rootDirectory", path, pattern::ROOT_DIRECTORY, message);
        }
        path.unwrap_or_default()
    }

    /// The bytes of a part of an upload.
    fn chunk_bytes(&mut self, size: Option<Size>, default: u64, bounds: &ChunkBounds) -> u64 {
        let Some(size) = size else { return default };
        match size.bytes() {
            Ok(bytes) if (bounds.least..=bounds.most).contains(&bytes) && bytes.is_multiple_of(bounds.unit) => bytes,
            Ok(_) => {
                self.add("chunkSize", bounds.message);
                default
            }
            Err(error) => {
                self.add("chunkSize", error.to_string());
                default
            }
        }
    }

    fn ca(&mut self, ca: Option<CertificateAuthority>) -> Option<ValidCa> {
        ca_of(ca?, &self.path("ca"), self.problems)
    }

    /// A Secret with these keys, named at `field`.
    fn secret(
        &mut self,
        reference: SecretRef,
        field: &str,
        required: &[&'static str],
        optional: &[&'static str],
    ) -> ValidCredentials {
        let SecretRef { name } = reference;
        check_object_name(&self.path(&format!("{field}.name")), &name, self.problems);
        ValidCredentials::Secret(ValidSecret {
            name,
            field: self.path(field),
            required: required.into(),
            optional: optional.into(),
        })
    }

    /// An identity that is chosen at `field`, by annotations of the ServiceAccount and perhaps a label of the pods.
    fn identity<const N: usize>(
        &self,
        field: &str,
        annotations: [(&str, Option<String>); N],
        pod_label: Option<(&str, &str)>,
    ) -> ValidCredentials {
        let annotations = annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let labels = pod_label.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        ValidCredentials::Identity(ValidIdentity {
            annotations: annotations.collect(),
            pod_labels: labels.collect(),
            field: self.path(field),
        })
    }
}

/// What is not said is not so.
fn is(said: Option<bool>) -> bool {
    said.unwrap_or(false)
}

/// The largest part of an upload of every driver: a pod holds at least two of them in memory.
const MAX_CHUNK_BYTES: u64 = 64 << 20;

/// How large a part of an upload may be.
struct ChunkBounds {
    least: u64,
    most: u64,
    unit: u64,
    message: &'static str,
}
