//! Finds out what a store is able to do, by trying it on objects that are nobody's.
//!
//! A store that does not know a condition may well pass over it, and one that knows it may still let two writers through
//! that are there at once; so it is tried twice in turn, and then by several at once. That can only show that a store does
//! not keep to it. What fails for another reason, such as that nothing may be written, leaves the question open.

use bytes::Bytes;
use futures::future::join_all;

use super::S3;
use super::error::refusal;
use super::objects::{is_contended, is_taken};
use crate::{Key, StoreError};

/// Where probes are, below the root directory.
const PLACE: &str = "berth/v1/probe";
/// How often several writers are let loose at once, and how many.
const RACES: usize = 3;
const WRITERS: usize = 4;

/// What was found out; by default, the least.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) creates_atomically: bool,
    pub(super) removes_many: bool,
    pub(super) copies_parts: bool,
}

impl Found {
    /// Says it once, with what is done in place of what is missing.
    pub(super) fn say(self, place: &str) {
        let Found { creates_atomically, removes_many, copies_parts } = self;
        tracing::info!(place, creates_atomically, removes_many, copies_parts, "what the store is able to do");
        if !creates_atomically {
            tracing::warn!(
                place,
                "the store does not refuse to write an object that is there (If-None-Match): looking before writing instead"
            );
        }
        if !removes_many {
            tracing::warn!(
                place,
                "the store does not remove several objects with one request: removing each by itself"
            );
        }
        if !copies_parts {
            tracing::warn!(place, "the store does not make parts out of objects: copying whole objects instead");
        }
    }
}

/// Tries everything once, and removes what that has written.
pub(super) async fn run(bucket: &S3) -> Result<Found, StoreError> {
    let name = uuid::Uuid::new_v4();
    let object = Key::built(format!("{PLACE}/{name}"));
    let races: Vec<Key> = (0..RACES).map(|race| Key::built(format!("{PLACE}/{name}-{race}"))).collect();
    let found = look(bucket, &object, &races).await;
    let written = [&[object], races.as_slice()].concat();
    let removed = remove(bucket, &written).await;
    // What hinders the writes hinders the removal as well, and says more.
    let (creates_atomically, copies_parts) = found?;
    Ok(Found { creates_atomically, copies_parts, removes_many: removed? })
}

async fn look(bucket: &S3, object: &Key, races: &[Key]) -> Result<(bool, bool), StoreError> {
    let mut creates_atomically = creates_once(bucket, object).await?;
    for race in races {
        creates_atomically = creates_atomically && is_won_once(bucket, race).await?;
    }
    Ok((creates_atomically, copies_parts(bucket, object, &races[0]).await?))
}

/// Whether a second creation is refused. There is an object afterwards in any case.
async fn creates_once(bucket: &S3, object: &Key) -> Result<bool, StoreError> {
    match create(bucket, object).await {
        Ok(()) => {}
        Err(error) if is_unknown(&error) => {
            bucket.put_object(object, content()).await?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    match create(bucket, object).await {
        Ok(()) => Ok(false),
        Err(error) if is_taken(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether at most one of several writers is told that it has created an object.
async fn is_won_once(bucket: &S3, object: &Key) -> Result<bool, StoreError> {
    let mut won = 0;
    for outcome in join_all((0..WRITERS).map(|_| create(bucket, object))).await {
        match outcome {
            Ok(()) => won += 1,
            Err(error) if is_taken(&error) || is_contended(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(won <= 1)
}

async fn create(bucket: &S3, object: &Key) -> Result<(), StoreError> {
    bucket.write(object, content(), true).await
}

fn content() -> Bytes {
    Bytes::from_static(b"A probe of what this store is able to do. It can be removed.\n")
}

/// Whether an object becomes a part of another, which is then given up.
async fn copies_parts(bucket: &S3, from: &Key, to: &Key) -> Result<bool, StoreError> {
    let assembly = bucket.create_upload(to).await?;
    let copied = bucket.upload_part_copy(to, &assembly, 1, from, None).await;
    bucket.abort_upload(to, &assembly).await?;
    match copied {
        Ok(_) => Ok(true),
        Err(error) if is_unknown(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the probes, if it can be with one request. Whether that was so.
async fn remove(bucket: &S3, written: &[Key]) -> Result<bool, StoreError> {
    let removed = bucket.delete_objects(written).await;
    let is_gone = match removed {
        Ok(()) => matches!(bucket.head_object(&written[0]).await, Err(StoreError::NotFound { .. })),
        Err(_) => false,
    };
    if is_gone {
        return Ok(true);
    }
    for object in written {
        match bucket.delete_object(object).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            // Whoever may write but not delete removes nothing, in whatever way.
            Err(error) if refusal(&error).is_some_and(|refusal| refusal.status == 403) => {
                tracing::warn!(%object, %error, "cannot remove a probe");
            }
            Err(error) => return Err(error),
        }
    }
    match removed {
        Ok(()) => Ok(false),
        Err(error) if refusal(&error).is_some() && !error.is_transient() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the store says that it has never heard of what it was asked.
fn is_unknown(error: &StoreError) -> bool {
    refusal(error).is_some_and(|refusal| match refusal.code.as_str() {
        "NotImplemented" | "InvalidArgument" | "InvalidRequest" | "MethodNotAllowed" | "UnsupportedOperation" => true,
        _ => matches!(refusal.status, 405 | 501),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    #[test]
    fn a_refusal_tells_what_is_unknown_from_what_is_forbidden() {
        fn check(status: u16, code: &str, expected: bool) {
            let refusal = Refusal { status, code: code.into(), message: String::new() };
            assert_eq!(is_unknown(&StoreError::service("a", "write", refusal)), expected, "{status} {code}");
        }
        check(501, "NotImplemented", true);
        check(501, "", true);
        check(400, "InvalidArgument", true);
        check(405, "MethodNotAllowed", true);
        check(403, "AccessDenied", false);
        check(404, "NoSuchBucket", false);
        check(503, "SlowDown", false);
        check(412, "PreconditionFailed", false);
    }
}
