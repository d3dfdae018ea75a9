//! Every route and every error, over a socket, on every store.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod conditions;
mod manifests;
mod uploads;

use berth_oci::{Algorithm, Digest};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use support::{Client, Document, Server, config_of};

/// Runs a test on both stores.
async fn on_both(test: impl AsyncFn(&Server, Client)) {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |_| ()).await;
        let client = server.client().await;
        test(&server, client).await;
        server.running.stop().await;
    }
}

/// One line of a table: a request, and the status with the error codes that it must get.
async fn check(client: &mut Client, method: Method, target: &str, expected: &str) {
    let answer = client.send(method.clone(), target, &[("accept", support::ACCEPT_ALL)], Bytes::new()).await;
    assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0", "{method} {target}");
    assert_eq!(answer.codes(), expected, "{method} {target}");
}

#[tokio::test]
async fn what_is_not_there_and_what_is_wrong() {
    on_both(async |_, mut client| {
        let client = &mut client;
        let digest = Digest::sha256(b"nothing");
        let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
        // The root is none of the API's.
        let root = client.get("/").await.expect(200);
        assert_eq!((root.header("docker-distribution-api-version"), root.header("cache-control")), ("", "no-cache"));
        check(client, get.clone(), "/v2/", "200").await;
        check(client, get.clone(), "/v2", "301").await;
        check(client, Method::HEAD, "/v2/", "200").await;
        check(client, get.clone(), "/elsewhere", "404").await;
        check(client, post.clone(), "/v2/", "405 UNSUPPORTED").await;
        check(client, get.clone(), "/v2/Upper/tags/list", "400 NAME_INVALID").await;
        check(client, get.clone(), "/v2/a/tags/list", "404 NAME_UNKNOWN").await;
        check(client, get.clone(), &format!("/v2/a/blobs/{digest}"), "404 BLOB_UNKNOWN").await;
        check(client, Method::HEAD, &format!("/v2/a/blobs/{digest}"), "404").await;
        check(client, delete.clone(), &format!("/v2/a/blobs/{digest}"), "404 BLOB_UNKNOWN").await;
        check(client, get.clone(), "/v2/a/blobs/sha256:12", "400 DIGEST_INVALID").await;
        check(client, put.clone(), &format!("/v2/a/blobs/{digest}"), "405 UNSUPPORTED").await;
        check(client, get.clone(), "/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN").await;
        check(client, get.clone(), "/v2/a/manifests/.not-a-tag", "404 MANIFEST_UNKNOWN").await;
        check(client, put.clone(), "/v2/a/manifests/.not-a-tag", "400 TAG_INVALID").await;
        check(client, get.clone(), &format!("/v2/a/manifests/{digest}"), "404 MANIFEST_UNKNOWN").await;
        check(client, delete.clone(), &format!("/v2/a/manifests/{digest}"), "404 MANIFEST_UNKNOWN").await;
        check(client, delete.clone(), "/v2/a/manifests/v1", "404 MANIFEST_UNKNOWN").await;
        check(client, put.clone(), "/v2/a/manifests/v1", "400 MANIFEST_INVALID").await;
        check(client, post.clone(), "/v2/a/manifests/v1", "405 UNSUPPORTED").await;
        check(client, get.clone(), "/v2/a/blobs/uploads/", "405 UNSUPPORTED").await;
        let id = "6fa459ea-ee8a-3ca4-894e-db77e160355e";
        check(client, get.clone(), &format!("/v2/a/blobs/uploads/{id}"), "404 BLOB_UPLOAD_UNKNOWN").await;
        check(client, get.clone(), "/v2/a/blobs/uploads/none", "404 BLOB_UPLOAD_UNKNOWN").await;
        check(client, put.clone(), "/v2/a/blobs/uploads/none", "404 BLOB_UPLOAD_INVALID").await;
        check(client, post.clone(), "/v2/a/blobs/uploads/?digest=md5:0", "400 DIGEST_INVALID").await;
        check(client, get.clone(), "/v2/_catalog?n=x", "400 PAGINATION_NUMBER_INVALID").await;
        check(client, get.clone(), "/v2/_catalog?n=-1", "400 PAGINATION_NUMBER_INVALID").await;
        check(client, get.clone(), "/v2/_catalog?n=1001", "400 PAGINATION_NUMBER_INVALID").await;
        check(client, get.clone(), "/v2/a/tags/list?n=x", "400 PAGINATION_NUMBER_INVALID").await;
        let allow = client.post("/v2/", Bytes::new()).await;
        assert_eq!(allow.header("allow"), "GET, HEAD");
        let base = client.get("/v2/").await;
        assert_eq!((base.header("content-type"), &base.body[..]), ("application/json", &b"{}"[..]));
    })
    .await;
}

#[tokio::test]
async fn a_blob_comes_back_whole_and_in_parts() {
    on_both(async |_, mut client| {
        let content: Bytes = (0..700_000_u32).map(|n| (n % 253) as u8).collect::<Vec<_>>().into();
        let digest = client.push_blob("team/app", content.clone()).await;
        let target = format!("/v2/team/app/blobs/{digest}");
        let whole = client.get(&target).await.expect(200);
        assert_eq!(whole.body, content);
        let etag = format!("\"{digest}\"");
        for (name, value) in [
            ("docker-content-digest", digest.as_str()),
            ("etag", &etag),
            ("cache-control", "max-age=31536000"),
            ("content-type", "application/octet-stream"),
            ("accept-ranges", "bytes"),
            ("content-length", "700000"),
        ] {
            assert_eq!(whole.header(name), value);
            assert_eq!(client.head(&target).await.expect(200).header(name), value);
        }
        for condition in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
            let headers = [("if-none-match", condition.as_str())];
            for method in [Method::GET, Method::HEAD] {
                let answer = client.send(method, &target, &headers, Bytes::new()).await.expect(304);
                assert!(answer.body.is_empty());
            }
        }
        for (range, part) in [
            ("bytes=0-0", "bytes 0-0/700000"),
            ("bytes=5-9", "bytes 5-9/700000"),
            ("bytes=262140-524300", "bytes 262140-524300/700000"),
            ("bytes=699990-", "bytes 699990-699999/700000"),
            ("bytes=-10", "bytes 699990-699999/700000"),
            ("bytes=10-999999", "bytes 10-699999/700000"),
        ] {
            let answer = client.send(Method::GET, &target, &[("range", range)], Bytes::new()).await.expect(206);
            assert_eq!(answer.header("content-range"), part, "{range}");
            let (start, end) = part[6..].split('/').next().unwrap().split_once('-').unwrap();
            assert_eq!(answer.body, content[start.parse().unwrap()..=end.parse().unwrap()], "{range}");
        }
        for range in ["bytes=700000-", "bytes=9-5", "bytes=x"] {
            let answer = client.send(Method::GET, &target, &[("range", range)], Bytes::new()).await;
            assert_eq!(answer.codes(), "416 RANGE_INVALID", "{range}");
            assert_eq!(answer.header("content-range"), "bytes */700000");
        }
        let headers = [("range", "bytes=0-1"), ("if-range", "\"other\"")];
        client.send(Method::GET, &target, &headers, Bytes::new()).await.expect(200);

        client.delete(&target).await.expect(202);
        check(&mut client, Method::GET, &target, "404 BLOB_UNKNOWN").await;
        check(&mut client, Method::DELETE, &target, "404 BLOB_UNKNOWN").await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    on_both(async |_, mut client| {
        let digest = client.push_blob("a", Bytes::new()).await;
        let answer = client.get(&format!("/v2/a/blobs/{digest}")).await.expect(200);
        assert_eq!(answer.header("content-length"), "0");
        assert!(answer.body.is_empty());
    })
    .await;
}

#[tokio::test]
async fn every_algorithm_works_like_sha256() {
    on_both(async |_, mut client| {
        for algorithm in [Algorithm::Sha384, Algorithm::Sha512] {
            let wide = |content: &[u8]| Digest::of(algorithm, content);
            let digest = wide(b"wide");
            client.post(&format!("/v2/a/blobs/uploads/?digest={digest}"), "wide").await.expect(201);
            assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, "wide");

            let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
            let answer = client.patch(begun.header("location"), &[], "chunked ").await.expect(202);
            let digest = wide(b"chunked content");
            let target = format!("{}&digest={digest}", answer.header("location"));
            client.put(&target, &[], "content").await.expect(201);
            assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, "chunked content");

            client.push_blob("a", config_of("x")).await;
            let image = Document::image("x", &[]);
            let digest = wide(&image.raw);
            client.push_manifest("a", digest.as_str(), &image).await.expect(201);
            let found = client.get(&format!("/v2/a/manifests/{digest}")).await.expect(200);
            assert_eq!((found.header("docker-content-digest"), &found.body), (digest.as_str(), &image.raw));
        }
    })
    .await;
}

#[tokio::test]
async fn tags_and_repositories_are_listed_in_order_and_in_pages() {
    on_both(async |_, mut client| {
        let names = ["a", "a-b", "a/b"];
        let tags = ["V0", "v1", "v1-rc", "v1.0", "v10", "v2"];
        for name in names {
            for tag in tags {
                client.push_image(name, tag, &[]).await;
            }
        }
        let all = client.get("/v2/a/tags/list").await.expect(200);
        assert_eq!(all.json(), json!({ "name": "a", "tags": tags }));
        assert!(all.header("link").is_empty());
        assert_eq!(client.get("/v2/a/tags/list?n=0").await.expect(200).json()["tags"], json!([]));
        assert_eq!(client.get("/v2/a/tags/list?last=v1").await.expect(200).json()["tags"], json!(tags[2..]));

        let mut found = Vec::new();
        let mut next = "/v2/a/tags/list?n=4".to_owned();
        while !next.is_empty() {
            let page = client.get(&next).await.expect(200);
            found.extend(page.json()["tags"].as_array().unwrap().clone());
            next = page.header("link").trim_start_matches('<').split('>').next().unwrap().to_owned();
        }
        assert_eq!(json!(found), json!(tags));
        let page = client.get("/v2/a/tags/list?n=2").await;
        assert_eq!(page.header("link"), "</v2/a/tags/list?last=v1&n=2>; rel=\"next\"");

        assert_eq!(client.get("/v2/_catalog").await.expect(200).json(), json!({ "repositories": names }));
        let page = client.get("/v2/_catalog?n=2").await.expect(200);
        assert_eq!(page.json()["repositories"], json!(names[..2]));
        assert_eq!(page.header("link"), "</v2/_catalog?last=a-b&n=2>; rel=\"next\"");
        let page = client.get("/v2/_catalog?last=a-b&n=2").await.expect(200);
        assert_eq!((page.json()["repositories"].clone(), page.header("link")), (json!(names[2..]), ""));
    })
    .await;
}

#[tokio::test]
async fn writes_and_deletions_can_be_switched_off() {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, |config| config.storage.delete.enabled = false).await;
        let mut client = server.client().await;
        let image = client.push_image("a", "v1", &["one"]).await;
        for target in ["manifests/v1", &format!("manifests/{}", image.digest()), &format!("blobs/{}", image.digest())] {
            check(&mut client, Method::DELETE, &format!("/v2/a/{target}"), "405 UNSUPPORTED").await;
        }
        server.running.stop().await;
    }
    let server = Server::start(false, |config| config.storage.maintenance.readonly.enabled = true).await;
    let mut client = server.client().await;
    check(&mut client, Method::POST, "/v2/a/blobs/uploads/", "405 UNSUPPORTED").await;
    check(&mut client, Method::PUT, "/v2/a/manifests/v1", "405 UNSUPPORTED").await;
    check(&mut client, Method::DELETE, "/v2/a/manifests/v1", "405 UNSUPPORTED").await;
    check(&mut client, Method::GET, "/v2/_catalog", "200").await;
    server.running.stop().await;
}

#[tokio::test]
async fn addresses_and_headers_follow_the_configuration() {
    let server = Server::start(true, |config| {
        config.http.prefix = "/hub/".into();
        config.http.host = Some("https://reg.example".into());
        config.http.headers.insert("X-Content-Type-Options".into(), vec!["nosniff".into()]);
    })
    .await;
    let mut client = server.client().await;
    let begun = client.post("/hub/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
    assert!(begun.header("location").starts_with("https://reg.example/v2/a/blobs/uploads/"));
    assert_eq!(begun.header("x-content-type-options"), "nosniff");
    check(&mut client, Method::GET, "/v2/", "404").await;

    let server = Server::start(true, |config| config.http.relativeurls = true).await;
    let mut client = server.client().await;
    let begun = client.post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202);
    assert!(begun.header("location").starts_with("/v2/a/blobs/uploads/"));

    let server = Server::start(true, |_| ()).await;
    let mut client = server.client().await;
    let headers = [("forwarded", "proto=https;host=out.example")];
    let begun = client.send(Method::POST, "/v2/a/blobs/uploads/", &headers, Bytes::new()).await.expect(202);
    assert!(begun.header("location").starts_with("https://out.example/v2/a/blobs/uploads/"));
}

/// Every file of a push, in the layout of CNCF Distribution.
#[tokio::test]
async fn the_files_of_a_push_are_those_of_distribution() {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    let image = client.push_image("team/app", "v1", &["one"]).await;
    client.push_manifest("team/app", "v2", &image).await.expect(201);
    let begun = client.post("/v2/team/app/blobs/uploads/", Bytes::new()).await.expect(202);
    let upload = begun.header("docker-upload-uuid").to_owned();
    client.patch(begun.header("location"), &[], "part").await.expect(202);

    let (config, layer, manifest) =
        (Digest::sha256(config_of("v1").as_bytes()), Digest::sha256(b"one"), image.digest());
    let repository = "docker/registry/v2/repositories/team/app";
    let mut expected: Vec<(String, Bytes)> = Vec::new();
    for (digest, content) in [(&config, config_of("v1").into()), (&layer, "one".into()), (&manifest, image.raw.clone())]
    {
        let hex = digest.hex();
        expected.push((format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]), content));
    }
    for digest in [&config, &layer] {
        expected.push((format!("{repository}/_layers/sha256/{}/link", digest.hex()), digest.to_string().into()));
    }
    let manifest_text = Bytes::from(manifest.to_string());
    expected.push((format!("{repository}/_manifests/revisions/sha256/{}/link", manifest.hex()), manifest_text.clone()));
    for tag in ["v1", "v2"] {
        let tag = format!("{repository}/_manifests/tags/{tag}");
        expected.push((format!("{tag}/current/link"), manifest_text.clone()));
        expected.push((format!("{tag}/index/sha256/{}/link", manifest.hex()), manifest_text.clone()));
    }
    expected.push((format!("{repository}/_uploads/{upload}/data"), "part".into()));
    expected.sort();

    let mut found = files(&server.directory.path().join("data"), "docker");
    let started_at = format!("{repository}/_uploads/{upload}/startedat");
    let at = found.iter().position(|(path, _)| *path == started_at).unwrap();
    let (_, text) = found.remove(at);
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text} is not RFC 3339");
    assert_eq!(found, expected);
    server.running.stop().await;
}

fn files(root: &std::path::Path, below: &str) -> Vec<(String, Bytes)> {
    let mut found = Vec::new();
    let mut waiting = vec![root.join(below)];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let content = std::fs::read(&path).unwrap().into();
                found.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), content));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_debug_port_tells_health_and_metrics() {
    let server = Server::start(false, |_| ()).await;
    server.client().await.push_image("a", "v1", &["one"]).await;
    let mut debug = server.debug_client().await;
    assert_eq!(debug.get("/debug/health").await.expect(200).json(), json!({}));
    let metrics = String::from_utf8(debug.get("/metrics").await.expect(200).body.to_vec()).unwrap();
    let line = "registry_http_requests_total{handler=\"manifest\",method=\"put\",code=\"201\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    assert!(metrics.contains("registry_storage_action_seconds_count{driver=\"filesystem\",action=\"PutContent\"}"));
    debug.get("/v2/").await.expect(404);
    debug.post("/debug/health", "").await.expect(405);
    server.running.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_said_and_nothing_is_answered() {
    let server = Server::start(false, |config| {
        config.health.storagedriver.interval = "100ms".parse().unwrap();
        config.health.storagedriver.threshold = 2;
    })
    .await;
    let (mut client, mut debug) = (server.client().await, server.debug_client().await);
    // A loop of links is an error for whoever opens it, and for root as well.
    let store = server.directory.path().join("data/berth/v1");
    std::fs::rename(&store, store.with_extension("away")).unwrap();
    std::os::unix::fs::symlink(&store, &store).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while debug.get("/debug/health").await.status != 503 {
        assert!(std::time::Instant::now() < deadline, "the failure was never noticed");
    }
    check(&mut client, Method::GET, "/v2/", "503 UNAVAILABLE").await;
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(store.with_extension("away"), &store).unwrap();
    while debug.get("/debug/health").await.status != 200 {
        assert!(std::time::Instant::now() < deadline, "the recovery was never noticed");
    }
    check(&mut client, Method::GET, "/v2/", "200").await;
    server.running.stop().await;
}
