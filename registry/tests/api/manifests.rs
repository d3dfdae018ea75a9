//! Manifests: pushed, read, refused and deleted, and the image of a list for clients that know no lists.

use std::net::SocketAddr;

use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{self, Client, Document, config_of};
use crate::{check, on_both};

#[tokio::test]
async fn a_manifest_is_pushed_read_and_deleted() {
    on_both(async |_, mut client| {
        let image = client.push_image("team/app", "v1", &["one", "two"]).await;
        let digest = image.digest();
        client.push_manifest("team/app", "v2", &image).await.expect(201);
        for reference in ["v1", "v2", digest.as_str()] {
            let target = format!("/v2/team/app/manifests/{reference}");
            let found = client.get(&target).await.expect(200);
            assert_eq!(found.body, image.raw);
            assert_eq!(found.header("content-type"), media_type::OCI_IMAGE);
            assert_eq!(found.header("docker-content-digest"), digest.as_str());
            assert_eq!(found.header("etag"), format!("\"{digest}\""));
            let head = client.head(&target).await.expect(200);
            assert_eq!(head.header("content-length"), image.raw.len().to_string());
            assert!(head.body.is_empty());
            let condition = format!("\"{digest}\"");
            let headers = [("if-none-match", condition.as_str()), ("accept", support::ACCEPT_ALL)];
            client.send(Method::GET, &target, &headers, Bytes::new()).await.expect(304);
        }
        client.delete("/v2/team/app/manifests/v1").await.expect(202);
        check(&mut client, Method::GET, "/v2/team/app/manifests/v1", "404 MANIFEST_UNKNOWN").await;
        check(&mut client, Method::GET, "/v2/team/app/manifests/v2", "200").await;
        client.delete(&format!("/v2/team/app/manifests/{digest}")).await.expect(202);
        for reference in ["v2", digest.as_str()] {
            let target = format!("/v2/team/app/manifests/{reference}");
            check(&mut client, Method::GET, &target, "404 MANIFEST_UNKNOWN").await;
        }
        client.push_manifest("team/app", "v3", &image).await.expect(201);
        check(&mut client, Method::GET, "/v2/team/app/manifests/v3", "200").await;
    })
    .await;
}

#[tokio::test]
async fn a_manifest_that_is_wrong_is_refused() {
    on_both(async |_, mut client| {
        let image = Document::image("x", &["one", "two"]);
        client.push_blob("a", "one").await;
        let refused = client.push_manifest("a", "v1", &image).await;
        assert_eq!(refused.codes(), "400 MANIFEST_BLOB_UNKNOWN MANIFEST_BLOB_UNKNOWN");
        let details: Vec<_> =
            refused.json()["errors"].as_array().unwrap().iter().map(|e| e["detail"].clone()).collect();
        assert_eq!(details, [json!(Digest::sha256(config_of("x").as_bytes())), json!(Digest::sha256(b"two"))]);
        check(&mut client, Method::GET, "/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN").await;

        let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let refused = client.push_manifest("a", "v1", &Document::image("x", &many)).await.expect(400).json();
        let errors = refused["errors"].as_array().unwrap();
        assert_eq!((errors.len(), &errors[31]["detail"]), (33, &json!(Digest::sha256(b"30"))));
        assert_eq!(
            errors[32],
            json!({ "code": "MANIFEST_BLOB_UNKNOWN", "message": errors[0]["message"], "detail": "and 9 more" })
        );

        // Blobs of another repository do not count: whoever pushes could not read them.
        client.push_blob("b", config_of("x")).await;
        client.push_blob("b", "two").await;
        assert!(client.push_manifest("a", "v1", &image).await.codes().starts_with("400 MANIFEST_BLOB_UNKNOWN"));

        client.push_blob("a", config_of("x")).await;
        client.push_blob("a", "two").await;
        let index = Document::index(media_type::OCI_INDEX, &[(&image, "amd64")]);
        assert_eq!(client.push_manifest("a", "v1", &index).await.codes(), "400 MANIFEST_BLOB_UNKNOWN");
        client.push_manifest("a", "v1", &image).await.expect(201);
        client.push_manifest("a", "v1", &index).await.expect(201);

        let other = Digest::sha256(b"other");
        assert_eq!(client.push_manifest("a", other.as_str(), &image).await.codes(), "400 DIGEST_INVALID");
        let json_type = Document { media_type: "application/json", raw: image.raw.clone() };
        assert_eq!(client.push_manifest("a", "v1", &json_type).await.codes(), "400 MANIFEST_INVALID");
        let mismatch = Document { media_type: media_type::DOCKER_IMAGE, raw: image.raw.clone() };
        assert_eq!(client.push_manifest("a", "v1", &mismatch).await.codes(), "400 MANIFEST_INVALID");
        let large = Document { media_type: media_type::OCI_IMAGE, raw: vec![b' '; 4 * 1024 * 1024 + 1].into() };
        assert_eq!(client.push_manifest("a", "v1", &large).await.codes(), "413 MANIFEST_INVALID");
    })
    .await;
}

#[tokio::test]
async fn a_subject_may_be_missing() {
    on_both(async |_, mut client| {
        client.push_blob("a", config_of("sig")).await;
        let about = Document::image_about("sig", &[], Some(&Document::image("not pushed", &[])));
        client.push_manifest("a", about.digest().as_str(), &about).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_client_without_lists_gets_the_image_for_amd64() {
    on_both(async |_, mut client| {
        for tag in ["arm", "amd"] {
            client.push_blob("a", config_of(tag)).await;
        }
        let (arm, amd) = (Document::docker("arm", &[]), Document::docker("amd", &[]));
        for image in [&arm, &amd] {
            client.push_manifest("a", image.digest().as_str(), image).await.expect(201);
        }
        let list = Document::index(media_type::DOCKER_LIST, &[(&arm, "arm64"), (&amd, "amd64")]);
        client.push_manifest("a", "v1", &list).await.expect(201);
        let get = async |client: &mut Client, reference: &str, accept: &str| {
            let target = format!("/v2/a/manifests/{reference}");
            client.send(Method::GET, &target, &[("accept", accept)], Bytes::new()).await
        };
        let old = get(&mut client, "v1", media_type::DOCKER_IMAGE).await.expect(200);
        assert_eq!(old.header("docker-content-digest"), amd.digest().as_str());
        assert_eq!(old.header("content-type"), media_type::DOCKER_IMAGE);
        let new = get(&mut client, "v1", media_type::DOCKER_LIST).await.expect(200);
        assert_eq!(new.header("docker-content-digest"), list.digest().as_str());
        let by_digest = get(&mut client, list.digest().as_str(), media_type::DOCKER_IMAGE).await.expect(200);
        assert_eq!(by_digest.header("docker-content-digest"), list.digest().as_str());

        let image = client.push_image("b", "v1", &[]).await;
        let target = format!("/v2/b/manifests/{}", image.digest());
        let refused = client.send(Method::GET, &target, &[("accept", media_type::DOCKER_IMAGE)], Bytes::new()).await;
        assert_eq!(refused.codes(), "404 MANIFEST_UNKNOWN");
        client.send(Method::GET, &target, &[("accept", "*/*")], Bytes::new()).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_large_manifest_is_taken_and_served_whole() {
    on_both(async |server, mut client| {
        let subject = client.push_image("a", "subject", &[]).await;
        client.push_blob("a", config_of("large")).await;
        let image = Document::image_about("large", &[], Some(&subject));
        let mut value: serde_json::Value = serde_json::from_slice(&image.raw).unwrap();
        value["annotations"] = json!({ "note": "x".repeat(1_000_000) });
        let large = Document { media_type: image.media_type, raw: value.to_string().into() };
        let digest = large.digest();
        client.push_manifest("a", "large", &large).await.expect(201);
        // The second time it is known which kind it is.
        for _ in 0..2 {
            for reference in ["large", digest.as_str()] {
                let target = format!("/v2/a/manifests/{reference}");
                let head = client.head(&target).await.expect(200);
                assert_eq!(head.header("content-length"), large.raw.len().to_string());
                assert_eq!(head.header("content-type"), large.media_type);
                let found = client.get(&target).await.expect(200);
                assert_eq!((&found.body, found.header("docker-content-digest")), (&large.raw, digest.as_str()));
                let condition = format!("\"{digest}\"");
                let headers = [("if-none-match", condition.as_str()), ("accept", support::ACCEPT_ALL)];
                client.send(Method::GET, &target, &headers, Bytes::new()).await.expect(304);
            }
        }
        let referrers = client.get(&format!("/v2/a/referrers/{}", subject.digest())).await.expect(200).json();
        assert_eq!(referrers["manifests"][0]["annotations"], value["annotations"]);

        let chunks = [&large.raw[..70_000], &large.raw[70_000..]];
        let answer = put_in_chunks(server.running.address(), "/v2/a/manifests/chunked", &chunks).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_eq!(client.get("/v2/a/manifests/chunked").await.expect(200).body, large.raw);

        client.delete(&format!("/v2/a/manifests/{digest}")).await.expect(202);
        check(&mut client, Method::GET, &format!("/v2/a/manifests/{digest}"), "404 MANIFEST_UNKNOWN").await;
    })
    .await;
}

/// Sends a manifest without saying how long it is, and gives the answer.
async fn put_in_chunks(address: SocketAddr, target: &str, chunks: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let media_type = media_type::OCI_IMAGE;
    let head = format!(
        "PUT {target} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in chunks.iter().copied().chain([&[][..]]) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        stream.write_all(chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
