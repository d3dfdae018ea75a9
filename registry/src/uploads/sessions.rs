//! Which sessions this process has worked on, and that one request at a time does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_storage::Progress;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::error::Error;

/// How many sessions are remembered.
const MAX_SESSIONS: usize = 16 * 1024;
/// How many are on an object store, where each has a list of objects.
const MAX_REMOTE_SESSIONS: usize = 256;
/// How long a request waits for the one before it on the same session.
const PATIENCE: Duration = Duration::from_secs(15);

/// The sessions that this process has worked on, each with its lock and how far it has come.
pub(crate) struct Sessions {
    open: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Option<Progress>>>>>,
    most: usize,
}

pub(super) type Session = OwnedMutexGuard<Option<Progress>>;

impl Sessions {
    pub(crate) fn new(is_remote: bool) -> Self {
        let most = if is_remote { MAX_REMOTE_SESSIONS } else { MAX_SESSIONS };
        Sessions { open: Mutex::default(), most }
    }

    pub(super) async fn lock(&self, id: Uuid) -> Result<Session, Error> {
        tokio::time::timeout(PATIENCE, self.session(id).lock_owned()).await.map_err(|_| Error::UploadBusy { id })
    }

    /// The session, unless a request is working on it.
    pub(super) fn try_lock(&self, id: Uuid) -> Option<Session> {
        self.session(id).try_lock_owned().ok()
    }

    fn session(&self, id: Uuid) -> Arc<tokio::sync::Mutex<Option<Progress>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.most && !open.contains_key(&id) {
            // Whatever nobody works on now can be asked of the store again; those in use stay.
            open.retain(|_, session| Arc::strong_count(session) > 1);
        }
        open.entry(id).or_default().clone()
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}
