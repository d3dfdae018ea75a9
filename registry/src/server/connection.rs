//! One connection: its handshake, the HTTP that is spoken on it, and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use rustls::pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{Peer, Stream, Transport};
use crate::http::Body;
use crate::patience::{Patience, Patient};
use crate::tls::{ALPN_HTTP2, Accepted, Tls};

/// How long a client may take to send the head of a request, and how long a connection may be idle.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The most that is read at once of a connection: large enough that uploads arrive in few pieces.
const MAX_BUFFER_BYTES: usize = 512 * 1024;
/// How many lines of headers a request may have. Proxies and service meshes add some; there is room for each in memory
/// whenever a head is read, so a thousand would be felt.
const MAX_HEADERS: usize = 256;
/// The most that the headers of a request may have over HTTP/2: as much as the buffer gives them over HTTP/1.1. A token may
/// list every group of a large company.
const MAX_HEADER_BYTES: u32 = MAX_BUFFER_BYTES as u32;
/// How many requests one connection of HTTP/2 may have in flight.
const MAX_STREAMS: u32 = 256;

/// What answers a request.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response<Body>> + Send + 'static;
}

impl<H, F> Handler for H
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response<Body>> + Send + 'static {
        self(request, peer)
    }
}

/// Which HTTP a connection without TLS may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// HTTP/1.1.
    Http1,
    /// HTTP/1.1, and HTTP/2 for clients that begin with its preface (RFC 9113, section 3.3).
    Http1OrHttp2,
}

/// What all connections of a listener have in common.
pub(super) struct Connections<H> {
    handler: H,
    patience: Patience,
    tls: Option<Arc<Tls>>,
    /// Ends what has not begun.
    stop: CancellationToken,
    /// Ends what is still open when nobody waits any more.
    pub(super) cut: CancellationToken,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    plain: Builder<TokioExecutor>,
}

impl<H: Handler> Connections<H> {
    pub(super) fn new(handler: H, transport: Transport, stop: CancellationToken) -> Self {
        let Transport { plain, tls, drain: _, patience } = transport;
        let (http1, http2) = (builder().http1_only(), builder().http2_only());
        let plain = match plain {
            Plain::Http1 => http1.clone(),
            Plain::Http1OrHttp2 => builder(),
        };
        Connections { handler, patience, tls, stop, cut: CancellationToken::new(), http1, http2, plain }
    }

    pub(super) async fn serve(&self, stream: Stream, address: Option<SocketAddr>, watcher: Watcher) {
        let Some(tls) = &self.tls else {
            return self.speak(&self.plain, stream, Peer { address, secure: false, client: None }, watcher).await;
        };
        let mut peer = Peer { address, secure: true, client: None };
        let secured = tokio::select! {
            // Nothing has been asked yet.
            () = self.stop.cancelled() => return,
            secured = tls.accept(stream) => secured,
        };
        match secured {
            Ok(Some(Accepted { stream, client })) => {
                peer.client = client.map(Arc::new);
                let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
                let builder = if http2 { &self.http2 } else { &self.http1 };
                self.speak(builder, stream, peer, watcher).await;
            }
            Ok(None) => tracing::info!(%peer, "an authority has validated a host"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::debug!(%peer, %error, cause, "no TLS with a client");
            }
        }
    }

    /// Speaks until the client goes. When the server stops, or the client's certificate ends, requests in flight are the last
    /// ones; who still has something to ask connects again, and shows the certificate that it has then.
    async fn speak<S>(&self, builder: &Builder<TokioExecutor>, stream: S, peer: Peer, _counted: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Patient::new(stream, self.patience);
        let quiet = stream.quiet();
        let service = service_fn(|request: Request<Incoming>| {
            quiet.store(request.version() < Version::HTTP_2 && request.body().is_end_stream(), Ordering::Relaxed);
            let answer = self.handler.answer(request, peer.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut last = pin!(async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = end_of_certificate(&peer) => {}
            }
        });
        let mut is_last = false;
        loop {
            tokio::select! {
                () = self.cut.cancelled() => return tracing::debug!(%peer, "a connection was cut"),
                () = &mut last, if !is_last => {
                    is_last = true;
                    connection.as_mut().graceful_shutdown();
                }
                outcome = &mut connection => {
                    if let Err(error) = outcome {
                        tracing::debug!(%peer, error, "a connection ended with an error");
                    }
                    return;
                }
            }
        }
    }
}

/// Waits for the end of the client's certificate. Of one that has ended, as a resumed session brings it, the client is told so
/// in an answer.
async fn end_of_certificate(peer: &Peer) {
    match peer.client.as_ref().and_then(|client| client.left(UnixTime::now())) {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

fn builder() -> Builder<TokioExecutor> {
    // Header names as every Go server writes them: scripts look for `Docker-Content-Digest` as it stands here.
    let mut builder = Builder::new(TokioExecutor::new()).title_case_headers(true);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIMEOUT)
        .adaptive_window(true)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES);
    builder
}
