//! Upload sessions: begun, appended to by any number of requests, and finished as a blob.
//!
//! The length of a session is the length of its data in the store, so a session outlives the process. How far it has come
//! is kept in memory between requests, with the hash of its data; when that is missing, after a restart, on another replica
//! or because too many sessions are open, the store is asked, and if it does not know the hash, the data is read and hashed
//! again. On an object store what is remembered is believed: if another replica has gone on since, the client asks for
//! another offset, and if it has ended the session, its objects are gone when they are to become a blob.
//!
//! A body whose digest is known before it comes goes straight to its blob, where that saves a step.
//!
//! One request at a time works on a session; another waits for a while. The work runs in a task of its own, so that a
//! client that goes away does not leave a write behind that nobody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use berth_oci::{Algorithm, Digest, Hasher, RepositoryName};
use berth_storage::layout::{self, UploadKey};
use berth_storage::{EntryKind, Incoming, Progress, Stat, StoreError, Written, list_all, read_all};
use futures::{StreamExt, stream};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::error::Error;
use crate::gc::Item;
use crate::registry::{Registry, absent_is_none};

/// How many sessions are remembered.
const MAX_SESSIONS: usize = 16 * 1024;
/// How many are on an object store, where each has a list of objects.
const MAX_REMOTE_SESSIONS: usize = 256;
/// The most that is remembered of one session, in bytes; more is asked of the store again.
const MAX_PROGRESS_BYTES: usize = 128 * 1024;
/// The longest time of a beginning in bytes: RFC 3339, with nanoseconds and an offset.
const MAX_TIME_BYTES: u64 = 64;
/// How long a request waits for the one before it on the same session.
const PATIENCE: Duration = Duration::from_secs(15);

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

/// The sessions that this process has worked on, each with its lock and how far it has come.
pub(crate) struct Sessions {
    open: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Option<Progress>>>>>,
    most: usize,
}

type Session = OwnedMutexGuard<Option<Progress>>;

impl Sessions {
    pub(crate) fn new(is_remote: bool) -> Self {
        let most = if is_remote { MAX_REMOTE_SESSIONS } else { MAX_SESSIONS };
        Sessions { open: Mutex::default(), most }
    }

    async fn lock(&self, id: Uuid) -> Result<Session, Error> {
        tokio::time::timeout(PATIENCE, self.session(id).lock_owned()).await.map_err(|_| Error::UploadBusy { id })
    }

    /// The session, unless a request is working on it.
    fn try_lock(&self, id: Uuid) -> Option<Session> {
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

    fn forget(&self, id: Uuid) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
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

    /// Appends a body to a session that must end at byte `expected`, and gives the new length. The data is hashed by
    /// `algorithm` on the way; if the digest turns out to be of another one, it is read once more.
    ///
    /// # Errors
    /// [`Error::UploadOffset`] if it ends elsewhere; [`Error::BodyInterrupted`] if the body does, in which case what had
    /// arrived stays.
    pub async fn upload_append(
        self: &Arc<Self>,
        name: &RepositoryName,
        id: Uuid,
        expected: u64,
        algorithm: Algorithm,
        body: Incoming,
    ) -> Result<u64, Error> {
        let writing = self.writable()?;
        let (registry, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let _writing = writing;
            let mut session = registry.sessions.lock(id).await?;
            let appended = registry.append(&mut session, &name, id, expected, algorithm, body).await;
            session.take_if(|progress| progress.held_bytes() > MAX_PROGRESS_BYTES);
            appended
        })
        .await?
    }

    /// Appends a last body to a session that must end at byte `expected`, and makes the whole a blob of the repository.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if the content has another digest, in which case the session stays as it is.
    pub async fn upload_finish(
        self: &Arc<Self>,
        name: &RepositoryName,
        id: Uuid,
        expected: u64,
        digest: &Digest,
        body: Incoming,
    ) -> Result<(), Error> {
        let writing = self.writable()?;
        let (registry, name, digest) = (self.clone(), name.clone(), digest.clone());
        tokio::spawn(async move {
            let _writing = writing;
            let mut session = registry.sessions.lock(id).await?;
            registry.complete(&mut session, &name, id, expected, &digest, body).await
        })
        .await?
    }

    async fn complete(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        expected: u64,
        digest: &Digest,
        body: Incoming,
    ) -> Result<(), Error> {
        if expected == 0 && self.store.writes_directly() {
            self.located(session, name, id, expected).await?;
            self.write(name, digest, body).await?;
            // Nothing else is of this session.
            let started_at = UploadKey::new(name, id).started_at();
            if let Err(error) = self.store.delete_all(&[started_at]).await {
                tracing::warn!(repository = %name, upload = %id, %error, "cannot remove a finished upload");
            }
            self.sessions.forget(id);
            return Ok(());
        }
        self.append(session, name, id, expected, digest.algorithm(), body).await?;
        self.finish(session, name, id, digest).await
    }

    /// Takes a body straight to its blob, and links it.
    async fn write(&self, name: &RepositoryName, digest: &Digest, body: Incoming) -> Result<(), Error> {
        let held = self.guard.acquire(vec![Item::Blob(digest.clone())]).await?;
        let size = match self.store.write(&layout::blob_data(digest), digest, body).await? {
            Written::Stored(size) => size,
            Written::Mismatch(found) => return Err(Error::DigestMismatch { expected: digest.clone(), found }),
            Written::Interrupted(source) => return Err(Error::BodyInterrupted { source }),
        };
        self.link_layer(name, digest, size).await?;
        held.verify();
        Ok(())
    }

    /// Links a repository to a blob that was just stored.
    async fn link_layer(&self, name: &RepositoryName, digest: &Digest, size: u64) -> Result<(), Error> {
        let mark = self.recent_links.mark();
        self.ensure_link(&layout::layer_link(name, digest), digest).await?;
        self.remember_layer(mark, name, digest, Stat { size, modified: SystemTime::now() });
        Ok(())
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
                Ok(_) => registry.complete(&mut session, &name, id, 0, &digest, body).await,
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
        if let Some(before) = before {
            for entry in list_all(self.store.as_ref(), upload.directory(), false).await? {
                if matches!(entry.kind, EntryKind::Object(stat) if stat.modified >= before) {
                    return Ok(false);
                }
            }
        }
        let cancelled = self.store.abort(&upload).await;
        self.sessions.forget(id);
        cancelled.map(|()| true).map_err(|error| unknown_session(error, name, id))
    }

    async fn append(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        expected: u64,
        algorithm: Algorithm,
        body: Incoming,
    ) -> Result<u64, Error> {
        let upload = UploadKey::new(name, id);
        let found = self.located(session, name, id, expected).await?;
        let offset = found.offset;
        let from = match &found.hasher {
            Some(hasher) if hasher.algorithm() == algorithm || offset > 0 => found,
            _ => self.hash_again(&upload, found, algorithm).await.map_err(|error| unknown_session(error, name, id))?,
        };
        let appended = self.store.append(&upload, from, body).await.map_err(|error| of_session(error, name, id))?;
        let offset = appended.progress.offset;
        **session = Some(appended.progress);
        match appended.interrupted {
            Some(source) => Err(Error::BodyInterrupted { source }),
            None => Ok(offset),
        }
    }

    /// How far a session has come, which must be byte `expected`. What is remembered of it is taken.
    async fn located(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        expected: u64,
    ) -> Result<Progress, Error> {
        let known = session.take();
        let found = match known {
            Some(known) if self.store.is_remote() && known.offset == expected => known,
            known => match self.store.resume(&UploadKey::new(name, id), Some(expected)).await {
                // There is one file of data, and this process has hashed it.
                Ok(found) if found.hasher.is_none() => {
                    known.filter(|known| known.offset == found.offset).unwrap_or(found)
                }
                Ok(found) => found,
                Err(error) => {
                    self.sessions.forget(id);
                    return Err(unknown_session(error, name, id));
                }
            },
        };
        if found.offset != expected {
            return Err(Error::UploadOffset { id, offset: found.offset });
        }
        Ok(found)
    }

    async fn finish(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        digest: &Digest,
    ) -> Result<(), Error> {
        let upload = UploadKey::new(name, id);
        // A copy: if the end fails, the session can be gone on with.
        let progress = match session.as_ref() {
            Some(progress) => progress.clone(),
            None => self.store.resume(&upload, None).await.map_err(|error| unknown_session(error, name, id))?,
        };
        let is_hashed = progress.hasher.as_ref().is_some_and(|hasher| hasher.algorithm() == digest.algorithm());
        let progress = match is_hashed {
            true => progress,
            // The chunks came before it was known that the client counts in another algorithm.
            false => {
                let hashed = self.hash_again(&upload, progress, digest.algorithm()).await;
                hashed.map_err(|error| unknown_session(error, name, id))?
            }
        };
        let found = progress.hasher.clone().unwrap_or_else(|| Hasher::new(digest.algorithm())).finish();
        if found != *digest {
            // As with Distribution, the data stays: whoever named the wrong digest can name the right one.
            return Err(Error::DigestMismatch { expected: digest.clone(), found });
        }
        let held = self.guard.acquire(vec![Item::Blob(digest.clone())]).await?;
        let finished = self.store.finish(&upload, &progress, &layout::blob_data(digest)).await;
        finished.map_err(|error| of_session(error, name, id))?;
        self.link_layer(name, digest, progress.offset).await?;
        held.verify();
        // The blob is in place and linked. What is left of the session is of no use, and the purge of old uploads finds it
        // if this fails.
        if let Err(error) = self.store.discard(&upload, &progress).await {
            tracing::warn!(repository = %name, upload = %id, %error, "cannot remove a finished upload");
        }
        self.sessions.forget(id);
        Ok(())
    }

    /// Hashes the data of a session. If another server has changed that, its length tells when it is used.
    async fn hash_again(
        &self,
        upload: &UploadKey,
        progress: Progress,
        algorithm: Algorithm,
    ) -> Result<Progress, Error> {
        let mut hasher = Hasher::new(algorithm);
        let mut body = self.store.read_upload(upload, &progress).await?;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            // A quarter of a megabyte takes long enough that other requests would notice it here.
            hasher = tokio::task::spawn_blocking(move || {
                hasher.update(&piece);
                hasher
            })
            .await?;
        }
        Ok(progress.hashed(hasher))
    }
}

/// An empty body, for a request that only ends a session.
#[must_use]
pub fn no_body() -> Incoming {
    Box::pin(stream::empty())
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

#[cfg(test)]
mod tests {
    use berth_storage::Memory;
    use bytes::Bytes;

    use super::*;
    use crate::gc::Guard;
    use crate::registry::Permissions;

    async fn left_below(registry: &Registry) -> usize {
        list_all(registry.store.as_ref(), &layout::repositories(), false).await.unwrap().len()
    }

    /// The data is hashed by what was named, so that it need not be read again in the end.
    #[tokio::test]
    async fn an_algorithm_that_was_named_is_hashed_by_from_the_beginning() {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: false, read_only: false });
        let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
        let name: RepositoryName = "team/app".parse().unwrap();
        for algorithm in Algorithm::ALL {
            let Upload { id, .. } = registry.upload_begin(&name).await.unwrap();
            let mut offset = 0;
            for chunk in ["hello ", "world"] {
                let body: Incoming = Box::pin(stream::iter([Ok(Bytes::from(chunk))]));
                offset = registry.upload_append(&name, id, offset, algorithm, body).await.unwrap();
                let session = registry.sessions.lock(id).await.unwrap();
                assert_eq!(
                    session
                        .as_ref()
                        .and_then(|progress| progress.hasher.as_ref())
                        .map(|hasher| (hasher.algorithm(), hasher.bytes())),
                    Some((algorithm, offset))
                );
            }
            let digest = Digest::of(algorithm, b"hello world");
            registry.upload_finish(&name, id, offset, &digest, no_body()).await.unwrap();
            assert_eq!(registry.blob_describe(&name, &digest).await.unwrap().size, 11);
        }
    }

    /// Three ways in which a blob at once fails; the last is that of a client that goes away, whose request is dropped.
    #[tokio::test]
    async fn nothing_is_left_of_a_whole_blob_that_fails() {
        let (store, permissions) = (Arc::new(Memory::new()), Permissions { delete: false, read_only: false });
        let registry = Arc::new(Registry::new(store.clone(), store, Arc::new(Guard::offline()), permissions));
        let name: RepositoryName = "team/app".parse().unwrap();
        let digest = Digest::sha256(b"expected");
        let other: Incoming = Box::pin(stream::iter([Ok(Bytes::from("other"))]));
        let refused = registry.upload_whole(&name, &digest, other).await;
        assert!(matches!(refused, Err(Error::DigestMismatch { .. })), "{refused:?}");
        let broken: Incoming = Box::pin(stream::iter([Ok(Bytes::from("exp")), Err("reset".into())]));
        let refused = registry.upload_whole(&name, &digest, broken).await;
        assert!(matches!(refused, Err(Error::BodyInterrupted { .. })), "{refused:?}");
        assert_eq!(left_below(&registry).await, 0);

        let (pieces, body) = tokio::sync::mpsc::channel(1);
        let body = stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
        pieces.send(Ok(Bytes::from("exp"))).await.unwrap();
        let mut request = Box::pin(registry.upload_whole(&name, &digest, Box::pin(body)));
        assert!(futures::poll!(request.as_mut()).is_pending());
        while left_below(&registry).await == 0 {
            tokio::task::yield_now().await;
        }
        drop(request);
        pieces.send(Err("reset".into())).await.unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while left_below(&registry).await > 0 {
            assert!(std::time::Instant::now() < deadline, "the data stays");
            tokio::task::yield_now().await;
        }
    }
}
