//! Bodies on their way into a bucket: cut into chunks, hashed, and held in memory only so far.
//!
//! Each body needs one unit of the budget for a chunk before it takes the first byte of it, and gives it back when the chunk
//! has been sent. So a process that takes many bodies at once takes them slowly instead of growing. Nobody who holds a unit
//! waits for another one: the chunk before is sent on its own.

use std::sync::Arc;

use berth_oci::Hasher;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::BoxError;
use crate::store::Incoming;

/// How many chunks at once are the least that work gets on with.
const MIN_CHUNKS: usize = 2;
/// How much of a chunk has room from its beginning, in bytes: most bodies are small.
const FIRST_BYTES: usize = 64 * 1024;
/// The most units that a chunk takes.
const MAX_UNITS: usize = 4;

/// How much may be held in memory.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    unit_bytes: usize,
    count: usize,
}

impl Budget {
    /// A budget of so many bytes in chunks of this size.
    pub(super) fn new(bytes: usize, unit_bytes: usize) -> Self {
        let unit_bytes = unit_bytes.max(1);
        let count = (bytes / unit_bytes).max(MIN_CHUNKS);
        Budget { units: Arc::new(Semaphore::new(count)), unit_bytes, count }
    }

    /// Waits for room for so many bytes. What is larger than everything gets everything.
    pub(super) async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(self.unit_bytes as u64).clamp(1, self.count as u64);
        // The semaphore is never closed, so a missing permit can only mean that nothing limits any more.
        self.units.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await.ok()
    }

    /// How large a chunk is behind the first `offset` bytes of a body, in bytes: they grow, so that an object of at most
    /// `max_parts` parts can be very large.
    pub(super) fn chunk_bytes(&self, offset: u64, max_parts: usize) -> usize {
        let full = (max_parts / MAX_UNITS).max(1) as u64;
        let units = 1 + offset / (self.unit_bytes as u64 * full);
        self.unit_bytes * (units as usize).min(MAX_UNITS).min(self.count)
    }
}

/// A part of a body, with the room that it takes.
pub(super) struct Chunk {
    pub(super) content: Bytes,
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// The hash behind its last byte.
    pub(super) hasher: Hasher,
}

/// A body that is cut into chunks.
pub(super) struct Intake {
    body: Incoming,
    budget: Budget,
    max_parts: usize,
    hasher: Hasher,
    /// What has been taken of the body and not given yet.
    rest: Option<Bytes>,
    has_ended: bool,
    interrupted: Option<BoxError>,
}

impl Intake {
    /// A body that goes on behind what `hasher` has hashed.
    pub(super) fn new(body: Incoming, budget: Budget, max_parts: usize, hasher: Hasher) -> Self {
        Intake { body, budget, max_parts, hasher, rest: None, has_ended: false, interrupted: None }
    }

    /// The next chunk; none at the end of the body, whether it has ended or broken off.
    pub(super) async fn next(&mut self) -> Option<Chunk> {
        // The first bytes are waited for without holding anything.
        let first = loop {
            match self.piece().await {
                None => return None,
                Some(piece) if piece.is_empty() => {}
                Some(piece) => break piece,
            }
        };
        let size = self.budget.chunk_bytes(self.hasher.bytes(), self.max_parts);
        let room = self.budget.take(size as u64).await;
        let mut content = BytesMut::with_capacity(FIRST_BYTES.min(size));
        let mut piece = Some(first);
        while let Some(mut bytes) = piece {
            let taken = bytes.split_to(bytes.len().min(size - content.len()));
            self.hasher.update(&taken);
            if content.len() + taken.len() > content.capacity() {
                // All of it at once: what grows by doubling leaves as much behind, and pages that are not written
                // take nothing.
                content.reserve(size - content.len());
            }
            content.extend_from_slice(&taken);
            if content.len() == size {
                self.rest = Some(bytes).filter(|bytes| !bytes.is_empty());
                break;
            }
            piece = self.piece().await;
        }
        Some(Chunk { content: content.freeze(), room, hasher: self.hasher.clone() })
    }

    /// Whether nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended && self.rest.is_none()
    }

    /// The hash of everything that was given, and why the body broke off, if it did.
    pub(super) fn end(self) -> (Hasher, Option<BoxError>) {
        (self.hasher, self.interrupted)
    }

    async fn piece(&mut self) -> Option<Bytes> {
        if let Some(rest) = self.rest.take() {
            return Some(rest);
        }
        if self.has_ended {
            return None;
        }
        match self.body.next().await {
            Some(Ok(piece)) => Some(piece),
            Some(Err(error)) => {
                (self.has_ended, self.interrupted) = (true, Some(error));
                None
            }
            None => {
                self.has_ended = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_oci::{Algorithm, Digest};
    use futures::stream;

    use super::*;

    fn body(pieces: Vec<Result<Bytes, BoxError>>) -> Incoming {
        Box::pin(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_cut_into_chunks_whatever_its_pieces() {
        let content: Vec<u8> = (0..1000_u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 7, 99, 100, 101, 1000] {
            let pieces = content.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let hasher = Hasher::new(Algorithm::Sha256);
            let mut intake = Intake::new(body(pieces), Budget::new(200, 100), 1_000_000, hasher);
            let mut found: Vec<Bytes> = Vec::new();
            while let Some(chunk) = intake.next().await {
                found.push(chunk.content);
                assert_eq!(chunk.hasher.finish(), Digest::sha256(&found.concat()));
            }
            assert!(found.iter().all(|chunk| chunk.len() == 100), "{piece}");
            assert_eq!(found.concat(), content);
            assert_eq!(intake.end().0.finish(), Digest::sha256(&content));
        }
    }

    #[tokio::test]
    async fn what_came_before_a_body_broke_off_is_a_chunk() {
        let pieces = vec![Ok(Bytes::from_static(b"half")), Err("reset".into())];
        let mut intake = Intake::new(body(pieces), Budget::new(200, 100), 1_000_000, Hasher::new(Algorithm::Sha256));
        assert_eq!(intake.next().await.unwrap().content, "half");
        assert!(intake.next().await.is_none() && intake.has_ended());
        assert_eq!(intake.end().1.unwrap().to_string(), "reset");
    }

    #[tokio::test]
    async fn no_more_is_held_than_the_budget_allows() {
        let budget = Budget::new(250, 100);
        let (one, _two) = (budget.take(100).await, budget.take(1).await);
        let mut waiting = Box::pin(budget.take(1));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(one);
        assert!(waiting.await.is_some());
    }

    #[test]
    fn chunks_grow_with_the_body() {
        let budget = Budget::new(64 << 20, 10 << 20);
        let at = |gib: u64| budget.chunk_bytes(gib << 30, 10_000) >> 20;
        assert_eq!([at(0), at(20), at(25), at(50), at(100), at(1000)], [10, 10, 20, 30, 40, 40]);
        assert_eq!(Budget::new(10, 10 << 20).chunk_bytes(1 << 40, 10_000) >> 20, 20, "no more than there is");
    }
}
