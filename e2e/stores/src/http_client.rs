//! The few requests that preparing a server takes: one connection each, small answers.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest body of an answer.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Where a server listens, and whom to trust where it speaks TLS.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: SocketAddrV4,
    tls: Option<Arc<ClientConfig>>,
}

impl From<SocketAddrV4> for Target {
    fn from(address: SocketAddrV4) -> Self {
        Self { address, tls: None }
    }
}

impl Target {
    pub(crate) fn over_tls(address: SocketAddrV4, trusted: Arc<ClientConfig>) -> Self {
        Self { address, tls: Some(trusted) }
    }

    /// Whether anything is answered to a plain request.
    pub(crate) async fn answers(&self, path: &str) -> bool {
        match Request::get(path).body(Bytes::new()) {
            Ok(request) => self.exchange(request).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Sends a request whose URI is a path, and which must succeed; reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let what = format!("{} {} of {}", request.method(), request.uri().path(), self.address);
        let response = self.exchange(request).await.with_context(|| what.clone())?;
        if !response.status().is_success() {
            bail!("{what}: {}: {}", response.status(), String::from_utf8_lossy(response.body()));
        }
        Ok(response)
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let whole = async {
            let stream = TcpStream::connect(self.address).await.context("connect")?;
            let Some(config) = &self.tls else { return exchange_on(stream, self.address, request).await };
            let name = ServerName::from(std::net::IpAddr::from(*self.address.ip()));
            let stream = TlsConnector::from(config.clone()).connect(name, stream).await.context("greet over TLS")?;
            exchange_on(stream, self.address, request).await
        };
        tokio::time::timeout(LIMIT, whole).await.context("no answer in time")?
    }
}

async fn exchange_on<S>(stream: S, address: SocketAddrV4, mut request: Request<Bytes>) -> Result<Response<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = address.to_string().parse().context("an address is a host")?;
    request.headers_mut().entry(header::HOST).or_insert(host);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error)).context("read the answer")?.to_bytes();
    Ok(Response::from_parts(head, body))
}
