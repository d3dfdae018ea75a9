//! Requests about single objects, and the removal of many.

use std::time::SystemTime;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;

use super::S3;
use super::error::{At, is_refused, refusal};
use super::options::Encryption;
use super::probe::Found;
use super::sum::Sum;
use crate::store::Outgoing;
use crate::{ByteRange, Key, Object, Refusal, Stat, StoreError, layout};

/// What every object is said to be: bytes, whatever they mean to others.
pub(super) const CONTENT_TYPE: &str = "application/octet-stream";
/// The most keys of one request to remove.
const KEYS_AT_ONCE: usize = 1000;
/// How many objects are removed at once where each takes a request.
const REMOVALS_AT_ONCE: usize = 16;
/// How often an object is tried to be created that others work on at the same time.
const CREATIONS: usize = 5;

impl S3 {
    pub(super) async fn head_object(&self, key: &Key) -> Result<Stat, StoreError> {
        let request = self.client.head_object().bucket(&self.settings.bucket).key(self.name(key));
        match request.send().await {
            Ok(answer) => {
                let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
                let size = size.ok_or_else(|| StoreError::unreachable(key, "look at", "the answer has no length"))?;
                Ok(Stat { size, modified: modified(answer.last_modified()) })
            }
            Err(error) => Err(match self.failed(At::Object(key), "look at", error) {
                missing @ StoreError::NotFound { .. } => missing,
                error => self.in_words(error).await,
            }),
        }
    }

    /// An error of a request whose answer has no body: with the words of another request that is refused likewise.
    pub(super) async fn in_words(&self, error: StoreError) -> StoreError {
        // A store that cannot do it now is left in peace.
        let is_silent = |refusal: &&Refusal| refusal.message.is_empty() && refusal.status < 500;
        let Some(&Refusal { status, .. }) = refusal(&error).filter(is_silent) else { return error };
        let Err(other) = self.look_around("list").await else { return error };
        match (error, other) {
            (StoreError::Service { key, action, .. }, StoreError::Service { refusal, .. })
                if refusal.status == status =>
            {
                StoreError::Service { key, action, refusal }
            }
            (error, _) => error,
        }
    }

    /// Asks for one of the names that all other requests are about, and no others: credentials may be good for these alone.
    /// A refusal has words.
    pub(super) async fn look_around(&self, action: &'static str) -> Result<(), StoreError> {
        let prefix = self.settings.root.below(&layout::all());
        let request = self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(prefix).max_keys(1);
        request.send().await.map(drop).map_err(|error| self.failed(At::Bucket, action, error))
    }

    pub(super) async fn get_object(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        const ACTION: &str = "open";
        let mut request = self.client.get_object().bucket(&self.settings.bucket).key(self.name(key));
        if let Some(ByteRange { start, end }) = range {
            if start >= end {
                return Err(self.outside(key, start).await);
            }
            request = request.range(format!("bytes={start}-{}", end - 1));
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = self.failed(At::Object(key), ACTION, error);
                let is_outside = refusal(&error).is_some_and(|refusal| refusal.status == 416);
                return Err(match range {
                    Some(ByteRange { start, .. }) if is_outside => self.outside(key, start).await,
                    _ => error,
                });
            }
        };
        let (range, size) = match (given(&answer), range) {
            (Some((given, size)), None) if given.end - given.start == size => (given, size),
            (Some((given, size)), Some(range)) if given.start == range.start => (given, size),
            // A store that does not understand a range may send the whole object.
            (Some((_, size)), Some(ByteRange { start, .. })) if start >= size => {
                return Err(StoreError::Range { key: key.to_string(), start, size });
            }
            _ => return Err(StoreError::unreachable(key, ACTION, "the answer has other bytes than were asked for")),
        };
        let stat = Stat { size, modified: modified(answer.last_modified()) };
        Ok(Object { stat, range, body: body(key, answer.body, range.end - range.start) })
    }

    /// A range that is not in an object.
    async fn outside(&self, key: &Key, start: u64) -> StoreError {
        match self.head_object(key).await {
            Ok(Stat { size, .. }) => StoreError::Range { key: key.to_string(), start, size },
            Err(error) => error,
        }
    }

    pub(super) async fn put_object(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.write(key, content, false, self.found().writes).await
    }

    /// Writes an object, or, where it must be a new one, gets the refusal of a store that keeps to that.
    pub(super) async fn write(&self, key: &Key, content: Bytes, only_new: bool, sum: Sum) -> Result<(), StoreError> {
        let (encryption, encryption_key) = self.encryption();
        let request = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.name(key))
            .content_type(CONTENT_TYPE)
            .set_acl(self.settings.acl.clone())
            .set_storage_class(self.settings.storage_class.clone())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key)
            .set_if_none_match(only_new.then(|| "*".to_owned()))
            .set_content_md5(sum.md5_of(&content))
            .body(ByteStream::from(content));
        request.send().await.map(drop).map_err(|error| self.failed(At::Object(key), "write", error))
    }

    /// How the store is asked to encrypt: by what, and with which key.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.settings.encryption {
            Encryption::Unasked => (None, None),
            Encryption::Store => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Key(key) => (Some(ServerSideEncryption::AwsKms), Some(key.clone())),
        }
    }

    pub(super) async fn create_object(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let exists = || StoreError::AlreadyExists { key: key.to_string() };
        let Found { creates_atomically: is_atomic, writes, .. } = self.found();
        let mut attempt = 0;
        loop {
            attempt += 1;
            // A store that cannot tell whether there is one is asked first, and so is one where others are at it.
            if !is_atomic || attempt > 1 {
                match self.head_object(key).await {
                    Ok(_) => return Err(exists()),
                    Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match self.write(key, content.clone(), is_atomic, writes).await {
                Err(error) if is_taken(&error) => return Err(exists()),
                // Another request for the same name was faster, and may have been one to delete it.
                Err(error) if is_contended(&error) && attempt < CREATIONS => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) async fn delete_object(&self, key: &Key) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.settings.bucket).key(self.name(key));
        request.send().await.map(drop).map_err(|error| self.failed(At::Object(key), "delete", error))
    }

    pub(super) async fn remove_objects(&self, keys: &[Key]) -> Result<(), StoreError> {
        if let Some(sum) = self.found().removes_many {
            for keys in keys.chunks(KEYS_AT_ONCE) {
                self.delete_objects(keys, sum).await?;
            }
            return Ok(());
        }
        let removals = keys.iter().cloned().map(|key| async move {
            match self.delete_object(&key).await {
                Err(StoreError::NotFound { .. }) => Ok(()),
                outcome => outcome,
            }
        });
        stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE).try_collect().await
    }

    /// Removes at most [`KEYS_AT_ONCE`] objects with one request.
    pub(super) async fn delete_objects(&self, keys: &[Key], sum: Sum) -> Result<(), StoreError> {
        const ACTION: &str = "remove objects from";
        let named = keys.iter().map(|key| ObjectIdentifier::builder().key(self.name(key)).build());
        let delete = named.collect::<Result<Vec<_>, _>>().and_then(|named| {
            // Only what could not be removed is answered.
            Delete::builder().set_objects(Some(named)).quiet(true).build()
        });
        let delete = delete.map_err(|error| StoreError::unreachable(self.place_text(), ACTION, error))?;
        let request = self.client.delete_objects().bucket(&self.settings.bucket).delete(delete).customize();
        let request = request.mutate_request(move |request| sum.put_on(request));
        let answer = request.send().await.map_err(|error| self.failed(At::Bucket, ACTION, error))?;
        let left = answer.errors().iter().find(|error| !matches!(error.code(), Some("NoSuchKey" | "NotFound")));
        match left {
            None => Ok(()),
            Some(error) => {
                let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
                let (code, message) = (text(error.code()), text(error.message()));
                let status = if code == "AccessDenied" { 403 } else { 500 };
                let name = error.key().unwrap_or_default();
                let key = self.settings.root.key(name).unwrap_or(name);
                Err(StoreError::service(key, "remove", Refusal { status, code, message }))
            }
        }
    }
}

/// Whether an object was not created because there is one.
pub(super) fn is_taken(error: &StoreError) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == 412)
}

/// Whether an object was not created because another request was under way.
pub(super) fn is_contended(error: &StoreError) -> bool {
    is_refused(error, &["ConditionalRequestConflict", "OperationAborted"])
}

pub(super) fn modified(time: Option<&DateTime>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(*time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The bytes that an answer has, and the length of the whole object.
fn given(answer: &GetObjectOutput) -> Option<(ByteRange, u64)> {
    if let Some(text) = answer.content_range() {
        return content_range(text);
    }
    let size = u64::try_from(answer.content_length()?).ok()?;
    Some((ByteRange { start: 0, end: size }, size))
}

/// What `bytes 0-9/100` says.
fn content_range(text: &str) -> Option<(ByteRange, u64)> {
    let (range, size) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (first.parse().ok()?, last.parse::<u64>().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((ByteRange { start: first, end: last + 1 }, size))
}

/// The content of an answer, which must have the length that it says.
fn body(key: &Key, content: ByteStream, expected: u64) -> Outgoing {
    const ACTION: &str = "read";
    let broken = {
        let key = key.to_string();
        move |error| StoreError::unreachable(&key, ACTION, error)
    };
    let pieces = content.into_inner().into_data_stream();
    Box::pin(stream::unfold((pieces, expected, broken), |(mut pieces, left, broken)| async move {
        match pieces.next().await {
            Some(Ok(piece)) if piece.len() as u64 <= left => {
                let left = left - piece.len() as u64;
                Some((Ok(piece), (pieces, left, broken)))
            }
            Some(Ok(_)) => Some((Err(broken("the answer is longer than it says".into())), (ended(), 0, broken))),
            Some(Err(error)) => Some((Err(broken(error)), (ended(), 0, broken))),
            None if left > 0 => Some((Err(broken("the answer ends too early".into())), (ended(), 0, broken))),
            None => None,
        }
    }))
}

/// Nothing more to come.
fn ended() -> http_body_util::BodyDataStream<aws_smithy_types::body::SdkBody> {
    aws_smithy_types::body::SdkBody::empty().into_data_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_an_answer_is_read_or_not_believed() {
        fn check(text: &str, expected: Option<(u64, u64, u64)>) {
            let read = content_range(text).map(|(range, size)| (range.start, range.end, size));
            assert_eq!(read, expected, "{text}");
        }
        check("bytes 0-9/100", Some((0, 10, 100)));
        check("bytes 99-99/100", Some((99, 100, 100)));
        for wrong in ["bytes */100", "bytes 0-9/*", "bytes 9-0/100", "bytes 0-100/100", "0-9/100", "", "bytes -9/100"] {
            check(wrong, None);
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_as_long_as_it_says_is_an_error() {
        async fn check(content: &'static str, expected: u64, is_right: bool) {
            let key: Key = "a".parse().unwrap();
            let pieces: Vec<_> = body(&key, ByteStream::from_static(content.as_bytes()), expected).collect().await;
            assert_eq!(pieces.iter().all(Result::is_ok), is_right, "{content} {expected}");
        }
        check("12345", 5, true).await;
        check("", 0, true).await;
        check("12345", 6, false).await;
        check("12345", 4, false).await;
    }
}
