//! The driver of Alibaba Cloud's object store against the stub: what is its own and not in the contract of all buckets.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod stub;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, SystemTime};

use berth_storage::bucket::{Bucket, Listing, PartTag, Start};
use berth_storage::{ByteRange, Key, Object, Oss, OssCredentials, OssOptions, OssRole, Presign, StoreError};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use stub::service::TOKEN;
use stub::{Running, Stub};

const ID: &str = "LTAI5tNnBVexample3F";
const SECRET: &str = "a secret of the stub";
const MIB: usize = 1 << 20;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

async fn start() -> Running {
    let stub = Stub::unbound("cn-hangzhou", &[(ID, SECRET)]);
    stub.make_bucket("registry");
    stub.serve().await
}

fn options(server: &Running) -> OssOptions {
    OssOptions {
        credentials: keys(ID, SECRET),
        region: "oss-cn-hangzhou".to_owned(),
        endpoint: Some(server.address.to_string()),
        bucket: "registry".to_owned(),
        secure: false,
        root_directory: "/root/".to_owned(),
        ..OssOptions::default()
    }
}

fn keys(id: &str, secret: &str) -> OssCredentials {
    OssCredentials::Keys { access_key_id: id.to_owned(), access_key_secret: secret.to_owned() }
}

async fn open(server: &Running) -> Oss {
    Oss::open(options(server)).await.unwrap()
}

async fn content(object: Object) -> Bytes {
    let pieces: Vec<Bytes> = object.body.try_collect().await.unwrap();
    pieces.concat().into()
}

async fn read(oss: &Oss, name: &str) -> Bytes {
    content(oss.get(&key(name), None).await.unwrap()).await
}

fn code(error: &StoreError) -> (u16, &str) {
    match error {
        StoreError::Service { refusal, .. } => (refusal.status, refusal.code.as_str()),
        other => panic!("not a refusal: {other}"),
    }
}

/// Bytes that are not the same everywhere.
fn noise(length: usize) -> Bytes {
    (0..length).map(|position| (position * 31 + position / 253) as u8).collect()
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

/// Everything once: whatever way requests are signed, and wherever the bucket stands in the address.
async fn tour(oss: &Oss, stub: &Stub) {
    let (at, other) = (key("docker/a b+c%/ü:&<\"'~"), key("docker/other"));
    assert!(oss.head(&at).await.unwrap_err().is_not_found());
    oss.put(&at, Bytes::from_static(b"content")).await.unwrap();
    assert_eq!(stub.names("registry"), [format!("root/{at}")]);
    let before = SystemTime::now();
    let stat = oss.head(&at).await.unwrap();
    assert_eq!(stat.size, 7);
    assert!(before.duration_since(stat.modified).is_ok_and(|age| age < Duration::from_secs(60)));
    let object = oss.get(&at, Some(ByteRange { start: 3, end: 5 })).await.unwrap();
    assert_eq!((object.stat, object.range), (stat, ByteRange { start: 3, end: 5 }));
    assert_eq!(content(object).await, "te");
    oss.copy(&at, &other).await.unwrap();
    assert_eq!(read(oss, "docker/other").await, "content");
    let upload = oss.begin_parts(&other).await.unwrap();
    let first = oss.put_part(&other, &upload, 1, noise(200 * 1024)).await.unwrap();
    let second = oss.copy_part(&other, &upload, 2, &at, 7, None).await.unwrap();
    oss.complete_parts(&other, &upload, vec![first, second], 200 * 1024 + 7).await.unwrap();
    assert!(read(oss, "docker/other").await.ends_with(b"content"));
    let gone = oss.begin_parts(&other).await.unwrap();
    oss.abort_parts(&other, &gone).await.unwrap();
    assert_eq!(stub.uploads("registry"), []);
    let below = key("docker");
    let listing = Listing { below: &below, one_level: false, start: Start::First, limit: 1 };
    let page = oss.list(listing).await.unwrap();
    assert_eq!(page.objects.len(), 1);
    assert_eq!(page.objects[0].0, at.as_str());
    let next = page.next.unwrap();
    let rest = oss.list(Listing { start: Start::Page(&next), ..listing }).await.unwrap();
    assert_eq!((rest.objects[0].0.as_str(), rest.next), ("docker/other", None));
    let address = oss.presign(&at, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(fetch(&address).await, (StatusCode::OK, Bytes::from_static(b"content")));
    oss.remove(&[at.clone(), other.clone(), key("docker/never")]).await.unwrap();
    assert_eq!(stub.names("registry"), [""; 0]);
    assert!(oss.delete(&other).await.unwrap_err().is_not_found());
    oss.put(&other, Bytes::new()).await.unwrap();
    oss.delete(&other).await.unwrap();
    oss.check().await.unwrap();
}

async fn fetch(address: &str) -> (StatusCode, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(address.parse().unwrap()).await.unwrap();
    let status = answer.status();
    (status, answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn requests_are_signed_with_version_4() {
    let server = start().await;
    tour(&open(&server).await, &server.stub).await;
    let requests = server.stub.take_requests();
    assert!(requests.iter().any(|request| request.contains("x-oss-signature-version=OSS4-HMAC-SHA256")));
}

#[tokio::test]
async fn requests_are_signed_with_version_1_where_no_region_is_known() {
    let server = start().await;
    let oss = Oss::open(OssOptions { region: String::new(), ..options(&server) }).await.unwrap();
    tour(&oss, &server.stub).await;
    let requests = server.stub.take_requests();
    assert!(requests.iter().any(|request| request.contains("OSSAccessKeyId=")));
    assert!(requests.iter().all(|request| !request.contains("OSS4")));
}

#[tokio::test]
async fn a_domain_may_belong_to_a_bucket() {
    let server = start().await;
    let endpoint = format!("localhost:{}", server.address.port());
    let oss = Oss::open(OssOptions { endpoint: Some(endpoint), ..options(&server) }).await.unwrap();
    tour(&oss, &server.stub).await;
}

#[tokio::test]
async fn ranges_behave_as_everywhere() {
    let server = start().await;
    let oss = open(&server).await;
    let at = key("docker/x");
    oss.put(&at, Bytes::from_static(b"0123456789")).await.unwrap();
    for (start, end, expected) in [(0, 1, "0"), (9, 10, "9"), (8, 11, "89"), (0, u64::MAX, "0123456789")] {
        let object = oss.get(&at, Some(ByteRange { start, end })).await.unwrap();
        assert_eq!(object.stat.size, 10);
        assert_eq!(object.range, ByteRange { start, end: end.min(10) });
        assert_eq!(content(object).await, expected);
    }
    for (start, end) in [(10, 11), (10, 10), (3, 3), (5, 4), (100, u64::MAX)] {
        let error = oss.get(&at, Some(ByteRange { start, end })).await.map(|_| ()).unwrap_err();
        assert!(
            matches!(error, StoreError::Range { size: 10, start: at, .. } if at == start),
            "{start}-{end}: {error}"
        );
    }
    oss.put(&at, Bytes::new()).await.unwrap();
    assert_eq!(read(&oss, "docker/x").await, "");
    let error = oss.get(&at, Some(ByteRange { start: 0, end: 1 })).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Range { size: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_level_is_listed_from_anywhere_however_small_its_pages() {
    let server = start().await;
    let oss = open(&server).await;
    let names = ["a-b/x", "a.c", "a/x", "a/y", "a0", "b", "b+/x", "b/x/y", "c d", "ü/x"];
    for name in names {
        oss.put(&key(&format!("r/{name}")), Bytes::new()).await.unwrap();
    }
    oss.put(&key("rest/x"), Bytes::new()).await.unwrap();
    let below = key("r");
    let all: BTreeSet<String> = names
        .iter()
        .map(|name| name.split_once('/').map_or((*name).to_owned(), |(level, _)| format!("{level}/")))
        .collect();
    let froms: Vec<String> =
        all.iter().cloned().chain(["", "a", "a/x", "a/zz", "b/", "zz"].map(str::to_owned)).collect();
    for limit in [1, 2, 3, 1000] {
        for from in &froms {
            let (mut found, mut next): (Vec<String>, Option<String>) = (Vec::new(), None);
            loop {
                let start = next.as_deref().map_or(Start::Behind(from), Start::Page);
                let page = oss.list(Listing { below: &below, one_level: true, start, limit }).await.unwrap();
                let objects = page.objects.into_iter().map(|(name, _)| name);
                let directories = page.directories.into_iter().map(|name| format!("{name}/"));
                let mut names: Vec<String> =
                    objects.chain(directories).map(|name| name.strip_prefix("r/").unwrap().to_owned()).collect();
                names.sort();
                found.extend(names);
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            let expected: Vec<&String> = all.iter().filter(|name| *name > from).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "from {from:?}, {limit} at once");
        }
    }
}

#[tokio::test]
async fn objects_are_removed_a_thousand_at_once() {
    let server = start().await;
    let oss = open(&server).await;
    let keys: Vec<Key> = (0..1001).map(|number| key(&format!("docker/{number} &<>"))).collect();
    oss.put(&keys[0], Bytes::new()).await.unwrap();
    oss.put(&keys[1000], Bytes::new()).await.unwrap();
    server.stub.take_requests();
    oss.remove(&keys).await.unwrap();
    assert_eq!(server.stub.take_requests().len(), 2);
    assert_eq!(server.stub.names("registry"), [""; 0]);
    oss.remove(&[]).await.unwrap();
    assert_eq!(server.stub.take_requests(), [""; 0]);
}

#[tokio::test]
async fn of_several_who_create_an_object_one_does() {
    let server = start().await;
    let oss = open(&server).await;
    assert!(!oss.abilities().creates_atomically, "nothing is known yet");
    assert!(oss.probe().await.unwrap().creates_atomically);
    assert!(oss.abilities().creates_atomically);
    server.stub.take_requests();
    oss.probe().await.unwrap();
    assert_eq!(server.stub.take_requests(), [""; 0], "it is known");
    assert_eq!(server.stub.names("registry"), [""; 0], "nothing is left of the probe");
    for round in 0..20 {
        let at = key(&format!("docker/{round}"));
        let (one, two) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
        let outcomes = futures::join!(oss.create(&at, one), oss.create(&at, two));
        let outcomes = [outcomes.0, outcomes.1];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(StoreError::AlreadyExists { .. }))));
    }
}

#[tokio::test]
async fn a_bucket_with_versions_creates_nothing_atomically() {
    let server = start().await;
    server.stub.keep_versions("registry");
    let oss = open(&server).await;
    oss.probe().await.unwrap();
    assert!(!oss.abilities().creates_atomically);
    let at = key("docker/x");
    oss.create(&at, Bytes::from_static(b"1")).await.unwrap();
    let error = oss.create(&at, Bytes::from_static(b"2")).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    assert_eq!(read(&oss, "docker/x").await, "1");
}

#[tokio::test]
async fn objects_are_private_and_encrypted_if_that_is_wanted() {
    let server = start().await;
    let oss = Oss::open(OssOptions { encrypt: true, ..options(&server) }).await.unwrap();
    oss.put(&key("put"), Bytes::from_static(b"x")).await.unwrap();
    oss.copy(&key("put"), &key("copy")).await.unwrap();
    let upload = oss.begin_parts(&key("parts")).await.unwrap();
    let part = oss.put_part(&key("parts"), &upload, 1, Bytes::from_static(b"x")).await.unwrap();
    oss.complete_parts(&key("parts"), &upload, vec![part], 1).await.unwrap();
    let kept = |name: &str| server.stub.kept("registry", &format!("root/{name}"));
    assert_eq!(kept("put"), ("private".to_owned(), "AES256".to_owned()));
    assert_eq!(kept("copy"), ("private".to_owned(), "AES256".to_owned()));
    assert_eq!(kept("parts"), ("private".to_owned(), "AES256".to_owned()));
    let upload = oss.begin_parts(&key("adopted")).await.unwrap();
    oss.put_part(&key("adopted"), &upload, 1, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(oss.adopt_parts(&key("adopted")).await.unwrap().unwrap().size, 1);
    assert_eq!(kept("adopted"), ("private".to_owned(), "AES256".to_owned()));
    open(&server).await.put(&key("plain"), Bytes::new()).await.unwrap();
    assert_eq!(kept("plain"), ("private".to_owned(), String::new()));
}

#[tokio::test]
async fn a_large_object_is_copied_in_parts() {
    let server = start().await;
    let oss = Oss::open(OssOptions { copy_bytes: MIB as u64, ..options(&server) }).await.unwrap();
    let large = noise(3 * MIB + 17);
    oss.put(&key("large"), large.clone()).await.unwrap();
    oss.put(&key("copy"), Bytes::from_static(b"old")).await.unwrap();
    server.stub.take_requests();
    oss.copy(&key("large"), &key("copy")).await.unwrap();
    let requests = server.stub.take_requests();
    assert_eq!(requests.iter().filter(|request| request.contains("partNumber=")).count(), 25);
    assert_eq!(read(&oss, "copy").await, large);
    assert!(oss.copy(&key("none"), &key("copy")).await.unwrap_err().is_not_found());
    assert_eq!(server.stub.uploads("registry"), []);
}

#[tokio::test]
async fn a_copy_that_is_given_up_leaves_no_parts() {
    let server = start().await;
    let oss = Oss::open(OssOptions { copy_bytes: MIB as u64, ..options(&server) }).await.unwrap();
    oss.put(&key("large"), noise(20 * MIB)).await.unwrap();
    {
        let (from, to) = (key("large"), key("copy"));
        let mut copy = std::pin::pin!(oss.copy(&from, &to));
        // It is given up as soon as a part of it is there.
        while server.stub.uploads("registry").first().is_none_or(|(_, parts)| *parts == 0) {
            assert!(futures::poll!(copy.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    eventually("the parts are gone", || async { server.stub.uploads("registry").is_empty() }).await;
    assert!(oss.head(&key("copy")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn parts_may_be_completed_and_forgotten_twice() {
    let server = start().await;
    let oss = open(&server).await;
    let to = key("docker/x");
    let upload = oss.begin_parts(&to).await.unwrap();
    let part = oss.put_part(&to, &upload, 1, Bytes::from_static(b"12345")).await.unwrap();
    oss.complete_parts(&to, &upload, vec![part.clone()], 5).await.unwrap();
    oss.complete_parts(&to, &upload, vec![part.clone()], 5).await.unwrap();
    let error = oss.complete_parts(&to, &upload, vec![part], 6).await.unwrap_err();
    assert_eq!(code(&error), (404, "NoSuchUpload"), "the object is another");
    oss.abort_parts(&to, &upload).await.unwrap();
    assert_eq!(read(&oss, "docker/x").await, "12345");

    let upload = oss.begin_parts(&to).await.unwrap();
    oss.complete_parts(&to, &upload, Vec::new(), 0).await.unwrap();
    assert_eq!(read(&oss, "docker/x").await, "");
    assert_eq!(server.stub.uploads("registry"), []);

    let upload = oss.begin_parts(&to).await.unwrap();
    oss.put_part(&to, &upload, 1, Bytes::from_static(b"1")).await.unwrap();
    let wrong = PartTag("\"0\"".to_owned());
    let error = oss.complete_parts(&to, &upload, vec![wrong], 1).await.unwrap_err();
    assert_eq!(code(&error), (400, "InvalidPart"));
}

#[tokio::test]
async fn an_upload_of_docker_registry_is_adopted() {
    let server = start().await;
    let oss = open(&server).await;
    let at = key("docker/registry/v2/repositories/a/_uploads/1/data");
    assert_eq!(oss.adopt_parts(&at).await.unwrap(), None, "there is nothing");

    // Just begun: no part, no object.
    oss.begin_parts(&at).await.unwrap();
    assert_eq!(oss.adopt_parts(&at).await.unwrap().unwrap().size, 0);
    assert_eq!(read(&oss, at.as_str()).await, "");
    assert_eq!(oss.adopt_parts(&at).await.unwrap(), None, "once only");

    // With parts, whose numbers need not follow one another, and more than one page of them.
    let upload = oss.begin_parts(&at).await.unwrap();
    oss.begin_parts(&key("docker/registry/v2/repositories/a/_uploads/1/data2")).await.unwrap();
    let piece = noise(100 * 1024);
    for number in (1..=41).step_by(2) {
        let content = if number == 41 { Bytes::from_static(b"end") } else { piece.clone() };
        oss.put_part(&at, &upload, number, content).await.unwrap();
    }
    let stat = oss.adopt_parts(&at).await.unwrap().unwrap();
    assert_eq!(stat.size, 20 * 100 * 1024 + 3);
    assert_eq!(oss.head(&at).await.unwrap(), stat);
    assert_eq!(server.stub.uploads("registry").len(), 1, "that of another key stays");

    // An object, and an upload to the same key of which nothing has been written: what was there counts.
    oss.put(&at, Bytes::from_static(b"small")).await.unwrap();
    oss.begin_parts(&at).await.unwrap();
    assert_eq!(oss.adopt_parts(&at).await.unwrap().unwrap().size, 5);
    assert_eq!(read(&oss, at.as_str()).await, "small");
    assert_eq!(server.stub.uploads("registry").len(), 1);
}

#[tokio::test]
async fn clients_are_sent_to_another_address_with_a_signature_that_ends() {
    let server = start().await;
    let endpoint = Some(format!("http://localhost:{}", server.address.port()));
    for region in ["oss-cn-hangzhou", ""] {
        let region = region.to_owned();
        let oss =
            Oss::open(OssOptions { redirect_endpoint: endpoint.clone(), region, ..options(&server) }).await.unwrap();
        let at = key("docker/a b");
        oss.put(&at, Bytes::from_static(b"content")).await.unwrap();
        server.stub.take_requests();
        let address = oss.presign(&at, Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(server.stub.take_requests(), [""; 0], "nothing is asked for it");
        assert!(address.starts_with("http://localhost:"), "{address}");
        assert!(!address.contains(SECRET));
        assert_eq!(fetch(&address).await, (StatusCode::OK, Bytes::from_static(b"content")));
        assert_eq!(fetch(&address.replace("a%20b", "other")).await.0, StatusCode::FORBIDDEN);
        server.stub.set_ahead(61);
        assert_eq!(fetch(&address).await.0, StatusCode::FORBIDDEN);
        server.stub.set_ahead(0);
    }
}

#[tokio::test]
async fn refusals_say_why_and_show_no_secret() {
    let server = start().await;
    const WRONG: &str = "wrong secret";
    let of = |id: &str, secret: &str| OssOptions { credentials: keys(id, secret), ..options(&server) };
    let missing = OssOptions { bucket: "missing".to_owned(), ..options(&server) };
    let cases = [
        (of(ID, WRONG), 0, 403, "SignatureDoesNotMatch"),
        (of("LTAI5tNnBVunknown3F", SECRET), 0, 403, "InvalidAccessKeyId"),
        (options(&server), 3600, 403, "RequestTimeTooSkewed"),
        (missing, 0, 404, "NoSuchBucket"),
    ];
    for (options, ahead, status, expected) in cases {
        let shown = format!("{options:?}");
        let oss = Oss::open(options).await.unwrap();
        server.stub.set_ahead(ahead);
        let at = key("docker/x");
        let below = key("docker");
        let listing = Listing { below: &below, one_level: false, start: Start::First, limit: 10 };
        let errors = [
            oss.check().await.unwrap_err(),
            oss.head(&at).await.unwrap_err(),
            oss.get(&at, None).await.map(|_| ()).unwrap_err(),
            oss.put(&at, Bytes::new()).await.unwrap_err(),
            oss.create(&at, Bytes::new()).await.unwrap_err(),
            oss.copy(&at, &at).await.unwrap_err(),
            oss.delete(&at).await.unwrap_err(),
            oss.remove(std::slice::from_ref(&at)).await.unwrap_err(),
            oss.remove(&[at.clone(), key("y")]).await.unwrap_err(),
            oss.list(listing).await.unwrap_err(),
            oss.begin_parts(&at).await.map(|_| ()).unwrap_err(),
            oss.adopt_parts(&at).await.unwrap_err(),
            oss.probe().await.map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(code(&error), (status, expected), "{error}");
            assert!(!error.is_transient());
            let text = format!("{error} {error:?} {oss:?} {shown}");
            assert!(!text.contains(SECRET) && !text.contains(WRONG) && !text.contains(ID), "{text}");
            let is_about_keys = status == 403 && expected != "RequestTimeTooSkewed";
            assert_eq!(is_about_keys, text.contains("LTAI…3F"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_does_not_keep_the_driver_from_opening() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = start().await;
    let oss = Oss::open(OssOptions { endpoint: Some(address.to_string()), ..options(&server) }).await.unwrap();
    let error = oss.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused() {
    let server = start().await;
    let directory = tempfile::tempdir().unwrap();
    let base = options(&server);
    for (options, expected) in [
        (OssOptions { bucket: String::new(), ..base.clone() }, "storage.oss.bucket: "),
        (OssOptions { endpoint: None, region: String::new(), ..base.clone() }, "storage.oss.region: "),
        (OssOptions { endpoint: Some("x y".to_owned()), ..base.clone() }, "storage.oss.endpoint: "),
        (OssOptions { chunk_bytes: 1 << 20, ..base.clone() }, "storage.oss.chunksize: "),
        (OssOptions { credentials: keys(ID, ""), ..base.clone() }, "storage.oss.accesskeysecret: "),
        (OssOptions { credentials: keys("", SECRET), ..base.clone() }, "storage.oss.accesskeyid: "),
        (
            OssOptions { credentials: OssCredentials::Directory(directory.path().to_owned()), ..base.clone() },
            directory.path().join("accesskeyid").to_str().unwrap(),
        ),
    ] {
        let error = Oss::open(options).await.unwrap_err();
        assert!(matches!(error, StoreError::Settings { .. }), "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

fn write_keys(directory: &Path, id: &str, secret: &str) {
    std::fs::write(directory.join("accesskeyid"), id).unwrap();
    std::fs::write(directory.join("accesskeysecret"), secret).unwrap();
}

#[tokio::test]
async fn keys_in_files_are_replaced_without_a_restart() {
    let server = start().await;
    let directory = tempfile::tempdir().unwrap();
    write_keys(directory.path(), ID, SECRET);
    let credentials = OssCredentials::Directory(directory.path().to_owned());
    let oss = Oss::open(OssOptions { credentials, ..options(&server) }).await.unwrap();
    oss.check().await.unwrap();
    server.stub.set_key("LTAI5tNnBVanother4G", "another secret");
    assert_eq!(code(&oss.check().await.unwrap_err()), (403, "InvalidAccessKeyId"));
    write_keys(directory.path(), "LTAI5tNnBVanother4G\n", "another secret\n");
    oss.check().await.unwrap();
}

#[tokio::test]
async fn a_service_account_takes_on_a_role() {
    let server = start().await;
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, TOKEN).unwrap();
    let role = OssRole {
        role_arn: "acs:ram::1:role/registry".to_owned(),
        provider_arn: "acs:ram::1:oidc-provider/ack".to_owned(),
        token_file: token_file.clone(),
        session_name: "berth".to_owned(),
        endpoint: format!("http://{}", server.address),
    };
    for region in ["oss-cn-hangzhou", ""] {
        let options = OssOptions {
            credentials: OssCredentials::Role(role.clone()),
            region: region.to_owned(),
            ..options(&server)
        };
        let oss = Oss::open(options.clone()).await.unwrap();
        server.stub.take_requests();
        // Several at once have the service asked once.
        let outcomes = futures::future::join_all((0..8).map(|_| oss.check())).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let asked = server.stub.take_requests();
        assert_eq!(asked.iter().filter(|request| request.contains("AssumeRoleWithOIDC")).count(), 1);
        tour(&oss, &server.stub).await;

        std::fs::write(&token_file, "no token").unwrap();
        let error = Oss::open(options.clone()).await.unwrap().check().await.unwrap_err();
        assert_eq!(code(&error), (400, "AuthenticationFail.OIDCToken.Invalid"));
        assert!(!error.to_string().contains("no token"));
        std::fs::write(&token_file, TOKEN).unwrap();
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_half_way_hurts_nobody() {
    let server = start().await;
    let oss = open(&server).await;
    let large = noise(8 * MIB);
    oss.put(&key("large"), large.clone()).await.unwrap();
    for _ in 0..4 {
        let mut object = oss.get(&key("large"), None).await.unwrap();
        assert!(!object.body.next().await.unwrap().unwrap().is_empty());
    }
    {
        let to = key("other");
        let mut write = std::pin::pin!(oss.put(&to, large.clone()));
        assert!(futures::poll!(write.as_mut()).is_pending());
    }
    assert_eq!(read(&oss, "large").await, large);
}
