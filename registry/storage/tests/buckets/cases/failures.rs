//! Settings that are wrong, and addresses for others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_storage::bucket::{Bucket, Listing, Start};
use berth_storage::{Refusal, StoreError};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{content, is_not_found};
use crate::subject::{Files, Subject, Verdict, key};

/// How long a driver may take to look at its files again, and a server at what was changed.
const PATIENCE: Duration = Duration::from_secs(20);

impl Subject {
    /// An error as people see it, which shows no secret.
    fn shown(&self, error: &StoreError) -> String {
        let texts = [error.to_string(), format!("{error:?}")];
        for secret in &self.secrets {
            assert!(texts.iter().all(|text| !text.contains(secret.as_str())), "a secret is shown: {}", texts[1]);
        }
        let [text, _] = texts;
        text
    }

    /// Every kind of request, each of which must be refused with the server's own words.
    async fn refused(&self, bucket: &dyn Bucket) -> Vec<(String, Refusal)> {
        let (at, to) = (key("refused/object"), key("refused/other"));
        let small = || Bytes::from_static(b"x");
        let listing = Listing { below: &at, one_level: true, start: Start::First, limit: 10 };
        let outcomes = [
            ("check", bucket.check().await),
            ("get", bucket.get(&at, None).await.map(drop)),
            ("put", bucket.put(&at, small()).await),
            ("create", bucket.create(&at, small()).await),
            ("list", bucket.list(listing).await.map(drop)),
            ("remove", bucket.remove(&[at.clone(), to.clone()]).await),
            ("begin_parts", bucket.begin_parts(&at).await.map(drop)),
        ];
        let mut refusals = Vec::new();
        for (what, outcome) in outcomes {
            if what == "begin_parts" && outcome.is_ok() {
                // A store that learns of parts when there is one is not asked.
                continue;
            }
            let error = outcome.expect_err(what);
            let shown = self.shown(&error);
            let StoreError::Service { refusal, .. } = error else { panic!("{what}: not refused: {error:?}") };
            assert!(!refusal.code.is_empty() || !refusal.message.is_empty(), "{what}: no word of the server: {shown}");
            assert!((400..500).contains(&refusal.status), "{what}: {shown}");
            refusals.push((shown, *refusal));
        }
        refusals
    }
}

pub(super) async fn wrong_credentials(subject: Arc<Subject>) -> Verdict {
    let bucket = match &subject.wrong_credentials {
        Ok(bucket) => bucket,
        Err(reason) => return Verdict::Skipped((*reason).to_owned()),
    };
    for (shown, refusal) in subject.refused(bucket.as_ref()).await {
        assert!(matches!(refusal.status, 400 | 401 | 403), "{shown}");
    }
    // These have no body to say more in, or ask first.
    for outcome in [bucket.head(&key("refused/object")).await.map(drop), bucket.delete(&key("refused/object")).await] {
        let error = outcome.unwrap_err();
        let shown = subject.shown(&error);
        assert!(
            matches!(&error, StoreError::Service { refusal, .. } if matches!(refusal.status, 400 | 401 | 403)),
            "{shown}"
        );
        assert!(!error.is_transient(), "{shown}");
    }
    Verdict::Passed
}

pub(super) async fn a_missing_bucket(subject: Arc<Subject>) -> Verdict {
    let bucket = match &subject.missing_bucket {
        Ok(bucket) => bucket,
        Err(reason) => return Verdict::Skipped((*reason).to_owned()),
    };
    for (shown, refusal) in subject.refused(bucket.as_ref()).await {
        assert_eq!(refusal.status, 404, "{shown}");
    }
    // What has no body in its answer cannot be told from a missing object.
    let error = bucket.head(&key("refused/object")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. } | StoreError::Service { .. }), "{error}");
    Verdict::Passed
}

pub(super) async fn a_wrong_clock(subject: Arc<Subject>) -> Verdict {
    let bucket = match &subject.wrong_clock {
        Ok(bucket) => bucket,
        Err(reason) => return Verdict::Skipped((*reason).to_owned()),
    };
    for attempt in 0..2 {
        for outcome in [bucket.check().await, bucket.put(&key("clock/object"), Bytes::from_static(b"x")).await] {
            let error = outcome.unwrap_err();
            let shown = subject.shown(&error);
            assert!(matches!(error, StoreError::Service { .. }), "{shown}");
            assert!(shown.contains("clock"), "try {attempt}: {shown}");
        }
    }
    Verdict::Passed
}

pub(super) async fn nobody_listens(subject: Arc<Subject>) -> Verdict {
    let bucket = match &subject.nobody {
        Ok(bucket) => bucket,
        Err(reason) => return Verdict::Skipped((*reason).to_owned()),
    };
    let at = key("nobody/object");
    let outcomes = [
        bucket.check().await,
        bucket.head(&at).await.map(drop),
        bucket.get(&at, None).await.map(drop),
        bucket.put(&at, content(1, 100)).await,
        bucket.remove(&[at.clone(), key("nobody/other")]).await,
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(error.is_transient());
        let shown = subject.shown(&error);
        assert!(shown.to_lowercase().contains("refused"), "it says what went wrong: {shown}");
    }
    Verdict::Passed
}

/// Asks until the answer is the one that is waited for.
async fn until(files: &Files, is_right: bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = files.bucket.check().await;
        if outcome.is_ok() == is_right {
            return;
        }
        assert!(Instant::now() < deadline, "the change is not taken up, right: {is_right}: {outcome:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn credential_files_change(subject: Arc<Subject>) -> Verdict {
    let files = match &subject.files {
        Ok(files) => files,
        Err(reason) => return Verdict::Skipped((*reason).to_owned()),
    };
    let secret = files.directory.join(files.secret_file);
    files.bucket.check().await.unwrap();
    std::fs::write(&secret, &files.wrong).unwrap();
    until(files, false).await;
    // As editors leave it, and `kubectl create secret --from-file` takes it.
    std::fs::write(&secret, format!("{}\n", files.right)).unwrap();
    until(files, true).await;
    // While the file cannot be read, the old one stays in use: longer than any driver waits before it looks again.
    std::fs::remove_file(&secret).unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        files.bucket.check().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::write(&secret, &files.wrong).unwrap();
    until(files, false).await;
    std::fs::write(&secret, &files.right).unwrap();
    until(files, true).await;
    Verdict::Passed
}

pub(super) async fn presigned_addresses(subject: Arc<Subject>) -> Verdict {
    let presign = match &subject.presign {
        Ok(presign) => presign,
        Err(reason) => return Verdict::Skipped((*reason).to_owned()),
    };
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    for name in ["presigned/sha256/0123/data", "presigned/odd +%41 ~'\"ä/data"] {
        let at = key(name);
        assert!(is_not_found(subject.bucket.head(&at).await));
        let address = presign.presign(&at, Duration::from_secs(600)).await.unwrap().unwrap();
        for secret in &subject.secrets {
            assert!(!address.contains(secret.as_str()), "a secret is in an address");
        }
        let fetch = async |range: Option<&str>| {
            let mut request = http::Request::get(&address);
            if let Some(range) = range {
                request = request.header("range", range);
            }
            let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        };
        assert_eq!(fetch(None).await.0, 404, "nothing is there yet");
        subject.bucket.put(&at, content(8, 1000)).await.unwrap();
        let (status, body) = fetch(None).await;
        assert!(status == 200 && body == content(8, 1000), "status {status}, {} bytes", body.len());
        let (status, body) = fetch(Some("bytes=10-19")).await;
        assert!(status == 206 && body == content(8, 1000)[10..20], "status {status}, {} bytes", body.len());
        // It is good for this object only.
        let elsewhere = address.replacen("/data", "/other", 1);
        let answer = client.get(elsewhere.parse().unwrap()).await.unwrap();
        assert!(answer.status().is_client_error(), "{}", answer.status());
    }
    Verdict::Passed
}
