//! `swift` on OpenStack Swift with TempAuth. What is Swift's alone is tried in `tests/swift`.

use std::sync::Arc;

use berth_storage::{Swift, SwiftOptions};
use berth_stores::{Dialect, Programs, Proxy};

use super::{nobody, version_of_module};
use crate::subject::{Files, Subject, Through};

/// The smallest segment that the driver takes, in bytes. What is larger is copied in segments.
const CHUNK_BYTES: u64 = 1 << 20;

pub(crate) async fn subjects() -> Vec<Subject> {
    let programs = Programs::from_env();
    let server = berth_stores::Swift::start(&programs).await.unwrap();
    server.create_container("images").await.unwrap();
    let wrong = "berth-wrong-secret-of-tests";
    let options = SwiftOptions {
        auth_url: server.auth_url.clone(),
        username: server.user.clone(),
        password: Some(server.key.clone()),
        container: "images".to_owned(),
        prefix: "a root/of+its own".to_owned(),
        chunk_bytes: CHUNK_BYTES,
        secret_key: Some("berth-signing-secret-of-tests".to_owned()),
        ..SwiftOptions::default()
    };
    let bucket = open(options.clone()).await;
    bucket.probe().await.unwrap();
    let other = open(options.clone()).await;
    other.probe().await.unwrap();
    // The account's address is the one that the token was asked for at.
    let proxy = Proxy::start(server.address, Dialect::Swift).unwrap();
    let through = open(SwiftOptions { auth_url: format!("{}/auth/v1.0", proxy.endpoint()), ..options.clone() }).await;
    through.probe().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("password"), &server.key).unwrap();
    let files = SwiftOptions {
        credentials_directory: Some(directory.path().to_owned()),
        password: None,
        secret_key: None,
        ..options.clone()
    };
    let subject = Subject {
        server: "Swift",
        version: version_of_module("swift", &programs.swift().unwrap().join("usr/lib/python3/dist-packages")),
        bucket: bucket.clone(),
        other,
        presign: Ok(bucket),
        large_bytes: 2 * CHUNK_BYTES as usize + 1000,
        wrong_credentials: Ok(open(SwiftOptions { password: Some(wrong.to_owned()), ..options.clone() }).await),
        missing_bucket: Ok(open(SwiftOptions { container: "not-there".to_owned(), ..options.clone() }).await),
        wrong_clock: Err("requests carry a token, and no time"),
        nobody: Ok(open(SwiftOptions { auth_url: nobody() + "/auth/v1.0", ..options }).await),
        files: Ok(Files {
            bucket: open(files).await,
            directory: directory.path().to_owned(),
            secret_file: "password",
            right: server.key.clone(),
            wrong: wrong.to_owned(),
        }),
        through: Ok(Through { bucket: through, proxy: Arc::new(proxy) }),
        lacks: vec![("many_go_with_one_request", "only a look at each object tells which have segments to remove")],
        secrets: vec![wrong.to_owned(), "berth-signing-secret-of-tests".to_owned(), server.key.clone()],
        kept: Vec::new(),
    };
    vec![subject.keeping(directory).keeping(server)]
}

async fn open(options: SwiftOptions) -> Arc<Swift> {
    Arc::new(Swift::open(options).await.unwrap())
}
