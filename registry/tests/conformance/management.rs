//! Deleting tags, manifests and blobs.

use berth_oci::{Algorithm, Digest, media_type};
use http::Method;

use crate::support::{Document, Server, config_of};
use crate::{Bench, cases};

cases! {
    a_tag_is_deleted: "delete-tag-202", "category-others";
    a_manifest_is_deleted_with_its_tags: "delete-manifest-202";
    a_manifest_that_is_not_there_is_not_deleted: "delete-manifest-404";
    a_blob_is_deleted: "delete-blob-202", "delete-blob-404";
    deletion_can_be_switched_off: "delete-tag-off", "delete-manifest-off", "delete-blob-off";
}

async fn a_tag_is_deleted(mut bench: Bench) {
    let image = bench.client.push_image(&bench.repository, "v1", &[]).await;
    bench.push("v2", &image).await.expect(201);
    bench.client.delete(&bench.manifest("v1")).await.expect(202);
    assert_eq!(bench.codes(Method::GET, &bench.manifest("v1")).await, "404 MANIFEST_UNKNOWN");
    assert_eq!(bench.codes(Method::DELETE, &bench.manifest("v1")).await, "404 MANIFEST_UNKNOWN");
    for reference in ["v2", image.digest().as_str()] {
        assert_eq!(bench.codes(Method::GET, &bench.manifest(reference)).await, "200", "{reference}");
    }
    let list = format!("/v2/{}/tags/list", bench.repository);
    assert_eq!(bench.client.get(&list).await.expect(200).json()["tags"], serde_json::json!(["v2"]));
}

async fn a_manifest_is_deleted_with_its_tags(mut bench: Bench) {
    bench.push_blob(config_of("x")).await;
    let image = Document::image("x", &[]);
    let index = Document::index(media_type::OCI_INDEX, &[(&image, "amd64")]);
    for (document, algorithm) in [(&image, Algorithm::Sha256), (&index, Algorithm::Sha512), (&image, Algorithm::Sha512)]
    {
        let digest = Digest::of(algorithm, &document.raw);
        bench.push(Digest::sha256(&image.raw).as_str(), &image).await.expect(201);
        let target = format!("{}?tag=v1&tag=v2", bench.manifest(digest.as_str()));
        bench.client.put(&target, &[("content-type", document.media_type)], document.raw.clone()).await.expect(201);
        bench.client.delete(&bench.manifest(digest.as_str())).await.expect(202);
        for reference in ["v1", "v2", digest.as_str()] {
            let target = bench.manifest(reference);
            assert_eq!(bench.codes(Method::GET, &target).await, "404 MANIFEST_UNKNOWN", "{reference}");
            assert_eq!(bench.codes(Method::HEAD, &target).await, "404", "{reference}");
        }
        assert_eq!(bench.codes(Method::DELETE, &bench.manifest(digest.as_str())).await, "404 MANIFEST_UNKNOWN");
        bench.push("v1", document).await.expect(201);
        assert_eq!(bench.codes(Method::GET, &bench.manifest("v1")).await, "200", "it can be pushed again");
    }
}

async fn a_manifest_that_is_not_there_is_not_deleted(mut bench: Bench) {
    let digest = Digest::sha256(b"nothing");
    for name in ["no/such/repository", &bench.repository.clone()] {
        for reference in ["v1", digest.as_str()] {
            let target = format!("/v2/{name}/manifests/{reference}");
            assert_eq!(bench.codes(Method::DELETE, &target).await, "404 MANIFEST_UNKNOWN", "{target}");
        }
        bench.client.push_image(&bench.repository, "other", &[]).await;
    }
}

async fn a_blob_is_deleted(mut bench: Bench) {
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, b"layer");
        let target = format!("{}?digest={digest}", bench.uploads());
        bench.client.post(&target, "layer").await.expect(201);
        let target = bench.blob(&digest);
        bench.client.delete(&target).await.expect(202);
        for (method, expected) in
            [(Method::GET, "404 BLOB_UNKNOWN"), (Method::HEAD, "404"), (Method::DELETE, "404 BLOB_UNKNOWN")]
        {
            assert_eq!(bench.codes(method.clone(), &target).await, expected, "{method}");
        }
    }
}

async fn deletion_can_be_switched_off(bench: Bench) {
    let server = Server::start_on(bench.store, |config| config.storage.delete.enabled = false).await;
    let mut bench = Bench { client: server.client().await, ..bench };
    let image = bench.client.push_image(&bench.repository, "v1", &["layer"]).await;
    let targets =
        [bench.manifest("v1"), bench.manifest(image.digest().as_str()), bench.blob(&Digest::sha256(b"layer"))];
    for target in targets {
        assert_eq!(bench.codes(Method::DELETE, &target).await, "405 UNSUPPORTED", "{target}");
        assert_eq!(bench.codes(Method::GET, &target).await, "200", "{target}");
    }
    server.running.stop().await;
}
