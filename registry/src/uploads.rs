//! Upload sessions: begun, appended to by any number of requests, and finished as a blob.
//!
//! The length of a session is the length of its data in the store, so a session outlives the process. The hash of the
//! data is kept in memory between requests; when it is missing, after a restart or because too many sessions are open,
//! the data is read and hashed again.
//!
//! One request at a time works on a session; another waits for a while. The work runs in a task of its own, so that a
//! client that goes away does not leave a write behind that nobody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use berth_oci::{Algorithm, Digest, Hasher, RepositoryName};
use berth_storage::layout::{self, UploadKey};
use berth_storage::{EntryKind, Incoming, StoreError, list_all, read_all};
use futures::{StreamExt, stream};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::error::Error;
use crate::gc::Item;
use crate::registry::{Registry, absent_is_none};

/// For how many sessions the hash is kept. A state has about 300 bytes.
const MAX_SESSIONS: usize = 16 * 1024;
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

/// The sessions that this process has worked on, each with its lock and the hash of its data.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Option<Hasher>>>>>,
}

type Session = OwnedMutexGuard<Option<Hasher>>;

impl Sessions {
    async fn lock(&self, id: Uuid) -> Result<Session, Error> {
        tokio::time::timeout(PATIENCE, self.session(id).lock_owned()).await.map_err(|_| Error::UploadBusy { id })
    }

    /// The session, unless a request is working on it.
    fn try_lock(&self, id: Uuid) -> Option<Session> {
        self.session(id).try_lock_owned().ok()
    }

    fn session(&self, id: Uuid) -> Arc<tokio::sync::Mutex<Option<Hasher>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MAX_SESSIONS && !open.contains_key(&id) {
            // Whoever nobody works on now can be hashed again; those in use stay.
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
        self.begin(name, Uuid::new_v4()).await
    }

    async fn begin(&self, name: &RepositoryName, id: Uuid) -> Result<Upload, Error> {
        let upload = Upload { id, started_at: jiff::Timestamp::now(), offset: 0 };
        // Whole seconds, as Distribution writes and reads them.
        let text = upload.started_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.store.begin(&UploadKey::new(name, upload.id), text.into()).await?;
        Ok(upload)
    }

    /// The length of a session's data in bytes.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`] if there is no such session.
    pub async fn upload_offset(&self, name: &RepositoryName, id: Uuid) -> Result<u64, Error> {
        self.store.offset(&UploadKey::new(name, id)).await.map_err(|error| unknown_session(error, name, id))
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
            registry.append(&mut session, &name, id, expected, algorithm, body).await
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
        self.append(session, name, id, expected, digest.algorithm(), body).await?;
        self.finish(session, name, id, digest).await
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
            let id = Uuid::new_v4();
            // Held from before it begins: it is never idle, so the deletion of its repository lets it end.
            let mut session = registry.sessions.lock(id).await?;
            let finished = match registry.begin(&name, id).await {
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
        let offset = match self.store.offset(&upload).await {
            Ok(offset) => offset,
            Err(error) => {
                self.sessions.forget(id);
                return Err(unknown_session(error, name, id));
            }
        };
        if offset != expected {
            return Err(Error::UploadOffset { id, offset });
        }
        let hasher = match session.take() {
            Some(hasher) if hasher.bytes() == offset && (hasher.algorithm() == algorithm || offset > 0) => hasher,
            _ => self.hash_again(&upload, offset, algorithm).await.map_err(|error| unknown_session(error, name, id))?,
        };
        let appended =
            self.store.append(&upload, offset, hasher, body).await.map_err(|error| of_session(error, name, id))?;
        **session = Some(appended.hasher);
        match appended.interrupted {
            Some(source) => Err(Error::BodyInterrupted { source }),
            None => Ok(appended.offset),
        }
    }

    async fn finish(&self, session: &Session, name: &RepositoryName, id: Uuid, digest: &Digest) -> Result<(), Error> {
        let upload = UploadKey::new(name, id);
        // A copy: if the end fails, the session can be gone on with.
        let hasher = match session.as_ref() {
            Some(hasher) if hasher.algorithm() == digest.algorithm() => hasher.clone(),
            // The chunks came before it was known that the client counts in another algorithm.
            _ => {
                let offset = self.upload_offset(name, id).await?;
                let hashed = self.hash_again(&upload, offset, digest.algorithm()).await;
                hashed.map_err(|error| unknown_session(error, name, id))?
            }
        };
        let size = hasher.bytes();
        let found = hasher.finish();
        if found != *digest {
            // As with Distribution, the data stays: whoever named the wrong digest can name the right one.
            return Err(Error::DigestMismatch { expected: digest.clone(), found });
        }
        let held = self.guard.acquire(vec![Item::Blob(digest.clone())]).await?;
        let finished = self.store.finish(&upload, &layout::blob_data(digest), size).await;
        finished.map_err(|error| of_session(error, name, id))?;
        self.ensure_link(&layout::layer_link(name, digest), digest).await?;
        held.verify();
        self.sessions.forget(id);
        Ok(())
    }

    /// Hashes the data of a session, which has `offset` bytes. If another server has changed that, its length tells when it is
    /// used.
    async fn hash_again(&self, upload: &UploadKey, offset: u64, algorithm: Algorithm) -> Result<Hasher, Error> {
        let mut hasher = Hasher::new(algorithm);
        if offset == 0 {
            return Ok(hasher);
        }
        let mut object = self.store.get(&upload.data(), None).await?;
        while let Some(piece) = object.body.next().await {
            let piece = piece?;
            // A quarter of a megabyte takes long enough that other requests would notice it here.
            hasher = tokio::task::spawn_blocking(move || {
                hasher.update(&piece);
                hasher
            })
            .await?;
        }
        Ok(hasher)
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
                    session.as_ref().map(|hasher| (hasher.algorithm(), hasher.bytes())),
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
