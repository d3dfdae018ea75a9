//! An account of Swift in memory, for tests of what the real one does not do: pages that are shorter than was asked for,
//! segments of another time, keys that others replace. It knows the requests that the driver sends, and refuses others.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::wire::decoded;
use super::{Swift, SwiftOptions};

/// The container.
const CONTAINER: &str = "images";
/// How long something may take to come about.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A running one. Clones are the same.
#[derive(Clone)]
pub(super) struct Fake {
    address: String,
    state: Arc<Mutex<State>>,
}

/// What it holds, and how it behaves.
#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<String, Stored>,
    /// What it says of itself; nothing: it does not say.
    pub(super) info: Option<Value>,
    /// The most entries of a page, whatever was asked for.
    pub(super) page: usize,
    /// Names that only listings have.
    pub(super) hidden: Vec<String>,
    /// What the names begin with that listings do not have yet.
    pub(super) unlisted: Option<String>,
    /// Objects of which those who look hear nothing yet: they see these.
    pub(super) stale: BTreeMap<String, Stored>,
    /// Whether an answer to a manifest breaks off before it says anything, and nothing is written.
    pub(super) breaks_off: bool,
    /// What waits before it is answered.
    pub(super) gate: Option<Arc<Gate>>,
    /// The headers of the container.
    pub(super) container: HeaderMap,
    /// How long its tokens last, as it says.
    pub(super) lasts: Option<String>,
    /// What was asked, as method and address behind the account's.
    pub(super) asked: Vec<String>,
}

/// Holds up requests to write objects whose headers or query have a text, until they are let through.
pub(super) struct Gate {
    text: &'static str,
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    pub(super) fn new(text: &'static str) -> Arc<Self> {
        Arc::new(Self { text, arrived: Semaphore::new(0), open: Semaphore::new(0) })
    }

    /// Waits until so many requests are held up.
    pub(super) async fn arrived(&self, count: u32) {
        tokio::time::timeout(PATIENCE, self.arrived.acquire_many(count)).await.unwrap().unwrap().forget();
    }

    /// Lets all through, those that come later as well.
    pub(super) fn open(&self) {
        self.open.close();
    }

    async fn pass(&self, head: &Parts) {
        let is_held =
            head.headers.contains_key(self.text) || head.uri.query().is_some_and(|query| query.contains(self.text));
        if head.method == Method::PUT && is_held {
            self.arrived.add_permits(1);
            let closed = self.open.acquire().await;
            assert!(closed.is_err());
        }
    }
}

/// An object.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) content: Bytes,
    /// Whether the content is a list of segments.
    pub(super) is_manifest: bool,
    pub(super) modified: SystemTime,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = State { page: usize::MAX, ..State::default() };
        let fake = Fake { address, state: Arc::new(Mutex::new(state)) };
        let served = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = served.clone();
                let service = service_fn(move |request| {
                    let fake = fake.clone();
                    async move { Ok::<_, Infallible>(fake.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        fake
    }

    /// The driver on it, which knows what it can do.
    pub(super) async fn open(&self) -> Swift {
        let options = SwiftOptions {
            auth_url: format!("{}/auth/v1.0", self.address),
            username: "me".into(),
            password: Some("pass".into()),
            container: CONTAINER.into(),
            chunk_bytes: super::options::MIN_CHUNK_BYTES,
            ..SwiftOptions::default()
        };
        let swift = Swift::open(options).await.unwrap();
        swift.probe().await.unwrap();
        swift
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The names of all objects.
    pub(super) fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// How many pages of listings were asked for since this was called last.
    pub(super) fn take_pages(&self) -> usize {
        let asked = std::mem::take(&mut self.state().asked);
        asked.iter().filter(|line| line.starts_with("GET ?format=json")).count()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let content = body.collect().await.unwrap().to_bytes();
        let path = decoded(head.uri.path());
        let query = head.uri.query().unwrap_or_default().to_owned();
        let gate = self.state().gate.clone();
        if let Some(gate) = gate {
            gate.pass(&head).await;
        }
        let mut state = self.state();
        if path == "/auth/v1.0" {
            let answer = Response::builder().header("x-auth-token", "t");
            let answer = answer.header("x-storage-url", format!("{}/v1/AUTH_me", self.address));
            let answer = state.lasts.iter().fold(answer, |answer, lasts| answer.header("x-auth-token-expires", lasts));
            return answer.body(Full::default()).unwrap();
        }
        if path == "/info" {
            return match &state.info {
                Some(info) => Response::new(info.to_string().into()),
                None => status(StatusCode::NOT_FOUND),
            };
        }
        let Some(rest) = path.strip_prefix(&format!("/v1/AUTH_me/{CONTAINER}")) else {
            return status(StatusCode::NOT_FOUND);
        };
        state.asked.push(format!("{} {rest}?{query}", head.method));
        match rest.strip_prefix('/') {
            None => state.of_container(&head.method, &query, &head.headers),
            Some(name) => state.of_object(&head.method, name, &query, &head.headers, content),
        }
    }
}

impl State {
    /// Writes an object.
    pub(super) fn put(&mut self, name: &str, content: impl Into<Bytes>, modified: SystemTime) {
        let stored = Stored { content: content.into(), is_manifest: false, modified };
        self.objects.insert(name.to_owned(), stored);
    }

    /// Has only listings show a name.
    pub(super) fn hide(&mut self, name: &str) {
        self.hidden.push(name.to_owned());
    }

    fn of_container(&mut self, method: &Method, query: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        match *method {
            Method::GET => Response::new(Value::from(self.page(query)).to_string().into()),
            Method::HEAD => {
                let mut answer = status(StatusCode::NO_CONTENT);
                answer.headers_mut().extend(self.container.clone());
                answer
            }
            Method::POST => {
                let given = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-container-meta-"));
                self.container.extend(given.map(|(name, value)| (Some(name.clone()), value.clone())));
                status(StatusCode::NO_CONTENT)
            }
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn page(&self, query: &str) -> Vec<Value> {
        let value = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == wanted).map(|(_, value)| decoded(value))
        };
        let (prefix, marker) = (value("prefix").unwrap_or_default(), value("marker").unwrap_or_default());
        let limit = value("limit").map_or(10_000, |limit| limit.parse().unwrap()).min(self.page);
        let mut rows: BTreeMap<String, Value> = BTreeMap::new();
        let is_listed = |name: &str| !self.unlisted.as_ref().is_some_and(|unlisted| name.starts_with(unlisted));
        let listed = self.objects.iter().filter(|(name, _)| name.starts_with(&prefix) && is_listed(name));
        for (name, stored) in listed {
            let end = value("delimiter").and_then(|_| name[prefix.len()..].find('/'));
            let row = match end {
                Some(end) => {
                    let directory = &name[..=prefix.len() + end];
                    (directory.to_owned(), json!({ "subdir": directory }))
                }
                None => {
                    let bytes = if stored.is_manifest { 0 } else { stored.content.len() };
                    let modified = Timestamp::try_from(stored.modified).unwrap().to_string();
                    let modified = modified.trim_end_matches('Z');
                    (name.clone(), json!({ "name": name, "bytes": bytes, "last_modified": modified, "hash": "" }))
                }
            };
            rows.extend((row.0 > marker).then_some(row));
        }
        for name in self.hidden.iter().filter(|name| name.starts_with(&prefix) && **name > marker) {
            let row = json!({ "name": name, "bytes": 1, "last_modified": "2026-01-01T00:00:00", "hash": "" });
            rows.insert(name.clone(), row);
        }
        rows.into_values().take(limit).collect()
    }

    fn of_object(
        &mut self,
        method: &Method,
        name: &str,
        query: &str,
        headers: &HeaderMap,
        content: Bytes,
    ) -> Response<Full<Bytes>> {
        let header = |wanted: &str| headers.get(wanted).map(|value| value.to_str().unwrap());
        let looks = matches!(method.as_str(), "GET" | "HEAD");
        let found = self.stale.get(name).filter(|_| looks).or_else(|| self.objects.get(name)).cloned();
        match (method.as_str(), found) {
            ("PUT", _) if self.breaks_off && query.contains("multipart-manifest=put") => {
                let mut answer = status(StatusCode::ACCEPTED);
                *answer.body_mut() = Bytes::from_static(b"  \r\n").into();
                answer
            }
            ("PUT", Some(_)) if header("if-none-match") == Some("*") => status(StatusCode::PRECONDITION_FAILED),
            ("PUT", _) => {
                let is_manifest = query.contains("multipart-manifest=put");
                let source = header("x-copy-from").map(|from| decoded(from.split_once('/').unwrap().1));
                let content = match source {
                    None => content,
                    Some(from) if !self.objects.contains_key(&from) => return status(StatusCode::NOT_FOUND),
                    Some(from) => part(&self.whole(&self.objects[&from]), header("range")),
                };
                self.objects.insert(name.to_owned(), Stored { content, is_manifest, modified: SystemTime::now() });
                let mut answer = status(StatusCode::CREATED);
                answer.headers_mut().insert("etag", "\"tag\"".parse().unwrap());
                answer
            }
            (_, None) => status(StatusCode::NOT_FOUND),
            ("DELETE", Some(_)) => {
                self.objects.remove(name);
                status(StatusCode::NO_CONTENT)
            }
            ("POST", Some(_)) => status(StatusCode::ACCEPTED),
            ("GET" | "HEAD", Some(stored)) => {
                let content = match query.contains("multipart-manifest=get") {
                    true => stored.content.clone(),
                    false => self.whole(&stored),
                };
                let since = stored.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                let answer = Response::builder()
                    .header("x-timestamp", format!("{}.0", since.as_secs()))
                    .header("x-static-large-object", if stored.is_manifest { "True" } else { "" })
                    .header("content-length", content.len());
                let is_head = *method == Method::HEAD;
                answer.body(if is_head { Full::default() } else { content.into() }).unwrap()
            }
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// The content of an object, put together of its segments if it has such.
    fn whole(&self, stored: &Stored) -> Bytes {
        if !stored.is_manifest {
            return stored.content.clone();
        }
        let listed: Vec<Value> = serde_json::from_slice(&stored.content).unwrap();
        let paths = listed.iter().map(|segment| segment["path"].as_str().unwrap());
        let names = paths.map(|path| path.strip_prefix(&format!("/{CONTAINER}/")).unwrap());
        names.map(|name| self.objects[name].content.clone()).collect::<Vec<_>>().concat().into()
    }
}

/// What a header asks for of a content.
fn part(content: &Bytes, range: Option<&str>) -> Bytes {
    let Some(range) = range else { return content.clone() };
    let (first, last) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
    content.slice(first.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap())
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::default();
    *answer.status_mut() = status;
    answer
}
