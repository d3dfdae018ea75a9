//! The certificates in force, one for each host, and the answers to an authority that validates one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::ALPN_ACME;

/// Certificates by the name of their host, in lower case.
#[derive(Default)]
pub(crate) struct ByHost {
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    /// The host of a client that names none, such as one that has only an address.
    default: Option<String>,
}

impl ByHost {
    pub(super) fn with_default(host: Option<String>) -> ByHost {
        ByHost { certificates: RwLock::default(), default: host }
    }

    pub(super) fn put(&self, host: &str, certificate: CertifiedKey) {
        let mut certificates = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        certificates.insert(host.to_owned(), Arc::new(certificate));
    }

    pub(super) fn remove(&self, host: &str) {
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).remove(host);
    }

    fn get(&self, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let host = host.map(str::to_ascii_lowercase).or_else(|| self.default.clone())?;
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).get(&host).cloned()
    }
}

impl ResolvesServerCert for ByHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get(hello.server_name())
    }
}

impl fmt::Debug for ByHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHost").finish_non_exhaustive()
    }
}

/// What an authority is shown while it validates a host (RFC 8737).
pub(super) fn challenge_config(
    answers: Arc<ByHost>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(answers);
    config.alpn_protocols = vec![ALPN_ACME.to_vec()];
    Ok(config)
}

/// A certificate that proves that whoever shows it was given this challenge.
pub(super) fn challenge_certificate(host: &str, digest: &[u8]) -> Result<CertifiedKey, rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::new([host.to_owned()])?;
    parameters.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let certificate = parameters.self_signed(&key)?;
    let secret = PrivatePkcs8KeyDer::from(key.serialize_der());
    let signing = aws_lc_rs::sign::any_ecdsa_type(&secret.into()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_that_is_asked_for_and_else_the_first() {
        let hosts = ByHost::with_default(Some("a.example".into()));
        let check = |name: Option<&str>, there: bool| assert_eq!(hosts.get(name).is_some(), there, "{name:?}");
        check(None, false);
        hosts.put("a.example", challenge_certificate("a.example", &[1; 32]).unwrap());
        check(None, true);
        check(Some("A.Example"), true);
        check(Some("b.example"), false);
        hosts.remove("a.example");
        check(Some("a.example"), false);
    }
}
