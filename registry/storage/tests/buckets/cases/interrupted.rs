//! Requests whose caller has gone half-way: nothing may be wrong afterwards.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::StreamExt;

use super::{content, is_not_found, read};
use crate::subject::{Subject, Verdict, key};

/// Runs a future until it has been woken up `steps` times, and drops it where it is then; whether it was done before.
pub(crate) async fn drop_after<F: Future>(future: F, steps: usize) -> bool {
    let mut future = pin!(future);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled > steps => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub(super) async fn a_get_is_dropped_after_its_first_piece(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("interrupted/get");
    let whole = content(3, 6_000_000);
    bucket.put(&at, whole.clone()).await.unwrap();
    for _ in 0..5 {
        let mut object = bucket.get(&at, None).await.unwrap();
        let first = object.body.next().await.unwrap().unwrap();
        assert!(whole.starts_with(&first) && !first.is_empty());
        drop(object);
        // Nothing of the answer that was left is taken for the next.
        assert_eq!(bucket.head(&at).await.unwrap().size, whole.len() as u64);
    }
    assert!(read(bucket, &at).await == whole);
    Verdict::Passed
}

pub(super) async fn a_put_is_dropped(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    for steps in 0..12 {
        let at = key(&format!("interrupted/put-{steps}"));
        let (before, after) = (Bytes::from_static(b"before"), content(4, 3_000_000));
        bucket.put(&at, before.clone()).await.unwrap();
        let is_done = drop_after(bucket.put(&at, after.clone()), steps).await;
        let found = read(bucket, &at).await;
        assert!(found == before && !is_done || found == after, "{} bytes after {steps} steps", found.len());
        // The next one is not hurt by what was left, and stays: a store may still be busy with what it was sent whole.
        bucket.remove(&[at]).await.unwrap();
    }
    Verdict::Passed
}

pub(super) async fn parts_are_dropped(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("interrupted/parts");
    let part = content(5, bucket.limits().min_part_bytes.max(1000) as usize);
    for steps in [1, 3, 5] {
        let assembly = bucket.begin_parts(&at).await.unwrap();
        drop_after(bucket.put_part(&at, &assembly, 1, part.clone()), steps).await;
        assert!(is_not_found(bucket.head(&at).await));
        // The part is sent again, and the object is whole.
        let tag = bucket.put_part(&at, &assembly, 1, part.clone()).await.unwrap();
        bucket.complete_parts(&at, &assembly, vec![tag], part.len() as u64).await.unwrap();
        assert!(read(bucket, &at).await == part);
        bucket.delete(&at).await.unwrap();
    }
    Verdict::Passed
}
