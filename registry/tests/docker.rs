//! What Docker's clients are used to, beyond the OCI specification, over a socket, on every store.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Answer, Client, Server};

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
