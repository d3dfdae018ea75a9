//! Copies, small ones and those that a store makes in pieces.

use std::sync::Arc;

use bytes::Bytes;

use super::{content, is_not_found, read};
use crate::subject::{Subject, Verdict, key};

pub(super) async fn small_copies(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let (from, to) = (key("copies/from"), key("copies/deep/below/to"));
    bucket.put(&from, content(1, 5000)).await.unwrap();
    bucket.copy(&from, &to).await.unwrap();
    assert!(read(bucket, &to).await == content(1, 5000));
    // In place of what is there, and again.
    bucket.put(&from, content(2, 300)).await.unwrap();
    for _ in 0..2 {
        bucket.copy(&from, &to).await.unwrap();
        assert!(read(bucket, &to).await == content(2, 300));
    }
    assert!(read(bucket, &from).await == content(2, 300), "what was copied stays");
    assert!(is_not_found(bucket.copy(&key("copies/none"), &to).await));
    assert!(read(bucket, &to).await == content(2, 300), "a copy of nothing changes nothing");
    Verdict::Passed
}

pub(super) async fn large_copies(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let (from, to) = (key("large-copies/from"), key("large-copies/to"));
    for length in [subject.large_bytes, subject.large_bytes + 1] {
        bucket.put(&from, content(length, length)).await.unwrap();
        bucket.put(&to, Bytes::from_static(b"in the way")).await.unwrap();
        bucket.copy(&from, &to).await.unwrap();
        assert!(read(bucket, &to).await == content(length, length), "{length} bytes");
    }
    bucket.remove(&[from, to]).await.unwrap();
    Verdict::Passed
}
