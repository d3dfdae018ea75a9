//! Large content in and out of files, in large buffers.
//!
//! A pull from the page cache is read by the task that sends it: the copy takes as long as a write to the socket does, and
//! two hops for each buffer would cost more. As soon as a buffer is not in memory, blocking threads read the rest, one
//! buffer ahead of the client. The buffers of a pull are used again and again, so that they stay in a processor's cache.
//!
//! A push is hashed by one blocking thread and written by another while the task receives the next buffer.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use berth_oci::Hasher;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::layout::UploadKey;
use crate::store::{Appended, ByteRange, Incoming, Outgoing, clamp};
use crate::{Key, Stat, StoreError};

use super::Filesystem;
use super::resident::Resident;
use super::tree::Tree;

/// The size of a buffer that is read, in bytes: large enough that a hop does not show, small enough to stay in a
/// processor's cache on its way to the socket.
const READ_BYTES: usize = 256 * 1024;
/// How many buffers are kept for the next read: what the socket has not taken yet, and the one being filled.
const KEPT_BUFFERS: usize = 3;
/// How much a task reads from the page cache before others get their turn, in bytes: well under a millisecond's worth.
const TURN_BYTES: u64 = 1024 * 1024;
/// How many bytes are collected before they are hashed and written.
const WRITE_BYTES: usize = 512 * 1024;

/// Reads a whole object of at most `limit` bytes, if that can be done without waiting.
pub(super) fn read_resident(tree: &Tree, key: &Key, limit: u64) -> Option<Result<Bytes, StoreError>> {
    let (file, stat) = match tree.resident_file(key)? {
        Ok(opened) => opened,
        Err(error) => return Some(Err(error)),
    };
    if stat.size > limit {
        return Some(Err(StoreError::TooLarge { key: key.to_string(), size: stat.size, limit }));
    }
    // What takes several reads is large enough that the hop does not show.
    let mut buffer = vec![0; usize::try_from(stat.size).ok().filter(|size| *size <= READ_BYTES)?];
    match tree.resident().read(&file, &mut buffer, 0)? {
        Ok(count) if count == buffer.len() => Some(Ok(buffer.into())),
        Ok(_) => None,
        Err(error) => Some(Err(read_failed(key, error))),
    }
}

/// Reads a whole object of at most `limit` bytes.
pub(super) fn read_whole(tree: &Tree, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
    let (file, stat) = tree.open_file(key)?;
    if stat.size > limit {
        return Err(StoreError::TooLarge { key: key.to_string(), size: stat.size, limit });
    }
    let mut buffer = vec![0; stat.size as usize];
    fill(&file, key, &mut buffer, 0)?;
    Ok(buffer.into())
}

/// An open object and its first bytes.
pub(super) struct Reader {
    file: Arc<File>,
    key: Key,
    buffers: Buffers,
    first: Bytes,
    /// The place of the next byte to read, and the end, in the file.
    rest: ByteRange,
}

type Opened = (Stat, ByteRange, Reader);

impl Reader {
    pub(super) fn open(tree: &Tree, key: Key, range: Option<ByteRange>) -> Result<Opened, StoreError> {
        let (file, stat) = tree.open_file(&key)?;
        let range = clamp(&key, range, stat.size)?;
        let buffers = Buffers::default();
        let mut buffer = buffers.take(range);
        fill(&file, &key, &mut buffer, range.start)?;
        Ok(Reader::opened(file, stat, key, range, buffers.lend(buffer), buffers))
    }

    /// Opens an object whose first bytes are in memory.
    pub(super) fn open_resident(
        tree: &Tree,
        key: &Key,
        range: Option<ByteRange>,
    ) -> Option<Result<Opened, StoreError>> {
        let opened = tree.resident_file(key)?.and_then(|(file, stat)| Ok((file, stat, clamp(key, range, stat.size)?)));
        let (file, stat, range) = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(Err(error)),
        };
        let buffers = Buffers::default();
        let first = match read_ahead_of(tree.resident(), &file, key, range, &buffers)? {
            Ok(first) => first,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Reader::opened(file, stat, key.clone(), range, first, buffers)))
    }

    fn opened(file: File, stat: Stat, key: Key, range: ByteRange, first: Bytes, buffers: Buffers) -> Opened {
        let rest = ByteRange { start: range.start + first.len() as u64, end: range.end };
        (stat, range, Reader { file: Arc::new(file), key, buffers, first, rest })
    }

    /// The bytes as a stream.
    pub(super) fn into_stream(self, tree: Arc<Tree>) -> Outgoing {
        let Reader { file, key, buffers, first, rest } = self;
        if first.is_empty() {
            return Box::pin(stream::empty());
        }
        if rest.start >= rest.end {
            return Box::pin(stream::once(async move { Ok(first) }));
        }
        let following = Following { tree, file, key, buffers, rest, turn: 0, source: Source::Memory };
        Box::pin(stream::once(async move { Ok(first) }).chain(stream::unfold(following, Following::next)))
    }
}

/// What comes behind the first bytes.
struct Following {
    tree: Arc<Tree>,
    file: Arc<File>,
    key: Key,
    buffers: Buffers,
    rest: ByteRange,
    /// How many bytes were read since others had their turn.
    turn: u64,
    source: Source,
}

/// Where the next buffer comes from.
enum Source {
    /// The page cache, as long as it has what is asked for.
    Memory,
    /// A blocking thread, which has begun already unless nothing is left.
    Thread(Option<JoinHandle<Result<Bytes, StoreError>>>),
}

impl Following {
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        if self.rest.start >= self.rest.end {
            return None;
        }
        let read = match self.read_memory().await {
            Some(read) => read,
            None => self.await_thread().await,
        };
        match &read {
            Ok(bytes) => self.rest.start += bytes.len() as u64,
            // An error ends the stream: nothing is left to read.
            Err(_) => self.rest.start = self.rest.end,
        }
        if let Source::Thread(ahead) = &mut self.source {
            *ahead = None;
            if self.rest.start < self.rest.end {
                self.source = Source::Thread(Some(self.start()));
            }
        }
        Some((read, self))
    }

    async fn read_memory(&mut self) -> Option<Result<Bytes, StoreError>> {
        if !matches!(self.source, Source::Memory) {
            return None;
        }
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
        let read = read_ahead_of(self.tree.resident(), &self.file, &self.key, self.rest, &self.buffers);
        match &read {
            Some(Ok(bytes)) => self.turn += bytes.len() as u64,
            Some(Err(_)) => {}
            None => self.source = Source::Thread(None),
        }
        read
    }

    async fn await_thread(&mut self) -> Result<Bytes, StoreError> {
        let begun = match &mut self.source {
            Source::Thread(begun) => begun.take(),
            Source::Memory => None,
        };
        let task = begun.unwrap_or_else(|| self.start());
        task.await.unwrap_or_else(|stopped| Err(read_failed(&self.key, io::Error::other(stopped))))
    }

    fn start(&self) -> JoinHandle<Result<Bytes, StoreError>> {
        let (file, key, buffers, rest) = (self.file.clone(), self.key.clone(), self.buffers.clone(), self.rest);
        tokio::task::spawn_blocking(move || {
            let mut buffer = buffers.take(rest);
            fill(&file, &key, &mut buffer, rest.start)?;
            Ok(buffers.lend(buffer))
        })
    }
}

/// Reads the next buffer of a range as far as it is in memory.
fn read_ahead_of(
    resident: &Resident,
    file: &File,
    key: &Key,
    range: ByteRange,
    buffers: &Buffers,
) -> Option<Result<Bytes, StoreError>> {
    let mut buffer = buffers.take(range);
    if buffer.is_empty() {
        return Some(Ok(Bytes::new()));
    }
    match resident.read(file, &mut buffer, range.start)? {
        Ok(0) => Some(Err(read_failed(key, io::ErrorKind::UnexpectedEof.into()))),
        Ok(count) => Some(Ok(buffers.lend(buffer).slice(..count))),
        Err(error) => Some(Err(read_failed(key, error))),
    }
}

/// Fills a buffer from byte `at`.
fn fill(file: &File, key: &Key, buffer: &mut [u8], at: u64) -> Result<(), StoreError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], at + filled as u64) {
            // Objects are never shortened, so this is a damaged file.
            Ok(0) => return Err(read_failed(key, io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(read_failed(key, error.into())),
        }
    }
    Ok(())
}

fn read_failed(key: &Key, source: io::Error) -> StoreError {
    StoreError::Io { key: key.to_string(), action: "read the file", source }
}

/// Buffers of one pull that wait to be used again.
#[derive(Clone, Debug, Default)]
struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// A buffer for the beginning of a range.
    fn take(&self, range: ByteRange) -> Vec<u8> {
        let wanted = usize::try_from(range.end - range.start).map_or(READ_BYTES, |left| left.min(READ_BYTES));
        let mut buffer = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.resize(wanted, 0);
        buffer
    }

    /// The content of a buffer, which comes back when nobody has it any more.
    fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_BUFFERS {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
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

    /// Takes pieces behind byte `offset`: one thread hashes them while this one writes them.
    fn take(self, pieces: Vec<Bytes>, permit: Option<OwnedSemaphorePermit>) -> Taking {
        let Writer { mut file, key, offset, mut hasher } = self;
        let shared = pieces.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            shared.iter().for_each(|piece| hasher.update(piece));
            hasher
        });
        let writing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match write_pieces(&mut file, &pieces) {
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
    writing: JoinHandle<io::Result<(File, u64)>>,
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

/// Writes pieces in few calls, and says how many bytes they have.
fn write_pieces(file: &mut File, pieces: &[Bytes]) -> io::Result<u64> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = slices.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
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

/// Takes a whole body. While one buffer is hashed and written, the next one fills; no more than these two are held.
pub(super) async fn append(store: &Filesystem, writer: Writer, mut body: Incoming) -> Result<Appended, StoreError> {
    let mut turn = Turn::Here(Box::new(writer));
    let interrupted = loop {
        let (pieces, end) = collect(&mut body).await;
        if !pieces.is_empty() {
            let writer = turn.here().await?;
            // Only for the thread that writes: the other does nothing with files.
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
    Ok(Appended { offset, hasher, interrupted })
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
