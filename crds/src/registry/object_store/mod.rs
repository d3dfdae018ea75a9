//! `Registry.spec.storage.{s3,azure,gcs,swift,oss}`: object stores, one driver a file.
//!
//! The fields mean what CNCF Distribution's parameters mean, by names that are usual in Kubernetes. No credential is
//! among them: a spec names a Secret, or says that the pod has an identity of its own.

pub(crate) mod azure;
pub(crate) mod gcs;
pub(crate) mod oss;
pub(crate) mod s3;
pub(crate) mod swift;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::reference::SecretRef;

/// The credentials of a store that knows no identities of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretCredentials {
    /// The Secret with the credentials. When its content changes, the registry takes it up without a restart, within about
    /// a minute, when the node has told the pods.
    pub secret_ref: SecretRef,
}

const BUCKET_MESSAGE: &str = "bucket must be the name alone, without a scheme: a folder in it goes into rootDirectory";
const ROOT_DIRECTORY_MESSAGE: &str =
    "rootDirectory must be a path such as team/images: no slash at its end, and no part that begins with a dot";

/// What the registry would find in another bucket is not its content.
const SAME_BUCKET: &str = "self.bucket == oldSelf.bucket && (has(self.rootDirectory) ? self.rootDirectory : '') == \
    (has(oldSelf.rootDirectory) ? oldSelf.rootDirectory : '')";
const SAME_BUCKET_MESSAGE: &str = "bucket and rootDirectory cannot change, because the content would not move with them: \
    make a Registry of another name and copy the content to it";

/// The sizes of a part of an upload: what the protocol of Amazon S3 allows at least, and that of Alibaba's store as well, and
/// at most what a pod can hold several of in its memory.
const PART_SIZE: &str = "self.matches('^[0-9]+([.][0-9]+)?([kMGTPE]|[KMGTPE]i)?$') && isQuantity(self) \
    && !quantity(self).isLessThan(quantity('5Mi')) && !quantity(self).isGreaterThan(quantity('64Mi'))";
const PART_SIZE_MESSAGE: &str =
    "chunkSize must be a quantity from 5Mi to 64Mi, such as 10Mi: a pod holds at least two chunks in memory";

/// The rule that a field is as it was, or left out as it was.
fn same(field: &str) -> String {
    format!("(has(self.{field}) ? self.{field} : '') == (has(oldSelf.{field}) ? oldSelf.{field} : '')")
}
