//! Uploads as Docker's clients make them: by several replicas in turn, without saying ranges, with the last chunk in the
//! closing request, and with a question before the body.

use std::net::SocketAddr;

use berth_oci::Digest;
use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{self, Answer, Client, Server};
use crate::{ask, on_both};

const UPLOADS: &str = "/v2/team/app/blobs/uploads/";
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

/// The path of an upload that has just begun, with its state.
async fn begin(client: &mut Client) -> String {
    let answer = client.post(UPLOADS, Bytes::new()).await.expect(202);
    assert_eq!(answer.header("range"), "0-0");
    path(&answer)
}

/// Where an answer leads, without the host.
fn path(answer: &Answer) -> String {
    let location = answer.header("location");
    location[location.find("/v2/").unwrap()..].to_owned()
}

fn without_state(location: &str) -> &str {
    location.split('?').next().unwrap()
}

#[tokio::test]
async fn an_upload_goes_from_replica_to_replica() {
    let first = Server::start(false, |_| ()).await;
    // Neither has a secret in its configuration: the second finds the one that the first has left in the store.
    let data = first.directory.path().join("data");
    let second = berth_registry::start(&support::config(support::filesystem(&data))).await.unwrap();
    let (mut one, mut other) = (first.client().await, Client::connect(second.address()).await);
    let mut location = begin(&mut one).await;
    let content: Bytes = (0..30_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    for (number, chunk) in content.chunks(10_000).enumerate() {
        let client = if number % 2 == 0 { &mut other } else { &mut one };
        let answer = client.patch(&location, &[OCTETS], chunk.to_vec()).await.expect(202);
        assert_eq!(answer.header("range"), format!("0-{}", (number + 1) * 10_000 - 1));
        location = path(&answer);
    }
    for client in [&mut one, &mut other] {
        let status = ask(client, Method::GET, &location, &[]).await.expect(204);
        assert_eq!(status.header("range"), "0-29999");
    }
    let digest = Digest::sha256(&content);
    one.put(&format!("{location}&digest={digest}"), &[], Bytes::new()).await.expect(201);
    let blob = format!("/v2/team/app/blobs/{digest}");
    assert!(other.get(&blob).await.expect(200).body == content);
    other.put(&format!("{location}&digest={digest}"), &[], Bytes::new()).await.expect(404);
    second.stop().await;
    first.running.stop().await;
}

#[tokio::test]
async fn a_state_is_of_one_upload_at_one_point() {
    on_both(
        |_| (),
        async |_, mut client| {
            let client = &mut client;
            let begun = begin(client).await;
            let answer = client.patch(&begun, &[OCTETS], "12345").await.expect(202);
            // The address from before the chunk: a client that sends it again must not double it.
            let stale = client.patch(&begun, &[OCTETS], "12345").await;
            assert_eq!((stale.codes().as_str(), stale.header("range")), ("416 RANGE_INVALID", "0-4"));
            let location = path(&stale);
            client.patch(&location, &[OCTETS], "678").await.expect(202);
            // Who says where the chunk belongs is believed more than the state.
            let headers = [OCTETS, ("content-range", "8-9")];
            let answer = client.patch(&path(&answer), &headers, "9a").await.expect(202);
            assert_eq!(answer.header("range"), "0-9");

            let other = begin(client).await;
            let (_, state_of_other) = other.split_once('?').unwrap();
            let id = without_state(&begun);
            for target in [format!("{id}?{state_of_other}"), format!("{id}?_state=x"), id.to_owned()] {
                for method in [Method::PATCH, Method::PUT, Method::DELETE] {
                    let refused = ask(client, method.clone(), &target, &[]).await;
                    assert_eq!(refused.codes(), "404 BLOB_UPLOAD_INVALID", "{method} {target}");
                }
                // How far it has come is told to whoever has lost the address.
                for method in [Method::GET, Method::HEAD] {
                    let status = ask(client, method, &target, &[]).await.expect(204);
                    assert_eq!((status.header("range"), without_state(&path(&status))), ("0-9", id));
                    assert!(id.ends_with(status.header("docker-upload-uuid")));
                }
            }
            let status = ask(client, Method::GET, id, &[]).await.expect(204);
            let digest = Digest::sha256(b"123456789a");
            client.put(&format!("{}&digest={digest}", path(&status)), &[], Bytes::new()).await.expect(201);
            let unknown = ask(client, Method::GET, id, &[]).await;
            assert_eq!(unknown.codes(), "404 BLOB_UPLOAD_UNKNOWN");
        },
    )
    .await;
}

#[tokio::test]
async fn a_chunk_may_be_empty_and_the_last_may_close() {
    on_both(
        |_| (),
        async |_, mut client| {
            let client = &mut client;
            let location = begin(client).await;
            // Of nothing the range is the same as of one byte, as in Distribution: clients must not count by it.
            let empty = client.patch(&location, &[OCTETS], Bytes::new()).await.expect(202);
            assert_eq!(empty.header("range"), "0-0");
            let one = client.patch(&path(&empty), &[OCTETS], "a").await.expect(202);
            assert_eq!(one.header("range"), "0-0");
            let digest = Digest::sha256(b"abcd");
            let target = format!("{}&digest={digest}", path(&one));
            // What curl says of a body when nothing else is said: the digest is in the address all the same.
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let done = client.put(&target, &headers, "bcd").await.expect(201);
            assert_eq!(done.header("docker-content-digest"), digest.as_str());
            assert_eq!(done.header("content-length"), "0");
            assert_eq!(client.get(&path(&done)).await.expect(200).body, "abcd");

            for (content_range, body, codes) in [
                ("1-2", "bc", "416 RANGE_INVALID"),
                ("0-3", "ab", "400 SIZE_INVALID"),
                ("x", "ab", "400 RANGE_INVALID"),
            ] {
                let location = begin(client).await;
                let headers = [OCTETS, ("content-range", content_range)];
                let target = format!("{location}&digest={digest}");
                assert_eq!(client.put(&target, &headers, body).await.codes(), codes, "{content_range}");
            }
            let location = begin(client).await;
            let empty = Digest::sha256(b"");
            client
                .put(&format!("{location}&digest={empty}"), &[("content-length", "0")], Bytes::new())
                .await
                .expect(201);
            assert_eq!(client.get(&format!("/v2/team/app/blobs/{empty}")).await.expect(200).body, "");
        },
    )
    .await;
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    on_both(
        |_| (),
        async |_, mut client| {
            let client = &mut client;
            let location = begin(client).await;
            let answer = client.patch(&location, &[OCTETS], "abc").await.expect(202);
            let location = path(&answer);
            let cancelled = client.delete(&location).await.expect(204);
            assert!(without_state(&location).ends_with(cancelled.header("docker-upload-uuid")));
            for method in [Method::DELETE, Method::PATCH, Method::GET, Method::HEAD] {
                let answer = ask(client, method.clone(), &location, &[]).await.expect(404);
                if method != Method::HEAD {
                    assert_eq!(answer.codes(), "404 BLOB_UPLOAD_UNKNOWN", "{method}");
                }
            }
            let digest = Digest::sha256(b"abc");
            let answer = client.put(&format!("{location}&digest={digest}"), &[], Bytes::new()).await;
            assert_eq!(answer.codes(), "404 BLOB_UPLOAD_UNKNOWN");
        },
    )
    .await;
}

/// A connection of which every byte counts.
struct Wire(TcpStream);

impl Wire {
    async fn connect(address: SocketAddr) -> Wire {
        Wire(TcpStream::connect(address).await.unwrap())
    }

    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next head, up to its empty line. Ends with an error when the connection does.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.unwrap());
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), read).await.expect("no head arrives");
        String::from_utf8(head).unwrap()
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_if_it_is_wanted() {
    on_both(|_| (), async |server, mut client| {
        let location = begin(&mut client).await;
        let mut wire = Wire::connect(server.running.address()).await;
        let head = "Host: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        wire.write(&format!("PATCH {location} HTTP/1.1\r\n{head}")).await;
        assert!(wire.head().await.starts_with("HTTP/1.1 100 Continue\r\n"));
        wire.write("abcde").await;
        let answer = wire.head().await;
        assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
        // An answer that needs no body comes at once, and none is asked for.
        let stateless = without_state(&location);
        for (method, target, bytes, status) in [
            ("PATCH", stateless, 5, "404"),
            ("PATCH", "/v2/team/app/tags/list", 5, "405"),
            ("PUT", "/v2/team/app/manifests/v1", 4 * 1024 * 1024 + 1, "413"),
        ] {
            let mut wire = Wire::connect(server.running.address()).await;
            let head = head.replace("Content-Length: 5", &format!("Content-Length: {bytes}"));
            wire.write(&format!("{method} {target} HTTP/1.1\r\n{head}")).await;
            let answer = wire.head().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {target}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_without_a_length_is_taken_as_it_comes() {
    on_both(
        |_| (),
        async |server, mut client| {
            let location = begin(&mut client).await;
            let mut wire = Wire::connect(server.running.address()).await;
            // Docker streams a layer while it compresses it, so that nobody knows how long it will be.
            let head = "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n";
            wire.write(&format!("PATCH {location} HTTP/1.1\r\n{head}3\r\nabc\r\n")).await;
            wire.write("2\r\nde\r\n0\r\n\r\n").await;
            let answer = wire.head().await.to_lowercase();
            assert!(answer.starts_with("http/1.1 202 accepted\r\n") && answer.contains("range: 0-4\r\n"), "{answer}");
            let status = ask(&mut client, Method::GET, without_state(&location), &[]).await.expect(204);
            let digest = Digest::sha256(b"abcdefg");
            wire.write(&format!("PUT {}&digest={digest} HTTP/1.1\r\n{head}2\r\nfg\r\n0\r\n\r\n", path(&status))).await;
            let answer = wire.head().await;
            assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
            assert_eq!(client.get(&format!("/v2/team/app/blobs/{digest}")).await.expect(200).body, "abcdefg");
        },
    )
    .await;
}
