//! What the S3 driver asks for and what it makes of answers, with a server that says what a test wants it to: for what no
//! server at hand does.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use berth_storage::bucket::{Assembly, Bucket, Listing, PartTag, Start};
use berth_storage::{Key, S3, S3Credentials, S3Options, StoreError};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Asked {
    what: String,
    headers: HeaderMap,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answer = Response<Full<Bytes>>;

/// The server, and what it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// A server whose answers are a function of a request and of how many came before it.
    async fn start(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, script) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(script));
        let server = Server { address, asked: asked.clone() };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (asked, script) = (asked.clone(), script.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (asked, script) = (asked.clone(), script.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
                        let what = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
                        let mut asked = asked.lock().unwrap();
                        let answer = script(&what, asked.len());
                        asked.push(Asked { what, headers: head.headers, body });
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(async move {
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    async fn bucket(&self, change: impl FnOnce(&mut S3Options)) -> S3 {
        let mut options = S3Options {
            bucket: "images".to_owned(),
            endpoint: Some(self.address.clone()),
            credentials: S3Credentials::Keys {
                access_key: "AKIDEXAMPLE0".to_owned(),
                secret_key: "the-secret".to_owned(),
                session_token: Some("the-token".to_owned()),
            },
            ..S3Options::default()
        };
        change(&mut options);
        S3::open(options).await.unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::from(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    answer(status, &[], format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

/// A store that has everything and says yes to everything.
fn willing(what: &str) -> Answer {
    let copied = "<CopyObjectResult><ETag>\"tag\"</ETag></CopyObjectResult>";
    match what {
        what if what.starts_with("HEAD") => answer(200, &[("content-length", "100")], ""),
        what if what.contains("?uploads") => {
            answer(200, &[], "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>")
        }
        what if what.contains("x-id=UploadPartCopy") => answer(200, &[], copied.replace("Object", "Part")),
        what if what.contains("x-id=CopyObject") => answer(200, &[], copied),
        what if what.contains("?delete") => answer(200, &[], "<DeleteResult></DeleteResult>"),
        _ => answer(200, &[("etag", "\"tag\"")], ""),
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn content() -> Bytes {
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
async fn a_failure_in_an_answer_that_began_well_is_one() {
    let server = Server::start(|what, _| match what {
        what if what.starts_with("HEAD") => willing(what),
        _ => refusal(200, "InternalError", "Try again."),
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let (to, assembly, parts) = (key("a"), Assembly("id".to_owned()), vec![PartTag("tag".to_owned())]);
    let completed = bucket.complete_parts(&to, &assembly, parts, 7).await;
    for outcome in [completed, bucket.copy(&key("b"), &to).await] {
        let error = outcome.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("Try again."), "{error:?}");
    }
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
async fn a_listing_asks_for_names_that_survive() {
    let server = Server::start(|_, _| {
        answer(
            200,
            &[],
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>1/+=</NextContinuationToken><Contents><Key>a/b+c%2Bd</Key><Size>3</Size>\
             <LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>",
        )
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let below = key("a");
    let listing = |start| Listing { below: &below, one_level: true, start, limit: 5000 };
    let listed = bucket.list(listing(Start::Behind("a b"))).await.unwrap();
    assert_eq!(listed.objects[0].0, "a/b c+d");
    let next = listed.next.unwrap();
    bucket.list(listing(Start::Page(&next))).await.unwrap();
    let asked = server.asked();
    let query = |asked: &Asked| asked.what.split_once('?').unwrap().1.to_owned();
    assert_eq!(
        query(&asked[0]),
        "list-type=2&delimiter=%2F&encoding-type=url&max-keys=1000&prefix=a%2F&start-after=a%2Fa%20b"
    );
    assert_eq!(
        query(&asked[1]),
        "list-type=2&delimiter=%2F&encoding-type=url&max-keys=1000&prefix=a%2F&continuation-token=1%2F%2B%3D"
    );
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

#[tokio::test]
async fn a_page_of_uploads_that_leads_to_itself_is_the_last() {
    let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker>\
        <NextUploadIdMarker>1</NextUploadIdMarker></ListMultipartUploadsResult>";
    let server = Server::start(move |_, _| answer(200, &[], page)).await;
    let bucket = server.bucket(|_| ()).await;
    let below = key("docker");
    let looked = bucket.remove_leftovers(&below, std::time::SystemTime::now());
    let looked = tokio::time::timeout(std::time::Duration::from_secs(60), looked).await;
    assert_eq!(looked.expect("it comes to an end").unwrap(), 0);
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|one| one.what.contains("key-marker=a")).count(), 1, "{asked:?}");
}
