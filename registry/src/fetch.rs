//! Documents that are fetched now and then: address ranges, keys. By way of a proxy, as the environment says.

use anyhow::{Context as _, Result, bail, ensure};
use berth_config::shown_address;
use berth_storage::Connector;
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::health::redirected;
use crate::tls;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// Fetches a document of at most so many bytes; `key` is that of the configuration. A redirect from https does not lead to
/// http.
///
/// # Errors
/// What is wrong with the address or its answer, in words.
pub(crate) async fn get(key: &'static str, source: &Uri, max_bytes: usize) -> Result<Bytes> {
    // Whom the system trusts is read each time, which is seldom: an authority that is added counts.
    let config = tokio::task::spawn_blocking(move || tls::client(key, None)).await??;
    let connector = Connector::new(config);
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector.clone());
    let mut uri = source.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = Request::get(&uri)
            .header(header::USER_AGENT, concat!("berth-registry/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        connector.prepare(&mut request);
        let response = client.request(request).await?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        match location.filter(|_| response.status().is_redirection()) {
            Some(location) => {
                let next = redirected(&uri, location)?;
                let is_open = uri.scheme() == Some(&Scheme::HTTPS) && next.scheme() != Some(&Scheme::HTTPS);
                ensure!(!is_open, "it is redirected from https:// to {}", shown_address(&next.to_string()));
                uri = next;
            }
            None => {
                ensure!(response.status() == StatusCode::OK, "the answer is {}", response.status());
                let document = Limited::new(response.into_body(), max_bytes).collect().await;
                return Ok(document.map_err(|error| anyhow::anyhow!(error)).context("reading the answer")?.to_bytes());
            }
        }
    }
    bail!("stopped after {MAX_REDIRECTS} redirects")
}
