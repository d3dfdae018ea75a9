//! Large content in and out of files, one blocking hop for each large buffer.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use berth_oci::Hasher;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

use crate::layout::UploadKey;
use crate::store::{Appended, ByteRange, Incoming, Outgoing, clamp};
use crate::{Key, Stat, StoreError};

use super::Filesystem;
use super::tree::Tree;

/// The size of a buffer that is read, in bytes: large enough that the hop does not show, small enough to stay in a
/// processor's cache on its way to the socket.
const READ_BYTES: usize = 256 * 1024;
/// How many bytes are collected before they are hashed and written.
const WRITE_BYTES: usize = 512 * 1024;

/// An open object and its first bytes, which were read in the hop that opened it.
pub(super) struct Reader {
    file: Arc<File>,
    key: Key,
    first: Bytes,
    /// The place of the next byte to read, and the end, in the file.
    rest: ByteRange,
}

impl Reader {
    pub(super) fn open(
        tree: &Tree,
        key: Key,
        range: Option<ByteRange>,
    ) -> Result<(Stat, ByteRange, Reader), StoreError> {
        let (file, stat) = tree.open_file(&key)?;
        let range = clamp(&key, range, stat.size)?;
        let first = read(&file, &key, range)?;
        let rest = ByteRange { start: range.start + first.len() as u64, end: range.end };
        Ok((stat, range, Reader { file: Arc::new(file), key, first, rest }))
    }

    /// The bytes as a stream that reads ahead by one buffer, so that the file and the socket are busy at once.
    pub(super) fn into_stream(self) -> Outgoing {
        let Reader { file, key, first, rest } = self;
        if first.is_empty() {
            return Box::pin(stream::empty());
        }
        if rest.start >= rest.end {
            return Box::pin(stream::once(async move { Ok(first) }));
        }
        let ahead = Ahead { pending: None, file, key, rest };
        let following = stream::unfold(ahead, Ahead::next);
        Box::pin(stream::once(async move { Ok(first) }).chain(following))
    }
}

struct Ahead {
    file: Arc<File>,
    key: Key,
    rest: ByteRange,
    pending: Option<JoinHandle<Result<Bytes, StoreError>>>,
}

impl Ahead {
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        let pending = self.pending.take().or_else(|| self.start())?;
        let read = pending.await.unwrap_or_else(|stopped| Err(read_failed(&self.key, io::Error::other(stopped))));
        match &read {
            Ok(bytes) => {
                self.rest.start += bytes.len() as u64;
                self.pending = self.start();
            }
            // An error ends the stream: nothing is left to read.
            Err(_) => self.rest.start = self.rest.end,
        }
        Some((read, self))
    }

    fn start(&self) -> Option<JoinHandle<Result<Bytes, StoreError>>> {
        if self.rest.start >= self.rest.end {
            return None;
        }
        let (file, key, rest) = (self.file.clone(), self.key.clone(), self.rest);
        Some(tokio::task::spawn_blocking(move || read(&file, &key, rest)))
    }
}

/// Reads the next buffer of a range, full unless the range ends.
fn read(file: &File, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
    let wanted = (range.end - range.start).min(READ_BYTES as u64) as usize;
    let mut buffer: Vec<u8> = Vec::with_capacity(wanted);
    while buffer.len() < wanted {
        let at = range.start + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            // Objects are never shortened, so this is a damaged file.
            Ok(0) => return Err(read_failed(key, io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(read_failed(key, error.into())),
        }
    }
    // The allocator may have given more room than was asked for.
    buffer.truncate(wanted);
    Ok(buffer.into())
}

fn read_failed(key: &Key, source: io::Error) -> StoreError {
    StoreError::Io { key: key.to_string(), action: "read the file", source }
}

/// The data of an upload, open at its end.
pub(super) struct Writer {
    file: File,
    key: Key,
    offset: u64,
    hasher: Hasher,
}

impl Writer {
    pub(super) fn open(tree: &Tree, upload: &UploadKey, offset: u64, hasher: Hasher) -> Result<Self, StoreError> {
        let key = upload.data();
        let found = tree.upload_offset(upload)?;
        if found != offset {
            return Err(StoreError::Offset { key: key.to_string(), expected: offset, found });
        }
        let failed = |source| StoreError::from_io(&key, "open the upload", source);
        let mut file =
            File::options().create(true).truncate(false).write(true).open(tree.path(&key)).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Writer { file, key, offset, hasher })
    }

    /// Hashes and writes, in that order, in one go: each piece is still in the cache when it is written.
    fn take(mut self, pieces: &[Bytes]) -> Result<Self, StoreError> {
        for piece in pieces {
            if let Err(source) = self.file.write_all(piece) {
                // What was written of this piece must not count; the next append finds the length as it was hashed.
                let _ = self.file.set_len(self.offset);
                return Err(StoreError::Io { key: self.key.to_string(), action: "write the upload", source });
            }
            self.hasher.update(piece);
            self.offset += piece.len() as u64;
        }
        Ok(self)
    }
}

/// Who has the writer: this task, or the blocking thread that is writing.
enum Turn {
    Here(Box<Writer>),
    Writing(JoinHandle<Result<Writer, StoreError>>),
}

/// Takes a whole body. While one buffer is hashed and written, the next one fills; no more than these two are held.
pub(super) async fn append(store: &Filesystem, writer: Writer, mut body: Incoming) -> Result<Appended, StoreError> {
    let key = writer.key.clone();
    let mut turn = Turn::Here(Box::new(writer));
    let interrupted = loop {
        let (pieces, end) = collect(&mut body).await;
        if !pieces.is_empty() {
            let writer = here(turn, &key).await?;
            let permit = store.threads.clone().acquire_owned().await.ok();
            turn = Turn::Writing(tokio::task::spawn_blocking(move || {
                let _permit = permit;
                writer.take(&pieces)
            }));
        }
        match end {
            End::NotYet => {}
            End::Whole => break None,
            End::Broken(error) => break Some(error),
        }
    };
    let Writer { file: _, key: _, offset, hasher } = here(turn, &key).await?;
    Ok(Appended { offset, hasher, interrupted })
}

async fn here(turn: Turn, key: &Key) -> Result<Writer, StoreError> {
    match turn {
        Turn::Here(writer) => Ok(*writer),
        Turn::Writing(task) => task.await.unwrap_or_else(|stopped| {
            Err(StoreError::Io { key: key.to_string(), action: "write the upload", source: io::Error::other(stopped) })
        }),
    }
}

enum End {
    NotYet,
    Whole,
    Broken(crate::BoxError),
}

/// Collects pieces of a body until they make a buffer, without copying them together.
async fn collect(body: &mut Incoming) -> (Vec<Bytes>, End) {
    let mut pieces = Vec::new();
    let mut bytes = 0;
    while bytes < WRITE_BYTES {
        match body.next().await {
            None => return (pieces, End::Whole),
            Some(Err(error)) => return (pieces, End::Broken(error)),
            Some(Ok(piece)) => {
                bytes += piece.len();
                pieces.push(piece);
            }
        }
    }
    (pieces, End::NotYet)
}
