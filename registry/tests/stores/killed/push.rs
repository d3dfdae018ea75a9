//! A client as good ones are: each request on a new connection; after one that has failed it asks how far the upload
//! has come, and goes on from there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use berth_oci::{Algorithm, Digest, Hasher};
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::content::Layer;

/// How long an answer may take, and how long it may go on without any progress.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the client waits after a failure that does not say how long.
const PAUSE: Duration = Duration::from_millis(50);
/// The most failed requests of one layer.
const MAX_FAILURES: usize = 100;

type Body = BoxBody<Bytes, std::io::Error>;
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How a layer is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// In requests of so many bytes, each of which says which they are.
    Chunks(u64),
    /// In one request that says nothing of its length.
    Stream,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushed {
    /// Requests that were acknowledged.
    acknowledged: usize,
    /// Requests that broke off without an answer.
    broken: usize,
    /// Requests that were refused for now.
    refused: usize,
    /// How often it went on from exactly the last acknowledged byte.
    from_acknowledged: usize,
    /// How often more had been kept than was acknowledged.
    from_beyond: usize,
}

pub(super) struct Pusher {
    address: SocketAddr,
    name: &'static str,
    pushed: Pushed,
    /// When there was progress last.
    progress: Instant,
}

impl Pusher {
    pub(super) fn new(address: SocketAddr, name: &'static str) -> Self {
        Pusher { address, name, pushed: Pushed::default(), progress: Instant::now() }
    }

    /// Pushes a layer until it is there.
    pub(super) async fn push(mut self, layer: &Layer, shape: Shape) -> Pushed {
        let mut location = self.begin().await;
        let (mut offset, mut acknowledged) = (0, 0);
        while offset < layer.bytes() {
            match self.append(&location, layer, offset, shape).await {
                Some(answer) => {
                    (location, offset) = (path_of(&answer), end_of(&answer));
                    acknowledged = offset;
                    self.pushed.acknowledged += 1;
                    self.progress = Instant::now();
                }
                None => {
                    let found;
                    (location, found) = self.ask(&location).await;
                    assert!(found >= acknowledged, "{acknowledged} bytes were acknowledged, and {found} are there");
                    match found > acknowledged {
                        true => self.pushed.from_beyond += 1,
                        false => self.pushed.from_acknowledged += 1,
                    }
                    offset = found;
                }
            }
        }
        self.finish(&location, layer).await;
        self.pushed
    }

    async fn begin(&mut self) -> String {
        let target = format!("/v2/{}/blobs/uploads/", self.name);
        loop {
            if let Some(answer) = self.send(Method::POST, &target, &[], empty()).await {
                assert_eq!(answer.status(), StatusCode::ACCEPTED);
                return path_of(&answer);
            }
        }
    }

    /// Sends what follows; nothing if it was not acknowledged.
    async fn append(&mut self, location: &str, layer: &Layer, offset: u64, shape: Shape) -> Option<Response<Bytes>> {
        let answer = match shape {
            Shape::Stream => self.send(Method::PATCH, location, &[], body(layer, offset, layer.bytes())).await,
            Shape::Chunks(bytes) => {
                let end = layer.bytes().min(offset + bytes);
                let (range, length) = (format!("{offset}-{}", end - 1), (end - offset).to_string());
                let headers = [(header::CONTENT_RANGE, range), (header::CONTENT_LENGTH, length)];
                self.send(Method::PATCH, location, &headers, body(layer, offset, end)).await
            }
        }?;
        match answer.status() {
            StatusCode::ACCEPTED => Some(answer),
            // Another request has written meanwhile, whose answer is lost.
            StatusCode::RANGE_NOT_SATISFIABLE => None,
            _ => panic!("{answer:?}"),
        }
    }

    /// Asks how far the upload has come.
    async fn ask(&mut self, location: &str) -> (String, u64) {
        loop {
            let Some(answer) = self.send(Method::GET, location, &[], empty()).await else { continue };
            assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{answer:?}");
            return (path_of(&answer), end_of(&answer));
        }
    }

    /// The last request, sent again until there is an answer: whoever was killed over it, and whatever is left of the upload,
    /// that is what the first one would have been told.
    async fn finish(&mut self, location: &str, layer: &Layer) {
        let target = format!("{location}&digest={}", layer.digest());
        loop {
            if let Some(answer) = self.send(Method::PUT, &target, &[], empty()).await {
                assert_eq!(answer.status(), StatusCode::CREATED, "{answer:?}");
                return;
            }
        }
    }

    /// One request; nothing if there was no answer, or one that says that there may be one later, after a pause.
    async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(header::HeaderName, String)],
        body: Body,
    ) -> Option<Response<Bytes>> {
        let pause = match send(self.address, &method, target, headers, body).await {
            Ok(answer) if answer.status().is_server_error() => {
                self.pushed.refused += 1;
                assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
                text(&answer, &header::RETRY_AFTER).parse().map_or(PAUSE, Duration::from_secs)
            }
            Ok(answer) => return Some(answer),
            Err(_) => {
                self.pushed.broken += 1;
                PAUSE
            }
        };
        let failures = self.pushed.broken + self.pushed.refused;
        assert!(failures < MAX_FAILURES && self.progress.elapsed() < PATIENCE, "{method} {target}: {:?}", self.pushed);
        tokio::time::sleep(pause).await;
        None
    }
}

/// Pulls a blob; its length, and the digest of what came.
pub(super) async fn pull(address: SocketAddr, name: &str, digest: &Digest) -> (u64, Digest) {
    let target = format!("/v2/{name}/blobs/{digest}");
    let mut answer = open(address, &Method::GET, &target, &[], empty()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    while let Some(frame) = answer.frame().await {
        hasher.update(&frame.unwrap().into_data().unwrap());
    }
    (hasher.bytes(), hasher.finish())
}

async fn send(
    address: SocketAddr,
    method: &Method,
    target: &str,
    headers: &[(header::HeaderName, String)],
    body: Body,
) -> Result<Response<Bytes>, Failed> {
    let whole = async {
        let (head, body) = open(address, method, target, headers, body).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    tokio::time::timeout(PATIENCE, whole).await?
}

/// Sends a request on a connection of its own, which ends with the answer.
async fn open(
    address: SocketAddr,
    method: &Method,
    target: &str,
    headers: &[(header::HeaderName, String)],
    body: Body,
) -> Result<Response<Incoming>, Failed> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header(header::HOST, address.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Ok(sender.send_request(request.body(body)?).await?)
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed()
}

fn body(layer: &Layer, start: u64, end: u64) -> Body {
    let pieces = layer.part(start, end).map(|piece| Ok(Frame::data(piece)));
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}

fn text<'a>(answer: &'a Response<Bytes>, name: &header::HeaderName) -> &'a str {
    answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// Where the upload goes on, as a path.
fn path_of(answer: &Response<Bytes>) -> String {
    let location = text(answer, &header::LOCATION);
    let (_, path) = location.split_once("/v2/").unwrap_or_else(|| panic!("{answer:?}"));
    format!("/v2/{path}")
}

/// How many bytes have arrived. Of one byte an answer says what it says of none, and no request here has only one.
fn end_of(answer: &Response<Bytes>) -> u64 {
    let last = text(answer, &header::RANGE).strip_prefix("0-").and_then(|last| last.parse::<u64>().ok());
    last.map_or(0, |last| if last == 0 { 0 } else { last + 1 })
}
