//! What Docker's clients are used to, beyond the OCI specification, over a socket, on every store.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Answer, Client, Document, Server, config_of};

const SCHEMA1: &str = media_type::DOCKER_SCHEMA1_SIGNED;
/// What the documents under `data/schema1` sign; its layers are [`LAYERS`].
const PAYLOAD: &[u8] = include_bytes!("data/schema1/payload.json");
const SIGNED: &[u8] = include_bytes!("data/schema1/es256.json");
const LAYERS: [&str; 2] = ["layer one", "layer two"];

/// Runs a test on both stores.
async fn on_both(change: impl Fn(&mut berth_config::Config), test: impl AsyncFn(&Server, Client)) {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, &change).await;
        let client = server.client().await;
        test(&server, client).await;
        server.running.stop().await;
    }
}

async fn ask(client: &mut Client, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
    client.send(method, target, headers, Bytes::new()).await
}

/// Writes what CNCF Distribution 2.8 writes when this image is pushed to it under the tag `v1`.
fn store_schema1(server: &Server, name: &str) -> Digest {
    let digest = Digest::sha256(PAYLOAD);
    let root = server.directory.path().join("data/docker/registry/v2");
    let write = |path: String, content: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    let of = |digest: &Digest| digest.as_str()["sha256:".len()..].to_owned();
    let blob = |content: &[u8]| {
        let hex = of(&Digest::sha256(content));
        write(format!("blobs/sha256/{}/{hex}/data", &hex[..2]), content);
        hex
    };
    for layer in LAYERS {
        let hex = blob(layer.as_bytes());
        write(format!("repositories/{name}/_layers/sha256/{hex}/link"), format!("sha256:{hex}").as_bytes());
    }
    let hex = blob(PAYLOAD);
    for link in [
        format!("revisions/sha256/{hex}/link"),
        "tags/v1/current/link".to_owned(),
        format!("tags/v1/index/sha256/{hex}/link"),
    ] {
        write(format!("repositories/{name}/_manifests/{link}"), digest.as_str().as_bytes());
    }
    digest
}

/// What a client of Docker does with an answer: it puts the signed text together, and looks at its digest.
fn signed_text(body: &[u8]) -> Vec<u8> {
    let document: Value = serde_json::from_slice(body).unwrap();
    let protected = document["signatures"][0]["protected"].as_str().unwrap();
    let protected: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(protected).unwrap()).unwrap();
    let length = protected["formatLength"].as_u64().unwrap() as usize;
    let tail = URL_SAFE_NO_PAD.decode(protected["formatTail"].as_str().unwrap()).unwrap();
    [&body[..length], &tail].concat()
}

#[tokio::test]
async fn a_stored_schema_1_image_can_be_pulled() {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    let digest = store_schema1(&server, "old/app");
    for reference in ["v1".to_owned(), digest.to_string()] {
        let target = format!("/v2/old/app/manifests/{reference}");
        // As in Distribution, whatever is accepted: no client that knows schema 1 only ever said so.
        for accept in [&[][..], &[("accept", SCHEMA1)], &[("accept", media_type::OCI_IMAGE)]] {
            let found = ask(&mut client, Method::GET, &target, accept).await.expect(200);
            assert_eq!(found.header("content-type"), SCHEMA1);
            assert_eq!(found.header("docker-content-digest"), digest.as_str());
            assert_eq!(found.header("etag"), format!("\"{digest}\""));
            assert_eq!(signed_text(&found.body), PAYLOAD);
            berth_registry::schema1::open(&found.body).expect("every signature verifies");
            let head = ask(&mut client, Method::HEAD, &target, accept).await.expect(200);
            for name in ["content-type", "content-length", "docker-content-digest", "etag"] {
                assert_eq!(head.header(name), found.header(name), "{name}");
            }
        }
        let etag = format!("\"{digest}\"");
        ask(&mut client, Method::GET, &target, &[("if-none-match", &etag)]).await.expect(304);
    }
    let authorization = format!("Bearer {}", support::TOKEN);
    let headers = [("authorization", authorization.as_str())];
    let asked = json!({ "gracePeriodSeconds": 0, "deleteUntagged": true }).to_string();
    let collected = server.debug_client().await.send(Method::POST, "/admin/v1/gc", &headers, asked.into()).await;
    let last = collected.expect(200).body;
    let last = last.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    let report: Value = serde_json::from_slice::<Value>(last).unwrap()["report"].take();
    assert_eq!((&report["manifestsKept"], &report["blobsKept"]), (&json!(1), &json!(3)), "{report}");
    assert_eq!((&report["outcome"], &report["blobsDeleted"]), (&json!("Clean"), &json!(0)), "{report}");
    assert_eq!(signed_text(&client.get("/v2/old/app/manifests/v1").await.expect(200).body), PAYLOAD);
    for layer in LAYERS {
        let target = format!("/v2/old/app/blobs/{}", Digest::sha256(layer.as_bytes()));
        assert_eq!(client.get(&target).await.expect(200).body, layer);
    }
    server.running.stop().await;
}

/// Pushes the signed document `raw`, and gives the answer.
async fn push_schema1(client: &mut Client, target: &str, raw: impl Into<Bytes>) -> Answer {
    client.put(target, &[("content-type", SCHEMA1)], raw).await
}

#[tokio::test]
async fn a_schema_1_image_is_taken_where_that_is_switched_on() {
    let enable = |config: &mut berth_config::Config| config.compatibility.schema1.enabled = true;
    on_both(enable, async |_, mut client| {
        let digest = Digest::sha256(PAYLOAD);
        let missing = push_schema1(&mut client, "/v2/old/app/manifests/v1", SIGNED).await;
        assert_eq!(missing.codes(), "400 MANIFEST_BLOB_UNKNOWN MANIFEST_BLOB_UNKNOWN");
        for layer in LAYERS {
            client.push_blob("old/app", layer).await;
        }
        for (reference, content_type) in [
            ("v1".to_owned(), SCHEMA1),
            ("again".to_owned(), media_type::DOCKER_SCHEMA1),
            ("json".to_owned(), "application/json"),
            (digest.to_string(), ""),
        ] {
            let target = format!("/v2/old/app/manifests/{reference}");
            let put = client.put(&target, &[("content-type", content_type)], SIGNED).await.expect(201);
            assert_eq!(put.header("docker-content-digest"), digest.as_str());
            assert!(put.header("location").ends_with(&format!("/v2/old/app/manifests/{digest}")));
            let found = client.get(&target).await.expect(200);
            assert_eq!((found.header("content-type"), signed_text(&found.body)), (SCHEMA1, PAYLOAD.to_vec()));
        }
        // What was served can be pushed again: it is the same manifest, signed by somebody else.
        let served = client.get("/v2/old/app/manifests/v1").await.expect(200).body;
        push_schema1(&mut client, "/v2/old/app/manifests/copy", served).await.expect(201);

        let text = std::str::from_utf8(SIGNED).unwrap();
        let other = Digest::sha256(b"other");
        for (target, raw, expected) in [
            ("x".to_owned(), text.replace("amd64", "arm64"), "400 MANIFEST_UNVERIFIED"),
            ("x".to_owned(), text.replace("ES256", "HS256"), "400 MANIFEST_INVALID"),
            ("x".to_owned(), std::str::from_utf8(PAYLOAD).unwrap().to_owned(), "400 MANIFEST_INVALID"),
            ("x".to_owned(), "{".to_owned(), "400 MANIFEST_INVALID"),
            (other.to_string(), text.to_owned(), "400 DIGEST_INVALID"),
        ] {
            let answer = push_schema1(&mut client, &format!("/v2/old/app/manifests/{target}"), raw).await;
            assert_eq!(answer.codes(), expected);
        }
        client.get("/v2/old/app/manifests/x").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn schema_1_is_signed_with_the_configured_key() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/schema1/trustkey.pem");
    let server = Server::start(false, |config| config.compatibility.schema1.signingkeyfile = Some(file.into())).await;
    let mut client = server.client().await;
    store_schema1(&server, "a");
    let served = client.get("/v2/a/manifests/v1").await.expect(200).json();
    let of_the_key: Value = serde_json::from_slice(SIGNED).unwrap();
    assert_eq!(served["signatures"][0]["header"], of_the_key["signatures"][0]["header"]);
    server.running.stop().await;
}

#[tokio::test]
async fn a_schema_1_image_is_not_taken_by_default() {
    on_both(
        |_| (),
        async |_, mut client| {
            for layer in LAYERS {
                client.push_blob("old/app", layer).await;
            }
            for content_type in [SCHEMA1, media_type::DOCKER_SCHEMA1, "application/json", ""] {
                let answer = client.put("/v2/old/app/manifests/v1", &[("content-type", content_type)], SIGNED).await;
                assert_eq!(answer.codes(), "400 MANIFEST_INVALID");
                let detail = answer.json()["errors"][0]["detail"].to_string();
                assert!(detail.contains("compatibility.schema1.enabled"), "{detail}");
            }
            client.get("/v2/old/app/manifests/v1").await.expect(404);
        },
    )
    .await;
}

/// The parts of a `multipart/byteranges` answer: what each says it is, and its content.
fn parts_of(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.header("content-type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect(content_type);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-range"), "", "what has several parts has no range of its own");
    let find = |text: &[u8], from: usize| {
        let found = answer.body[from..].windows(text.len()).position(|window| window == text);
        from + found.expect("the answer ends early")
    };
    let (mut parts, mut at) = (Vec::new(), 0);
    let delimiter = format!("--{boundary}");
    assert!(answer.body.starts_with(delimiter.as_bytes()));
    loop {
        at += delimiter.len();
        if &answer.body[at..] == b"--\r\n" {
            return parts;
        }
        let end_of_head = find(b"\r\n\r\n", at);
        let head = std::str::from_utf8(&answer.body[at..end_of_head]).unwrap();
        let (range, media_type) = head.trim().split_once("\r\n").unwrap();
        assert_eq!(media_type, "Content-Type: application/octet-stream");
        let end = find(format!("\r\n{delimiter}").as_bytes(), end_of_head + 4);
        let range = range.strip_prefix("Content-Range: bytes ").unwrap();
        parts.push((range.to_owned(), answer.body[end_of_head + 4..end].to_vec()));
        at = end + 2;
    }
}

#[tokio::test]
async fn several_parts_of_a_blob_come_in_one_answer() {
    on_both(
        |_| (),
        async |_, mut client| {
            let content: Bytes = (0..700_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
            let digest = client.push_blob("team/app", content.clone()).await;
            let target = format!("/v2/team/app/blobs/{digest}");
            for (range, expected) in [
                ("bytes=0-0,5-9", &["0-0/700000", "5-9/700000"][..]),
                ("bytes=-3,0-300000", &["699997-699999/700000", "0-300000/700000"]),
                ("bytes=1-4,3-6,900000-", &["1-4/700000", "3-6/700000"]),
                ("bytes=699999-,0-0", &["699999-699999/700000", "0-0/700000"]),
            ] {
                let answer = ask(&mut client, Method::GET, &target, &[("range", range)]).await.expect(206);
                assert_eq!(answer.header("docker-content-digest"), digest.as_str());
                assert_eq!(answer.header("accept-ranges"), "bytes");
                let parts = parts_of(&answer);
                assert_eq!(parts.iter().map(|(range, _)| range.as_str()).collect::<Vec<_>>(), expected, "{range}");
                for (range, part) in parts {
                    let (start, end) = range.split('/').next().unwrap().split_once('-').unwrap();
                    assert!(part == content[start.parse().unwrap()..=end.parse().unwrap()], "{range}");
                }
            }
            // Only one of them is there, so it is an answer of one part.
            let one = ask(&mut client, Method::GET, &target, &[("range", "bytes=0-1,700000-")]).await.expect(206);
            assert_eq!((one.header("content-range"), &one.body[..]), ("bytes 0-1/700000", &content[..2]));
            for range in ["bytes=700000-,-0", "bytes=0-1,x"] {
                let answer = ask(&mut client, Method::GET, &target, &[("range", range)]).await;
                assert_eq!(answer.codes(), "416 RANGE_INVALID", "{range}");
                assert_eq!(answer.header("content-range"), "bytes */700000");
            }
            let many = format!("bytes={}", vec!["0-0"; 129].join(","));
            for range in ["bytes=0-,1-", many.as_str()] {
                assert!(ask(&mut client, Method::GET, &target, &[("range", range)]).await.expect(200).body == content);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_range_of_other_content_is_not_given() {
    on_both(
        |_| (),
        async |_, mut client| {
            let digest = client.push_blob("a", "0123456789").await;
            let target = format!("/v2/a/blobs/{digest}");
            let etag = format!("\"{digest}\"");
            for (condition, status) in [
                (etag.clone(), 206),
                (format!("W/{etag}"), 200),
                (digest.to_string(), 200),
                ("\"other\"".to_owned(), 200),
                ("Sat, 21 Nov 2026 15:01:25 GMT".to_owned(), 200),
            ] {
                for range in ["bytes=2-3", "bytes=2-3,5-5"] {
                    let headers = [("range", range), ("if-range", condition.as_str())];
                    ask(&mut client, Method::GET, &target, &headers).await.expect(status);
                }
            }
            // A range is a question of GET alone (RFC 9110, 14.2).
            let head = ask(&mut client, Method::HEAD, &target, &[("range", "bytes=2-3")]).await.expect(200);
            assert_eq!(head.header("content-length"), "10");
        },
    )
    .await;
}

#[tokio::test]
async fn who_does_not_know_lists_gets_an_image() {
    on_both(
        |_| (),
        async |_, mut client| {
            let (image, other) = (Document::docker("amd64", &[]), Document::docker("arm64", &[]));
            for (tag, image) in [("amd64", &image), ("arm64", &other)] {
                client.push_blob("a", config_of(tag)).await;
                client.push_manifest("a", tag, image).await.expect(201);
            }
            let oci = client.push_image("a", "oci", &[]).await;
            let list = Document::index(media_type::DOCKER_LIST, &[(&other, "arm64"), (&image, "amd64")]);
            let without = Document::index(media_type::DOCKER_LIST, &[(&other, "arm64")]);
            let index = Document::index(media_type::OCI_INDEX, &[(&oci, "amd64")]);
            for (tag, document) in [("list", &list), ("without", &without), ("index", &index)] {
                client.push_manifest("a", tag, document).await.expect(201);
            }
            let both = [("accept", media_type::DOCKER_IMAGE), ("accept", media_type::DOCKER_LIST)];
            let listed = format!("text/plain, {};q=0.1,{}", media_type::DOCKER_LIST, media_type::OCI_INDEX);
            let by_digest = list.digest().to_string();
            for (reference, accept, expected) in [
                ("list", &both[..], Ok(&list)),
                ("list", &[("accept", &listed)], Ok(&list)),
                ("list", &both[..1], Ok(&image)),
                ("list", &[], Ok(&image)),
                ("list", &[("accept", "*/*")], Ok(&image)),
                ("list", &[("accept", SCHEMA1)], Err("400 MANIFEST_INVALID")),
                ("without", &both[..1], Err("404 MANIFEST_UNKNOWN")),
                (&by_digest, &both[..1], Ok(&list)),
                ("amd64", &[("accept", SCHEMA1)], Ok(&image)),
                ("oci", &both, Err("404 MANIFEST_UNKNOWN")),
                ("oci", &[("accept", "*/*")], Ok(&oci)),
                ("index", &[("accept", media_type::OCI_IMAGE)], Err("404 MANIFEST_UNKNOWN")),
                ("index", &[("accept", &listed)], Ok(&index)),
            ] {
                let target = format!("/v2/a/manifests/{reference}");
                let found = ask(&mut client, Method::GET, &target, accept).await;
                match expected {
                    Err(codes) => assert_eq!(found.codes(), codes, "{reference} {accept:?}"),
                    Ok(document) => {
                        assert_eq!(found.body, document.raw, "{reference} {accept:?}");
                        assert_eq!(found.header("content-type"), document.media_type);
                        assert_eq!(found.header("docker-content-digest"), document.digest().as_str());
                    }
                }
                // A question with HEAD has the answer of GET, but for the body.
                let head = ask(&mut client, Method::HEAD, &target, accept).await;
                assert_eq!(head.status, found.status);
                for name in ["content-type", "content-length", "docker-content-digest", "etag", "vary"] {
                    assert_eq!(head.headers.get(name), found.headers.get(name), "{reference} {accept:?} {name}");
                }
            }
            let refused = ask(&mut client, Method::GET, "/v2/a/manifests/oci", &both).await;
            let message = "OCI manifest found, but accept header does not support OCI manifests";
            assert_eq!(refused.json()["errors"][0]["message"], message);
        },
    )
    .await;
}

#[tokio::test]
async fn clients_that_look_around_find_what_they_expect() {
    let header = |config: &mut berth_config::Config| {
        config.http.headers.insert("access-control-allow-origin".into(), vec!["*".into()]);
    };
    on_both(header, async |_, mut client| {
        let digest = Digest::sha256(b"x");
        for (method, target, status, header, value) in [
            // Docker's first clients asked for the first version of the API.
            (Method::GET, "/v1/_ping".to_owned(), 404, "content-type", "text/plain; charset=utf-8"),
            (Method::GET, "/v1/search?q=x".to_owned(), 404, "content-type", "text/plain; charset=utf-8"),
            (Method::GET, "/v1/repositories/a/images".to_owned(), 404, "content-type", "text/plain; charset=utf-8"),
            (Method::GET, "/v2".to_owned(), 301, "location", "/v2/"),
            (Method::GET, "/v2?x=y".to_owned(), 301, "location", "/v2/?x=y"),
            (Method::HEAD, "/v2".to_owned(), 301, "location", "/v2/"),
            (Method::GET, "/v2/_catalog/?n=3".to_owned(), 301, "location", "/v2/_catalog?n=3"),
            (Method::GET, "/v2/a/manifests/v1/".to_owned(), 301, "location", "/v2/a/manifests/v1"),
            (Method::GET, "//v2//a/tags/list".to_owned(), 301, "location", "/v2/a/tags/list"),
            (Method::OPTIONS, "/v2/".to_owned(), 200, "allow", "GET, HEAD"),
            (Method::OPTIONS, "/v2/a/manifests/v1".to_owned(), 200, "allow", "DELETE, GET, HEAD, PUT"),
            (Method::OPTIONS, format!("/v2/a/blobs/{digest}"), 200, "allow", "DELETE, GET, HEAD"),
            (Method::PATCH, "/v2/a/manifests/v1".to_owned(), 405, "allow", "DELETE, GET, HEAD, PUT"),
            (Method::TRACE, "/v2/".to_owned(), 405, "allow", "GET, HEAD"),
        ] {
            let answer = ask(&mut client, method.clone(), &target, &[]).await.expect(status);
            assert_eq!(answer.header(header), value, "{method} {target}");
            assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0", "{method} {target}");
            assert_eq!(answer.header("access-control-allow-origin"), "*", "{method} {target}");
        }
        let ping = client.get("/v1/_ping").await;
        assert_eq!(ping.body, "404 page not found\n");
    })
    .await;
}

/// An image with one layer that can be fetched elsewhere.
fn pointing_to(url: &str) -> Document {
    let image = Document::image("foreign", &[]);
    let mut value: Value = serde_json::from_slice(&image.raw).unwrap();
    value["layers"] = json!([{
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": Digest::sha256(b"elsewhere"),
        "size": 9,
        "urls": [url],
    }]);
    Document { media_type: image.media_type, raw: value.to_string().into() }
}

#[tokio::test]
async fn layers_point_only_to_where_they_may() {
    for (validation, allowed, refused) in [
        ("", &[][..], &["https://a.example/x", "ftp://a.example/x"][..]),
        ("validation: {disabled: true}", &["https://a.example/x", "ftp://a.example/x"], &[]),
        (
            "validation: {manifests: {urls: {allow: ['^https?://([^/]+\\.)*example/'], deny: ['^https?://www\\.']}}}",
            &["https://a.example/x", "http://example/"],
            &["https://www.example/x", "https://example.org/", "https://a.example/#x"],
        ),
        ("validation: {manifests: {urls: {deny: [x]}}}", &["https://a/"], &["https://x/", "gopher://a/"]),
    ] {
        let validation = berth_config::Config::load(&format!("version: 0.1\nstorage: inmemory\n{validation}"), []);
        let validation = validation.unwrap().config.validation;
        on_both(
            |config| config.validation.clone_from(&validation),
            async |_, mut client| {
                client.push_blob("a", config_of("foreign")).await;
                for url in allowed {
                    client.push_manifest("a", "v1", &pointing_to(url)).await.expect(201);
                }
                for url in refused {
                    let answer = client.push_manifest("a", "v2", &pointing_to(url)).await;
                    assert_eq!(answer.codes(), "400 MANIFEST_INVALID MANIFEST_BLOB_UNKNOWN", "{url}");
                    let (detail, digest) =
                        (answer.json()["errors"][0]["detail"].to_string(), Digest::sha256(b"elsewhere"));
                    assert!(detail.contains(url) && detail.contains(digest.as_str()), "{detail}");
                    client.get("/v2/a/manifests/v2").await.expect(404);
                }
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_index_brings_the_platforms_that_it_must() {
    use berth_config::{IndexValidation, Platform, Platforms};
    let listed = |architecture: &str| IndexValidation {
        platforms: Platforms::List,
        platformlist: vec![Platform { architecture: architecture.to_owned(), os: "linux".to_owned() }],
    };
    for (indexes, expected) in [
        (IndexValidation::default(), "400 MANIFEST_BLOB_UNKNOWN"),
        (IndexValidation { platforms: Platforms::None, platformlist: Vec::new() }, "201"),
        (IndexValidation { platforms: Platforms::List, platformlist: Vec::new() }, "400 MANIFEST_BLOB_UNKNOWN"),
        (listed("amd64"), "201"),
        (listed("arm64"), "400 MANIFEST_BLOB_UNKNOWN"),
    ] {
        on_both(
            |config| config.validation.manifests.indexes.clone_from(&indexes),
            async |_, mut client| {
                let (here, missing) = (client.push_image("a", "here", &[]).await, Document::image("missing", &[]));
                for media_type in [media_type::OCI_INDEX, media_type::DOCKER_LIST] {
                    let index = Document::index(media_type, &[(&here, "amd64"), (&missing, "arm64")]);
                    let answer = client.push_manifest("a", "index", &index).await;
                    assert_eq!(answer.codes(), expected, "{indexes:?}");
                    if expected == "201" {
                        assert_eq!(client.get("/v2/a/manifests/index").await.expect(200).body, index.raw);
                        let target = format!("/v2/a/manifests/{}", missing.digest());
                        client.get(&target).await.expect(404);
                    }
                }
            },
        )
        .await;
    }
}

#[tokio::test]
async fn only_the_classes_of_the_policy_are_taken() {
    let policy = |config: &mut berth_config::Config| config.policy.repository.classes = vec!["plugin".to_owned()];
    on_both(policy, async |_, mut client| {
        client.push_blob("a", config_of("v1")).await;
        let image = client.push_manifest("a", "v1", &Document::image("v1", &[])).await;
        assert_eq!(image.codes(), "403 DENIED");
        assert_eq!(image.json()["errors"][0]["message"], "registry does not allow image manifest");
        let of = |config: &str| {
            let docker = Document::docker("v1", &[]);
            let mut value: Value = serde_json::from_slice(&docker.raw).unwrap();
            value["config"]["mediaType"] = json!(config);
            Document { media_type: docker.media_type, raw: value.to_string().into() }
        };
        let unknown = client.push_manifest("a", "v1", &of("text/plain")).await;
        assert_eq!(unknown.codes(), "403 DENIED");
        assert_eq!(unknown.json()["errors"][0]["message"], "unknown manifest class for text/plain");
        client.push_manifest("a", "v1", &of(media_type::DOCKER_PLUGIN_CONFIG)).await.expect(201);
    })
    .await;
}
