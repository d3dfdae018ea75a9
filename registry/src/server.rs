//! A listener that answers requests over HTTP/1.1 and HTTP/2 until it is told to stop, and then lets requests in flight
//! end.
//!
//! What is answered is not known here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::http::Body;
use crate::patience::{Patience, Patient};

/// How long a client may take to send the head of a request, and how long a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const PATIENCE: Patience =
    Patience { first_bytes: HEADER_TIMEOUT, write: Duration::from_secs(120), end: Duration::from_secs(5) };
/// How many connections are served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// The most that is read at once of a connection: large enough that uploads arrive in few pieces.
const MAX_BUFFER_BYTES: usize = 512 * 1024;
/// How long to wait before accepting again when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, and then for at most `drain` more.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H, stop: CancellationToken, drain: Duration)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    serve_with(listener, handler, stop, drain, PATIENCE).await;
}

async fn serve_with<H, F>(
    listener: TcpListener,
    handler: H,
    stop: CancellationToken,
    drain: Duration,
    patience: Patience,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder());
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let answer = handler(request, peer);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = builder.serve_connection(TokioIo::new(Patient::new(stream, patience)), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%peer, error, "a connection ended with an error");
            }
        });
    }
    // New connections are refused from here on.
    drop(listener);
    let open = graceful.count();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(open, "requests were still in flight when the drain timeout ended");
    }
}

fn builder() -> Builder<TokioExecutor> {
    // Header names as every Go server writes them: scripts look for `Docker-Content-Digest` as it stands here.
    let mut builder = Builder::new(TokioExecutor::new()).title_case_headers(true);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIMEOUT)
        .adaptive_window(true)
        .max_concurrent_streams(256);
    builder
}

type Accepted = (TcpStream, SocketAddr, Option<tokio::sync::OwnedSemaphorePermit>);

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = connections.clone().acquire_owned().await.ok();
    match listener.accept().await {
        Ok((stream, peer)) => {
            // An answer's head must not wait for the client to acknowledge what was sent before.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::answer;

    /// A server that answers every request at once, without a look at its body.
    async fn start(patience: Patience) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let handler = async |_, _| answer::full(StatusCode::FORBIDDEN, "text/plain", "no".into(), false);
        let handler = move |request, peer| handler(request, peer);
        tokio::spawn(serve_with(listener, handler, stop.clone(), Duration::ZERO, patience));
        (address, stop)
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        let (address, stop) = start(Patience { first_bytes: Duration::from_millis(20), ..PATIENCE }).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
        assert!(read.expect("it stays open").is_err());
        stop.cancel();
    }

    /// What a client of Go does: it writes on while it waits for the answer.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_reaches_a_client_that_is_still_sending() {
        const BODY_BYTES: usize = 64 * 1024 * 1024;
        let (address, stop) = start(PATIENCE).await;
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let sending = tokio::spawn(async move {
            let head = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
            writer.write_all(head.as_bytes()).await?;
            let piece = vec![0; 64 * 1024];
            for _ in 0..BODY_BYTES / piece.len() {
                writer.write_all(&piece).await?;
            }
            writer.shutdown().await
        });
        sending.await.unwrap().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 403 ") && text.ends_with("no"), "{text}");
        stop.cancel();
    }
}
