//! What only the driver of Google Cloud Storage has: parts that are objects, what is left of them, and the uploads that CNCF
//! Distribution keeps in sessions of the server. Run by `make stores`, on fake-gcs-server.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, SystemTime};

use berth_storage::bucket::{Bucket, Listing, PartTag, Start};
use berth_storage::{Gcs, GcsOptions, Key, StoreError};
use berth_stores::{FakeGcs, Programs};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

const SESSION: &str = "application/x-docker-upload-session";
const UNIT: usize = 256 << 10;

async fn server() -> FakeGcs {
    let server = FakeGcs::start(&Programs::from_env()).await.unwrap();
    server.create_bucket("images").await.unwrap();
    server
}

async fn open(server: &FakeGcs, bucket: &str) -> Gcs {
    let endpoint = Some(server.endpoint.clone());
    Gcs::open(GcsOptions { endpoint, root_directory: "r".to_owned(), ..GcsOptions::new(bucket) }).await.unwrap()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn content(seed: usize, length: usize) -> Bytes {
    (0..length).map(|n| ((n + seed * 7) % 251) as u8).collect::<Vec<_>>().into()
}

async fn read(bucket: &Gcs, at: &Key) -> Bytes {
    bucket.get(at, None).await.unwrap().body.try_collect::<Vec<Bytes>>().await.unwrap().concat().into()
}

/// The names of everything below a key.
async fn names(bucket: &Gcs, below: &str) -> Vec<String> {
    let below = key(below);
    let listing = Listing { below: &below, one_level: false, start: Start::First, limit: 1000 };
    bucket.list(listing).await.unwrap().objects.into_iter().map(|(name, _)| name).collect()
}

/// Sends what the driver does not.
async fn send(request: http::request::Builder, body: Bytes) -> Response<Bytes> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request.body(body.into()).unwrap()).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
#[ignore = "needs the real server: run `make stores`"]
async fn a_thousand_parts_and_another_object_come_together() {
    let server = server().await;
    let bucket = open(&server, "images").await;
    let to = key("blobs/large");
    for count in [40, 1030] {
        let other = key("uploads/segment");
        bucket.put(&other, content(0, 999)).await.unwrap();
        let assembly = bucket.begin_parts(&to).await.unwrap();
        let puts = (1..=count).map(|number| bucket.put_part(&to, &assembly, number, content(number, number)));
        let mut tags: Vec<PartTag> = stream::iter(puts.collect::<Vec<_>>()).buffered(8).try_collect().await.unwrap();
        tags.insert(1, bucket.copy_part(&to, &assembly, count + 1, &other, 999, None).await.unwrap());
        let mut expected: Vec<Bytes> = (1..=count).map(|number| content(number, number)).collect();
        expected.insert(1, content(0, 999));
        let expected = expected.concat();
        let size = expected.len() as u64;
        let error = bucket.complete_parts(&to, &assembly, tags.clone(), size + 1).await.unwrap_err();
        assert!(error.to_string().contains(&format!("the parts have {size} bytes, not {}", size + 1)), "{error}");
        bucket.complete_parts(&to, &assembly, tags.clone(), size).await.unwrap();
        assert!(read(&bucket, &to).await == expected);
        assert!(names(&bucket, "berth/v1/parts").await.is_empty());
        // Once more, with nothing to make it of.
        bucket.delete(&other).await.unwrap();
        bucket.complete_parts(&to, &assembly, tags.clone(), size).await.unwrap();
        // Another object of this length is not what the parts have become.
        bucket.put(&to, expected.into()).await.unwrap();
        bucket.complete_parts(&to, &assembly, tags, size).await.unwrap_err();
    }
}

#[tokio::test]
#[ignore = "needs the real server: run `make stores`"]
async fn an_object_that_has_changed_is_no_part() {
    let server = server().await;
    let bucket = open(&server, "images").await;
    let (to, other) = (key("blobs/changed"), key("uploads/changing"));
    bucket.put(&other, content(1, 10)).await.unwrap();
    let assembly = bucket.begin_parts(&to).await.unwrap();
    let tag = bucket.copy_part(&to, &assembly, 1, &other, 10, None).await.unwrap();
    bucket.put(&other, content(1, 11)).await.unwrap();
    let error = bucket.complete_parts(&to, &assembly, vec![tag], 10).await.unwrap_err();
    assert!(error.to_string().contains("the parts have become 11 bytes, not 10"), "{error}");
    assert!(bucket.head(&to).await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "needs the real server: run `make stores`"]
async fn leftovers_are_found_by_their_age() {
    let server = server().await;
    let bucket = open(&server, "images").await;
    let to = key("blobs/never");
    let begin = async |parts: usize| {
        let assembly = bucket.begin_parts(&to).await.unwrap();
        for number in 1..=parts {
            bucket.put_part(&to, &assembly, number, content(1, 10)).await.unwrap();
        }
        assembly
    };
    let (first, second) = (begin(3).await, begin(2).await);
    let ago = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(bucket.remove_leftovers(&to, ago).await.unwrap(), 0);
    bucket.abort_parts(&to, &first).await.unwrap();
    assert_eq!(names(&bucket, "berth/v1/parts").await.len(), 2);
    let later = SystemTime::now() + Duration::from_secs(3600);
    assert_eq!(bucket.remove_leftovers(&to, later).await.unwrap(), 2);
    assert!(names(&bucket, "berth/v1/parts").await.is_empty());
    bucket.abort_parts(&to, &second).await.unwrap();
    bucket.probe().await.unwrap();
    assert!(bucket.abilities().creates_atomically);
    assert!(names(&bucket, "berth").await.is_empty(), "a probe leaves nothing");
}

#[tokio::test]
#[ignore = "needs the real server: run `make stores`"]
async fn an_upload_of_distribution_is_gone_on_with() {
    let server = server().await;
    let bucket = open(&server, "images").await;
    let upload =
        |name: &str| format!("{}/upload/storage/v1/b/images/o?{name}&name=r%2F{}", server.endpoint, "up%2Fdata");
    let at = key("up/data");
    // What it keeps: whole units in a session, and the rest in an object that names it.
    let leave = async |session: &str, offset: usize, rest: Bytes| {
        let request = Request::post(upload("uploadType=media")).header("content-type", SESSION);
        let request =
            request.header("x-goog-meta-Session-URI", session).header("x-goog-meta-Offset", offset.to_string());
        assert_eq!(send(request, rest).await.status(), 200);
        assert!(bucket.head(&at).await.unwrap_err().is_not_found());
        assert!(bucket.get(&at, None).await.err().unwrap().is_not_found());
        assert!(names(&bucket, "up").await.is_empty());
    };
    let begin = async || {
        let answer =
            send(Request::post(upload("uploadType=resumable")).header("x-upload-content-type", "x/y"), Bytes::new());
        answer.await.headers()["location"].to_str().unwrap().to_owned()
    };

    assert_eq!(bucket.adopt_parts(&at).await.unwrap(), None, "nothing was begun");
    for rest in [1000, 0] {
        let session = begin().await;
        let range = format!("bytes 0-{}/*", 2 * UNIT - 1);
        assert_eq!(
            send(Request::put(&session).header("content-range", range), content(1, 2 * UNIT)).await.status(),
            308
        );
        leave(&session, 2 * UNIT, content(2, rest)).await;
        let whole = [content(1, 2 * UNIT), content(2, rest)].concat();
        assert_eq!(bucket.adopt_parts(&at).await.unwrap().unwrap().size, whole.len() as u64);
        assert!(read(&bucket, &at).await == whole);
        assert_eq!(bucket.adopt_parts(&at).await.unwrap(), None, "it is an object now");
        assert_eq!(names(&bucket, "up").await, ["up/data"]);
        // The session has ended: what names it is an upload that has gone.
        leave(&session, 2 * UNIT, content(2, 5)).await;
        assert_eq!(bucket.adopt_parts(&at).await.unwrap(), None);
    }
    // Less than a unit has no session.
    leave("", 0, content(3, 77)).await;
    assert_eq!(bucket.adopt_parts(&at).await.unwrap().unwrap().size, 77);
    assert!(read(&bucket, &at).await == content(3, 77));
}

#[tokio::test]
#[ignore = "needs the real server: run `make stores`"]
async fn a_bucket_that_is_not_there_is_not_an_object_that_is_not() {
    let server = server().await;
    let bucket = open(&server, "no-such-bucket").await;
    let at = key("k");
    let listing = Listing { below: &at, one_level: true, start: Start::First, limit: 10 };
    for outcome in [
        bucket.check().await,
        bucket.put(&at, content(1, 1)).await,
        bucket.create(&at, content(1, 1)).await,
        bucket.list(listing).await.map(drop),
        bucket.probe().await,
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::Service { refusal, .. } if refusal.status == 404), "{error}");
    }
}
