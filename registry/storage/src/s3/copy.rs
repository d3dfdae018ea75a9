//! Copies that the store makes by itself: with one request up to a size, and above it in parts, some at once.

use aws_sdk_s3::types::MetadataDirective;
use futures::{StreamExt, TryStreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::Instrument;

use super::error::At;
use super::objects::CONTENT_TYPE;
use super::options::MAX_PART_BYTES;
use super::{MAX_PARTS, S3};
use crate::bucket::Assembly;
use crate::{ByteRange, Key, Stat, StoreError};

/// What a name loses nothing by being written as it is.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

impl S3 {
    pub(super) async fn copy_object(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let Stat { size, .. } = self.head_object(from).await?;
        self.copy_object_of(from, to, size).await
    }

    pub(super) async fn copy_object_of(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        let whole = if self.found().copies_parts { self.settings.copy_threshold_bytes } else { MAX_PART_BYTES };
        if size <= whole || size == 0 {
            self.copy_whole(from, to).await
        } else {
            self.copy_in_parts(from, to, size).await
        }
    }

    async fn copy_whole(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (encryption, encryption_key) = self.encryption();
        let request = self
            .client
            .copy_object()
            .bucket(&self.settings.bucket)
            .key(self.name(to))
            .copy_source(self.source(from))
            .metadata_directive(MetadataDirective::Replace)
            .content_type(CONTENT_TYPE)
            .set_acl(self.settings.acl.clone())
            .set_storage_class(self.settings.storage_class.clone())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key);
        let copied = request.send().await.map_err(|error| self.failed(At::Object(from), "copy", error))?;
        // The store says 200 before it copies, and only then what has come of it.
        match copied.copy_object_result {
            Some(_) => Ok(()),
            None => Err(StoreError::unreachable(to, "copy", "the store has not said what has come of it")),
        }
    }

    async fn copy_in_parts(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        let assembly = self.create_upload(to).await?;
        let unfinished = Unfinished { bucket: self.clone(), to: to.clone(), assembly: Some(assembly.clone()) };
        let copies = ranges(size, self.settings.copy_chunk_bytes).into_iter().zip(1..).map(|(range, number)| {
            let assembly = &assembly;
            async move { self.upload_part_copy(to, assembly, number, from, Some(range)).await }
        });
        let copies: Vec<_> = copies.collect();
        let parts = stream::iter(copies).buffered(self.settings.copies_at_once).try_collect().await?;
        // To its end, whoever waits for it.
        let complete = async move {
            let completed = unfinished.bucket.complete_upload(&unfinished.to, &assembly, parts, size).await;
            // Where it is not known what has come of it, the store may be making an object of them still.
            if completed.as_ref().err().is_none_or(StoreError::is_unknown) {
                unfinished.finish();
            }
            completed
        };
        let completed = tokio::spawn(complete.in_current_span()).await;
        completed.unwrap_or_else(|stopped| Err(StoreError::unreachable(to, "copy", stopped)))
    }

    /// An object as the source of a copy.
    pub(super) fn source(&self, from: &Key) -> String {
        let name = self.name(from);
        format!("{}/{}", self.settings.bucket, utf8_percent_encode(&name, NAME))
    }
}

/// The parts that a copy is made of: of the size that is asked for, or larger if they would be too many.
fn ranges(size: u64, part_bytes: u64) -> Vec<ByteRange> {
    let part_bytes = part_bytes.max(size.div_ceil(MAX_PARTS as u64));
    let starts = (0..size.div_ceil(part_bytes)).map(|number| number * part_bytes);
    starts.map(|start| ByteRange { start, end: size.min(start + part_bytes) }).collect()
}

/// Parts that nothing will come of, unless it is said that something has: after a failure, or when the caller has gone, the
/// store is told to forget them, but not while it may be making an object of them: not every store keeps its word that this
/// is done as a whole or not at all. Nobody waits for that, and if it fails they are left, unseen, until the bucket's own rules
/// remove them.
struct Unfinished {
    bucket: S3,
    to: Key,
    assembly: Option<Assembly>,
}

impl Unfinished {
    fn finish(mut self) {
        self.assembly = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let (Some(assembly), Ok(runtime)) = (self.assembly.take(), tokio::runtime::Handle::try_current()) {
            let (bucket, to) = (self.bucket.clone(), self.to.clone());
            runtime.spawn(async move {
                if let Err(error) = bucket.abort_upload(&to, &assembly).await {
                    tracing::warn!(key = %to, %error, "cannot remove the parts of a copy that failed");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_an_object_once() {
        fn check(size: u64, part_bytes: u64, expected: &[(u64, u64)]) {
            let found: Vec<(u64, u64)> =
                ranges(size, part_bytes).into_iter().map(|ByteRange { start, end }| (start, end)).collect();
            assert_eq!(found, expected);
        }
        check(10, 10, &[(0, 10)]);
        check(11, 10, &[(0, 10), (10, 11)]);
        check(20, 10, &[(0, 10), (10, 20)]);
        check(1, 10, &[(0, 1)]);
        // More than there may be become larger ones.
        let size = 5 << 40;
        let many = ranges(size, 5 << 20);
        assert!(many.len() <= MAX_PARTS);
        assert_eq!((many[0].start, many.last().unwrap().end), (0, size));
        assert!(many.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
}
