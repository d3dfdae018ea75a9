//! Requests past the driver, allowed by a signature of the container.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const VERSION: &str = "2022-11-02";
const EXPIRY: &str = "2099-01-01T00:00:00Z";

pub(crate) struct Raw {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    container: String,
    signature: String,
}

impl Raw {
    /// A way into a container.
    pub(crate) fn new(endpoint: &str, account: &str, key: &str, container: &str) -> Self {
        let text = format!("racwdl\n\n{EXPIRY}\n/blob/{account}/{container}\n\n\n\n{VERSION}\nc\n\n\n\n\n\n\n");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
        let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, text.as_bytes()));
        let encode = |text: &str| text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace(':', "%3A");
        let signature = format!("sv={VERSION}&se={}&sr=c&sp=racwdl&sig={}", encode(EXPIRY), encode(&signature));
        Raw { client: client(&[]), container: format!("{endpoint}/{container}"), signature }
    }

    /// A way to addresses that need nothing but trust in a certificate.
    pub(crate) fn trusting(pem: &str) -> Self {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        Raw { client: client(&[certificate]), container: String::new(), signature: String::new() }
    }

    /// What allows it.
    pub(crate) fn signature(&self) -> &str {
        &self.signature
    }

    /// Writes a blob as CNCF Distribution does: creates it, and appends to it.
    pub(crate) async fn append(&self, name: &str, content: &'static str) {
        let address = format!("{}/{name}?{}", self.container, self.signature);
        let create = http::Request::put(&address).header("x-ms-blob-type", "AppendBlob").header("content-length", 0);
        self.send(create.header("x-ms-version", VERSION).body(Full::default()).unwrap()).await;
        let append = http::Request::put(format!("{address}&comp=appendblock")).header("x-ms-version", VERSION);
        self.send(append.body(Full::from(content)).unwrap()).await;
    }

    /// What is at an address.
    pub(crate) async fn fetch(&self, address: &str) -> Bytes {
        self.send(http::Request::get(address).body(Full::default()).unwrap()).await
    }

    async fn send(&self, request: http::Request<Full<Bytes>>) -> Bytes {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{what}: {status}: {}", String::from_utf8_lossy(&body));
        body
    }
}

fn client(trusted: &[CertificateDer<'static>]) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    trusted.iter().for_each(|certificate| roots.add(certificate.clone()).unwrap());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls =
        rustls::ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(https)
}
