//! A listener that answers requests over HTTP/1.1 and HTTP/2 until it is told to stop, and then lets requests in flight
//! end.
//!
//! What is answered is not known here.

mod connection;
mod listener;
mod peer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::patience::Patience;
use crate::tls::Tls;
use connection::{Connections, HEADER_TIMEOUT};

pub(crate) use connection::{Handler, Plain};
pub use listener::Endpoint;
pub(crate) use listener::{Listener, Stream};
pub use peer::Peer;

const PATIENCE: Patience =
    Patience { first_bytes: HEADER_TIMEOUT, write: Duration::from_secs(120), end: Duration::from_secs(5) };
/// How many connections are served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// How long to wait before accepting again when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a listener is served.
pub(crate) struct Transport {
    /// What is spoken without TLS.
    pub(crate) plain: Plain,
    /// TLS; every connection is one then.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long a stop waits for requests in flight; what is still open then is cut.
    pub(crate) drain: Duration,
    pub(crate) patience: Patience,
}

impl Default for Transport {
    fn default() -> Self {
        Transport { plain: Plain::Http1, tls: None, drain: Duration::ZERO, patience: PATIENCE }
    }
}

/// Serves until `stop`, and then for as long as the transport says.
pub(crate) async fn serve(listener: Listener, transport: Transport, handler: impl Handler, stop: CancellationToken) {
    let drain = transport.drain;
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Connections::new(handler, transport, stop.clone()));
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, address, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (connections, watcher) = (connections.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            connections.serve(stream, address, watcher).await;
        });
    }
    // New connections are refused from here on.
    drop(listener);
    let open = graceful.count();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(open, "requests were still in flight when the drain timeout ended");
        connections.cut.cancel();
    }
}

type Accepted = (Stream, Option<SocketAddr>, Option<OwnedSemaphorePermit>);

async fn accept(listener: &Listener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = room.clone().acquire_owned().await.ok();
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
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
    use tokio::net::TcpStream;

    use super::*;
    use crate::http::answer;

    /// A server that answers every request at once, without a look at its body.
    async fn start(patience: Patience) -> (SocketAddr, CancellationToken) {
        let listener = Listener::tcp(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let Endpoint::Tcp(address) = listener.endpoint().unwrap() else { panic!("not TCP") };
        let stop = CancellationToken::new();
        let handler = async |_, _| answer::full(StatusCode::FORBIDDEN, "text/plain", "no".into(), false);
        let handler = move |request, peer| handler(request, peer);
        tokio::spawn(serve(listener, Transport { patience, ..Transport::default() }, handler, stop.clone()));
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

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_has_nothing_to_send() {
        let listener = Listener::tcp(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let Endpoint::Tcp(address) = listener.endpoint().unwrap() else { panic!("not TCP") };
        let (stop, patience) = (CancellationToken::new(), Patience { end: Duration::from_secs(3600), ..PATIENCE });
        let handler = |_, _| async { answer::full(StatusCode::OK, "text/plain", "yes".into(), false) };
        let transport = Transport { patience, ..Transport::default() };
        let serving = tokio::spawn(serve(listener, transport, handler, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).await.unwrap();
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), serving).await;
        ended.expect("it waits for a client that keeps its connection").unwrap();
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
