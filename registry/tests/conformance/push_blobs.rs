//! Pushing blobs: in one request, in two, in chunks; broken off, gone on with, cancelled and mounted.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use berth_oci::{Algorithm, Digest};
use bytes::Bytes;
use http::Method;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::{Bench, cases};

cases! {
    a_blob_is_pushed_with_a_post_and_a_put:
        "category-others", "begin-202", "begin-location", "location-uuid", "put-blob-201", "put-blob-location";
    a_blob_is_pushed_with_one_post: "post-digest", "post-201", "post-location";
    a_digest_that_is_none_is_refused: "digest-invalid";
    a_blob_that_has_another_digest_is_refused: "post-digest", "close-digest";
    a_blob_is_pushed_in_chunks:
        "chunk-range-inclusive", "chunk-202", "chunk-headers", "close-201", "close-location", "status-204",
        "status-headers";
    a_blob_is_streamed: "chunk-202", "chunk-headers", "close-201";
    a_chunk_out_of_order_is_refused:
        "chunk-range-first", "chunk-order", "chunk-416", "close-416", "status-204", "status-headers";
    a_range_has_a_form: "chunk-range-form", "chunk-range-inclusive";
    an_upload_goes_on_after_the_connection_broke: "chunk-headers", "status-204", "status-headers", "close-201";
    an_upload_ends_with_a_digest: "close-digest";
    an_upload_is_cancelled: "cancel-204";
    a_blob_is_mounted: "mount-201", "mount-location";
    a_blob_that_cannot_be_mounted_is_uploaded: "mount-202";
}

async fn a_blob_is_pushed_with_a_post_and_a_put(mut bench: Bench) {
    let mut ids = HashSet::new();
    for algorithm in Algorithm::ALL {
        for content in ["content", ""] {
            let location = bench.begin().await;
            let (path, _) = location.split_once('?').unwrap();
            let (_, id) = path.rsplit_once('/').unwrap();
            assert!(ids.insert(id.parse::<Uuid>().unwrap()), "{id} was given before");
            let digest = Digest::of(algorithm, content.as_bytes());
            let headers = [("content-type", "application/octet-stream")];
            let put = bench.client.put(&format!("{location}&digest={digest}"), &headers, content).await.expect(201);
            assert_eq!(put.header("docker-content-digest"), digest.as_str());
            assert_eq!(bench.client.get(put.header("location")).await.expect(200).body, content);
        }
    }
}

async fn a_blob_is_pushed_with_one_post(mut bench: Bench) {
    for algorithm in Algorithm::ALL {
        for content in ["content", ""] {
            let digest = Digest::of(algorithm, content.as_bytes());
            let post = bench.client.post(&format!("{}?digest={digest}", bench.uploads()), content).await.expect(201);
            assert_eq!(post.header("docker-content-digest"), digest.as_str());
            assert_eq!(bench.client.get(post.header("location")).await.expect(200).body, content);
        }
    }
}

async fn a_digest_that_is_none_is_refused(mut bench: Bench) {
    let location = bench.begin().await;
    for digest in
        ["", "sha256", "sha256:0", "md5:d41d8cd98f00b204e9800998ecf8427e", &format!("sha512:{}", "0".repeat(64))]
    {
        let uploads = bench.uploads();
        let blobs = uploads.trim_end_matches("/uploads/");
        for (method, target) in [
            (Method::POST, format!("{uploads}?digest={digest}")),
            (Method::PUT, format!("{location}&digest={digest}")),
            (Method::GET, format!("{blobs}/{digest}")),
            (Method::HEAD, format!("{blobs}/{digest}")),
            (Method::DELETE, format!("{blobs}/{digest}")),
        ] {
            let found = bench.codes(method.clone(), &target).await;
            // An answer to `HEAD` has no body, and a path that ends here asks for nothing.
            let nothing = digest.is_empty() && !matches!(method, Method::POST | Method::PUT);
            let expected = if method == Method::HEAD { "400" } else { "400 DIGEST_INVALID" };
            assert!(nothing || found == expected, "{method} {target}: {found}");
        }
    }
    for algorithm in ["", "md5", "SHA256", "sha224"] {
        let target = format!("{}?digest-algorithm={algorithm}", bench.uploads());
        assert_eq!(bench.codes(Method::POST, &target).await, "400 DIGEST_INVALID", "{algorithm}");
    }
    // The upload is none the worse for it.
    let digest = Digest::sha256(b"content");
    bench.client.put(&format!("{location}&digest={digest}"), &[], "content").await.expect(201);
}

async fn a_blob_that_has_another_digest_is_refused(mut bench: Bench) {
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, b"expected");
        let posted = bench.client.post(&format!("{}?digest={digest}", bench.uploads()), "other").await;
        assert_eq!(posted.codes(), "400 DIGEST_INVALID");
        let location = bench.begin().await;
        let put = bench.client.put(&format!("{location}&digest={digest}"), &[], "other").await;
        assert_eq!(put.codes(), "400 DIGEST_INVALID");
        // The digest of the last chunk is not that of the blob.
        let location = bench.begin().await;
        let patched = bench.client.patch(&location, &[], "not ").await.expect(202);
        let target = format!("{}&digest={digest}", patched.header("location"));
        assert_eq!(bench.client.put(&target, &[], "expected").await.codes(), "400 DIGEST_INVALID");
        assert_eq!(bench.codes(Method::GET, &bench.blob(&digest)).await, "404 BLOB_UNKNOWN");
    }
}

async fn a_blob_is_pushed_in_chunks(mut bench: Bench) {
    for (algorithm, query) in [
        (Algorithm::Sha256, ""),
        (Algorithm::Sha256, "?digest-algorithm=sha256"),
        (Algorithm::Sha384, "?digest-algorithm=sha384"),
        (Algorithm::Sha512, ""),
        (Algorithm::Sha512, "?digest-algorithm=sha512"),
        // Who says one and means the other is believed in the end.
        (Algorithm::Sha256, "?digest-algorithm=sha512"),
    ] {
        for last_in_put in [false, true] {
            let digest = Digest::of(algorithm, b"hello world");
            let begun = bench.client.post(&format!("{}{query}", bench.uploads()), Bytes::new()).await.expect(202);
            assert!(begun.header("oci-chunk-min-length").is_empty(), "a chunk may have any length");
            let mut location = begun.header("location").to_owned();
            let patched: &[_] = &[("0-4", "hello"), ("5-5", " "), ("6-10", "world")];
            let (patched, put) = if last_in_put { (&patched[..2], "world") } else { (patched, "") };
            for (range, chunk) in patched {
                let headers = [("content-range", *range), ("content-type", "application/octet-stream")];
                let answer = bench.client.patch(&location, &headers, *chunk).await.expect(202);
                let (_, end) = range.split_once('-').unwrap();
                assert_eq!(answer.header("range"), format!("0-{end}"));
                location = answer.header("location").to_owned();
                let status = bench.client.get(&location).await.expect(204);
                assert_eq!(status.header("range"), format!("0-{end}"));
                assert!(status.body.is_empty());
                location = status.header("location").to_owned();
            }
            let range: &[_] = if last_in_put { &[("content-range", "6-10")] } else { &[] };
            let closed = bench.client.put(&format!("{location}&digest={digest}"), range, put).await.expect(201);
            assert_eq!(closed.header("docker-content-digest"), digest.as_str());
            assert_eq!(bench.client.get(closed.header("location")).await.expect(200).body, "hello world");
            assert_eq!(bench.codes(Method::GET, &location).await, "404 BLOB_UPLOAD_UNKNOWN");
        }
    }
}

async fn a_blob_is_streamed(mut bench: Bench) {
    for algorithm in Algorithm::ALL {
        let content = vec![b'x'; 700_000];
        let location = bench.begin().await;
        let patched = bench.client.patch(&location, &[], content.clone()).await.expect(202);
        assert_eq!(patched.header("range"), "0-699999");
        let digest = Digest::of(algorithm, &content);
        let target = format!("{}&digest={digest}", patched.header("location"));
        let closed = bench.client.put(&target, &[], "").await.expect(201);
        assert_eq!(bench.client.get(closed.header("location")).await.expect(200).body, content);
    }
}

async fn a_chunk_out_of_order_is_refused(mut bench: Bench) {
    let digest = Digest::sha256(b"hello world");
    let location = bench.begin().await;
    let early = bench.client.patch(&location, &[("content-range", "5-9")], "xxxxx").await;
    assert_eq!(early.codes(), "416 RANGE_INVALID", "the first chunk begins at 0");
    let answer = bench.client.patch(&location, &[("content-range", "0-4")], "hello").await.expect(202);
    // As after an answer that was lost: at the address from before.
    let again = bench.client.patch(&location, &[("content-range", "0-4")], "hello").await;
    assert_eq!((again.codes().as_str(), again.header("range")), ("416 RANGE_INVALID", "0-4"));
    let mut location = answer.header("location").to_owned();
    // A gap, the same again, an overlap, and one that begins before and ends behind.
    for (range, chunk) in [("6-10", "world"), ("0-4", "hello"), ("3-7", "xxxxx"), ("0-10", "hello world")] {
        for method in [Method::PATCH, Method::PUT] {
            let target = format!("{location}&digest={digest}");
            let refused = bench.client.send(method.clone(), &target, &[("content-range", range)], chunk.into()).await;
            assert_eq!(refused.codes(), "416 RANGE_INVALID", "{method} {range}");
            assert_eq!(refused.header("range"), "0-4", "{method} {range}");
            let status = bench.client.get(refused.header("location")).await.expect(204);
            assert_eq!(status.header("range"), "0-4");
            location = status.header("location").to_owned();
        }
    }
    let target = format!("{location}&digest={digest}");
    bench.client.put(&target, &[("content-range", "5-10")], " world").await.expect(201);
}

async fn a_range_has_a_form(mut bench: Bench) {
    let location = bench.begin().await;
    // A unit in front and a length behind, as RFC 9110 has them, are not of the form.
    let malformed = ["", "x", "0", "-4", "4-", "a-b", "0-4-8", "+0-4", "0-18446744073709551615", "bytes 0-4/11"];
    for range in malformed {
        let refused = bench.client.patch(&location, &[("content-range", range)], "hello").await;
        assert_eq!(refused.codes(), "400 RANGE_INVALID", "{range:?}");
    }
    // Both ends are included: these are four and six bytes.
    for range in ["0-3", "0-5"] {
        let refused = bench.client.patch(&location, &[("content-range", range)], "hello").await;
        assert_eq!(refused.codes(), "400 SIZE_INVALID", "{range}");
    }
    let backwards = bench.client.patch(&location, &[("content-range", "4-0")], "hello").await;
    assert_eq!(backwards.codes(), "416 RANGE_INVALID");
    bench.client.patch(&location, &[("content-range", "0-4")], "hello").await.expect(202);
}

async fn an_upload_goes_on_after_the_connection_broke(mut bench: Bench) {
    let location = bench.begin().await;
    let (_, path) = location.split_once("/v2/").unwrap();
    let mut stream = tokio::net::TcpStream::connect(bench.client.address).await.unwrap();
    let request = format!("PATCH /v2/{path} HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello");
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(30);
    let next = loop {
        let status = bench.client.get(&location).await.expect(204);
        if status.header("range") == "0-4" {
            break status.header("location").to_owned();
        }
        assert!(Instant::now() < deadline, "what had arrived does not stay");
        tokio::task::yield_now().await;
    };
    let patched = bench.client.patch(&next, &[("content-range", "5-10")], " world").await.expect(202);
    assert_eq!(patched.header("range"), "0-10");
    let digest = Digest::sha256(b"hello world");
    bench.client.put(&format!("{}&digest={digest}", patched.header("location")), &[], "").await.expect(201);
    assert_eq!(bench.client.get(&bench.blob(&digest)).await.expect(200).body, "hello world");
}

async fn an_upload_ends_with_a_digest(mut bench: Bench) {
    let location = bench.begin().await;
    assert_eq!(bench.client.put(&location, &[], "content").await.codes(), "400 DIGEST_INVALID");
    let digest = Digest::sha256(b"content");
    bench.client.put(&format!("{location}&digest={digest}"), &[], "content").await.expect(201);
}

async fn an_upload_is_cancelled(mut bench: Bench) {
    let location = bench.begin().await;
    let patched = bench.client.patch(&location, &[], "content").await.expect(202);
    let location = patched.header("location").to_owned();
    assert!(bench.client.delete(&location).await.expect(204).body.is_empty());
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        assert_eq!(bench.codes(method.clone(), &location).await, "404 BLOB_UPLOAD_UNKNOWN", "{method}");
    }
}

async fn a_blob_is_mounted(mut bench: Bench) {
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, b"layer");
        bench.client.post(&format!("{}?digest={digest}", bench.uploads()), "layer").await.expect(201);
        let from = bench.repository.clone();
        // Said from where, and not said: everybody may read everything here.
        for (to, from) in [("said", format!("&from={from}")), ("unsaid", String::new())] {
            let to = format!("/v2/{}/{algorithm}/{to}/blobs/uploads/", bench.repository);
            let mounted = bench.client.post(&format!("{to}?mount={digest}{from}"), Bytes::new()).await.expect(201);
            assert_eq!(mounted.header("docker-content-digest"), digest.as_str());
            assert_eq!(bench.client.get(mounted.header("location")).await.expect(200).body, "layer");
        }
    }
}

async fn a_blob_that_cannot_be_mounted_is_uploaded(mut bench: Bench) {
    let (known, unknown) = (bench.push_blob("layer").await, Digest::sha256(b"nothing"));
    for query in [
        format!("mount={unknown}&from={}", bench.repository),
        format!("mount={unknown}"),
        format!("mount={known}&from={}/elsewhere", bench.repository),
        format!("mount={known}&from=NOT-A-NAME"),
    ] {
        let target = format!("/v2/{}/to/blobs/uploads/?{query}", bench.repository);
        let begun = bench.client.post(&target, Bytes::new()).await.expect(202);
        let put = format!("{}&digest={}", begun.header("location"), Digest::sha256(b"content"));
        bench.client.put(&put, &[], "content").await.expect(201);
    }
}
