//! How an upload becomes a blob, whoever has worked on it, and however often its end is asked for.
//!
//! On an object store any replica may be killed, or still be at work when its client has given it up, so the last request of
//! an upload comes again, to any replica: before the first one did anything, while it does, or when all of it is done. It is
//! answered as the first one would have been. What it names is a digest, so no more has to be known than whether there is
//! data that has it: the chunk that it brings may have arrived before, and the whole upload may be the blob already.

use std::sync::Arc;
use std::time::SystemTime;

use berth_oci::{Algorithm, Digest, Hasher, RepositoryName};
use berth_storage::layout::{self, UploadKey};
use berth_storage::{Incoming, Progress, Stat, Written};
use futures::StreamExt;
use uuid::Uuid;

use super::sessions::Session;
use super::{Place, of_session, unknown_session};
use crate::error::Error;
use crate::gc::{Held, Item};
use crate::registry::{Registry, absent_is_none};

impl Registry {
    /// Appends a last body to a session that must end where the client goes on, and makes the whole a blob of the repository.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if the content has another digest, in which case the session stays as it is.
    pub async fn upload_finish(
        self: &Arc<Self>,
        name: &RepositoryName,
        id: Uuid,
        place: impl Into<Place>,
        digest: &Digest,
        body: Incoming,
    ) -> Result<(), Error> {
        let place = place.into();
        let writing = self.writable()?;
        let (registry, name, digest) = (self.clone(), name.clone(), digest.clone());
        tokio::spawn(async move {
            let _writing = writing;
            let mut session = registry.sessions.lock(id).await?;
            match registry.complete(&mut session, &name, id, place, &digest, body).await {
                Err(unknown @ Error::UploadUnknown { .. }) => registry.was_finished(&name, id, &digest, unknown).await,
                finished => finished,
            }
        })
        .await?
    }

    /// Whether a session that is unknown is so because it has become the blob; otherwise the error. Where data is moved, one
    /// process has the session, and what it has answered to the first request it answers to no other.
    async fn was_finished(
        &self,
        name: &RepositoryName,
        id: Uuid,
        digest: &Digest,
        unknown: Error,
    ) -> Result<(), Error> {
        if !self.store.is_remote() {
            return Err(unknown);
        }
        match self.blob_stat(name, digest).await {
            Ok(_) => {}
            Err(Error::BlobUnknown { .. }) => return Err(unknown),
            Err(error) => return Err(error),
        }
        // This request may have written its chunk before it came to know. The purge finds that if this fails.
        if let Err(error) = absent_is_none(self.store.abort(&UploadKey::new(name, id)).await) {
            tracing::warn!(repository = %name, upload = %id, %error, "cannot remove what came after an upload");
        }
        Ok(())
    }

    pub(super) async fn complete(
        &self,
        session: &mut Session,
        name: &RepositoryName,
        id: Uuid,
        place: Place,
        digest: &Digest,
        body: Incoming,
    ) -> Result<(), Error> {
        let found = self.found(session, name, id, place).await?;
        if found.offset != place.at {
            if !(self.store.is_remote() && is_whole(&found, digest)) {
                return Err(Error::UploadOffset { id, offset: found.offset });
            }
            // The chunk has arrived before, and the answer was lost.
            **session = Some(found);
        } else if place.at == 0 && self.store.writes_directly() {
            self.write(name, digest, body).await?;
            self.discard(name, id, &found).await;
            return Ok(());
        } else {
            match self.append(session, name, id, found, digest.algorithm(), body).await {
                // It was not where it was remembered to be, and all of it is there.
                Err(Error::UploadOffset { .. }) if session.as_ref().is_some_and(|found| is_whole(found, digest)) => {}
                appended => {
                    appended?;
                }
            }
        }
        self.finish(session, name, id, digest).await
    }

    /// Takes a body straight to its blob, and links it.
    pub(super) async fn write(&self, name: &RepositoryName, digest: &Digest, body: Incoming) -> Result<(), Error> {
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
        let expected = progress.offset;
        let stored = match self.store_blob(&upload, progress, digest).await {
            Err(Error::Store(error)) if self.store.is_remote() && !error.is_transient() => {
                // What was remembered may be gone: another replica has ended the upload, or put other objects in the place
                // of these. Where the store says that it is there, it is tried once more.
                tracing::debug!(repository = %name, upload = %id, %error, "an upload is looked for once more");
                session.take();
                let found = self.store.resume(&upload, Some(expected)).await;
                let found = found.map_err(|error| unknown_session(error, name, id))?;
                if found.offset != expected {
                    return Err(Error::UploadOffset { id, offset: found.offset });
                }
                self.store_blob(&upload, found, digest).await
            }
            stored => stored,
        };
        let (progress, held) = match stored {
            Err(Error::Store(error)) => return Err(of_session(error, name, id)),
            stored => stored?,
        };
        self.link_layer(name, digest, progress.offset).await?;
        held.verify();
        self.discard(name, id, &progress).await;
        Ok(())
    }

    /// Makes the data of a session the bytes of a blob, if it has the digest.
    async fn store_blob(
        &self,
        upload: &UploadKey,
        progress: Progress,
        digest: &Digest,
    ) -> Result<(Progress, Held), Error> {
        let progress = match is_hashed_by(&progress, digest.algorithm()) {
            true => progress,
            // The chunks came before it was known that the client counts in another algorithm.
            false => self.hash_again(upload, progress, digest.algorithm()).await?,
        };
        let found = progress.hasher.clone().unwrap_or_else(|| Hasher::new(digest.algorithm())).finish();
        if found != *digest {
            // As with Distribution, the data stays: whoever named the wrong digest can name the right one.
            return Err(Error::DigestMismatch { expected: digest.clone(), found });
        }
        let held = self.guard.acquire(vec![Item::Blob(digest.clone())]).await?;
        self.store.finish(upload, &progress, &layout::blob_data(digest)).await?;
        Ok((progress, held))
    }

    /// Removes what is left of a session whose blob is in place and linked. It is of no use, and the purge of old uploads
    /// finds it if this fails.
    async fn discard(&self, name: &RepositoryName, id: Uuid, progress: &Progress) {
        if let Err(error) = self.store.discard(&UploadKey::new(name, id), progress).await {
            tracing::warn!(repository = %name, upload = %id, %error, "cannot remove a finished upload");
        }
        self.sessions.forget(id);
    }

    /// Hashes the data of a session. If another server has changed that, its length tells when it is used.
    pub(super) async fn hash_again(
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
            let hashing = tokio::task::spawn_blocking(move || {
                hasher.update(&piece);
                hasher
            });
            hasher = hashing.await?;
        }
        Ok(progress.hashed(hasher))
    }
}

fn is_hashed_by(progress: &Progress, algorithm: Algorithm) -> bool {
    progress.hasher.as_ref().is_some_and(|hasher| hasher.algorithm() == algorithm)
}

/// Whether data is known to have a digest, as far as it is hashed.
fn is_whole(progress: &Progress, digest: &Digest) -> bool {
    let hasher = progress.hasher.as_ref().filter(|hasher| hasher.algorithm() == digest.algorithm());
    hasher.is_some_and(|hasher| hasher.clone().finish() == *digest)
}
