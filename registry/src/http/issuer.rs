//! The issuer over HTTP: Docker's protocol by `GET`, OAuth 2.0's by `POST`, and the documents.

use std::time::Duration;

use berth_oci::ErrorCode;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::answer::{self, Body};
use super::errors::Failure;
use super::form_urlencoded;
use crate::audit::{OfTokens, Reason, Trail};
use crate::auth::basic::{self, Basic};
use crate::auth::{Grant, quoted};
use crate::issuer::{self, ACCESS_TOKEN, Denial, Endpoint, Issued, Issuer, RequestError, Shown, Wanted};
use crate::registry::Registry;
use crate::route::Rejection;
use crate::server::Peer;

/// The largest form: a token of another issuer fits.
const MAX_FORM_BYTES: usize = 256 * 1024;
/// How long a form may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers a request for one of the issuer's paths.
pub(super) async fn handle(
    (issuer, registry): (&Issuer, &Registry),
    endpoint: Endpoint,
    request: Request<Incoming>,
    peer: &Peer,
    trail: &mut Trail,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    match (endpoint, &parts.method) {
        (Endpoint::Keys, &Method::GET | &Method::HEAD) => {
            let mut response = answer::full(StatusCode::OK, "application/jwk-set+json", issuer.keys().await, is_head);
            // A key is published before it signs, for longer than this.
            answer::set(&mut response, header::CACHE_CONTROL, "public, max-age=60");
            Ok(response)
        }
        (Endpoint::Discovery, &Method::GET | &Method::HEAD) => {
            Ok(answer::json(StatusCode::OK, issuer.discovery().to_string().into(), is_head))
        }
        (Endpoint::Token, &Method::GET) => by_query((issuer, registry), &parts, peer, trail).await,
        (Endpoint::Token, &Method::POST) => by_form((issuer, registry), &parts, body, peer, trail).await,
        (Endpoint::Revoke, &Method::POST) => revoke(issuer, &parts, body, peer, trail).await,
        (Endpoint::Keys | Endpoint::Discovery, _) => Err(Rejection::Method { allow: "GET, HEAD" }.into()),
        (Endpoint::Token, _) => Err(Rejection::Method { allow: "GET, POST" }.into()),
        (Endpoint::Revoke, _) => Err(Rejection::Method { allow: "POST" }.into()),
    }
}

/// Has a token issued, and the decision audited. A registry that is read-only gets no refresh tokens into its store.
async fn issue(
    (issuer, registry): (&Issuer, &Registry),
    wanted: Wanted,
    parts: &Parts,
    peer: &Peer,
    trail: &mut Trail,
) -> Result<Issued, Denial> {
    let named = match &wanted.shown {
        Shown::Password { name, .. } if trail.is_on() => Some(name.clone()),
        _ => None,
    };
    let outcome = issuer.issue(wanted, peer.address.map(|address| address.ip()), || registry.writable().ok()).await;
    if trail.is_on() {
        let (reason, user, authentication) = match &outcome {
            Ok(Issued { user: None, authentication, .. }) => (Reason::Everybody, None, *authentication),
            Ok(Issued { user, authentication, .. }) => (Reason::Credentials, user.clone(), *authentication),
            Err(denial) => {
                let named = match named {
                    Some(named) if issuer.is_user(&named).await => Some(named),
                    _ => None,
                };
                (denial.reason(), named, "issuer")
            }
        };
        let Parts { method, headers, .. } = parts;
        let action = "issue-token";
        // One that comes back is no new one.
        let is_new = |issued: &Issued| issued.refresh_token.is_some() && issued.authentication != "refresh-token";
        let changes = outcome.as_ref().is_ok_and(is_new);
        trail
            .token(reason, &OfTokens { action, changes, user: user.as_deref(), authentication, method, headers, peer });
    }
    outcome
}

/// Docker's protocol: what is wanted is in the query, and who asks in a header.
async fn by_query(
    (issuer, registry): (&Issuer, &Registry),
    parts: &Parts,
    peer: &Peer,
    trail: &mut Trail,
) -> Result<Response<Body>, Failure> {
    let challenge = || format!("Basic realm={}", quoted(issuer.service()));
    let unauthorized = |denial: &Denial| {
        Failure::saying(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, denial.to_string())
            .with(header::WWW_AUTHENTICATE, challenge())
    };
    let shown = match basic::read(&parts.headers) {
        // What some clients send that have none.
        Basic::Given { name, password } if name.is_empty() && password.is_empty() => Shown::Nothing,
        Basic::Given { name, password } => Shown::Password { name, password },
        Basic::Absent => Shown::Nothing,
        Basic::Malformed => {
            let Parts { method, headers, .. } = parts;
            let (action, authentication, user) = ("issue-token", "issuer", None);
            let asked = OfTokens { action, changes: false, user, authentication, method, headers, peer };
            trail.token(Reason::BadCredentials, &asked);
            return Err(unauthorized(&Denial::Password));
        }
    };
    let query = form_urlencoded(parts.uri.query().unwrap_or_default())?;
    let wanted = issuer::of_query(&query, shown).map_err(|error| bad_request(&error))?;
    match issue((issuer, registry), wanted, parts, peer, trail).await {
        Ok(issued) => {
            let mut fields = fields(&issued);
            fields.insert("token".into(), issued.token.into());
            Ok(of_token(StatusCode::OK, fields))
        }
        Err(denial @ (Denial::Anonymous | Denial::Password | Denial::Refresh | Denial::Token)) => {
            Err(unauthorized(&denial))
        }
        Err(denial) => Err(otherwise(denial)),
    }
}

fn bad_request(error: &dyn std::fmt::Display) -> Failure {
    Failure::saying(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, error.to_string())
}

/// What is not the fault of whoever asks, or not of their credentials.
fn otherwise(denial: Denial) -> Failure {
    match denial {
        Denial::Auth(error) => error.into(),
        Denial::Store(error) => Failure::from(crate::error::Error::from(error)),
        Denial::Key => Failure::internal(denial),
        denial => bad_request(&denial),
    }
}

/// OAuth 2.0: everything is in a form.
async fn by_form(
    (issuer, registry): (&Issuer, &Registry),
    parts: &Parts,
    body: Incoming,
    peer: &Peer,
    trail: &mut Trail,
) -> Result<Response<Body>, Failure> {
    let wanted = match read_form(&parts.headers, body).await?.map(|form| issuer::of_form(&form)) {
        Ok(Ok(wanted)) => wanted,
        Ok(Err(error)) => return Ok(refused(StatusCode::BAD_REQUEST, error.code(), &error.to_string())),
        Err(problem) => return Ok(refused(StatusCode::BAD_REQUEST, "invalid_request", problem)),
    };
    let is_exchange = wanted.is_exchange;
    match issue((issuer, registry), wanted, parts, peer, trail).await {
        Ok(issued) => {
            let mut fields = fields(&issued);
            fields.insert("token_type".into(), "Bearer".into());
            fields.insert("scope".into(), scopes(&issued.grants).into());
            if is_exchange {
                fields.insert("issued_token_type".into(), ACCESS_TOKEN.into());
            }
            Ok(of_token(StatusCode::OK, fields))
        }
        Err(denial @ (Denial::Anonymous | Denial::Password)) => {
            // With this status, clients that know both protocols say that the password is wrong.
            let mut response = refused(StatusCode::UNAUTHORIZED, "invalid_grant", &denial.to_string());
            let challenge = format!("Basic realm={}", quoted(issuer.service()));
            answer::set(&mut response, header::WWW_AUTHENTICATE, &challenge);
            Ok(response)
        }
        Err(denial @ (Denial::Refresh | Denial::Token)) => {
            Ok(refused(StatusCode::BAD_REQUEST, "invalid_grant", &denial.to_string()))
        }
        Err(denial @ Denial::Service(_)) => Ok(refused(StatusCode::BAD_REQUEST, "invalid_target", &denial.to_string())),
        Err(denial) => Err(otherwise(denial)),
    }
}

/// RFC 7009.
async fn revoke(
    issuer: &Issuer,
    parts: &Parts,
    body: Incoming,
    peer: &Peer,
    trail: &mut Trail,
) -> Result<Response<Body>, Failure> {
    let Parts { method, headers, .. } = parts;
    let form = match read_form(headers, body).await? {
        Ok(form) => form,
        Err(problem) => return Ok(refused(StatusCode::BAD_REQUEST, "invalid_request", problem)),
    };
    let token =
        form.iter().find(|(key, _)| key == "token").map(|(_, value)| value.as_str()).filter(|token| !token.is_empty());
    let Some(token) = token else {
        let missing = RequestError::Missing("token");
        return Ok(refused(StatusCode::BAD_REQUEST, missing.code(), &missing.to_string()));
    };
    let failed = |error| Failure::from(crate::error::Error::from(error));
    if trail.is_on() {
        // Of what is no token nobody is told that it is none (RFC 7009, 2.2), but the log is.
        let owner = issuer.owner(token).await.map_err(failed)?;
        let (action, user) = ("revoke-token", owner.as_deref());
        let (changes, authentication, reason) = match user {
            Some(_) => (true, "refresh-token", Reason::Credentials),
            None => (false, "issuer", Reason::BadCredentials),
        };
        trail.token(reason, &OfTokens { action, changes, user, authentication, method, headers, peer });
    }
    issuer.revoke(token).await.map_err(failed)?;
    Ok(of_token(StatusCode::OK, Map::new()))
}

type Form = Vec<(String, String)>;

/// The fields of a form; what is wrong where it is none.
async fn read_form(headers: &HeaderMap, body: Incoming) -> Result<Result<Form, &'static str>, Failure> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(Err("the body is no form (Content-Type: application/x-www-form-urlencoded)"));
    }
    let content = match tokio::time::timeout(PATIENCE, Limited::new(body, MAX_FORM_BYTES).collect()).await {
        Ok(Ok(content)) => content.to_bytes(),
        Ok(Err(_)) => return Ok(Err("the body breaks off, or has more than 256 KiB")),
        Err(_) => return Ok(Err("the body did not arrive in time")),
    };
    match std::str::from_utf8(&content) {
        Ok(text) => Ok(Ok(form_urlencoded(text)?)),
        Err(_) => Ok(Err("the body is not UTF-8")),
    }
}

/// What both protocols say of a token.
fn fields(issued: &Issued) -> Map<String, Value> {
    let mut fields = Map::new();
    let at = jiff::Timestamp::from_second(issued.at).unwrap_or_default();
    fields.insert("access_token".into(), issued.token.clone().into());
    fields.insert("expires_in".into(), issued.seconds.into());
    fields.insert("issued_at".into(), at.to_string().into());
    if let Some(token) = &issued.refresh_token {
        fields.insert("refresh_token".into(), token.clone().into());
    }
    fields
}

/// What was granted, as scopes.
fn scopes(grants: &[Grant]) -> String {
    let scope = |grant: &Grant| {
        let class = if grant.class.is_empty() { String::new() } else { format!("({})", grant.class) };
        format!("{}{class}:{}:{}", grant.kind, grant.name, grant.actions.join(","))
    };
    grants.iter().map(scope).collect::<Vec<_>>().join(" ")
}

/// An answer that nobody may keep (RFC 6749, 5.1).
fn of_token(status: StatusCode, fields: Map<String, Value>) -> Response<Body> {
    let mut response = answer::json(status, Value::Object(fields).to_string().into(), false);
    answer::set(&mut response, header::CACHE_CONTROL, "no-store");
    answer::set(&mut response, header::PRAGMA, "no-cache");
    response
}

/// An error of OAuth 2.0 (RFC 6749, 5.2), and the same for clients that look for errors of a registry.
fn refused(status: StatusCode, code: &str, description: &str) -> Response<Body> {
    let told = if status == StatusCode::UNAUTHORIZED { ErrorCode::Unauthorized } else { ErrorCode::Unsupported };
    let Value::Object(fields) = json!({
        "error": code,
        "error_description": description,
        "errors": [{"code": told.as_str(), "message": description}],
    }) else {
        unreachable!("an object was written")
    };
    of_token(status, fields)
}
