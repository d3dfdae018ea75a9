//! Upload sessions: begun, gone on with, broken off, finished and mounted.

use berth_oci::Digest;
use bytes::Bytes;
use http::Method;

use super::support::{self, Client};
use super::{check, on_both};

#[tokio::test]
async fn an_upload_in_chunks() {
    on_both(async |_, mut client| {
        let begun = client.post("/v2/team/app/blobs/uploads/", Bytes::new()).await.expect(202);
        assert_eq!(begun.header("range"), "0-0");
        let id = begun.header("docker-upload-uuid").to_owned();
        let first = begun.header("location").to_owned();
        let in_address = format!("http://{}/v2/team/app/blobs/uploads/{id}?_state=", client.address);
        assert!(first.starts_with(&in_address), "{first}");

        let answer = client.patch(&first, &[("content-range", "0-4")], "hello").await.expect(202);
        assert_eq!(answer.header("range"), "0-4");
        let second = answer.header("location").to_owned();
        let progress = client.get(&second).await.expect(204);
        assert_eq!((progress.header("range"), progress.header("docker-upload-uuid")), ("0-4", id.as_str()));
        assert_eq!(client.get(&first).await.expect(204).header("range"), "0-4", "an old address tells as well");

        for (target, range) in [(&second, "7-9"), (&second, "0-2"), (&first, "3-5")] {
            let answer = client.patch(target, &[("content-range", range)], "abc").await;
            assert_eq!(answer.codes(), "416 RANGE_INVALID");
            assert_eq!(answer.header("range"), "0-4");
            assert!(answer.header("location").starts_with(&in_address));
        }
        let stale = client.patch(&first, &[], "abc").await;
        assert_eq!(stale.codes(), "416 RANGE_INVALID", "an old address must not append at the wrong place");
        let wrong_length = client.patch(&second, &[("content-range", "5-9")], "abc").await;
        assert_eq!(wrong_length.codes(), "400 SIZE_INVALID");
        let malformed = client.patch(&second, &[("content-range", "x")], "abc").await;
        assert_eq!(malformed.codes(), "400 RANGE_INVALID");

        let answer = client.patch(&second, &[], " wor").await.expect(202);
        let third = answer.header("location").to_owned();
        assert_eq!(client.put(&third, &[], "").await.codes(), "400 DIGEST_INVALID", "no digest is given");
        let digest = Digest::sha256(b"hello world");
        let finished = client.put(&format!("{third}&digest={digest}"), &[], "ld").await.expect(201);
        assert_eq!(finished.header("docker-content-digest"), digest.as_str());
        let location = finished.header("location").to_owned();
        assert!(location.ends_with(&format!("/v2/team/app/blobs/{digest}")));
        assert_eq!(client.get(&location).await.expect(200).body, "hello world");
        check(&mut client, Method::GET, &third, "404 BLOB_UPLOAD_UNKNOWN").await;
    })
    .await;
}

/// Two chunks that both believe to be the next one: one is taken, the other is told where the upload ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_chunks_at_once_one_is_taken() {
    on_both(async |server, mut client| {
        for _ in 0..20 {
            let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
            let target = begun.header("location").to_owned();
            let mut other = server.client().await;
            let chunk = vec![1_u8; 300_000];
            let (one, two) = tokio::join!(client.patch(&target, &[], chunk.clone()), other.patch(&target, &[], chunk));
            let mut codes = [one.codes(), two.codes()];
            codes.sort();
            assert_eq!(codes, ["202", "416 RANGE_INVALID"]);
            assert_eq!(client.get(&target).await.expect(204).header("range"), "0-299999");
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_can_fail_be_cancelled_and_not_be_forged() {
    on_both(async |_, mut client| {
        let begin = async |client: &mut Client| {
            let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
            begun.header("location").to_owned()
        };
        let target = begin(&mut client).await;
        let other = Digest::sha256(b"other");
        let mismatch = client.put(&format!("{target}&digest={other}"), &[], "content").await;
        assert_eq!(mismatch.codes(), "400 DIGEST_INVALID");
        let kept = client.get(&target).await.expect(204);
        assert_eq!(kept.header("range"), "0-6");
        let right = Digest::sha256(b"content");
        client.put(&format!("{}&digest={right}", kept.header("location")), &[], "").await.expect(201);
        check(&mut client, Method::GET, &format!("/v2/a/blobs/{other}"), "404 BLOB_UNKNOWN").await;

        let monolithic = client.post(&format!("/v2/a/blobs/uploads/?digest={other}"), "content").await;
        assert_eq!(monolithic.codes(), "400 DIGEST_INVALID");

        let target = begin(&mut client).await;
        client.delete(&target).await.expect(204);
        check(&mut client, Method::GET, &target, "404 BLOB_UPLOAD_UNKNOWN").await;
        check(&mut client, Method::DELETE, &target, "404 BLOB_UPLOAD_UNKNOWN").await;

        let target = begin(&mut client).await;
        let elsewhere = target.replace("/v2/a/", "/v2/b/");
        assert_eq!(client.patch(&elsewhere, &[], "x").await.codes(), "404 BLOB_UPLOAD_INVALID");
        let (address, _) = target.split_once('?').unwrap();
        assert_eq!(client.patch(address, &[], "x").await.codes(), "404 BLOB_UPLOAD_INVALID");
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_mounted_or_else_a_session_begins() {
    on_both(async |_, mut client| {
        let digest = client.push_blob("from/here", "layer").await;
        let target = format!("/v2/to/there/blobs/uploads/?mount={digest}&from=from/here");
        let mounted = client.post(&target, Bytes::new()).await.expect(201);
        assert_eq!(mounted.header("docker-content-digest"), digest.as_str());
        assert_eq!(client.get(mounted.header("location")).await.expect(200).body, "layer");
        for query in [
            format!("mount={digest}&from=no/where"),
            format!("mount={}&from=from/here", Digest::sha256(b"none")),
            format!("mount={digest}&from=NOT-A-NAME"),
            format!("mount={digest}&from="),
            "mount=sha256:0&from=from/here".to_owned(),
            "mount=&from=from/here".to_owned(),
        ] {
            let begun = client.post(&format!("/v2/x/blobs/uploads/?{query}"), Bytes::new()).await.expect(202);
            assert!(!begun.header("location").is_empty(), "{query}");
        }
        // Who does not say from where gets it from anywhere; a blob that is nowhere cannot be had.
        let anywhere = client.post(&format!("/v2/x/blobs/uploads/?mount={digest}"), Bytes::new()).await.expect(201);
        assert_eq!(client.get(anywhere.header("location")).await.expect(200).body, "layer");
        let nowhere = Digest::sha256(b"nowhere");
        client.post(&format!("/v2/x/blobs/uploads/?mount={nowhere}"), Bytes::new()).await.expect(202);
    })
    .await;
}

#[tokio::test]
async fn an_upload_is_gone_on_with_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = support::config(support::filesystem(directory.path()));
    let first = berth_registry::start(&config).await.unwrap();
    let mut client = Client::connect(first.address()).await;
    let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
    let chunk = vec![7_u8; 1_000_000];
    let answer = client.patch(begun.header("location"), &[], chunk.clone()).await.expect(202);
    let (_, path) = answer.header("location").split_once("/v2/").unwrap();
    let path = format!("/v2/{path}");
    drop(client);
    first.stop().await;

    let second = berth_registry::start(&config).await.unwrap();
    let mut client = Client::connect(second.address()).await;
    assert_eq!(client.get(&path).await.expect(204).header("range"), "0-999999");
    let digest = Digest::sha256(&[chunk, b"end".to_vec()].concat());
    client.put(&format!("{path}&digest={digest}"), &[], "end").await.expect(201);
    assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body.len(), 1_000_003);
    second.stop().await;
}

/// Where the length of a body is not said beforehand, what arrived is compared with what was announced.
#[tokio::test]
async fn a_chunk_is_as_long_as_it_says() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    on_both(async |_, mut client| {
        let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
        let location = begun.header("location").to_owned();
        let (_, path) = location.split_once("/v2/").unwrap();
        let mut stream = tokio::net::TcpStream::connect(client.address).await.unwrap();
        let request = format!(
            "PATCH /v2/{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-range: 0-99\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("SIZE_INVALID"), "{answer}");
        assert!(answer.contains("100 bytes, but 5 arrived") && answer.contains("Range: 0-4"), "{answer}");
        assert_eq!(client.get(&location).await.expect(204).header("range"), "0-4", "the upload can be gone on with");
    })
    .await;
}
