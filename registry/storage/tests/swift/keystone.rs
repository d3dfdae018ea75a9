//! A stand-in for Keystone: it speaks the published API of tokens, versions 2 and 3, and hands the tokens of the real
//! Swift's own TempAuth through. What it does not know of a request, it refuses.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lab::Lab;

/// How it behaves.
#[derive(Clone)]
pub(crate) struct Behaviour {
    /// How long its tokens last, in seconds.
    pub(crate) lasts: i64,
    /// The password that it believes.
    pub(crate) password: String,
    /// How many of its next tokens Swift will not believe.
    pub(crate) bad_tokens: usize,
    /// Whether it fails.
    pub(crate) broken: bool,
}

/// A running one.
#[derive(Clone)]
pub(crate) struct Keystone {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    behaviour: Behaviour,
    /// What was asked for, in order.
    asked: Vec<Value>,
    token: String,
    storage: String,
}

impl Keystone {
    pub(crate) async fn start(lab: &Lab) -> Self {
        let behaviour = Behaviour { lasts: 3600, password: "right".into(), bad_tokens: 0, broken: false };
        let (token, storage) = (lab.token.clone(), lab.storage.clone());
        let state = Arc::new(Mutex::new(State { behaviour, asked: Vec::new(), token, storage }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keystone = Keystone { address: listener.local_addr().unwrap(), state };
        let served = keystone.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let keystone = served.clone();
                let service = service_fn(move |request| {
                    let keystone = keystone.clone();
                    async move { Ok::<_, Infallible>(keystone.answer(request).await) }
                });
                tokio::spawn(async move {
                    let connection = TokioIo::new(connection);
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(connection, service).await;
                });
            }
        });
        keystone
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state.lock().unwrap().behaviour);
    }

    /// How many tokens were asked for.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// The last that was asked for.
    pub(crate) fn last(&self) -> Value {
        self.state.lock().unwrap().asked.last().unwrap().clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let is_json = request.headers().get("content-type").is_some_and(|kind| kind == "application/json");
        let content = request.into_body().collect().await.unwrap().to_bytes();
        let asked: Value = serde_json::from_slice(&content).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        state.asked.push(asked.clone());
        if state.behaviour.broken {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "The service is currently unable to handle the request.");
        }
        if !is_json {
            return refusal(StatusCode::BAD_REQUEST, "Expecting to find application/json in Content-Type header.");
        }
        let token = match state.behaviour.bad_tokens {
            0 => state.token.clone(),
            left => {
                state.behaviour.bad_tokens = left - 1;
                format!("AUTH_tk-nobody-knows-{left}")
            }
        };
        let now = jiff::Timestamp::now();
        let end = now + jiff::SignedDuration::from_secs(state.behaviour.lasts);
        match path.as_str() {
            "/v3/auth/tokens" => third(&asked, &state, &token, now, end),
            "/v2.0/tokens" => second(&asked, &state, &token, now, end),
            _ => refusal(StatusCode::NOT_FOUND, "Could not find the resource."),
        }
    }
}

fn third(
    asked: &Value,
    state: &State,
    token: &str,
    now: jiff::Timestamp,
    end: jiff::Timestamp,
) -> Response<Full<Bytes>> {
    let identity = &asked["auth"]["identity"];
    let user = &identity["password"]["user"];
    if identity["methods"] != json!(["password"])
        || !(user["domain"]["name"].is_string() || user["domain"]["id"].is_string())
    {
        return refusal(StatusCode::BAD_REQUEST, "Expecting to find domain in user. The server could not comply.");
    }
    if user["name"] != "me" || user["password"] != state.behaviour.password.as_str() {
        return unauthorized();
    }
    let endpoint = |interface: &str, region: &str, url: &str| json!({ "id": "e", "interface": interface, "region": region, "region_id": region, "url": url });
    let content = json!({ "token": {
        "methods": ["password"],
        "user": { "domain": { "id": "default", "name": "Default" }, "id": "u", "name": "me", "password_expires_at": null },
        "audit_ids": ["a"],
        "project": { "domain": { "id": "default", "name": "Default" }, "id": "project-7", "name": "images" },
        "is_domain": false,
        "roles": [{ "id": "r", "name": "member" }],
        "issued_at": format!("{now:.6}"),
        "expires_at": format!("{end:.6}"),
        "catalog": [
            { "type": "identity", "id": "1", "name": "keystone", "endpoints": [endpoint("public", "one", "http://nowhere.invalid")] },
            { "type": "object-store", "id": "2", "name": "swift", "endpoints": [
                endpoint("public", "one", "http://nowhere.invalid"),
                endpoint("admin", "two", "http://nowhere.invalid"),
                endpoint("internal", "two", &state.storage),
            ] },
        ],
    } });
    let answer = Response::builder().status(StatusCode::CREATED).header("x-subject-token", token);
    answer.header("content-type", "application/json").body(Full::new(content.to_string().into())).unwrap()
}

fn second(
    asked: &Value,
    state: &State,
    token: &str,
    now: jiff::Timestamp,
    end: jiff::Timestamp,
) -> Response<Full<Bytes>> {
    let user = &asked["auth"]["passwordCredentials"];
    if user["username"] != "me" || user["password"] != state.behaviour.password.as_str() {
        return unauthorized();
    }
    let content = json!({ "access": {
        "token": {
            "issued_at": format!("{now:.6}").trim_end_matches('Z'),
            "expires": format!("{end:.0}"),
            "id": token,
            "tenant": { "id": "project-7", "name": "images", "enabled": true, "description": "" },
        },
        "serviceCatalog": [
            { "type": "object-store", "name": "swift", "endpoints_links": [], "endpoints": [
                { "region": "one", "publicURL": "http://nowhere.invalid", "internalURL": "http://nowhere.invalid", "id": "1" },
                { "region": "two", "publicURL": state.storage, "internalURL": "http://nowhere.invalid", "adminURL": "http://nowhere.invalid" },
            ] },
        ],
        "user": { "username": "me", "id": "u", "roles": [{ "name": "member" }], "roles_links": [], "name": "me" },
        "metadata": { "is_admin": 0, "roles": ["r"] },
    } });
    Response::builder().header("content-type", "application/json").body(Full::new(content.to_string().into())).unwrap()
}

fn unauthorized() -> Response<Full<Bytes>> {
    refusal(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.")
}

fn refusal(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason();
    let content = json!({ "error": { "code": status.as_u16(), "message": message, "title": title } });
    Response::builder().status(status).body(Full::new(content.to_string().into())).unwrap()
}
