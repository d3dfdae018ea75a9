//! Whom this server trusts when it is the client.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::error::TlsError;
use super::files;

/// A client that trusts the authorities of `extra`, and those of the system. `key` is the configuration's.
pub(crate) fn client(key: &'static str, extra: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = berth_storage::authorities_of_the_system();
    if let Some(path) = extra {
        let certificates: Vec<CertificateDer<'static>> = files::certificates(key, path, &files::read(key, path)?)?;
        for certificate in certificates {
            let error = |source| TlsError::Authority { key, path: path.to_path_buf(), source };
            roots.add(certificate).map_err(error)?;
        }
    }
    client_that_trusts(roots)
}

/// A client that trusts these authorities.
pub(crate) fn client_that_trusts(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Versions)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_authority_is_named_when_it_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let error = client("letsencrypt.directoryca", Some(&path)).unwrap_err().to_string();
        assert!(error.starts_with("http.tls.letsencrypt.directoryca: cannot read "), "{error}");
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        assert!(client("letsencrypt.directoryca", Some(&path)).is_ok());
    }
}
