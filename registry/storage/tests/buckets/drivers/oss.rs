//! `oss` on a stub: there is no server of Alibaba Cloud's object store to install. The stub checks signatures by itself.

#[path = "../../oss/stub/mod.rs"]
#[expect(dead_code, reason = "the tests of the driver alone use more of it")]
mod stub;

use std::net::SocketAddr;
use std::sync::Arc;

use berth_storage::bucket::Bucket;
use berth_storage::{Oss, OssCredentials, OssOptions};
use berth_stores::{Dialect, Proxy};

use self::stub::{Running, Stub};
use super::nobody;
use crate::subject::{Files, Subject, Through};

const ID: &str = "LTAI5tNnBVexample3F";
const SECRET: &str = "berth-secret-of-tests";
const WRONG: &str = "berth-wrong-secret-of-tests";
/// The largest object that is copied whole.
const COPY_BYTES: u64 = 1 << 20;

pub(crate) async fn subjects() -> Vec<Subject> {
    // Both versions of signatures, as a region is known or is not.
    vec![subject("stub, V4", "oss-cn-hangzhou").await, subject("stub, V1", "").await]
}

async fn subject(name: &'static str, region: &str) -> Subject {
    let (server, ahead) = (serve(0).await, serve(3600).await);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("accesskeyid"), ID).unwrap();
    std::fs::write(directory.path().join("accesskeysecret"), SECRET).unwrap();
    let options = OssOptions {
        credentials: keys(SECRET),
        region: region.to_owned(),
        endpoint: Some(format!("http://{}", server.address)),
        bucket: "images".to_owned(),
        root_directory: "/a root/of+its own".to_owned(),
        copy_bytes: COPY_BYTES,
        ..OssOptions::default()
    };
    let (bucket, other) = (open(options.clone()).await, open(options.clone()).await);
    bucket.probe().await.unwrap();
    other.probe().await.unwrap();
    let SocketAddr::V4(address) = server.address else { panic!("not on IPv4") };
    let proxy = Proxy::start(address, Dialect::S3).unwrap();
    let through = open(OssOptions { endpoint: Some(proxy.endpoint()), ..options.clone() }).await;
    through.probe().await.unwrap();
    let on = |endpoint: String| OssOptions { endpoint: Some(endpoint), ..options.clone() };
    let from_files = OssCredentials::Directory(directory.path().to_owned());
    Subject {
        server: name,
        version: String::new(),
        bucket: Arc::new(bucket.clone()),
        other: Arc::new(other),
        presign: Ok(Arc::new(bucket)),
        large_bytes: 4 * COPY_BYTES as usize,
        wrong_credentials: Ok(shared(OssOptions { credentials: keys(WRONG), ..options.clone() }).await),
        missing_bucket: Ok(shared(OssOptions { bucket: "no-such-bucket".to_owned(), ..options.clone() }).await),
        wrong_clock: Ok(shared(on(format!("http://{}", ahead.address))).await),
        nobody: Ok(shared(on(nobody())).await),
        files: Ok(Files {
            bucket: shared(OssOptions { credentials: from_files, ..options.clone() }).await,
            directory: directory.path().to_owned(),
            secret_file: "accesskeysecret",
            right: SECRET.to_owned(),
            wrong: WRONG.to_owned(),
        }),
        through: Ok(Through { bucket: Arc::new(through), proxy: Arc::new(proxy) }),
        lacks: vec![("what_nobody_completes_is_removed", "left to a lifecycle rule of the bucket")],
        secrets: vec![SECRET.to_owned(), WRONG.to_owned()],
        kept: vec![Box::new(server), Box::new(ahead), Box::new(directory)],
    }
}

/// A stub with an empty bucket, whose clock is ahead by this many seconds.
async fn serve(ahead: i64) -> Running {
    let stub = Stub::unbound("cn-hangzhou", &[(ID, SECRET)]);
    stub.make_bucket("images");
    stub.set_ahead(ahead);
    stub.serve().await
}

fn keys(secret: &str) -> OssCredentials {
    OssCredentials::Keys { access_key_id: ID.to_owned(), access_key_secret: secret.to_owned() }
}

async fn open(options: OssOptions) -> Oss {
    Oss::open(options).await.unwrap()
}

async fn shared(options: OssOptions) -> Arc<dyn Bucket> {
    Arc::new(open(options).await)
}
