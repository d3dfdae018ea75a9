//! Pushes as clients do, over the API alone.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use crate::content::{Blob, Manifest};
use crate::http::{Answer, Question, ask};

/// Asks, and insists on a status.
pub(crate) async fn expect(server: SocketAddr, question: &Question, status: u16) -> Result<Answer> {
    let answer = ask(server, question).await?;
    let Question { method, target, .. } = question;
    ensure!(
        answer.status == status,
        "{method} {target} of {server}: {}, not {status}: {}",
        answer.status,
        answer.text()
    );
    Ok(answer)
}

/// Begins an upload, and gives the path and query where it goes on.
pub(crate) async fn begin(server: SocketAddr, repository: &str) -> Result<String> {
    let question = Question::new("POST", format!("/v2/{repository}/blobs/uploads/"));
    location(&expect(server, &question, 202).await?)
}

/// The path and query that an answer leads to.
pub(crate) fn location(answer: &Answer) -> Result<String> {
    let location = answer.header("location").context("no Location")?;
    let uri: hyper::Uri = location.parse().with_context(|| format!("Location {location}"))?;
    Ok(uri.path_and_query().map_or("/", |target| target.as_str()).to_owned())
}

/// A location with another parameter.
pub(crate) fn with_parameter(location: &str, parameter: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}{parameter}")
}

/// Sends a chunk that begins at `offset`, and gives the path and query where the upload goes on.
pub(crate) async fn append(server: SocketAddr, location_: &str, offset: usize, chunk: &[u8]) -> Result<String> {
    let question = Question::new("PATCH", location_)
        .with("content-type", "application/octet-stream")
        .with("content-range", format!("{offset}-{}", offset + chunk.len() - 1))
        .body(chunk.to_vec());
    location(&expect(server, &question, 202).await?)
}

/// Ends an upload with its last bytes.
pub(crate) async fn finish(server: SocketAddr, location: &str, blob: &Blob, rest: &[u8]) -> Result<Answer> {
    let target = with_parameter(location, &format!("digest={}", blob.digest));
    let question = Question::new("PUT", target).with("content-type", "application/octet-stream").body(rest.to_vec());
    expect(server, &question, 201).await
}

/// Pushes a blob with POST and PUT.
pub(crate) async fn blob(server: SocketAddr, repository: &str, blob: &Blob) -> Result<()> {
    finish(server, &begin(server, repository).await?, blob, &blob.bytes).await.map(drop)
}

/// Pushes a blob as most clients do: POST, PATCH without a range, PUT without content.
pub(crate) async fn streamed(server: SocketAddr, repository: &str, blob: &Blob) -> Result<()> {
    let begun = begin(server, repository).await?;
    let question = Question::new("PATCH", begun).with("content-type", "application/octet-stream");
    let sent = location(&expect(server, &question.body(blob.bytes.clone()), 202).await?)?;
    finish(server, &sent, blob, b"").await.map(drop)
}

/// Makes a blob of one repository one of another's too.
pub(crate) async fn mount(server: SocketAddr, from: &str, to: &str, blob: &Blob) -> Result<()> {
    let target = format!("/v2/{to}/blobs/uploads/?mount={}&from={}", blob.digest, from.replace('/', "%2F"));
    expect(server, &Question::new("POST", target), 201).await.map(drop)
}

/// Pushes a manifest alone, to a tag or by its digest.
pub(crate) async fn put(server: SocketAddr, repository: &str, reference: &str, manifest: &Manifest) -> Result<()> {
    let question = Question::new("PUT", format!("/v2/{repository}/manifests/{reference}"))
        .with("content-type", manifest.media_type)
        .body(manifest.content.bytes.clone());
    expect(server, &question, 201).await.map(drop)
}

/// Pushes a manifest and everything that it refers to; what it contains without tags.
pub(crate) async fn image(server: SocketAddr, repository: &str, reference: &str, manifest: &Manifest) -> Result<()> {
    for content in &manifest.blobs {
        blob(server, repository, content).await?;
    }
    for child in &manifest.children {
        Box::pin(image(server, repository, child.digest(), child)).await?;
    }
    put(server, repository, reference, manifest).await
}
