//! Addresses that let a client fetch an object from the store itself: an ability that only some stores have.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Key, StoreError};

/// The ability to give out addresses that are good for one object and some time.
#[async_trait]
pub trait Presign: Send + Sync + 'static {
    /// An address from which anybody can `GET` an object for as long as `validity`. Nothing is asked of the store for it, so
    /// the object may not be there. None where the settings have no key to sign with.
    async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError>;
}
