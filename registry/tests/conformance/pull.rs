//! Pulling manifests and blobs, and asking whether they exist.

use berth_oci::{Algorithm, Digest, media_type};
use bytes::Bytes;
use http::Method;

use crate::support::{self, Document, config_of};
use crate::{Bench, cases};

cases! {
    a_manifest_is_given_by_tag_and_by_digest:
        "category-pull", "reference", "manifest-given", "manifest-200", "manifest-digest", "type-plain", "type-as-pushed",
        "head-200", "head-digest", "head-length";
    nothing_but_a_tag_or_a_digest_names_a_manifest: "reference-other", "tag-form";
    a_repository_name_has_a_form: "name-form";
    a_manifest_that_is_not_there: "manifest-404", "head-404", "repository-404";
    a_blob_is_given_by_its_digest:
        "blob-given", "blob-200", "blob-digest", "blob-digest-matches", "head-200", "head-digest", "head-length";
    a_blob_that_is_not_there: "blob-404", "head-404", "repository-404";
    a_part_of_a_blob_is_given: "blob-range";
    what_the_client_has_is_not_sent_again: "http";
}

async fn a_manifest_is_given_by_tag_and_by_digest(mut bench: Bench) {
    bench.push_blob(config_of("x")).await;
    let (oci, docker) = (Document::image("x", &[]), Document::docker("x", &[]));
    let documents = [
        oci.clone(),
        docker.clone(),
        Document::index(media_type::OCI_INDEX, &[(&oci, "amd64")]),
        Document::index(media_type::DOCKER_LIST, &[(&docker, "amd64")]),
    ];
    for document in documents {
        let digest = document.digest();
        bench.push("v1", &document).await.expect(201);
        for reference in ["v1", digest.as_str()] {
            let target = bench.manifest(reference);
            let got = bench.client.get(&target).await.expect(200);
            let head = bench.client.head(&target).await.expect(200);
            assert_eq!(got.body, document.raw);
            assert!(head.body.is_empty());
            for answer in [got, head] {
                assert_eq!(answer.header("content-type"), document.media_type);
                assert_eq!(answer.header("docker-content-digest"), digest.as_str());
                assert_eq!(answer.header("content-length"), document.raw.len().to_string());
            }
        }
    }
}

async fn nothing_but_a_tag_or_a_digest_names_a_manifest(mut bench: Bench) {
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    for tag in ["0", "_x", "v1.0-rc_1", "UPPER", &"t".repeat(128)] {
        bench.push(tag, &image).await.expect(201);
        assert_eq!(bench.codes(Method::GET, &bench.manifest(tag)).await, "200", "{tag}");
    }
    for other in [".x", "-x", "a+b", "a b", "%C3%BC", &"t".repeat(129)] {
        let target = bench.manifest(&other.replace(' ', "%20"));
        assert_eq!(bench.codes(Method::PUT, &target).await, "400 TAG_INVALID", "{other}");
        assert_eq!(bench.codes(Method::GET, &target).await, "404 MANIFEST_UNKNOWN", "{other}");
    }
    for other in ["sha256:0", "md5:00", ":", "sha256:", &format!("sha256:{}", "G".repeat(64))] {
        let target = bench.manifest(other);
        for method in [Method::PUT, Method::GET, Method::DELETE] {
            assert_eq!(bench.codes(method, &target).await, "400 DIGEST_INVALID", "{other}");
        }
    }
}

async fn a_repository_name_has_a_form(mut bench: Bench) {
    for name in ["a1", "a/b", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1/2", &"n".repeat(200)] {
        assert_eq!(
            bench.codes(Method::GET, &format!("/v2/{name}/manifests/v1")).await,
            "404 MANIFEST_UNKNOWN",
            "{name}"
        );
    }
    for name in ["A", "a..b", "a._b", "a___b", "-a", "a-", "_a/b", "a/.b", "a%20b", "a%2FB", "%C3%BC"] {
        assert_eq!(bench.codes(Method::GET, &format!("/v2/{name}/manifests/v1")).await, "400 NAME_INVALID", "{name}");
    }
}

async fn a_manifest_that_is_not_there(mut bench: Bench) {
    let digest = Digest::sha256(b"nothing");
    let unknown = [bench.manifest("v1"), bench.manifest(digest.as_str())];
    for _ in 0..2 {
        for target in &unknown {
            assert_eq!(bench.codes(Method::GET, target).await, "404 MANIFEST_UNKNOWN");
            assert_eq!(bench.codes(Method::HEAD, target).await, "404");
        }
        // The second time the repository is there.
        bench.push_blob(config_of("x")).await;
        bench.push("other", &Document::image("x", &[])).await.expect(201);
    }
    // What another repository has is not here.
    let image = Document::image("x", &[]);
    let elsewhere = format!("/v2/{}/elsewhere/manifests/{}", bench.repository, image.digest());
    assert_eq!(bench.codes(Method::GET, &elsewhere).await, "404 MANIFEST_UNKNOWN");
}

async fn a_blob_is_given_by_its_digest(mut bench: Bench) {
    for content in [Bytes::new(), Bytes::from("layer"), vec![7_u8; 600_000].into()] {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, &content);
            let target = format!("{}?digest={digest}", bench.uploads());
            bench.client.post(&target, content.clone()).await.expect(201);
            let target = bench.blob(&digest);
            let got = bench.client.get(&target).await.expect(200);
            let head = bench.client.head(&target).await.expect(200);
            assert_eq!(got.body, content);
            assert_eq!(Digest::of(algorithm, &got.body), digest);
            assert!(head.body.is_empty());
            for answer in [got, head] {
                assert_eq!(answer.header("docker-content-digest"), digest.as_str());
                assert_eq!(answer.header("content-length"), content.len().to_string());
            }
        }
    }
}

async fn a_blob_that_is_not_there(mut bench: Bench) {
    let target = bench.blob(&Digest::sha256(b"nothing"));
    for _ in 0..2 {
        assert_eq!(bench.codes(Method::GET, &target).await, "404 BLOB_UNKNOWN");
        assert_eq!(bench.codes(Method::HEAD, &target).await, "404");
        bench.push_blob("something").await;
    }
    let elsewhere = format!("/v2/{}/elsewhere/blobs/{}", bench.repository, Digest::sha256(b"something"));
    assert_eq!(bench.codes(Method::GET, &elsewhere).await, "404 BLOB_UNKNOWN");
}

async fn a_part_of_a_blob_is_given(mut bench: Bench) {
    let digest = bench.push_blob("0123456789").await;
    let target = bench.blob(&digest);
    for (range, part, said) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
    ] {
        let answer = bench.client.send(Method::GET, &target, &[("range", range)], Bytes::new()).await.expect(206);
        assert_eq!((&answer.body[..], answer.header("content-range")), (part.as_bytes(), said), "{range}");
        assert_eq!(answer.header("content-length"), part.len().to_string(), "{range}");
        assert_eq!(answer.header("docker-content-digest"), digest.as_str());
    }
    let answer = bench.client.send(Method::GET, &target, &[("range", "bytes=10-")], Bytes::new()).await.expect(416);
    assert_eq!(answer.header("content-range"), "bytes */10");
    // A unit that is not known is as if there were no range.
    bench.client.send(Method::GET, &target, &[("range", "lines=1-2")], Bytes::new()).await.expect(200);
}

async fn what_the_client_has_is_not_sent_again(mut bench: Bench) {
    let blob = bench.push_blob("0123456789").await;
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    bench.push("v1", &image).await.expect(201);
    let (blob_target, tag_target) = (bench.blob(&blob), bench.manifest("v1"));
    for (target, digest) in [(&blob_target, blob.clone()), (&tag_target, image.digest())] {
        let (same, other) = (format!("\"{digest}\""), format!("\"{}\"", Digest::sha256(b"other")));
        for (condition, status) in [(same.as_str(), 304), ("*", 304), (&other, 200)] {
            for method in [Method::GET, Method::HEAD] {
                let headers = [("if-none-match", condition), ("accept", support::ACCEPT_ALL)];
                let answer = bench.client.send(method, target, &headers, Bytes::new()).await.expect(status);
                assert_eq!(answer.header("etag"), same);
                assert!(status == 200 || answer.body.is_empty());
            }
        }
    }
    for (condition, status) in [(format!("\"{blob}\""), 206), ("\"other\"".to_owned(), 200)] {
        let headers = [("range", "bytes=0-1"), ("if-range", condition.as_str())];
        bench.client.send(Method::GET, &blob_target, &headers, Bytes::new()).await.expect(status);
    }
}
