//! Large content into files.
//!
//! A push is hashed by one blocking thread and written by another while the task receives the next buffer. What was written
//! is brought to the disk by a third while more arrives.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use berth_oci::Hasher;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::layout::UploadKey;
use crate::store::{Appended, Incoming, Progress};
use crate::{Key, StoreError};

use super::Filesystem;
use super::tree::Tree;

/// How many bytes are collected before they are hashed and written.
const WRITE_BYTES: usize = 512 * 1024;
/// Below this length, in bytes, a piece of a body is copied to those before it.
const CRUMB_BYTES: usize = 4 * 1024;
/// How many bytes are written in one call.
///
/// The kernel takes memory for the page cache in pieces of up to this size, and what it has in large pieces is what it has
/// not used for long. In a virtual machine that gives free memory back to its host, as most do, each page of that is a trip
/// to the host: writing in calls of 512 KiB takes five times the processor time of calls of 32 KiB (Linux 6.18, ext4).
const CALL_BYTES: usize = 32 * 1024;
/// How many bytes are written before they are brought to the disk while more arrives.
const SYNC_BYTES: u64 = 32 * 1024 * 1024;

/// The data of an upload, open at its end.
pub(super) struct Writer {
    file: Arc<File>,
    key: Key,
    offset: u64,
    hasher: Hasher,
}

impl Writer {
    pub(super) fn open(tree: &Tree, upload: &UploadKey, offset: u64, hasher: Hasher) -> Result<Self, StoreError> {
        let key = upload.data();
        if offset == 0 {
            // The session may have no data yet, but it must exist.
            tree.upload_offset(upload)?;
        }
        let mut file = tree.open_upload(upload, offset)?;
        let failed = |source| StoreError::from_io(&key, "open the upload", source);
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Writer { file: Arc::new(file), key, offset, hasher })
    }

    /// Takes pieces behind byte `offset`: one thread hashes them while this one writes them.
    fn take(self, pieces: Vec<Bytes>, permit: Option<OwnedSemaphorePermit>) -> Taking {
        let Writer { file, key, offset, mut hasher } = self;
        let shared = pieces.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            shared.iter().for_each(|piece| hasher.update(piece));
            hasher
        });
        let writing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match write_pieces(&file, &pieces) {
                Ok(bytes) => Ok((file, offset + bytes)),
                Err(source) => {
                    // What was written of these pieces must not count; the next append finds the length as it was.
                    let _ = file.set_len(offset);
                    Err(source)
                }
            }
        });
        Taking { key, hashing, writing }
    }
}

/// Pieces that are being hashed and written.
struct Taking {
    key: Key,
    hashing: JoinHandle<Hasher>,
    writing: JoinHandle<io::Result<(Arc<File>, u64)>>,
}

impl Taking {
    /// The writer as it is behind the pieces. After an error both threads have ended, too.
    async fn done(self) -> Result<Writer, StoreError> {
        let Taking { key, hashing, writing } = self;
        let (hasher, written) = tokio::join!(hashing, writing);
        let written = written.map_err(io::Error::other).and_then(|written| written);
        match hasher.map_err(io::Error::other).and_then(|hasher| Ok((hasher, written?))) {
            Ok((hasher, (file, offset))) => Ok(Writer { file, key, offset, hasher }),
            Err(source) => Err(StoreError::Io { key: key.to_string(), action: "write the upload", source }),
        }
    }
}

/// Writes pieces, and says how many bytes they have.
fn write_pieces(mut file: &File, pieces: &[Bytes]) -> io::Result<u64> {
    for piece in pieces {
        piece.chunks(CALL_BYTES).try_for_each(|part| file.write_all(part))?;
    }
    Ok(pieces.iter().map(|piece| piece.len() as u64).sum())
}

/// Who has the writer: this task, or the blocking threads.
enum Turn {
    Here(Box<Writer>),
    Taking(Taking),
}

impl Turn {
    async fn here(self) -> Result<Writer, StoreError> {
        match self {
            Turn::Here(writer) => Ok(*writer),
            Turn::Taking(taking) => taking.done().await,
        }
    }
}

/// What of an upload is on the disk already.
///
/// A large upload is brought to the disk while more of it arrives, so that its end does not wait for all of it, and the page
/// cache does not fill with what cannot be dropped.
struct Syncing {
    file: Arc<File>,
    key: Key,
    /// Up to here everything is on the disk. What was there before may not be, whoever wrote it.
    synced: u64,
    /// Where the sync ended that was begun last.
    followed: u64,
    /// The sync that runs, and how far it goes.
    running: Option<(u64, JoinHandle<io::Result<()>>)>,
}

impl Syncing {
    fn behind(writer: &Writer) -> Self {
        let (file, key) = (writer.file.clone(), writer.key.clone());
        Syncing { file, key, synced: 0, followed: writer.offset, running: None }
    }

    /// Begins to sync what was written up to byte `end`, if that is much and nothing is being synced. Nobody may be writing.
    async fn follow(&mut self, end: u64) -> Result<(), StoreError> {
        if self.running.as_ref().is_some_and(|(_, sync)| sync.is_finished()) {
            self.settle().await?;
        }
        if self.running.is_none() && end - self.followed >= SYNC_BYTES {
            let file = self.file.clone();
            self.followed = end;
            self.running = Some((end, tokio::task::spawn_blocking(move || file.sync_data())));
        }
        Ok(())
    }

    /// Waits for the sync that runs. Nobody may be writing.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let Some((end, sync)) = self.running.take() else { return Ok(()) };
        match sync.await.map_err(io::Error::other).and_then(|synced| synced) {
            Ok(()) => {
                self.synced = end;
                Ok(())
            }
            Err(source) => {
                // The kernel tells this once, and forgets what it could not write: that must not count, nor what is behind.
                let _ = self.file.set_len(self.synced);
                Err(StoreError::Io { key: self.key.to_string(), action: "sync the upload", source })
            }
        }
    }
}

/// Takes a whole body. While one buffer is hashed and written, the next one fills; no more than these two are held.
pub(super) async fn append(store: &Filesystem, writer: Writer, body: Incoming) -> Result<Appended, StoreError> {
    let mut syncing = Syncing::behind(&writer);
    let taken = take_all(store, writer, body, &mut syncing).await;
    // Whatever came of the body: a sync that failed is told.
    syncing.settle().await?;
    taken
}

async fn take_all(
    store: &Filesystem,
    writer: Writer,
    mut body: Incoming,
    syncing: &mut Syncing,
) -> Result<Appended, StoreError> {
    let mut turn = Turn::Here(Box::new(writer));
    let interrupted = loop {
        let (pieces, end) = collect(&mut body).await;
        if !pieces.is_empty() {
            let writer = turn.here().await?;
            syncing.follow(writer.offset).await?;
            // Only for the thread that writes: the others bound themselves, one to an upload.
            let permit = store.threads.clone().acquire_owned().await.ok();
            turn = Turn::Taking(writer.take(pieces, permit));
        }
        match end {
            End::NotYet => {}
            End::Whole => break None,
            End::Broken(error) => break Some(error),
        }
    };
    let Writer { file: _, key: _, offset, hasher } = turn.here().await?;
    Ok(Appended { progress: Progress::of_file(offset, Some(hasher)), interrupted })
}

enum End {
    NotYet,
    Whole,
    Broken(crate::BoxError),
}

/// Collects pieces of a body until they make a buffer. Those that are large enough to be written by themselves are not
/// copied; the others are put together, so that what is held is what it has in bytes, however finely a client cuts.
async fn collect(body: &mut Incoming) -> (Vec<Bytes>, End) {
    let (mut pieces, mut crumbs) = (Vec::new(), BytesMut::new());
    let mut bytes = 0;
    let end = loop {
        if bytes >= WRITE_BYTES {
            break End::NotYet;
        }
        match body.next().await {
            None => break End::Whole,
            Some(Err(error)) => break End::Broken(error),
            Some(Ok(piece)) => {
                bytes += piece.len();
                if piece.len() < CRUMB_BYTES {
                    crumbs.extend_from_slice(&piece);
                    continue;
                }
                if !crumbs.is_empty() {
                    pieces.push(crumbs.split().freeze());
                }
                pieces.push(piece);
            }
        }
    };
    if !crumbs.is_empty() {
        pieces.push(crumbs.freeze());
    }
    (pieces, end)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn after_a_sync_that_failed_only_what_is_on_the_disk_is_left() {
        for (before, kept) in [(Some(Ok(())), 60), (None, 0)] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(100).unwrap();
            let (file, key) = (Arc::new(file), "a".parse().unwrap());
            let mut syncing = Syncing { file: file.clone(), key, synced: 0, followed: 40, running: None };
            for (end, outcome) in before.map(|outcome| (60, outcome)).into_iter().chain([(100, Err(()))]) {
                let outcome = outcome.map_err(|()| io::Error::other("the disk is broken"));
                syncing.running = Some((end, tokio::spawn(async { outcome })));
                assert_eq!(syncing.settle().await.is_ok(), end == 60);
            }
            assert_eq!(file.metadata().unwrap().len(), kept);
        }
    }

    #[tokio::test]
    async fn crumbs_are_put_together_in_their_order() {
        let large = Bytes::from(vec![b'l'; CRUMB_BYTES]);
        let crumbs = |count: usize| vec![Bytes::from_static(b"c"); count];
        let sent = [crumbs(1000), vec![large.clone(), large.clone()], crumbs(2), vec![large], crumbs(3)].concat();
        let mut body = Incoming::new(stream::iter(sent.clone().into_iter().map(Ok)));
        let (pieces, end) = collect(&mut body).await;
        assert!(matches!(end, End::Whole));
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [1000, CRUMB_BYTES, CRUMB_BYTES, 2, CRUMB_BYTES, 3]);
        assert_eq!(pieces.concat(), sent.concat());
    }

    #[tokio::test]
    async fn a_buffer_of_crumbs_is_one_piece() {
        let mut body = Incoming::new(stream::iter(std::iter::repeat(Bytes::from_static(b"c")).map(Ok)));
        let (pieces, end) = collect(&mut body).await;
        assert!(matches!(end, End::NotYet));
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [WRITE_BYTES]);
    }
}
