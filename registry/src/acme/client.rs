//! Requests to an authority: HTTPS, with a deadline and a bound on what is read.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Limited;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;

/// How long an authority may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer; a chain has a few kilobytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

pub(super) struct Client(Pool<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Client {
    pub(super) fn new(config: ClientConfig) -> Client {
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Client(Pool::builder(TokioExecutor::new()).build(connector))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT, answer).await {
                Ok(Ok(answer)) => Ok(BytesResponse::from(answer.map(|body| Limited::new(body, MAX_ANSWER_BYTES)))),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(late) => Err(Error::Other(Box::new(late))),
            }
        })
    }
}
