//! One server ends and another starts on the same directory, configuration and variables, and nothing is lost.
//!
//! CNCF Distribution fills the directory; Berth takes over, serves the same, goes on with uploads, takes pushes and
//! deletions; then Distribution takes over again, serves the same, and so on. Both collect garbage of what the other
//! wrote.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::run;

use crate::content::{Blob, artifact, kind, oci_image};
use crate::fill::{Filled, Unfinished, fill, platforms, subject};
use crate::http::Question;
use crate::interview::{Difference, Exchange, differences};
use crate::known::{Case, Change, Known, Source, review, rows};
use crate::lab::lab;
use crate::push;
use crate::report;
use crate::survey::survey;

/// Repositories differ that have nothing left.
const EMPTIED: Known = Known {
    reason: "A repository that has nothing left is not listed, and unknown.",
    sources: &[Source::Oci("Endpoints: end-8a, 404")],
    cases: &[
        Case { questions: &["catalog"], changes: &[Change::Body("*\"cleaned\",\"emptied\",*", "*\"cleaned\",*")] },
        Case {
            questions: &["tags of emptied"],
            changes: &[
                Change::Status("200", "404"),
                Change::Body(
                    "{\"name\":\"emptied\",\"tags\":*} (application/json*nosniff)",
                    "NAME_UNKNOWN (application/json, nosniff)",
                ),
            ],
        },
    ],
};

/// What differs from Distribution 3.
const LIST_3: &[Known] = &[
    EMPTIED,
    Known {
        reason: "The detail has the fields that Docker Registry 2.8 gives, which a script can read.",
        sources: &[Source::Oci("Error Codes: the detail may be any JSON with information that the client can use")],
        cases: &[
            Case {
                questions: &["GET /v2/*/manifests/*"],
                changes: &[Change::Detail("\"unknown tag=*\"", "{\"Tag\":\"*\"}")],
            },
            Case {
                questions: &["GET /v2/*/manifests/sha*"],
                changes: &[Change::Detail("\"unknown manifest name=*\"", "{\"Name\":\"*\",\"Revision\":\"*\"}")],
            },
        ],
    },
];
/// What differs from Docker Registry 2.8.
const LIST_2: &[Known] = &[
    EMPTIED,
    Known {
        reason: "The media type of JSON has no parameter, as that of Distribution 3.",
        sources: &[Source::Rfc(8259, "11: the media type has no parameters")],
        cases: &[Case {
            questions: &["*"],
            changes: &[Change::Header("content-type", "application/json; charset=utf-8", "application/json")],
        }],
    },
];

#[tokio::test]
async fn berth_takes_the_place_of_distribution_3_and_gives_it_back() -> Result<()> {
    swap(&lab().distribution_3, LIST_3).await?;
    report::section("swap-3", &rows(LIST_3))
}

#[tokio::test]
async fn berth_takes_the_place_of_docker_registry_2_and_gives_it_back() -> Result<()> {
    swap(&lab().distribution_2, LIST_2).await?;
    report::section("swap-2", &rows(LIST_2))
}

/// A configuration as an installation has it; nothing in it is changed between the servers.
fn setup(directory: &Path) -> Setup {
    let config = format!(
        "version: 0.1\n\
         log:\n  fields: {{service: registry}}\n  accesslog: {{disabled: true}}\n\
         storage:\n  cache: {{blobdescriptor: inmemory}}\n  filesystem: {{rootdirectory: {}}}\n\
         http:\n  addr: :5000\n  secret: kept by whoever runs this\n  \
         headers: {{X-Content-Type-Options: [nosniff]}}\n\
         health:\n  storagedriver: {{enabled: true, interval: 10s, threshold: 3}}\n",
        directory.join("data").display()
    );
    let env = [("REGISTRY_STORAGE_DELETE_ENABLED", "true"), ("REGISTRY_LOG_LEVEL", "info")];
    let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Setup { config, env, ..Setup::filesystem(directory, &directory.join("data")) }
}

async fn swap(other: &Program, list: &[Known]) -> Result<()> {
    let berth = &lab().berth;
    let temp = tempfile::tempdir()?;
    let setup = setup(temp.path());
    let mut found = Vec::new();

    let server = Peer::start(other, &setup)?;
    let mut filled = fill(server.address()).await.context("fill the registry")?;
    let theirs = survey(server.address(), &filled).await?;
    server.stop()?;

    let server = Peer::start(berth, &setup)?;
    let ours = survey(server.address(), &filled).await?;
    found.extend(compare("Berth on what the other wrote", &theirs, &ours)?);
    work(server.address(), &mut filled, "berth").await.context("work on Berth")?;
    let ours = survey(server.address(), &filled).await?;
    server.stop()?;

    let server = Peer::start(other, &setup)?;
    let theirs = survey(server.address(), &filled).await?;
    found.extend(compare("the other on what Berth wrote", &theirs, &ours)?);
    work(server.address(), &mut filled, "other").await.context("work on the other")?;
    server.stop()?;

    for collector in [other, berth] {
        collect(collector, &setup)?;
        let server = Peer::start(other, &setup)?;
        let theirs = survey(server.address(), &filled).await?;
        server.stop()?;
        let server = Peer::start(berth, &setup)?;
        let ours = survey(server.address(), &filled).await?;
        let what = format!("both after a collection by {}", collector.name);
        found.extend(compare(&what, &theirs, &ours)?);
        ensure_served(&filled, &ours).context(what)?;
        server.stop()?;
    }
    let complaints = review(list, &found);
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

fn compare(what: &str, theirs: &[Exchange], ours: &[Exchange]) -> Result<Vec<Difference>> {
    differences(theirs, ours).with_context(|| what.to_owned())
}

/// What comes after a swap: uploads go on, images come and go, a tag moves, new uploads begin.
async fn work(server: SocketAddr, filled: &mut Filled, who: &str) -> Result<()> {
    for upload in std::mem::take(&mut filled.unfinished) {
        go_on(server, &upload).await?;
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

/// Collects garbage of the stopped registry.
fn collect(program: &Program, setup: &Setup) -> Result<()> {
    let mut command = Command::new(&program.path);
    command.args(["garbage-collect"]).arg(setup.directory.join("config.yml"));
    command.env("OTEL_TRACES_EXPORTER", "none").envs(setup.env.iter().map(|(key, value)| (key, value)));
    run::checked(command).map(drop)
}

/// Whether all tags are there that nobody deleted.
fn ensure_served(filled: &Filled, exchanges: &[Exchange]) -> Result<()> {
    for (repository, tag) in
        filled.tags.iter().filter(|(repository, _)| repository != "cleaned" && repository != "emptied")
    {
        let name = format!("GET /v2/{repository}/manifests/{tag}");
        let exchange = exchanges.iter().find(|exchange| exchange.name == name);
        let status = exchange.map(|exchange| exchange.answer.status.as_u16());
        ensure!(status == Some(200), "{name}: {status:?}");
    }
    Ok(())
}
