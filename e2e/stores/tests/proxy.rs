//! The proxy before a server that is made for the test: what passes unchanged, what is counted, what is broken.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_stores::{Dialect, Fault, Faults, Kind, Proxy};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What every GET is answered with.
const CONTENT: &[u8] = &[7; 300_000];

/// A server that counts what reaches it, and says what it was asked.
struct Upstream {
    address: SocketAddrV4,
    seen: Arc<AtomicU64>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        let seen = Arc::new(AtomicU64::new(0));
        let counter = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counter = counter.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &counter));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn answer(request: Request<Incoming>, seen: &AtomicU64) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let received = body.collect().await.unwrap().to_bytes();
    seen.fetch_add(1, Ordering::SeqCst);
    let answered = match head.method {
        Method::GET => Bytes::from_static(CONTENT),
        _ => Bytes::new(),
    };
    let mut response = Response::builder()
        .header("x-target", head.uri.to_string())
        .header("x-host", head.headers[header::HOST].clone())
        .header("x-received", received.len());
    if head.method == Method::HEAD {
        response = response.header(header::CONTENT_LENGTH, CONTENT.len());
    }
    Ok(response.body(Full::new(answered)).unwrap())
}

/// A kept connection to the proxy.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: proxy.address().to_string() }
    }

    async fn send(&mut self, method: Method, target: &str, body: &'static [u8]) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(target).header(header::HOST, &self.host);
        self.sender.ready().await?;
        self.sender.send_request(request.body(Full::from(body)).unwrap()).await
    }
}

/// One request on a connection of its own: the answer's status and body.
async fn once(proxy: &Proxy, method: Method, target: &str) -> hyper::Result<(StatusCode, Bytes)> {
    let response = Client::connect(proxy).await.send(method, target, b"").await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// The error of the socket that lies below.
fn socket_error(error: &hyper::Error) -> Option<ErrorKind> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

#[tokio::test]
async fn requests_pass_unchanged_and_are_counted() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    let mut client = Client::connect(&proxy).await;

    let put = client.send(Method::PUT, "/b/a%2Fb%20c?x=%2F&y", b"some content").await.unwrap();
    assert_eq!(put.headers()["x-target"], "/b/a%2Fb%20c?x=%2F&y");
    assert_eq!(put.headers()["x-host"], client.host.as_str(), "a signature is made for this host");
    assert_eq!(put.headers()["x-received"], "12");
    let get = client.send(Method::GET, "/b/k", b"").await.unwrap();
    assert!(get.into_body().collect().await.unwrap().to_bytes() == CONTENT);
    let head = client.send(Method::HEAD, "/b/k", b"").await.unwrap();
    assert_eq!(head.headers()[header::CONTENT_LENGTH], CONTENT.len().to_string().as_str());
    client.send(Method::GET, "/b?list-type=2", b"").await.unwrap().into_body().collect().await.unwrap();

    let counts = proxy.counts();
    assert_eq!(counts.to_string(), "GET Listing 1, GET Object 1, HEAD Object 1, PUT Object 1");
    assert_eq!(upstream.seen(), 4);
    proxy.forget_counts();
    assert_eq!(proxy.counts().total(), 0);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_made_anew() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    let proxy = Proxy::start(address, Dialect::S3).unwrap();
    let mut client = Client::connect(&proxy).await;
    for _ in 0..3 {
        // Answers, closes without a word, and waits until the proxy has taken note.
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        };
        let (response, ()) = tokio::join!(client.send(Method::GET, "/b/k", b""), server);
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn bodies_pass_as_they_come_and_headers_as_they_are_written() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    let proxy = Proxy::start(address, Dialect::S3).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nX-Amz-Date: now\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();

    // The server sees the first half while the second is not sent yet, and answers while it is not read.
    let (mut server, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nabc") {
        assert_ne!(server.read_buf(&mut seen).await.unwrap(), 0);
    }
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("\r\nX-Amz-Date: now\r\n") && seen.contains("\r\nHost: h\r\n"), "{seen}");
    client.write_all(b"def").await.unwrap();
    let mut rest = [0; 3];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"def");

    server.write_all(b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 4\r\n\r\n12").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n12") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
    }
    assert!(String::from_utf8(answer).unwrap().contains("\r\nETag: \"x\"\r\n"));
}

#[tokio::test]
async fn a_body_of_unknown_length_passes() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::Swift).unwrap();
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let pieces =
        futures::stream::iter((0..100).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[1; 5000])))));
    let request = Request::put("/v1/AUTH_test/c/k").header(header::HOST, "h").body(StreamBody::new(pieces)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.headers()["x-received"], "500000");
    assert_eq!(proxy.counts().of(&Method::PUT, Kind::Object), 1);
}

#[tokio::test]
async fn refusals_are_in_the_words_of_the_server() {
    let upstream = Upstream::start().await;
    for (dialect, target, error, slow, denied) in [
        (Dialect::S3, "/b/k", "<Code>InternalError<", "<Code>SlowDown<", "<Code>AccessDenied<"),
        (Dialect::Azure, "/a/b/k", "<Code>InternalError<", "<Code>ServerBusy<", "<Code>AuthorizationFailure<"),
        (Dialect::Gcs, "/storage/v1/b/b/o/k", "\"code\":500", "\"code\":503", "\"code\":403"),
        (Dialect::Swift, "/v1/AUTH_test/b/k", "", "", ""),
    ] {
        let proxy = Proxy::start(upstream.address, dialect).unwrap();
        for (fault, expected, words) in [
            (Fault::Error, StatusCode::INTERNAL_SERVER_ERROR, error),
            (Fault::SlowDown, StatusCode::SERVICE_UNAVAILABLE, slow),
            (Fault::Deny, StatusCode::FORBIDDEN, denied),
        ] {
            proxy.set_faults(Faults::of_seed(1).share(fault, 1.0).only(&Method::GET, Kind::Object));
            let (status, body) = once(&proxy, Method::GET, target).await.unwrap();
            assert_eq!(status, expected, "{dialect:?}");
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains(words), "{dialect:?} {body}");
            assert_eq!(proxy.counts().of_fault(fault), 1);
        }
        assert_eq!(proxy.counts().of(&Method::GET, Kind::Object), 3, "what is broken counts as well");
    }
    assert_eq!(upstream.seen(), 0);
}

#[tokio::test]
async fn a_connection_goes_on_after_a_refusal() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    proxy.set_faults(Faults::of_seed(1).share(Fault::SlowDown, 1.0).at_most(1));
    let mut client = Client::connect(&proxy).await;
    let refused = client.send(Method::PUT, "/b/k", CONTENT).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    refused.into_body().collect().await.unwrap();
    let taken = client.send(Method::PUT, "/b/k", CONTENT).await.unwrap();
    assert_eq!(taken.headers()["x-received"], CONTENT.len().to_string().as_str());
    assert_eq!(upstream.seen(), 1);
}

#[tokio::test]
async fn a_reset_comes_before_the_server_was_asked_or_after() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    for (fault, seen) in [(Fault::Reset, 0), (Fault::Lost, 1)] {
        proxy.set_faults(Faults::of_seed(1).share(fault, 1.0));
        let error = once(&proxy, Method::PUT, "/b/k").await.unwrap_err();
        assert_eq!(socket_error(&error), Some(ErrorKind::ConnectionReset), "{error:?}");
        assert_eq!(upstream.seen(), seen, "{fault:?}");
        assert_eq!(proxy.counts().of_fault(fault), 1);
    }
}

#[tokio::test]
async fn half_of_a_body_comes_and_no_more() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    proxy.set_faults(Faults::of_seed(1).share(Fault::Truncate, 1.0));
    let mut response = Client::connect(&proxy).await.send(Method::GET, "/b/k", b"").await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_LENGTH], CONTENT.len().to_string().as_str());
    let mut received = 0;
    let error = loop {
        match response.body_mut().frame().await.expect("a premature end is an error") {
            Ok(frame) => received += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(error.is_incomplete_message() || socket_error(&error).is_some(), "{error:?}");
    assert_eq!(received, CONTENT.len() / 2);
    // What has no body cannot lose half of it.
    assert_eq!(once(&proxy, Method::HEAD, "/b/k").await.unwrap().0, StatusCode::OK);
    assert_eq!(once(&proxy, Method::PUT, "/b/k").await.unwrap().0, StatusCode::OK);
    assert_eq!(proxy.counts().of_fault(Fault::Truncate), 1);
}

#[tokio::test]
async fn a_server_that_hangs_has_done_its_work_and_says_half_of_it_or_nothing() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    proxy.set_faults(Faults::of_seed(1).share(Fault::Hang, 1.0));
    let brief = Duration::from_millis(200);
    let mut response = Client::connect(&proxy).await.send(Method::GET, "/b/k", b"").await.unwrap();
    let mut received = 0;
    while let Ok(frame) = tokio::time::timeout(brief, response.body_mut().frame()).await {
        received += frame.expect("it does not end").unwrap().into_data().unwrap().len();
    }
    assert_eq!(received, CONTENT.len() / 2);
    tokio::time::timeout(brief, once(&proxy, Method::PUT, "/b/k")).await.unwrap_err();
    assert_eq!((upstream.seen(), proxy.counts().of_fault(Fault::Hang)), (2, 2));
}

#[tokio::test]
async fn a_stalled_request_waits_and_is_then_answered() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    let time = Duration::from_millis(300);
    proxy.set_faults(Faults::of_seed(1).share(Fault::Stall, 1.0).stall_for(time));
    let start = Instant::now();
    assert_eq!(once(&proxy, Method::PUT, "/b/k").await.unwrap().0, StatusCode::OK);
    assert!(start.elapsed() >= time);
    assert_eq!(upstream.seen(), 1);

    // A client that does not wait so long is gone before the server is asked.
    proxy.set_faults(Faults::of_seed(1).share(Fault::Stall, 1.0).stall_for(Duration::from_secs(60)));
    tokio::time::timeout(Duration::from_millis(50), once(&proxy, Method::PUT, "/b/k")).await.unwrap_err();
    assert_eq!(upstream.seen(), 1);
    assert_eq!(proxy.counts().of_fault(Fault::Stall), 2);
}

#[tokio::test]
async fn the_same_seed_breaks_the_same_of_a_row_of_requests() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(upstream.address, Dialect::S3).unwrap();
    let mut rows = Vec::new();
    for _ in 0..2 {
        proxy.set_faults(Faults::of_seed(42).share(Fault::Error, 0.3).share(Fault::Reset, 0.2));
        let mut row = Vec::new();
        for _ in 0..30 {
            row.push(once(&proxy, Method::PUT, "/b/k").await.map(|(status, _)| status).ok());
        }
        rows.push(row);
    }
    assert_eq!(rows[0], rows[1]);
    for expected in [Some(StatusCode::OK), Some(StatusCode::INTERNAL_SERVER_ERROR), None] {
        assert!(rows[0].contains(&expected), "{:?}", rows[0]);
    }
}

#[tokio::test]
async fn without_a_server_connections_end() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let SocketAddr::V4(address) = unused.local_addr().unwrap() else { unreachable!() };
    drop(unused);
    let proxy = Proxy::start(address, Dialect::S3).unwrap();
    once(&proxy, Method::GET, "/b/k").await.unwrap_err();
    assert_eq!(proxy.counts().total(), 1);
}

#[test]
fn a_dropped_proxy_is_gone() {
    let proxy = Proxy::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), Dialect::S3).unwrap();
    let mut kept = std::net::TcpStream::connect(proxy.address()).unwrap();
    let address = proxy.address();
    drop(proxy);
    assert_eq!(std::io::Read::read(&mut kept, &mut [0]).unwrap_or_default(), 0);
    assert!(std::net::TcpStream::connect(address).is_err());
}
