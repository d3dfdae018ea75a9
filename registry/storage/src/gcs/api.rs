//! Requests to the JSON API: who asks, what is answered, and the one place where a refusal becomes an error.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, USER_AGENT};
use http::request::Builder;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::de::DeserializeOwned;

use super::address::Address;
use super::answer;
use super::credentials::{Credentials, Ready};
use crate::http::{Http, ResponseBody};
use crate::{BoxError, Refusal, StoreError};

/// The largest answer in JSON: a page of a thousand long names has about two MiB.
const MAX_JSON_BYTES: usize = 16 << 20;
/// How much of a refusal is read.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// What a request is about, for the error that it may end with.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// A key, or the place of the bucket.
    pub(super) key: &'a str,
    /// A verb with its object.
    pub(super) action: &'static str,
    /// Whether it needs an object, which a 404 then says is missing; otherwise that is the bucket.
    pub(super) needs_object: bool,
}

impl<'a> About<'a> {
    /// A request for an object that may be missing.
    pub(super) fn object(key: &'a str, action: &'static str) -> Self {
        About { key, action, needs_object: true }
    }

    /// A request that needs nothing but the bucket.
    pub(super) fn bucket(key: &'a str, action: &'static str) -> Self {
        About { key, action, needs_object: false }
    }

    /// No answer, or one that makes no sense.
    pub(super) fn unreachable(self, source: impl Into<BoxError>) -> StoreError {
        StoreError::unreachable(self.key, self.action, source)
    }

    /// The one place where what the server says becomes the store's error.
    pub(super) fn refused(self, refusal: Refusal) -> StoreError {
        let key = || self.key.to_owned();
        match refusal.status {
            404 if self.needs_object && !answer::misses_bucket(&refusal) => StoreError::NotFound { key: key() },
            // Only the writing of what must not be there yet has a condition.
            412 => StoreError::AlreadyExists { key: key() },
            _ => StoreError::service(self.key, self.action, refusal),
        }
    }
}

/// The way to one bucket.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) address: Address,
    pub(super) credentials: Credentials,
    http: Http,
    user_agent: HeaderValue,
}

impl Api {
    pub(super) fn new(address: Address, credentials: Credentials, http: Http, user_agent: HeaderValue) -> Self {
        Api { address, credentials, http, user_agent }
    }

    /// Sends a request in the name of the credentials, and gives the answer whatever it is.
    pub(super) async fn exchange(
        &self,
        about: About<'_>,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, StoreError> {
        let ready = self.credentials.ready().await?;
        let request = match &ready.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        };
        let answer = self.exchange_as_anybody(about, request, body).await?;
        self.note(&ready, &answer);
        Ok(answer)
    }

    /// The same without credentials.
    pub(super) async fn exchange_as_anybody(
        &self,
        about: About<'_>,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, StoreError> {
        // The server wants to be told the length even where there is nothing.
        let request = match request.method_ref() {
            Some(&http::Method::POST | &http::Method::PUT) => request.header(CONTENT_LENGTH, body.len()),
            _ => request,
        };
        let body = Full::new(body).map_err(|never| -> BoxError { match never {} }).boxed_unsync();
        let request = request.header(USER_AGENT, self.user_agent.clone()).body(body);
        let request = request.map_err(|error| about.unreachable(error))?;
        self.http.send(request).await.map_err(|error| about.unreachable(error))
    }

    /// Sends a request that must succeed.
    pub(super) async fn send(
        &self,
        about: About<'_>,
        request: Builder,
        body: Bytes,
    ) -> Result<Response<ResponseBody>, StoreError> {
        let answer = self.exchange(about, request, body).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(about, answer).await) }
    }

    /// Sends a request that must succeed, and reads its answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        about: About<'_>,
        request: Builder,
        body: Bytes,
    ) -> Result<T, StoreError> {
        let answer = self.send(about, request, body).await?;
        let body = whole(answer.into_body(), MAX_JSON_BYTES).await.map_err(|error| about.unreachable(error))?;
        serde_json::from_slice(&body).map_err(|error| about.unreachable(error))
    }

    /// Sends a request that must succeed, and whose answer says nothing more.
    pub(super) async fn tell(&self, about: About<'_>, request: Builder, body: Bytes) -> Result<(), StoreError> {
        let answer = self.send(about, request, body).await?;
        // What is left of the answer keeps the connection from being used again.
        let _ = whole(answer.into_body(), MAX_REFUSAL_BYTES).await;
        Ok(())
    }

    fn note(&self, ready: &Arc<Ready>, answer: &Response<ResponseBody>) {
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.credentials.refused(ready);
        }
    }
}

/// The error that an answer is.
pub(super) async fn refused(about: About<'_>, answer: Response<ResponseBody>) -> StoreError {
    about.refused(refusal(answer).await)
}

/// What a refusal says, as far as it can be read.
pub(super) async fn refusal(answer: Response<ResponseBody>) -> Refusal {
    let status = answer.status().as_u16();
    let body = whole(answer.into_body(), MAX_REFUSAL_BYTES).await.unwrap_or_default();
    answer::refusal(status, &body)
}

/// The whole of an answer that is small.
pub(super) async fn whole(mut body: ResponseBody, limit: usize) -> Result<Bytes, BoxError> {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if content.len() + piece.len() > limit {
            return Err(format!("the answer has more than {limit} bytes").into());
        }
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}

/// A request that gets something.
pub(super) fn get(address: String) -> Builder {
    Request::get(address)
}

/// A request that changes something; safe to be sent again, although the method does not say so.
pub(super) fn post(address: String) -> Builder {
    Request::post(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_becomes_the_error_that_it_means() {
        let check = |about: About<'_>, status: u16, message: &str, expected: &str| {
            let refusal = Refusal { status, code: "notFound".into(), message: message.into() };
            assert_eq!(about.refused(refusal).to_string(), expected);
        };
        let (object, bucket) = (About::object("a/b", "read"), About::bucket("a/b", "write"));
        check(object, 404, "No such object: b/a/b", "a/b: not found");
        check(
            object,
            404,
            "The specified bucket does not exist.",
            "a/b: cannot read: the server says: The specified bucket does not exist. (notFound, status 404)",
        );
        check(bucket, 404, "Not Found", "a/b: cannot write: the server says: Not Found (notFound, status 404)");
        check(bucket, 412, "", "a/b: exists already");
        check(object, 403, "No", "a/b: cannot read: the server says: No (notFound, status 403)");
    }
}
