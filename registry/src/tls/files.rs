//! The files that TLS is made of, and the configuration of rustls that their contents give.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use super::Current;
use super::clients;
use super::error::{CertificateError, TlsError};
use super::policy::Policy;

/// The longest file that is read; a bundle of all public authorities has a quarter of it.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where the certificate that the server shows comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// From files.
    Files { certificate: PathBuf, key: PathBuf },
    /// From an authority, while the server runs.
    Issued(Arc<dyn ResolvesServerCert>),
}

/// The files that the configuration names.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) source: Source,
    pub(crate) client_cas: Vec<PathBuf>,
}

/// What was in the files at one moment.
pub(super) struct Contents {
    /// Certificate and key; none if they do not come from files.
    pair: Option<(Vec<u8>, Vec<u8>)>,
    client_cas: Vec<Vec<u8>>,
}

/// What the contents give.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) current: Arc<Current>,
    /// When the certificate ends, in seconds since 1970; none if it does not come from a file.
    pub(super) expires: Option<i64>,
}

impl Files {
    /// Every file, for whoever waits for changes.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        let pair = match &self.source {
            Source::Files { certificate, key } => vec![certificate, key],
            Source::Issued(_) => Vec::new(),
        };
        pair.into_iter().chain(&self.client_cas).map(PathBuf::as_path).collect()
    }

    /// Reads every file. Blocks.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let pair = match &self.source {
            Source::Files { certificate, key } => Some((read("certificate", certificate)?, read("key", key)?)),
            Source::Issued(_) => None,
        };
        let client_cas = self.client_cas.iter().map(|path| read("clientcas", path)).collect::<Result<_, _>>()?;
        Ok(Contents { pair, client_cas })
    }

    /// What these contents give under this policy.
    pub(super) fn build(&self, contents: &Contents, policy: &Policy) -> Result<Built, TlsError> {
        let (resolver, expires): (Arc<dyn ResolvesServerCert>, _) = match (&self.source, &contents.pair) {
            (Source::Issued(resolver), _) => (resolver.clone(), None),
            (Source::Files { certificate, key }, Some((chain, secret))) => {
                let chain = certificates("certificate", certificate, chain)?;
                let (_, expires) = validity("certificate", certificate, &chain[0])?;
                let pair = self::pair(certificate, key, chain, secret, &policy.provider)?;
                (Arc::new(SingleCertAndKey::from(pair)), Some(expires))
            }
            (Source::Files { .. }, None) => return Err(TlsError::NoSource),
        };
        let mut authorities = RootCertStore::empty();
        for (path, content) in self.client_cas.iter().zip(&contents.client_cas) {
            for certificate in certificates("clientcas", path, content)? {
                let error = |source| TlsError::Authority { key: "clientcas", path: path.clone(), source };
                authorities.add(certificate).map_err(error)?;
            }
        }
        let verified = !authorities.is_empty() && clients::is_verified(policy.client_auth);
        let verifier = clients::verifier(policy.client_auth, authorities, &policy.provider)?;
        let builder = ServerConfig::builder_with_provider(policy.provider.clone());
        let builder = builder.with_protocol_versions(policy.versions).map_err(TlsError::Versions)?;
        let mut config = builder.with_client_cert_verifier(verifier.clone()).with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&policy.protocols);
        let current = Current { config: Arc::new(config), verifier: verified.then_some(verifier) };
        Ok(Built { current: Arc::new(current), expires })
    }
}

impl Contents {
    /// Differs for whatever differs in a file.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let pair = self.pair.iter().flat_map(|(certificate, key)| [certificate, key]);
        for content in pair.chain(&self.client_cas) {
            hash.update(Sha256::digest(content));
        }
        hash.finalize().into()
    }
}

/// A file that is not longer than any such file is.
pub(super) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |source| TlsError::Read { key, path: path.to_path_buf(), source };
    let mut content = Vec::new();
    File::open(path).map_err(error)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(error)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsError::TooLong { key, path: path.to_path_buf(), limit: MAX_FILE_BYTES });
    }
    Ok(content)
}

/// The certificates of a file, of which there is at least one.
pub(crate) fn certificates(
    key: &'static str,
    path: &Path,
    content: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let found = found.map_err(|source| TlsError::Pem { key, path: path.to_path_buf(), source })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { key, path: path.to_path_buf() });
    }
    Ok(found)
}

/// A certificate with its key, if it is its key.
pub(crate) fn pair(
    certificate: &Path,
    key: &Path,
    chain: Vec<CertificateDer<'static>>,
    secret: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|source| match source {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::NoKey { path: key.to_path_buf() },
        source => TlsError::Pem { key: "key", path: key.to_path_buf(), source },
    })?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|source| {
        let (key, certificate) = (key.to_path_buf(), certificate.to_path_buf());
        match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch { key, certificate },
            source => TlsError::Pair { key, certificate, source },
        }
    })
}

/// From when to when a certificate is valid, in seconds since 1970.
pub(crate) fn validity(
    key: &'static str,
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(i64, i64), TlsError> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, certificate)) => {
            let validity = certificate.validity();
            Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
        }
        Err(source) => {
            Err(TlsError::Certificate { key, path: path.to_path_buf(), source: CertificateError::from(source) })
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_config::Tls as Settings;
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    struct Case {
        directory: tempfile::TempDir,
    }

    impl Case {
        fn with(files: &[(&str, &str)]) -> Case {
            let directory = tempfile::tempdir().unwrap();
            for (name, content) in files {
                std::fs::write(directory.path().join(name), content).unwrap();
            }
            Case { directory }
        }

        fn build(&self, client_ca: Option<&str>) -> Result<Built, String> {
            let path = |name: &str| self.directory.path().join(name);
            let source = Source::Files { certificate: path("tls.crt"), key: path("tls.key") };
            let files = Files { source, client_cas: client_ca.map(path).into_iter().collect() };
            let policy = Policy::new(&Settings::default(), true).unwrap();
            let built = files.read().and_then(|contents| files.build(&contents, &policy));
            built.map_err(|error| error.to_string().replace(self.directory.path().to_str().unwrap(), "DIR"))
        }
    }

    fn made() -> (String, String) {
        let Made { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_gives_a_configuration_and_its_end() {
        let (certificate, key) = made();
        let built = Case::with(&[("tls.crt", &certificate), ("tls.key", &key)]).build(None).unwrap();
        // What rcgen gives a certificate that is asked for nothing.
        assert_eq!(built.expires, Some("4096-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second()));
        assert_eq!(built.current.config.alpn_protocols, ["h2", "http/1.1"].map(|name| name.as_bytes().to_vec()));
    }

    #[test]
    fn what_is_wrong_names_the_key_and_the_file() {
        let ((certificate, key), (other, _)) = (made(), made());
        let check = |files: &[(&str, &str)], ca: Option<&str>, expected: &str| {
            let error = Case::with(files).build(ca).unwrap_err();
            assert_eq!(error, expected);
        };
        check(&[], None, "http.tls.certificate: cannot read DIR/tls.crt");
        check(&[("tls.crt", &certificate)], None, "http.tls.key: cannot read DIR/tls.key");
        let key_file = ("tls.key", key.as_str());
        check(&[("tls.crt", ""), key_file], None, "http.tls.certificate: DIR/tls.crt holds no certificate in PEM form");
        let half = &certificate[..certificate.len() / 2];
        check(&[("tls.crt", half), key_file], None, "http.tls.certificate: DIR/tls.crt is not PEM");
        check(
            &[("tls.crt", &certificate), ("tls.key", &certificate)],
            None,
            "http.tls.key: DIR/tls.key holds no private key in PEM form (an encrypted one cannot be read)",
        );
        check(
            &[("tls.crt", &other), key_file],
            None,
            "http.tls.key: DIR/tls.key is not the key of the certificate in DIR/tls.crt",
        );
        let long = "x".repeat(MAX_FILE_BYTES as usize + 1);
        check(
            &[("tls.crt", &long), key_file],
            None,
            "http.tls.certificate: DIR/tls.crt is longer than 1048576 bytes, which no certificate is",
        );
        let pair = [("tls.crt", certificate.as_str()), key_file, ("empty", "")];
        check(&pair, Some("absent"), "http.tls.clientcas: cannot read DIR/absent");
        check(&pair, Some("empty"), "http.tls.clientcas: DIR/empty holds no certificate in PEM form");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(
            &[("tls.crt", nonsense), key_file],
            None,
            "http.tls.certificate: DIR/tls.crt holds a certificate that cannot be read",
        );
        let pair = [("tls.crt", certificate.as_str()), key_file, ("ca", nonsense)];
        check(&pair, Some("ca"), "http.tls.clientcas: DIR/ca holds a certificate that is no authority");
    }
}
