//! Object stores have no locks: which processes use one cannot be known, so a collection inside a server is refused there,
//! and who collects while no server takes writes sees to that himself.

use async_trait::async_trait;

use crate::store::{Exclude, Excluded};
use crate::{LockMode, StoreError};

/// The ability to keep other processes from an object store, as far as there is one: whoever says that nobody else writes is
/// believed.
#[derive(Clone, Debug)]
pub struct Unlocked {
    place: String,
    mode: LockMode,
}

impl Unlocked {
    /// For the store at a place, opened by a server or by a command that wants it for itself.
    #[must_use]
    pub fn new(place: String, mode: LockMode) -> Self {
        Unlocked { place, mode }
    }
}

#[async_trait]
impl Exclude for Unlocked {
    async fn exclude(&self) -> Result<Excluded, StoreError> {
        match self.mode {
            LockMode::Exclusive => {
                tracing::warn!(
                    place = self.place,
                    "nothing keeps servers from writing to an object store: make sure that they are stopped or read-only"
                );
                Ok(Excluded::by_nature())
            }
            LockMode::Shared | LockMode::ReadOnly => Err(StoreError::Unlockable {
                path: self.place.clone().into(),
                reason: "other replicas may write to an object store; make the registry read-only and run \
                         `berth-registry garbage-collect CONFIG`",
            }),
        }
    }

    async fn prepare_to_write(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_wants_it_alone_is_believed_to_be_alone() {
        let exclude = |mode| async move { Unlocked::new("s3://b".into(), mode).exclude().await.map(drop) };
        exclude(LockMode::Exclusive).await.unwrap();
        let refused = exclude(LockMode::Shared).await.unwrap_err().to_string();
        assert!(refused.starts_with("s3://b: cannot be collected in while it is served: other replicas"), "{refused}");
    }
}
