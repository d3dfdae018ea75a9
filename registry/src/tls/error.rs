//! What is wrong with the TLS part of a configuration, or with a file that it names.

use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem;
use thiserror::Error;

/// Why TLS cannot be spoken as configured. Each names the key, and the file if there is one.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error("http.tls.ciphersuites: {name} is not offered, {reason}; known are {known}")]
    Suite { name: String, reason: &'static str, known: String },
    #[error("http.tls: names neither certificate and key, nor letsencrypt")]
    NoSource,
    #[error("http.tls.{key}: cannot read {}", path.display())]
    Read { key: &'static str, path: PathBuf, source: io::Error },
    #[error("http.tls.{key}: {} is longer than {limit} bytes, which no {key} is", path.display())]
    TooLong { key: &'static str, path: PathBuf, limit: u64 },
    #[error("http.tls.{key}: {} is not PEM", path.display())]
    Pem { key: &'static str, path: PathBuf, source: pem::Error },
    #[error("http.tls.{key}: {} holds no certificate in PEM form", path.display())]
    NoCertificate { key: &'static str, path: PathBuf },
    #[error("http.tls.key: {} holds no private key in PEM form (an encrypted one cannot be read)", path.display())]
    NoKey { path: PathBuf },
    #[error("http.tls.key: {} is not the key of the certificate in {}", key.display(), certificate.display())]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("http.tls.key: {} cannot be used with the certificate in {}", key.display(), certificate.display())]
    Pair { key: PathBuf, certificate: PathBuf, source: rustls::Error },
    #[error("http.tls.{key}: {} holds a certificate that cannot be read", path.display())]
    Certificate { key: &'static str, path: PathBuf, source: CertificateError },
    #[error("http.tls.{key}: {} holds a certificate that is no authority", path.display())]
    Authority { key: &'static str, path: PathBuf, source: rustls::Error },
    #[error("http.tls.clientcas: no client could be verified")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    #[error("http.tls: no suite is left for the versions that may be spoken")]
    Versions(#[source] rustls::Error),
}

/// Why the validity of a certificate is not known.
#[derive(Debug, Error)]
#[error("its DER form is invalid")]
pub(crate) struct CertificateError(#[from] x509_parser::nom::Err<x509_parser::error::X509Error>);
