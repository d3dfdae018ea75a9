//! What a store is able to do is found out once, and counts for as long as the process lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_storage::bucket::{Assembly, Bucket};
use md5::{Digest as _, Md5};

use crate::server::{Answer, Asked, Server, answer, refusal, willing};
use crate::{content, key};

/// What of a store's answers about probes is as it should be.
fn probed(what: &str) -> Answer {
    if what.starts_with("HEAD") { answer(404, &[], "") } else { willing(what) }
}

#[tokio::test]
async fn what_cannot_be_told_for_a_moment_is_asked_again() {
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = is_busy.clone();
    let server = Server::start(move |what, _| match what {
        what if what.starts_with("HEAD") && busy.load(Ordering::Relaxed) => answer(503, &[], ""),
        what => probed(what),
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    assert!(bucket.probe().await.unwrap_err().is_transient());
    is_busy.store(false, Ordering::Relaxed);
    assert!(bucket.probe().await.unwrap().removes_many);
}

#[tokio::test]
async fn what_a_killed_probe_has_left_is_removed_a_day_later() {
    let now = aws_smithy_types::DateTime::from(std::time::SystemTime::now());
    let now = now.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap();
    let entry = |name: &str, time: &str| {
        format!("<Contents><Key>root/berth/v1/probe/{name}</Key><LastModified>{time}</LastModified></Contents>")
    };
    let objects = format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{}{}{}</ListBucketResult>",
        entry("old", "2020-01-02T03:04:05.000Z"),
        entry("new", &now),
        "<Contents><Key>root/berth/v1/probe/of-no-time</Key></Contents>",
    );
    let upload = |id: &str, time: &str| {
        let key = "root/berth/v1/probe/old-0";
        format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{time}</Initiated></Upload>")
    };
    let uploads = format!(
        "<ListMultipartUploadsResult>{}{}</ListMultipartUploadsResult>",
        upload("old", "2020-01-02T03:04:05.000Z"),
        upload("new", &now),
    );
    let server = Server::start(move |what, _| match what {
        what if what.contains("list-type=2") => answer(200, &[], objects.clone()),
        what if what.starts_with("GET") && what.contains("?uploads") => answer(200, &[], uploads.clone()),
        what => probed(what),
    })
    .await;
    let bucket = server.bucket(|options| options.root_directory = "root".to_owned()).await;
    bucket.probe().await.unwrap();
    let asked = server.asked();
    let listing = asked.iter().position(|asked| asked.what.contains("list-type=2")).unwrap();
    assert!(asked[listing].what.contains("prefix=root%2Fberth%2Fv1%2Fprobe%2F"), "{}", asked[listing].what);
    let after: Vec<&str> = asked[listing + 1..].iter().map(|asked| asked.what.split('&').next().unwrap()).collect();
    assert_eq!(asked[listing + 1].body.matches("<Key>").count(), 1);
    assert!(asked[listing + 1].body.contains("<Key>root/berth/v1/probe/old</Key>"));
    assert_eq!(after.len(), 3, "{after:?}");
    assert!(after[0].starts_with("POST /images") && after[0].ends_with("?delete"), "{after:?}");
    assert!(after[1].starts_with("GET /images") && after[1].contains("?uploads"), "{after:?}");
    let aborted = &asked[listing + 3].what;
    assert!(
        aborted.starts_with("DELETE /images/root/berth/v1/probe/old-0?") && aborted.contains("uploadId=old"),
        "{aborted}"
    );
}

/// Whether a request has the sum of its body.
fn is_summed(asked: &Asked) -> bool {
    let expected = STANDARD.encode(Md5::digest(asked.body.as_bytes()));
    asked.header("content-md5") == Some(expected.as_str())
}

#[tokio::test]
async fn a_bucket_that_wants_sums_gets_them() {
    // As one answers whose objects are locked for a time, and as older stores do of removals.
    let server = Server::start_reading(|asked, _| {
        let wants = asked.what.contains("?delete")
            || asked.what.starts_with("PUT") && asked.body.starts_with("A probe")
            || asked.body == "content";
        if wants && !is_summed(asked) {
            return refusal(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required.");
        }
        probed(&asked.what)
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let abilities = bucket.probe().await.unwrap();
    assert!(abilities.removes_many && abilities.copies_parts, "{abilities:?}");
    server.asked();
    bucket.put(&key("a"), content()).await.unwrap();
    bucket.create(&key("b"), content()).await.unwrap();
    bucket.put_part(&key("c"), &Assembly("id".to_owned()), 1, content()).await.unwrap();
    bucket.remove(&[key("a"), key("b")]).await.unwrap();
    let asked = server.asked();
    let sent: Vec<&Asked> = asked.iter().filter(|asked| !asked.what.starts_with("HEAD")).collect();
    assert_eq!(sent.len(), 4, "{sent:?}");
    for asked in sent {
        assert!(is_summed(asked), "{asked:?}");
        assert!(!asked.headers.keys().any(|name| name.as_str().contains("checksum")), "one sum is enough: {asked:?}");
    }
}

#[tokio::test]
async fn a_store_that_wants_no_sums_gets_that_of_the_signature() {
    let server = Server::start(|what, _| probed(what)).await;
    let bucket = server.bucket(|_| ()).await;
    bucket.probe().await.unwrap();
    server.asked();
    bucket.put(&key("a"), content()).await.unwrap();
    bucket.put_part(&key("c"), &Assembly("id".to_owned()), 1, content()).await.unwrap();
    // SHA-256 of `content`.
    let sum = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    for asked in server.asked() {
        assert_eq!((asked.header("x-amz-content-sha256"), asked.header("content-md5")), (Some(sum), None), "{asked:?}");
    }
}
