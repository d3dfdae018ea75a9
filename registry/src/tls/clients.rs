//! What is asked of a client's certificate.

use std::sync::Arc;

use berth_config::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::error::TlsError;

/// Who checks the certificates of clients; without authorities, none is asked for.
pub(super) fn verifier(
    mode: ClientAuth,
    authorities: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if authorities.is_empty() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let unchecked = |mandatory, authorities: &RootCertStore| {
        let (provider, names) = (provider.clone(), authorities.subjects());
        Ok(Arc::new(AnyCertificate { mandatory, names, provider }) as Arc<dyn ClientCertVerifier>)
    };
    let checked = |authorities: RootCertStore| {
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone())
    };
    match mode {
        ClientAuth::RequestClientCert => unchecked(false, &authorities),
        ClientAuth::RequireAnyClientCert => unchecked(true, &authorities),
        ClientAuth::VerifyClientCertIfGiven => {
            checked(authorities).allow_unauthenticated().build().map_err(TlsError::Verifier)
        }
        ClientAuth::RequireAndVerifyClientCert => checked(authorities).build().map_err(TlsError::Verifier),
    }
}

/// Takes every certificate whose key the client has, whoever signed it: who the client is stays unknown.
#[derive(Debug)]
struct AnyCertificate {
    mandatory: bool,
    /// The authorities that a client with several certificates chooses by.
    names: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
