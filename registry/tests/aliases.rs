//! Blobs that CNCF Distribution has stored under their sha256 digest and linked by another: served, mounted, referred to,
//! collected, verified and deleted as if Berth had stored them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_oci::{Algorithm, Digest, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use support::{Client, Document, Server, TOKEN, config_of};

const NAME: &str = "team/app";
const CONTENT: &str = "pushed to Distribution by another digest than sha256";

fn written(root: &Path, below: &str, content: &str) {
    let path = root.join("data/docker/registry/v2").join(below);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn link(name: &str, digest: &Digest) -> String {
    format!("repositories/{name}/_layers/{}/{}/link", digest.algorithm(), digest.hex())
}

fn data(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join(format!("data/docker/registry/v2/blobs/{}/{}/{hex}/data", digest.algorithm(), &hex[..2]))
}

/// What Distribution leaves of `PUT …?digest=<alias>`: the bytes under the sha256 digest, and two links that say it.
fn as_distribution(root: &Path, name: &str, alias: &Digest) {
    let digest = Digest::sha256(CONTENT.as_bytes());
    let hex = digest.hex();
    written(root, &format!("blobs/sha256/{}/{hex}/data", &hex[..2]), CONTENT);
    for linked in [&digest, alias] {
        written(root, &link(name, linked), digest.as_str());
    }
}

/// An image whose only layer is known by this digest.
fn image(tag: &str, layer: &Digest) -> Document {
    let config = config_of(tag);
    let value = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_IMAGE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(config.as_bytes()),
            "size": config.len(),
        },
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": CONTENT.len()}],
    });
    Document { media_type: media_type::OCI_IMAGE, raw: value.to_string().into() }
}

/// Every algorithm by which a blob can have an alias, with that alias.
fn aliases() -> impl Iterator<Item = Digest> {
    Algorithm::ALL
        .into_iter()
        .filter(|algorithm| *algorithm != Algorithm::Sha256)
        .map(|algorithm| Digest::of(algorithm, CONTENT.as_bytes()))
}

async fn collect(debug: &mut Client) -> Value {
    let authorization = format!("Bearer {TOKEN}");
    let asked = json!({ "deleteUntagged": true, "gracePeriodSeconds": 0 });
    let headers = [("authorization", authorization.as_str())];
    let answer = debug.send(Method::POST, "/admin/v1/gc", &headers, asked.to_string().into()).await.expect(200);
    let last = answer.body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    let report = serde_json::from_slice::<Value>(last).unwrap()["report"].take();
    assert_eq!(report["outcome"], "Clean", "{report}");
    report
}

/// Verifies the store, beside the server.
fn verified(root: &Path) -> Value {
    let config = root.join("config.yml");
    std::fs::write(&config, "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nlog: {level: error}\n")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
    let output = command.current_dir(root).env_clear().args(["verify", "--output", "json", "-q"]).arg(&config).output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn what_distribution_stored_is_served_by_both_digests() {
    for alias in aliases() {
        let server = Server::start(false, |_| ()).await;
        let mut client = server.client().await;
        as_distribution(server.directory.path(), NAME, &alias);
        for digest in [&alias, &Digest::sha256(CONTENT.as_bytes())] {
            let target = format!("/v2/{NAME}/blobs/{digest}");
            let length = CONTENT.len().to_string();
            // The second time from memory.
            for _ in 0..2 {
                let found = client.get(&target).await.expect(200);
                assert_eq!(
                    (found.body.as_ref(), found.header("content-length")),
                    (CONTENT.as_bytes(), length.as_str())
                );
                assert_eq!(found.header("docker-content-digest"), digest.as_str(), "that which was asked for");
                let found = client.head(&target).await.expect(200);
                assert_eq!(found.header("content-length"), length);
            }
            let found = client.send(Method::GET, &target, &[("range", "bytes=7-8")], Bytes::new()).await.expect(206);
            assert_eq!(found.body, "to");
        }
        let elsewhere = format!("/v2/team/other/blobs/{alias}");
        assert_eq!(client.get(&elsewhere).await.codes(), "404 BLOB_UNKNOWN");
        let mount = format!("/v2/team/other/blobs/uploads/?mount={alias}&from={NAME}");
        let mounted = client.post(&mount, Bytes::new()).await.expect(201);
        assert_eq!(mounted.header("docker-content-digest"), alias.as_str());
        assert_eq!(client.get(&elsewhere).await.expect(200).body, CONTENT);
        // Distribution looks for both links.
        let digest = Digest::sha256(CONTENT.as_bytes());
        for linked in [&alias, &digest] {
            let link = server.directory.path().join("data/docker/registry/v2").join(link("team/other", linked));
            assert_eq!(std::fs::read_to_string(link).unwrap(), digest.as_str());
        }
        server.running.stop().await;
    }
}

#[tokio::test]
async fn either_link_is_deleted_without_the_other() {
    for alias in aliases() {
        let server = Server::start(false, |_| ()).await;
        let mut client = server.client().await;
        let digest = Digest::sha256(CONTENT.as_bytes());
        for (gone, stays) in [(&alias, &digest), (&digest, &alias)] {
            as_distribution(server.directory.path(), NAME, &alias);
            let target = |digest: &Digest| format!("/v2/{NAME}/blobs/{digest}");
            client.get(&target(gone)).await.expect(200);
            client.delete(&target(gone)).await.expect(202);
            assert_eq!(client.get(&target(gone)).await.codes(), "404 BLOB_UNKNOWN");
            assert_eq!(client.delete(&target(gone)).await.codes(), "404 BLOB_UNKNOWN");
            assert_eq!(client.get(&target(stays)).await.expect(200).body, CONTENT);
        }
        server.running.stop().await;
    }
}

#[tokio::test]
async fn an_image_keeps_its_layer_by_the_alias() {
    for alias in aliases() {
        let server = Server::start(false, |_| ()).await;
        let root = server.directory.path();
        let (mut client, mut debug) = (server.client().await, server.debug_client().await);
        as_distribution(root, NAME, &alias);
        client.push_blob(NAME, config_of("v1")).await;
        client.push_manifest(NAME, "v1", &image("v1", &alias)).await.expect(201);
        // Only the alias is left of what the push to Distribution linked; another repository has it by a mount.
        let digest = Digest::sha256(CONTENT.as_bytes());
        client.delete(&format!("/v2/{NAME}/blobs/{digest}")).await.expect(202);
        let mount = format!("/v2/team/other/blobs/uploads/?mount={alias}&from={NAME}");
        client.post(&mount, Bytes::new()).await.expect(201);
        assert_eq!(verified(root)["problems"], json!([]));

        let report = collect(&mut debug).await;
        assert_eq!((&report["blobsKept"], &report["blobsDeleted"]), (&json!(3), &json!(0)), "{report}");
        for name in [NAME, "team/other"] {
            assert_eq!(client.get(&format!("/v2/{name}/blobs/{alias}")).await.expect(200).body, CONTENT);
        }
        assert_eq!(verified(root)["problems"], json!([]));

        client.delete(&format!("/v2/{NAME}/manifests/v1")).await.expect(202);
        let report = collect(&mut debug).await;
        assert_eq!((&report["blobsKept"], &report["blobsDeleted"]), (&json!(0), &json!(3)), "{report}");
        assert!(!data(root, &digest).exists());
        for name in [NAME, "team/other"] {
            assert_eq!(client.get(&format!("/v2/{name}/blobs/{alias}")).await.codes(), "404 BLOB_UNKNOWN");
        }
        let report = verified(root);
        assert_eq!((&report["problems"], &report["notes"], &report["links"]), (&json!([]), &json!([]), &json!(0)));
        server.running.stop().await;
    }
}

#[tokio::test]
async fn verify_tells_an_alias_from_a_wrong_link() {
    let server = Server::start(false, |_| ()).await;
    let root = server.directory.path();
    for alias in aliases() {
        as_distribution(root, NAME, &alias);
    }
    let report = verified(root);
    assert_eq!((&report["problems"], &report["notes"]), (&json!([]), &json!([])));
    assert_eq!((&report["blobs"], &report["links"]), (&json!(1), &json!(3)), "nothing is counted twice");
    // The bytes have another digest than the alias says.
    let digest = Digest::sha256(CONTENT.as_bytes());
    let other = Digest::of(Algorithm::Sha512, b"other content");
    written(root, &link(NAME, &other), digest.as_str());
    let report = verified(root);
    let problem = &report["problems"][0];
    assert_eq!((&problem["kind"], report["problems"].as_array().unwrap().len()), (&json!("wrong-link"), 1), "{report}");
    let found = Digest::of(Algorithm::Sha512, CONTENT.as_bytes());
    assert_eq!(problem["message"], json!(format!("it holds {digest}, whose bytes have the digest {found}")));
    server.running.stop().await;
}

/// Who pushes by another digest to Berth gets the bytes under it, as before, and a link that Distribution can follow.
#[tokio::test]
async fn what_is_pushed_by_an_alias_lies_under_it() {
    for alias in aliases() {
        let server = Server::start(false, |_| ()).await;
        let mut client = server.client().await;
        let root = server.directory.path();
        as_distribution(root, NAME, &alias);
        client.post(&format!("/v2/{NAME}/blobs/uploads/?digest={alias}"), CONTENT).await.expect(201);
        assert_eq!(std::fs::read_to_string(data(root, &alias)).unwrap(), CONTENT);
        let said = std::fs::read_to_string(root.join("data/docker/registry/v2").join(link(NAME, &alias))).unwrap();
        assert_eq!(said, alias.as_str());
        std::fs::remove_file(data(root, &Digest::sha256(CONTENT.as_bytes()))).unwrap();
        assert_eq!(client.get(&format!("/v2/{NAME}/blobs/{alias}")).await.expect(200).body, CONTENT);
        server.running.stop().await;
    }
}
