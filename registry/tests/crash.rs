//! kill -9 at twenty points of a push: what was acknowledged is there, nothing is half there, and the push can be made
//! again.
//!
//! A point is a number of finished requests, or a number of bytes of a body that is on its way: never a time.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use berth_oci::{Digest, media_type};
use bytes::Bytes;
use support::{Client, Document, config_of};
use tokio::io::AsyncWriteExt;

const NAME: &str = "team/app";
/// The layer that is streamed in pieces, so that the server can die in the middle of it.
const LARGE_BYTES: usize = 6 * 1024 * 1024;

/// The server as a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(root: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_berth-registry"))
            .arg("serve")
            .env_clear()
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .env("REGISTRY_LOG_FORMATTER", "json")
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)
            .env("REGISTRY_LOG_ACCESSLOG_DISABLED", "true")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = log.find(|line| line.contains("listening")).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || log.for_each(drop));
        Process { child, address }
    }

    fn kill(self) {
        drop(self);
    }
}

/// A server must not outlive a test that has failed.
impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where the server is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// After this many requests of the push were answered.
    Requests(usize),
    /// Right after the request behind this many others was sent, without waiting for its answer.
    Unanswered(usize),
    /// After this many bytes of the large layer were sent.
    Bytes(usize),
}

/// One request of the push.
enum Step {
    Blob(Bytes),
    /// In two chunks and an end.
    Chunked(Bytes),
    Manifest(String, Document),
}

fn steps() -> Vec<Step> {
    let (one, two) = (Document::image("one", &["base", "own"]), Document::image("two", &["base", "more"]));
    let index = Document::index(media_type::OCI_INDEX, &[(&one, "amd64"), (&two, "arm64")]);
    vec![
        Step::Blob("base".into()),
        Step::Blob(config_of("one").into()),
        Step::Chunked("own".into()),
        Step::Manifest("one".into(), one.clone()),
        Step::Blob(config_of("two").into()),
        Step::Blob("more".into()),
        Step::Manifest(two.digest().to_string(), two.clone()),
        Step::Manifest("both".into(), index),
        // A tag moves.
        Step::Manifest("one".into(), two),
    ]
}

/// What the server has acknowledged.
#[derive(Default)]
struct Acknowledged {
    blobs: Vec<Bytes>,
    manifests: Vec<Document>,
    /// What a tag names, and what it may name if the last request was not answered.
    tags: Vec<(String, Digest)>,
}

/// Pushes until the budget of requests is used up. The last of them is not waited for if `unanswered`.
async fn push(client: &mut Client, budget: usize, acknowledged: &mut Acknowledged) -> usize {
    let mut used = 0;
    for step in steps() {
        if used >= budget {
            return used;
        }
        used += 1;
        match step {
            Step::Blob(content) => {
                client.push_blob(NAME, content.clone()).await;
                acknowledged.blobs.push(content);
            }
            Step::Chunked(content) => {
                let begun = client.post(&format!("/v2/{NAME}/blobs/uploads/"), Bytes::new()).await.expect(202);
                let mut location = begun.header("location").to_owned();
                for piece in content.chunks(2) {
                    if used >= budget {
                        return used;
                    }
                    used += 1;
                    let answer = client.patch(&location, &[], piece.to_vec()).await.expect(202);
                    location = answer.header("location").to_owned();
                }
                if used >= budget {
                    return used;
                }
                used += 1;
                let target = format!("{location}&digest={}", Digest::sha256(&content));
                client.put(&target, &[], Bytes::new()).await.expect(201);
                acknowledged.blobs.push(content);
            }
            Step::Manifest(reference, document) => {
                client.push_manifest(NAME, &reference, &document).await.expect(201);
                acknowledged.tags.retain(|(tag, _)| *tag != reference);
                if !reference.contains(':') {
                    acknowledged.tags.push((reference, document.digest()));
                }
                acknowledged.manifests.push(document);
            }
        }
    }
    used
}

fn large() -> Bytes {
    (0..LARGE_BYTES).map(|n| (n % 249) as u8).collect::<Vec<_>>().into()
}

/// Sends the first bytes of a request as they are.
async fn send_raw(address: SocketAddr, head: String, body: &[u8]) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

async fn reach(process: &Process, point: Point, acknowledged: &mut Acknowledged) {
    let mut client = Client::connect(process.address).await;
    match point {
        Point::Requests(count) => {
            assert_eq!(push(&mut client, count, acknowledged).await, count);
        }
        Point::Unanswered(count) => {
            push(&mut client, count, acknowledged).await;
            let document = Document::image("one", &["base", "own"]);
            let (address, length) = (process.address, document.raw.len());
            let head = format!(
                "PUT /v2/{NAME}/manifests/late HTTP/1.1\r\nhost: {address}\r\ncontent-type: {}\r\ncontent-length: {length}\r\n\r\n",
                document.media_type
            );
            drop(send_raw(address, head, &document.raw).await);
        }
        Point::Bytes(count) => {
            push(&mut client, 5, acknowledged).await;
            let content = large();
            let (address, digest) = (process.address, Digest::sha256(&content));
            let head = format!(
                "POST /v2/{NAME}/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {LARGE_BYTES}\r\n\r\n"
            );
            // The connection stays open: the server dies waiting for the rest, or finishing.
            std::mem::forget(send_raw(address, head, &content[..count]).await);
        }
    }
}

/// Every link and every blob of the directory; the data of a session in progress may be of any length.
fn objects(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![root.join("docker")]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn check_files(root: &Path) {
    for path in objects(root) {
        if path.ends_with("data") && path.to_str().unwrap().contains("/_uploads/") {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        assert!(!content.is_empty(), "{} is empty", path.display());
        if path.ends_with("link") {
            let text = String::from_utf8(content).unwrap();
            text.parse::<Digest>().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if !path.to_str().unwrap().contains("/_uploads/") {
            let hex = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            assert_eq!(Digest::sha256(&content).hex(), hex, "{}", path.display());
        }
    }
    let temporary = std::fs::read_dir(root.join("berth/v1/tmp")).unwrap().count();
    assert_eq!(temporary, 0, "half-written files are left after the restart");
}

async fn check_acknowledged(client: &mut Client, acknowledged: &Acknowledged) {
    for content in &acknowledged.blobs {
        let digest = Digest::sha256(content);
        assert_eq!(client.get(&format!("/v2/{NAME}/blobs/{digest}")).await.expect(200).body, content);
    }
    for document in &acknowledged.manifests {
        let target = format!("/v2/{NAME}/manifests/{}", document.digest());
        assert_eq!(client.get(&target).await.expect(200).body, document.raw);
    }
    for (tag, digest) in &acknowledged.tags {
        let found = client.get(&format!("/v2/{NAME}/manifests/{tag}")).await.expect(200);
        assert_eq!(found.header("docker-content-digest"), digest.as_str(), "{tag}");
    }
}

fn points() -> Vec<Point> {
    // The push has 12 requests; the seventh completes the first image.
    let requests = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(Point::Requests);
    let unanswered = [7, 9, 11].map(Point::Unanswered);
    let bytes = [1, 1000, 512 * 1024, 1024 * 1024 + 1, LARGE_BYTES - 1, LARGE_BYTES].map(Point::Bytes);
    [&requests[..], &unanswered, &bytes].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_point_of_a_push_loses_nothing() {
    let points = points();
    assert_eq!(points.len(), 20);
    let mut survived = 0;
    for point in &points {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let process = Process::start(root);
        let mut acknowledged = Acknowledged::default();
        reach(&process, *point, &mut acknowledged).await;
        process.kill();

        let process = Process::start(root);
        let mut client = Client::connect(process.address).await;
        check_files(root);
        check_acknowledged(&mut client, &acknowledged).await;
        let mut again = Acknowledged::default();
        push(&mut client, usize::MAX, &mut again).await;
        client.push_blob(NAME, large()).await;
        again.blobs.push(large());
        check_acknowledged(&mut client, &again).await;
        check_files(root);
        process.kill();
        survived += 1;
    }
    println!("{survived} of {} points", points.len());
}
