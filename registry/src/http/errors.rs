//! The one place where an error becomes an HTTP answer: its status, its code, and what is told to the client.

use std::fmt;

use berth_oci::{ErrorCode, NameError, ReferenceError};
use berth_storage::StoreError;
use http::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::{Access, AuthError};
use crate::conditions::Unmet;
use crate::error::Error;
use crate::route::Rejection;
use crate::rules::RuleError;
use crate::schema1::{JwsError, Schema1Error};

use super::answer::{self, Body};
use super::host::HostError;

/// When a client may look again whether a read-only registry takes writes. How long it stays so is not known; a minute
/// is short beside a push that has to be started by hand again, and long beside what asking costs.
const READ_ONLY_RETRY_SECONDS: &str = "60";

/// Why a request is answered with an error.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    errors: Vec<(ErrorCode, Value)>,
    /// What stands in place of the message of the codes.
    message: Option<String>,
    headers: Vec<(header::HeaderName, String)>,
    /// What the log says; a client is not told what the store or the operating system said.
    cause: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cause, self.errors.first()) {
            (Some(cause), _) => f.write_str(cause),
            (None, Some((code, Value::Null))) => {
                write!(f, "{code}: {}", self.message.as_deref().unwrap_or(code.message()))
            }
            (None, Some((code, detail))) => write!(f, "{code}: {detail}"),
            (None, None) => write!(f, "{}", self.status),
        }
    }
}

impl Failure {
    /// An error with a code and what is said about it.
    pub(crate) fn new(status: StatusCode, code: ErrorCode, detail: impl Into<Value>) -> Self {
        Failure { status, errors: vec![(code, detail.into())], message: None, headers: Vec::new(), cause: None }
    }

    /// An error that says what Distribution says in its place.
    pub(crate) fn saying(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Failure { message: Some(message.into()), ..Failure::new(status, code, Value::Null) }
    }

    /// The service cannot answer now.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, reason.into())
            .with(header::RETRY_AFTER, "5")
    }

    /// Nobody, or nobody known, asks for this.
    pub(crate) fn unauthorized(challenge: &str, wanted: &[Access]) -> Self {
        Failure::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, detail(wanted))
            .with(header::WWW_AUTHENTICATE, challenge)
    }

    /// Whoever asks for this may not have it, and has no other way to try.
    pub(crate) fn denied(wanted: &[Access]) -> Self {
        Failure::new(StatusCode::FORBIDDEN, ErrorCode::Denied, detail(wanted))
    }

    pub(crate) fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, Value::Null);
        Failure { cause: Some(cause.to_string()), ..failure }
    }

    /// The answer. To `HEAD` its body is only measured.
    pub(crate) fn response(&self, head: bool) -> Response<Body> {
        let mut response = if self.errors.is_empty() {
            let text = "404 page not found\n".into();
            let mut response = answer::full(self.status, "text/plain; charset=utf-8", text, head);
            answer::set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            response
        } else {
            answer::json(self.status, to_json(&self.errors, self.message.as_deref()).into(), head)
        };
        for (name, value) in &self.headers {
            answer::set(&mut response, name.clone(), value);
        }
        response
    }
}

/// One error of an answer, its fields in the order that Distribution writes them.
#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a Value>,
}

#[derive(Serialize)]
struct Entries<'a> {
    errors: Vec<Entry<'a>>,
}

fn to_json(errors: &[(ErrorCode, Value)], message: Option<&str>) -> String {
    let message = |code: &ErrorCode| message.unwrap_or(code.message());
    let errors = errors.iter().map(|(code, detail)| {
        let is_told = *code == ErrorCode::Unauthorized || !detail.is_null();
        Entry { code: code.as_str(), message: message(code), detail: is_told.then_some(detail) }
    });
    let errors = errors.collect();
    // Distribution's JSON ends with the end of a line.
    serde_json::to_string(&Entries { errors }).unwrap_or_default() + "\n"
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let text = rejection.to_string();
        match rejection {
            Rejection::NotFound => Failure { errors: Vec::new(), ..not_found(ErrorCode::Unknown, Value::Null) },
            Rejection::Method { allow } => unsupported(&text).with(header::ALLOW, allow),
            Rejection::Name(NameError::Empty | NameError::TooLong(_) | NameError::Component { .. }) => {
                bad_request(ErrorCode::NameInvalid, text)
            }
            Rejection::Upload { reads: true, .. } => not_found(ErrorCode::BlobUploadUnknown, text),
            // Who goes on with an upload must know its state, and there is none for this.
            Rejection::Upload { reads: false, .. } => not_found(ErrorCode::BlobUploadInvalid, text),
            Rejection::Digest(_) | Rejection::Reference { source: ReferenceError::Digest(_), .. } => {
                bad_request(ErrorCode::DigestInvalid, text)
            }
            // A tag that cannot be is one that does not exist; only to write it is a mistake.
            Rejection::Reference { reads: true, source: ReferenceError::Tag(_) } => {
                not_found(ErrorCode::ManifestUnknown, text)
            }
            Rejection::Reference { reads: false, source: ReferenceError::Tag(_) } => {
                bad_request(ErrorCode::TagInvalid, text)
            }
        }
    }
}

pub(crate) fn bad_request(code: ErrorCode, detail: impl Into<Value>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, code, detail)
}

pub(crate) fn not_found(code: ErrorCode, detail: impl Into<Value>) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, code, detail)
}

/// A body that broke off, or is malformed. What is wrong with it is the client's to mend, so it is told.
pub(crate) fn unreadable_body(error: &(dyn std::error::Error + 'static)) -> Failure {
    let detail = format!("the body cannot be read to its end: {}", with_sources(error));
    bad_request(ErrorCode::SizeInvalid, detail)
}

/// What was wanted. Distribution tells of no access at all as `null`.
fn detail(wanted: &[Access]) -> Value {
    if wanted.is_empty() { Value::Null } else { json!(wanted) }
}

fn unsupported(detail: &str) -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, detail)
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Busy | AuthError::NoKeys => Failure::unavailable(error.to_string()),
            AuthError::Braked(wait) => {
                let failure =
                    Failure::saying(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, error.to_string());
                failure.with(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())
            }
            AuthError::Htpasswd(_) | AuthError::Stopped => Failure::internal(with_sources(&error)),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Failure::saying(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, error.to_string())
    }
}

impl From<Unmet> for Failure {
    fn from(unmet: Unmet) -> Self {
        Failure::saying(StatusCode::PRECONDITION_FAILED, ErrorCode::Denied, unmet.to_string())
    }
}

/// An error and what caused it.
fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::BlobUnknown { digest, .. } => not_found(ErrorCode::BlobUnknown, digest.as_str()),
            Error::NameUnknown { name } => not_found(ErrorCode::NameUnknown, json!({ "name": name })),
            // The fields are those of Distribution, for scripts that read them.
            Error::ManifestUnknown { name, reference } if reference.contains(':') => {
                not_found(ErrorCode::ManifestUnknown, json!({ "Name": name, "Revision": reference }))
            }
            Error::ManifestUnknown { reference, .. } => {
                not_found(ErrorCode::ManifestUnknown, json!({ "Tag": reference }))
            }
            // It is there, so nobody should take it for missing and push it again.
            Error::ManifestUnreadable { .. } => {
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, text)
            }
            Error::ManifestInvalid(_) => bad_request(ErrorCode::ManifestInvalid, text),
            Error::Schema1(error) => bad_request(schema1_code(&error), text),
            Error::ManifestRefused(RuleError::Urls(refused)) => {
                let errors = refused.iter().flat_map(|refused| {
                    let digest = json!(refused.digest);
                    // The second is what Distribution says; the first says why.
                    [(ErrorCode::ManifestInvalid, json!(refused.to_string())), (ErrorCode::ManifestBlobUnknown, digest)]
                });
                Failure { errors: errors.collect(), ..bad_request(ErrorCode::ManifestInvalid, Value::Null) }
            }
            Error::ManifestRefused(RuleError::Unnamed { .. }) => bad_request(ErrorCode::ManifestInvalid, text),
            Error::ManifestRefused(RuleError::Class(_) | RuleError::UnknownClass(_)) => {
                Failure::saying(StatusCode::FORBIDDEN, ErrorCode::Denied, text)
            }
            Error::ReferencesUnknown { missing, more, .. } => {
                let more = (more > 0).then(|| json!(format!("and {more} more")));
                let details = missing.iter().map(|digest| json!(digest)).chain(more);
                let errors = details.map(|detail| (ErrorCode::ManifestBlobUnknown, detail));
                Failure { errors: errors.collect(), ..bad_request(ErrorCode::ManifestBlobUnknown, Value::Null) }
            }
            Error::DigestMismatch { .. } => bad_request(ErrorCode::DigestInvalid, text),
            Error::UploadUnknown { .. } => not_found(ErrorCode::BlobUploadUnknown, text),
            Error::UploadBusy { .. }
            | Error::TooManyLargeManifests
            | Error::BeingCollected
            | Error::RepositoryBusy { .. } => Failure::unavailable(text),
            Error::UploadOffset { .. } => {
                Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, text)
            }
            Error::BodyInterrupted { source } => unreadable_body(source.as_ref()),
            Error::ConditionUnmet(unmet) => unmet.into(),
            Error::DeleteDisabled => unsupported(&text),
            Error::ReadOnly { .. } => {
                unsupported(&text).with(header::ALLOW, "GET, HEAD").with(header::RETRY_AFTER, READ_ONLY_RETRY_SECONDS)
            }
            Error::Store(StoreError::Range { .. }) => {
                Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, Value::Null)
            }
            // Somebody may make room; and who pushes should know whom to ask.
            Error::Store(error) if error.is_full() => {
                Failure { cause: Some(text), ..Failure::unavailable("the registry's storage is full") }
            }
            Error::Store(StoreError::Crowded) => Failure::unavailable(text),
            Error::Store(StoreError::Pieces { .. }) => {
                Failure::saying(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, text)
            }
            // An object store that is busy or cannot be reached, after it was asked several times.
            Error::Store(error) if error.is_transient() => {
                Failure { cause: Some(text), ..Failure::unavailable("the registry's storage cannot be reached") }
            }
            // Somebody has to give a permission, or to mend the settings; what the store says is for them, in the log.
            Error::Store(StoreError::Service { .. }) => Failure {
                cause: Some(text),
                ..Failure::unavailable("the registry's storage refuses what is asked of it")
            },
            Error::Link { .. } | Error::Store(_) | Error::Stopped(_) => Failure::internal(text),
        }
    }
}

fn schema1_code(error: &Schema1Error) -> ErrorCode {
    match error {
        Schema1Error::Signature(JwsError::Unverified) => ErrorCode::ManifestUnverified,
        Schema1Error::Name(_) => ErrorCode::NameInvalid,
        Schema1Error::Tag(_) => ErrorCode::TagInvalid,
        Schema1Error::NotAccepted
        | Schema1Error::Signature(_)
        | Schema1Error::Json(_)
        | Schema1Error::SchemaVersion(_)
        | Schema1Error::History { .. } => ErrorCode::ManifestInvalid,
    }
}

impl From<JwsError> for Failure {
    fn from(error: JwsError) -> Self {
        Failure::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_store_that_refuses_is_unavailable_and_a_full_one_is_said_to_be_full() {
        let refusing = |status, code: &str| {
            let refusal = Box::new(berth_storage::Refusal { status, code: code.into(), message: "of ours".into() });
            Failure::from(Error::Store(StoreError::Service { key: "docker/key".into(), action: "write", refusal }))
        };
        for (status, code, said) in [
            (403, "AccessDenied", "the registry's storage refuses what is asked of it"),
            (400, "InvalidRequest", "the registry's storage refuses what is asked of it"),
            (503, "SlowDown", "the registry's storage cannot be reached"),
            (507, "", "the registry's storage is full"),
            (413, "", "the registry's storage is full"),
            (403, "QuotaExceeded", "the registry's storage is full"),
        ] {
            let failure = refusing(status, code);
            assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE, "{status} {code}");
            let response = failure.response(false);
            assert!(response.headers().contains_key(header::RETRY_AFTER), "{status} {code}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains(said) && !body.contains("docker/key"), "{body}");
            assert!(failure.to_string().contains("docker/key"), "the log has it all");
        }
    }

    #[tokio::test]
    async fn a_client_is_not_told_what_the_operating_system_said() {
        let source = std::io::Error::other("disk sdb1 at /srv/secret");
        let error = StoreError::Io { key: "docker/registry".into(), action: "read the file", source };
        let failure = Failure::from(error);
        assert!(failure.to_string().contains("/srv/secret"), "the log is");
        let response = failure.response(false);
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"unknown error\"}]}\n");
    }

    #[test]
    fn a_client_is_told_that_too_much_is_pushed_at_once() {
        let response = Failure::from(StoreError::Crowded).response(false);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }

    #[tokio::test]
    async fn a_client_is_told_that_there_is_no_room() {
        let source = std::io::ErrorKind::StorageFull.into();
        let failure = Failure::from(StoreError::Io { key: "docker/x".into(), action: "write the upload", source });
        assert!(failure.to_string().contains("docker/x: cannot write the upload"), "the log says where: {failure}");
        let response = failure.response(false);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("UNAVAILABLE") && body.contains("the registry's storage is full"), "{body}");
        assert!(!body.contains("docker/x"), "{body}");
    }
}
