//! What the S3 driver asks for and what it makes of answers, with a server that says what a test wants it to: for what no
//! server at hand does.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod completions;
mod listings;
mod probes;
mod server;

use std::sync::{Arc, Mutex};

use berth_storage::bucket::{Assembly, Bucket};
use berth_storage::{Key, StoreError};
use bytes::Bytes;
use futures::TryStreamExt;

use server::{Answer, Asked, Server, answer, refusal, willing};

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub(crate) fn content() -> Bytes {
    Bytes::from_static(b"content")
}

#[tokio::test]
async fn every_object_is_written_as_the_settings_say() {
    let server = Server::start(|what, _| willing(what)).await;
    let bucket = server
        .bucket(|options| {
            options.encrypt = true;
            options.key_id = Some("alias/berth".to_owned());
            options.storage_class = "INTELLIGENT_TIERING".to_owned();
            options.object_acl = "bucket-owner-full-control".to_owned();
            options.user_agent = Some("registry of example.com".to_owned());
            options.region = Some("eu-west-1".to_owned());
        })
        .await;
    bucket.put(&key("a"), content()).await.unwrap();
    bucket.copy(&key("a"), &key("b")).await.unwrap();
    bucket.begin_parts(&key("a")).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|asked| !asked.what.starts_with("HEAD")).count(), 3);
    for asked in &asked {
        assert!(asked.header("user-agent").unwrap().ends_with(" registry of example.com"), "{asked:?}");
        assert!(asked.header("authorization").unwrap().contains("/eu-west-1/s3/aws4_request"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), Some("the-token"));
    }
    for asked in asked.iter().filter(|asked| !asked.what.starts_with("HEAD")) {
        assert_eq!(asked.header("x-amz-server-side-encryption"), Some("aws:kms"), "{asked:?}");
        assert_eq!(asked.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("alias/berth"));
        assert_eq!(asked.header("x-amz-storage-class"), Some("INTELLIGENT_TIERING"));
        assert_eq!(asked.header("x-amz-acl"), Some("bucket-owner-full-control"));
        assert_eq!(asked.header("content-type"), Some("application/octet-stream"));
    }
}

#[tokio::test]
async fn nothing_is_sent_that_was_not_asked_for() {
    let server = Server::start(|what, _| willing(what)).await;
    let bucket = server.bucket(|options| options.storage_class = "NONE".to_owned()).await;
    bucket.put(&key("a"), content()).await.unwrap();
    let assembly = Assembly("id".to_owned());
    bucket.put_part(&key("a"), &assembly, 1, content()).await.unwrap();
    bucket.begin_parts(&key("a")).await.unwrap();
    for asked in server.asked() {
        for name in asked.headers.keys().map(http::HeaderName::as_str) {
            let unwanted = ["checksum", "encryption", "acl", "storage-class", "trailer", "expect", "content-encoding"];
            assert!(!unwanted.iter().any(|unwanted| name.contains(unwanted)), "{name}: {asked:?}");
        }
        assert!(asked.body.is_empty() || asked.body == "content", "the body is sent as it is: {asked:?}");
    }
}

#[tokio::test]
async fn a_copy_names_its_source_so_that_every_name_survives() {
    let server = Server::start(|what, _| willing(what)).await;
    let bucket = server.bucket(|options| options.root_directory = "of us".to_owned()).await;
    bucket.copy(&key("a+b %/ä"), &key("c")).await.unwrap();
    let copy = server.asked().pop().unwrap();
    assert_eq!(copy.header("x-amz-copy-source"), Some("images/of%20us/a%2Bb%20%25/%C3%A4"));
}

async fn error_of(answer: impl Fn() -> Answer + Send + Sync + 'static) -> StoreError {
    let server = Server::start(move |_, _| answer()).await;
    let bucket = server.bucket(|_| ()).await;
    let error = bucket.get(&key("a"), None).await.map(drop).unwrap_err();
    assert_eq!(server.asked().len(), 1, "{error}");
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(!shown.contains("the-secret") && !shown.contains("the-token"), "{shown}");
    }
    error
}

#[tokio::test]
async fn an_error_says_what_the_server_says_and_what_to_do() {
    async fn check(answer: impl Fn() -> Answer + Send + Sync + 'static, expected: &str) {
        assert_eq!(error_of(answer).await.to_string(), format!("a: cannot open: the server says: {expected}"));
    }
    check(|| refusal(403, "AccessDenied", "No."), "No. (AccessDenied, status 403)").await;
    check(|| refusal(404, "NoSuchBucket", "Nothing."), "Nothing. (NoSuchBucket, status 404)").await;
    check(
        || refusal(403, "InvalidAccessKeyId", "Unknown."),
        "Unknown.; the access key is AKID…E0 (InvalidAccessKeyId, status 403)",
    )
    .await;
    let elsewhere = || {
        let mut answer = refusal(301, "PermanentRedirect", "Elsewhere.");
        answer.headers_mut().insert("x-amz-bucket-region", "eu-west-1".parse().unwrap());
        answer
    };
    check(elsewhere, "Elsewhere.; the bucket is in the region eu-west-1 (PermanentRedirect, status 301)").await;
    let skewed = || {
        let mut answer = refusal(403, "RequestTimeTooSkewed", "Too skewed.");
        answer.headers_mut().insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        answer
    };
    let error = error_of(skewed).await.to_string();
    assert!(error.contains("Too skewed.; look at the clock of this machine: it is "), "{error}");
    assert!(error.ends_with(" hours ahead of the store's (RequestTimeTooSkewed, status 403)"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_the_stores_is_no_missing_object() {
    // What some proxy says.
    let error = error_of(|| answer(502, &[], "<html><body>nginx</body></html>")).await;
    assert!(matches!(&error, StoreError::Service { refusal, .. } if refusal.status == 502), "{error:?}");
    assert!(error.is_transient());
    // Of the store's own answer, half may have come.
    for document in ["<html><body>nginx</body></html>", "<?xml version=\"1.0\"?><Error><Code>NoSuch"] {
        let error = error_of(move || answer(404, &[], document)).await;
        assert!(matches!(error, StoreError::Unreachable { .. }), "{document}: {error:?}");
    }
    // However long it says it.
    let error = error_of(|| answer(503, &[], "x".repeat(1 << 20))).await;
    assert!(error.is_transient(), "{error:?}");
    let error = error_of(|| answer(200, &[("content-range", "bytes 5-9/10")], "12345")).await;
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_creation_that_met_another_looks_and_tries_again() {
    // The store keeps to the condition: so says the probe.
    fn probed(what: &str) -> Option<Answer> {
        let is_second = |what: &str| what.starts_with("PUT") && what.contains("/berth/v1/probe/");
        is_second(what).then(|| refusal(412, "PreconditionFailed", "There is one."))
    }
    let first = Mutex::new(true);
    let server = Server::start(move |what, _| {
        if what.starts_with("HEAD") && (what.contains("missing") || what.contains("probe")) {
            return answer(404, &[], "");
        }
        if what.starts_with("PUT") && what.contains("probe") && !what.contains("partNumber") {
            return if std::mem::take(&mut *first.lock().unwrap()) { willing(what) } else { probed(what).unwrap() };
        }
        if what.starts_with("PUT /images/contended") {
            return refusal(409, "ConditionalRequestConflict", "Another is at it.");
        }
        willing(what)
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let abilities = bucket.probe().await.unwrap();
    assert!(abilities.creates_atomically && abilities.removes_many && abilities.copies_parts, "{abilities:?}");
    server.asked();
    // Nobody has created it, and somebody is always faster: a bounded number of tries.
    let error = bucket.create(&key("contended-missing"), content()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Service { refusal, .. } if refusal.status == 409), "{error:?}");
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.what[..3].to_owned()).collect();
    assert_eq!(asked, ["PUT", "HEA", "PUT", "HEA", "PUT", "HEA", "PUT", "HEA", "PUT"]);
    // Somebody has.
    let error = bucket.create(&key("contended"), content()).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_store_that_can_do_the_least_is_asked_for_no_more() {
    let server = Server::start(|what, _| match what {
        what if what.contains("?delete") => refusal(400, "MissingContentMD5", "No."),
        what if what.contains("x-id=UploadPartCopy") => refusal(501, "NotImplemented", "No."),
        what if what.starts_with("HEAD") && what.contains("missing") => answer(404, &[], ""),
        what => willing(what),
    })
    .await;
    let bucket = server.bucket(|options| options.copy_threshold_bytes = 10).await;
    let abilities = bucket.probe().await.unwrap();
    assert!(!abilities.creates_atomically && !abilities.removes_many && !abilities.copies_parts, "{abilities:?}");
    let asked = server.asked();
    let written: Vec<&str> = asked
        .iter()
        .filter(|asked| asked.what.contains("x-id=PutObject"))
        .map(|asked| asked.what.split('?').next().unwrap())
        .collect();
    for written in written {
        let removed = format!("DELETE {}", written.split_once(' ').unwrap().1);
        assert!(asked.iter().any(|asked| asked.what.starts_with(&removed)), "{written} is left");
    }
    assert_eq!(bucket.probe().await.unwrap(), abilities);
    assert_eq!(server.asked().len(), 0, "what is known is not asked for again");

    bucket.create(&key("missing"), content()).await.unwrap();
    assert!(matches!(bucket.create(&key("there"), content()).await, Err(StoreError::AlreadyExists { .. })));
    bucket.remove(&[key("a"), key("b")]).await.unwrap();
    bucket.copy(&key("a"), &key("b")).await.unwrap();
    let asked: Vec<String> =
        server.asked().iter().map(|asked| asked.what.split('/').next().unwrap().to_owned()).collect();
    assert_eq!(asked.join(""), "HEAD PUT HEAD DELETE DELETE HEAD PUT ");
}

#[tokio::test]
async fn a_store_that_may_only_be_read_is_not_written_and_asked_again_later() {
    let is_open = Arc::new(Mutex::new(false));
    let writable = is_open.clone();
    let server = Server::start(move |what, _| match what {
        what if what.starts_with("HEAD") && what.contains("probe") => answer(404, &[], ""),
        what if *writable.lock().unwrap() => willing(what),
        _ => refusal(403, "AccessDenied", "You may only read."),
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let error = bucket.probe().await.unwrap_err().to_string();
    assert!(error.contains("You may only read."), "{error}");
    assert!(!bucket.abilities().removes_many);
    *is_open.lock().unwrap() = true;
    let abilities = bucket.probe().await.unwrap();
    assert!(!abilities.creates_atomically && abilities.removes_many && abilities.copies_parts, "{abilities:?}");
}

#[tokio::test]
async fn a_removal_that_fails_for_some_names_them() {
    let errors = |code: &'static str| {
        move |what: &str, _: usize| match what {
            what if what.contains("?delete") => answer(
                200,
                &[],
                format!(
                    "<DeleteResult><Error><Key>root/a</Key><Code>NoSuchKey</Code></Error>\
                     <Error><Key>root/b</Key><Code>{code}</Code><Message>No.</Message></Error></DeleteResult>"
                ),
            ),
            what if what.starts_with("HEAD") && what.contains("probe") => answer(404, &[], ""),
            what => willing(what),
        }
    };
    // A probe is refused as well: then each is removed by itself.
    let server = Server::start(errors("AccessDenied")).await;
    let bucket = server.bucket(|options| options.root_directory = "root".to_owned()).await;
    assert!(!bucket.probe().await.unwrap().removes_many);

    let probing = Arc::new(Mutex::new(true));
    let (is_probing, errors) = (probing.clone(), errors("InternalError"));
    let server = Server::start(move |what, count| {
        if *is_probing.lock().unwrap() && what.contains("?delete") { willing(what) } else { errors(what, count) }
    })
    .await;
    let bucket = server.bucket(|options| options.root_directory = "root".to_owned()).await;
    assert!(bucket.probe().await.unwrap().removes_many);
    *probing.lock().unwrap() = false;
    server.asked();
    let error = bucket.remove(&[key("a"), key("b")]).await.unwrap_err();
    assert_eq!(error.to_string(), "b: cannot remove: the server says: No. (InternalError, status 500)");
    assert!(error.is_transient());
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].body.contains("<Key>root/a</Key>") && asked[0].body.contains("<Quiet>true</Quiet>"), "{asked:?}");
}

#[tokio::test]
async fn a_large_copy_that_fails_gives_up_its_parts() {
    let server = Server::start(|what, _| match what {
        what if what.starts_with("HEAD") && !what.contains("probe") => {
            answer(200, &[("content-length", &(20_u64 << 20).to_string())], "")
        }
        what if what.starts_with("HEAD") => answer(404, &[], ""),
        what if what.contains("partNumber=3&") && !what.contains("probe") => refusal(403, "AccessDenied", "No."),
        what => willing(what),
    })
    .await;
    let bucket =
        server.bucket(|options| (options.copy_threshold_bytes, options.copy_chunk_bytes) = (5 << 20, 5 << 20)).await;
    bucket.probe().await.unwrap();
    server.asked();
    let error = bucket.copy(&key("a"), &key("b")).await.unwrap_err();
    assert!(error.to_string().contains("No."), "{error}");
    // Nobody waits for it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut asked = Vec::new();
    while !asked
        .iter()
        .any(|asked: &Asked| asked.what.starts_with("DELETE /images/b?") && asked.what.contains("uploadId=id"))
    {
        assert!(std::time::Instant::now() < deadline, "{asked:?}");
        asked.extend(server.asked());
        tokio::task::yield_now().await;
    }
    let ranges: Vec<&str> = asked.iter().filter_map(|asked| asked.header("x-amz-copy-source-range")).collect();
    assert!(ranges.contains(&"bytes=0-5242879"), "{ranges:?}");
    assert!(!asked.iter().any(|asked| asked.what.starts_with("POST") && asked.what.contains("uploadId")));
}

#[tokio::test]
async fn an_object_is_read_as_it_arrives() {
    let server =
        Server::start(|_, _| answer(200, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], "12345")).await;
    let bucket = server.bucket(|options| options.log_requests = true).await;
    let object = bucket.get(&key("a"), None).await.unwrap();
    let modified = object.stat.modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((object.stat.size, modified.as_secs()), (5, 784_111_777));
    assert_eq!(object.body.try_collect::<Vec<Bytes>>().await.unwrap().concat(), b"12345");
}
