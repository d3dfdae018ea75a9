//! Room for large manifests: how much of them is received, read and parsed at once.
//!
//! A manifest may have four megabytes, and what is made of it while it is read takes several times that. Whoever brings or
//! asks for a large one takes room for it first, and waits for a while if there is none. All of it is taken at once, so
//! nobody waits while holding some. Small ones need none: there is no limit but that of connections.

use std::sync::Arc;
use std::time::Duration;

use berth_oci::MAX_MANIFEST_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::recent::MAX_CONTENT_BYTES;

/// The longest manifest that needs no room, in bytes: what is no longer is kept in memory when it was read.
pub(crate) const SMALL_BYTES: usize = MAX_CONTENT_BYTES;
/// How much of large manifests is in hand at once, in bytes: four of the largest.
const MAX_BYTES: usize = 4 * MAX_MANIFEST_BYTES;
/// How long somebody waits for room.
const PATIENCE: Duration = Duration::from_secs(30);

/// The room of one registry.
#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    patience: Duration,
}

/// Room that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    _permit: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Room { free: Arc::new(Semaphore::new(MAX_BYTES)), patience: PATIENCE }
    }
}

impl Room {
    /// Takes room for a manifest of so many bytes, for which it waits; none is needed for a small one.
    ///
    /// # Errors
    /// [`Error::TooManyLargeManifests`] when others have held it for too long.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Option<Taken>, Error> {
        let bytes = usize::try_from(bytes).unwrap_or(MAX_MANIFEST_BYTES).min(MAX_MANIFEST_BYTES);
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let waiting = self.free.clone().acquire_many_owned(permits);
        match tokio::time::timeout(self.patience, waiting).await {
            Ok(Ok(permit)) => Ok(Some(Taken { _permit: permit })),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Error::TooManyLargeManifests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_a_few_and_others_wait_for_a_while() {
        let room = Room::default();
        let largest = MAX_MANIFEST_BYTES as u64;
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(room.take(largest).await.unwrap().unwrap());
        }
        assert!(room.take(SMALL_BYTES as u64).await.unwrap().is_none());
        assert!(matches!(room.take(SMALL_BYTES as u64 + 1).await, Err(Error::TooManyLargeManifests)));
        let (waited, ()) = tokio::join!(room.take(largest), async { drop(taken.pop()) });
        assert!(waited.unwrap().is_some());
        // What says that it is longer than any may be takes no more than the longest.
        drop(taken);
        assert!(room.take(u64::MAX).await.unwrap().is_some());
    }
}
