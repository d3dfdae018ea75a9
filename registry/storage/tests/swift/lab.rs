//! A container of its own on the real Swift for each test, looked at past the driver.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth_storage::bucket::Bucket;
use berth_storage::{Key, Swift, SwiftOptions};
use berth_stores::Programs;
use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;

/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// The smallest segment that the driver takes, in bytes.
pub(crate) const CHUNK: usize = 1 << 20;

/// The server, one for all tests.
pub(crate) async fn server() -> &'static berth_stores::Swift {
    static SERVER: OnceCell<berth_stores::Swift> = OnceCell::const_new();
    SERVER.get_or_init(async || berth_stores::Swift::start(&Programs::from_env()).await.unwrap()).await
}

/// A container.
pub(crate) struct Lab {
    pub(crate) server: &'static berth_stores::Swift,
    client: Client<HttpConnector, Full<Bytes>>,
    pub(crate) token: String,
    /// The address of the account.
    pub(crate) storage: String,
    pub(crate) container: String,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Bytes,
}

impl Lab {
    pub(crate) async fn open() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let server = server().await;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let login = Request::get(&server.auth_url);
        let login = login.header("x-auth-user", &server.user).header("x-auth-key", &server.key);
        let answer = client.request(login.body(Full::default()).unwrap()).await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let container = format!("lab-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { server, client, token: header("x-auth-token"), storage: header("x-storage-url"), container };
        let created = lab.ask(Method::PUT, "", &[], Bytes::new()).await;
        assert!(created.status.is_success());
        lab
    }

    pub(crate) fn options(&self) -> SwiftOptions {
        SwiftOptions {
            auth_url: self.server.auth_url.clone(),
            username: self.server.user.clone(),
            password: Some(self.server.key.clone()),
            container: self.container.clone(),
            chunk_bytes: CHUNK as u64,
            ..SwiftOptions::default()
        }
    }

    /// The container as the driver sees it.
    pub(crate) async fn swift(&self) -> Swift {
        let swift = Swift::open(self.options()).await.unwrap();
        swift.probe().await.unwrap();
        swift
    }

    /// A request of what follows the container in an address.
    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], content: Bytes) -> Answer {
        let address = format!("{}/{}{path}", self.storage, self.container);
        let mut request = Request::builder().method(method).uri(address).header("x-auth-token", &self.token);
        if content.is_empty() {
            request = request.header("content-length", 0);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.fetch(request.body(Full::new(content)).unwrap()).await
    }

    pub(crate) async fn fetch(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        Answer { status: head.status, headers: head.headers, content: body.collect().await.unwrap().to_bytes() }
    }

    /// Writes an object, past the driver.
    pub(crate) async fn put(&self, name: &str, headers: &[(&str, &str)], content: Bytes) {
        let answer = self.ask(Method::PUT, &format!("/{name}"), headers, content).await;
        assert!(answer.status.is_success(), "{name}: {}", answer.status);
    }

    /// All names in the container, segments too.
    pub(crate) async fn names(&self) -> Vec<String> {
        let answer = self.ask(Method::GET, "", &[], Bytes::new()).await;
        String::from_utf8(answer.content.to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// How many names are those of segments, ours or docker-registry's.
    pub(crate) async fn segments(&self) -> usize {
        let is_segment = |name: &&String| name.contains("/.berth-segments/") || name.starts_with("segments/");
        self.names().await.iter().filter(is_segment).count()
    }

    /// Writes an object as docker-registry does: segments of a chunk, and a manifest that names what they begin with. Gives
    /// the names of the segments.
    pub(crate) async fn put_dynamic(&self, name: &str, prefix: &str, content: &Bytes) -> usize {
        let mut count = 0;
        for piece in content.chunks(CHUNK) {
            count += 1;
            self.put(&format!("{prefix}/{count:016}"), &[], Bytes::copy_from_slice(piece)).await;
        }
        let manifest = format!("{}/{prefix}", self.container);
        self.put(name, &[("x-object-manifest", &manifest)], Bytes::new()).await;
        count
    }

    /// How the store keeps an object: its headers.
    pub(crate) async fn headers(&self, name: &str) -> HeaderMap {
        let answer = self.ask(Method::HEAD, &format!("/{name}"), &[], Bytes::new()).await;
        assert!(answer.status.is_success(), "{name}: {}", answer.status);
        answer.headers
    }
}

/// A key that must be right.
pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn content(seed: usize, length: usize) -> Bytes {
    (0..length).map(|n| ((n + seed * 7) % 251) as u8).collect::<Vec<_>>().into()
}

/// A whole object.
pub(crate) async fn read(bucket: &dyn Bucket, at: &Key) -> Bytes {
    let object = bucket.get(at, None).await.unwrap();
    object.body.try_collect::<Vec<Bytes>>().await.unwrap().concat().into()
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes an object in parts.
pub(crate) async fn put_parts(bucket: &dyn Bucket, at: &Key, parts: &[Bytes]) {
    let assembly = bucket.begin_parts(at).await.unwrap();
    let mut tags = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        tags.push(bucket.put_part(at, &assembly, index + 1, part.clone()).await.unwrap());
    }
    let size = parts.iter().map(|part| part.len() as u64).sum();
    bucket.complete_parts(at, &assembly, tags, size).await.unwrap();
}
