//! What is not quite HTTP, or more of it than usual, as bytes on a connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::on_both;

/// Sends these bytes, and reads until the server closes the connection.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What is refused early may end with a reset, which takes nothing from what has arrived.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// The first line of an answer, and its body.
fn ends(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    (head.lines().next().unwrap_or_default(), body)
}

#[tokio::test]
async fn a_request_is_for_one_well_formed_host() {
    on_both(
        |_| (),
        async |server, _| {
            let (api, debug) = (server.running.address(), server.running.debug_address().unwrap());
            for (address, path) in [(api, "/v2/"), (api, "/"), (api, "/elsewhere"), (debug, "/debug/health")] {
                for (hosts, said) in [
                    ("", "the request has no Host header"),
                    ("Host: a\r\nHost: a\r\n", "the request has more than one Host header"),
                    ("Host: a/b\r\n", "the Host header of the request is malformed"),
                ] {
                    let request = format!("GET {path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
                    let answer = exchange(address, &request).await;
                    let body = format!("{{\"errors\":[{{\"code\":\"UNSUPPORTED\",\"message\":\"{said}\"}}]}}\n");
                    assert_eq!(ends(&answer), ("HTTP/1.1 400 Bad Request", body.as_str()), "{request}");
                }
            }
            // A probe of HAProxy has none.
            let answer = exchange(api, "GET /v2/ HTTP/1.0\r\n\r\n").await;
            assert_eq!(ends(&answer), ("HTTP/1.0 200 OK", "{}"));
            let answer = exchange(api, "GET /v2/ HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n").await;
            assert_eq!(ends(&answer), ("HTTP/1.1 200 OK", "{}"));
        },
    )
    .await;
}

#[tokio::test]
async fn hundreds_of_headers_are_read() {
    on_both(
        |_| (),
        async |server, _| {
            let request = |count: usize, value: &str| {
                let headers: String = (0..count).map(|at| format!("X-{at}: {value}\r\n")).collect();
                format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n")
            };
            for (count, bytes, expected) in [
                (101, 1, "HTTP/1.1 200 OK"),
                (254, 1, "HTTP/1.1 200 OK"),
                (200, 2000, "HTTP/1.1 200 OK"),
                (255, 1, "HTTP/1.1 431 Request Header Fields Too Large"),
                (254, 5000, "HTTP/1.1 431 Request Header Fields Too Large"),
            ] {
                let answer = exchange(server.running.address(), &request(count, &"v".repeat(bytes))).await;
                assert_eq!(ends(&answer).0, expected, "{count} headers of {bytes} bytes");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said() {
    on_both(
        |_| (),
        async |server, mut client| {
            for (body, said) in [
                ("5\r\nhello\r\nZZ\r\n", "invalid chunk size"),
                ("5\r\nhello\r\n5\r\nhe", "end of file before message length reached"),
            ] {
                for (method, ending) in [("PATCH", ""), ("PUT", "&digest=sha256:")] {
                    let begun = client.post("/v2/a/blobs/uploads/", "").await.expect(202);
                    let location = begun.header("location").split_once("/v2/").unwrap().1.to_owned();
                    let ending = if ending.is_empty() { String::new() } else { ending.to_owned() + &"0".repeat(64) };
                    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
                    let head = format!(
                        "{method} /v2/{location}{ending} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                         Transfer-Encoding: chunked\r\n\r\n{body}"
                    );
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    let (status, body) = ends(&answer);
                    assert_eq!(status, "HTTP/1.1 400 Bad Request", "{answer}");
                    assert!(body.contains("SIZE_INVALID") && body.to_lowercase().contains(said), "{said}: {answer}");
                }
            }
        },
    )
    .await;
}
