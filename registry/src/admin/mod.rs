//! `/admin/v1/…` on the debug port: what may be done to a running server by whoever holds the token.
//!
//! The token is checked here, before anything else of a request is looked at; each route is a module.

pub(crate) mod gc;
pub(crate) mod read_only;
pub(crate) mod revoke;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::audit::{Administration, Audit, Reason};
use crate::http::{Body, answer};
use crate::issuer::Issuer;
use crate::registry::Registry;
use crate::server::Peer;

/// Under which path everything here lies.
pub(crate) const PREFIX: &str = "/admin/v1/";
/// The path of the route that collects garbage.
pub(crate) const GC_PATH: &str = "/admin/v1/gc";
/// The path of the route that makes a registry read-only, and writable again.
pub(crate) const READ_ONLY_PATH: &str = "/admin/v1/read-only";
/// The path of the route that revokes the refresh tokens of a user.
pub(crate) const REVOKE_PATH: &str = "/admin/v1/revoke-tokens";
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The administration of a registry.
pub(crate) struct Admin {
    pub(crate) registry: Arc<Registry>,
    /// What issues tokens, if the server does.
    pub(crate) issuer: Option<Arc<Issuer>>,
    /// Read again for each request, so that a rotated token counts at once.
    pub(crate) token_file: PathBuf,
    /// What is told of decisions about who may do this.
    pub(crate) audit: Audit,
}

/// Why a request is not done.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Collect,
    Standing,
    Switch,
    Revoke,
}

impl Route {
    /// What is asked for, as it is audited, and whether it changes anything.
    const fn audited(self) -> (&'static str, bool) {
        match self {
            Route::Collect => ("collect", true),
            Route::Standing => ("read-only-status", false),
            Route::Switch => ("read-only-switch", true),
            Route::Revoke => ("revoke-tokens", true),
        }
    }
}

/// Reads a method and a path; else the methods that the path has, none if there is no such path.
fn route(method: &Method, path: &str) -> Result<Route, Option<&'static str>> {
    match (path, method.as_str()) {
        (GC_PATH, "POST") => Ok(Route::Collect),
        (GC_PATH, _) => Err(Some("POST")),
        (READ_ONLY_PATH, "GET" | "HEAD") => Ok(Route::Standing),
        (READ_ONLY_PATH, "PUT") => Ok(Route::Switch),
        (REVOKE_PATH, "POST") => Ok(Route::Revoke),
        (REVOKE_PATH, _) => Err(Some("POST")),
        (READ_ONLY_PATH, _) => Err(Some("GET, HEAD, PUT")),
        _ => Err(None),
    }
}

/// Answers a request below [`PREFIX`].
pub(crate) async fn serve(admin: &Admin, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let head = *request.method() == Method::HEAD;
    let route = match route(request.method(), request.uri().path()) {
        Ok(route) => route,
        Err(Some(allow)) => {
            let mut response = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
            answer::set(&mut response, header::ALLOW, allow);
            return response;
        }
        Err(None) => return answer::empty(StatusCode::NOT_FOUND),
    };
    let authorized = authorize(admin, request.headers()).await;
    let mut trail = admin.audit.begin();
    let (action, changes) = route.audited();
    let (method, headers) = (request.method(), request.headers());
    trail.administration(
        reason(&authorized, headers),
        &Administration { action, changes, method, headers, peer: &peer },
    );
    let outcome = match authorized {
        Err(refused) => Err(refused),
        Ok(()) => match route {
            Route::Collect => gc::collect(admin, request).await,
            Route::Standing => Ok(read_only::standing(admin, head)),
            Route::Switch => read_only::switch(admin, request).await,
            Route::Revoke => revoke::revoke(admin, request).await,
        },
    };
    let response = outcome.unwrap_or_else(|refused| refused.response(head));
    trail.answered(&response);
    response
}

/// Why a request may go on, or may not, as it is audited.
fn reason(authorized: &Result<(), Refused>, headers: &HeaderMap) -> Reason {
    match authorized {
        Ok(()) => Reason::AdminToken,
        Err(refused) if refused.status != StatusCode::UNAUTHORIZED => Reason::Unverifiable,
        Err(_) if headers.contains_key(header::AUTHORIZATION) => Reason::BadCredentials,
        Err(_) => Reason::NoCredentials,
    }
}

impl Refused {
    fn bad_request(message: String) -> Self {
        Refused { status: StatusCode::BAD_REQUEST, code: "BAD_REQUEST", message }
    }

    fn response(&self, head: bool) -> Response<Body> {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = answer::json(self.status, body.to_string().into(), head);
        if self.status == StatusCode::UNAUTHORIZED {
            answer::set(&mut response, header::WWW_AUTHENTICATE, "Bearer realm=\"berth-admin\"");
        }
        response
    }
}

async fn authorize(admin: &Admin, headers: &HeaderMap) -> Result<(), Refused> {
    let expected = tokio::fs::read_to_string(&admin.token_file).await.map_err(|error| {
        tracing::error!(path = %admin.token_file.display(), %error, "cannot read the admin token");
        let message = "the server cannot read its admin token".to_owned();
        Refused { status: StatusCode::SERVICE_UNAVAILABLE, code: "TOKEN_UNAVAILABLE", message }
    })?;
    if is_authorized(headers, expected.trim()) {
        return Ok(());
    }
    let message = "the admin token is missing or wrong".to_owned();
    Err(Refused { status: StatusCode::UNAUTHORIZED, code: "UNAUTHORIZED", message })
}

fn is_authorized(headers: &HeaderMap, expected: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
    // An empty file must not open the route to an empty token.
    let Some(token) = given.strip_prefix(b"Bearer ").filter(|_| !expected.is_empty()) else { return false };
    token.ct_eq(expected.as_bytes()).into()
}

/// Reads the JSON that a request holds.
async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| Refused::bad_request(format!("the body cannot be read: {error}")))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| Refused::bad_request(format!("the body is not a request: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_told_apart() {
        fn check(method: &Method, path: &str, expected: Result<Route, Option<&'static str>>) {
            assert_eq!(route(method, path), expected, "{method} {path}");
        }
        check(&Method::POST, "/admin/v1/gc", Ok(Route::Collect));
        check(&Method::GET, "/admin/v1/gc", Err(Some("POST")));
        check(&Method::GET, "/admin/v1/read-only", Ok(Route::Standing));
        check(&Method::HEAD, "/admin/v1/read-only", Ok(Route::Standing));
        check(&Method::PUT, "/admin/v1/read-only", Ok(Route::Switch));
        check(&Method::POST, "/admin/v1/read-only", Err(Some("GET, HEAD, PUT")));
        check(&Method::POST, "/admin/v1/revoke-tokens", Ok(Route::Revoke));
        check(&Method::GET, "/admin/v1/revoke-tokens", Err(Some("POST")));
        check(&Method::GET, "/admin/v1/", Err(None));
        check(&Method::GET, "/admin/v1/gc/", Err(None));
    }

    #[test]
    fn who_is_let_in() {
        fn check(header: Option<&str>, expected: &str, admitted: bool) {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(is_authorized(&headers, expected), admitted, "{header:?} against {expected:?}");
        }
        check(Some("Bearer abc"), "abc", true);
        check(Some("Bearer abd"), "abc", false);
        check(Some("Bearer ab"), "abc", false);
        check(Some("Basic abc"), "abc", false);
        check(None, "abc", false);
        check(Some("Bearer "), "", false);
    }
}
