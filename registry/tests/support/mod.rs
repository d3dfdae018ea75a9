//! What the tests share: a server in this process, a client over a real socket, and small images.

#![allow(dead_code, unreachable_pub, reason = "no test uses all of it, and each test includes it as a module")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

pub mod signer;

use std::net::SocketAddr;
use std::sync::Arc;

use berth_config::{Admin, Config, Debug, Driver, Filesystem, Prometheus};
use berth_oci::{Digest, media_type};
use berth_registry::Running;
use berth_storage::layers::{Shelf, ShelfOptions};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

pub const TOKEN: &str = "0123456789abcdef";

/// A configuration for tests: loopback, any free port, deletion allowed, no access log.
pub fn config(driver: Driver) -> Config {
    let mut config = Config::default();
    config.storage.driver = driver;
    config.http.addr = "127.0.0.1:0".into();
    config.log.accesslog.disabled = true;
    config
}

pub fn filesystem(directory: &std::path::Path) -> Driver {
    Driver::Filesystem(Filesystem { rootdirectory: directory.to_path_buf(), maxthreads: 25 })
}

/// What a server of a test keeps its content in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Directory,
    /// An object store: a bucket in memory, through all that is made of one.
    Bucket,
}

/// A server in this process, on a directory that goes with it.
pub struct Server {
    pub running: Running,
    pub directory: tempfile::TempDir,
}

impl Server {
    /// Starts a server on a store of this kind, with a debug port and the admin token.
    pub async fn start(in_memory: bool, change: impl FnOnce(&mut Config)) -> Server {
        Server::start_on(if in_memory { Kind::Memory } else { Kind::Directory }, change).await
    }

    pub async fn start_on(kind: Kind, change: impl FnOnce(&mut Config)) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        let driver = match kind {
            Kind::Memory | Kind::Bucket => Driver::InMemory,
            Kind::Directory => filesystem(&directory.path().join("data")),
        };
        let mut config = config(driver);
        config.http.debug = Some(Debug {
            addr: "127.0.0.1:0".into(),
            prometheus: Prometheus { enabled: true, path: "/metrics".into() },
            admin: Some(Admin { tokenfile: token }),
        });
        change(&mut config);
        let running = match kind {
            Kind::Memory | Kind::Directory => berth_registry::start(&config).await,
            Kind::Bucket => {
                let bucket = Arc::new(Shelf::new(ShelfOptions::default()));
                berth_registry::start_on_bucket(&config, bucket).await
            }
        };
        Server { running: running.unwrap(), directory }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.running.address()).await
    }

    pub async fn debug_client(&self) -> Client {
        Client::connect(self.running.debug_address().unwrap()).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The codes of an error answer, with the status in front.
    pub fn codes(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let codes = body["errors"].as_array().into_iter().flatten();
        let codes: Vec<&str> = codes.map(|error| error["code"].as_str().unwrap()).collect();
        format!("{} {}", self.status.as_u16(), codes.join(" ")).trim_end().to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

/// A client on one connection, which it makes anew when the server has closed it.
pub struct Client {
    pub address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client { address, sender: Client::sender(address).await }
    }

    async fn sender(address: SocketAddr) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub async fn send(&mut self, method: Method, target: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        self.try_send(method, target, headers, body).await.unwrap()
    }

    pub async fn try_send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, hyper::Error> {
        if self.sender.ready().await.is_err() {
            self.sender = Client::sender(self.address).await;
        }
        // A location may be absolute; a request to an origin names only the path.
        let path = target.strip_prefix(&format!("http://{}", self.address)).unwrap_or(target);
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.sender.send_request(request.body(Full::new(body)).unwrap()).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.send(Method::GET, target, &[("accept", ACCEPT_ALL)], Bytes::new()).await
    }

    pub async fn head(&mut self, target: &str) -> Answer {
        self.send(Method::HEAD, target, &[("accept", ACCEPT_ALL)], Bytes::new()).await
    }

    pub async fn delete(&mut self, target: &str) -> Answer {
        self.send(Method::DELETE, target, &[], Bytes::new()).await
    }

    pub async fn post(&mut self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Method::POST, target, &[], body.into()).await
    }

    pub async fn put(&mut self, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send(Method::PUT, target, headers, body.into()).await
    }

    pub async fn patch(&mut self, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send(Method::PATCH, target, headers, body.into()).await
    }

    /// Pushes a blob in one request.
    pub async fn push_blob(&mut self, name: &str, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::sha256(&content);
        self.post(&format!("/v2/{name}/blobs/uploads/?digest={digest}"), content).await.expect(201);
        digest
    }

    /// Pushes a manifest under a tag.
    pub async fn push_manifest(&mut self, name: &str, reference: &str, manifest: &Document) -> Answer {
        let target = format!("/v2/{name}/manifests/{reference}");
        self.put(&target, &[("content-type", manifest.media_type)], manifest.raw.clone()).await
    }

    /// Pushes an image of one configuration and these layers.
    pub async fn push_image(&mut self, name: &str, tag: &str, layers: &[&str]) -> Document {
        let image = Document::image(tag, layers);
        self.push_blob(name, config_of(tag)).await;
        for layer in layers {
            self.push_blob(name, (*layer).to_owned()).await;
        }
        self.push_manifest(name, tag, &image).await.expect(201);
        image
    }
}

pub const ACCEPT_ALL: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest to push.
#[derive(Clone, Debug)]
pub struct Document {
    pub media_type: &'static str,
    pub raw: Bytes,
}

pub fn config_of(tag: &str) -> String {
    json!({ "architecture": "amd64", "os": "linux", "made-for": tag }).to_string()
}

impl Document {
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.raw)
    }

    fn of(media_type: &'static str, value: &Value) -> Document {
        Document { media_type, raw: value.to_string().into() }
    }

    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.raw.len() })
    }

    /// An OCI image whose configuration is [`config_of`] and whose layers are these texts.
    pub fn image(tag: &str, layers: &[&str]) -> Document {
        Document::image_about(tag, layers, None)
    }

    pub fn image_about(tag: &str, layers: &[&str], subject: Option<&Document>) -> Document {
        let blob = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": Digest::sha256(content), "size": content.len() });
        let layers: Vec<Value> =
            layers.iter().map(|layer| blob("application/vnd.oci.image.layer.v1.tar", layer.as_bytes())).collect();
        let mut value = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_IMAGE,
            "config": blob("application/vnd.oci.image.config.v1+json", config_of(tag).as_bytes()),
            "layers": layers,
        });
        if let Some(subject) = subject {
            value["subject"] = subject.descriptor();
        }
        Document::of(media_type::OCI_IMAGE, &value)
    }

    /// The same image as Docker writes it.
    pub fn docker(tag: &str, layers: &[&str]) -> Document {
        let image = Document::image(tag, layers);
        let mut value: Value = serde_json::from_slice(&image.raw).unwrap();
        value["mediaType"] = json!(media_type::DOCKER_IMAGE);
        Document::of(media_type::DOCKER_IMAGE, &value)
    }

    /// An index of images, each for a platform.
    pub fn index(media_type: &'static str, images: &[(&Document, &str)]) -> Document {
        let entries = images.iter().map(|(image, architecture)| {
            let mut entry = image.descriptor();
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry
        });
        let entries: Vec<Value> = entries.collect();
        Document::of(media_type, &json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }))
    }
}
