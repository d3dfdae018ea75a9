//! A store that is busy, breaks off or is cut off, by way of a proxy that plays it.

use std::sync::Arc;

use berth_storage::bucket::{Bucket, Listing, Start};
use berth_storage::{Key, StoreError};
use berth_stores::{Fault, Faults};
use bytes::Bytes;
use futures::TryStreamExt;

use super::{content, put_all, read};
use crate::subject::{Subject, Through, Verdict, key};

impl Subject {
    async fn through(&self) -> Result<&Through, Verdict> {
        let through = self.through.as_ref().map_err(|reason| Verdict::Skipped((*reason).to_owned()))?;
        // Whatever is only asked for once, a token for instance, has been asked for.
        through.proxy.set_faults(Faults::none());
        through.bucket.check().await.unwrap();
        through.proxy.forget_counts();
        Ok(through)
    }
}

async fn list(bucket: &dyn Bucket, below: &Key) -> Result<usize, StoreError> {
    let listing = Listing { below, one_level: false, start: Start::First, limit: 1000 };
    Ok(bucket.list(listing).await?.objects.len())
}

async fn get(bucket: &dyn Bucket, at: &Key) -> Result<usize, StoreError> {
    Ok(bucket.get(at, None).await?.body.try_collect::<Vec<Bytes>>().await?.concat().len())
}

pub(super) async fn requests_are_counted(subject: Arc<Subject>) -> Verdict {
    let Through { bucket, proxy } = match subject.through().await {
        Ok(through) => through,
        Err(skipped) => return skipped,
    };
    let (at, bucket) = (key("counted/object"), bucket.as_ref());
    let asked = |what: &str| {
        let counts = proxy.counts();
        assert_eq!(counts.total(), 1, "{what} took: {counts}");
        proxy.forget_counts();
    };
    bucket.put(&at, content(1, 100)).await.unwrap();
    asked("put");
    bucket.head(&at).await.unwrap();
    asked("head");
    get(bucket, &at).await.unwrap();
    asked("get");
    list(bucket, &key("counted")).await.unwrap();
    asked("list");
    bucket.check().await.unwrap();
    asked("check");
    if bucket.abilities().creates_atomically {
        bucket.create(&key("counted/created"), content(1, 100)).await.unwrap();
        asked("create");
    }
    Verdict::Passed
}

pub(super) async fn many_go_with_one_request(subject: Arc<Subject>) -> Verdict {
    let Through { bucket, proxy } = match subject.through().await {
        Ok(through) => through,
        Err(skipped) => return skipped,
    };
    if !bucket.abilities().removes_many {
        return Verdict::Skipped("the store removes one at a time, and its driver says so".to_owned());
    }
    let keys: Vec<Key> = (0..5).map(|n| key(&format!("counted-many/{n}"))).collect();
    put_all(bucket.as_ref(), &keys).await;
    proxy.forget_counts();
    bucket.remove(&keys).await.unwrap();
    let counts = proxy.counts();
    assert_eq!(counts.total(), 1, "remove took: {counts}");
    Verdict::Passed
}

pub(super) async fn a_busy_store_is_asked_once(subject: Arc<Subject>) -> Verdict {
    let Through { bucket, proxy } = match subject.through().await {
        Ok(through) => through,
        Err(skipped) => return skipped,
    };
    let (at, bucket) = (key("busy/object"), bucket.as_ref());
    bucket.put(&at, content(2, 100)).await.unwrap();
    for fault in [Fault::Error, Fault::SlowDown, Fault::Reset, Fault::Lost] {
        for what in ["check", "head", "get", "put", "list", "delete", "begin_parts"] {
            proxy.set_faults(Faults::of_seed(1).share(fault, 1.0));
            proxy.forget_counts();
            let outcome = match what {
                "check" => bucket.check().await,
                "head" => bucket.head(&at).await.map(drop),
                "get" => get(bucket, &at).await.map(drop),
                "put" => bucket.put(&at, content(2, 100)).await,
                "list" => list(bucket, &key("busy")).await.map(drop),
                "delete" => bucket.delete(&at).await,
                _ => bucket.begin_parts(&at).await.map(drop),
            };
            if what == "begin_parts" && outcome.is_ok() && proxy.counts().total() == 0 {
                // There are stores at which nothing is begun.
                continue;
            }
            let error = outcome.expect_err(what);
            assert!(error.is_transient(), "{what} after {fault:?}: {error:?}");
            // Whoever decides whether to try again is not the driver, nor a library under it.
            let counts = proxy.counts();
            assert_eq!(counts.total(), 1, "{what} after {fault:?} took: {counts}");
        }
    }
    proxy.set_faults(Faults::none());
    bucket.put(&at, content(3, 100)).await.unwrap();
    assert!(read(bucket, &at).await == content(3, 100));
    Verdict::Passed
}

pub(super) async fn half_an_answer_is_an_error(subject: Arc<Subject>) -> Verdict {
    let Through { bucket, proxy } = match subject.through().await {
        Ok(through) => through,
        Err(skipped) => return skipped,
    };
    let (at, bucket) = (key("halved/object"), bucket.as_ref());
    let keys: Vec<Key> = (0..30).map(|n| key(&format!("halved/{n}"))).collect();
    put_all(bucket, &keys).await;
    for length in [100, 1_500_000] {
        bucket.put(&at, content(4, length)).await.unwrap();
        proxy.set_faults(Faults::of_seed(1).share(Fault::Truncate, 1.0));
        let error = get(bucket, &at).await.unwrap_err();
        assert!(error.is_transient(), "{length} bytes: {error:?}");
        proxy.set_faults(Faults::none());
    }
    proxy.set_faults(Faults::of_seed(1).share(Fault::Truncate, 1.0));
    let error = list(bucket, &key("halved")).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    proxy.set_faults(Faults::none());
    assert_eq!(list(bucket, &key("halved")).await.unwrap(), 31);
    Verdict::Passed
}

pub(super) async fn an_answer_is_lost_and_asked_for_again(subject: Arc<Subject>) -> Verdict {
    let Through { bucket, proxy } = match subject.through().await {
        Ok(through) => through,
        Err(skipped) => return skipped,
    };
    let (from, to, bucket) = (key("lost/from"), key("lost/to"), bucket.as_ref());
    let part = content(5, bucket.limits().min_part_bytes.max(1000) as usize);
    bucket.put(&from, part.clone()).await.unwrap();
    // The first request is done and not answered, and is sent again.
    let lose = || proxy.set_faults(Faults::of_seed(1).share(Fault::Lost, 1.0).at_most(1));
    lose();
    assert!(bucket.put(&from, part.clone()).await.unwrap_err().is_transient());
    bucket.put(&from, part.clone()).await.unwrap();
    lose();
    assert!(bucket.copy(&from, &to).await.unwrap_err().is_transient());
    bucket.copy(&from, &to).await.unwrap();
    assert!(read(bucket, &to).await == part);
    lose();
    assert!(bucket.remove(&[from.clone(), to.clone()]).await.unwrap_err().is_transient());
    bucket.remove(&[from, to.clone()]).await.unwrap();
    proxy.forget_counts();
    lose();
    match bucket.begin_parts(&to).await {
        Ok(_) => assert_eq!(proxy.counts().total(), 0, "nothing is begun at the store"),
        Err(error) => assert!(error.is_transient()),
    }
    let assembly = bucket.begin_parts(&to).await.unwrap();
    lose();
    assert!(bucket.put_part(&to, &assembly, 1, part.clone()).await.unwrap_err().is_transient());
    let tag = bucket.put_part(&to, &assembly, 1, part.clone()).await.unwrap();
    lose();
    let (tags, size) = (vec![tag], part.len() as u64);
    assert!(bucket.complete_parts(&to, &assembly, tags.clone(), size).await.unwrap_err().is_transient());
    bucket.complete_parts(&to, &assembly, tags, size).await.unwrap();
    assert!(read(bucket, &to).await == part);
    let assembly = bucket.begin_parts(&to).await.unwrap();
    proxy.forget_counts();
    lose();
    match bucket.abort_parts(&to, &assembly).await {
        Ok(()) => assert_eq!(proxy.counts().total(), 0, "a store that forgets parts by itself is not asked"),
        Err(error) => assert!(error.is_transient()),
    }
    proxy.set_faults(Faults::none());
    bucket.abort_parts(&to, &assembly).await.unwrap();
    assert!(read(bucket, &to).await == part);
    Verdict::Passed
}
