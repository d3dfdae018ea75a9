//! What only some registries take: schema 1, content by SHA-384 and SHA-512, tags that are deleted alone.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::Value;

use crate::content::{Blob, Manifest, artifact, kind, oci_image, sha384, sha512};
use crate::fill::Filled;
use crate::http::{Answer, Question};
use crate::push;

/// The media type of a signed schema 1 manifest.
pub(crate) const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// A signed schema 1 manifest, the text in it that is signed, and its layers.
const SIGNED: &[u8] = include_bytes!("../../../registry/tests/data/schema1/es256.json");
const PAYLOAD: &[u8] = include_bytes!("../../../registry/tests/data/schema1/payload.json");
const LAYERS: [&str; 2] = ["layer one", "layer two"];

/// What a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Takes {
    /// Schema 1 manifests, signed.
    pub(crate) schema1: bool,
    /// The deletion of a tag alone.
    pub(crate) tag_deletion: bool,
    /// Manifests by their SHA-384 and SHA-512; blobs by them are taken by all.
    pub(crate) manifests_by_other_sums: bool,
}

/// Fills a registry with what it takes of these, under names of `who`.
pub(crate) async fn fill(server: SocketAddr, filled: &mut Filled, who: &str, takes: Takes) -> Result<()> {
    if takes.schema1 {
        schema1(server, filled, who).await?;
    }
    if takes.tag_deletion {
        let image = oci_image(&format!("of {who} with two tags"), "amd64");
        for tag in ["stays", "goes"] {
            filled.image(server, &format!("tags/of-{who}"), tag, &image).await?;
        }
        let question = Question::new("DELETE", format!("/v2/tags/of-{who}/manifests/goes"));
        push::expect(server, &question, 202).await?;
    }
    for sum in [sha384, sha512] {
        by_sum(server, filled, who, sum, takes.manifests_by_other_sums).await?;
    }
    Ok(())
}

async fn schema1(server: SocketAddr, filled: &mut Filled, who: &str) -> Result<()> {
    let repository = format!("old/of-{who}");
    for layer in LAYERS {
        let blob = Blob::of(layer);
        push::blob(server, &repository, &blob).await?;
        filled.blobs.push((repository.clone(), blob.digest));
    }
    let question = Question::new("PUT", format!("/v2/{repository}/manifests/v1"));
    push::expect(server, &question.with("content-type", SCHEMA1).body(SIGNED), 201).await?;
    filled.tags.push((repository.clone(), "v1".to_owned()));
    filled.manifests.push((repository, Blob::of(PAYLOAD).digest));
    Ok(())
}

/// A blob and an image of it by a sum, and, where that is taken, a manifest by it, and an artifact for that.
async fn by_sum(
    server: SocketAddr,
    filled: &mut Filled,
    who: &str,
    sum: fn(&[u8]) -> String,
    manifests: bool,
) -> Result<()> {
    let repository = format!("sums/of-{who}");
    let algorithm = sum(b"").split(':').next().unwrap_or_default().to_owned();
    let layer = Blob::random(&format!("by {algorithm} to {who}"), 50_000);
    let layer = Blob { digest: sum(&layer.bytes), ..layer };
    let image = oci_image(&format!("by {algorithm} to {who}"), "amd64");
    let text = String::from_utf8_lossy(&image.content.bytes).replace(&image.blobs[1].digest, &layer.digest);
    let mut image = Manifest { content: Blob::of(text.replace("40000", "50000")), ..image };
    image.blobs[1] = layer;
    filled.image(server, &repository, &format!("layer-{algorithm}"), &image).await?;
    if manifests {
        let whole = oci_image(&format!("manifest by {algorithm} to {who}"), "amd64");
        let digest = sum(&whole.content.bytes);
        let whole = Manifest { content: Blob { digest, ..whole.content }, ..whole };
        filled.image(server, &repository, whole.digest(), &whole).await?;
        let attached = artifact("application/vnd.example.note", who, Some(&whole));
        filled.image(server, &repository, &format!("attached-{algorithm}"), &attached).await?;
    }
    Ok(())
}

/// Gives another repository what was pushed to one by other sums than SHA-256. Not for Distribution, which answers 201 and
/// does not find such a blob afterwards.
pub(crate) async fn mount_other_sums(server: SocketAddr, filled: &mut Filled, from: &str, to: &str) -> Result<()> {
    let (from, to) = (format!("sums/of-{from}"), format!("sums/of-{to}"));
    let of_it = |(name, digest): &&(String, String)| *name == from && !digest.starts_with("sha256:");
    let digests: Vec<String> = filled.blobs.iter().filter(of_it).map(|(_, digest)| digest.clone()).collect();
    for digest in digests {
        let blob = Blob { digest, ..Blob::of("") };
        push::mount(server, &from, &to, &blob).await?;
        filled.blobs.push((to.clone(), blob.digest));
    }
    Ok(())
}

/// Deletes what was pushed by other sums than SHA-256 to Distribution: its own collector stops at the two links that it
/// writes for one blob, or deletes the blob although an image refers to it.
pub(crate) async fn give_up_other_sums(server: SocketAddr, filled: &mut Filled, of: &[&str]) -> Result<()> {
    for who in of {
        let repository = format!("sums/of-{who}");
        let delete = |what: &str, digest: &str| Question::new("DELETE", format!("/v2/{repository}/{what}/{digest}"));
        let of_it = |(name, _): &&(String, String)| *name == repository;
        for (_, digest) in filled.manifests.iter().filter(of_it) {
            push::expect(server, &delete("manifests", digest), 202).await?;
        }
        for (_, digest) in filled.blobs.iter().filter(of_it).filter(|(_, digest)| !digest.starts_with("sha256:")) {
            push::expect(server, &delete("blobs", digest), 202).await?;
        }
        filled.tags.retain(|(name, _)| *name != repository);
    }
    Ok(())
}

/// A schema 1 manifest is signed anew, with the same key, each time it is served: what stays the same is the text that is
/// signed and the key.
pub(crate) fn without_signature(answer: Answer) -> Answer {
    if answer.header("content-type").as_deref() != Some(SCHEMA1) {
        return answer;
    }
    let headers = answer.headers.into_iter().filter(|(name, _)| name != "content-length").collect();
    let mut value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let keys: Vec<Value> =
        value["signatures"].as_array().into_iter().flatten().map(|one| one["header"].clone()).collect();
    if let Some(signatures) = value.get_mut("signatures") {
        *signatures = Value::Array(keys);
    }
    Answer { status: answer.status, headers, body: value.to_string().into() }
}

/// Every kind of manifest, for a client that takes them all.
pub(crate) const KINDS: [&str; 5] = [kind::OCI_IMAGE, kind::OCI_INDEX, kind::DOCKER_IMAGE, kind::DOCKER_LIST, SCHEMA1];
