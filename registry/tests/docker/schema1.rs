//! Docker's schema 1, as CNCF Distribution 2.8 has stored it and as old clients push it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{self, Answer, Client, Server};
use crate::{ask, on_both};

const SCHEMA1: &str = media_type::DOCKER_SCHEMA1_SIGNED;
/// What the documents under `data/schema1` sign; its layers are [`LAYERS`].
const PAYLOAD: &[u8] = include_bytes!("../data/schema1/payload.json");
const SIGNED: &[u8] = include_bytes!("../data/schema1/es256.json");
const LAYERS: [&str; 2] = ["layer one", "layer two"];

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
