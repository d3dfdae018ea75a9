//! What the server answers, as plain data: what is known of an object, a page of a listing, why a request is refused.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LAST_MODIFIED};
use serde::Deserialize;

use crate::{BoxError, Refusal, Stat};

/// The type of an object that stands for an upload of CNCF Distribution: it is not there for anybody else.
pub(super) const UPLOAD_SESSION: &str = "application/x-docker-upload-session";

/// How much is told of an answer that is not in the form of an error.
const MAX_MESSAGE_CHARS: usize = 500;

/// The fields of a resource that are asked for.
pub(super) const FIELDS: &str = "name,size,updated,generation,contentType,metadata";

/// What is known of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resource {
    pub(super) name: String,
    /// In bytes; a number as text.
    pub(super) size: String,
    /// RFC 3339.
    pub(super) updated: String,
    /// Which of all objects that the name has had.
    pub(super) generation: String,
    pub(super) content_type: String,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Resource {
    pub(super) fn size(&self) -> Result<u64, BoxError> {
        self.size.parse().map_err(|error| format!("the size {:?} of {:?}: {error}", self.size, self.name).into())
    }

    pub(super) fn stat(&self) -> Result<Stat, BoxError> {
        let updated: jiff::Timestamp = self.updated.parse()?;
        Ok(Stat { size: self.size()?, modified: updated.into() })
    }

    pub(super) fn is_upload_session(&self) -> bool {
        self.content_type == UPLOAD_SESSION
    }
}

/// A page of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resources {
    pub(super) items: Vec<Resource>,
    pub(super) prefixes: Vec<String>,
    pub(super) next_page_token: Option<String>,
}

/// How far a copy has come.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rewrite {
    pub(super) done: bool,
    #[serde(default)]
    pub(super) rewrite_token: Option<String>,
}

/// Why a request was refused. The same server answers with JSON, and with plain text where it gives out content.
pub(super) fn refusal(status: u16, body: &[u8]) -> Refusal {
    #[derive(Deserialize)]
    struct Answer {
        error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(default)]
        message: String,
        #[serde(default)]
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        reason: String,
    }
    if let Ok(Answer { error: Fault { message, errors } }) = serde_json::from_slice(body) {
        let code = errors.into_iter().next().map(|first| first.reason).unwrap_or_default();
        return Refusal { status, code, message };
    }
    let text = String::from_utf8_lossy(body);
    let message = if text.trim_start().starts_with('<') { "" } else { text.trim() };
    Refusal { status, code: String::new(), message: message.chars().take(MAX_MESSAGE_CHARS).collect() }
}

/// Whether a refusal is for the bucket, which is missing, although an object was asked for.
pub(super) fn misses_bucket(refusal: &Refusal) -> bool {
    refusal.message.to_ascii_lowercase().contains("bucket does not exist")
}

/// What the head of an answer with content says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Of the whole object.
    pub(super) stat: Stat,
    /// The first byte that is given; none if the whole object is.
    pub(super) start: Option<u64>,
    pub(super) is_upload_session: bool,
}

impl Content {
    pub(super) fn of(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let range = text(headers, &CONTENT_RANGE).and_then(content_range);
        let (start, size) = match range {
            Some((start, size)) => (start, size),
            None => (None, text(headers, &STORED_LENGTH).or_else(|| text(headers, &CONTENT_LENGTH))?.parse().ok()?),
        };
        let is_upload_session = text(headers, &CONTENT_TYPE) == Some(UPLOAD_SESSION);
        Some(Content { stat: Stat { size, modified: modified(headers).unwrap_or(now) }, start, is_upload_session })
    }
}

const STORED_LENGTH: HeaderName = HeaderName::from_static("x-goog-stored-content-length");
const GENERATION: HeaderName = HeaderName::from_static("x-goog-generation");

/// When an object was written. The number of a generation is that time in microseconds; it is all that some answers have.
fn modified(headers: &HeaderMap) -> Option<SystemTime> {
    let date = text(headers, &LAST_MODIFIED).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    if let Some(date) = date {
        return Some(date.timestamp().into());
    }
    let micros: u64 = text(headers, &GENERATION)?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}

/// The first byte, if bytes are given, and the length of the whole object.
fn content_range(range: &str) -> Option<(Option<u64>, u64)> {
    let (given, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    let start = match given {
        "*" => None,
        given => Some(given.split_once('-')?.0.parse().ok()?),
    };
    Some((start, size.parse().ok()?))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_refusal_is_read_in_every_form_that_it_has() {
        let check = |body: &str, code: &str, message: &str| {
            let found = refusal(404, body.as_bytes());
            assert_eq!(found, Refusal { status: 404, code: code.into(), message: message.into() }, "{body}");
        };
        let both = r#"{"error":{"code":404,"message":"No such object: b/o","errors":[{"message":"x","domain":"global",
            "reason":"notFound"}]}}"#;
        check(both, "notFound", "No such object: b/o");
        check(r#"{"error":{"message":"m"}}"#, "", "m");
        check(r#"{"error":"invalid_grant"}"#, "", r#"{"error":"invalid_grant"}"#);
        check("No such object: b/o\n", "", "No such object: b/o");
        check("<html><body>Bad gateway</body></html>", "", "");
        check("", "", "");
        assert_eq!(refusal(500, "x".repeat(9000).as_bytes()).message.len(), MAX_MESSAGE_CHARS);
    }

    #[test]
    fn a_missing_bucket_is_told_from_a_missing_object() {
        let misses =
            |message: &str| misses_bucket(&Refusal { status: 404, code: "notFound".into(), message: message.into() });
        assert!(misses("The specified bucket does not exist."));
        assert!(!misses("No such object: bucket/does/not/exist"));
        assert!(!misses("Not Found"));
    }

    #[test]
    fn a_resource_tells_size_and_time() {
        let text = r#"{"name":"a","size":"5","updated":"2024-01-02T03:04:05.678Z","contentType":"x/y","kind":"z"}"#;
        let resource: Resource = serde_json::from_str(text).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_704_164_645_678);
        assert_eq!(resource.stat().unwrap(), Stat { size: 5, modified });
        let resource: Resource = serde_json::from_str(r#"{"name":"a"}"#).unwrap();
        assert!(resource.stat().is_err());
    }

    #[test]
    fn the_head_of_content_tells_what_is_given_of_what() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let check = |headers: &[(&'static str, &'static str)], expected: Option<(u64, Option<u64>, u64)>| {
            let pairs =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let found = Content::of(&pairs.collect(), now).map(|content| {
                let since = content.stat.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                (content.stat.size, content.start, since.as_secs())
            });
            assert_eq!(found, expected, "{headers:?}");
        };
        check(&[("content-length", "5")], Some((5, None, 9)));
        check(&[("content-length", "9"), ("x-goog-stored-content-length", "5")], Some((5, None, 9)));
        check(&[("content-length", "2"), ("content-range", "bytes 1-2/5")], Some((5, Some(1), 9)));
        check(&[("content-length", "99"), ("content-range", "bytes */5")], Some((5, None, 9)));
        check(&[("content-length", "5"), ("x-goog-generation", "3000000")], Some((5, None, 3)));
        let date = ("last-modified", "Thu, 01 Jan 1970 00:00:07 GMT");
        check(&[("content-length", "5"), date, ("x-goog-generation", "3000000")], Some((5, None, 7)));
        check(&[], None);
    }
}
