//! Uploads in a bucket, and bodies that go straight to their key.
//!
//! An append writes segments, the next while the one before is on its way. What could not be written is not part of the
//! upload: the chain ends before it, whatever was written behind it. Segments too small to become a part of an object are
//! written together when there are enough of them, so that an upload in thousands of little pieces ends in few steps. The
//! small ones stay until the upload ends, since another process may be going on from any of them: that is as much again in the
//! store for each time that they were, which is once, and a few times for tiny ones, and a page of the listing for each thousand.
//!
//! A finished upload stays until the registry has done with its blob: who is killed in between, or gets an error, has lost
//! nothing, and any replica can finish it once more. Then its objects go with one request. What was written beside them is
//! looked for if small segments were written together, or if the upload was found in the store at some time and not begun
//! here, so that a process that was killed or a request that was given up may have left something; what comes later still is
//! found by the purge of old uploads.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use berth_oci::{Digest, Hasher};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tracing::Instrument;

use crate::bucket::{Assembly, Bucket, PartTag};
use crate::layout::UploadKey;
use crate::store::{Appended, ByteRange, Incoming, Outgoing, Progress, UploadData, Written};
use crate::{Key, Store, StoreError};

use super::chain::{Chain, DIRECTORY, Segment};
use super::intake::{Chunk, Cut, Intake};
use super::plan::{Part, Plan, moved_bytes, plan};
use super::{MAX_PIECES, ObjectStore};

/// How many chunks of one body are being sent at once.
const SENT_AT_ONCE: usize = 2;
/// How long small segments wait for room to be written together. Their client waits as well, and they can do without.
const TIDY_PATIENCE: Duration = Duration::from_secs(3);
/// How long what is read to become an object waits for room: the parts of a large one wait for each other.
const WORK_PATIENCE: Duration = Duration::from_secs(300);
/// Segments up to so many bytes are read several at once: all of them together are little.
const TINY_BYTES: u64 = 64 * 1024;
const TINY_AT_ONCE: usize = 16;
/// How often the listing of a store that is late with it is looked at for what has arrived, and how long after the first look
/// comes the second; each wait is twice as long as the one before, so that all are six seconds.
const MAX_LOOKS: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How many parts are copied at once, whatever the settings say.
const MAX_COPIES_AT_ONCE: usize = 32;

/// The progress that a chain is.
pub(super) fn progress(chain: Chain) -> Progress {
    Progress { offset: chain.bytes(), hasher: chain.hasher(), data: UploadData::Chain(Arc::new(chain)) }
}

/// Progress of another store cannot be gone on with; nobody makes such a call.
fn chain_of(upload: &UploadKey, progress: &Progress) -> Result<Arc<Chain>, StoreError> {
    match &progress.data {
        UploadData::Chain(chain) => Ok(chain.clone()),
        UploadData::File => Err(StoreError::not_found(upload.directory())),
    }
}

fn key_of(upload: &UploadKey, segment: &Segment) -> Result<Key, StoreError> {
    Ok(upload.directory().join(&segment.name)?)
}

/// The segments that have some of these bytes of the upload, each with the range of it that is among them; none if that is
/// the whole of it.
fn within(segments: &[Segment], bytes: &Range<u64>) -> Vec<(Segment, Option<ByteRange>)> {
    let first = segments.partition_point(|segment| segment.end <= bytes.start);
    let among = segments[first..].iter().take_while(|segment| segment.start < bytes.end);
    among
        .map(|segment| {
            let range = bytes.start.max(segment.start)..bytes.end.min(segment.end);
            let is_whole = range == (segment.start..segment.end);
            let range = ByteRange { start: range.start - segment.start, end: range.end - segment.start };
            (segment.clone(), (!is_whole).then_some(range))
        })
        .collect()
}

/// Reads an object, or a range of it, behind what there is.
async fn read_into(
    bucket: &dyn Bucket,
    (key, range): (Key, Option<ByteRange>),
    mut content: BytesMut,
) -> Result<BytesMut, StoreError> {
    let mut object = bucket.get(&key, range).await?;
    while let Some(piece) = object.body.next().await {
        content.extend_from_slice(&piece?);
    }
    Ok(content)
}

impl ObjectStore {
    /// Where a listing may be late, what somebody was told has arrived is looked for a few times.
    pub(super) async fn resume_upload(
        &self,
        upload: &UploadKey,
        expected: Option<u64>,
    ) -> Result<Progress, StoreError> {
        let (mut wait, looks) = (FIRST_WAIT, if self.bucket.abilities().lists_at_once { 1 } else { MAX_LOOKS });
        for _ in 1..looks {
            let found = self.look_for_upload(upload, expected).await?;
            if expected.is_none_or(|expected| found.offset >= expected) {
                return Ok(found);
            }
            tracing::debug!(upload = %upload.directory(), found.offset, expected, "an upload is looked for once more");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.look_for_upload(upload, expected).await
    }

    async fn look_for_upload(&self, upload: &UploadKey, expected: Option<u64>) -> Result<Progress, StoreError> {
        let (directory, data) = (upload.directory(), upload.data());
        let found = self.all_below(directory).await?;
        let started_at = upload.started_at();
        if !found.iter().any(|(key, _)| *key == started_at) {
            // There are stores whose listings are late, as Swift's may be.
            self.bucket.head(&started_at).await?;
        }
        let names = || found.iter().filter_map(|(key, _)| directory.strip(key));
        let written = |bytes: u64| directory.strip(&data).map(|name| (name.to_owned(), bytes));
        let mut foreign = found.iter().find(|(key, _)| *key == data).and_then(|(_, stat)| written(stat.size));
        // Another program may have begun it, and keep its data in a way that no listing shows; beside that, what lies there
        // as an object is of before. Who begins at the first byte is not kept waiting for a look at that.
        if expected != Some(0) && !names().any(|name| name.starts_with(DIRECTORY)) {
            let adopted = self.bucket.adopt_parts(&data).await?;
            foreign = adopted.and_then(|stat| written(stat.size)).or(foreign);
        }
        let chain = Chain::find(names(), foreign, expected);
        Ok(progress(chain))
    }

    pub(super) async fn append_upload(
        &self,
        upload: &UploadKey,
        from: Progress,
        body: Incoming,
    ) -> Result<Appended, StoreError> {
        let chain = chain_of(upload, &from)?;
        let hasher = from.hasher.unwrap_or_else(|| Hasher::new(berth_oci::Algorithm::Sha256));
        if hasher.bytes() != chain.bytes() {
            let (expected, found) = (hasher.bytes(), chain.bytes());
            return Err(StoreError::Offset { key: upload.data().to_string(), expected, found });
        }
        if chain.objects() >= MAX_PIECES {
            return Err(StoreError::Pieces { limit: MAX_PIECES });
        }
        let mut chain = (*chain).clone();
        let mut intake = Intake::new(body, self.budget.clone(), self.bucket.limits(), Cut::Segments, hasher);
        let mut sending = Sending::default();
        while let Some(Chunk { content, room, hasher }) = intake.next().await? {
            let segment = chain.next(&hasher);
            let (bucket, key) = (self.bucket.clone(), key_of(upload, &segment)?);
            chain.push(segment);
            sending
                .push(async move {
                    let _room = room;
                    bucket.put(&key, content).await
                })
                .await?;
        }
        sending.end().await?;
        let (hasher, interrupted) = intake.end();
        let chain = self.tidied(upload, chain).await?;
        let progress = Progress {
            offset: chain.bytes(),
            // Of what another program began, the chain may not know it.
            hasher: Some(hasher),
            data: UploadData::Chain(Arc::new(chain)),
        };
        Ok(Appended { progress, interrupted })
    }

    /// The same data with the small segments at its end as one, if there are enough of them. It is an upload without that as
    /// well, unless it turns out that some of the data is gone.
    async fn tidied(&self, upload: &UploadKey, chain: Chain) -> Result<Chain, StoreError> {
        match self.merged(upload, &chain).await {
            Ok(merged) => Ok(merged.unwrap_or(chain)),
            Err(error) if error.is_not_found() => Err(error),
            Err(error) => {
                tracing::debug!(upload = %upload.directory(), %error, "cannot write small segments together");
                Ok(chain)
            }
        }
    }

    async fn merged(&self, upload: &UploadKey, chain: &Chain) -> Result<Option<Chain>, StoreError> {
        let crumbs = chain.crumbs(moved_bytes(self.bucket.limits()) as u64);
        let merged = (crumbs > 0).then(|| chain.merged(crumbs)).flatten();
        let Some((mut merged, segment)) = merged else { return Ok(None) };
        let _room = self.budget.take(segment.bytes(), TIDY_PATIENCE).await?;
        let content = self.read_bytes(upload, chain.segments(), segment.start..segment.end).await?;
        self.bucket.put(&key_of(upload, &segment)?, content).await?;
        // The small ones are there as well.
        merged.found();
        Ok(Some(merged))
    }

    /// The content of an upload, or of a range of it, that is small. Of segments that are tiny several are read at once.
    async fn read_bytes(
        &self,
        upload: &UploadKey,
        segments: &[Segment],
        bytes: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let segments = within(segments, &bytes);
        let is_tiny = segments.iter().all(|(segment, _)| segment.bytes() <= TINY_BYTES);
        let key = |(segment, range)| Ok((key_of(upload, &segment)?, range));
        let pieces: Vec<(Key, Option<ByteRange>)> = segments.into_iter().map(key).collect::<Result<_, StoreError>>()?;
        let expected = bytes.end - bytes.start;
        let mut content = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
        if is_tiny {
            let tiny = |piece| async move { read_into(self.bucket.as_ref(), piece, BytesMut::new()).await };
            let mut contents = stream::iter(pieces).map(tiny).buffered(TINY_AT_ONCE);
            while let Some(tiny) = contents.next().await {
                content.extend_from_slice(&tiny?);
            }
        } else {
            for piece in pieces {
                content = read_into(self.bucket.as_ref(), piece, content).await?;
            }
        }
        let found = content.len() as u64;
        match found == expected {
            true => Ok(content.freeze()),
            false => Err(StoreError::Offset { key: upload.data().to_string(), expected, found }),
        }
    }

    pub(super) fn upload_data(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError> {
        let chain = chain_of(upload, progress)?;
        let keys: Vec<Key> =
            chain.segments().iter().map(|segment| key_of(upload, segment)).collect::<Result<_, _>>()?;
        let bucket = self.bucket.clone();
        let opened = stream::iter(keys).then(move |key| {
            let bucket = bucket.clone();
            async move { bucket.get(&key, None).await.map(|object| object.body) }
        });
        Ok(Box::pin(opened.try_flatten()))
    }

    pub(super) async fn finish_upload(
        &self,
        upload: &UploadKey,
        progress: &Progress,
        to: &Key,
    ) -> Result<(), StoreError> {
        let chain = chain_of(upload, progress)?;
        if progress.offset != chain.bytes() {
            let (expected, found) = (progress.offset, chain.bytes());
            return Err(StoreError::Offset { key: upload.data().to_string(), expected, found });
        }
        let segments = chain.segments();
        let sizes: Vec<u64> = segments.iter().map(Segment::bytes).collect();
        match plan(&sizes, self.bucket.abilities(), self.bucket.limits()) {
            Plan::Empty => {
                // Nothing was written that could be missing, but the session must exist.
                self.bucket.head(&upload.started_at()).await?;
                self.bucket.put(to, Bytes::new()).await?;
            }
            Plan::Copy => self.bucket.copy_sized(&key_of(upload, &segments[0])?, to, sizes[0]).await?,
            Plan::Rewrite => {
                let _room = self.budget.take(chain.bytes(), WORK_PATIENCE).await?;
                let content = self.read_bytes(upload, segments, 0..chain.bytes()).await?;
                self.bucket.put(to, content).await?;
            }
            Plan::Assemble(parts) => self.assemble(upload, segments, parts, to).await?,
        }
        Ok(())
    }

    pub(super) async fn discard_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<(), StoreError> {
        let chain = chain_of(upload, progress)?;
        let mut keys = vec![upload.started_at()];
        for segment in chain.segments() {
            keys.push(key_of(upload, segment)?);
        }
        self.bucket.remove(&keys).await?;
        if chain.is_found() {
            // Small segments were written together, or somebody else has worked on it, and may have written what nobody
            // went on with.
            self.delete_below(upload.directory()).await?;
        }
        Ok(())
    }

    async fn assemble(
        &self,
        upload: &UploadKey,
        segments: &[Segment],
        parts: Vec<Part>,
        to: &Key,
    ) -> Result<(), StoreError> {
        let size = segments.last().map_or(0, |last| last.end);
        let assembling = Assembling::begin(self.bucket.clone(), to).await?;
        let at_once = self.bucket.limits().copies_at_once.clamp(1, MAX_COPIES_AT_ONCE);
        let tags: Vec<PartTag> = stream::iter(parts.into_iter().enumerate().map(|(at, part)| {
            let (number, assembly) = (at + 1, &assembling.assembly);
            async move {
                match part {
                    Part::Copied { at, range } => {
                        let segment = &segments[at];
                        let from = key_of(upload, segment)?;
                        self.bucket.copy_part(to, assembly, number, &from, segment.bytes(), range).await
                    }
                    Part::Rewritten(bytes) => {
                        let _room = self.budget.take(bytes.end - bytes.start, WORK_PATIENCE).await?;
                        let content = self.read_bytes(upload, segments, bytes).await?;
                        self.bucket.put_part(to, assembly, number, content).await
                    }
                }
            }
        }))
        .buffered(at_once)
        .try_collect()
        .await?;
        assembling.complete(tags, size).await
    }

    pub(super) async fn write_body(&self, to: &Key, digest: &Digest, body: Incoming) -> Result<Written, StoreError> {
        let hasher = Hasher::new(digest.algorithm());
        let mut intake = Intake::new(body, self.budget.clone(), self.bucket.limits(), Cut::Parts, hasher);
        let first = intake.next().await?;
        if intake.has_ended() || first.is_none() {
            // Nothing has to be undone if it is not what it is to be.
            let (hasher, interrupted) = intake.end();
            if let Some(error) = interrupted {
                return Ok(Written::Interrupted(error));
            }
            let (size, found) = (hasher.bytes(), hasher.finish());
            if found != *digest {
                return Ok(Written::Mismatch(found));
            }
            let (content, _room) = first.map_or((Bytes::new(), None), |chunk| (chunk.content, Some(chunk.room)));
            self.bucket.put(to, content).await?;
            return Ok(Written::Stored(size));
        }
        let assembling = Assembling::begin(self.bucket.clone(), to).await?;
        let (mut sending, mut number, mut next) = (Sending::default(), 0, first);
        while let Some(Chunk { content, room, hasher: _ }) = next {
            number += 1;
            let (bucket, assembly, to) = (self.bucket.clone(), assembling.assembly.clone(), to.clone());
            sending
                .push(async move {
                    let _room = room;
                    bucket.put_part(&to, &assembly, number, content).await
                })
                .await?;
            next = intake.next().await?;
        }
        let tags = sending.end().await?;
        let (hasher, interrupted) = intake.end();
        if let Some(error) = interrupted {
            return Ok(Written::Interrupted(error));
        }
        let (size, found) = (hasher.bytes(), hasher.finish());
        if found != *digest {
            return Ok(Written::Mismatch(found));
        }
        assembling.complete(tags, size).await?;
        Ok(Written::Stored(size))
    }
}

/// Chunks that are on their way, a few at once, and what became of them in their order.
struct Sending<T> {
    under_way: VecDeque<BoxFuture<'static, Result<T, StoreError>>>,
    done: Vec<T>,
}

impl<T> Default for Sending<T> {
    fn default() -> Self {
        Sending { under_way: VecDeque::new(), done: Vec::new() }
    }
}

impl<T: Send + 'static> Sending<T> {
    /// Sends one more, and waits for the oldest if there are enough. After an error nothing more is sent.
    async fn push(
        &mut self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        // In a task of its own, so that it goes on while the body is waited for; ended with this if that is dropped.
        let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(work));
        let work = task.map(|ended| match ended {
            Ok(outcome) => outcome,
            Err(error) => Err(StoreError::unreachable("a chunk", "send it", error)),
        });
        self.under_way.push_back(work.boxed());
        if self.under_way.len() >= SENT_AT_ONCE {
            self.oldest().await?;
        }
        Ok(())
    }

    async fn oldest(&mut self) -> Result<(), StoreError> {
        if let Some(oldest) = self.under_way.pop_front() {
            self.done.push(oldest.await?);
        }
        Ok(())
    }

    async fn end(mut self) -> Result<Vec<T>, StoreError> {
        while !self.under_way.is_empty() {
            self.oldest().await?;
        }
        Ok(std::mem::take(&mut self.done))
    }
}

/// An object that is being written in parts, which are forgotten if it does not become complete: also when whoever writes it
/// goes away.
struct Assembling {
    bucket: Arc<dyn Bucket>,
    to: Key,
    assembly: Assembly,
    is_open: bool,
}

impl Assembling {
    async fn begin(bucket: Arc<dyn Bucket>, to: &Key) -> Result<Self, StoreError> {
        let assembly = bucket.begin_parts(to).await?;
        Ok(Assembling { bucket, to: to.clone(), assembly, is_open: true })
    }

    fn close(mut self) {
        self.is_open = false;
    }

    /// To its end, whoever waits for it: parts are not forgotten while they are made an object.
    async fn complete(self, parts: Vec<PartTag>, size: u64) -> Result<(), StoreError> {
        let to = self.to.clone();
        let complete = async move {
            let completed = self.bucket.complete_parts(&self.to, &self.assembly, parts, size).await;
            // Where it is not known what has come of it, the store may be making an object of them still: parts of which
            // nothing becomes are removed when they are old.
            if completed.as_ref().err().is_none_or(StoreError::is_unknown) {
                self.close();
            }
            completed
        };
        tokio::spawn(complete.in_current_span())
            .await
            .unwrap_or_else(|stopped| Err(StoreError::unreachable(to, "finish the work", stopped)))
    }
}

impl Drop for Assembling {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (bucket, to, assembly) = (self.bucket.clone(), self.to.clone(), self.assembly.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = bucket.abort_parts(&to, &assembly).await {
                    tracing::warn!(key = %to, %error, "the parts of an object that was not completed stay");
                }
            });
        }
    }
}
