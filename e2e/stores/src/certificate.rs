//! A certificate for loopback, made for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate of `127.0.0.1` and `localhost` that signs itself, so it is its own authority.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate in PEM, which clients are told to trust.
    pub pem: String,
    key_pem: String,
    der: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Certificate {
    /// Makes one.
    pub fn for_loopback() -> Result<Self> {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
        let (key_pem, key) = (made.signing_key.serialize_pem(), made.signing_key.serialize_der());
        Ok(Self { pem: made.cert.pem(), key_pem, der: made.cert.der().clone(), key: key.into() })
    }

    /// Puts certificate and key into files that a server of another language reads.
    pub(crate) fn write(&self, directory: &Path) -> Result<[PathBuf; 2]> {
        let files = [directory.join("tls.crt"), directory.join("tls.key")];
        for (file, text) in files.iter().zip([&self.pem, &self.key_pem]) {
            std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(files)
    }

    /// How a server presents it.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        Ok(Arc::new(builder.with_single_cert(vec![self.der.clone()], self.key.clone_key().into())?))
    }

    /// How a client trusts it and no other.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).context("trust a certificate that was just made")?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        Ok(Arc::new(builder.with_no_client_auth()))
    }
}
