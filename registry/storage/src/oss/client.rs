//! One request to the store: signed, sent, and its refusal understood. What is asked for is not known here.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;

use super::address::Address;
use super::credentials::{Credentials, Keys};
use super::sign::{Header, Parameter, Signable, Signer};
use super::xml::{Failure, is_failure, read_failure};
use crate::http::{Http, ResponseBody};
use crate::{BoxError, Key, Refusal, StoreError};

/// The most that is read of an error, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// Where the store has the error of an answer to `HEAD`, which has no body.
const ERROR_HEADER: &str = "x-oss-err";

/// What a request is about, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// An object: that it is missing is no refusal.
    Object(&'a Key),
    /// The bucket.
    Bucket(&'a str),
}

impl fmt::Display for About<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Object(key) => key.fmt(formatter),
            About::Bucket(place) => formatter.write_str(place),
        }
    }
}

/// A request before it is signed.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    /// What it is about.
    pub(super) about: About<'a>,
    /// What is tried, as a verb with its object.
    pub(super) action: &'static str,
    /// The method.
    pub(super) method: Method,
    /// The name of the object in the bucket; empty for the bucket itself.
    pub(super) name: String,
    /// The parameters.
    pub(super) query: Vec<Parameter>,
    /// The headers, beside those that every request has.
    pub(super) headers: Vec<Header>,
    /// The body.
    pub(super) body: Bytes,
}

/// The way to one bucket.
pub(super) struct Client {
    /// The connections.
    pub(super) http: Http,
    /// The bucket.
    pub(super) bucket: String,
    /// Its address.
    pub(super) address: Address,
    /// The address that others are sent to.
    pub(super) redirect_address: Address,
    /// The region to sign for, if it is known.
    pub(super) region: Option<String>,
    /// The keys.
    pub(super) credentials: Credentials,
}

impl Client {
    /// Sends a request. An answer that is no success is an error.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Response<ResponseBody>, StoreError> {
        let keys = self.credentials.keys().await?;
        let Call { about, action, method, name, query, mut headers, body } = call;
        let request =
            Signable { method: method.as_str(), bucket: &self.bucket, name: &name, query: &query, headers: &headers };
        let signer = Signer { keys: &keys, region: self.region.as_deref(), now: Timestamp::now() };
        let added = signer.headers(&request);
        headers.extend(added);
        let uri = self.address.uri(&name, &query);
        let unreachable = |error: BoxError| StoreError::unreachable(about, action, error);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.header(header::CONTENT_LENGTH, body.len());
        let request = request.header(header::USER_AGENT, concat!("berth/", env!("CARGO_PKG_VERSION")));
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).map_err(|error| unreachable(error.into()))?;
        let answer = self.http.send(request).await.map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let mut failure = read_failure(&at_most(body, MAX_ERROR_BYTES).await.unwrap_or_default());
        if failure.code.is_empty() {
            failure = in_header(&parts.headers).unwrap_or(failure);
        }
        Err(self.refused(about, action, parts.status, failure, &keys))
    }

    /// Sends a request whose answer is wanted as a whole, at most `limit` bytes of it. The store may find that it cannot do
    /// a long work after it has begun to answer: then the error is in the body.
    pub(super) async fn send_for(&self, call: Call<'_>, limit: usize) -> Result<Bytes, StoreError> {
        let (about, action) = (call.about, call.action);
        let answer = self.send(call).await?;
        let status = answer.status();
        let body = at_most(answer.into_body(), limit).await;
        let body = body.map_err(|error| StoreError::unreachable(about, action, error))?;
        if !is_failure(&body) {
            return Ok(body);
        }
        let keys = self.credentials.keys().await?;
        Err(self.refused(about, action, status, read_failure(&body), &keys))
    }

    /// The address of an object for whoever has no keys.
    pub(super) async fn presign(&self, name: &str, validity: Duration) -> Result<String, StoreError> {
        let keys = self.credentials.keys().await?;
        let request = Signable { method: "GET", bucket: &self.bucket, name, query: &[], headers: &[] };
        let signer = Signer { keys: &keys, region: self.region.as_deref(), now: Timestamp::now() };
        Ok(self.redirect_address.uri(name, &signer.parameters(&request, validity)))
    }

    /// The one place where a refusal of the store becomes an error.
    fn refused(
        &self,
        about: About<'_>,
        action: &'static str,
        status: StatusCode,
        failure: Failure,
        keys: &Keys,
    ) -> StoreError {
        let Failure { code, mut message, actual_object_size } = failure;
        match (about, status, code.as_str()) {
            // An answer to HEAD may have no code, and no way to say that it is the bucket that is missing.
            (About::Object(key), StatusCode::NOT_FOUND, "NoSuchKey" | "") => return StoreError::not_found(key),
            (About::Object(key), StatusCode::CONFLICT, "FileAlreadyExists") => {
                return StoreError::AlreadyExists { key: key.to_string() };
            }
            (About::Object(key), StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                if let Some(size) = actual_object_size {
                    // Where the range begins, only the caller knows.
                    return StoreError::Range { key: key.to_string(), start: size, size };
                }
            }
            (_, StatusCode::FORBIDDEN, "RequestTimeTooSkewed") => {
                message.push_str(" Is the clock of this machine right?");
            }
            (_, StatusCode::FORBIDDEN, _) => {
                self.credentials.doubt();
                let separator = if message.is_empty() { "" } else { " " };
                message = format!("{message}{separator}[access key {}]", keys.shown());
            }
            _ => {}
        }
        StoreError::service(about, action, Refusal { status: status.as_u16(), code, message })
    }
}

/// A body as a whole, if it has no more than this many bytes.
pub(super) async fn at_most(mut body: ResponseBody, limit: usize) -> Result<Bytes, BoxError> {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if content.len() + data.len() > limit {
            return Err(format!("the answer is longer than {limit} bytes").into());
        }
        content.extend_from_slice(&data);
    }
    Ok(content.freeze())
}

fn in_header(headers: &HeaderMap) -> Option<Failure> {
    let value = headers.get(ERROR_HEADER)?;
    if value.len() > MAX_ERROR_BYTES {
        return None;
    }
    Some(read_failure(&STANDARD.decode(value.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_answer_without_a_body_is_in_a_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(in_header(&headers), None);
        let text = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>m</Message></Error>";
        headers.insert(ERROR_HEADER, STANDARD.encode(text).parse().unwrap());
        assert_eq!(in_header(&headers).unwrap().code, "NoSuchBucket");
        headers.insert(ERROR_HEADER, "?".parse().unwrap());
        assert_eq!(in_header(&headers), None);
    }
}
