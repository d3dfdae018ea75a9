//! What is asked of a client's certificate, and how long it counts.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use berth_config::ClientAuth;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, RootCertStore, ServerConnection, SignatureScheme,
};

use super::Current;
use super::error::TlsError;
use crate::auth::Identity;

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

/// Whether a certificate that is taken says who its client is.
pub(super) const fn is_verified(mode: ClientAuth) -> bool {
    match mode {
        ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert => false,
        ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert => true,
    }
}

/// For how many seconds a certificate is taken to be what it was when it was verified, while its end is not reached and the
/// authorities are the same: what is above it in its chain may end before it.
const VERIFIED_SECONDS: u64 = 600;

/// The certificate that a client has shown in the handshake and that was verified.
///
/// A connection outlives what is said in its handshake, and a session that is resumed is not verified at all. So a
/// certificate counts until it ends, and is verified once more when the authorities of clients have changed.
pub(crate) struct Client {
    chain: Vec<CertificateDer<'static>>,
    /// When it ends, in seconds since 1970.
    until: u64,
    current: Arc<ArcSwap<Current>>,
    seen: Mutex<Option<Seen>>,
    /// What whoever answers has made of it, once.
    named: OnceLock<Option<Identity>>,
}

/// The last verification.
struct Seen {
    by: Arc<Current>,
    at: u64,
    is_good: bool,
}

impl Client {
    /// The certificate of a connection whose handshake was done with `with`; none if there is none that says who it is.
    pub(super) fn of(
        connection: &ServerConnection,
        with: &Arc<Current>,
        current: &Arc<ArcSwap<Current>>,
    ) -> Option<Client> {
        with.verifier.as_ref()?;
        let chain = connection.peer_certificates()?.to_vec();
        let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        // A resumed session brings what was verified when it began.
        let is_new = connection.handshake_kind() != Some(HandshakeKind::Resumed);
        let seen = is_new.then(|| Seen { by: with.clone(), at: UnixTime::now().as_secs(), is_good: true });
        Some(Client { chain, until, current: current.clone(), seen: Mutex::new(seen), named: OnceLock::new() })
    }

    /// Whether it says who the client is at this time.
    pub(crate) fn counts(&self, now: UnixTime) -> bool {
        if now.as_secs() > self.until {
            return false;
        }
        let current = self.current.load();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Seen { by, at, is_good }) = &*seen
            && Arc::ptr_eq(by, &current)
            && now.as_secs() < at + VERIFIED_SECONDS
        {
            return *is_good;
        }
        let is_good = self.is_verified_by(&current, now);
        *seen = Some(Seen { by: Arc::clone(&current), at: now.as_secs(), is_good });
        is_good
    }

    /// How long it is until it has ended; none if it has.
    pub(crate) fn left(&self, now: UnixTime) -> Option<Duration> {
        let seconds = self.until.checked_sub(now.as_secs())?;
        Some(Duration::from_secs(seconds + 1))
    }

    fn is_verified_by(&self, current: &Current, now: UnixTime) -> bool {
        let (Some(verifier), Some((certificate, rest))) = (&current.verifier, self.chain.split_first()) else {
            return false;
        };
        verifier.verify_client_cert(certificate, rest, now).is_ok()
    }

    /// Who it names, which is read out of it once.
    pub(crate) fn named(&self, read: impl FnOnce(&[u8]) -> Option<Identity>) -> Option<&Identity> {
        self.named.get_or_init(|| self.chain.first().and_then(|certificate| read(certificate))).as_ref()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("until", &self.until).field("named", &self.named).finish_non_exhaustive()
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
