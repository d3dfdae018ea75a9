//! What is done between two swaps, and what must be there after one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::content::{Blob, artifact, kind, oci_image};
use crate::fill::{Filled, Unfinished, platforms, subject};
use crate::http::Question;
use crate::interview::Exchange;
use crate::oddities::{self, Takes};
use crate::push;

/// What comes after a swap: uploads go on, or begin again where that cannot be; images come and go, a tag moves, new
/// uploads begin.
pub(super) async fn work(
    server: SocketAddr,
    filled: &mut Filled,
    who: &str,
    takes: Takes,
    goes_on: bool,
) -> Result<()> {
    oddities::fill(server, filled, who, takes).await?;
    for upload in std::mem::take(&mut filled.unfinished) {
        match goes_on {
            true => go_on(server, &upload).await?,
            false => begin_again(server, &upload).await?,
        }
        filled.blobs.push((upload.repository, upload.blob.digest));
    }
    let new = oci_image(&format!("pushed to {who}"), "amd64");
    filled.image(server, "library/app", "latest", &new).await?;
    filled.image(server, "library/app", &format!("of-{who}"), &new).await?;
    filled.image(server, &format!("new/of-{who}"), "index", &platforms(kind::OCI_INDEX, who)).await?;
    let attached = artifact("application/vnd.example.note", who, Some(&subject()));
    filled.image(server, "library/app", attached.digest(), &attached).await?;
    for blob in &subject().blobs[..1] {
        push::mount(server, "library/app", &format!("new/of-{who}"), blob).await?;
        filled.blobs.push((format!("new/of-{who}"), blob.digest.clone()));
    }
    let gone = oci_image(&format!("pushed to {who} and deleted"), "amd64");
    filled.image(server, "cleaned", &format!("gone-of-{who}"), &gone).await?;
    for target in [format!("manifests/{}", gone.digest()), format!("blobs/{}", gone.blobs[1].digest)] {
        push::expect(server, &Question::new("DELETE", format!("/v2/cleaned/{target}")), 202).await?;
    }
    let begun = Blob::random(&format!("begun by {who}"), 200_000);
    filled.begin(server, "library/app", begun, &[70_000, 140_000]).await?;
    filled.begin(server, "ab", Blob::random(&format!("not begun by {who}"), 100), &[]).await
}

/// Goes on with an upload that another server began, from where that one says it is.
async fn go_on(server: SocketAddr, upload: &Unfinished) -> Result<()> {
    let Unfinished { repository, location, blob, offset } = upload;
    let status = push::expect(server, &Question::get(location.clone()), 204).await?;
    let range = status.header("range");
    let expected = format!("0-{}", offset.saturating_sub(1));
    ensure!(range.as_deref() == Some(&expected), "the upload in {repository} is at {range:?}, not {expected}");
    let middle = offset + (blob.bytes.len() - offset) / 2;
    let location = push::append(server, location, *offset, &blob.bytes[*offset..middle]).await?;
    push::finish(server, &location, blob, &blob.bytes[middle..]).await.map(drop)
}

/// What a client does where its upload cannot go on: it begins again. Distribution finds the session that Berth has left,
/// misses the multipart upload that it would have made, and takes that for an error of its own.
async fn begin_again(server: SocketAddr, upload: &Unfinished) -> Result<()> {
    let Unfinished { repository, location, blob, offset } = upload;
    let question = Question::new("PATCH", location.clone()).body(blob.bytes.slice(*offset..));
    let refused = push::expect(server, &question, 500).await?;
    ensure!(refused.text().contains("Path not found"), "{repository}: {}", refused.text());
    push::blob(server, repository, blob).await
}

/// Whether everything that says something about a manifest is listed for it, whoever took it.
pub(super) async fn ensure_referrers(server: SocketAddr, filled: &Filled) -> Result<()> {
    let mut wanted: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (repository, subject, digest) in &filled.referrers {
        wanted.entry((repository, subject)).or_default().insert(digest);
    }
    for ((repository, subject), wanted) in wanted {
        let question = Question::get(format!("/v2/{repository}/referrers/{subject}"));
        let answer = push::expect(server, &question, 200).await?;
        let index: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let found = index["manifests"].as_array().into_iter().flatten().filter_map(|entry| entry["digest"].as_str());
        let found: BTreeSet<&str> = found.collect();
        ensure!(found == wanted, "{repository}@{subject}: {found:?} refer to it, not {wanted:?}");
    }
    Ok(())
}

/// Whether all tags are there that nobody deleted.
pub(super) fn ensure_served(filled: &Filled, exchanges: &[Exchange]) -> Result<()> {
    for (repository, tag) in filled
        .tags
        .iter()
        .filter(|(repository, tag)| repository != "cleaned" && repository != "emptied" && tag != "goes")
    {
        let name = format!("GET /v2/{repository}/manifests/{tag}");
        let exchange = exchanges.iter().find(|exchange| exchange.name == name);
        let status = exchange.map(|exchange| exchange.answer.status.as_u16());
        ensure!(status == Some(200), "{name}: {status:?}");
    }
    Ok(())
}
