//! Lets the SDK send its requests with the client that all drivers share. Knows nothing of S3 but which answer is an
//! object: that one is streamed, and all others are bounded, since the SDK reads them whole, and must not have broken off.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, SizeHint};

use super::document::is_whole;
use crate::BoxError;
use crate::http::{Http, RequestBody, ResponseBody};

/// The longest answer that says why something failed, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The longest answer that is no object, in bytes: a listing of 1000 keys, each of its greatest length and encoded, is half
/// of it.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// The SDK's way to the shared client.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    http: Http,
    /// What is added to the name that the SDK gives itself. No signature covers it.
    user_agent: Option<HeaderValue>,
    /// Whether each request is logged.
    log: bool,
    /// Of the connections that the SDK wants for credentials, how long it waits: such an address may be nobody's.
    patience: Option<Duration>,
}

impl Transport {
    pub(super) fn new(http: Http, user_agent: Option<HeaderValue>, log: bool) -> Self {
        Transport { http, user_agent, log, patience: None }
    }

    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        if let Some(added) = &self.user_agent {
            let name = request.headers().get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
            let name = [name, b" ", added.as_bytes()].concat();
            let name =
                HeaderValue::from_bytes(name.trim_ascii()).map_err(|error| ConnectorError::user(error.into()))?;
            request.headers_mut().insert(USER_AGENT, name);
        }
        let is_object = is_object(&request);
        let logged = self.log.then(|| (request.method().clone(), request.uri().path().to_owned(), Instant::now()));
        let answer = self.answer(request.map(|body| -> RequestBody { body.boxed_unsync() })).await;
        if let Some((method, path, begin)) = logged {
            let (status, error) = match &answer {
                Ok(answer) => (Some(answer.status().as_u16()), None),
                Err(error) => (None, Some(error.to_string())),
            };
            let milliseconds = begin.elapsed().as_millis() as u64;
            tracing::info!(%method, path, status, error, milliseconds, "a request to the store");
        }
        let answer = answer?;
        let limit = match (answer.status().is_success(), is_object) {
            (true, true) => None,
            (true, false) => Some(MAX_DOCUMENT_BYTES),
            (false, _) => Some(MAX_ERROR_BYTES),
        };
        let (head, body) = answer.into_parts();
        let body = match limit {
            None => SdkBody::from_body_1_x(Shared(Mutex::new(body))),
            Some(limit) if head.status.is_success() => {
                SdkBody::from(whole(body, limit).await.map_err(ConnectorError::io)?)
            }
            Some(limit) => SdkBody::from_body_1_x(Shared(Mutex::new(Limited::new(body, limit).boxed_unsync()))),
        };
        HttpResponse::try_from(Response::from_parts(head, body))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }

    async fn answer(&self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, ConnectorError> {
        let sending = self.http.send(request);
        let answer = match self.patience {
            None => sending.await,
            Some(patience) => tokio::time::timeout(patience, sending).await.map_err(|_| {
                ConnectorError::timeout(format!("no answer within {} seconds", patience.as_secs_f32()).into())
            })?,
        };
        answer.map_err(ConnectorError::io)
    }
}

/// A document. That it ends says nothing: what is between may have given an end of its own to one that has broken off.
async fn whole(body: ResponseBody, limit: usize) -> Result<Bytes, BoxError> {
    let body: ResponseBody = Limited::new(body, limit).boxed_unsync();
    match body.collect().await {
        Ok(collected) => {
            Some(collected.to_bytes()).filter(|text| is_whole(text)).ok_or_else(|| "the answer breaks off".into())
        }
        Err(error) => Err(error),
    }
}

/// Whether the answer may be of any length: the SDK marks the request for an object's content.
fn is_object<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or("");
    *request.method() == Method::GET && query.split('&').any(|parameter| parameter == "x-id=GetObject")
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().send(request))
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let patience = match (settings.connect_timeout(), settings.read_timeout()) {
            (None, None) => None,
            (connect, read) => Some(connect.unwrap_or_default() + read.unwrap_or_default()),
        };
        SharedHttpConnector::new(Transport { patience, ..self.clone() })
    }
}

/// A body that the SDK may hold between threads. Only its owner reads it, so nobody ever waits for the lock.
struct Shared(Mutex<ResponseBody>);

impl Body for Shared {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(self.0.get_mut().unwrap_or_else(PoisonError::into_inner)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_content_of_an_object_is_streamed() {
        fn check(method: Method, uri: &str, expected: bool) {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            assert_eq!(is_object(&request), expected, "{uri}");
        }
        check(Method::GET, "http://host/bucket/key?x-id=GetObject", true);
        check(Method::GET, "http://host/bucket/key?a=b&x-id=GetObject", true);
        check(Method::GET, "http://host/bucket?list-type=2&prefix=x-id=GetObject/", false);
        check(Method::GET, "http://host/bucket/x-id=GetObject?uploadId=1&x-id=ListParts", false);
        check(Method::PUT, "http://host/bucket/key?x-id=GetObject", false);
    }
}
