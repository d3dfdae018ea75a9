//! Requests to a store and what its answers mean: addresses, the token and one more try with a new one, errors, and what
//! the headers say of an object.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, ETAG, HeaderName, LAST_MODIFIED, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::Inner;
use super::session::Session;
use crate::http::{RequestBody, ResponseBody};
use crate::{BoxError, Key, Refusal, Stat, StoreError};

/// The most that is read of an answer that says no, in bytes.
pub(super) const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The most that is told of what a server says, in characters.
const MAX_WORDS: usize = 500;
/// What stands as it is in an address.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const PART: &AsciiSet = &PATH.add(b'/');

/// A body of a request.
pub(super) fn body(content: Bytes) -> RequestBody {
    Full::new(content).map_err(|never| match never {}).boxed_unsync()
}

/// A name as it stands in the path of an address.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}

/// A text as it stands in one part of an address.
pub(super) fn encoded_part(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

/// The reverse of [`encoded`].
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A request.
pub(super) struct Ask<'a> {
    method: Method,
    /// What stands behind the address of the account.
    path: String,
    headers: Vec<(HeaderName, String)>,
    content: Bytes,
    action: &'static str,
    /// What it is about, for an error.
    about: String,
    /// What is not there when the answer is 404; none where that is an error like any other.
    missing: Option<&'a Key>,
    /// Answers beside the good ones that the caller knows what to do with.
    known: &'static [StatusCode],
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, path: String, action: &'static str, about: &(impl ToString + ?Sized)) -> Self {
        Ask {
            method,
            path,
            headers: Vec::new(),
            content: Bytes::new(),
            action,
            about: about.to_string(),
            missing: None,
            known: &[],
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }

    pub(super) fn content(mut self, content: Bytes) -> Self {
        self.content = content;
        self
    }

    pub(super) fn missing(mut self, key: &'a Key) -> Self {
        self.missing = Some(key);
        self
    }

    pub(super) fn known(mut self, known: &'static [StatusCode]) -> Self {
        self.known = known;
        self
    }

    fn request(&self, session: &Session) -> Result<Request<RequestBody>, http::Error> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(format!("{}{}", session.storage, self.path))
            .header("x-auth-token", session.token.clone())
            .header(USER_AGENT, concat!("berth/", env!("CARGO_PKG_VERSION")));
        // Without a body there is no length either, which Swift wants to see where it expects one.
        if self.content.is_empty() && self.method != Method::GET && self.method != Method::HEAD {
            request = request.header(CONTENT_LENGTH, 0);
        }
        for (name, value) in &self.headers {
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes())?);
        }
        request.body(body(self.content.clone()))
    }
}

impl Inner {
    /// The path of an object, behind the address of the account.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{}", self.container_path(), encoded(name))
    }

    /// The path of the container, behind the address of the account.
    pub(super) fn container_path(&self) -> String {
        format!("/{}", encoded_part(&self.container))
    }

    /// Sends a request with the token there is, and once more with another if the store does not believe it. The answer is
    /// good, or one of those that are known.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Response<ResponseBody>, StoreError> {
        let mut session = self.sessions.current().await?;
        let mut answer = self.send_with(ask, &session).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            session = self.sessions.after(Some(&session)).await?;
            answer = self.send_with(ask, &session).await?;
        }
        let status = answer.status();
        if status.is_success() && ask.path.starts_with('/') {
            self.found.store(true, Ordering::Relaxed);
        }
        if status.is_success() || ask.known.contains(&status) {
            return Ok(answer);
        }
        let lost = |error: BoxError| StoreError::unreachable(&ask.about, ask.action, error);
        let content = content(answer.into_body(), MAX_ERROR_BYTES).await.map_err(lost)?;
        if status == StatusCode::NOT_FOUND && ask.missing.is_some() {
            self.find_container().await?;
        }
        Err(refused(ask, status, &content))
    }

    /// Makes sure that the container is there, unless it has been seen already. Swift says the same of an object that is not
    /// there and of one whose container is not.
    pub(super) async fn find_container(&self) -> Result<(), StoreError> {
        if self.found.load(Ordering::Relaxed) {
            return Ok(());
        }
        Box::pin(self.check()).await
    }

    /// Makes sure that the store answers, believes the credentials and has the container. An answer to `HEAD` would have no
    /// words in it.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let path = format!("{}?format=json&limit=1", self.container_path());
        let ask = Ask::new(Method::GET, path, "reach the container", &self.place);
        self.fetch(&ask, MAX_ERROR_BYTES).await.map(drop)
    }

    async fn send_with(&self, ask: &Ask<'_>, session: &Session) -> Result<Response<ResponseBody>, StoreError> {
        let request = ask.request(session).map_err(|error| StoreError::unreachable(&ask.about, ask.action, error))?;
        let answer = self.http.send(request).await;
        answer.map_err(|error| StoreError::unreachable(&ask.about, ask.action, error))
    }

    /// Sends a request and reads the whole answer, which must not be longer than the limit.
    pub(super) async fn fetch(
        &self,
        ask: &Ask<'_>,
        limit: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), StoreError> {
        let (head, body) = self.send(ask).await?.into_parts();
        let content = content(body, limit).await;
        let content = content.map_err(|error| StoreError::unreachable(&ask.about, ask.action, error))?;
        Ok((head.status, head.headers, content))
    }

    /// What is known of an object. `newest` asks all servers that have a copy, and not the first that answers.
    pub(super) async fn look(&self, key: &Key, newest: bool) -> Result<Look, StoreError> {
        const ACTION: &str = "look at the object";
        let mut ask = Ask::new(Method::HEAD, self.path(&self.root.name(key)), ACTION, key).missing(key);
        if newest {
            ask = ask.header("x-newest", "true");
        }
        let answer = self.send(&ask).await?;
        let look = Look::parse(answer.headers()).map_err(|problem| StoreError::unreachable(key, ACTION, problem))?;
        self.is_whole(key, &look).await?;
        Ok(look)
    }
}

/// The one place where what the store says becomes an error.
fn refused(ask: &Ask<'_>, status: StatusCode, content: &[u8]) -> StoreError {
    match (status, ask.missing) {
        (StatusCode::NOT_FOUND, Some(key)) => StoreError::not_found(key),
        _ => StoreError::service(&ask.about, ask.action, refusal(status, content)),
    }
}

/// What a server says when it says no: Swift in HTML or in plain words, Keystone in JSON.
pub(super) fn refusal(status: StatusCode, content: &[u8]) -> Refusal {
    #[derive(Deserialize)]
    struct Answer {
        error: Words,
    }
    #[derive(Deserialize)]
    struct Words {
        #[serde(default)]
        title: String,
        #[serde(default)]
        message: String,
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let text = String::from_utf8_lossy(content);
    let (code, message) = match serde_json::from_slice::<Answer>(content) {
        Ok(Answer { error }) => (error.title, error.message),
        Err(_) if text.trim_start().starts_with('<') => {
            (between(&text, "<h1>", "</h1>").to_owned(), between(&text, "<p>", "</p>").to_owned())
        }
        Err(_) => (String::new(), text.trim().to_owned()),
    };
    let code = match (status.as_u16(), code.is_empty()) {
        // Swift's own status for whoever asks too often.
        (498, _) => "SlowDown".to_owned(),
        (_, true) => reason.to_owned(),
        (_, false) => shortened(&code),
    };
    Refusal { status: status.as_u16(), code, message: shortened(&message) }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let text = text.split_once(begin).map_or("", |(_, behind)| behind);
    text.split_once(end).map_or("", |(before, _)| before)
}

fn shortened(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_WORDS).collect()
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn content(mut body: ResponseBody, limit: usize) -> Result<Bytes, BoxError> {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if content.len() + piece.len() > limit {
            return Err(format!("an answer of more than {limit} bytes").into());
        }
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) stat: Stat,
    pub(super) kind: Kind,
}

/// How an object is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is.
    Plain,
    /// In segments that its manifest lists.
    Static,
    /// In all objects of a container whose names begin so.
    Dynamic { container: String, prefix: String },
}

impl Look {
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, String> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let size = text(&CONTENT_LENGTH).and_then(|size| size.parse().ok());
        Self::with_size(headers, size.ok_or("an answer without the object's length")?)
    }

    /// As [`parse`](Self::parse), where the length of the answer is not that of the object.
    pub(super) fn with_size(headers: &HeaderMap, size: u64) -> Result<Self, String> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let exact = text(HeaderName::from_static("x-timestamp")).and_then(seconds);
        let modified = exact.or_else(|| text(LAST_MODIFIED).and_then(http_date));
        let modified = modified.ok_or("an answer without the object's time")?;
        let manifest = headers.get("x-object-manifest").map(|value| String::from_utf8_lossy(value.as_bytes()));
        let is_static = text(HeaderName::from_static("x-static-large-object"));
        let kind = match (is_static.is_some_and(|text| text.eq_ignore_ascii_case("true")), manifest) {
            (true, _) => Kind::Static,
            (false, Some(manifest)) => {
                let manifest = decoded(&manifest);
                let (container, prefix) = manifest.split_once('/').unwrap_or((manifest.as_str(), ""));
                Kind::Dynamic { container: container.to_owned(), prefix: prefix.to_owned() }
            }
            (false, None) => Kind::Plain,
        };
        Ok(Look { stat: Stat { size, modified }, kind })
    }
}

/// The tag of an object that was written, without quotes; empty if there is none.
pub(super) fn tag(headers: &HeaderMap) -> String {
    let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    tag.trim_matches('"').to_owned()
}

/// Seconds since 1970, with a fraction, as Swift writes them.
fn seconds(text: &str) -> Option<SystemTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let span = Duration::new(whole.parse().ok()?, fraction.parse().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(span)
}

fn http_date(text: &str) -> Option<SystemTime> {
    Some(rfc2822::parse(text).ok()?.timestamp().into())
}

/// A moment as listings and tokens have it; without a zone it is UTC.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<Timestamp>().ok();
    zoned.or_else(|| jiff::tz::TimeZone::UTC.to_timestamp(text.parse::<jiff::civil::DateTime>().ok()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_an_address_and_back() {
        for (name, text) in [
            ("files/docker/_x-1.~", "files/docker/_x-1.~"),
            ("a b+c%d", "a%20b%2Bc%25d"),
            ("ä?#&'", "%C3%A4%3F%23%26%27"),
        ] {
            assert_eq!(encoded(name), text);
            assert_eq!(decoded(text), name);
        }
        assert_eq!(encoded_part("a/b"), "a%2Fb");
    }

    #[test]
    fn what_servers_say_is_told_in_their_words() {
        fn check(content: &str, code: &str, message: &str) {
            let refusal = refusal(StatusCode::UNAUTHORIZED, content.as_bytes());
            assert_eq!((refusal.status, refusal.code.as_str(), refusal.message.as_str()), (401, code, message));
        }
        check("", "Unauthorized", "");
        check(
            "Object name length of 1100 longer than 1024",
            "Unauthorized",
            "Object name length of 1100 longer than 1024",
        );
        check(
            "<html><h1>Not Yours</h1><p>This server could not verify.</p></html>",
            "Not Yours",
            "This server could not verify.",
        );
        check("<html>oops", "Unauthorized", "");
        check(
            r#"{"error": {"message": "The request you have made requires authentication.", "code": 401, "title": "Who?"}}"#,
            "Who?",
            "The request you have made requires authentication.",
        );
        assert_eq!(refusal(StatusCode::OK, &[b'x'; 10_000]).message.len(), MAX_WORDS);
        let slow = refusal(StatusCode::from_u16(498).unwrap(), b"Slow down");
        assert_eq!(slow.to_string(), "Slow down (SlowDown, status 498)");
        assert!(StoreError::service("a", "read", slow).is_transient());
    }

    #[test]
    fn headers_say_how_an_object_is_kept() {
        let parse = |headers: &[(&'static str, &'static str)]| {
            let headers =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            Look::parse(&headers.collect())
        };
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_795_949_401, 715_150_000);
        let stat = Stat { size: 5, modified };
        let plain = parse(&[("content-length", "5"), ("x-timestamp", "1795949401.71515")]).unwrap();
        assert_eq!(plain, Look { stat, kind: Kind::Plain });
        let slo =
            parse(&[("content-length", "5"), ("x-timestamp", "1795949401.71515"), ("x-static-large-object", "True")]);
        assert_eq!(slo.unwrap().kind, Kind::Static);
        let dlo = parse(&[
            ("content-length", "5"),
            ("last-modified", "Sun, 29 Nov 2026 10:50:02 GMT"),
            ("x-object-manifest", "images/segments/2f6/a%20b"),
        ]);
        let dlo = dlo.unwrap();
        assert_eq!(dlo.stat.modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_949_402));
        assert_eq!(dlo.kind, Kind::Dynamic { container: "images".into(), prefix: "segments/2f6/a b".into() });
        assert!(parse(&[("x-timestamp", "1")]).unwrap_err().contains("length"));
        assert!(parse(&[("content-length", "5")]).unwrap_err().contains("time"));
    }

    #[test]
    fn moments_are_read_with_and_without_a_zone() {
        let expected = Some(Timestamp::new(1_795_949_402, 732_700_000).unwrap());
        assert_eq!(moment("2026-11-29T10:50:02.732700"), expected);
        assert_eq!(moment("2026-11-29T10:50:02.732700Z"), expected);
        assert_eq!(moment("yesterday"), None);
    }

    #[test]
    fn only_a_missing_object_is_not_found() {
        let key: Key = "a".parse().unwrap();
        let ask = Ask::new(Method::GET, String::new(), "read", &key);
        assert!(!refused(&ask, StatusCode::NOT_FOUND, b"").is_not_found());
        let ask = ask.missing(&key);
        assert!(refused(&ask, StatusCode::NOT_FOUND, b"").is_not_found());
        assert_eq!(
            refused(&ask, StatusCode::FORBIDDEN, b"").to_string(),
            "a: cannot read: the server says: Forbidden (status 403)"
        );
    }
}
