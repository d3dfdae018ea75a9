//! Objects that are written in parts, and what CNCF Distribution has left of them.
//!
//! Between two requests of an upload, Distribution keeps its `data` as parts that are not complete. When the last part is
//! too small for another to follow, its next request makes them an object, begins anew, and takes that object for the first
//! part, or reads it if it is small. So parts, where there are any, are all of the upload, beside an object that is an
//! earlier state of it; and where there are none, the object is all.

use std::time::SystemTime;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, MultipartUpload, Part};
use bytes::Bytes;

use super::S3;
use super::error::{At, is_refused};
use super::listing::next;
use super::objects::CONTENT_TYPE;
use crate::bucket::{Assembly, PartTag};
use crate::{ByteRange, Key, Stat, StoreError};

/// How many pages of a listing of what is unfinished are read: a thousand entries each.
const MAX_PAGES: usize = 10;

impl S3 {
    pub(super) async fn create_upload(&self, to: &Key) -> Result<Assembly, StoreError> {
        const ACTION: &str = "begin to write";
        let (encryption, encryption_key) = self.encryption();
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(self.name(to))
            .content_type(CONTENT_TYPE)
            .set_acl(self.settings.acl.clone())
            .set_storage_class(self.settings.storage_class.clone())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key);
        let answer = request.send().await.map_err(|error| self.failed(At::Object(to), ACTION, error))?;
        let id = answer.upload_id.filter(|id| !id.is_empty());
        id.map(Assembly).ok_or_else(|| StoreError::unreachable(to, ACTION, "the answer names no upload"))
    }

    pub(super) async fn upload_part(
        &self,
        to: &Key,
        Assembly(id): &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        const ACTION: &str = "write a part of";
        let request = self
            .client
            .upload_part()
            .bucket(&self.settings.bucket)
            .key(self.name(to))
            .upload_id(id)
            .part_number(part_number(number))
            .set_content_md5(self.found().writes.md5_of(&content))
            .body(ByteStream::from(content));
        let answer = request.send().await.map_err(|error| self.failed(At::Object(to), ACTION, error))?;
        tag(to, ACTION, answer.e_tag)
    }

    /// Makes a part of another object, or of a range of it.
    pub(super) async fn upload_part_copy(
        &self,
        to: &Key,
        Assembly(id): &Assembly,
        number: usize,
        from: &Key,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        const ACTION: &str = "copy a part of";
        let request = self
            .client
            .upload_part_copy()
            .bucket(&self.settings.bucket)
            .key(self.name(to))
            .upload_id(id)
            .part_number(part_number(number))
            .copy_source(self.source(from))
            .set_copy_source_range(range.map(|ByteRange { start, end }| format!("bytes={start}-{}", end - 1)));
        let answer = request.send().await.map_err(|error| self.failed(At::Object(from), ACTION, error))?;
        tag(to, ACTION, answer.copy_part_result.and_then(|result| result.e_tag))
    }

    pub(super) async fn complete_upload(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        if parts.is_empty() {
            // No store makes an object of no parts.
            self.put_object(to, Bytes::new()).await?;
            return self.abort_upload(to, assembly).await;
        }
        let parts = parts
            .into_iter()
            .zip(1..)
            .map(|(PartTag(tag), number)| CompletedPart::builder().e_tag(tag).part_number(part_number(number)).build());
        match self.complete(to, assembly, parts.collect()).await {
            // It is complete already if the answer to the first try was lost.
            Err(error) if is_refused(&error, &["NoSuchUpload"]) => match self.head_object(to).await {
                Ok(stat) if stat.size == size => Ok(()),
                _ => Err(error),
            },
            outcome => outcome,
        }
    }

    async fn complete(&self, to: &Key, Assembly(id): &Assembly, parts: Vec<CompletedPart>) -> Result<(), StoreError> {
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.settings.bucket)
            .key(self.name(to))
            .upload_id(id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        request.send().await.map(drop).map_err(|error| self.failed(At::Object(to), "complete", error))
    }

    pub(super) async fn abort_upload(&self, to: &Key, Assembly(id): &Assembly) -> Result<(), StoreError> {
        let request =
            self.client.abort_multipart_upload().bucket(&self.settings.bucket).key(self.name(to)).upload_id(id);
        match request.send().await.map_err(|error| self.failed(At::Object(to), "abort", error)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) if is_refused(&error, &["NoSuchUpload"]) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    pub(super) async fn adopt_uploads(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        let uploads = self.uploads(key).await?;
        if uploads.is_empty() {
            return Ok(None);
        }
        let mut lengths = Vec::new();
        for upload in &uploads {
            lengths.push(self.parts(key, upload).await?);
        }
        let object = match self.head_object(key).await {
            Ok(stat) => Some(stat.size),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let sizes: Vec<u64> = lengths.iter().map(|parts| bytes(parts)).collect();
        let completed = match adoption(object, &sizes) {
            Adoption::Object => None,
            Adoption::Empty => {
                self.put_object(key, Bytes::new()).await?;
                None
            }
            Adoption::Upload(index) => {
                let parts = lengths[index].iter().map(completed);
                self.complete(key, &uploads[index], parts.collect()).await?;
                Some(index)
            }
        };
        // What is left of others would be taken for the upload at the next look.
        for (index, upload) in uploads.iter().enumerate() {
            if Some(index) != completed {
                self.abort_upload(key, upload).await?;
            }
        }
        self.head_object(key).await.map(Some)
    }

    pub(super) async fn abort_old_uploads(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        const ACTION: &str = "look for unfinished uploads below";
        let mut aborted = 0;
        let mut marker = (None, None);
        loop {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.settings.bucket)
                .prefix(self.settings.root.below(below))
                .set_key_marker(marker.0.clone())
                .set_upload_id_marker(marker.1.clone());
            let answer = request.send().await.map_err(|error| self.failed(At::Object(below), ACTION, error))?;
            for upload in answer.uploads().iter().filter(|upload| is_older(upload, before)) {
                let key = upload.key().and_then(|name| self.settings.root.key(name)?.parse::<Key>().ok());
                // No name of ours, or an upload that nobody can name: it is somebody else's.
                let (Some(key), Some(id)) = (key, upload.upload_id()) else { continue };
                self.abort_upload(&key, &Assembly(id.to_owned())).await?;
                aborted += 1;
            }
            let next = (answer.next_key_marker, answer.next_upload_id_marker);
            // A page that leads to itself would be read for ever.
            if answer.is_truncated != Some(true) || next.0.is_none() || next == marker {
                return Ok(aborted);
            }
            marker = next;
        }
    }

    /// The unfinished uploads of an object.
    async fn uploads(&self, key: &Key) -> Result<Vec<Assembly>, StoreError> {
        const ACTION: &str = "look for uploads of";
        let name = self.name(key);
        let mut uploads = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.settings.bucket)
                .prefix(&name)
                .set_key_marker(key_marker.take())
                .set_upload_id_marker(id_marker.take());
            let answer = request.send().await.map_err(|error| self.failed(At::Object(key), ACTION, error))?;
            let of_key = |upload: &MultipartUpload| upload.key().is_some_and(|key| key == name);
            let ids = answer.uploads().iter().filter(|upload| of_key(upload)).filter_map(MultipartUpload::upload_id);
            uploads.extend(ids.map(|id| Assembly(id.to_owned())));
            // The name itself comes before all that begin with it.
            if answer.uploads().iter().any(|upload| !of_key(upload)) {
                return Ok(uploads);
            }
            match goes_on(answer.is_truncated, answer.next_key_marker()) {
                Ok(None) => return Ok(uploads),
                Ok(Some(marker)) => key_marker = Some(marker.to_owned()),
                Err(error) => return Err(StoreError::unreachable(key, ACTION, error)),
            }
            id_marker = answer.next_upload_id_marker;
        }
        Err(StoreError::unreachable(key, ACTION, "the listing has no end"))
    }

    /// The parts of an upload, in order.
    async fn parts(&self, key: &Key, Assembly(id): &Assembly) -> Result<Vec<Part>, StoreError> {
        const ACTION: &str = "look at parts of";
        let mut parts = Vec::new();
        let mut marker = None;
        for _ in 0..MAX_PAGES {
            let request = self
                .client
                .list_parts()
                .bucket(&self.settings.bucket)
                .key(self.name(key))
                .upload_id(id)
                .set_part_number_marker(marker.take());
            let answer = request.send().await.map_err(|error| self.failed(At::Object(key), ACTION, error))?;
            match goes_on(answer.is_truncated, answer.next_part_number_marker()) {
                Ok(next) => marker = next.map(str::to_owned),
                Err(error) => return Err(StoreError::unreachable(key, ACTION, error)),
            }
            parts.extend(answer.parts.unwrap_or_default());
            if marker.is_none() {
                parts.sort_by_key(|part| part.part_number);
                return Ok(parts);
            }
        }
        Err(StoreError::unreachable(key, ACTION, "the listing has no end"))
    }
}

/// Where a listing of what is unfinished goes on, if it does. Not every store says of these that a page is the last.
fn goes_on(is_truncated: Option<bool>, mark: Option<&str>) -> Result<Option<&str>, &'static str> {
    next(Some(is_truncated == Some(true)), mark)
}

/// Whether an upload was begun before then. One that does not say when is not.
fn is_older(upload: &MultipartUpload, before: SystemTime) -> bool {
    let initiated = upload.initiated().and_then(|initiated| SystemTime::try_from(*initiated).ok());
    initiated.is_some_and(|initiated| initiated < before)
}

fn part_number(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn tag(to: &Key, action: &'static str, tag: Option<String>) -> Result<PartTag, StoreError> {
    tag.map(PartTag).ok_or_else(|| StoreError::unreachable(to, action, "the answer has no tag"))
}

fn bytes(parts: &[Part]) -> u64 {
    parts.iter().filter_map(|part| u64::try_from(part.size?).ok()).sum()
}

/// A part that others have written. Where they had the store check sums, it wants to see them again.
fn completed(part: &Part) -> CompletedPart {
    CompletedPart::builder()
        .set_part_number(part.part_number)
        .set_e_tag(part.e_tag.clone())
        .set_checksum_crc32(part.checksum_crc32.clone())
        .set_checksum_crc32_c(part.checksum_crc32_c.clone())
        .set_checksum_crc64_nvme(part.checksum_crc64_nvme.clone())
        .set_checksum_sha1(part.checksum_sha1.clone())
        .set_checksum_sha256(part.checksum_sha256.clone())
        .build()
}

/// What of an object and of unfinished uploads is the furthest that somebody has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adoption {
    /// The object that is there.
    Object,
    /// Nothing was written yet.
    Empty,
    /// The upload of this place.
    Upload(usize),
}

/// Parts as long as the object are the same bytes, or more of them.
fn adoption(object: Option<u64>, uploads: &[u64]) -> Adoption {
    let longest = uploads.iter().enumerate().max_by_key(|(_, size)| **size);
    match (longest, object) {
        (Some((index, &size)), object) if size > 0 && object.is_none_or(|object| size >= object) => {
            Adoption::Upload(index)
        }
        (_, Some(_)) => Adoption::Object,
        (_, None) => Adoption::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_state_of_an_upload_is_taken() {
        fn check(object: Option<u64>, uploads: &[u64], expected: Adoption) {
            assert_eq!(adoption(object, uploads), expected, "{object:?} {uploads:?}");
        }
        check(None, &[0], Adoption::Empty);
        check(None, &[10], Adoption::Upload(0));
        check(Some(5), &[10], Adoption::Upload(0));
        check(Some(10), &[10], Adoption::Upload(0));
        check(Some(10), &[0], Adoption::Object);
        check(Some(10), &[5], Adoption::Object);
        check(Some(0), &[0], Adoption::Object);
        check(None, &[3, 9, 0], Adoption::Upload(1));
    }
}
