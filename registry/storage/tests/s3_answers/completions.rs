//! Objects that are put together or copied by the store, which may take it longer than it seems.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_storage::StoreError;
use berth_storage::bucket::{Assembly, Bucket, PartTag};
use berth_storage::layers::{RetryOptions, StackOptions, stack};

use crate::server::{Server, answer, refusal, willing};
use crate::{content, key};

#[tokio::test]
async fn a_failure_in_an_answer_that_began_well_is_one() {
    let server = Server::start(|what, _| match what {
        what if what.starts_with("HEAD") => willing(what),
        _ => refusal(200, "InternalError", "Try again."),
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let (from, to, assembly) = (key("b"), key("a"), Assembly("id".to_owned()));
    let part = bucket.copy_part(&to, &assembly, 1, &from, 7, None).await.map(drop);
    let completed = bucket.complete_parts(&to, &assembly, vec![PartTag("tag".to_owned())], 7).await;
    for outcome in [part, completed, bucket.copy(&from, &to).await] {
        let error = outcome.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("Try again."), "{error:?}");
    }
}

/// A bucket with everything around it, on a server that is asked twice to put an object together or to copy one, since
/// somebody between has lost its patience the first time; and that says at once that it is done, while the object is there
/// only for the look of this number, if ever.
async fn hasty(shows_at: Option<usize>, settling: Duration) -> (Server, Arc<dyn Bucket>) {
    let (made, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let next = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed) + 1;
    let server = Server::start(move |what, _| {
        let is_made = what.starts_with("POST") || what.contains("x-id=CopyObject");
        match what {
            what if what.starts_with("HEAD") && shows_at.is_some_and(|at| next(&looks) >= at) => {
                answer(200, &[("content-length", "7")], "")
            }
            what if what.starts_with("HEAD") => answer(404, &[], ""),
            _ if is_made && next(&made) == 1 => answer(504, &[], "a balancer's words"),
            what => willing(what),
        }
    })
    .await;
    let retry = RetryOptions { first_wait: Duration::from_millis(1), settling, ..RetryOptions::default() };
    let options = StackOptions { retry, ..StackOptions::default() };
    let bucket = stack(Arc::new(server.bucket(|_| ()).await), &options, Arc::new(()));
    (server, bucket)
}

async fn complete(bucket: &dyn Bucket) -> Result<(), StoreError> {
    bucket.complete_parts(&key("a"), &Assembly("id".to_owned()), vec![PartTag("tag".to_owned())], 7).await
}

fn methods(server: &Server) -> Vec<String> {
    server.asked().iter().map(|asked| asked.what.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_object_that_is_still_being_made_is_waited_for() {
    let (server, bucket) = hasty(Some(3), Duration::from_secs(60)).await;
    complete(bucket.as_ref()).await.unwrap();
    assert_eq!(methods(&server), ["POST", "POST", "HEAD", "HEAD", "HEAD"]);
    let (server, bucket) = hasty(Some(2), Duration::from_secs(60)).await;
    bucket.copy_sized(&key("b"), &key("a"), 7).await.unwrap();
    assert_eq!(methods(&server), ["PUT", "PUT", "HEAD", "HEAD"]);
}

#[tokio::test]
async fn an_object_that_never_shows_was_not_made() {
    let (_server, completing) = hasty(None, Duration::from_millis(20)).await;
    let (_server, copying) = hasty(None, Duration::from_millis(20)).await;
    for outcome in [complete(completing.as_ref()).await, copying.copy_sized(&key("b"), &key("a"), 7).await] {
        let error = outcome.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(error.to_string().ends_with("the store says that it has, but the object is not there"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_at_the_first_try_costs_no_look() {
    let server = Server::start(|what, _| willing(what)).await;
    let bucket = stack(Arc::new(server.bucket(|_| ()).await), &StackOptions::default(), Arc::new(()));
    complete(bucket.as_ref()).await.unwrap();
    bucket.put(&key("a"), content()).await.unwrap();
    assert_eq!(methods(&server), ["POST", "PUT"]);
}

/// The store says 200 before it has copied anything.
#[tokio::test]
async fn a_copy_of_which_nothing_is_said_is_not_known() {
    for cut in ["", " \n", "<CopyObjectResult><ETag>\"tag\"</ETag>"] {
        let server = Server::start(move |what, _| match what {
            what if what.contains("x-id=CopyObject") => answer(200, &[], cut),
            what => willing(what),
        })
        .await;
        let error = server.bucket(|_| ()).await.copy_sized(&key("b"), &key("a"), 7).await.unwrap_err();
        assert!(error.is_unknown(), "{cut:?}: {error}");
    }
}
