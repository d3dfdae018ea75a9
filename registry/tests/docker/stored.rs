//! What CNCF Distribution has stored, and nobody would write today: served as it is, and kept with all that it refers to.

use std::path::Path;

use berth_oci::{Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::support::{ACCEPT_ALL, Answer, Client, Document, Server, TOKEN, config_of};

/// Puts a manifest into a repository, as Distribution lays it out.
fn store(server: &Server, name: &str, tag: &str, raw: &[u8]) -> Digest {
    let root = server.directory.path().join("data/docker/registry/v2");
    let digest = Digest::sha256(raw);
    let hex = digest.hex();
    let write = |path: &Path, content: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write(&root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2])), raw);
    let manifests = root.join(format!("repositories/{name}/_manifests"));
    for link in [
        format!("revisions/sha256/{hex}/link"),
        format!("tags/{tag}/current/link"),
        format!("tags/{tag}/index/sha256/{hex}/link"),
    ] {
        write(&manifests.join(link), digest.as_str().as_bytes());
    }
    digest
}

async fn fetch(client: &mut Client, method: Method, name: &str, reference: &str) -> Answer {
    let target = format!("/v2/{name}/manifests/{reference}");
    client.send(method, &target, &[("accept", ACCEPT_ALL)], Bytes::new()).await
}

/// Collects whatever nothing refers to, and gives the report.
async fn collect(server: &Server) -> serde_json::Value {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let asked = json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 }).to_string();
    let mut debug = server.debug_client().await;
    let answer = debug.send(Method::POST, "/admin/v1/gc", &headers, asked.into()).await.expect(200);
    let last = answer.body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    serde_json::from_slice::<serde_json::Value>(last).unwrap()["report"].clone()
}

#[tokio::test]
async fn odd_manifests_are_served_and_keep_what_they_refer_to() {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    let image = Document::image("odd", &["layer"]);
    let text = std::str::from_utf8(&image.raw).unwrap();
    let mut no_text = text.replacen('{', "{\"annotations\":{\"a\":\"!\"},", 1).into_bytes();
    let at = no_text.iter().position(|byte| *byte == b'!').unwrap();
    no_text[at] = 0xff;
    let index = |rest: &str| format!("{{\"schemaVersion\":2,\"mediaType\":\"{}\"{rest}}}", media_type::OCI_INDEX);
    let cases = [
        (media_type::OCI_IMAGE, text.replace("\"layers\"", "\"Layers\"").into_bytes()),
        (media_type::OCI_IMAGE, text.replace("\"config\"", "\"CONFIG\"").into_bytes()),
        (media_type::OCI_IMAGE, text.replace("\"digest\"", "\"Digest\"").into_bytes()),
        (media_type::OCI_IMAGE, text.replace("\"schemaVersion\"", "\"schemaversion\"").into_bytes()),
        (
            media_type::OCI_IMAGE,
            text.replacen('{', "{\"layers\":[],\"annotations\":{\"a\":\"\\ud800\"},", 1).into_bytes(),
        ),
        (
            media_type::OCI_IMAGE,
            text.replacen('{', "{\"subject\":{},\"artifactType\":5,\"manifests\":null,", 1).into_bytes(),
        ),
        (media_type::OCI_IMAGE, no_text),
        (media_type::OCI_INDEX, index(",\"manifests\":null").into_bytes()),
        (media_type::OCI_INDEX, index("").into_bytes()),
    ];
    for (number, (media_type, raw)) in cases.into_iter().enumerate() {
        // Each in a repository and with content of its own.
        let (name, layer, config) =
            (format!("odd/{number}"), format!("layer {number}"), config_of(&number.to_string()));
        let unique = |raw: Vec<u8>| {
            let of = |text: &str| Digest::sha256(text.as_bytes()).to_string().into_bytes();
            let swap =
                |raw: Vec<u8>, from: Vec<u8>, to: Vec<u8>| match raw.windows(from.len()).position(|at| at == from) {
                    Some(at) => [&raw[..at], &to, &raw[at + from.len()..]].concat(),
                    None => raw,
                };
            swap(swap(raw, of("layer"), of(&layer)), of(&config_of("odd")), of(&config))
        };
        let raw = unique(raw);
        let shown = String::from_utf8_lossy(&raw).into_owned();
        client.push_blob(&name, layer.clone()).await;
        client.push_blob(&name, config.clone()).await;
        let digest = store(&server, &name, "v1", &raw);
        for reference in ["v1", digest.as_str()] {
            let found = fetch(&mut client, Method::GET, &name, reference).await.expect(200);
            assert_eq!(found.body, raw, "{shown}");
            assert_eq!(found.header("content-type"), media_type, "{shown}");
            let head = fetch(&mut client, Method::HEAD, &name, reference).await.expect(200);
            assert_eq!(head.header("content-length"), raw.len().to_string(), "{shown}");
        }
        let pushed = Document { media_type, raw: raw.clone().into() };
        client.push_manifest(&name, "again", &pushed).await.expect(201);
        if media_type == media_type::OCI_IMAGE {
            let report = collect(&server).await;
            assert_eq!((report["outcome"].as_str(), &report["problems"]), (Some("Clean"), &json!([])), "{shown}");
            for content in [&layer, &config] {
                client.head(&format!("/v2/{name}/blobs/{}", Digest::sha256(content.as_bytes()))).await.expect(200);
            }
        }
    }
    server.running.stop().await;
}

#[tokio::test]
async fn what_is_no_manifest_is_said_to_be_there_and_keeps_its_repository() {
    let server = Server::start(false, |_| ()).await;
    let mut client = server.client().await;
    for (number, raw) in [
        "hello",
        "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}",
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.example.other\"}",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("broken/{number}");
        let digest = store(&server, &name, "v1", raw.as_bytes());
        let blob = client.push_blob(&name, format!("somebody may need it {number}")).await;
        for reference in ["v1", digest.as_str()] {
            let found = fetch(&mut client, Method::GET, &name, reference).await;
            assert_eq!(found.codes(), "500 UNKNOWN", "{raw}");
            assert!(found.json()["errors"][0]["detail"].to_string().contains(digest.as_str()), "{raw}");
        }
        let report = collect(&server).await;
        assert_eq!(report["outcome"], "Partial", "{raw}");
        assert!(report["problems"].to_string().contains(&format!("nothing of {name} is deleted")), "{report}");
        client.head(&format!("/v2/{name}/blobs/{blob}")).await.expect(200);
    }
    server.running.stop().await;
}
