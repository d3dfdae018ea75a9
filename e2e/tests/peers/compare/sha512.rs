//! Content by SHA-512, which Distribution reads the digests of but does not keep.

use anyhow::Result;

use crate::content::{Blob, Manifest, kind, oci_image, sha512};
use crate::http::Question;
use crate::interview::Interview;
use crate::push;

pub(crate) async fn all(to: &mut Interview) -> Result<()> {
    let blob = Blob::random("a blob by sha512", 1_000);
    let digest = sha512(&blob.bytes);
    let by_it = Blob { digest: digest.clone(), bytes: blob.bytes.clone() };
    let put = |location: &str| {
        let question = Question::new("PUT", push::with_parameter(location, &format!("digest={digest}")));
        question.with("content-type", "application/octet-stream")
    };
    let begun = push::begin(to.server, "sums").await?;
    to.ask("sha512/blob", put(&begun).body(by_it.bytes.clone())).await?;
    to.ask("sha512/blob/status", Question::get(begun)).await?;
    let said = Question::new("POST", "/v2/sums/blobs/uploads/?digest-algorithm=sha512");
    to.ask("sha512/said at the beginning", said).await?;
    let whole = Question::new("POST", "/v2/sums/blobs/uploads/?digest-algorithm=md5");
    to.ask("sha512/another algorithm said at the beginning", whole).await?;
    for (name, digest) in [("read", &digest), ("read by sha256", &blob.digest)] {
        for method in ["GET", "HEAD"] {
            let question = Question::new(method, format!("/v2/sums/blobs/{digest}"));
            to.ask(format!("sha512/blob/{name}/{method}"), question).await?;
        }
    }

    let image = oci_image("by sha512", "amd64");
    for blob in &image.blobs {
        push::blob(to.server, "sums", blob).await?;
    }
    let digest = sha512(&image.content.bytes);
    let manifest = Question::new("PUT", format!("/v2/sums/manifests/{digest}"));
    let manifest = manifest.with("content-type", image.media_type).body(image.content.bytes.clone());
    to.ask("sha512/manifest", manifest).await?;
    for (name, reference) in [("read", digest.as_str()), ("read by sha256", image.digest())] {
        let question = Question::get(format!("/v2/sums/manifests/{reference}")).with("accept", kind::OCI_IMAGE);
        to.ask(format!("sha512/manifest/{name}"), question).await?;
    }
    let text = String::from_utf8_lossy(&image.content.bytes).replace(&image.blobs[1].digest, &by_it.digest);
    let manifest = Manifest { content: Blob::of(text.replace("40000", "1000")), ..image };
    let question = Question::new("PUT", "/v2/sums/manifests/layer");
    let question = question.with("content-type", manifest.media_type).body(manifest.content.bytes);
    to.ask("sha512/layer of an image", question).await.map(drop)
}
