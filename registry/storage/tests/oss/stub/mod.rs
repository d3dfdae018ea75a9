//! A stub of Alibaba Cloud's object store: there is no server of it to install. It keeps objects in memory, checks every
//! signature by arithmetic of its own, and answers as the documentation says the store does; a parameter or header that it
//! does not know it refuses, so that a slip of the driver is not overlooked. What the real store does beyond its
//! documentation cannot be seen here.
//!
//! The bucket is the first part of the path where the request is for an IP address, and the stub's one bucket otherwise, as
//! for a domain that belongs to a bucket.

mod objects;
pub(crate) mod service;
mod signature;
mod uploads;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use objects::StoredObject;
use signature::{Received, parameters};
use uploads::Upload;

/// The stub, and all that it holds. Clones are the same; the server ends with the last of the [`Running`].
#[derive(Clone)]
pub(crate) struct Stub {
    shared: Arc<Mutex<State>>,
}

/// A server of the stub, which ends when it is dropped.
pub(crate) struct Running {
    /// What it holds.
    pub(crate) stub: Stub,
    /// Where it is.
    pub(crate) address: SocketAddr,
    server: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Default)]
struct State {
    region: String,
    /// The secret of each key, and the token that it must come with.
    keys: BTreeMap<String, (String, String)>,
    buckets: BTreeMap<String, Bucket>,
    /// How far the stub's clock is ahead, in seconds.
    ahead: i64,
    /// How many uploads were begun, and how many keys were given to roles.
    counted: u64,
    /// What was asked, as `METHOD path?query`.
    requests: Vec<String>,
}

/// A bucket.
#[derive(Default)]
pub(crate) struct Bucket {
    objects: BTreeMap<String, StoredObject>,
    uploads: BTreeMap<String, Upload>,
    /// Whether it keeps versions, with which the store overwrites whatever it is told. The stub forgets them.
    versions: bool,
}

/// What is wrong with a request.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Further elements of the answer.
    more: String,
}

fn failure(status: u16, code: &'static str, message: &str) -> Failure {
    let status = StatusCode::from_u16(status).unwrap();
    Failure { status, code, message: message.to_owned(), more: String::new() }
}

type Answer = Result<Response<Full<Bytes>>, Failure>;

/// A request whose sender is known to be who it says.
struct Asked {
    parts: Parts,
    bucket: String,
    name: String,
    query: BTreeMap<String, String>,
    body: Bytes,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, Failure> {
        let Some(text) = self.parameter(name) else { return Ok(default) };
        text.parse().map_err(|_| failure(400, "InvalidArgument", &format!("{name} is no number")))
    }

    /// Refuses what the stub does not know.
    fn expect(&self, parameters: &[&str], headers: &[&str]) -> Result<(), Failure> {
        let signs = ["x-oss-signature", "x-oss-date", "x-oss-expires", "x-oss-credential", "x-oss-signature-version"];
        let signs_v1 = ["OSSAccessKeyId", "Expires", "Signature", "security-token", "x-oss-security-token"];
        for name in self.query.keys().map(String::as_str) {
            if !parameters.contains(&name) && !signs.contains(&name) && !signs_v1.contains(&name) {
                return Err(failure(400, "InvalidArgument", &format!("the stub knows no parameter {name} here")));
            }
        }
        let signs = ["x-oss-date", "x-oss-content-sha256", "x-oss-security-token"];
        for name in self.parts.headers.keys().map(http::HeaderName::as_str) {
            if name.starts_with("x-oss-") && !headers.contains(&name) && !signs.contains(&name) {
                return Err(failure(400, "InvalidArgument", &format!("the stub knows no header {name} here")));
            }
        }
        Ok(())
    }
}

impl Stub {
    /// A stub that nobody can reach yet.
    pub(crate) fn unbound(region: &str, keys: &[(&str, &str)]) -> Self {
        let keys = keys.iter().map(|(id, secret)| ((*id).to_owned(), ((*secret).to_owned(), String::new()))).collect();
        let state = State { region: region.to_owned(), keys, ..State::default() };
        Stub { shared: Arc::new(Mutex::new(state)) }
    }

    /// Serves the stub on a free port.
    pub(crate) async fn serve(self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stub = self.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stub = stub.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let stub = stub.clone();
                        async move { Ok::<_, Infallible>(stub.answer(request).await) }
                    });
                    // Whoever goes away in the middle is no concern of the stub.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Running { stub: self, address, server: server.abort_handle() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap()
    }

    /// Makes an empty bucket.
    pub(crate) fn make_bucket(&self, name: &str) {
        self.state().buckets.insert(name.to_owned(), Bucket::default());
    }

    /// Has a bucket keep versions.
    pub(crate) fn keep_versions(&self, name: &str) {
        self.state().buckets.get_mut(name).unwrap().versions = true;
    }

    /// Takes a key in place of all others.
    pub(crate) fn set_key(&self, id: &str, secret: &str) {
        self.state().keys = BTreeMap::from([(id.to_owned(), (secret.to_owned(), String::new()))]);
    }

    /// Sets the stub's clock ahead, by this many seconds.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.state().ahead = seconds;
    }

    /// What was asked since this was called last.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    /// The names of the objects of a bucket.
    pub(crate) fn names(&self, bucket: &str) -> Vec<String> {
        self.state().buckets[bucket].objects.keys().cloned().collect()
    }

    /// How an object is kept: who may read it, and how it is encrypted.
    pub(crate) fn kept(&self, bucket: &str, name: &str) -> (String, String) {
        let state = self.state();
        let StoredObject { acl, encryption, .. } = &state.buckets[bucket].objects[name];
        (acl.clone(), encryption.clone())
    }

    /// The names and the number of parts of the uploads of a bucket.
    pub(crate) fn uploads(&self, bucket: &str) -> Vec<(String, usize)> {
        let state = self.state();
        state.buckets[bucket].uploads.values().map(|upload| (upload.name.clone(), upload.parts.len())).collect()
    }

    fn now(&self) -> i64 {
        Timestamp::now().as_second() + self.state().ahead
    }

    fn region(&self) -> String {
        self.state().region.clone()
    }

    /// The secret of a key that comes with a token, or none.
    fn secret(&self, id: &str, token: &str) -> Result<String, Failure> {
        match self.state().keys.get(id) {
            None => {
                let text = "The OSS Access Key Id you provided does not exist in our records.";
                Err(failure(403, "InvalidAccessKeyId", text))
            }
            Some((_, wanted)) if wanted != token => {
                Err(failure(403, "InvalidSecurityToken", "The security token you provided is invalid."))
            }
            Some((secret, _)) => Ok(secret.clone()),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_head = request.method() == Method::HEAD;
        let (parts, body) = request.into_parts();
        self.state().requests.push(format!("{} {}", parts.method, parts.uri));
        let Ok(body) = body.collect().await else { return Response::default() };
        let query = parameters(parts.uri.query().unwrap_or_default());
        if query.contains_key("Action") {
            return self.assume_role(&parts, &query, &body.to_bytes());
        }
        let answer = self.answer_to(parts, query, body.to_bytes());
        answer.unwrap_or_else(|failure| failure.answer(is_head))
    }

    fn answer_to(&self, parts: Parts, query: BTreeMap<String, String>, body: Bytes) -> Answer {
        let host = parts.headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let path = decode(parts.uri.path().strip_prefix('/').unwrap_or_default());
        let is_ip = host.parse::<SocketAddr>().is_ok();
        let (bucket, name) = if is_ip {
            let (bucket, name) = path.split_once('/').unwrap_or((&path, ""));
            (bucket.to_owned(), name.to_owned())
        } else {
            (self.state().buckets.keys().next().cloned().unwrap_or_default(), path)
        };
        let received = Received { parts: &parts, bucket: &bucket, name: &name, query: &query };
        signature::check(self, &received)?;
        if !self.state().buckets.contains_key(&bucket) {
            return Err(failure(404, "NoSuchBucket", "The specified bucket does not exist."));
        }
        let asked = Asked { parts, bucket, name, query, body };
        self.dispatch(&asked)
    }

    fn dispatch(&self, asked: &Asked) -> Answer {
        let has = |name: &str| asked.query.contains_key(name);
        let is_copy = asked.header("x-oss-copy-source").is_some();
        match (asked.parts.method.as_str(), asked.name.as_str()) {
            ("GET", "") if asked.parameter("list-type") == Some("2") => self.list_objects(asked),
            ("GET", "") if has("uploads") => self.list_uploads(asked),
            ("POST", "") if has("delete") => self.delete_objects(asked),
            (_, "") => Err(failure(400, "InvalidArgument", "the stub does not know this request")),
            ("GET", _) if has("uploadId") => self.list_parts(asked),
            ("GET" | "HEAD", _) => self.get_object(asked),
            ("PUT", _) if has("uploadId") && is_copy => self.upload_part_copy(asked),
            ("PUT", _) if has("uploadId") => self.upload_part(asked),
            ("PUT", _) if is_copy => self.copy_object(asked),
            ("PUT", _) => self.put_object(asked),
            ("POST", _) if has("uploads") => self.initiate(asked),
            ("POST", _) if has("uploadId") => self.complete(asked),
            ("DELETE", _) if has("uploadId") => self.abort(asked),
            ("DELETE", _) => self.delete_object(asked),
            _ => Err(failure(405, "MethodNotAllowed", "the stub does not know this request")),
        }
    }
}

impl Failure {
    fn answer(self, is_head: bool) -> Response<Full<Bytes>> {
        let Failure { status, code, message, more } = self;
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>{code}</Code>\n  <Message>{message}</Message>\n  \
             <RequestId>5C3D9175B6FC201293AD0001</RequestId>\n  <HostId>stub</HostId>\n{more}</Error>\n"
        );
        let answer = Response::builder().status(status).header("content-type", "application/xml");
        if is_head {
            return answer.header("x-oss-err", STANDARD.encode(text)).body(Full::default()).unwrap();
        }
        answer.body(Full::new(Bytes::from(text))).unwrap()
    }
}

fn xml(root: &str, content: &str) -> Answer {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>{content}</{root}>");
    Ok(Response::builder().header("content-type", "application/xml").body(Full::new(Bytes::from(text))).unwrap())
}

fn empty(status: u16) -> Answer {
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

/// Undoes URL encoding; a plus sign stays.
fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// A name as an answer has it: encoded, if the request asks for that.
fn shown(asked: &Asked, name: &str) -> String {
    if asked.parameter("encoding-type") == Some("url") {
        return percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
    }
    quick_xml::escape::escape(name).into_owned()
}
