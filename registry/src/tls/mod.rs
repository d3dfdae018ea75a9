//! TLS: the handshake of each connection, and a configuration that is replaced while connections are served.
//!
//! A connection keeps the configuration that it began with, so a replacement ends none. What is spoken over the
//! connection is not known here.

mod clients;
mod error;
mod files;
mod policy;
mod reload;
mod roots;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, ClientHello};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::patience::{Patience, Patient};
use crate::server::Stream;

pub(crate) use clients::Client;
pub(crate) use error::TlsError;
pub(crate) use files::{Files, Source, certificates, pair, validity};
pub(crate) use policy::{ALPN_HTTP2, Policy};
pub(crate) use reload::Reloader;
pub(crate) use roots::{client, client_that_trusts};

/// How the validation of a host name is named during the handshake (RFC 8737).
pub(crate) const ALPN_ACME: &[u8] = b"acme-tls/1";
/// How long a handshake may take, from the first byte to the last.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How many handshakes are computed at once; a client that has said nothing yet is not among them.
const MAX_HANDSHAKES: usize = 512;
/// How long a client may take for the hint that it speaks HTTP to a port of TLS.
const HINT_PATIENCE: Patience =
    Patience { first_bytes: HANDSHAKE_TIMEOUT, write: Duration::from_secs(5), end: Duration::from_secs(1) };
/// What a client gets that speaks HTTP to a port of TLS, as Go's servers answer it.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Why a connection did not become one of TLS.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("the handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the client sent HTTP in place of a TLS handshake")]
    PlainHttp,
    #[error("the handshake failed")]
    Failed(#[source] io::Error),
}

/// What is in force at a moment.
#[derive(Debug)]
pub(crate) struct Current {
    config: Arc<ServerConfig>,
    /// What verifies the certificates of clients; none if they are not verified.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// A connection whose handshake is done.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<Stream>,
    /// The certificate of the client, where one was verified.
    pub(crate) client: Option<Client>,
}

/// What handshakes are done with.
pub(crate) struct Tls {
    current: Arc<ArcSwap<Current>>,
    /// What an authority is answered that validates a host name.
    challenge: Option<Arc<ServerConfig>>,
    room: Semaphore,
}

impl Tls {
    /// Reads the files. Blocks.
    pub(crate) fn open(
        opened: &Files,
        policy: &Policy,
        challenge: Option<Arc<ServerConfig>>,
    ) -> Result<Opened, TlsError> {
        let contents = opened.read()?;
        let built = opened.build(&contents, policy)?;
        let (current, room) = (Arc::new(ArcSwap::new(built.current)), Semaphore::new(MAX_HANDSHAKES));
        let tls = Arc::new(Tls { current, challenge, room });
        Ok(Opened { tls, fingerprint: contents.fingerprint(), expires: built.expires })
    }

    /// Does the handshake of a connection. `None` means that it was only made to validate a host name, and is over.
    pub(crate) async fn accept(&self, stream: Stream) -> Result<Option<Accepted>, HandshakeError> {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake(stream)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HandshakeError::TimedOut),
        }
    }

    async fn shake(&self, stream: Stream) -> Result<Option<Accepted>, HandshakeError> {
        if is_http(&stream).await.map_err(HandshakeError::Failed)? {
            // Whoever does not read the answer has missed nothing but a hint.
            let mut stream = Patient::new(stream, HINT_PATIENCE);
            let _ = stream.write_all(PLAIN_ANSWER).await;
            let _ = stream.shutdown().await;
            return Err(HandshakeError::PlainHttp);
        }
        let acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let hello = acceptor.await.map_err(HandshakeError::Failed)?;
        // The semaphore is never closed; without a permit there would just be no bound.
        let _permit = self.room.acquire().await;
        if let Some(challenge) = self.challenge.as_ref().filter(|_| is_challenge(&hello.client_hello())) {
            let mut stream = hello.into_stream(challenge.clone()).await.map_err(HandshakeError::Failed)?;
            stream.shutdown().await.map_err(HandshakeError::Failed)?;
            return Ok(None);
        }
        let current = self.current.load_full();
        let stream = hello.into_stream(current.config.clone()).await.map_err(HandshakeError::Failed)?;
        let client = Client::of(stream.get_ref().1, &current, &self.current);
        Ok(Some(Accepted { stream, client }))
    }
}

/// TLS that can begin, and what is needed to keep it up to date.
pub(crate) struct Opened {
    pub(crate) tls: Arc<Tls>,
    fingerprint: [u8; 32],
    /// When the certificate ends, in seconds since 1970; none if it does not come from a file.
    pub(crate) expires: Option<i64>,
}

/// Whether a client begins with the name of a method, where a handshake begins with a byte that is no letter. On a Unix
/// socket this cannot be seen without taking it.
async fn is_http(stream: &Stream) -> io::Result<bool> {
    let Either::Left(stream) = stream else { return Ok(false) };
    let mut first = [0];
    stream.peek(&mut first).await?;
    Ok(first[0].is_ascii_uppercase())
}

fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ALPN_ACME))
}
