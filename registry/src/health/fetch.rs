//! A HEAD request, as small as a health check needs it: one connection, HTTP/1.1, with TLS where the address says so.
//!
//! Redirects are followed, as CNCF Distribution does, without the configured headers once they lead to another server:
//! these may hold a password.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_config::shown_address;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::tls;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// A request and what it must be answered with.
pub(super) struct Head {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) status: StatusCode,
    pub(super) patience: Duration,
}

/// Where an address leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    tls: bool,
}

/// Reads an address; pure.
///
/// # Errors
/// When it is not one of HTTP with a host.
pub(super) fn endpoint(uri: &Uri) -> Result<Endpoint> {
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => bail!("neither http:// nor https://"),
    };
    let host = uri.host().context("it has no host")?;
    // An IPv6 address stands in brackets, which are no part of it.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Endpoint { host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls })
}

/// A name and a password, as they stand in an address, for RFC 7617.
fn basic(credentials: &str) -> Result<HeaderValue> {
    let (name, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let text = [percent_decode_str(name).collect(), b":".to_vec(), percent_decode_str(password).collect()].concat();
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(text)))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where a redirect leads; pure. A location may be only a path.
///
/// # Errors
/// When it is no address.
pub(crate) fn redirected(from: &Uri, location: &str) -> Result<Uri> {
    let uri: Uri = location.parse().with_context(|| format!("the redirect to {location:?} leads nowhere"))?;
    if uri.scheme().is_some() {
        return Ok(uri);
    }
    ensure!(location.starts_with('/'), "the redirect to {location:?} leads nowhere");
    let mut parts = from.clone().into_parts();
    parts.path_and_query = uri.into_parts().path_and_query;
    Ok(Uri::from_parts(parts)?)
}

impl Head {
    /// The address, for people.
    pub(super) fn shown(&self) -> String {
        shown_address(&self.uri.to_string())
    }

    /// Sends the request.
    ///
    /// # Errors
    /// When no answer comes in time, or another one than it must be.
    pub(super) async fn send(&self) -> Result<()> {
        let answered = tokio::time::timeout(self.patience, self.follow()).await;
        let status = answered.with_context(|| format!("error while checking: no answer within {:?}", self.patience))?;
        let status = status.context("error while checking")?;
        ensure!(status == self.status, "downstream service returned unexpected status: {}", status.as_u16());
        Ok(())
    }

    async fn follow(&self) -> Result<StatusCode> {
        let mut uri = self.uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            let headers = (uri.authority() == self.uri.authority()).then_some(&self.headers);
            let response = request(&uri, headers).await?;
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            match location.filter(|_| response.status().is_redirection() && response.status() != self.status) {
                Some(location) => uri = redirected(&uri, location)?,
                None => return Ok(response.status()),
            }
        }
        bail!("stopped after {MAX_REDIRECTS} redirects")
    }
}

async fn request(uri: &Uri, headers: Option<&HeaderMap>) -> Result<Response<Incoming>> {
    let endpoint = endpoint(uri)?;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    let mut request = Request::head(uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str));
    if let Some(sent) = request.headers_mut() {
        // What the configuration says, `Host` included, counts more than what is made here.
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let (credentials, host) =
            authority.rsplit_once('@').map_or((None, authority), |(credentials, host)| (Some(credentials), host));
        sent.insert(header::HOST, HeaderValue::from_str(host)?);
        if let Some(credentials) = credentials {
            sent.insert(header::AUTHORIZATION, basic(credentials)?);
        }
        sent.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("berth-registry/", env!("CARGO_PKG_VERSION"))),
        );
        for name in headers.into_iter().flat_map(HeaderMap::keys) {
            sent.remove(name);
        }
        sent.extend(headers.cloned().unwrap_or_default());
    }
    let request = request.body(Empty::new())?;
    if !endpoint.tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(endpoint.host)?;
    let connector = TlsConnector::from(Arc::new(client_config().await?));
    exchange(connector.connect(name, stream).await?, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    // The answer to HEAD has no body, so the connection is not needed any more.
    Ok(sender.send_request(request).await?)
}

/// Trusts whom the system trusts. Read for every look: a check is seldom, and a certificate that is added counts at once.
async fn client_config() -> Result<ClientConfig> {
    Ok(tokio::task::spawn_blocking(|| tls::client("health.http", None)).await??)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_lead_somewhere_or_are_refused() {
        fn check(uri: &str, expected: Option<(&str, u16, bool)>) {
            let found = endpoint(&uri.parse().unwrap()).ok();
            let expected = expected.map(|(host, port, tls)| Endpoint { host: host.to_owned(), port, tls });
            assert_eq!(found, expected, "{uri}");
        }
        check("http://a", Some(("a", 80, false)));
        check("https://a/b?c", Some(("a", 443, true)));
        check("http://[::1]:8080/", Some(("::1", 8080, false)));
        check("ftp://a", None);
        check("/path", None);
        check("a:80", None);
    }

    #[test]
    fn redirects_may_be_relative() {
        fn check(location: &str, expected: Option<&str>) {
            let found = redirected(&"http://a:1/b?c".parse().unwrap(), location).ok();
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
        check("https://b/x", Some("https://b/x"));
        check("/x?y", Some("http://a:1/x?y"));
        check("x", None);
        check("", None);
    }

    /// Answers one connection after another with these heads, and gives what was asked.
    async fn answering(heads: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let own = address.clone();
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for head in heads {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    text.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(text).unwrap());
                let head = head.replace("SELF", &own);
                stream.write_all(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
            }
            asked
        });
        (address, serving)
    }

    async fn send(address: &str, status: u16, name: &'static str) -> Result<()> {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("own"))]);
        let (uri, status) =
            (format!("http://{address}/ready?x").parse().unwrap(), StatusCode::from_u16(status).unwrap());
        Head { uri, headers, status, patience: Duration::from_secs(10) }.send().await
    }

    #[tokio::test]
    async fn a_server_must_answer_with_the_status() {
        let (address, serving) = answering(vec!["200 OK".into(), "503 No".into(), "204 None".into()]).await;
        send(&address, 200, "x-check").await.unwrap();
        let refused = send(&address, 200, "host").await.unwrap_err().to_string();
        assert_eq!(refused, "downstream service returned unexpected status: 503");
        send(&address, 204, "x-check").await.unwrap();
        let asked = serving.await.unwrap();
        assert!(asked[0].starts_with("HEAD /ready?x HTTP/1.1\r\n"), "{asked:?}");
        assert!(
            asked[0].contains("x-check: own\r\n") && asked[0].contains(&format!("host: {address}\r\n")),
            "{asked:?}"
        );
        assert!(asked[1].contains("host: own\r\n") && !asked[1].contains(&address), "{asked:?}");
        assert!(
            format!("{:#}", send(&address, 200, "x-check").await.unwrap_err()).starts_with("error while checking: ")
        );
    }

    #[tokio::test]
    async fn who_asks_is_told_as_the_address_says() {
        let (address, serving) = answering(vec!["503 No".into()]).await;
        let uri = format!("http://me:p%40ss@{address}/?token=1").parse().unwrap();
        let (headers, status, patience) = (HeaderMap::new(), StatusCode::OK, Duration::from_secs(10));
        let head = Head { uri, headers, status, patience };
        head.send().await.unwrap_err();
        assert_eq!(head.shown(), format!("http://<hidden>@{address}/?<hidden>"));
        let asked = serving.await.unwrap().remove(0);
        assert!(asked.contains("authorization: Basic bWU6cEBzcw==\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
    }

    #[tokio::test]
    async fn a_redirect_is_followed_without_the_headers_where_it_leads_elsewhere() {
        let (other, serving_other) = answering(vec!["200 OK".into()]).await;
        let here = "302 Found\r\nlocation: /there".to_owned();
        let (address, serving) = answering(vec![here, format!("307 Go\r\nlocation: http://{other}/")]).await;
        send(&address, 200, "authorization").await.unwrap();
        assert!(serving.await.unwrap()[1].contains("authorization: own\r\n"));
        assert!(!serving_other.await.unwrap()[0].contains("authorization"));
        let (address, _serving) = answering(vec!["302 Found\r\nlocation: /".into(); MAX_REDIRECTS + 1]).await;
        let refused = format!("{:#}", send(&address, 200, "x-check").await.unwrap_err());
        assert!(refused.contains("stopped after 10 redirects"), "{refused}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for_longer_than_it_may_take() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let head = Head { uri, headers: HeaderMap::new(), status: StatusCode::OK, patience: Duration::from_millis(20) };
        assert!(head.send().await.unwrap_err().to_string().contains("no answer within 20ms"));
    }
}
