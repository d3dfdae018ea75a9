//! Bodies on their way into a bucket: cut into chunks, hashed, and held in memory only so far (`budget`).
//!
//! Room for a chunk is taken when its first byte is there, and for no more than the body has by its sender's word. It is
//! given back when the chunk has been sent. A chunk that has been filled for a while is cut where it is, as soon as others
//! wait for room: its body is slow, and goes on in a chunk that grows by what arrives. So many slow bodies hold what they
//! have sent, and fast ones are cut into few chunks.
//!
//! The data of an upload can be cut anywhere: its segments are written together later. An object that is written in parts
//! cannot: each has a least size, and there are only so many. The first quarter of them may be of the least size; from there
//! on each is as large as it would be if nobody else were there, so that they suffice.

use std::pin::pin;
use std::time::Duration;

use berth_oci::Hasher;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::bucket::Limits;
use crate::store::Incoming;
use crate::{BoxError, StoreError};

use super::budget::{Budget, Need, Room};

/// How much of a chunk has room from its beginning, in bytes: most bodies are small.
const FIRST_BYTES: usize = 64 * 1024;
/// How long a chunk may take to be filled while others wait for room.
const FILLED_IN: Duration = Duration::from_secs(2);

/// A part of a body, with the room that it takes.
pub(super) struct Chunk {
    pub(super) content: Bytes,
    pub(super) room: Room,
    /// The hash behind its last byte.
    pub(super) hasher: Hasher,
}

/// Where a body may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Anywhere.
    Segments,
    /// Into parts of an object.
    Parts,
}

/// A body that is cut into chunks.
pub(super) struct Intake {
    body: Incoming,
    budget: Budget,
    limits: Limits,
    cut: Cut,
    hasher: Hasher,
    /// How many bytes are still to come by the sender's word.
    left: Option<u64>,
    /// How many chunks were given.
    chunks: usize,
    /// Whether the last one was cut because it took too long.
    is_slow: bool,
    /// What has been taken of the body and not given yet.
    rest: Option<Bytes>,
    has_ended: bool,
    interrupted: Option<BoxError>,
}

impl Intake {
    /// A body that goes on behind what `hasher` has hashed.
    pub(super) fn new(body: Incoming, budget: Budget, limits: Limits, cut: Cut, hasher: Hasher) -> Self {
        let (left, rest, interrupted) = (body.length(), None, None);
        let (chunks, is_slow, has_ended) = (0, false, false);
        Intake { body, budget, limits, cut, hasher, left, chunks, is_slow, rest, has_ended, interrupted }
    }

    /// What the next chunk needs. A sender that sends more than it has said gets the least of all.
    fn need(&self) -> Need {
        let full = self.budget.chunk_bytes(self.hasher.bytes(), self.limits.max_parts);
        let most = self.left.map_or(full, |left| usize::try_from(left).unwrap_or(full).clamp(1, full));
        let least = match self.cut {
            Cut::Segments => None,
            Cut::Parts if self.chunks < self.limits.max_parts / 4 => {
                Some(usize::try_from(self.limits.min_part_bytes).unwrap_or(most).clamp(1, most))
            }
            Cut::Parts => Some(most),
        };
        Need { most, least, is_slow: self.is_slow }
    }

    /// The next chunk; none at the end of the body, whether it has ended or broken off.
    ///
    /// # Errors
    /// [`StoreError::Crowded`] if there is no room for it in time.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, StoreError> {
        // The first bytes are waited for without holding anything.
        let first = loop {
            match self.piece().await {
                None => return Ok(None),
                Some(piece) if piece.is_empty() => {}
                Some(piece) => break piece,
            }
        };
        let need = self.need();
        let mut room = self.budget.take_for(need).await?;
        let mut content = BytesMut::with_capacity(FIRST_BYTES.min(need.most));
        self.rest = Some(first);
        let mut crowded = pin!(self.budget.crowded(FILLED_IN));
        let least = need.least.unwrap_or(1);
        self.is_slow = false;
        while content.len() < need.most && (content.len() < room.bytes() || room.grow()) {
            let piece = tokio::select! {
                biased;
                // Once told, it is asked again when the chunk can end: it may have grown since.
                () = crowded.as_mut(), if !self.is_slow || content.len() >= least => {
                    self.is_slow = true;
                    if content.len() >= least {
                        break;
                    }
                    room.shrink(least);
                    crowded.set(self.budget.crowded(Duration::ZERO));
                    continue;
                }
                piece = self.piece() => piece,
            };
            let Some(mut piece) = piece else { break };
            let taken = piece.split_to(piece.len().min(need.most.min(room.bytes()) - content.len()));
            self.take(&taken, &mut content, need.most);
            self.rest = Some(piece).filter(|piece| !piece.is_empty());
        }
        self.chunks += 1;
        Ok(Some(Chunk { content: content.freeze(), room, hasher: self.hasher.clone() }))
    }

    fn take(&mut self, piece: &Bytes, content: &mut BytesMut, most: usize) {
        self.hasher.update(piece);
        self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        if content.len() + piece.len() > content.capacity() {
            // All of it at once: what grows by doubling leaves as much behind, and pages that are not written take nothing.
            content.reserve(most - content.len());
        }
        content.extend_from_slice(piece);
    }

    /// Whether nothing more comes. A sender who has sent as much as he said need not say that it was all.
    pub(super) fn has_ended(&self) -> bool {
        (self.has_ended || self.left == Some(0)) && self.rest.is_none()
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
    use tokio::sync::mpsc;

    use super::super::budget::PATIENCE;
    use super::*;

    const LIMITS: Limits = Limits {
        chunk_bytes: 160,
        min_part_bytes: 80,
        max_parts: 1_000_000,
        max_copy_bytes: u64::MAX,
        copies_at_once: 1,
    };

    fn body(pieces: Vec<Result<Bytes, BoxError>>) -> Incoming {
        Incoming::new(stream::iter(pieces))
    }

    fn intake(body: Incoming, budget: &Budget, cut: Cut) -> Intake {
        Intake::new(body, budget.clone(), LIMITS, cut, Hasher::new(Algorithm::Sha256))
    }

    /// A body that comes when the test says so.
    fn slow() -> (mpsc::UnboundedSender<Bytes>, Incoming) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let pieces =
            stream::unfold(pieces, |mut pieces| async { pieces.recv().await.map(|piece| (Ok(piece), pieces)) });
        (sender, Incoming::new(pieces))
    }

    fn bytes(count: usize) -> Bytes {
        vec![7; count].into()
    }

    #[tokio::test]
    async fn a_body_is_cut_into_chunks_whatever_its_pieces() {
        let content: Vec<u8> = (0..1600_u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 7, 159, 160, 161, 1600] {
            for said in [None, Some(1600), Some(1600 - 7)] {
                for cut in [Cut::Segments, Cut::Parts] {
                    let pieces = content.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
                    let mut intake = intake(body(pieces).of_length(said), &Budget::new(320, 160), cut);
                    let mut found: Vec<Bytes> = Vec::new();
                    while let Some(chunk) = intake.next().await.unwrap() {
                        assert!(chunk.content.len() <= chunk.room.bytes());
                        found.push(chunk.content);
                        assert_eq!(chunk.hasher.finish(), Digest::sha256(&found.concat()));
                    }
                    assert!(found.iter().take(9).all(|chunk| chunk.len() == 160), "{piece}");
                    assert_eq!(found.concat(), content);
                    assert_eq!(intake.end().0.finish(), Digest::sha256(&content));
                }
            }
        }
    }

    #[tokio::test]
    async fn what_came_before_a_body_broke_off_is_a_chunk() {
        let pieces = vec![Ok(Bytes::from_static(b"half")), Err("reset".into())];
        let mut intake = intake(body(pieces), &Budget::new(320, 160), Cut::Segments);
        assert_eq!(intake.next().await.unwrap().unwrap().content, "half");
        assert!(intake.next().await.unwrap().is_none() && intake.has_ended());
        assert_eq!(intake.end().1.unwrap().to_string(), "reset");
    }

    /// Thousands of small bodies hold as much as they have, and not as much as a chunk may have.
    #[tokio::test(start_paused = true)]
    async fn a_body_takes_no_more_than_it_says_that_it_has() {
        let budget = Budget::new(320, 160);
        let mut held = Vec::new();
        for cut in [Cut::Segments, Cut::Parts].repeat(32) {
            let (sender, body) = slow();
            sender.send(bytes(2)).unwrap();
            let mut intake = intake(body.of_length(Some(5)), &budget, cut);
            let mut next = Box::pin(async move { intake.next().await });
            assert!(futures::poll!(next.as_mut()).is_pending());
            held.push((sender, next));
        }
        for (sender, _) in &held {
            sender.send(bytes(3)).unwrap();
        }
        for (_, next) in held {
            assert_eq!(next.await.unwrap().unwrap().content, bytes(5));
        }
        let (sender, body) = slow();
        sender.send(bytes(160)).unwrap();
        let mut whole = intake(body.of_length(Some(160)), &budget, Cut::Parts);
        assert_eq!(whole.next().await.unwrap().unwrap().content.len(), 160);
        assert!(whole.has_ended(), "it need not be written in parts");
    }

    /// Bodies of which nothing more comes hold all that there is: each is cut when another waits.
    #[tokio::test(start_paused = true)]
    async fn bodies_that_stall_keep_no_other_from_getting_on() {
        for cut in [Cut::Segments, Cut::Parts] {
            let budget = Budget::new(640, 160);
            let mut stalled = Vec::new();
            for _ in 0..4 {
                let (sender, body) = slow();
                sender.send(bytes(10)).unwrap();
                let mut intake = intake(body, &budget, cut);
                stalled.push((
                    sender,
                    tokio::spawn(async move { intake.next().await.map(|chunk| chunk.unwrap().content) }),
                ));
            }
            tokio::task::yield_now().await;
            let large = body(vec![Ok(bytes(1000))]);
            let mut other = intake(large, &budget, cut);
            let mut got = 0;
            while let Some(chunk) = other.next().await.unwrap() {
                got += chunk.content.len();
            }
            assert_eq!(got, 1000);
            for (sender, next) in stalled {
                assert_eq!(next.is_finished(), cut == Cut::Segments, "what must have a size waits for it");
                let _ = sender.send(bytes(90));
                drop(sender);
                let content = next.await.unwrap().unwrap();
                assert_eq!(content.len(), if cut == Cut::Segments { 10 } else { 100 });
            }
        }
    }

    /// A part that was told while it was too small to end goes on, takes more while nobody waits, and comes to a halt.
    #[tokio::test(start_paused = true)]
    async fn a_part_that_grows_again_is_told_again() {
        let budget = Budget::new(640, 160);
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let (sender, body) = slow();
            sender.send(bytes(10)).unwrap();
            let mut intake = intake(body, &budget, Cut::Parts);
            let next = tokio::spawn(async move { intake.next().await.map(|chunk| chunk.unwrap().content.len()) });
            stalled.push((sender, next));
        }
        tokio::task::yield_now().await;
        // Somebody waits, and all of them are told before they may end.
        let waited = budget.take(300, PATIENCE).await.unwrap();
        drop(waited);
        for (sender, _) in &stalled {
            sender.send(bytes(140)).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(stalled.iter().all(|(_, next)| !next.is_finished()), "nobody waits");
        let room = budget.take(300, PATIENCE).await.expect("what can end does");
        assert!(room.bytes() >= 300);
        drop(room);
        for (sender, next) in stalled {
            drop(sender);
            assert_eq!(next.await.unwrap().unwrap(), 150);
        }
    }

    /// All fill their chunks a byte at a time, more of them than there is room for.
    #[tokio::test(start_paused = true)]
    async fn many_slow_bodies_all_come_to_their_end() {
        for cut in [Cut::Segments, Cut::Parts] {
            let budget = Budget::new(640, 160);
            let bodies = (0..50).map(|_| {
                let pieces = stream::iter(0..400).then(|_| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok(bytes(1))
                });
                let mut intake = intake(Incoming::new(pieces), &budget, cut);
                tokio::spawn(async move {
                    let (mut got, mut chunks) = (0, Vec::new());
                    while let Some(chunk) = intake.next().await? {
                        assert!(chunk.content.len() <= chunk.room.bytes());
                        got += chunk.content.len();
                        chunks.push(chunk.content.len());
                    }
                    let (_, parts) = chunks.split_last().unwrap();
                    assert!(cut == Cut::Segments || parts.iter().all(|part| *part >= 80), "{chunks:?}");
                    Ok::<_, StoreError>(got)
                })
            });
            for ended in futures::future::join_all(bodies).await {
                assert_eq!(ended.unwrap().unwrap(), 400);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_told() {
        let budget = Budget::new(320, 160);
        let _all = budget.take(320, PATIENCE).await.unwrap();
        let mut intake = intake(body(vec![Ok(bytes(1))]), &budget, Cut::Segments);
        assert!(matches!(intake.next().await, Err(StoreError::Crowded)));
    }

    #[test]
    fn parts_are_as_many_as_an_object_may_have_at_most() {
        let limits = Limits { max_parts: 1000, ..LIMITS };
        let budget = Budget::new(640, 160);
        let mut intake = Intake::new(body(Vec::new()), budget, limits, Cut::Parts, Hasher::new(Algorithm::Sha256));
        // Each cut at its least size.
        let mut hashed = 0;
        while intake.chunks < limits.max_parts {
            let least = intake.need().least.unwrap();
            intake.hasher.update(&vec![0; least]);
            (hashed, intake.chunks) = (hashed + least, intake.chunks + 1);
        }
        let if_alone: usize = (1..=4).map(|units| 250 * 160 * units).sum();
        assert!(hashed * 2 > if_alone, "half of what it could be with nobody else there: {hashed}");
    }
}
