//! docker-registry 2.8 and the driver take turns on one container.

use std::process::{Child, Command};

use aws_lc_rs::digest::{SHA256, digest};
use berth_storage::bucket::Bucket;
use bytes::Bytes;
use http::header::LOCATION;
use http::{Method, Request, StatusCode};
use http_body_util::Full;

use crate::lab::{Answer, CHUNK, Lab, content, key, put_parts, read, until};

/// Where docker-registry keeps everything.
const ROOT: &str = "docker/registry/v2";

/// A running docker-registry on the container of a lab.
struct Peer<'a> {
    lab: &'a Lab,
    address: String,
    program: String,
    settings: std::path::PathBuf,
    process: Option<Child>,
    _directory: tempfile::TempDir,
}

impl<'a> Peer<'a> {
    async fn start(lab: &'a Lab) -> Self {
        let package =
            std::env::var("BERTH_DOCKER_REGISTRY").expect("BERTH_DOCKER_REGISTRY is not set: run `make stores`");
        let program = format!("{package}/usr/bin/docker-registry");
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("config.yml");
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let content = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\nstorage:\n  delete: {{enabled: true}}\n  \
             swift: {{authurl: '{}', username: '{}', password: '{}', container: '{}', chunksize: {CHUNK}}}\n",
            lab.server.auth_url, lab.server.user, lab.server.key, lab.container
        );
        std::fs::write(&settings, content).unwrap();
        let process = Command::new(&program).arg("serve").arg(&settings).spawn().unwrap();
        let address = format!("http://{address}");
        let peer = Peer { lab, address, program, settings, process: Some(process), _directory: directory };
        until("docker-registry", async || {
            std::net::TcpStream::connect(peer.address.trim_start_matches("http://")).is_ok()
        })
        .await;
        peer
    }

    /// A request, answered by it or, as it says, by the store.
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], content: Bytes) -> Answer {
        let address = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.address) };
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.lab.fetch(request.body(Full::new(content)).unwrap()).await;
        if answer.status == StatusCode::TEMPORARY_REDIRECT {
            let location = answer.headers[LOCATION].to_str().unwrap();
            return self.lab.fetch(Request::get(location).body(Full::default()).unwrap()).await;
        }
        answer
    }

    /// Begins an upload and sends a part of it. Gives where to go on.
    async fn begin(&self, content: &Bytes) -> String {
        let location = |answer: &Answer| answer.headers[LOCATION].to_str().unwrap().to_owned();
        let begun = self.ask(Method::POST, "/v2/image/blobs/uploads/", &[], Bytes::new()).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        let sent = self.ask(Method::PATCH, &location(&begun), &[], content.clone()).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED);
        location(&sent)
    }

    async fn push_blob(&self, content: &Bytes) {
        let location = format!("{}&digest={}", self.begin(content).await, name(content).replace(':', "%3A"));
        let pushed = self.ask(Method::PUT, &location, &[], Bytes::new()).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.content);
    }

    async fn pull(&self, kind: &str, reference: &str) -> Bytes {
        let accept = [("accept", MANIFEST_TYPE)];
        let answer = self.ask(Method::GET, &format!("/v2/image/{kind}/{reference}"), &accept, Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind} {reference}: {:?}", answer.content);
        answer.content
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn collect(&self) {
        let collected = Command::new(&self.program).arg("garbage-collect").arg(&self.settings).output().unwrap();
        assert!(collected.status.success(), "{}", String::from_utf8_lossy(&collected.stderr));
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux"}"#;

fn hex(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

fn blob(content: &[u8]) -> String {
    let hex = hex(content);
    format!("{ROOT}/blobs/sha256/{}/{hex}/data", &hex[..2])
}

fn manifest(layer: &[u8]) -> Bytes {
    let layer_type = "application/vnd.oci.image.layer.v1.tar";
    let text = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": name(CONFIG), "size": CONFIG.len() },
        "layers": [{ "mediaType": layer_type, "digest": name(layer), "size": layer.len() }],
    });
    text.to_string().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real servers: run `make stores`"]
async fn docker_registry_and_the_driver_take_turns() {
    let lab = Lab::open().await;
    let swift = lab.swift().await;
    let mut peer = Peer::start(&lab).await;

    // It pushes, and the driver reads.
    let theirs = content(1, 3 * CHUNK + 5);
    peer.push_blob(&theirs).await;
    peer.push_blob(&Bytes::from_static(CONFIG)).await;
    let their_manifest = manifest(&theirs);
    let kind = [("content-type", MANIFEST_TYPE)];
    let pushed = peer.ask(Method::PUT, "/v2/image/manifests/theirs", &kind, their_manifest.clone()).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.content);
    let their_blob = key(&blob(&theirs));
    assert!(read(&swift, &their_blob).await == theirs);
    assert!(lab.headers(&format!("files/{their_blob}")).await.contains_key("x-object-manifest"));
    assert_eq!(read(&swift, &key(&blob(&their_manifest))).await, their_manifest);

    // The driver pushes, and docker-registry reads.
    let ours = content(2, 3 * CHUNK + 9);
    let our_manifest = manifest(&ours);
    let pieces: Vec<Bytes> = ours.chunks(CHUNK).map(Bytes::copy_from_slice).collect();
    put_parts(&swift, &key(&blob(&ours)), &pieces).await;
    swift.put(&key(&blob(&our_manifest)), our_manifest.clone()).await.unwrap();
    let repository = format!("{ROOT}/repositories/image");
    let (layer, revision) = (hex(&ours), hex(&our_manifest));
    for (link, target) in [
        (format!("_layers/sha256/{layer}/link"), name(&ours)),
        (format!("_manifests/revisions/sha256/{revision}/link"), name(&our_manifest)),
        (format!("_manifests/tags/ours/index/sha256/{revision}/link"), name(&our_manifest)),
        ("_manifests/tags/ours/current/link".to_owned(), name(&our_manifest)),
    ] {
        swift.put(&key(&format!("{repository}/{link}")), target.into()).await.unwrap();
    }
    assert_eq!(peer.pull("manifests", "ours").await, our_manifest);
    assert!(peer.pull("blobs", &name(&ours)).await == ours);
    let head = peer.ask(Method::HEAD, &format!("/v2/image/blobs/{}", name(&ours)), &[], Bytes::new()).await;
    assert_eq!(head.headers["content-length"], ours.len().to_string());

    // An upload of its own is seen as far as it has come.
    let begun = peer.begin(&ours).await;
    let id = begun.split("/uploads/").nth(1).unwrap().split('?').next().unwrap();
    let upload = key(&format!("{repository}/_uploads/{id}/data"));
    assert!(read(&swift, &upload).await == ours);

    // It collects what the driver has pushed, and nothing is left of it; what is in use stays.
    for reference in [name(&our_manifest), name(&their_manifest)] {
        let path = format!("/v2/image/manifests/{reference}");
        assert_eq!(peer.ask(Method::DELETE, &path, &[], Bytes::new()).await.status, StatusCode::ACCEPTED);
    }
    let pushed = peer.ask(Method::PUT, "/v2/image/manifests/theirs", &kind, their_manifest.clone()).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.content);
    peer.stop();
    peer.collect();
    let left = lab.names().await;
    assert!(!left.iter().any(|name| name.contains(&layer) && name.contains("/blobs/")), "{left:?}");
    assert!(read(&swift, &their_blob).await == theirs);

    // And the driver removes what docker-registry has written.
    swift.remove(&[their_blob, upload, key(&blob(CONFIG))]).await.unwrap();
    assert_eq!(lab.segments().await, 0, "{:?}", lab.names().await);
}
