//! [pure] Where the content is kept.

use berth_crds::{AccessMode, DeletionPolicy, EmptyDir, InMemory, PersistentVolumeClaim, Size, Storage};

use super::object_store::{self, ValidObjectStore};
use crate::problem::Problems;

/// Where the content is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidStorage {
    /// On a volume whose claim Berth makes.
    OwnClaim {
        /// The claim's name.
        name: String,
        /// How large the volume is.
        size: Size,
        /// The class, or the cluster's default.
        class: Option<String>,
        /// How nodes may mount it; not empty.
        access_modes: Vec<AccessMode>,
    },
    /// On a volume whose claim was there before.
    ExistingClaim {
        /// The claim's name.
        name: String,
        /// What it offers, as the spec says.
        access_modes: Vec<AccessMode>,
    },
    /// In the pod.
    EmptyDir {
        /// The most that may be stored.
        limit: Option<Size>,
    },
    /// In the memory of the server's process.
    InMemory,
    /// On an object store.
    Object(Box<ValidObjectStore>),
}

impl ValidStorage {
    /// Whether several pods may use it at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Self::OwnClaim { access_modes, .. } | Self::ExistingClaim { access_modes, .. } => {
                access_modes.contains(&AccessMode::ReadWriteMany)
            }
            Self::EmptyDir { .. } | Self::InMemory => false,
            Self::Object(_) => true,
        }
    }

    /// The name of the claim, if there is one.
    #[must_use]
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::OwnClaim { name, .. } | Self::ExistingClaim { name, .. } => Some(name),
            Self::EmptyDir { .. } | Self::InMemory | Self::Object(_) => None,
        }
    }

    /// The object store, if it is one.
    #[must_use]
    pub fn object_store(&self) -> Option<&ValidObjectStore> {
        match self {
            Self::Object(store) => Some(store),
            Self::OwnClaim { .. } | Self::ExistingClaim { .. } | Self::EmptyDir { .. } | Self::InMemory => None,
        }
    }
}

pub(super) fn storage_of(registry: &str, storage: Storage, problems: &mut Problems) -> Option<ValidStorage> {
    const ONE: &str =
        "must have exactly one of persistentVolumeClaim, emptyDir, inMemory, s3, azure, gcs, swift and oss";
    // Taken apart without `..`: a new kind must be dealt with here.
    let Storage { persistent_volume_claim, empty_dir, in_memory, s3, azure, gcs, swift, oss } = storage;
    let named = [
        persistent_volume_claim.is_some(),
        empty_dir.is_some(),
        in_memory.is_some(),
        s3.is_some(),
        azure.is_some(),
        gcs.is_some(),
        swift.is_some(),
        oss.is_some(),
    ];
    if named.iter().filter(|named| **named).count() != 1 {
        problems.add("spec.storage", ONE);
        return None;
    }
    let claim = persistent_volume_claim.and_then(|claim| claim_of(registry, claim, problems));
    let empty_dir = empty_dir.map(|EmptyDir { size_limit }| {
        if let Some(limit) = &size_limit {
            problems.check_size("spec.storage.emptyDir.sizeLimit", limit);
        }
        ValidStorage::EmptyDir { limit: size_limit }
    });
    let in_memory = in_memory.map(|InMemory {}| ValidStorage::InMemory);
    let store = s3
        .and_then(|s3| object_store::s3_of(*s3, problems))
        .or(azure.and_then(|azure| object_store::azure_of(*azure, problems)))
        .or(gcs.and_then(|gcs| object_store::gcs_of(*gcs, problems)))
        .or(swift.and_then(|swift| object_store::swift_of(*swift, problems)))
        .or(oss.and_then(|oss| object_store::oss_of(*oss, problems)));
    claim.or(empty_dir).or(in_memory).or(store.map(|store| ValidStorage::Object(Box::new(store))))
}

fn claim_of(registry: &str, claim: PersistentVolumeClaim, problems: &mut Problems) -> Option<ValidStorage> {
    const FIELD: &str = "spec.storage.persistentVolumeClaim";
    let PersistentVolumeClaim { size, storage_class_name, access_modes, existing_claim } = claim;
    let mut access_modes = access_modes.unwrap_or_else(|| vec![AccessMode::ReadWriteOnce]);
    // A claim cannot change, not even the order of its modes.
    access_modes.sort_unstable_by_key(|mode| mode.as_str());
    access_modes.dedup();
    if access_modes.is_empty() {
        problems.add(format!("{FIELD}.accessModes"), "must not be empty: leave it out for ReadWriteOnce");
    }
    match (existing_claim, size) {
        (None, Some(size)) => {
            problems.check_size(&format!("{FIELD}.size"), &size);
            Some(ValidStorage::OwnClaim { name: registry.to_owned(), size, class: storage_class_name, access_modes })
        }
        (None, None) => {
            problems.add(format!("{FIELD}.size"), "is missing: say how large the volume shall be, such as 20Gi");
            None
        }
        (Some(name), size) => {
            if size.is_some() || storage_class_name.is_some() {
                problems.add(
                    format!("{FIELD}.existingClaim"),
                    "has a size and class of its own: leave out size and storageClassName",
                );
            }
            Some(ValidStorage::ExistingClaim { name, access_modes })
        }
    }
}

pub(super) fn check_sharing(storage: &ValidStorage, replicas: i32, problems: &mut Problems) {
    const OBJECT_STORE: &str = "an object store (spec.storage.s3, azure, gcs, swift, oss)";
    if replicas <= 1 || storage.is_shared() {
        return;
    }
    let message = match storage {
        ValidStorage::EmptyDir { .. } => format!(
            "{replicas} replicas cannot share an emptyDir: use one replica, a persistentVolumeClaim with accessModes \
             [ReadWriteMany], or {OBJECT_STORE}"
        ),
        ValidStorage::InMemory => format!(
            "{replicas} replicas cannot share the memory of one process: use one replica, a persistentVolumeClaim with \
             accessModes [ReadWriteMany], or {OBJECT_STORE}"
        ),
        ValidStorage::OwnClaim { .. } | ValidStorage::ExistingClaim { .. } | ValidStorage::Object(_) => format!(
            "{replicas} replicas share a ReadWriteOnce volume: use one replica, a volume with accessModes \
             [ReadWriteMany], or {OBJECT_STORE}"
        ),
    };
    problems.add("spec.replicas", message);
}

pub(super) fn check_deletion(storage: &ValidStorage, policy: DeletionPolicy, problems: &mut Problems) {
    if policy != DeletionPolicy::Delete {
        return;
    }
    let message = match storage {
        ValidStorage::ExistingClaim { .. } => {
            "Delete does not go with existingClaim, which Berth never deletes: use Retain"
        }
        ValidStorage::Object(_) => {
            "Delete does not go with an object store, of which Berth never deletes anything by itself: use Retain, and \
             delete the bucket or container yourself"
        }
        ValidStorage::OwnClaim { .. } | ValidStorage::EmptyDir { .. } | ValidStorage::InMemory => return,
    };
    problems.add("spec.deletionPolicy", message);
}
