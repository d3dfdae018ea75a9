//! Objects that are written in parts.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Method, header};
use tracing::Instrument;

use super::client::Call;
use super::object::{MAX_ANSWER_BYTES, private};
use super::xml::{Copied, Initiated, ListedParts, ListedUploads, Part, completion, read};
use super::{COPIES_AT_ONCE, COPY_PARTS, MAX_PARTS, Oss};
use crate::bucket::{Assembly, PartTag};
use crate::{ByteRange, Key, Stat, StoreError};

/// The most that is read of a page of parts or of uploads, in bytes: 1,000 of them.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// How many uploads or parts are on a page.
const PAGE: &str = "1000";

/// The parts that a copy of this many bytes is made of: of the size that is wanted, unless there would be too many.
fn copy_ranges(size: u64, wanted: u64) -> impl Iterator<Item = ByteRange> {
    let part = wanted.max(size.div_ceil(MAX_PARTS as u64)).max(1);
    (0..size.div_ceil(part)).map(move |number| {
        let start = number * part;
        ByteRange { start, end: (start + part).min(size) }
    })
}

impl Oss {
    /// A request about an upload.
    fn upload_call<'a>(&self, method: Method, to: &'a Key, upload: &Assembly, action: &'static str) -> Call<'a> {
        let mut call = self.call(method, to, action);
        call.query.push(("uploadId", upload.0.clone()));
        call
    }

    fn part_call<'a>(&self, to: &'a Key, upload: &Assembly, number: usize, action: &'static str) -> Call<'a> {
        let mut call = self.upload_call(Method::PUT, to, upload, action);
        call.query.push(("partNumber", number.to_string()));
        call
    }

    pub(super) async fn begin_upload(&self, to: &Key) -> Result<Assembly, StoreError> {
        let mut call = self.call(Method::POST, to, "begin to write it in parts");
        let action = call.action;
        call.query.push(("uploads", String::new()));
        call.headers = self.making();
        let answer = self.shared.client.send_for(call, MAX_ANSWER_BYTES).await?;
        let Initiated { upload_id } = read(&answer).map_err(|error| StoreError::unreachable(to, action, error))?;
        Ok(Assembly(upload_id))
    }

    pub(super) async fn upload_part(
        &self,
        to: &Key,
        upload: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        let mut call = self.part_call(to, upload, number, "write a part of it");
        let action = call.action;
        call.body = content;
        let answer = self.shared.client.send(call).await?;
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.ok_or_else(|| StoreError::unreachable(to, action, "no entity tag in the answer"))?;
        Ok(PartTag(tag.to_owned()))
    }

    pub(super) async fn upload_part_copy(
        &self,
        to: &Key,
        upload: &Assembly,
        number: usize,
        from: &Key,
        range: ByteRange,
    ) -> Result<PartTag, StoreError> {
        let mut call = self.part_call(to, upload, number, "copy a part to it");
        let action = call.action;
        let ByteRange { start, end } = range;
        call.headers.push(self.copy_source(from));
        call.headers.push(("x-oss-copy-source-range", format!("bytes={start}-{}", end.saturating_sub(1))));
        let answer = self.shared.client.send_for(call, MAX_ANSWER_BYTES).await?;
        let Copied { etag } = read(&answer).map_err(|error| StoreError::unreachable(to, action, error))?;
        Ok(PartTag(etag))
    }

    /// Makes an object of parts. The upload is gone afterwards, also for whoever lost the answer and tries again: then the
    /// object tells.
    pub(super) async fn complete_upload(
        &self,
        to: &Key,
        upload: &Assembly,
        parts: &[(u64, &PartTag)],
        size: u64,
    ) -> Result<(), StoreError> {
        if parts.is_empty() {
            // The store makes no object of no parts.
            self.put_object(to, Bytes::new(), false).await?;
            return self.abort_upload(to, upload).await;
        }
        let mut call = self.upload_call(Method::POST, to, upload, "make an object of its parts");
        call.headers.push(("content-type", "application/xml".to_owned()));
        call.headers.push(private());
        call.body = Bytes::from(completion(parts));
        let action = call.action;
        match self.shared.client.send_for(call, MAX_ANSWER_BYTES).await {
            // An answer that breaks off says nothing.
            Ok(answer) => match read(&answer) {
                Ok(Copied { etag: _ }) => Ok(()),
                Err(error) => Err(StoreError::unreachable(to, action, error)),
            },
            Err(error) if is_no_upload(&error) => match self.head_object(to).await {
                Ok(stat) if stat.size == size => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    pub(super) async fn abort_upload(&self, to: &Key, upload: &Assembly) -> Result<(), StoreError> {
        let call = self.upload_call(Method::DELETE, to, upload, "forget its parts");
        match self.shared.client.send_for(call, MAX_ANSWER_BYTES).await {
            Err(error) if !is_no_upload(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Copies an object of any size. Whoever is dropped on the way leaves no parts behind.
    pub(super) async fn copy_in_parts(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        let upload = Unfinished { oss: self.clone(), to: to.clone(), upload: Some(self.begin_upload(to).await?) };
        let assembly = &upload.assembly();
        let copies = copy_ranges(size, self.shared.copy_bytes / COPY_PARTS)
            .zip(1..)
            .map(|(range, number)| async move { self.upload_part_copy(to, assembly, number, from, range).await });
        let parts: Vec<PartTag> = stream::iter(copies).buffered(COPIES_AT_ONCE).try_collect().await?;
        // To its end, whoever waits for it.
        let complete = async move {
            let numbered: Vec<(u64, &PartTag)> = (1..).zip(&parts).collect();
            let completed = upload.oss.complete_upload(&upload.to, &upload.assembly(), &numbered, size).await;
            // Where it is not known what has come of it, the store may be making an object of them still.
            if completed.as_ref().err().is_none_or(StoreError::is_unknown) {
                upload.done();
            }
            completed
        };
        let completed = tokio::spawn(complete.in_current_span()).await;
        completed.unwrap_or_else(|stopped| Err(StoreError::unreachable(to, "copy", stopped)))
    }

    /// Makes an object of what docker-registry 2.8 has begun to write: it keeps the data of an upload as a multipart
    /// upload to its key, and beside it at times an object, the upload's beginning, when a part of it was too small to go
    /// on with. Then the parts hold what the object holds, or nothing yet.
    pub(super) async fn adopt(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        let mut uploads = self.uploads_to(key).await?.into_iter();
        let Some(first) = uploads.next() else { return Ok(None) };
        match self.adopt_one(key, &first).await {
            Ok(()) => {}
            // Another process has adopted it, or given it up, meanwhile.
            Err(error) if is_no_upload(&error) => {}
            Err(error) => return Err(error),
        }
        // What is left would be adopted the next time, in place of the object.
        for upload in [first].into_iter().chain(uploads) {
            self.abort_upload(key, &upload).await?;
        }
        match self.head_object(key).await {
            Err(error) if error.is_not_found() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Makes an object of an upload. If it has no parts, what is there is all that there is of it.
    async fn adopt_one(&self, key: &Key, upload: &Assembly) -> Result<(), StoreError> {
        let parts = self.parts_of(key, upload).await?;
        if parts.is_empty() {
            return match self.head_object(key).await {
                Err(error) if error.is_not_found() => self.put_object(key, Bytes::new(), false).await,
                outcome => outcome.map(drop),
            };
        }
        let tags: Vec<(u64, PartTag)> =
            parts.into_iter().map(|Part { part_number, etag }| (part_number, PartTag(etag))).collect();
        let numbered: Vec<(u64, &PartTag)> = tags.iter().map(|(number, tag)| (*number, tag)).collect();
        // No object has this size: one that is there is not taken for the one that is to be made.
        self.complete_upload(key, upload, &numbered, u64::MAX).await
    }

    async fn uploads_to(&self, key: &Key) -> Result<Vec<Assembly>, StoreError> {
        let mut call = self.bucket_call(Method::GET, "list its uploads");
        let (about, action) = (call.about, call.action);
        let name = self.shared.root.name(key);
        // The name itself comes first of all that begin with it, so that one page is enough.
        call.query = vec![
            ("uploads", String::new()),
            ("encoding-type", "url".to_owned()),
            ("max-uploads", PAGE.to_owned()),
            ("prefix", name.clone()),
        ];
        let answer = self.shared.client.send_for(call, MAX_PAGE_BYTES).await?;
        let ids = read(&answer).and_then(|uploads: ListedUploads| uploads.of(&name));
        let ids = ids.map_err(|error| StoreError::unreachable(about, action, error))?;
        Ok(ids.into_iter().map(Assembly).collect())
    }

    async fn parts_of(&self, key: &Key, upload: &Assembly) -> Result<Vec<Part>, StoreError> {
        let mut parts: Vec<Part> = Vec::new();
        let mut after = 0;
        loop {
            let mut call = self.upload_call(Method::GET, key, upload, "list its parts");
            let action = call.action;
            call.query.push(("max-parts", PAGE.to_owned()));
            if after > 0 {
                call.query.push(("part-number-marker", after.to_string()));
            }
            let answer = self.shared.client.send_for(call, MAX_PAGE_BYTES).await?;
            let unreachable = |error| StoreError::unreachable(key, action, error);
            let page: ListedParts = read(&answer).map_err(unreachable)?;
            parts.extend(page.part);
            match page.next_part_number_marker {
                _ if !page.is_truncated => return Ok(parts),
                Some(next) if next > after && parts.len() <= MAX_PARTS => after = next,
                _ => return Err(unreachable("a listing goes on, but does not say where".into())),
            }
        }
    }
}

fn is_no_upload(error: &StoreError) -> bool {
    matches!(error, StoreError::Service { refusal, .. } if refusal.code == "NoSuchUpload")
}

/// An upload that is forgotten unless it is done.
struct Unfinished {
    oss: Oss,
    to: Key,
    upload: Option<Assembly>,
}

impl Unfinished {
    fn assembly(&self) -> Assembly {
        self.upload.clone().unwrap_or_else(|| Assembly(String::new()))
    }

    fn done(mut self) {
        self.upload = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) else { return };
        let (oss, to) = (self.oss.clone(), self.to.clone());
        runtime.spawn(async move {
            if let Err(error) = oss.abort_upload(&to, &upload).await {
                tracing::warn!(driver = "oss", %error, "parts of a copy are left behind");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_copy_is_made_of_as_few_parts_as_the_store_takes() {
        const WANTED: u64 = 128 << 20;
        for (size, count) in
            [(1, 1), (WANTED, 1), (WANTED + 1, 2), (5 << 40, 10_000), (WANTED * MAX_PARTS as u64, MAX_PARTS)]
        {
            let ranges: Vec<ByteRange> = copy_ranges(size, WANTED).collect();
            assert_eq!(ranges.len(), count, "{size}");
            assert_eq!(ranges[0].start, 0);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(ranges[ranges.len() - 1].end, size);
        }
    }
}
