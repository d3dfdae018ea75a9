//! The driver against a server that answers as Google's documentation says, where the server of the suite does not: with
//! refusals, copies that take several requests, and signatures by a service.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GcpSigningCredential};
use tokio::net::TcpListener;

use super::credentials::{Identity, Signer};
use super::*;
use crate::Presign;
use crate::bucket::Start;

/// A request that is expected, as method, path and query, and what is answered: status, headers, body.
type Exchange = (&'static str, u16, &'static [(&'static str, &'static str)], &'static str);

/// A server that answers a list of requests, in that order.
struct Script {
    endpoint: String,
    /// What was asked, with the headers and the body.
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
    expected: usize,
}

impl Script {
    async fn start(exchanges: &[Exchange]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Request<Bytes>>>> = Arc::default();
        let (exchanges, log): (Arc<[Exchange]>, _) = (exchanges.into(), asked.clone());
        let expected = exchanges.len();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (exchanges, log) = (exchanges.clone(), log.clone());
                let service = service_fn(move |request| answer(exchanges.clone(), log.clone(), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Script { endpoint, asked, expected }
    }

    /// All that was expected was asked, and every request had this in a header.
    fn had(&self, header: &str) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        assert_eq!(asked.len(), self.expected, "{asked:?}");
        let value = |request: &Request<Bytes>| Some(request.headers().get(header)?.to_str().unwrap().to_owned());
        asked.iter().map(value).collect()
    }
}

async fn answer(
    exchanges: Arc<[Exchange]>,
    log: Arc<Mutex<Vec<Request<Bytes>>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let asked = format!("{} {}", head.method, head.uri);
    let body = body.collect().await.unwrap().to_bytes();
    let at = {
        let mut log = log.lock().unwrap();
        log.push(Request::from_parts(head, body));
        log.len() - 1
    };
    let Some((expected, status, headers, text)) = exchanges.get(at).filter(|exchange| exchange.0 == asked) else {
        let text = format!("{asked} was not expected, but {:?}", exchanges.get(at).map(|exchange| exchange.0));
        return Ok(Response::builder().status(418).body(text.into()).unwrap());
    };
    let response = Response::builder().status(*status);
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    assert_eq!(*expected, asked);
    Ok(response.body(Full::from(*text)).unwrap())
}

async fn bucket(script: &Script) -> Gcs {
    let options = GcsOptions {
        endpoint: Some(script.endpoint.clone()),
        root_directory: "r".to_owned(),
        user_agent: Some("more/1".to_owned()),
        ..GcsOptions::new("b")
    };
    Gcs::open(options).await.unwrap()
}

/// Gives a driver the credentials of a machine.
async fn as_machine(bucket: &mut Gcs, iam: &str) {
    let token = Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: "token".to_owned() }));
    let email = "a@b.example".to_owned();
    let account = StaticCredentialProvider::new(GcpSigningCredential { email, private_key: None });
    let identity = Identity { tokens: Some(token), signer: Signer::Service(Arc::new(account)) };
    bucket.api.credentials.become_for_tests(identity).await;
    bucket.iam = presign::Iam::at(iam);
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

const META: &str = "?fields=name%2Csize%2Cupdated%2Cgeneration%2CcontentType%2Cmetadata";

#[tokio::test]
async fn refusals_are_told_apart() {
    const NO_OBJECT: &str =
        r#"{"error":{"code":404,"message":"No such object: b/r/k","errors":[{"reason":"notFound"}]}}"#;
    const NO_BUCKET: &str =
        r#"{"error":{"code":404,"message":"The specified bucket does not exist.","errors":[{"reason":"notFound"}]}}"#;
    const DENIED: &str = r#"{"error":{"code":403,"message":"a@b has no access.","errors":[{"reason":"forbidden"}]}}"#;
    let get = "GET /storage/v1/b/b/o/r%2Fk?alt=media";
    let put = "POST /upload/storage/v1/b/b/o?uploadType=media&name=r%2Fk&fields=generation";
    let check = "GET /storage/v1/b/b/o?prefix=r%2Fdocker%2Fregistry%2Fv2%2Fblobs&maxResults=1&fields=kind";
    let script = Script::start(&[
        (get, 404, &[], "No such object: b/r/k"),
        (get, 404, &[], "The specified bucket does not exist."),
        ("DELETE /storage/v1/b/b/o/r%2Fk", 404, &[], NO_OBJECT),
        ("DELETE /storage/v1/b/b/o/r%2Fk", 404, &[], NO_BUCKET),
        (put, 404, &[], NO_BUCKET),
        (put, 403, &[], DENIED),
        (check, 404, &[], NO_BUCKET),
        (put, 429, &[], r#"{"error":{"code":429,"message":"slow down","errors":[{"reason":"rateLimitExceeded"}]}}"#),
        (put, 502, &[("content-type", "text/html")], "<html>bad gateway</html>"),
    ])
    .await;
    let bucket = bucket(&script).await;
    let k = key("k");
    let put = async || bucket.put(&k, Bytes::from_static(b"x")).await.unwrap_err();
    let service = |error: StoreError, expected: &str| {
        assert!(matches!(error, StoreError::Service { .. }), "{error}");
        assert_eq!(error.to_string(), expected);
        error
    };
    let no_bucket = |action: &str, key: &str, code: &str| {
        format!("{key}: cannot {action}: the server says: The specified bucket does not exist. ({code}status 404)")
    };
    assert!(bucket.get(&k, None).await.err().unwrap().is_not_found());
    service(bucket.get(&k, None).await.err().unwrap(), &no_bucket("read", "k", ""));
    assert!(bucket.delete(&k).await.unwrap_err().is_not_found());
    service(bucket.remove(std::slice::from_ref(&k)).await.unwrap_err(), &no_bucket("delete", "k", "notFound, "));
    service(put().await, &no_bucket("write", "k", "notFound, "));
    let denied = service(put().await, "k: cannot write: the server says: a@b has no access. (forbidden, status 403)");
    assert!(!denied.is_transient());
    service(bucket.check().await.unwrap_err(), &no_bucket("look into the bucket", "gs://b/r", "notFound, "));
    assert!(put().await.is_transient());
    let broken = service(put().await, "k: cannot write: the server says: status 502");
    assert!(broken.is_transient());
    let agents = script.had("user-agent");
    assert!(
        agents.iter().flatten().all(|agent| agent.starts_with("berth/") && agent.ends_with(" more/1")),
        "{agents:?}"
    );
    assert!(script.had("authorization").iter().all(Option::is_none), "nobody was named");
}

#[tokio::test]
async fn a_copy_goes_on_until_it_is_done() {
    let script = Script::start(&[
        (
            "POST /storage/v1/b/b/o/r%2Ffrom/rewriteTo/b/b/o/r%2Fto?fields=done%2CrewriteToken",
            200,
            &[],
            r#"{"done":false,"rewriteToken":"t=1"}"#,
        ),
        (
            "POST /storage/v1/b/b/o/r%2Ffrom/rewriteTo/b/b/o/r%2Fto?fields=done%2CrewriteToken&rewriteToken=t%3D1",
            200,
            &[],
            r#"{"done":true}"#,
        ),
    ])
    .await;
    bucket(&script).await.copy(&key("from"), &key("to")).await.unwrap();
    assert_eq!(script.had("content-length"), vec![Some("0".to_owned()); 2]);
}

#[tokio::test]
async fn content_is_what_was_asked_for_or_an_error() {
    let get = "GET /storage/v1/b/b/o/r%2Fk?alt=media";
    let look = "GET /storage/v1/b/b/o/r%2Fk?fields=name%2Csize%2Cupdated%2Cgeneration%2CcontentType%2Cmetadata";
    assert!(look.ends_with(META));
    let known = r#"{"name":"r/k","size":"5","updated":"2024-01-02T03:04:05Z"}"#;
    let script = Script::start(&[
        (get, 206, &[("content-range", "bytes 1-2/5"), ("x-goog-generation", "7000000")], "el"),
        (get, 416, &[("content-range", "bytes */5")], "a longer text than five bytes"),
        (get, 416, &[], "The requested range cannot be satisfied."),
        (look, 200, &[], known),
        (look, 200, &[], known),
        (get, 200, &[], "hello"),
        (get, 200, &[], "hello"),
        (get, 206, &[("content-range", "bytes 0-1/5")], "he"),
        (get, 200, &[("content-type", "application/x-docker-upload-session")], "rest"),
        (look, 200, &[], r#"{"name":"r/k","size":"5","contentType":"application/x-docker-upload-session"}"#),
        (look, 200, &[], "no JSON"),
    ])
    .await;
    let bucket = bucket(&script).await;
    let k = key("k");
    let get = async |start, end| bucket.get(&k, Some(ByteRange { start, end })).await;
    let range = |outcome: Result<Object, StoreError>| match outcome {
        Err(StoreError::Range { start, size, .. }) => (start, size),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it has content"),
    };
    let object = get(1, 3).await.unwrap();
    assert_eq!((object.stat.size, object.range), (5, ByteRange { start: 1, end: 3 }));
    assert_eq!(object.stat.modified, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
    assert_eq!(object.body.try_collect::<Vec<Bytes>>().await.unwrap().concat(), b"el");
    assert_eq!(range(get(7, 9).await), (7, 5));
    assert_eq!(range(get(8, u64::MAX).await), (8, 5));
    assert_eq!(range(get(3, 3).await), (3, 5));
    // A server that ignores ranges: right if all was asked for.
    let object = get(0, 9).await.unwrap();
    assert_eq!(object.range, ByteRange { start: 0, end: 5 });
    for (start, end) in [(1, 3), (1, 3)] {
        assert!(matches!(get(start, end).await, Err(StoreError::Unreachable { .. })));
    }
    // An upload that another program has not finished is not there.
    assert!(bucket.get(&k, None).await.err().unwrap().is_not_found());
    assert!(bucket.head(&k).await.unwrap_err().is_not_found());
    assert!(bucket.head(&k).await.unwrap_err().is_transient());
    let asked = script.had("range");
    assert_eq!(asked[0].as_deref(), Some("bytes=1-2"));
    assert_eq!(asked[2].as_deref(), Some("bytes=8-9223372036854775807"));
}

#[tokio::test]
async fn a_machine_signs_by_the_service_where_it_may() {
    const SIGN: &str = "POST /v1/projects/-/serviceAccounts/a%40b.example:signBlob";
    const DENIED: &str =
        r#"{"error":{"code":403,"message":"Permission 'iam.serviceAccounts.signBlob' denied","status":"x"}}"#;
    for (status, text) in [(403, DENIED), (503, ""), (200, "no JSON")] {
        let script =
            Script::start(&[(SIGN, 200, &[], r#"{"keyId":"1","signedBlob":"AAH/"}"#), (SIGN, status, &[], text)]).await;
        let mut bucket = bucket(&script).await;
        let k = key("a b");
        let presign = async |bucket: &Gcs| bucket.presign(&k, Duration::from_secs(60)).await.unwrap();
        assert_eq!(presign(&bucket).await, None, "nobody is named");
        as_machine(&mut bucket, &script.endpoint).await;
        let address = presign(&bucket).await.unwrap();
        assert!(address.starts_with(&format!("{}/b/r/a%20b?X-Goog-Algorithm=GOOG4-RSA-SHA256&", script.endpoint)));
        assert!(address.contains("&X-Goog-Expires=60&") && address.ends_with("&X-Goog-Signature=0001ff"), "{address}");
        for _ in 0..3 {
            assert_eq!(presign(&bucket).await, None, "it has failed, and is not asked at once again");
        }
        assert_eq!(script.had("authorization"), vec![Some("Bearer token".to_owned()); 2]);
    }
}

/// An account of which nobody says the name.
#[derive(Debug)]
struct Nameless(std::sync::atomic::AtomicUsize);

#[async_trait]
impl object_store::CredentialProvider for Nameless {
    type Credential = GcpSigningCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpSigningCredential>> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::task::yield_now().await;
        Err(object_store::Error::Generic { store: "GCS", source: "no metadata server".into() })
    }
}

#[tokio::test]
async fn nobody_waits_for_the_name_of_an_account_and_that_there_is_none_is_remembered() {
    let script = Script::start(&[]).await;
    let mut bucket = bucket(&script).await;
    as_machine(&mut bucket, &script.endpoint).await;
    let account = Arc::new(Nameless(std::sync::atomic::AtomicUsize::new(0)));
    let token = Arc::new(StaticCredentialProvider::new(GcpCredential { bearer: "token".to_owned() }));
    let identity = Identity { tokens: Some(token), signer: Signer::Service(account.clone()) };
    bucket.api.credentials.become_for_tests(identity).await;
    let k = key("k");
    let addresses = future::join_all((0..4).map(|_| bucket.presign(&k, Duration::from_secs(60)))).await;
    assert!(addresses.into_iter().all(|address| address.unwrap().is_none()));
    assert_eq!(bucket.presign(&k, Duration::from_secs(60)).await.unwrap(), None);
    assert_eq!(account.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    script.had("range");
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_used_again() {
    let delete = "DELETE /storage/v1/b/b/o/r%2Fk";
    let script = Script::start(&[
        (
            delete,
            401,
            &[],
            r#"{"error":{"code":401,"message":"Invalid Credentials","errors":[{"reason":"authError"}]}}"#,
        ),
        (delete, 204, &[], ""),
    ])
    .await;
    let mut bucket = bucket(&script).await;
    as_machine(&mut bucket, "").await;
    let error = bucket.delete(&key("k")).await.unwrap_err();
    assert_eq!(error.to_string(), "k: cannot delete: the server says: Invalid Credentials (authError, status 401)");
    // Whom the driver is, is found out anew: here it is nobody.
    bucket.delete(&key("k")).await.unwrap();
    assert_eq!(script.had("authorization"), [Some("Bearer token".to_owned()), None]);
}

#[tokio::test]
async fn an_upload_that_has_gone_is_not_taken_over() {
    let look = "GET /storage/v1/b/b/o/r%2Fk?fields=name%2Csize%2Cupdated%2Cgeneration%2CcontentType%2Cmetadata";
    let upload = r#"{"name":"r/k","size":"2","generation":"9","contentType":"application/x-docker-upload-session",
        "metadata":{"Session-URI":"https://elsewhere.example/upload","Offset":"262144"}}"#;
    let script = Script::start(&[
        (look, 404, &[], ""),
        (look, 200, &[], r#"{"name":"r/k","size":"2","contentType":"application/octet-stream"}"#),
        (look, 200, &[], upload),
        ("GET /storage/v1/b/b/o/r%2Fk?alt=media&generation=9", 200, &[], "ab"),
    ])
    .await;
    let bucket = bucket(&script).await;
    for what in ["nothing is there", "an object is there", "it is elsewhere"] {
        assert_eq!(bucket.adopt_parts(&key("k")).await.unwrap(), None, "{what}");
    }
    script.had("range");
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused() {
    let check = async |options: GcsOptions, expected: &str| {
        let error = Gcs::open(options).await.unwrap_err();
        assert!(matches!(error, StoreError::Settings { .. }));
        assert_eq!(error.to_string(), expected);
    };
    let options = || GcsOptions { endpoint: Some("http://127.0.0.1:9".to_owned()), ..GcsOptions::new("b") };
    check(GcsOptions { bucket: String::new(), ..options() }, "bucket: a name is required").await;
    for chunk_bytes in [0, 1000] {
        check(GcsOptions { chunk_bytes, ..options() }, "chunksize: must be a multiple of 262144 bytes").await;
    }
    let endpoint = Some("storage.example".to_owned());
    check(GcsOptions { endpoint, ..options() }, "endpoint: must begin with https:// or http://").await;
    let bucket = Gcs::open(options()).await.unwrap();
    assert_eq!((bucket.place().as_str(), bucket.driver()), ("gs://b", "gcs"));
    assert!(!bucket.abilities().creates_atomically, "it is not known yet");
    assert!(bucket.probe().await.unwrap_err().is_transient());
    assert!(!bucket.abilities().creates_atomically);
}

#[tokio::test]
async fn an_answer_that_is_no_listing_is_an_error() {
    let list = "GET /storage/v1/b/b/o?prefix=r%2Fd%2F&maxResults=2&delimiter=%2F&fields=nextPageToken%2Cprefixes%2Citems%28name%2Csize%2Cupdated%2CcontentType%29";
    let script =
        Script::start(&[(list, 200, &[], r#"{"items":[{"name":"r/d/x","size":"many"}]}"#), (list, 200, &[], "{}")])
            .await;
    let bucket = bucket(&script).await;
    let below = key("d");
    let listing = Listing { below: &below, one_level: true, start: Start::First, limit: 2 };
    assert!(bucket.list(listing).await.unwrap_err().is_transient());
    assert_eq!(bucket.list(listing).await.unwrap(), Listed::default());
    script.had("range");
}

/// What a part of five bytes and another object of three are put together by.
const COMPOSE: &str = "POST /storage/v1/b/b/o/r%2Fto/compose?fields=name%2Csize%2Cupdated%2Cgeneration%2CcontentType%2Cmetadata&ifGenerationMatch=0";
const ASIDE: &str = "POST /storage/v1/b/b/o/r%2Fberth%2Fv1%2Fparts%2Fid%2Ftogether%2Fwhole/compose?fields=name%2Csize%2Cupdated%2Cgeneration%2CcontentType%2Cmetadata";
const LOOK: &str = "GET /storage/v1/b/b/o/r%2Fto?fields=name%2Csize%2Cupdated%2Cgeneration%2CcontentType%2Cmetadata";
const DELETE_PART: &str = "DELETE /storage/v1/b/b/o/r%2Fberth%2Fv1%2Fparts%2Fid%2F00001";
const DELETE_ASIDE: &str = "DELETE /storage/v1/b/b/o/r%2Fberth%2Fv1%2Fparts%2Fid%2Ftogether%2Fwhole";

async fn complete(script: &Script) -> Result<(), StoreError> {
    let tags = ["part 5 1", "object 3 from"].map(|tag| PartTag(tag.to_owned())).into();
    bucket(script).await.complete_parts(&key("to"), &Assembly("id".to_owned()), tags, 8).await
}

#[tokio::test]
async fn an_object_is_replaced_only_by_what_is_whole() {
    const EXISTS: &str = r#"{"error":{"code":412,"message":"no","errors":[{"reason":"conditionNotMet"}]}}"#;
    const OTHER: &str = r#"{"name":"r/to","size":"8","updated":"2024-01-02T03:04:05Z"}"#;
    let whole = r#"{"name":"x","size":"8","generation":"7"}"#;
    let script = Script::start(&[(COMPOSE, 200, &[], whole), (DELETE_PART, 204, &[], "")]).await;
    complete(&script).await.unwrap();
    script.had("range");
    let body: serde_json::Value = serde_json::from_slice(script.asked.lock().unwrap()[0].body()).unwrap();
    let expected = serde_json::json!({
        "sourceObjects": [{"name": "r/berth/v1/parts/id/00001"}, {"name": "r/from"}],
        "destination": {"contentType": "application/octet-stream", "metadata": {"berth-assembly": "id"}},
    });
    assert_eq!(body, expected);

    let script = Script::start(&[
        (COMPOSE, 412, &[], EXISTS),
        (LOOK, 200, &[], OTHER),
        (ASIDE, 200, &[], whole),
        (
            "POST /storage/v1/b/b/o/r%2Fberth%2Fv1%2Fparts%2Fid%2Ftogether%2Fwhole/rewriteTo/b/b/o/r%2Fto?fields=done%2CrewriteToken",
            200,
            &[],
            r#"{"done":true}"#,
        ),
        (DELETE_ASIDE, 204, &[], ""),
        (DELETE_PART, 204, &[], ""),
    ])
    .await;
    complete(&script).await.unwrap();
    script.had("range");

    let longer = r#"{"name":"x","size":"9","generation":"7"}"#;
    let deletion = format!("{DELETE_ASIDE}?ifGenerationMatch=7");
    let script = Script::start(&[
        (COMPOSE, 412, &[], EXISTS),
        (LOOK, 200, &[], OTHER),
        (ASIDE, 200, &[], longer),
        (deletion.leak(), 204, &[], ""),
    ])
    .await;
    let error = complete(&script).await.unwrap_err();
    assert!(error.to_string().ends_with("the parts have become 9 bytes, not 8"), "{error}");
    script.had("range");
}

#[tokio::test]
async fn what_was_put_together_before_is_done() {
    let done = r#"{"name":"r/to","size":"8","metadata":{"berth-assembly":"id"}}"#;
    for (status, text) in [(412, ""), (404, "Object r/from (generation: 0) not found.")] {
        let script = Script::start(&[
            (COMPOSE, status, &[], text),
            (LOOK, 200, &[], done),
            (DELETE_PART, 404, &[], "No such object: b/r/berth/v1/parts/id/00001"),
        ])
        .await;
        complete(&script).await.unwrap();
        script.had("range");
    }
    let others = r#"{"name":"r/to","size":"8","metadata":{"berth-assembly":"of another"}}"#;
    let script = Script::start(&[(COMPOSE, 404, &[], "No such object: b/r/from"), (LOOK, 200, &[], others)]).await;
    assert!(complete(&script).await.unwrap_err().is_not_found());
    script.had("range");
}

#[tokio::test]
async fn what_distribution_began_goes_when_nobody_goes_on_with_it() {
    const FLAT: &str = "&fields=nextPageToken%2Cprefixes%2Citems%28name%2Csize%2Cupdated%2CcontentType%29";
    let list = |below: &str, more: &str| -> &'static str {
        let list = format!("GET /storage/v1/b/b/o?prefix=r%2F{below}%2F&maxResults=1000{more}{FLAT}");
        list.leak()
    };
    let page = r#"{"items":[
        {"name":"r/d/a/data","size":"5","updated":"2024-01-01T00:00:00Z","contentType":"application/x-docker-upload-session"},
        {"name":"r/d/b","size":"5","updated":"2024-01-01T00:00:00Z","contentType":"application/octet-stream"}
    ],"nextPageToken":"t"}"#;
    let rest = r#"{"items":[
        {"name":"r/d/c/data","size":"5","updated":"2024-02-01T00:00:00Z","contentType":"application/x-docker-upload-session"}
    ]}"#;
    let script = Script::start(&[
        (list("berth%2Fv1%2Fparts", ""), 200, &[], "{}"),
        (list("d", ""), 200, &[], page),
        ("DELETE /storage/v1/b/b/o/r%2Fd%2Fa%2Fdata", 204, &[], ""),
        (list("d", "&startOffset=r%2Fd%2Fb"), 200, &[], rest),
    ])
    .await;
    let before: jiff::Timestamp = "2024-01-20T00:00:00Z".parse().unwrap();
    assert_eq!(bucket(&script).await.remove_leftovers(&key("d"), before.into()).await.unwrap(), 1);
    script.had("range");
}
