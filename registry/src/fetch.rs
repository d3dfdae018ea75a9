//! Documents that are fetched now and then: address ranges, keys. By way of a proxy, as the environment says.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use berth_config::shown_address;
use berth_storage::Connector;
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::health::redirected;
use crate::tls;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// A document at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// The key of the configuration that names it.
    pub(crate) key: String,
    pub(crate) address: Uri,
    pub(crate) trust: Trust,
    /// A file with a token that shows who asks.
    pub(crate) token: Option<PathBuf>,
}

/// Whom a server is trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The authorities of the system.
    System,
    /// The certificates of this file, too.
    Also(PathBuf),
    /// The certificates of this file alone.
    Only(PathBuf),
}

impl Document {
    /// A document that everybody may read.
    pub(crate) fn new(key: &str, address: Uri) -> Self {
        Self { key: key.to_owned(), address, trust: Trust::System, token: None }
    }

    /// The same at another address.
    pub(crate) fn at(&self, address: Uri) -> Self {
        Self { address, ..self.clone() }
    }

    /// Its address, for people.
    pub(crate) fn shown(&self) -> String {
        shown_address(&self.address.to_string())
    }

    /// Fetches it, if it has at most so many bytes. A redirect from https does not lead to http, and where a token is shown,
    /// none is followed.
    ///
    /// # Errors
    /// What is wrong with the address or its answer, in words.
    pub(crate) async fn get(&self, max_bytes: usize) -> Result<Bytes> {
        get(self, max_bytes).await
    }
}

impl Trust {
    /// Reads the files: whom the system trusts is read each time, which is seldom, so that an authority that is added counts.
    fn config(&self) -> Result<ClientConfig> {
        let read = |path: &Path| {
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let certificates: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let certificates = certificates.with_context(|| format!("{} is no PEM", path.display()))?;
            ensure!(!certificates.is_empty(), "there is no certificate in {}", path.display());
            Ok(certificates)
        };
        let (mut roots, path) = match self {
            Trust::System => (berth_storage::authorities_of_the_system(), None),
            Trust::Also(path) => (berth_storage::authorities_of_the_system(), Some(path)),
            Trust::Only(path) => (RootCertStore::empty(), Some(path)),
        };
        for certificate in path.map(|path| read(path)).transpose()?.unwrap_or_default() {
            roots.add(certificate).context("a certificate cannot be used")?;
        }
        Ok(tls::client_that_trusts(roots)?)
    }
}

async fn get(document: &Document, max_bytes: usize) -> Result<Bytes> {
    let trust = document.trust.clone();
    let config = tokio::task::spawn_blocking(move || trust.config()).await??;
    let bearer = match &document.token {
        None => None,
        Some(path) => {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.with_context(|| format!("cannot read {}", path.display()))?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| anyhow::anyhow!("{} holds no token", path.display()))?;
            value.set_sensitive(true);
            Some(value)
        }
    };
    let connector = Connector::new(config);
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector.clone());
    let mut uri = document.address.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = Request::get(&uri)
            .header(header::USER_AGENT, concat!("berth-registry/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        if let Some(bearer) = &bearer {
            request.headers_mut().insert(header::AUTHORIZATION, bearer.clone());
        }
        connector.prepare(&mut request);
        let response = client.request(request).await?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        match location.filter(|_| response.status().is_redirection()) {
            Some(location) => {
                ensure!(bearer.is_none(), "it redirects to {}", shown_address(location));
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
