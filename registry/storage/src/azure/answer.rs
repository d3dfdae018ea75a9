//! What the answers of the service mean: refusals, and what is known of a blob.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, LAST_MODIFIED};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;

use crate::http::ResponseBody;
use crate::{BoxError, Key, Refusal, Stat, StoreError};

/// The most that is read of an answer that refuses, in bytes.
pub(super) const MAX_ERROR_BYTES: usize = 64 * 1024;
/// How far the clock may be from the service's: it believes no request that is older than 15 minutes.
const TOLERATED_SKEW: Duration = Duration::from_secs(5 * 60);

/// What a request was about, for errors.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The object, unless the request is about the container.
    pub(super) key: Option<&'a Key>,
    /// The container, as it is shown.
    pub(super) place: &'a str,
    /// What was tried, as a verb with its object.
    pub(super) action: &'static str,
}

impl Subject<'_> {
    fn shown(&self) -> String {
        self.key.map_or_else(|| self.place.to_owned(), ToString::to_string)
    }

    /// The one place where a refusal becomes a store's error. `creates` says that the request was to replace nothing.
    pub(super) fn refused(&self, creates: bool, refusal: Refusal) -> StoreError {
        match (refusal.status, refusal.code.as_str(), self.key) {
            // A signature that allows only new objects has a refusal of its own.
            (409, "BlobAlreadyExists" | "ResourceAlreadyExists", Some(key))
            | (412, _, Some(key))
            | (403, "UnauthorizedBlobOverwrite", Some(key))
                if creates =>
            {
                StoreError::AlreadyExists { key: key.to_string() }
            }
            (404, "" | "BlobNotFound" | "ResourceNotFound" | "CannotVerifyCopySource", Some(key)) => {
                StoreError::not_found(key)
            }
            _ => StoreError::service(self.shown(), self.action, refusal),
        }
    }

    /// A request that got no answer, or one that broke off or makes no sense.
    pub(super) fn unreachable(&self, source: impl Into<BoxError>) -> StoreError {
        StoreError::unreachable(self.shown(), self.action, source)
    }

    /// A whole answer of at most `limit` bytes.
    pub(super) async fn read(&self, body: ResponseBody, limit: usize) -> Result<Bytes, StoreError> {
        read(body, limit).await.map_err(|error| self.unreachable(error))
    }

    /// What the head of an answer says of an object.
    pub(super) fn stat(&self, headers: &HeaderMap) -> Result<Stat, StoreError> {
        let size = text(headers, CONTENT_RANGE.as_str()).and_then(|range| range.rsplit('/').next());
        let size = size.or_else(|| text(headers, CONTENT_LENGTH.as_str())).and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| self.unreachable("the answer does not say how long the object is"))?;
        let modified = text(headers, LAST_MODIFIED.as_str()).and_then(time);
        let modified =
            modified.ok_or_else(|| self.unreachable("the answer does not say when the object was written"))?;
        Ok(Stat { size, modified })
    }
}

/// At which byte a part of an object begins; none if the answer is the whole of it.
pub(super) fn begin(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Whether what has this head can be seen as an object. A copy that is still on its way, or that went wrong, has left
/// something there that has not the content it should; a directory of a hierarchical account has none at all.
pub(super) fn is_object(headers: &HeaderMap) -> bool {
    let copied = text(headers, "x-ms-copy-status").is_none_or(|status| status.eq_ignore_ascii_case("success"));
    let directory = text(headers, "x-ms-resource-type").is_some_and(|kind| kind.eq_ignore_ascii_case("directory"))
        || text(headers, "x-ms-meta-hdi_isfolder").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    copied && !directory
}

/// What the service says in an answer that refuses.
pub(super) async fn refusal(answer: Response<ResponseBody>) -> Refusal {
    let (head, body) = answer.into_parts();
    let code = text(&head.headers, "x-ms-error-code").unwrap_or_default().to_owned();
    // An answer that breaks off has said enough with its status.
    let body = read(body, MAX_ERROR_BYTES).await.unwrap_or_default();
    let mut refusal = words(head.status.as_u16(), code, &body);
    if head.status.as_u16() == 403
        && let Some(skew) = text(&head.headers, DATE.as_str()).and_then(time).and_then(skew)
    {
        let said = refusal.message.trim_end_matches('.');
        let separator = if said.is_empty() { "" } else { "; " };
        refusal.message = format!("{said}{separator}the clock of this machine is {skew}");
    }
    refusal
}

/// What an error says, in XML.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Words {
    code: String,
    message: String,
}

fn words(status: u16, code: String, body: &[u8]) -> Refusal {
    // What is no XML is the work of something between, and says nothing to people.
    let words: Words = xml(body).unwrap_or_default();
    // Behind the first line are the number of the request and the time.
    let message = words.message.lines().next().unwrap_or_default().trim().to_owned();
    Refusal { status, code: if code.is_empty() { words.code } else { code }, message }
}

/// How far the clock here is from another, if that is too far.
fn skew(theirs: SystemTime) -> Option<String> {
    let now = SystemTime::now();
    match (now.duration_since(theirs), theirs.duration_since(now)) {
        (Ok(ahead), _) if ahead > TOLERATED_SKEW => Some(format!("{} ahead of the server's", rough(ahead))),
        (_, Ok(behind)) if behind > TOLERATED_SKEW => Some(format!("{} behind the server's", rough(behind))),
        _ => None,
    }
}

/// A duration of minutes or more, so roughly that it reads the same a little later.
fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=7199 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}

/// A whole body of at most `limit` bytes.
pub(super) async fn read(mut body: ResponseBody, limit: usize) -> Result<Bytes, BoxError> {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > limit - content.len() {
                return Err(format!("the answer has more than {limit} bytes").into());
            }
            content.extend_from_slice(&data);
        }
    }
    Ok(content.freeze())
}

/// Reads XML, which the service begins with a byte order mark.
pub(super) fn xml<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, quick_xml::DeError> {
    quick_xml::de::from_reader(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body))
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A time as HTTP writes it.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_from_its_header_and_its_body() {
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code><Message>\
                    Server failed to authenticate the request.\nRequestId:1\nTime:2</Message>\
                    <AuthenticationErrorDetail>of no use</AuthenticationErrorDetail></Error>";
        let shown = |code: &str, body: &str| words(403, code.to_owned(), body.as_bytes()).to_string();
        let full = "Server failed to authenticate the request. (AuthenticationFailed, status 403)";
        assert_eq!(shown("", body), full);
        assert_eq!(shown("AuthenticationFailed", body), full);
        assert_eq!(shown("AuthenticationFailed", ""), "AuthenticationFailed (status 403)");
        assert_eq!(shown("", "<html><body>a proxy</body>"), "status 403");
    }

    #[test]
    fn refusals_are_told_apart() {
        let key: Key = "a/b".parse().unwrap();
        let check = |key: Option<&Key>, creates: bool, status: u16, code: &str, expected: &str| {
            let subject = Subject { key, place: "azure://acct/box", action: "do it" };
            let refusal = Refusal { status, code: code.to_owned(), message: String::new() };
            assert_eq!(subject.refused(creates, refusal).to_string(), expected, "{status} {code}");
        };
        let service = |of: &str, code: &str, status: u16| {
            format!("{of}: cannot do it: the server says: {code} (status {status})")
        };
        check(Some(&key), false, 404, "BlobNotFound", "a/b: not found");
        check(Some(&key), false, 404, "CannotVerifyCopySource", "a/b: not found");
        check(Some(&key), false, 404, "", "a/b: not found");
        check(Some(&key), false, 404, "ContainerNotFound", &service("a/b", "ContainerNotFound", 404));
        check(None, false, 404, "ContainerNotFound", &service("azure://acct/box", "ContainerNotFound", 404));
        check(Some(&key), true, 409, "BlobAlreadyExists", "a/b: exists already");
        check(Some(&key), true, 412, "ConditionNotMet", "a/b: exists already");
        check(Some(&key), false, 412, "ConditionNotMet", &service("a/b", "ConditionNotMet", 412));
        check(Some(&key), true, 409, "ContainerBeingDeleted", &service("a/b", "ContainerBeingDeleted", 409));
        check(Some(&key), true, 403, "AuthenticationFailed", &service("a/b", "AuthenticationFailed", 403));
    }

    #[test]
    fn a_clock_that_is_wrong_is_said() {
        let now = SystemTime::now();
        assert_eq!(skew(now), None);
        let off = |seconds| Duration::from_secs(seconds);
        assert_eq!(skew(now - off(1000)).as_deref(), Some("16 minutes ahead of the server's"));
        assert_eq!(skew(now + off(1000)).as_deref(), Some("16 minutes behind the server's"));
        assert_eq!(skew(now - off(9000)).as_deref(), Some("2 hours ahead of the server's"));
    }

    #[test]
    fn what_a_copy_has_left_unfinished_is_no_object() {
        let check = |name: &'static str, value: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(is_object(&headers), expected, "{name}: {value}");
        };
        assert!(is_object(&HeaderMap::new()));
        check("x-ms-copy-status", "success", true);
        check("x-ms-copy-status", "pending", false);
        check("x-ms-copy-status", "failed", false);
        check("x-ms-meta-hdi_isfolder", "true", false);
        check("x-ms-resource-type", "directory", false);
        check("x-ms-resource-type", "file", true);
    }
}
