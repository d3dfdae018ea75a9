//! `gcs` on fake-gcs-server, which looks at no credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_storage::{Gcs, GcsCredentials, GcsOptions};
use berth_stores::{Dialect, FakeGcs, Programs, Proxy};

use super::{nobody, version_of_requirement};
use crate::subject::{Subject, Through};

/// What the server is built from.
const INSTALLED: &str = include_str!("../../../../../e2e/tools/fake-gcs-server/go.mod");
const UNTOLD: &str = "fake-gcs-server says of a missing bucket what it says of a missing object";
const UNCHECKED: &str = "fake-gcs-server takes any credentials";

pub(crate) async fn subjects() -> Vec<Subject> {
    let server = FakeGcs::start(&Programs::from_env()).await.unwrap();
    server.create_bucket("images").await.unwrap();
    let key = key();
    let options = GcsOptions {
        credentials: GcsCredentials::Inline(key.clone()),
        root_directory: "/a root/of+its own".to_owned(),
        endpoint: Some(server.endpoint.clone()),
        chunk_bytes: 256 << 10,
        ..GcsOptions::new("images")
    };
    let bucket = open(options.clone()).await;
    bucket.probe().await.unwrap();
    let other = open(options.clone()).await;
    other.probe().await.unwrap();
    let proxy = Proxy::start(server.address, Dialect::Gcs).unwrap();
    let through = open(GcsOptions { endpoint: Some(proxy.endpoint()), ..options.clone() }).await;
    through.probe().await.unwrap();
    let nobody = GcsOptions { endpoint: Some(nobody()), ..options };
    let subject = Subject {
        server: "fake-gcs-server",
        version: version_of_requirement("github.com/fsouza/fake-gcs-server", INSTALLED),
        bucket: bucket.clone(),
        other,
        presign: Ok(bucket),
        large_bytes: 10 << 20,
        wrong_credentials: Err(UNCHECKED),
        missing_bucket: Err(UNTOLD),
        wrong_clock: Err(UNCHECKED),
        nobody: Ok(open(nobody).await),
        files: Err(UNCHECKED),
        // The uploads of Distribution that the driver does take over are in `tests/gcs.rs`.
        lacks: vec![
            ("unfinished_parts_are_adopted", "Distribution keeps no parts here, but a session of the server"),
            (
                "what_nobody_completes_is_removed",
                "the parts of all objects lie in one place; tried alone in tests/gcs.rs",
            ),
        ],
        secrets: vec![key["private_key"].lines().nth(1).unwrap().to_owned()],
        through: Ok(Through { bucket: through, proxy: Arc::new(proxy) }),
        kept: Vec::new(),
    };
    vec![subject.keeping(server)]
}

async fn open(options: GcsOptions) -> Arc<Gcs> {
    Arc::new(Gcs::open(options).await.unwrap())
}

/// The key of a service account.
fn key() -> BTreeMap<String, String> {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let encoded = STANDARD.encode(der.as_ref());
    let fields = [
        ("type", "service_account".to_owned()),
        ("client_email", "registry@berth.iam.gserviceaccount.com".to_owned()),
        ("private_key_id", "0123".to_owned()),
        ("private_key", format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n")),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
