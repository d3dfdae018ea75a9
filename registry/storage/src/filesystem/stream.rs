//! Large content out of files, in large buffers.
//!
//! A pull from the page cache is read by the task that sends it: the copy takes as long as a write to the socket does, and
//! two hops for each buffer would cost more. As soon as a buffer is not in memory, blocking threads read the rest, one
//! buffer ahead of the client. The buffers of a pull are used again and again, so that they stay in a processor's cache.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

use crate::store::{ByteRange, Outgoing, clamp};
use crate::{Key, Stat, StoreError};

use super::resident::Resident;
use super::tree::Tree;

/// The size of a buffer that is read, in bytes: large enough that a hop does not show, small enough to stay in a
/// processor's cache on its way to the socket.
const READ_BYTES: usize = 256 * 1024;
/// How many buffers are kept for the next read: what the socket has not taken yet, and the one being filled.
const KEPT_BUFFERS: usize = 3;
/// How much a task reads from the page cache before others get their turn, in bytes: well under a millisecond's worth.
const TURN_BYTES: u64 = 1024 * 1024;

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
