//! Upload sessions: begun, appended to by any number of requests, and finished as a blob.
//!
//! The length of a session is the length of its data in the store, so a session outlives the process. How far it has come
//! is kept in memory between requests, with the hash of its data; when that is missing, after a restart, on another replica
//! or because too many sessions are open, the store is asked, and if it does not know the hash, the data is read and hashed
//! again. On an object store what is remembered is believed where a client goes on from exactly there: what is then written
//! stands beside what another replica may have written since. If that one has ended the session, its objects are gone when
//! they are to become a blob (`finish`).
//!
//! A body whose digest is known before it comes goes straight to its blob, where that saves a step.
//!
//! One request at a time works on a session; another waits for a while. The work runs in a task of its own, so that a
//! client that goes away does not leave a write behind that nobody waits for.

mod finish;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use berth_oci::{Algorithm, Digest, RepositoryName};
use berth_storage::layout::UploadKey;
use berth_storage::{Entry, EntryKind, Incoming, ListRequest, MAX_PAGE, Progress, StoreError, read_all};
use futures::stream;
use uuid::Uuid;

use crate::error::Error;
use crate::registry::{Registry, absent_is_none};

use sessions::Session;
pub(crate) use sessions::Sessions;

/// The most that is remembered of one session, in bytes; more is asked of the store again.
const MAX_PROGRESS_BYTES: usize = 128 * 1024;
/// The longest time of a beginning in bytes: RFC 3339, with nanoseconds and an offset.
const MAX_TIME_BYTES: u64 = 64;

/// A session: its identity and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The identity of the session.
    pub id: Uuid,
    /// When the session began.
    pub started_at: jiff::Timestamp,
    /// The length of its data in bytes.
    pub offset: u64,
}

/// Where a client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The byte at which its chunk begins, as it says.
    pub at: u64,
    /// How far the upload had come at least, as a replica has told the client, in bytes.
    pub told: u64,
}

/// Where it was told to go on.
impl From<u64> for Place {
    fn from(at: u64) -> Self {
        Place { at, told: at }
    }
}

impl Registry {
    /// Begins a session.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or what the store says.
    pub async fn upload_begin(&self, name: &RepositoryName) -> Result<Upload, Error> {
        let _writing = self.writable()?;
        let id = Uuid::new_v4();
        let mut session = self.sessions.lock(id).await?;
        self.begin(&mut session, name, id).await
    }

    async fn begin(&self, session: &mut Session, name: &RepositoryName, id: Uuid) -> Result<Upload, Error> {
        let upload = Upload { id, started_at: jiff::Timestamp::now(), offset: 0 };
        // Whole seconds, as Distribution writes and reads them.
        let text = upload.started_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        **session = Some(self.store.begin(&UploadKey::new(name, upload.id), text.into()).await?);
        Ok(upload)
    }

    /// The length of a session's data in bytes.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session.
    pub async fn upload_offset(&self, name: &RepositoryName, id: Uuid) -> Result<u64, Error> {
        let found = self.store.resume(&UploadKey::new(name, id), None).await;
        found.map(|progress| progress.offset).map_err(|error| unknown_session(error, name, id))
    }

    /// How far a session has come, for a client that has lost its address.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session.
    pub async fn upload_status(&self, name: &RepositoryName, id: Uuid) -> Result<Upload, Error> {
        let offset = self.upload_offset(name, id).await?;
        let key = UploadKey::new(name, id).started_at();
        let text = read_all(self.store.as_ref(), &key, MAX_TIME_BYTES).await;
        let text = text.map_err(|error| unknown_session(error, name, id))?;
        // Only the purge goes by this time, and it reads the store itself: one that cannot be read stops no upload.
        let started_at = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        Ok(Upload { id, started_at: started_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH), offset })
    }

    /// Appends a body to a session that must end where the client goes on, and gives the new length. The data is hashed by
    /// `algorithm` on the way; if the digest turns out to be of another one, it is read once more.
    ///
    /// # Errors
    /// [`Error::UploadOffset`] if it ends elsewhere; [`Error::BodyInterrupted`] if the body does, in which case what had
    /// arrived stays.
    pub async fn upload_append(
        self: &Arc<Self>,
        name: &RepositoryName,
        id: Uuid,
        place: impl Into<Place>,
        algorithm: Algorithm,
        body: Incoming,
    ) -> Result<u64, Error> {
        let place = place.into();
        let writing = self.writable()?;
        let (registry, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let _writing = writing;
            let mut session = registry.sessions.lock(id).await?;
            let found = registry.found(&mut session, &name, id, place).await?;
            if found.offset != place.at {
                return Err(Error::UploadOffset { id, offset: found.offset });
            }
            let appended = registry.append(&mut session, &name, id, found, algorithm, body).await;
            session.take_if(|progress| progress.held_bytes() > MAX_PROGRESS_BYTES);
            appended
        })
        .await?
    }

    /// Makes a body a blob of the repository in one step. If that fails, nothing is left of it: nobody was told of the
    /// session, so nobody can go on with it.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if the content has another digest; [`Error::BodyInterrupted`] if the body ends early.
    pub async fn upload_whole(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
        body: Incoming,
    ) -> Result<(), Error> {
        let writing = self.writable()?;
        let (registry, name, digest) = (self.clone(), name.clone(), digest.clone());
        tokio::spawn(async move {
            let _writing = writing;
            if registry.store.writes_directly() {
                return registry.write(&name, &digest, body).await;
            }
            let id = Uuid::new_v4();
            // Held from before it begins: it is never idle, so the deletion of its repository lets it end.
            let mut session = registry.sessions.lock(id).await?;
            let finished = match registry.begin(&mut session, &name, id).await {
                Ok(_) => registry.complete(&mut session, &name, id, Place::from(0), &digest, body).await,
                Err(error) => Err(error),
            };
            drop(session);
            if finished.is_err()
                && let Err(error) = registry.cancel(&name, id, None).await
                && !matches!(error, Error::UploadUnknown { .. })
            {
                tracing::warn!(repository = %name, upload = %id, %error, "the data of a failed upload stays for now");
            }
            finished
        })
        .await?
    }

    /// Forgets a session and its data.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session.
    pub async fn upload_cancel(self: &Arc<Self>, name: &RepositoryName, id: Uuid) -> Result<(), Error> {
        let writing = self.writable()?;
        let (registry, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let _writing = writing;
            registry.cancel(&name, id, None).await.map(|_| ())
        })
        .await?
    }

    /// Forgets a session of which nothing was written since `before`, and its data. `false` if something was.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session.
    pub(crate) async fn upload_expire(
        &self,
        name: &RepositoryName,
        id: Uuid,
        before: SystemTime,
    ) -> Result<bool, Error> {
        let _writing = self.writable()?;
        self.cancel(name, id, Some(before)).await
    }

    /// Forgets a session unless a request is working on it, and its data. `false` if one is, or there is no such session.
    pub(crate) async fn upload_cancel_idle(&self, name: &RepositoryName, id: Uuid) -> Result<bool, Error> {
        let Some(_session) = self.sessions.try_lock(id) else { return Ok(false) };
        let cancelled = self.store.abort(&UploadKey::new(name, id)).await;
        self.sessions.forget(id);
        Ok(absent_is_none(cancelled)?.is_some())
    }

    async fn cancel(&self, name: &RepositoryName, id: Uuid, before: Option<SystemTime>) -> Result<bool, Error> {
        let _session = self.sessions.lock(id).await?;
        let upload = UploadKey::new(name, id);
        if let Some(before) = before
            && self.has_newer(&upload, before).await?
        {
            return Ok(false);
        }
        let cancelled = self.store.abort(&upload).await;
        self.sessions.forget(id);
        cancelled.map(|()| true).map_err(|error| unknown_session(error, name, id))
    }

    /// Whether anything of a session was written since then.
    async fn has_newer(&self, upload: &UploadKey, before: SystemTime) -> Result<bool, Error> {
        let mut after = None;
        loop {
            let request = ListRequest {
                below: upload.directory(),
                behind: None,
                one_level: false,
                after: after.as_ref(),
                limit: MAX_PAGE,
            };
            let page = self.store.list(request).await?;
            let is_newer = |entry: &Entry| matches!(entry.kind, EntryKind::Object(stat) if stat.modified >= before);
            match page.next {
                _ if page.entries.iter().any(is_newer) => return Ok(true),
                None => return Ok(false),
                next => after = next,
            }
        }
    }

    /// Appends a body to a session that has come so far.
    async fn append(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        found: Progress,
        algorithm: Algorithm,
        body: Incoming,
    ) -> Result<u64, Error> {
        let upload = UploadKey::new(name, id);
        let from = match &found.hasher {
            Some(hasher) if hasher.algorithm() == algorithm || found.offset > 0 => Ok(found),
            _ => self.hash_again(&upload, found, algorithm).await,
        };
        let appended = match from {
            Ok(from) => self.store.append(&upload, from, body).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        let appended = match appended {
            // What was remembered is gone. The session may be there with other objects: the client can go on from there, but
            // not this request, whose body may have been taken.
            Err(Error::Store(error)) if error.is_not_found() && self.store.is_remote() => {
                let found = self.store.resume(&upload, None).await.map_err(|error| unknown_session(error, name, id))?;
                let offset = found.offset;
                **session = Some(found);
                return Err(Error::UploadOffset { id, offset });
            }
            Err(Error::Store(error)) => return Err(of_session(error, name, id)),
            appended => appended?,
        };
        let offset = appended.progress.offset;
        **session = Some(appended.progress);
        match appended.interrupted {
            Some(source) => Err(Error::BodyInterrupted { source }),
            None => Ok(offset),
        }
    }

    /// How far a session has come, for a client that goes on somewhere. What is remembered of it is taken.
    async fn found(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        Place { at: expected, told }: Place,
    ) -> Result<Progress, Error> {
        let known = match session.take() {
            Some(known) if self.store.is_remote() && known.offset == expected => return Ok(known),
            known => known,
        };
        let upload = UploadKey::new(name, id);
        let unknown = |error| unknown_session(error, name, id);
        // Nobody was told that so much has arrived: the store is not to look for it as if somebody were.
        if self.store.is_remote() && expected > told {
            let found = self.store.resume(&upload, None).await.map_err(unknown)?;
            if found.offset < expected {
                return Ok(found);
            }
        }
        match self.store.resume(&upload, Some(expected)).await {
            // There is one file of data, and this process has hashed it.
            Ok(found) if found.hasher.is_none() => {
                Ok(known.filter(|known| known.offset == found.offset).unwrap_or(found))
            }
            Ok(found) => Ok(found),
            Err(error) => {
                self.sessions.forget(id);
                Err(unknown(error))
            }
        }
    }
}

/// An empty body, for a request that only ends a session.
#[must_use]
pub fn no_body() -> Incoming {
    Incoming::new(stream::empty()).of_length(Some(0))
}

/// What a request on a session is told when another process has come before it.
fn of_session(error: StoreError, name: &RepositoryName, id: Uuid) -> Error {
    match error {
        StoreError::Busy { .. } => Error::UploadBusy { id },
        StoreError::Offset { found, .. } => Error::UploadOffset { id, offset: found },
        error => unknown_session(error, name, id),
    }
}

/// What is not there of a session has been removed: by a request of this process, or by another server at any moment.
fn unknown_session(error: impl Into<Error>, name: &RepositoryName, id: Uuid) -> Error {
    match error.into() {
        Error::Store(error) if error.is_not_found() => Error::UploadUnknown { name: name.clone(), id },
        error => error,
    }
}
