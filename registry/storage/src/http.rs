//! The way to the servers of object stores: one HTTP client for every driver, whichever library speaks the protocol.
//!
//! It knows the authorities to trust, keeps connections, and gives up on a server that falls silent. How a request is signed
//! and whether it is tried again is not known here.

mod patience;
mod proxy;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use self::patience::patience;
pub use self::proxy::Connector;
use crate::{BoxError, StoreError};

/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may say nothing in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection is kept for the next request: less than servers and load balancers do, so that it is not ended
/// under a request.
const IDLE: Duration = Duration::from_secs(20);

/// A body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;
/// A body of an answer, which ends with an error when the server falls silent.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// Whom the client trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// A file of certificates (PEM) of authorities that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether any certificate is believed. Whoever is between sees and changes everything.
    pub skip_verify: bool,
}

/// The client. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<Connector, RequestBody>,
    connector: Connector,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Http")
    }
}

impl Http {
    /// A client.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when the file of authorities cannot be read.
    pub(crate) fn new(trust: &Trust) -> Result<Self, StoreError> {
        Self::through(trust, Matcher::from_env())
    }

    /// A client of these proxies.
    fn through(trust: &Trust, proxies: Matcher) -> Result<Self, StoreError> {
        let connector = Connector::through(tls(trust)?, proxies);
        let (plain, secure) = connector.shown();
        if plain.is_some() || secure.is_some() {
            tracing::info!(plain, secure, "stores are asked by way of a proxy, as the environment says");
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.clone());
        Ok(Http { client, connector })
    }

    /// Sends a request and waits for the beginning of its answer.
    ///
    /// # Errors
    /// When there is none in time.
    pub(crate) async fn send(&self, mut request: Request<RequestBody>) -> Result<Response<ResponseBody>, BoxError> {
        self.connector.prepare(&mut request);
        let patience = patience(&request, request.body().size_hint().upper().unwrap_or(0));
        let answer = tokio::time::timeout(patience, self.client.request(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {} seconds", patience.as_secs()))??;
        Ok(answer.map(|body| Patient::new(body).boxed_unsync()))
    }
}

/// A body that is waited for for only so long.
struct Patient {
    body: Incoming,
    silence: Pin<Box<tokio::time::Sleep>>,
}

impl Patient {
    fn new(body: Incoming) -> Self {
        Patient { body, silence: Box::pin(tokio::time::sleep(SILENCE)) }
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            // Whoever reads slowly is not the server's silence: the time counts from the last question on.
            self.silence.as_mut().reset(tokio::time::Instant::now() + SILENCE);
            return frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        }
        match self.silence.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let text = format!("nothing more of the answer within {} seconds", SILENCE.as_secs());
                Poll::Ready(Some(Err(text.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The authorities of the system: `SSL_CERT_FILE` or `SSL_CERT_DIR` where they are set. An image of one binary has none, and
/// gets those that Mozilla trusts.
#[must_use]
pub fn authorities_of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if ignored > 0 {
        tracing::debug!(ignored, "some authorities of the system cannot be read");
    }
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Trusts the authorities of the system, and those of the file.
fn tls(trust: &Trust) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Settings { key: "TLS".to_owned(), source: error.into() })?;
    if trust.skip_verify {
        let verifier = Arc::new(AnyCertificate { provider });
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = authorities_of_the_system();
    if let Some(path) = &trust.ca_file {
        for certificate in authorities(path)? {
            roots.add(certificate).map_err(|error| at(path, error))?;
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let content = std::fs::read(path).map_err(|error| at(path, error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let certificates = certificates.map_err(|error| at(path, error))?;
    if certificates.is_empty() {
        return Err(at(path, "no certificate in it: it must hold authorities in PEM form"));
    }
    Ok(certificates)
}

fn at(path: &Path, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: path.display().to_string(), source: source.into() }
}

/// Believes every certificate, because somebody has said so in the configuration.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_is_named_when_it_cannot_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let error = || {
            let trust = Trust { ca_file: Some(path.clone()), skip_verify: false };
            Http::new(&trust).unwrap_err().to_string()
        };
        assert!(error().starts_with(&path.display().to_string()));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(error().ends_with("it must hold authorities in PEM form"));
    }
}
