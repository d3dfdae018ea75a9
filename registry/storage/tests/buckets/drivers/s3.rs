//! `s3` on versitygw, which checks signatures, and on moto, which does not.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use berth_storage::bucket::Bucket;
use berth_storage::{S3, S3Credentials, S3Options};
use berth_stores::{Dialect, Moto, Programs, Proxy, Versitygw};

use super::{nobody, version_of_module, version_of_program};
use crate::subject::{Files, Subject, Through};

/// The largest object that is copied whole, and the size of a part of a copy: the least that is allowed.
const COPY_BYTES: u64 = 5 << 20;

pub(crate) async fn subjects() -> Vec<Subject> {
    let programs = Programs::from_env();
    vec![versitygw(&programs).await, moto(&programs).await]
}

async fn versitygw(programs: &Programs) -> Subject {
    let server = Versitygw::start(programs).await.unwrap();
    server.create_bucket("images").unwrap();
    let keys = (server.access_key.as_str(), server.secret_key.as_str());
    let subject = subject("versitygw", server.address, &server.region, keys).await;
    Subject {
        version: version_of_program(&programs.versitygw().unwrap().join("versitygw")),
        lacks: vec![
            ("a_key_beside_a_directory", "versitygw keeps objects as files, and a file is no directory"),
            (
                "a_writer_survives_the_removal_of_its_directory",
                "versitygw removes a directory with its last object, and refuses who writes there at that moment",
            ),
        ],
        ..subject
    }
    .keeping(server)
}

async fn moto(programs: &Programs) -> Subject {
    const UNSIGNED: &str = "moto believes every signature";
    let server = Moto::start(programs).await.unwrap();
    server.create_bucket("images").await.unwrap();
    let keys = (server.access_key.as_str(), server.secret_key.as_str());
    let subject = subject("moto", server.address, &server.region, keys).await;
    Subject {
        version: version_of_module("moto", programs.moto().unwrap()),
        wrong_credentials: Err(UNSIGNED),
        wrong_clock: Err(UNSIGNED),
        files: Err(UNSIGNED),
        lacks: vec![
            ("of_many_creators_one_wins", "moto lets two of eight creators win now and then"),
            ("what_nobody_completes_is_removed", "moto says of every upload that it began in 2010"),
        ],
        ..subject
    }
    .keeping(server)
}

/// What is the same on every server: a bucket `images`, and each way of getting it wrong.
async fn subject(server: &'static str, address: SocketAddrV4, region: &str, (access, secret): (&str, &str)) -> Subject {
    let options = S3Options {
        bucket: "images".to_owned(),
        region: Some(region.to_owned()),
        endpoint: Some(format!("http://{address}")),
        credentials: keys(access, secret),
        root_directory: "/a root/of+its own".to_owned(),
        copy_threshold_bytes: COPY_BYTES,
        copy_chunk_bytes: COPY_BYTES,
        ..S3Options::default()
    };
    let bucket = open(options.clone()).await;
    bucket.probe().await.unwrap();
    let other = open(options.clone()).await;
    other.probe().await.unwrap();
    let proxy = Proxy::start(address, Dialect::S3).unwrap();
    let through = open(S3Options { endpoint: Some(proxy.endpoint()), ..options.clone() }).await;
    through.probe().await.unwrap();
    let wrong = "berth-wrong-secret-of-tests";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("accesskey"), access).unwrap();
    std::fs::write(directory.path().join("secretkey"), secret).unwrap();
    let files = S3Credentials::Directory(directory.path().to_owned());
    let ahead = S3::open_ahead(options.clone(), Duration::from_secs(3600)).await.unwrap();
    Subject {
        server,
        version: String::new(),
        bucket: Arc::new(bucket.clone()),
        other: Arc::new(other),
        presign: Ok(Arc::new(bucket)),
        large_bytes: 2 * COPY_BYTES as usize,
        wrong_credentials: Ok(shared(S3Options { credentials: keys(access, wrong), ..options.clone() }).await),
        missing_bucket: Ok(shared(S3Options { bucket: "no-such-bucket".to_owned(), ..options.clone() }).await),
        wrong_clock: Ok(Arc::new(ahead)),
        nobody: Ok(shared(S3Options { endpoint: Some(nobody()), ..options.clone() }).await),
        files: Ok(Files {
            bucket: shared(S3Options { credentials: files, ..options }).await,
            directory: directory.path().to_owned(),
            secret_file: "secretkey",
            right: secret.to_owned(),
            wrong: wrong.to_owned(),
        }),
        through: Ok(Through { bucket: Arc::new(through), proxy: Arc::new(proxy) }),
        lacks: Vec::new(),
        secrets: vec![secret.to_owned(), wrong.to_owned()],
        kept: Vec::new(),
    }
    .keeping(directory)
}

fn keys(access: &str, secret: &str) -> S3Credentials {
    S3Credentials::Keys { access_key: access.to_owned(), secret_key: secret.to_owned(), session_token: None }
}

async fn open(options: S3Options) -> S3 {
    S3::open(options).await.unwrap()
}

async fn shared(options: S3Options) -> Arc<dyn Bucket> {
    Arc::new(open(options).await)
}
