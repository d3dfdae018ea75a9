//! The cases, each a function over one subject. A case works below a key of its own, so that what another leaves is not in
//! its way.

mod copies;
mod failures;
mod faults;
pub(crate) mod interrupted;
mod listings;
pub(crate) mod objects;
mod parts;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use berth_storage::bucket::Bucket;
use berth_storage::{Key, StoreError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::subject::{Subject, Verdict};

type Running = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A case by its name.
pub(crate) struct Case<S> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Arc<S>) -> Running,
}

macro_rules! cases {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($(Case { name: stringify!($name), run: |subject| Box::pin($module::$name(subject)) }),+),+]
    };
}

/// Every case.
pub(crate) fn all() -> Vec<Case<Subject>> {
    cases! {
        objects: what_was_put_is_there_until_it_is_deleted, overwrites_are_visible_at_once, an_empty_object, ranges,
            nothing_is_there, created_once, of_many_creators_one_wins, odd_keys, long_keys, a_key_beside_a_directory,
            many_are_removed;
        listings: pages_join_without_loss, directories_at_the_borders_of_pages, a_listing_begins_behind_a_name,
            thousands_of_keys;
        copies: small_copies, large_copies;
        parts: parts_at_once_and_out_of_order, parts_from_another_process, completed_parts_replace,
            aborted_parts_leave_nothing, parts_are_tried_again, a_part_from_another_object, unfinished_parts_are_adopted,
            what_nobody_completes_is_removed;
        interrupted: a_get_is_dropped_after_its_first_piece, a_put_is_dropped, parts_are_dropped;
        failures: wrong_credentials, a_missing_bucket, a_wrong_clock, nobody_listens, credential_files_change,
            presigned_addresses;
        faults: requests_are_counted, many_go_with_one_request, a_busy_store_is_asked_once, half_an_answer_is_an_error,
            an_answer_is_lost_and_asked_for_again;
    }
}

/// Bytes that differ at every place of every part, and from seed to seed.
pub(crate) fn content(seed: usize, length: usize) -> Bytes {
    (0..length).map(|n| ((n + seed * 7) % 251) as u8).collect::<Vec<_>>().into()
}

/// A whole object. Comparing through this keeps megabytes out of messages.
pub(crate) async fn read(bucket: &dyn Bucket, at: &Key) -> Bytes {
    let object = bucket.get(at, None).await.unwrap();
    let size = object.stat.size as usize;
    let content = object.body.try_collect::<Vec<Bytes>>().await.unwrap().concat();
    assert_eq!(content.len(), size, "{at}: the length of what is read");
    content.into()
}

pub(crate) fn is_not_found<T>(result: Result<T, StoreError>) -> bool {
    match result {
        Err(StoreError::NotFound { .. }) => true,
        Err(other) => panic!("not NotFound: {other}"),
        Ok(_) => false,
    }
}

/// Writes many small objects, some at once.
pub(crate) async fn put_all(bucket: &dyn Bucket, keys: &[Key]) {
    let puts = keys.iter().cloned().map(|key| async move { bucket.put(&key, Bytes::from_static(b"1")).await });
    stream::iter(puts).buffer_unordered(16).try_collect::<()>().await.unwrap();
}
