//! The way through a proxy, where the environment names one as Go's programs are told, and CNCF Distribution among them:
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
//!
//! To a server with TLS leads a tunnel, of which the proxy knows the host and the port. One without is asked by way of the
//! proxy, which reads every request and passes it on. What is on this machine or beside it is asked directly: no proxy can
//! reach it in our place. A proxy's credentials are in no error and no log.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::PROXY_AUTHORIZATION;
use http::uri::Scheme;
use http::{Request, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::ClientConfig;
use tower_service::Service;

use super::CONNECT_PATIENCE;
use crate::BoxError;

/// Where machines in clouds ask who they are, beside addresses that are good on one link alone.
const BESIDE: [&str; 4] = ["metadata.google.internal", "100.100.100.200", "fd00:ec2::254", "fd00:ec2::23"];

/// Makes the connections of a client: to where it wants, or to a proxy.
#[derive(Clone)]
pub struct Connector {
    direct: HttpsConnector<HttpConnector>,
    tls: Arc<ClientConfig>,
    proxies: Arc<Matcher>,
}

impl Connector {
    /// With the proxies that the environment names.
    #[must_use]
    pub fn new(tls: ClientConfig) -> Self {
        Self::through(tls, Matcher::from_env())
    }

    pub(super) fn through(tls: ClientConfig, proxies: Matcher) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_PATIENCE));
        tcp.set_keepalive(Some(std::time::Duration::from_secs(15)));
        let direct = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        let direct = direct.enable_http1().wrap_connector(tcp);
        Connector { direct, tls: Arc::new(tls), proxies: Arc::new(proxies) }
    }

    /// Adds to a request what the proxy wants to see that it is asked of, if it is asked of one.
    pub fn prepare<B>(&self, request: &mut Request<B>) {
        let is_read = request.uri().scheme() == Some(&Scheme::HTTP);
        if let Some(credentials) =
            self.proxy(request.uri()).as_ref().and_then(Intercept::basic_auth).filter(|_| is_read)
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
        }
    }

    /// The proxies for others without TLS and with it, for people.
    pub(super) fn shown(&self) -> (Option<String>, Option<String>) {
        let of = |uri| Some(self.proxy(&Uri::from_static(uri))?.uri().authority()?.to_string());
        (of("http://a.store.invalid"), of("https://a.store.invalid"))
    }

    fn proxy(&self, target: &Uri) -> Option<Intercept> {
        if is_near(target.host()?) { None } else { self.proxies.intercept(target) }
    }
}

/// Whether a host is this machine, or something that answers it alone.
fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") || BESIDE.contains(&host.as_str()) {
        return true;
    }
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => false,
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Connector { mut direct, tls, .. } = self.clone();
        let proxy = self.proxy(&target);
        Box::pin(async move {
            let Some(proxy) = proxy else {
                return Ok(Stream { inner: Box::new(direct.call(target).await?), reads_requests: false });
            };
            if target.scheme() != Some(&Scheme::HTTPS) {
                return Ok(Stream { inner: Box::new(direct.call(proxy.uri().clone()).await?), reads_requests: true });
            }
            let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
            if let Some(credentials) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(credentials.clone());
            }
            let inner = HttpsConnector::from((tunnel, tls)).call(target).await?;
            Ok(Stream { inner: Box::new(inner), reads_requests: false })
        })
    }
}

/// What a client needs of a connection.
trait Wire: Read + Write + Connection + Send + Unpin {}

impl<T: Read + Write + Connection + Send + Unpin> Wire for T {}

/// A connection.
pub struct Stream {
    inner: Box<dyn Wire>,
    /// Whether at its other end is a proxy that wants to know whom each request is for.
    reads_requests: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().proxy(self.reads_requests)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, content: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, content)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::Trust;
    use crate::error::chain;
    use crate::http::{Http, RequestBody};

    /// A client that is told of a proxy, and the place where that listens.
    async fn proxied() -> (Http, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://berth:the-secret@{}", listener.local_addr().unwrap());
        let proxies = Matcher::builder().all(proxy).no("near.example, 10.0.0.0/8").build();
        (Http::through(&Trust::default(), proxies).unwrap(), listener)
    }

    fn get(uri: &str) -> Request<RequestBody> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Request::get(uri).body(body).unwrap()
    }

    /// The head of the next request, in lower case, and the connection.
    async fn head(listener: &TcpListener) -> (String, TcpStream) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap().to_lowercase(), stream)
    }

    // The credentials of the proxy: berth and the-secret.
    const AUTHORIZATION: &str = "\r\nproxy-authorization: basic ymvydgg6dghllxnly3jlda==\r\n";

    #[tokio::test]
    async fn a_server_without_tls_is_asked_by_way_of_the_proxy() {
        let (http, listener) = proxied().await;
        let asked = tokio::spawn(async move {
            let (head, mut stream) = head(&listener).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            head
        });
        let answer = http.send(get("http://store.example:9000/images/key?a=b")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        let head = asked.await.unwrap();
        assert!(head.starts_with("get http://store.example:9000/images/key?a=b http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: store.example:9000\r\n") && head.contains(AUTHORIZATION), "{head}");
    }

    #[tokio::test]
    async fn to_a_server_with_tls_leads_a_tunnel() {
        let (http, listener) = proxied().await;
        let asked = tokio::spawn(async move {
            let (head, mut stream) = head(&listener).await;
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            (head, stream.read_u8().await.unwrap())
        });
        // The tunnel ends nowhere.
        http.send(get("https://store.example/images/key")).await.unwrap_err();
        let (head, first) = asked.await.unwrap();
        assert!(head.starts_with("connect store.example:443 http/1.1\r\n") && head.contains(AUTHORIZATION), "{head}");
        assert_eq!(first, 22, "a handshake of TLS begins so");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_told_of_without_its_credentials() {
        let (http, listener) = proxied().await;
        tokio::spawn(async move {
            let (_, mut stream) = head(&listener).await;
            stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
        });
        let error = http.send(get("https://store.example/images/key")).await.unwrap_err();
        let (shown, debugged) = (chain(error.as_ref()), format!("{error:?}"));
        assert!(shown.contains("proxy authorization required"), "{shown}");
        for text in [shown, debugged] {
            assert!(!text.contains("the-secret") && !text.contains("YmVydGg6"), "{text}");
        }
    }

    #[test]
    fn what_is_near_and_what_is_excepted_is_asked_directly() {
        let tls = super::super::tls(&Trust::default()).unwrap();
        let proxies =
            || Matcher::builder().all("http://berth:the-secret@proxy.example:3128").no("near.example, 10.0.0.0/8");
        let connector = Connector::through(tls.clone(), proxies().build());
        let check = |uri: &'static str, expected: bool| {
            assert_eq!(connector.proxy(&Uri::from_static(uri)).is_some(), expected, "{uri}");
        };
        check("https://s3.eu-west-1.amazonaws.com", true);
        check("http://192.168.1.1:9000", true);
        check("http://[2001:db8::1]:9000", true);
        for near in [
            "http://near.example:9000",
            "https://images.near.example",
            "http://10.1.2.3:9000",
            "http://localhost:9000",
            "http://store.localhost",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "http://169.254.169.254/latest/meta-data",
            "http://[fd00:ec2::254]/latest",
            "http://metadata.google.internal/computeMetadata/v1",
            "http://100.100.100.200/latest",
        ] {
            check(near, false);
        }
        let shown = Some("proxy.example:3128".to_owned());
        assert_eq!(connector.shown(), (shown.clone(), shown));
        assert_eq!(Connector::through(tls, Matcher::builder().build()).shown(), (None, None));
    }
}
