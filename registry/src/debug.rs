//! The debug port: health, metrics, administration.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use crate::admin::{self, Admin};
use crate::auth::Authenticator;
use crate::health::Health;
use crate::http::Body;
use crate::http::answer;
use crate::http::{Failure, host};
use crate::issuer::Issuer;
use crate::metrics::Metrics;
use crate::reach::Reach;
use crate::server::Peer;

/// What the debug port answers with.
pub(crate) struct Debug {
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reach: Arc<Reach>,
    /// What fetches keys of others, as far as there is something.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) issuer: Option<Arc<Issuer>>,
    /// Where metrics are; nowhere if they are switched off.
    pub(crate) metrics_path: Option<String>,
    /// The administration; none if no token is configured.
    pub(crate) admin: Option<Admin>,
}

pub(crate) async fn serve(debug: &Debug, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    if let Err(error) = host::check(request.version(), request.headers()) {
        return Failure::from(error).response(*request.method() == Method::HEAD);
    }
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let head = *request.method() == Method::HEAD;
    if path == "/debug/health" {
        return if is_read { health(&debug.health, head) } else { wrong_method("GET, HEAD") };
    }
    if path == "/debug/storage" {
        let looked =
            || async { answer::json(StatusCode::OK, json!(debug.reach.look().await).to_string().into(), head) };
        return if is_read { looked().await } else { wrong_method("GET, HEAD") };
    }
    if path == "/debug/issuers" {
        return if is_read { issuers(debug, head).await } else { wrong_method("GET, HEAD") };
    }
    if Some(path) == debug.metrics_path.as_deref() {
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let text = debug.metrics.text().into();
        return if is_read { answer::full(StatusCode::OK, media_type, text, head) } else { wrong_method("GET, HEAD") };
    }
    match &debug.admin {
        Some(admin) if path.starts_with(admin::PREFIX) => admin::serve(admin, request, peer).await,
        _ => answer::full(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into(), head),
    }
}

/// How it stands with the keys of others whose tokens are believed.
async fn issuers(debug: &Debug, head: bool) -> Response<Body> {
    let mut standings = Vec::new();
    if let Some(authenticator) = &debug.authenticator {
        standings.extend(authenticator.standings().await);
    }
    if let Some(issuer) = &debug.issuer {
        standings.extend(issuer.standings().await);
    }
    answer::json(StatusCode::OK, json!({ "issuers": standings }).to_string().into(), head)
}

fn health(health: &Health, head: bool) -> Response<Body> {
    let failures = health.failures();
    let status = if failures.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::json(status, json!(failures).to_string().into(), head)
}

fn wrong_method(allow: &str) -> Response<Body> {
    let mut response = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
    answer::set(&mut response, header::ALLOW, allow);
    response
}
