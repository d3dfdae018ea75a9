//! Pushing manifests: what is taken, what is refused, and what is said of it.

use berth_config::Platforms;
use berth_oci::{Algorithm, Digest, MAX_MANIFEST_BYTES, media_type};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Document, Server, config_of};
use crate::{Bench, cases};

cases! {
    a_manifest_is_pushed_by_tag_and_by_digest: "put-reference", "put-201", "put-location", "put-digest";
    a_manifest_stays_byte_for_byte: "put-bytes";
    manifests_of_every_shape_are_taken: "put-201", "put-bytes";
    a_layer_may_lie_elsewhere_and_an_index_be_sparse: "put-201", "reference-unknown";
    a_type_may_have_parameters_and_must_agree: "put-parameters-ignored", "put-type-agrees";
    what_is_no_manifest_is_refused: "put-type-agrees";
    a_manifest_without_what_it_refers_to_is_refused: "reference-unknown";
    a_subject_may_come_later: "subject-missing", "subject-header";
    tags_come_with_a_push_by_digest: "put-tags", "put-tags-header";
    a_manifest_has_a_greatest_length: "put-limit", "put-413", "put-4-megabytes";
}

fn image(value: &Value) -> Document {
    Document { media_type: media_type::OCI_IMAGE, raw: value.to_string().into() }
}

fn blob(media_type: &str, content: &str) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(content.as_bytes()), "size": content.len() })
}

async fn a_manifest_is_pushed_by_tag_and_by_digest(mut bench: Bench) {
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, &image.raw);
        let put = bench.push(digest.as_str(), &image).await.expect(201);
        assert_eq!(put.header("docker-content-digest"), digest.as_str());
        assert_eq!(bench.client.get(put.header("location")).await.expect(200).body, image.raw);
    }
    let put = bench.push("v1", &image).await.expect(201);
    assert_eq!(put.header("docker-content-digest"), image.digest().as_str());
    assert_eq!(bench.client.get(put.header("location")).await.expect(200).body, image.raw);
    for algorithm in Algorithm::ALL {
        let other = Digest::of(algorithm, b"other");
        assert_eq!(bench.push(other.as_str(), &image).await.codes(), "400 DIGEST_INVALID");
    }
}

async fn a_manifest_stays_byte_for_byte(mut bench: Bench) {
    bench.push_blob("{}").await;
    let (config, digest) = (blob("application/vnd.oci.empty.v1+json", "{}"), Digest::sha256(b"{}"));
    // Unusual, and valid: spaces, an order and fields of its own, an escape, a number that is not exact as a float.
    let raw = format!(
        "\n {{\"zeta\" : [1,2.50,12345678901234567890],\t\"config\":{config},\r\n\"layers\":[{{\"own\":null,\
         \"size\":2,\"digest\":\"{digest}\",\"mediaType\":\"a/b\",\"data\":\"e30=\"}}],\
         \"annotations\":{{\"k\":\"\\u00e9\\/\"}},\"schemaVersion\":2}} \n"
    );
    let document = Document { media_type: media_type::OCI_IMAGE, raw: raw.into() };
    bench.push("v1", &document).await.expect(201);
    for reference in ["v1", document.digest().as_str()] {
        assert_eq!(bench.client.get(&bench.manifest(reference)).await.expect(200).body, document.raw);
    }
}

async fn manifests_of_every_shape_are_taken(mut bench: Bench) {
    for content in ["{}", "", "layer", "config"] {
        bench.push_blob(content).await;
    }
    let (empty, own) = (blob("application/vnd.oci.empty.v1+json", "{}"), blob("application/x-own", "config"));
    let layer = blob("application/vnd.oci.image.layer.v1.tar", "layer");
    let shapes = [
        ("no-layers", json!({ "schemaVersion": 2, "config": empty, "layers": [] })),
        ("layers-missing", json!({ "schemaVersion": 2, "config": empty })),
        ("null", json!({ "schemaVersion": 2, "config": empty, "layers": null, "subject": null, "annotations": null })),
        ("no-media-type", json!({ "schemaVersion": 2, "config": own, "layers": [layer] })),
        ("empty-layer", json!({ "schemaVersion": 2, "config": own, "layers": [blob("a/b", "")] })),
        ("twice", json!({ "schemaVersion": 2, "config": own, "layers": [layer, layer] })),
        (
            "own-types",
            json!({ "schemaVersion": 2, "artifactType": "a/b", "config": own, "layers": [blob("c/d", "layer")] }),
        ),
        ("artifact", json!({ "schemaVersion": 2, "artifactType": "a/b", "config": empty, "layers": [empty] })),
    ];
    let mut all = Vec::new();
    for (tag, shape) in &shapes {
        let document = image(shape);
        bench.push(tag, &document).await.expect(201);
        assert_eq!(bench.client.get(&bench.manifest(tag)).await.expect(200).body, document.raw, "{tag}");
        all.push(document);
    }
    // Indexes: of nothing, of images, of indexes, with a type of their own, and without a media type.
    let of_images = Document::index(media_type::OCI_INDEX, &[(&all[0], "amd64"), (&all[1], "arm64")]);
    let nested = Document::index(media_type::OCI_INDEX, &[(&of_images, "amd64"), (&all[2], "arm64")]);
    let index = |value: &Value| Document { media_type: media_type::OCI_INDEX, raw: value.to_string().into() };
    let indexes = [
        ("of-nothing", index(&json!({ "schemaVersion": 2, "manifests": [] }))),
        ("of-images", of_images),
        ("of-indexes", nested),
        ("typed", index(&json!({ "schemaVersion": 2, "manifests": [all[0].descriptor()], "artifactType": "a/b" }))),
    ];
    for (tag, document) in &indexes {
        bench.push(tag, document).await.expect(201);
        let found = bench.client.get(&bench.manifest(tag)).await.expect(200);
        assert_eq!((&found.body, found.header("content-type")), (&document.raw, media_type::OCI_INDEX), "{tag}");
    }
}

/// Both are for the configuration to allow; the specification lets a registry refuse what it cannot find.
async fn a_layer_may_lie_elsewhere_and_an_index_be_sparse(bench: Bench) {
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let mut layer = blob(foreign, "not here");
    layer["urls"] = json!(["https://layers.example/1"]);
    let config = blob("application/vnd.oci.empty.v1+json", "{}");
    let elsewhere = image(&json!({ "schemaVersion": 2, "config": config, "layers": [layer] }));
    let missing = Document::image("missing", &[]);
    let sparse = Document::index(media_type::OCI_INDEX, &[(&elsewhere, "amd64"), (&missing, "arm64")]);
    for allowed in [false, true] {
        let server = Server::start_on(bench.store, |config| {
            if allowed {
                config.validation.manifests.urls.allow = vec!["^https://layers[.]example/".to_owned()];
                config.validation.manifests.indexes.platforms = Platforms::None;
            }
        })
        .await;
        let repository = bench.repository.clone();
        let mut bench = Bench { client: server.client().await, repository, store: bench.store };
        bench.push_blob("{}").await;
        for (tag, document) in [("elsewhere", &elsewhere), ("sparse", &sparse)] {
            let pushed = bench.push(tag, document).await;
            if allowed {
                pushed.expect(201);
                assert_eq!(bench.client.get(&bench.manifest(tag)).await.expect(200).body, document.raw);
            } else {
                assert_eq!(pushed.status, 400, "{tag}");
                assert!(pushed.codes().contains("MANIFEST_BLOB_UNKNOWN"), "{tag}: {}", pushed.codes());
            }
        }
        server.running.stop().await;
    }
}

async fn a_type_may_have_parameters_and_must_agree(mut bench: Bench) {
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    let target = bench.manifest("v1");
    let with_parameters = format!("{}; charset=utf-8", media_type::OCI_IMAGE);
    bench.client.put(&target, &[("content-type", &with_parameters)], image.raw.clone()).await.expect(201);
    let found = bench.client.get(&target).await.expect(200);
    assert_eq!(found.header("content-type"), media_type::OCI_IMAGE);
    for other in [media_type::OCI_INDEX, media_type::DOCKER_IMAGE, "application/json", "application/x-unknown"] {
        let refused = bench.client.put(&target, &[("content-type", other)], image.raw.clone()).await;
        assert_eq!(refused.codes(), "400 MANIFEST_INVALID", "{other}");
    }
}

async fn what_is_no_manifest_is_refused(mut bench: Bench) {
    for raw in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"schemaVersion\":2}",
        "{\"schemaVersion\":3,\"manifests\":[]}",
        "{\"schemaVersion\":2,\"manifests\":[]} {}",
        "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:0\",\"size\":1}]}",
        "{\"schemaVersion\":2,\"manifests\":[],\"mediaType\":\"application/x-unknown\"}",
    ] {
        let refused = bench.client.put(&bench.manifest("v1"), &[], raw).await;
        assert_eq!(refused.codes(), "400 MANIFEST_INVALID", "{raw}");
    }
    assert_eq!(bench.codes(Method::GET, &bench.manifest("v1")).await, "404 MANIFEST_UNKNOWN");
    // What names nothing is no subject, and so nobody is told that it was seen.
    for subject in ["{\"digest\":\"md5:00\",\"size\":1}", "{}"] {
        let raw = format!("{{\"schemaVersion\":2,\"manifests\":[],\"subject\":{subject}}}");
        let taken = bench.client.put(&bench.manifest("odd"), &[], raw).await.expect(201);
        assert_eq!(taken.header("oci-subject"), "", "{subject}");
    }
}

async fn a_manifest_without_what_it_refers_to_is_refused(mut bench: Bench) {
    let image = Document::image("x", &["layer"]);
    let refused = bench.push("v1", &image).await;
    assert_eq!(refused.codes(), "400 MANIFEST_BLOB_UNKNOWN MANIFEST_BLOB_UNKNOWN");
    bench.push_blob(config_of("x")).await;
    let refused = bench.push("v1", &image).await;
    assert_eq!(refused.codes(), "400 MANIFEST_BLOB_UNKNOWN");
    assert_eq!(refused.json()["errors"][0]["detail"], json!(Digest::sha256(b"layer")));
    let index = Document::index(media_type::OCI_INDEX, &[(&image, "amd64")]);
    assert_eq!(bench.push("v1", &index).await.codes(), "400 MANIFEST_BLOB_UNKNOWN");
    bench.push_blob("layer").await;
    bench.push(image.digest().as_str(), &image).await.expect(201);
    bench.push("v1", &index).await.expect(201);
}

async fn a_subject_may_come_later(mut bench: Bench) {
    for tag in ["subject", "about"] {
        bench.push_blob(config_of(tag)).await;
    }
    let subject = Document::image("subject", &[]);
    let about = Document::image_about("about", &[], Some(&subject));
    let mut index: Value = serde_json::from_slice(&Document::index(media_type::OCI_INDEX, &[]).raw).unwrap();
    index["subject"] = subject.descriptor();
    let index = Document { media_type: media_type::OCI_INDEX, raw: index.to_string().into() };
    for _ in 0..2 {
        for (reference, document) in [("tagged", &about), (about.digest().as_str(), &about), ("index", &index)] {
            let put = bench.push(reference, document).await.expect(201);
            assert_eq!(put.header("oci-subject"), subject.digest().as_str());
        }
        // The second time the subject is there, and nothing is otherwise.
        let put = bench.push("subject", &subject).await.expect(201);
        assert!(put.header("oci-subject").is_empty());
    }
}

async fn tags_come_with_a_push_by_digest(mut bench: Bench) {
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, &image.raw);
        let tags: Vec<String> = (0..50).map(|n| format!("{algorithm}-{n}")).collect();
        // The same tag twice is one tag.
        let query: Vec<String> = tags.iter().chain(&tags[..1]).map(|tag| format!("tag={tag}")).collect();
        let target = format!("{}?{}", bench.manifest(digest.as_str()), query.join("&"));
        let put = bench.client.put(&target, &[("content-type", image.media_type)], image.raw.clone()).await.expect(201);
        let taken: Vec<&str> = put.headers.get_all("oci-tag").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(taken, tags);
        for tag in &tags {
            let found = bench.client.get(&bench.manifest(tag)).await.expect(200);
            assert_eq!((found.header("docker-content-digest"), &found.body), (digest.as_str(), &image.raw));
        }
        let target = format!("{target}&tag=one-more");
        let refused = bench.client.put(&target, &[], image.raw.clone()).await.expect(414);
        assert_eq!(refused.codes(), "414 TAG_INVALID");
        let target = format!("{}?tag=good&tag=.bad", bench.manifest(digest.as_str()));
        assert_eq!(bench.client.put(&target, &[], image.raw.clone()).await.codes(), "400 TAG_INVALID");
        for tag in ["one-more", "good"] {
            assert_eq!(
                bench.codes(Method::GET, &bench.manifest(tag)).await,
                "404 MANIFEST_UNKNOWN",
                "nothing is written"
            );
        }
    }
    // A push by tag brings its own tag and no other.
    let put = bench.client.put(&format!("{}?tag=v2", bench.manifest("v1")), &[], image.raw.clone()).await.expect(201);
    assert!(put.header("oci-tag").is_empty());
    assert_eq!(bench.codes(Method::GET, &bench.manifest("v2")).await, "404 MANIFEST_UNKNOWN");
}

async fn a_manifest_has_a_greatest_length(mut bench: Bench) {
    let padded = |length: usize| {
        let bare = json!({ "schemaVersion": 2, "manifests": [], "annotations": { "padding": "" } }).to_string();
        let padding = "x".repeat(length - bare.len());
        let raw = bare.replace("\"padding\":\"\"", &format!("\"padding\":\"{padding}\""));
        assert_eq!(raw.len(), length);
        Document { media_type: media_type::OCI_INDEX, raw: Bytes::from(raw) }
    };
    const { assert!(MAX_MANIFEST_BYTES >= 4_000_000) };
    let longest = padded(MAX_MANIFEST_BYTES);
    bench.push("longest", &longest).await.expect(201);
    assert_eq!(bench.client.get(&bench.manifest("longest")).await.expect(200).body, longest.raw);
    let refused = bench.push("longer", &padded(MAX_MANIFEST_BYTES + 1)).await;
    assert_eq!(refused.codes(), "413 MANIFEST_INVALID");
}
