//! One HTTP request. As a command it is for images without a shell, where `helm test` and exec probes have nothing else to
//! ask with; the operator asks its registries by it.

use std::{pin::pin, time::Duration};

use futures::future::{Either, select};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the whole of it may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one of plain HTTP.
    #[error("{0}: only http://HOST[:PORT]/PATH can be probed")]
    Address(Uri),
    /// Nobody listens.
    #[error("{uri}: cannot connect: {source}")]
    Connect {
        /// The address.
        uri: Uri,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There was no HTTP answer.
    #[error("{uri}: no answer: {source}")]
    Answer {
        /// The address.
        uri: Uri,
        /// What was wrong with it.
        source: hyper::Error,
    },
    /// The body of the answer broke off.
    #[error("{uri}: no answer: {source}")]
    Body {
        /// The address.
        uri: Uri,
        /// What was wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is too long.
    #[error("{uri}: the answer has more than {max_body_bytes} bytes")]
    TooLong {
        /// The address.
        uri: Uri,
        /// The most that it may have.
        max_body_bytes: usize,
    },
    /// The answer is not one of success.
    #[error("{uri}: answered {status}")]
    Status {
        /// The address.
        uri: Uri,
        /// The status.
        status: StatusCode,
    },
    /// It took too long.
    #[error("{0}: no answer within 10 s")]
    Timeout(Uri),
}

/// `GET uri`; a status from 200 to 299 is success.
///
/// # Errors
/// [`Error`], which names the address.
pub async fn probe(uri: Uri) -> Result<StatusCode, Error> {
    let slow = Error::Timeout(uri.clone());
    let asked = exchange(uri.clone(), None);
    let (status, _) = tokio::time::timeout(TIMEOUT, asked).await.unwrap_or(Err(slow))?;
    if status.is_success() { Ok(status) } else { Err(Error::Status { uri, status }) }
}

/// `GET uri`, and what is answered, whatever the status; no redirect is followed. How long it may take is the caller's
/// matter: nothing is left of it when it is dropped.
///
/// # Errors
/// [`Error`], which names the address.
pub async fn get(uri: Uri, max_body_bytes: usize) -> Result<(StatusCode, Bytes), Error> {
    exchange(uri, Some(max_body_bytes)).await
}

/// One request and its answer; the body is read if a bound is given.
async fn exchange(uri: Uri, max_body_bytes: Option<usize>) -> Result<(StatusCode, Bytes), Error> {
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority().cloned()) else {
        return Err(Error::Address(uri));
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|source| Error::Connect { uri: uri.clone(), source })?;
    let answer = |source| Error::Answer { uri: uri.clone(), source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(answer)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse().map_err(|_| Error::Address(uri.clone()))?;
    if let Ok(host) = authority.as_str().parse() {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let exchanged = pin!(async {
        let response = sender.send_request(request).await.map_err(answer)?;
        let status = response.status();
        let Some(max_body_bytes) = max_body_bytes else { return Ok((status, Bytes::new())) };
        let body = Limited::new(response.into_body(), max_body_bytes).collect().await;
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLong { uri: uri.clone(), max_body_bytes }),
            Err(source) => Err(Error::Body { uri: uri.clone(), source }),
        }
    });
    // The connection is served here and not in a task of its own, so that it ends with the exchange.
    match select(exchanged, pin!(connection)).await {
        Either::Left((exchanged, _)) => exchanged,
        Either::Right((_, exchanged)) => exchanged.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// What a probe says of a server that answers with this status line.
    async fn of(status_line: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(format!("{status_line}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        });
        let probed = probe(format!("http://127.0.0.1:{port}/readyz").parse().unwrap()).await;
        probed.map_or_else(|error| error.to_string(), |status| status.to_string()).replace(&port.to_string(), "PORT")
    }

    #[tokio::test]
    async fn the_status_decides() {
        assert_eq!(of("HTTP/1.1 200 OK").await, "200 OK");
        let refused = "http://127.0.0.1:PORT/readyz: answered 503 Service Unavailable";
        assert_eq!(of("HTTP/1.1 503 Service Unavailable").await, refused);
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_named() {
        for (uri, expected) in [
            ("https://a/", "https://a/: only http://"),
            ("/readyz", "/readyz: only http://"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1/: cannot connect"),
        ] {
            let error = probe(uri.parse().unwrap()).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
