//! `Registry.spec.storage`: where a registry keeps its content.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::object_store::{azure::Azure, gcs::Gcs, oss::Oss, s3::S3, swift::Swift};
use crate::Size;

/// The fields of [`Storage`], each a kind of storage.
const KINDS: [&str; 8] = ["persistentVolumeClaim", "emptyDir", "inMemory", "s3", "azure", "gcs", "swift", "oss"];

/// A list in CEL of whether each kind is named.
fn named(object: &str) -> String {
    format!("[{}]", KINDS.map(|kind| format!("has({object}.{kind})")).join(", "))
}

/// Where the content of a registry is kept: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(format!("{}.exists(named, named)", crate::registry::storage::named("self")))
        .message("storage names no place: set exactly one of persistentVolumeClaim, emptyDir, inMemory, s3, azure, gcs, \
            swift and oss"),
    validation = Rule::new(format!("{}.filter(named, named).size() <= 1", crate::registry::storage::named("self")))
        .message("storage names two places: keep exactly one of persistentVolumeClaim, emptyDir, inMemory, s3, azure, gcs, \
            swift and oss"),
    validation = Rule::new(format!("{} == {}", crate::registry::storage::named("self"), crate::registry::storage::named("oldSelf")))
        .message("the kind of storage cannot change: make a Registry of another name and copy the content to it")
)]
pub struct Storage {
    /// A volume, which outlives the Registry unless deletionPolicy is Delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaim>,
    /// A directory that lives as long as the pod: every restart on another node starts empty. For trials and caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// The memory of the registry's process: every restart starts empty. For trials and tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<InMemory>,
    /// A bucket of Amazon S3, or of a store that speaks its protocol. Any number of replicas may share it, and Berth never
    /// deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<Box<S3>>,
    /// A container of Azure Blob Storage. Any number of replicas may share it, and Berth never deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<Box<Azure>>,
    /// A bucket of Google Cloud Storage. Any number of replicas may share it, and Berth never deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcs: Option<Box<Gcs>>,
    /// A container of OpenStack Swift. Any number of replicas may share it, and Berth never deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swift: Option<Box<Swift>>,
    /// A bucket of Alibaba Cloud's object store. Any number of replicas may share it, and Berth never deletes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oss: Option<Box<Oss>>,
}

/// A volume: a claim that Berth makes, or one that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.size) || has(self.existingClaim)")
        .message("size is missing: say how large the volume shall be, such as 20Gi, or name an existingClaim"),
    validation = Rule::new("!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName))")
        .message("existingClaim has a size and class of its own: leave out size and storageClassName"),
    validation = Rule::new("!has(oldSelf.size) || !has(self.size) || !isQuantity(self.size) \
        || !isQuantity(oldSelf.size) || !quantity(self.size).isLessThan(quantity(oldSelf.size))")
        .message("a volume cannot shrink: keep the size or give a larger one"),
    validation = Rule::new("has(self.existingClaim) == has(oldSelf.existingClaim) \
        && (!has(self.existingClaim) || self.existingClaim == oldSelf.existingClaim)")
        .message("existingClaim cannot change: make a Registry of another name and copy the content to it"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) \
        && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot change: make a Registry of another name and copy the content to it"),
    validation = Rule::new("has(self.existingClaim) \
        || ((has(self.accessModes) ? self.accessModes : ['ReadWriteOnce'])\
            .all(m, m in (has(oldSelf.accessModes) ? oldSelf.accessModes : ['ReadWriteOnce'])) \
        && (has(oldSelf.accessModes) ? oldSelf.accessModes : ['ReadWriteOnce'])\
            .all(m, m in (has(self.accessModes) ? self.accessModes : ['ReadWriteOnce'])))")
        .message("accessModes cannot change: make a Registry of another name and copy the content to it"),
    validation = Rule::new("!has(self.accessModes) || self.accessModes.all(m, self.accessModes.exists_one(n, n == m))")
        .message("accessModes names one mode twice: leave one out"),
    validation = Rule::new("!has(self.accessModes) || self.accessModes.size() == 1 \
        || !self.accessModes.exists(m, m == 'ReadWriteOncePod')")
        .message("ReadWriteOncePod stands alone: leave out the other accessModes")
)]
pub struct PersistentVolumeClaim {
    /// How large the volume is, as a quantity of bytes such as 20Gi. It can grow when the storage class allows it, and
    /// never shrinks. Required, unless existingClaim is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([.][0-9]+)?([kMGTPE]|[KMGTPE]i)?$') && isQuantity(self) \
        && !quantity(self).isLessThan(quantity('1Mi'))")
        .message("size must be a quantity of at least 1Mi, such as 20Gi"))]
    pub size: Option<Size>,
    /// The storage class of the claim; "" for a volume that is there already and has no class. The cluster's default class
    /// when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// How nodes may mount the volume. ReadWriteOnce when it is left out; more than one replica needs ReadWriteMany. For
    /// an existingClaim, what that claim offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub access_modes: Option<Vec<AccessMode>>,
    /// The name of a claim in the same namespace to use as it is. Berth makes none then, and never changes or deletes
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub existing_claim: Option<String>,
}

/// How nodes may mount a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// By one node at a time.
    ReadWriteOnce,
    /// By many nodes at once.
    ReadWriteMany,
    /// By one pod at a time.
    ReadWriteOncePod,
}

impl AccessMode {
    /// The name that Kubernetes has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
        }
    }

    /// The short name that kubectl prints.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "RWO",
            Self::ReadWriteMany => "RWX",
            Self::ReadWriteOncePod => "RWOP",
        }
    }
}

/// A directory on the node that goes with the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {
    /// The most that may be stored, as a quantity of bytes such as 1Gi; the pod is evicted beyond it. No limit but the
    /// node's when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([.][0-9]+)?([kMGTPE]|[KMGTPE]i)?$') && isQuantity(self) \
        && !quantity(self).isLessThan(quantity('1Mi'))")
        .message("sizeLimit must be a quantity of at least 1Mi, such as 1Gi"))]
    pub size_limit: Option<Size>,
}

/// The memory of the registry's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InMemory {}
