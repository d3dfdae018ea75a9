//! Finds out what a store is able to do, by trying it on objects that are nobody's.
//!
//! A store that does not know a condition may well pass over it, and one that knows it may still let two writers through
//! that are there at once; so it is tried twice in turn, and then by several at once. That can only show that a store does
//! not keep to it. What fails for another reason, such as that nothing may be written, leaves the question open.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::join_all;

use super::S3;
use super::error::refusal;
use super::objects::{is_contended, is_taken};
use super::sum::Sum;
use crate::bucket::{Listing, Start};
use crate::{Key, Stat, StoreError};

/// Where probes are, below the root directory.
const PLACE: &str = "berth/v1/probe";
/// How often several writers are let loose at once, and how many.
const RACES: usize = 3;
const WRITERS: usize = 4;
/// How long after its beginning a probe has ended, one way or the other.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// How many objects that were left are removed at once; more are left to the next start.
const SWEPT_AT_ONCE: usize = 1000;

/// What was found out; by default, the least.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) creates_atomically: bool,
    pub(super) copies_parts: bool,
    /// Several objects are removed at once, with this sum.
    pub(super) removes_many: Option<Sum>,
    /// The sum that whatever is written has to come with.
    pub(super) writes: Sum,
}

impl Found {
    /// Says it once, with what is done in place of what is missing.
    pub(super) fn say(self, place: &str) {
        let Found { creates_atomically, copies_parts, removes_many, writes } = self;
        let (write_sum, removal_sum) = (writes.name(), removes_many.map(Sum::name));
        let removes_many = removes_many.is_some();
        tracing::info!(
            place,
            creates_atomically,
            removes_many,
            copies_parts,
            write_sum,
            removal_sum,
            "what the store is able to do"
        );
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
    let found = found?;
    Ok(Found { removes_many: removed?, ..found })
}

/// Removes what probes have left that were killed in the middle of it, and says how many things that were. Nobody else
/// looks below their place.
pub(super) async fn sweep(bucket: &S3) -> Result<u64, StoreError> {
    let place = Key::built(PLACE.to_owned());
    let before = SystemTime::now() - ABANDONED;
    let listing = Listing { below: &place, one_level: false, start: Start::First, limit: SWEPT_AT_ONCE };
    let listed = bucket.list_objects(listing).await?;
    // What does not say when it was written may be that of a probe which is under way.
    let is_left = |stat: &Stat| stat.modified < before && stat.modified > SystemTime::UNIX_EPOCH;
    let left = listed.objects.iter().filter(|(_, stat)| is_left(stat));
    let left: Vec<Key> = left.filter_map(|(name, _)| name.parse().ok()).collect();
    if !left.is_empty() {
        bucket.remove_objects(&left).await?;
    }
    Ok(left.len() as u64 + bucket.abort_old_uploads(&place, before).await?)
}

/// All but the removal.
async fn look(bucket: &S3, object: &Key, races: &[Key]) -> Result<Found, StoreError> {
    let (mut creates_atomically, writes) = creates_once(bucket, object).await?;
    for race in races {
        creates_atomically = creates_atomically && is_won_once(bucket, race, writes).await?;
    }
    let copies_parts = copies_parts(bucket, object, &races[0]).await?;
    Ok(Found { creates_atomically, copies_parts, writes, removes_many: None })
}

/// Whether a second creation is refused, and which sum the store wants to see. There is an object afterwards in any case.
async fn creates_once(bucket: &S3, object: &Key) -> Result<(bool, Sum), StoreError> {
    let (knows_condition, sum) = begin(bucket, object).await?;
    if !knows_condition {
        return Ok((false, sum));
    }
    match create(bucket, object, sum).await {
        Ok(()) => Ok((false, sum)),
        Err(error) if is_taken(&error) => Ok((true, sum)),
        Err(error) => Err(error),
    }
}

/// Writes the first object: on the condition that it is new, or, if the store does not take that, without. Says which it was,
/// and with which sum.
async fn begin(bucket: &S3, object: &Key) -> Result<(bool, Sum), StoreError> {
    let mut refused = None;
    for sum in Sum::ALL {
        match create(bucket, object, sum).await {
            Ok(()) => return Ok((true, sum)),
            Err(error) if is_unknown(&error) || is_malformed(&error) => {}
            Err(error) => return Err(error),
        }
        match bucket.write(object, content(), false, sum).await {
            Ok(()) => return Ok((false, sum)),
            // Of several refusals the first is the one of what is sent to everybody.
            Err(error) if is_malformed(&error) => refused = refused.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| StoreError::unreachable(object, "write", "nothing was tried")))
}

/// Whether at most one of several writers is told that it has created an object.
async fn is_won_once(bucket: &S3, object: &Key, sum: Sum) -> Result<bool, StoreError> {
    let mut won = 0;
    for outcome in join_all((0..WRITERS).map(|_| create(bucket, object, sum))).await {
        match outcome {
            Ok(()) => won += 1,
            Err(error) if is_taken(&error) || is_contended(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(won <= 1)
}

async fn create(bucket: &S3, object: &Key, sum: Sum) -> Result<(), StoreError> {
    bucket.write(object, content(), true, sum).await
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

/// Removes the probes, if it can be with one request; and with which sum that was.
async fn remove(bucket: &S3, written: &[Key]) -> Result<Option<Sum>, StoreError> {
    let mut removed = Ok(());
    for sum in Sum::ALL {
        removed = bucket.delete_objects(written, sum).await;
        match &removed {
            Ok(()) => match bucket.head_object(&written[0]).await {
                Err(StoreError::NotFound { .. }) => return Ok(Some(sum)),
                // Whether it is gone is not known, and what is found out counts for as long as the process lives.
                Err(error) if error.is_transient() => return Err(error),
                _ => break,
            },
            Err(error) if is_unknown(error) || is_malformed(error) => {}
            Err(_) => break,
        }
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
        Ok(()) => Ok(None),
        Err(error) if refusal(&error).is_some() && !error.is_transient() => Ok(None),
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

/// Whether the store says that a request lacks something, as a sum.
fn is_malformed(error: &StoreError) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == 400)
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
