//! What may be pushed: `validation` and `policy` of the configuration.

use berth_config::{Config, IndexValidation, Platform, Platforms};
use berth_oci::{Digest, media_type};
use serde_json::{Value, json};

use crate::on_both;
use crate::support::{Document, config_of};

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
        let validation = Config::load(&format!("version: 0.1\nstorage: inmemory\n{validation}"), []);
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
                    assert!(detail.contains("validation.manifests.urls"), "{detail}");
                    client.get("/v2/a/manifests/v2").await.expect(404);
                }
            },
        )
        .await;
    }
}

/// An image must bring its layers, whatever the configuration: only where a layer says that it lies elsewhere may it be
/// missing.
#[tokio::test]
async fn an_image_brings_its_layers() {
    for validation in ["", "validation: {disabled: true}", "validation: {manifests: {indexes: {platforms: none}}}"] {
        let validation = Config::load(&format!("version: 0.1\nstorage: inmemory\n{validation}"), []);
        let validation = validation.unwrap().config.validation;
        on_both(
            |config| config.validation.clone_from(&validation),
            async |_, mut client| {
                client.push_blob("a", config_of("v1")).await;
                client.push_blob("a", "here").await;
                let answer = client.push_manifest("a", "v1", &Document::image("v1", &["here", "missing"])).await;
                assert_eq!(answer.codes(), "400 MANIFEST_BLOB_UNKNOWN");
                assert_eq!(answer.json()["errors"][0]["detail"], json!(Digest::sha256(b"missing")));
                client.get("/v2/a/manifests/v1").await.expect(404);
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_index_brings_the_platforms_that_it_must() {
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
    let policy = |config: &mut Config| config.policy.repository.classes = vec!["plugin".to_owned()];
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
