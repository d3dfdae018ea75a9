//! Manifests that are pushed and deleted, and blobs that are deleted.

use anyhow::Result;
use serde_json::{Value, json};

use crate::content::{Blob, Manifest, artifact, docker_image, index, kind, oci_image};
use crate::fill::{platforms, subject};
use crate::http::Question;
use crate::interview::Interview;
use crate::push;

const UNKNOWN: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000ff";

pub(crate) async fn all(to: &mut Interview) -> Result<()> {
    good_manifests(to).await?;
    bad_manifests(to).await?;
    odd_manifests(to).await?;
    references(to).await?;
    delete_manifests(to).await?;
    delete_blobs(to).await
}

fn put(repository: &str, reference: &str, media_type: &str, body: impl Into<hyper::body::Bytes>) -> Question {
    Question::new("PUT", format!("/v2/{repository}/manifests/{reference}")).with("content-type", media_type).body(body)
}

fn put_manifest(repository: &str, reference: &str, manifest: &Manifest) -> Question {
    put(repository, reference, manifest.media_type, manifest.content.bytes.clone())
}

/// Pushes what a manifest needs, without comparing.
async fn prepare(to: &Interview, repository: &str, manifest: &Manifest) -> Result<()> {
    for blob in &manifest.blobs {
        push::blob(to.server, repository, blob).await?;
    }
    for child in &manifest.children {
        push::image(to.server, repository, child.digest(), child).await?;
    }
    Ok(())
}

async fn good_manifests(to: &mut Interview) -> Result<()> {
    let (oci, docker) = (oci_image("pushed", "amd64"), docker_image("pushed", "amd64"));
    let table = [
        ("oci image", oci.clone()),
        ("oci index", platforms(kind::OCI_INDEX, "pushed")),
        ("docker image", docker.clone()),
        ("docker list", platforms(kind::DOCKER_LIST, "pushed")),
        ("index of nothing", index(kind::OCI_INDEX, &[])),
        ("index of an index", index(kind::OCI_INDEX, &[("", platforms(kind::OCI_INDEX, "inner"))])),
        ("mixed index", index(kind::OCI_INDEX, &[("amd64", docker)])),
        ("artifact", artifact("application/vnd.example.thing", "an artifact", None)),
        ("artifact with a subject", artifact("application/vnd.example.thing", "attached", Some(&oci))),
        (
            "artifact with a missing subject",
            artifact("application/vnd.example.thing", "early", Some(&oci_image("later", "amd64"))),
        ),
    ];
    for (number, (name, manifest)) in table.into_iter().enumerate() {
        prepare(to, "pushed", &manifest).await?;
        to.ask(format!("push/{name}"), put_manifest("pushed", &format!("t{number}"), &manifest)).await?;
        to.ask(format!("push/{name}/again"), put_manifest("pushed", &format!("t{number}"), &manifest)).await?;
        let by_digest = put_manifest("pushed", manifest.digest(), &manifest);
        to.ask(format!("push/{name}/by digest"), by_digest).await?;
        let question = Question::get(format!("/v2/pushed/manifests/t{number}")).with("accept", manifest.media_type);
        to.ask(format!("push/{name}/read"), question).await?;
    }
    to.ask("push/tags", Question::get("/v2/pushed/tags/list")).await.map(drop)
}

async fn bad_manifests(to: &mut Interview) -> Result<()> {
    let image = oci_image("refused", "amd64");
    let text = image.content.bytes.clone();
    let oci = kind::OCI_IMAGE;
    to.ask("refuse/missing blobs", put("refused", "t", oci, text.clone())).await?;
    let list = platforms(kind::OCI_INDEX, "refused");
    to.ask("refuse/missing images", put_manifest("refused", "t", &list)).await?;
    let list = platforms(kind::DOCKER_LIST, "refused");
    to.ask("refuse/missing docker images", put_manifest("refused", "t", &list)).await?;
    prepare(to, "refused", &image).await?;
    let wrong_size = Blob::of(String::from_utf8_lossy(&text).replace("40000", "40001"));
    let layer = &image.blobs[1].digest;
    let config = &image.blobs[0];
    let table: Vec<(&str, Question)> = vec![
        ("empty", put("refused", "t", oci, "")),
        ("no json", put("refused", "t", oci, "hello")),
        ("half json", put("refused", "t", oci, text.slice(..text.len() / 2))),
        ("a list", put("refused", "t", oci, "[]")),
        ("an empty object", put("refused", "t", oci, "{}")),
        ("null", put("refused", "t", oci, "null")),
        ("no UTF-8", put("refused", "t", oci, vec![0xff, 0xfe])),
        ("another digest", put("refused", UNKNOWN, oci, text.clone())),
        ("another algorithm", put("refused", &format!("sha512:{}", "ab".repeat(64)), oci, text.clone())),
        ("malformed digest", put("refused", "sha256:xyz", oci, text.clone())),
        ("malformed tag", put("refused", ".hidden", oci, text.clone())),
        ("tag with a plus", put("refused", "v1+2", oci, text.clone())),
        ("long tag", put("refused", &"x".repeat(129), oci, text.clone())),
        ("malformed name", put("Refused", "t", oci, text.clone())),
        ("type of an index", put("refused", "t", kind::OCI_INDEX, text.clone())),
        ("type of docker", put("refused", "t", kind::DOCKER_IMAGE, text.clone())),
        ("unknown type", put("refused", "t", "application/vnd.example.unknown", text.clone())),
        ("type with a parameter", put("refused", "parameter", &format!("{oci}; charset=utf-8"), text.clone())),
        ("json type", put("refused", "t", "application/json", text.clone())),
        ("malformed type", put("refused", "t", "application", text.clone())),
        ("no type", Question::new("PUT", "/v2/refused/manifests/t").body(text.clone())),
        ("schema version 1", put("refused", "t", oci, "{\"schemaVersion\":1}")),
        ("schema version 3", put("refused", "t", oci, String::from_utf8_lossy(&text).replace(":2,", ":3,"))),
        ("wrong size of a layer", put("refused", "wrong-size", oci, wrong_size.bytes)),
        (
            "malformed digest of a layer",
            put("refused", "t", oci, String::from_utf8_lossy(&text).replace(layer.as_str(), "sha256:xyz")),
        ),
        (
            "no config",
            put("refused", "t", oci, json!({"schemaVersion": 2, "mediaType": oci, "layers": []}).to_string()),
        ),
        (
            "image and index at once",
            put(
                "refused",
                "t",
                oci,
                json!({
                    "schemaVersion": 2,
                    "mediaType": oci,
                    "config": {"mediaType": "x/y", "digest": config.digest, "size": config.bytes.len()},
                    "layers": [],
                    "manifests": [],
                })
                .to_string(),
            ),
        ),
        // By little: the rest of a body that nobody reads can end the connection before the answer.
        ("too large", put("refused", "t", oci, json!({"a": "x".repeat(4 << 20)}).to_string())),
    ];
    for (name, question) in table {
        to.ask(format!("refuse/{name}"), question).await?;
    }
    let schema1 = json!({"schemaVersion": 1, "name": "refused", "tag": "t", "fsLayers": [], "history": []});
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ] {
        let name = media_type.rsplit('+').next().unwrap_or_default();
        to.ask(format!("refuse/schema 1 {name}"), put("refused", "t", media_type, schema1.to_string())).await?;
    }
    to.ask("refuse/tags", Question::get("/v2/refused/tags/list")).await.map(drop)
}

/// Manifests of images that are allowed and rare.
async fn odd_manifests(to: &mut Interview) -> Result<()> {
    let base = oci_image("odd", "amd64");
    prepare(to, "odd", &base).await?;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&base.content.bytes).unwrap_or_default();
        change(&mut value);
        value.to_string()
    };
    let foreign = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": UNKNOWN,
        "size": 7,
        "urls": ["https://example.com/layer"],
    });
    let table = [
        ("no layers", with(&|value| value["layers"] = json!([]))),
        ("no media type", with(&|value| drop(value.as_object_mut().and_then(|map| map.remove("mediaType"))))),
        ("foreign layer", with(&|value| value["layers"] = json!([foreign]))),
        ("data in a descriptor", with(&|value| value["config"]["data"] = json!("e30="))),
        ("the same layer twice", with(&|value| value["layers"] = json!([value["layers"][0], value["layers"][0]]))),
        ("spaces", format!("  {}\n", with(&|_| {}))),
        ("a key twice", with(&|_| {}).replacen('{', "{\"schemaVersion\":2,", 1)),
    ];
    for (number, (name, text)) in table.into_iter().enumerate() {
        to.ask(format!("odd/{name}"), put("odd", &format!("t{number}"), kind::OCI_IMAGE, text)).await?;
        let question = Question::get(format!("/v2/odd/manifests/t{number}")).with("accept", kind::OCI_IMAGE);
        to.ask(format!("odd/{name}/read"), question).await?;
    }
    Ok(())
}

async fn references(to: &mut Interview) -> Result<()> {
    let image = oci_image("referenced", "amd64");
    prepare(to, "referenced", &image).await?;
    let by_digest = format!("/v2/referenced/manifests/{}?tag=one&tag=two", image.digest());
    let question = Question::new("PUT", by_digest).with("content-type", image.media_type);
    to.ask("references/tags as a query", question.body(image.content.bytes.clone())).await?;
    to.ask("references/tags as a query/list", Question::get("/v2/referenced/tags/list")).await?;
    to.ask("references/longest tag", put_manifest("referenced", &"x".repeat(128), &image)).await?;
    to.ask("references/tag of digits", put_manifest("referenced", "0", &image)).await?;
    to.ask("references/tag with an underscore", put_manifest("referenced", "_", &image)).await?;
    let question = put_manifest("referenced", "forwarded", &image);
    let question = question.with("x-forwarded-proto", "https").with("x-forwarded-host", "registry.example.com");
    to.ask("references/forwarded", question).await.map(drop)
}

async fn delete_manifests(to: &mut Interview) -> Result<()> {
    let (one, two) = (oci_image("deleted 1", "amd64"), oci_image("deleted 2", "amd64"));
    push::image(to.server, "deleted", "a", &one).await?;
    push::image(to.server, "deleted", "b", &one).await?;
    push::image(to.server, "deleted", "c", &two).await?;
    let delete = |reference: &str| Question::new("DELETE", format!("/v2/deleted/manifests/{reference}"));
    let read =
        |reference: &str| Question::get(format!("/v2/deleted/manifests/{reference}")).with("accept", kind::OCI_IMAGE);
    let table = [
        ("tag", delete("a")),
        ("tag/read", read("a")),
        ("tag/the digest stays", read(one.digest())),
        ("tag/the other tag stays", read("b")),
        ("tag again", delete("a")),
        ("unknown tag", delete("none")),
        ("malformed tag", delete(".hidden")),
        ("digest", delete(one.digest())),
        ("digest/read", read(one.digest())),
        ("digest/its tag is gone", read("b")),
        ("digest again", delete(one.digest())),
        ("unknown digest", delete(UNKNOWN)),
        ("malformed digest", delete("sha256:xyz")),
        ("tags", Question::get("/v2/deleted/tags/list")),
        ("of an unknown repository", Question::new("DELETE", "/v2/no/such/manifests/v1")),
        ("of an unknown repository by digest", Question::new("DELETE", format!("/v2/no/such/manifests/{UNKNOWN}"))),
        ("last tag", delete("c")),
        ("no tags", Question::get("/v2/deleted/tags/list")),
        ("digest of no tag", delete(two.digest())),
        ("catalog", Question::get("/v2/_catalog?n=1000")),
    ];
    for (name, question) in table {
        to.ask(format!("delete/{name}"), question).await?;
    }
    Ok(())
}

async fn delete_blobs(to: &mut Interview) -> Result<()> {
    let blob = Blob::random("deleted blob", 100);
    push::blob(to.server, "deleted", &blob).await?;
    let delete = |repository: &str, digest: &str| Question::new("DELETE", format!("/v2/{repository}/blobs/{digest}"));
    let table = [
        ("one", delete("deleted", &blob.digest)),
        ("one/read", Question::get(format!("/v2/deleted/blobs/{}", blob.digest))),
        ("one again", delete("deleted", &blob.digest)),
        ("unknown", delete("deleted", UNKNOWN)),
        ("malformed digest", delete("deleted", "sha256:xyz")),
        ("of an unknown repository", delete("no/such", UNKNOWN)),
        ("of another repository", delete("deleted", &subject().blobs[1].digest)),
    ];
    for (name, question) in table {
        to.ask(format!("delete blob/{name}"), question).await?;
    }
    Ok(())
}
