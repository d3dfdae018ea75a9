//! How many requests the store gets for one of a client: from CNCF Distribution and from Berth, on one bucket.
//!
//! They are counted in front of the store. Nothing else asks it meanwhile: the checks of health and the removal of old
//! uploads are off. Each server is given content that the store has not seen.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::table::Table;
use berth_stores::Kind;
use hyper::body::Bytes;

use crate::content::{Blob, Manifest, image_of_layers};
use crate::http::{Question, ask};
use crate::lab::lab;
use crate::push::{self, expect};
use crate::report;
use crate::store::Store;

const LAYERS: usize = 10;
/// How often a read is asked for; what it costs is the most that one of them did.
const READS: usize = 10;
/// More than a server keeps in memory of a blob.
const LARGE_BYTES: usize = 3 << 20;

/// Requests to the store for one of a client. What is read has been read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Costs {
    /// An image of [`LAYERS`] layers, its configuration and its manifest.
    push: u64,
    /// Those of them that are listings.
    listings: u64,
    /// One blob.
    blob_push: u64,
    by_digest: u64,
    by_tag: u64,
    small_blob: u64,
    large_blob: u64,
    /// The same, where the client is sent to the store.
    redirect: u64,
}

impl Costs {
    fn rows(self) -> [(String, u64); 8] {
        let Self { push, listings, blob_push, by_digest, by_tag, small_blob, large_blob, redirect } = self;
        let rows = [
            ("push of ten layers, a configuration and a manifest", push),
            ("of these, listings", listings),
            ("push of one blob of one chunk: POST, PATCH, PUT", blob_push),
            ("manifest by digest, read before", by_digest),
            ("manifest by tag, read before", by_tag),
            ("blob of 50 kB, read before", small_blob),
            ("blob of 3 MiB, read before", large_blob),
            ("blob of 3 MiB, answered with a redirect", redirect),
        ];
        rows.map(|(what, count)| (what.to_owned(), count))
    }
}

/// What is wrong with what Berth asks beside what Distribution does.
fn complaints(theirs: Costs, ours: Costs) -> Vec<String> {
    let at_most = |what: &str, count: u64, limit: u64| {
        (count > limit).then(|| format!("{what}: {count} requests to the store, more than {limit}"))
    };
    [
        at_most("a push, which may be a quarter of Distribution's", ours.push, theirs.push / 4),
        at_most("a manifest by digest", ours.by_digest, 0),
        at_most("a manifest by tag", ours.by_tag, 1),
        at_most("a small blob", ours.small_blob, 1),
        at_most("a large blob", ours.large_blob, 1),
        at_most("a redirect", ours.redirect, 0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[tokio::test]
async fn the_store_is_asked_a_quarter_of_what_distribution_asks() -> Result<()> {
    let store = Store::start().await?;
    let lab = lab();
    let theirs = costs(&store, &lab.distribution_3).await.context("Distribution")?;
    let ours = costs(&store, &lab.berth).await.context("Berth")?;
    let mut table = Table::new(["REQUESTS TO THE STORE", "DISTRIBUTION 3.1.2", "BERTH"]);
    let mut lines = Vec::new();
    for ((what, theirs), (_, ours)) in theirs.rows().into_iter().zip(ours.rows()) {
        lines.push(format!("| {what} | {theirs} | {ours} |"));
        table.row([what, theirs.to_string(), ours.to_string()]);
    }
    eprintln!("{table}");
    let complaints = complaints(theirs, ours);
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    report::section_of("object-storage.md", "counts", &lines.join("\n"))
}

/// Counts what one of the servers asks.
async fn costs(store: &Store, program: &Program) -> Result<Costs> {
    let temp = tempfile::tempdir()?;
    let redirecting = Setup::s3(temp.path(), &store.bucket())
        .with("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "inmemory")
        .with("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING", "{enabled: false}")
        .with("REGISTRY_HEALTH_STORAGEDRIVER_ENABLED", "false");
    let setup = redirecting.clone().with("REGISTRY_STORAGE_REDIRECT_DISABLE", "true");
    let repository = format!("of/{}", program.name.to_lowercase());
    let image = image_of_layers(program.name, LAYERS);
    let large = Blob::random(program.name, LARGE_BYTES);

    let server = Peer::start(program, &setup)?;
    store.proxy.forget_counts();
    push_image(server.address(), &repository, &image).await?;
    // What it does behind its last answer counts as well.
    server.stop()?;
    let counts = store.proxy.counts();
    eprintln!("{}, push of {LAYERS} layers: {counts}", program.name);
    let (push, listings) = (counts.total(), counts.of_kind(Kind::Listing));

    let server = Peer::start(program, &setup)?;
    store.proxy.forget_counts();
    push::streamed(server.address(), &repository, &large).await?;
    server.stop()?;
    let counts = store.proxy.counts();
    eprintln!("{}, push of a blob: {counts}", program.name);
    let blob_push = counts.total();

    let manifest = |reference: &str| Question::get(format!("/v2/{repository}/manifests/{reference}"));
    let blob = |blob: &Blob| Question::get(format!("/v2/{repository}/blobs/{}", blob.digest));
    let server = Peer::start(program, &setup)?;
    let costs = Costs {
        push,
        listings,
        blob_push,
        by_digest: read(store, server.address(), &manifest(image.digest()), &image.content.bytes).await?,
        by_tag: read(store, server.address(), &manifest("v1"), &image.content.bytes).await?,
        small_blob: read(store, server.address(), &blob(&image.blobs[1]), &image.blobs[1].bytes).await?,
        large_blob: read(store, server.address(), &blob(&large), &large.bytes).await?,
        redirect: 0,
    };
    server.stop()?;

    let server = Peer::start(program, &redirecting)?;
    let redirect = redirect(store, server.address(), &blob(&large), &large.bytes).await?;
    server.stop()?;
    Ok(Costs { redirect, ..costs })
}

async fn push_image(server: SocketAddr, repository: &str, image: &Manifest) -> Result<()> {
    for blob in &image.blobs {
        push::streamed(server, repository, blob).await?;
    }
    push::put(server, repository, "v1", image).await
}

/// What reading something costs that has been read before.
async fn read(store: &Store, server: SocketAddr, question: &Question, content: &Bytes) -> Result<u64> {
    let question = question.clone().with("accept", crate::content::kind::OCI_IMAGE);
    expect(server, &question, 200).await?;
    let mut most = 0;
    for _ in 0..READS {
        store.proxy.forget_counts();
        let answer = expect(server, &question, 200).await?;
        most = most.max(store.proxy.counts().total());
        ensure!(answer.body == content, "{}: other content than was pushed", question.target);
    }
    Ok(most)
}

/// What sending a client to the store costs, which must find the content there.
async fn redirect(store: &Store, server: SocketAddr, question: &Question, content: &Bytes) -> Result<u64> {
    expect(server, question, 307).await?;
    let mut most = 0;
    for _ in 0..READS {
        store.proxy.forget_counts();
        let answer = expect(server, question, 307).await?;
        most = most.max(store.proxy.counts().total());
        let found = ask(store.proxy.address().into(), &Question::get(push::location(&answer)?)).await?;
        ensure!(found.body == content, "{}: {} at the store", question.target, found.status);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: Costs = Costs {
        push: 303,
        listings: 46,
        blob_push: 24,
        by_digest: 1,
        by_tag: 2,
        small_blob: 1,
        large_blob: 1,
        redirect: 1,
    };
    const OURS: Costs = Costs {
        push: 75,
        listings: 1,
        blob_push: 5,
        by_digest: 0,
        by_tag: 1,
        small_blob: 0,
        large_blob: 1,
        redirect: 0,
    };

    #[test]
    fn each_limit_is_kept_to() {
        assert_eq!(complaints(THEIRS, OURS), Vec::<String>::new());
        for (worse, said) in [
            (Costs { push: 76, ..OURS }, "quarter"),
            (Costs { by_digest: 1, ..OURS }, "by digest"),
            (Costs { by_tag: 2, ..OURS }, "by tag"),
            (Costs { small_blob: 2, ..OURS }, "small"),
            (Costs { large_blob: 2, ..OURS }, "large"),
            (Costs { redirect: 1, ..OURS }, "redirect"),
        ] {
            let complaints = complaints(THEIRS, worse);
            assert!(complaints.len() == 1 && complaints[0].contains(said), "{complaints:?}");
        }
    }
}
