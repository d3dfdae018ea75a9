//! A body that breaks off and goes on: with another request, from the byte where it broke.
//!
//! The rest has to be of the same object. What says so is its length and when it was written, which is all that every store
//! tells; so an object that is replaced in place by one of its length within the precision of that time would pass for
//! itself. Those that are replaced in place are small, and are read here as a whole or not at all.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};

use super::{Course, Retrying};
use crate::bucket::Bucket;
use crate::{ByteRange, Key, Object, Outgoing, Stat, StoreError};

/// How long a body is that is read before it is given out, at the most, in bytes.
const SMALL_BYTES: u64 = 64 * 1024;

/// A body that got so far since it broke off last, in bytes, has all its tries again: the more of them a long one needs.
const PROGRESS_BYTES: u64 = 1024 * 1024;

const ACTION: &str = "read the object";

/// Opens an object, or a part of it. A small body is read to its end, so that there is nothing left that can break off.
pub(super) async fn open(inner: &dyn Bucket, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
    let object = inner.get(key, range).await?;
    let bytes = object.range.end.saturating_sub(object.range.start);
    if bytes > SMALL_BYTES {
        return Ok(object);
    }
    let content = read(key, object.body, bytes).await?;
    let pieces = (!content.is_empty()).then_some(Ok(content));
    Ok(Object { body: Box::pin(stream::iter(pieces)), ..object })
}

/// The whole of a body of so many bytes.
async fn read(key: &Key, mut body: Outgoing, bytes: u64) -> Result<Bytes, StoreError> {
    let mut content = BytesMut::new();
    if bytes == 0 {
        return Ok(Bytes::new());
    }
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if content.is_empty() && piece.len() as u64 == bytes {
            // Nearly always it comes in one piece, which is then not copied.
            return Ok(piece);
        }
        content.extend_from_slice(&piece);
        if content.len() as u64 >= bytes {
            break;
        }
    }
    match content.len() as u64 {
        found if found == bytes => Ok(content.freeze()),
        found => Err(wrong_length(key, found, bytes)),
    }
}

fn wrong_length(key: &Key, found: u64, bytes: u64) -> StoreError {
    StoreError::unreachable(key, ACTION, format!("the body has {found} bytes, not the {bytes} that were announced"))
}

/// An object whose body goes on when it breaks off, with what is left of the tries of its request.
pub(super) fn going_on(retrying: Retrying, key: Key, object: Object, course: Course) -> Object {
    let Object { stat, range, body } = object;
    let reading = Reading { retrying, key, stat, range, at: range.start, broke_at: range.start, body, course };
    let body = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await? {
            Ok(piece) => Some((Ok(piece), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Object { stat, range, body: Box::pin(body) }
}

/// A body that is being read.
struct Reading {
    retrying: Retrying,
    key: Key,
    stat: Stat,
    range: ByteRange,
    /// The next byte.
    at: u64,
    /// The byte where it broke off last.
    broke_at: u64,
    body: Outgoing,
    course: Course,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        // Nothing is asked for behind the last byte: an error there would be about nothing.
        while self.at < self.range.end {
            let (found, bytes) = (self.at - self.range.start, self.range.end - self.range.start);
            let error = match self.body.next().await {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(piece)) if piece.len() as u64 <= self.range.end - self.at => {
                    self.at += piece.len() as u64;
                    return Some(Ok(piece));
                }
                Some(Ok(piece)) => return Some(Err(wrong_length(&self.key, found + piece.len() as u64, bytes))),
                Some(Err(error)) if !error.is_transient() => return Some(Err(error)),
                Some(Err(error)) => error,
                None => wrong_length(&self.key, found, bytes),
            };
            if let Err(error) = self.go_on(error).await {
                return Some(Err(error));
            }
        }
        None
    }

    /// Opens the rest of the object, now that its body has broken off.
    async fn go_on(&mut self, error: StoreError) -> Result<(), StoreError> {
        let Reading { retrying, key, stat, range, at, broke_at, body, course } = self;
        if *at - *broke_at >= PROGRESS_BYTES {
            *course = Course::new();
        }
        *broke_at = *at;
        // How long it was read before is up to the reader.
        course.failed_at = None;
        if !retrying.wait(course, "get", &*key, &error).await {
            return Err(error);
        }
        let rest = ByteRange { start: *at, end: range.end };
        match retrying.go_on(course, "get", &*key, || retrying.inner.get(key, Some(rest))).await {
            Ok(object) if object.stat == *stat && object.range == rest => {
                *body = object.body;
                Ok(())
            }
            Ok(_) | Err(StoreError::Range { .. }) => {
                Err(StoreError::unreachable(&*key, ACTION, "it was replaced while it was read"))
            }
            Err(error) => Err(error),
        }
    }
}
