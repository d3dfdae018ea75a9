//! A client of one connection: TLS or not, HTTP/1.1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::{Authority, Pair};
use crate::support::Answer;

pub(crate) type Body = BoxBody<Bytes, io::Error>;
pub(crate) const HTTP1: &str = "http/1.1";
pub(crate) const HTTP2: &str = "h2";

/// What a client offers and whom it trusts.
pub(crate) struct Offer<'a> {
    pub(crate) trust: &'a CertificateDer<'static>,
    pub(crate) protocols: &'a [&'a str],
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) certificate: Option<&'a Pair>,
}

impl<'a> Offer<'a> {
    pub(crate) fn to(authority: &'a Authority) -> Offer<'a> {
        Offer::trusting(&authority.certificate)
    }

    pub(crate) fn trusting(trust: &'a CertificateDer<'static>) -> Offer<'a> {
        Offer { trust, protocols: &[HTTP1], versions: ALL_VERSIONS, certificate: None }
    }

    pub(crate) fn config(self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trust.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(self.versions).unwrap().with_root_certificates(roots);
        let mut config = match self.certificate {
            Some(pair) => builder.with_client_auth_cert(vec![pair.certificate.clone()], pair.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Does the handshake, for the host `localhost`.
pub(crate) async fn handshake(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// The certificate that the server shows to a new connection.
pub(crate) async fn shown(address: SocketAddr, config: Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = handshake(address, config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// One connection.
pub(crate) struct Wire {
    /// The host that requests are for.
    pub(crate) host: String,
    sender: Sender,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Wire {
    pub(crate) async fn http1(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Wire {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Wire { host: "localhost".into(), sender: Sender::Http1(sender) }
    }

    pub(crate) async fn http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Wire {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Wire { host: "localhost".into(), sender: Sender::Http2(sender) }
    }

    /// Over TLS, with what was agreed on.
    pub(crate) async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Wire> {
        Ok(Wire::agreed(handshake(address, config).await?).await)
    }

    /// The same, of which the handshake is done.
    pub(crate) async fn agreed(stream: TlsStream<TcpStream>) -> Wire {
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Wire::http2(stream).await,
            _ => Wire::http1(stream).await,
        }
    }

    /// The same connection once more; only HTTP/2 can do several requests at a time.
    pub(crate) fn again(&self) -> Option<Wire> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Wire { host: self.host.clone(), sender: Sender::Http2(sender.clone()) }),
        }
    }

    /// Sends a request for a path of the host.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Body) -> Result<Answer, hyper::Error> {
        self.send_with(method, path, &[], body).await
    }

    pub(crate) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, hyper::Error> {
        let request = headers
            .iter()
            .fold(Request::builder().method(method), |request, (name, value)| request.header(*name, *value));
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request.uri(path).header("host", &self.host).body(body).unwrap()).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let uri = format!("https://{}{path}", self.host);
                sender.send_request(request.uri(uri).body(body).unwrap()).await?
            }
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<StatusCode, hyper::Error> {
        self.send(Method::GET, path, full("")).await.map(|answer| answer.status)
    }
}

pub(crate) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

/// A body whose pieces are sent one by one.
pub(crate) fn piecewise() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(0);
    let frames = receiver.map(|piece| Ok::<_, io::Error>(Frame::data(piece)));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}
