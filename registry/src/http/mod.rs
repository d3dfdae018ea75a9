//! The API over HTTP: a request becomes a route, the route an operation of the registry, and its outcome an answer.
//!
//! What the registry does with content is not known here; what its errors look like to a client stands in `errors` and
//! nowhere else.

mod accept;
pub(crate) mod answer;
mod blobs;
mod errors;
mod forwarded;
pub(crate) mod host;
mod issuer;
mod listings;
mod location;
mod manifests;
mod multipart;
mod range;
mod referrers;
mod state;
mod state_keys;
mod uploads;

use std::sync::Arc;
use std::time::Instant;

use berth_oci::ErrorCode;
use http::request::Parts;
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::audit::{Asked, Audit, Trail};
use crate::auth::certificate::{self, Certificates};
use crate::auth::{self, Authenticator, Challenge, Identity, Policy, Verdict, Why};
use crate::conditions::{Conditions, Unmet};
use crate::health::Health;
use crate::issuer::Issuer;
use crate::metrics::Metrics;
use crate::redirects::Redirects;
use crate::registry::Registry;
use crate::route::{self, Route};
use crate::schema1::Signer;
use crate::server::Peer;

pub use answer::Body;
pub use errors::Failure;
pub use location::Addresses;
pub use state::StateKey;
pub use state_keys::StateKeys;

/// Everything that a request is answered with.
pub struct App {
    /// The registry.
    pub registry: Arc<Registry>,
    /// What finds out who makes a request; nothing, where everybody is let in.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// What issues tokens, if this server does.
    pub issuer: Option<Arc<Issuer>>,
    /// How the certificate of a client says who makes a request; not at all if there is nothing.
    pub(crate) certificates: Option<Certificates>,
    /// How addresses are given out.
    pub addresses: Addresses,
    /// What signs the state in upload addresses; nothing yet if it lies in a store that could not be reached.
    pub state_keys: Arc<StateKeys>,
    /// What signs the schema 1 manifests that are served.
    pub signer: Signer,
    /// Headers that every answer of the API gets, unless it has one of that name by itself.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether requests are logged.
    pub access_log: bool,
    /// What is told of decisions about who may do what.
    pub(crate) audit: Audit,
    /// The most repositories of a page.
    pub max_catalog_entries: usize,
    /// The most tags of a page.
    pub max_tags: usize,
    /// Who may do what.
    pub policy: Policy,
    /// Where clients are sent for blobs; nowhere if the registry sends all of them itself.
    pub redirects: Option<Arc<dyn Redirects>>,
    /// Whether the store can be reached.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The parts of a request that answers are made from.
pub(crate) struct Context<'a> {
    pub(crate) app: &'a App,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    /// Where the request comes from.
    pub(crate) peer: Peer,
    /// Who makes the request, where that is asked for.
    pub(crate) actor: Option<&'a Identity>,
    pub(crate) query: Vec<(String, String)>,
    /// What stands in front of the paths that are given out.
    pub(crate) base: String,
}

impl Context<'_> {
    pub(crate) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the client makes the outcome depend on.
    pub(crate) fn conditions(&self) -> Conditions {
        let list = |name| {
            let mut values = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let first = values.next()?.into_owned();
            Some(values.fold(first, |list, value| list + "," + &value))
        };
        Conditions { matches: list(header::IF_MATCH), none_matches: list(header::IF_NONE_MATCH) }
    }

    /// What signs the state in upload addresses.
    pub(crate) async fn state_keys(&self) -> Result<&StateKeys, Failure> {
        let keys = &self.app.state_keys;
        if !keys.is_known() {
            return Err(Failure::unavailable("the store could not be reached yet".to_owned()));
        }
        keys.settle().await;
        Ok(keys)
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// Answers a request.
pub async fn serve(app: &App, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let start = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = match app.issuer.as_ref().and_then(|issuer| issuer.endpoint(&path)) {
        Some(endpoint) => Ok(Route::Issuer(endpoint)),
        None => route::parse(&method, &path, app.addresses.prefix()),
    };
    let handler = route::handler_name(&route);
    let of_the_api =
        !matches!(route, Ok(Route::Root | Route::Moved(_) | Route::Issuer(_)) | Err(route::Rejection::NotFound));
    let is_root = matches!(route, Ok(Route::Root));
    let _in_flight = app.metrics.in_flight(handler);
    let user_agent = request.headers().get(header::USER_AGENT).cloned();
    let request_bytes = content_length(request.headers());

    let (mut actor, mut trail) = (None, app.audit.begin());
    let (mut response, failure) = match answer(app, route, request, peer.clone(), &mut actor, &mut trail).await {
        Ok(response) => (response, None),
        Err(failure) => (failure.response(method == Method::HEAD), Some(failure)),
    };
    let headers = response.headers_mut();
    // The root is no part of the API.
    if !is_root || failure.is_some() {
        headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    }
    if of_the_api {
        add_configured(headers, &app.headers);
    }

    trail.answered(&response);
    let status = response.status();
    let response_bytes = content_length(response.headers());
    let seconds = start.elapsed().as_secs_f64();
    app.metrics.request(handler, method.as_str(), status.as_u16(), seconds, request_bytes, response_bytes);
    let cause = failure.as_ref().filter(|_| status.is_server_error()).map(ToString::to_string);
    if let Some(cause) = &cause {
        tracing::error!(%method, path, status = status.as_u16(), cause, "request failed");
    }
    if app.access_log {
        // The path without the query: upload addresses carry a signed state that whoever reads the log could use.
        let user_agent = user_agent.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("-");
        let status = status.as_u16();
        let user = actor.as_ref().map(Identity::name);
        tracing::info!(target: "access", %method, path, status, bytes = response_bytes, seconds, %peer, user, user_agent);
    }
    response
}

async fn answer(
    app: &App,
    route: Result<Route, route::Rejection>,
    request: Request<Incoming>,
    peer: Peer,
    actor: &mut Option<Identity>,
    trail: &mut Trail,
) -> Result<Response<Body>, Failure> {
    host::check(request.version(), request.headers())?;
    // Before anything that is asked for, so that whoever asks any path for whether this server can be used learns that it cannot.
    if let Err(reason) = app.health.check() {
        return Err(Failure::unavailable(reason));
    }
    let route = match route {
        Ok(Route::Root) => return Ok(root(request.method())),
        Ok(Route::Moved(path)) => return Ok(moved(request.method(), request.uri(), &path)),
        Ok(Route::Options { allow }) => {
            // What only reads is all that there is while nothing is written.
            let allow = if app.registry.writable().is_err() { "GET, HEAD" } else { allow };
            return Ok(options(request.uri().path(), allow));
        }
        Ok(Route::Issuer(endpoint)) => {
            let Some(issuer) = &app.issuer else { return Err(route::Rejection::NotFound.into()) };
            return issuer::handle((issuer, &app.registry), endpoint, request, &peer, trail).await;
        }
        Err(route::Rejection::NotFound) => return Err(route::Rejection::NotFound.into()),
        // Of all else it is told only to who may know what is wrong with the request.
        route => route,
    };
    let (parts, body) = request.into_parts();
    let query = form_urlencoded(parts.uri.query().unwrap_or_default())?;
    *actor = authenticate(app, &route, &parts, &query, &peer, trail).await?;
    let route = route?;
    let base = app.addresses.base(&parts.headers, parts.uri.authority().map(Authority::as_str), peer.secure);
    let context =
        Context { app, method: parts.method, headers: parts.headers, peer, actor: actor.as_ref(), query, base };
    match route {
        Route::Root | Route::Moved(_) | Route::Options { .. } | Route::Issuer(_) | Route::Base => {
            Ok(answer::json(StatusCode::OK, "{}".into(), context.is_head()))
        }
        Route::Catalog => listings::catalog(&context).await,
        Route::Repository(name) => {
            // A repository has no entity tag that could be named.
            if context.conditions().matches.is_some_and(|list| list.trim() != "*") {
                return Err(Unmet::Matches.into());
            }
            app.registry.repository_delete(&name).await?;
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        Route::Tags(name) => listings::tags(&context, &name).await,
        Route::Manifest(name, reference, action) => manifests::handle(&context, &name, &reference, action, body).await,
        Route::Referrers(name, subject) => referrers::handle(&context, &name, &subject).await,
        Route::Blob(name, digest, action) => blobs::handle(&context, &name, &digest, action).await,
        Route::UploadBegin(name) => uploads::begin(&context, &name, body).await,
        Route::Upload(name, id, action) => uploads::handle(&context, &name, id, action, body).await,
    }
}

/// Where a path leads that is not written as it should be. A path without host: the client knows which one it has asked.
/// As in Distribution, who reads gets a page with it (RFC 9110, 15.4.2) if a slash at the end makes the difference.
fn moved(method: &Method, uri: &Uri, path: &str) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{path}{query}");
    let asked = uri.path();
    let by_a_slash = asked.strip_suffix('/') == Some(path) || path.strip_suffix('/') == Some(asked);
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let mut response = if reads && by_a_slash && !asked.contains("//") {
        let page = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", in_html(&location));
        let is_head = method == Method::HEAD;
        answer::full(StatusCode::MOVED_PERMANENTLY, "text/html; charset=utf-8", page.into(), is_head)
    } else {
        answer::empty(StatusCode::MOVED_PERMANENTLY)
    };
    if method == Method::HEAD {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    answer::set(&mut response, header::LOCATION, &location);
    response
}

fn in_html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#39;")
}

/// The methods of a path, told to everybody: a browser asks before it sends credentials.
fn options(path: &str, allow: &str) -> Response<Body> {
    let mut response = match path.ends_with("/v2/") {
        true => answer::json(StatusCode::OK, "{}".into(), false),
        false => answer::empty(StatusCode::OK),
    };
    answer::set(&mut response, header::ALLOW, allow);
    response
}

/// Who makes a request, where somebody does who may; none where everybody may.
///
/// # Errors
/// With a challenge, where other credentials might do.
async fn authenticate(
    app: &App,
    parsed: &Result<Route, route::Rejection>,
    parts: &Parts,
    query: &[(String, String)],
    peer: &Peer,
    trail: &mut Trail,
) -> Result<Option<Identity>, Failure> {
    let Parts { method, headers, .. } = parts;
    let route = parsed.as_ref().ok();
    let mount_from = route.and_then(|route| auth::source_of_mount(route, query));
    let wanted = route.map(|route| auth::wanted(route, method, mount_from.as_ref())).unwrap_or_default();
    let answer = match &app.authenticator {
        Some(authenticator) => {
            Some(authenticator.authenticate(headers, peer.address.map(|address| address.ip())).await)
        }
        None => None,
    };
    let (answer, past) = match &app.certificates {
        Some(settings) => certificate::beside(answer, certificate::shown(settings, peer.client.as_deref())),
        None => (answer, None),
    };
    let verdict = match auth::judge(&app.policy, answer, &wanted) {
        Verdict::Refused(why, None) => Verdict::Refused(why, past),
        verdict => verdict,
    };
    if trail.is_on() {
        let said = match (&verdict, &app.authenticator) {
            (Verdict::Refused(Why::Bad, None) | Verdict::Failed(_), Some(authenticator)) => {
                authenticator.said(headers).await
            }
            _ => None,
        };
        let (handler, from) = (route::handler_name(parsed), mount_from.as_ref());
        let asked = Asked { route, handler, method, headers, peer, wanted: &wanted, from };
        trail.decided(&verdict, &asked, said.as_deref());
    }
    let why = match verdict {
        Verdict::Granted(identity, _) => return Ok(identity),
        Verdict::Failed(error) => return Err(error.into()),
        // A name and a password, or a token, might do more than a certificate that stands in for them.
        Verdict::Refused(_, Some(identity)) if identity.is_by_certificate() => Why::Missing,
        Verdict::Refused(why, _) => why,
    };
    let Some(authenticator) = &app.authenticator else { return Err(Failure::denied(&wanted)) };
    let named = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(Authority::as_str).or(named).unwrap_or_default();
    let challenge = Challenge { wanted: &wanted, why, headers: &parts.headers, host };
    Err(match authenticator.challenge(&challenge) {
        Some(challenge) => Failure::unauthorized(&challenge, &wanted),
        None => Failure::denied(&wanted),
    })
}

/// Somebody is there; whoever looks whether that is still so must not get an answer of before.
fn root(method: &Method) -> Response<Body> {
    let mut response = answer::empty(StatusCode::OK);
    if method == Method::HEAD {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    answer::set(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

fn content_length(headers: &HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Adds what the configuration says. As with Distribution it gives way to what the answer says by itself: two lengths of
/// time for a cache, for example, would contradict each other.
fn add_configured(headers: &mut HeaderMap, configured: &[(HeaderName, HeaderValue)]) {
    let added: Vec<_> = configured.iter().filter(|(name, _)| !headers.contains_key(name)).collect();
    for (name, value) in added {
        headers.append(name.clone(), value.clone());
    }
}

/// The pairs of a query string.
///
/// # Errors
/// When there are more than anybody asks for: one that is passed over could be a tag or the digest.
fn form_urlencoded(query: &str) -> Result<Vec<(String, String)>, Failure> {
    const MOST: usize = 200;
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    if pairs().nth(MOST).is_some() {
        let message = format!("the query has more than {MOST} parameters");
        return Err(Failure::saying(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message));
    }
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = pairs().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    Ok(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let pairs = form_urlencoded("digest=sha256%3Aab&mount&x=a+b&&y=1=2").unwrap();
        let expected = [("digest", "sha256:ab"), ("mount", ""), ("x", "a b"), ("y", "1=2")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    proptest::proptest! {
        /// What a `Link` says comes back as the last entry of the page, whichever name or tag that is.
        #[test]
        fn what_is_put_into_a_link_is_read_back(last in "[A-Za-z0-9._/-]{1,60}|\\PC{0,30}", limit: usize) {
            let written = percent_encoding::utf8_percent_encode(&last, listings::QUERY);
            let pairs = form_urlencoded(&format!("last={written}&n={limit}")).unwrap();
            let expected = [("last".to_owned(), last), ("n".to_owned(), limit.to_string())];
            proptest::prop_assert_eq!(pairs, expected);
        }

        #[test]
        fn a_query_has_every_pair_or_is_refused(query in "([a-z%+=&]{0,6}&){0,300}|\\PC{0,60}") {
            let written = query.split('&').filter(|pair| !pair.is_empty()).count();
            let found = form_urlencoded(&query).ok().map(|pairs| pairs.len());
            proptest::prop_assert_eq!(found, (written <= 200).then_some(written));
        }
    }

    #[test]
    fn a_parameter_is_never_passed_over() {
        let query = |count: usize| vec!["x=i"; count].join("&&") + "&tag=last";
        assert_eq!(form_urlencoded(&query(199)).unwrap().last().unwrap().1, "last");
        let refused = form_urlencoded(&query(200)).unwrap_err();
        assert_eq!(refused.to_string(), "UNSUPPORTED: the query has more than 200 parameters");
    }

    #[test]
    fn what_an_answer_says_itself_counts() {
        let header = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let configured = [header("x-a", "1"), header("x-b", "2"), header("x-b", "3")];
        let mut headers = HeaderMap::from_iter([header("x-a", "own")]);
        add_configured(&mut headers, &configured);
        let found: Vec<_> = headers.iter().map(|(name, value)| format!("{name} {}", value.to_str().unwrap())).collect();
        assert_eq!(found, ["x-a own", "x-b 2", "x-b 3"]);
    }
}
