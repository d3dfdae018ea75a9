//! One server ends and another starts on the same directory, configuration and variables, and nothing is lost.
//!
//! CNCF Distribution fills the directory; Berth takes over, serves the same, goes on with uploads, takes pushes and
//! deletions; then Distribution takes over again, serves the same, and so on. Both collect garbage of what the other
//! wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::compile::repository;
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::run;

use crate::content::{Blob, artifact, kind, oci_image};
use crate::fill::{Filled, Unfinished, fill, platforms, subject};
use crate::http::Question;
use crate::interview::{Difference, Exchange, differences};
use crate::known::{Case, Change, Known, Source, review, rows};
use crate::lab::lab;
use crate::oddities::{self, Takes};
use crate::push;
use crate::report;
use crate::survey::survey;

const BERTH: Takes = Takes { schema1: true, tag_deletion: true, manifests_by_other_sums: true };
const DISTRIBUTION_3: Takes = Takes { schema1: false, tag_deletion: true, manifests_by_other_sums: false };
/// Tags alone cannot be deleted there.
const DOCKER_REGISTRY_2: Takes = Takes { schema1: true, tag_deletion: false, manifests_by_other_sums: false };

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

/// Blobs that Distribution took by another sum than SHA-256 are known there by that as well.
const BY_OTHER_SUMS: Known = Known {
    reason: "A blob has the digest that it was pushed and is asked for by.",
    sources: &[Source::Draft("Pulling blobs: Docker-Content-Digest"), Source::Rfc(9110, "8.8.3: ETag")],
    cases: &[
        Case {
            questions: &[
                "* /v2/sums/of-nobody/blobs/sha384:*",
                "* /v2/sums/of-other/blobs/sha384:*",
                "* /v2/sums/of-mounts/blobs/sha384:*",
            ],
            changes: &[
                Change::Header("docker-content-digest", "sha256:*", "sha384:*"),
                Change::Header("etag", "\"sha256:*\"", "\"sha384:*\""),
            ],
        },
        Case {
            questions: &[
                "* /v2/sums/of-nobody/blobs/sha512:*",
                "* /v2/sums/of-other/blobs/sha512:*",
                "* /v2/sums/of-mounts/blobs/sha512:*",
            ],
            changes: &[
                Change::Header("docker-content-digest", "sha256:*", "sha512:*"),
                Change::Header("etag", "\"sha256:*\"", "\"sha512:*\""),
            ],
        },
    ],
};

/// What differs from Distribution 3.
const LIST_3: &[Known] = &[
    EMPTIED,
    BY_OTHER_SUMS,
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
    BY_OTHER_SUMS,
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
    swap(&lab().distribution_3, DISTRIBUTION_3, LIST_3).await?;
    report::section("swap-3", &rows(LIST_3))
}

#[tokio::test]
async fn berth_takes_the_place_of_docker_registry_2_and_gives_it_back() -> Result<()> {
    swap(&lab().distribution_2, DOCKER_REGISTRY_2, LIST_2).await?;
    report::section("swap-2", &rows(LIST_2))
}

/// A configuration as an installation has it, much of it in the environment; nothing in it is changed between the servers.
fn setup(directory: &Path, takes: Takes) -> Setup {
    let schema1 = match takes.schema1 {
        true => format!("compatibility: {{schema1: {{enabled: false, signingkeyfile: {}}}}}\n", trust_key().display()),
        false => String::new(),
    };
    let config = format!(
        "{schema1}version: 0.1\n\
         log:\n  fields: {{service: registry}}\n  accesslog: {{disabled: true}}\n\
         storage:\n  cache: {{blobdescriptor: inmemory}}\n  filesystem: {{rootdirectory: {}}}\n\
         http:\n  addr: :5000\n  secret: another one\n  \
         headers: {{X-Content-Type-Options: [nosniff]}}\n\
         health:\n  storagedriver: {{enabled: true, interval: 10s, threshold: 3}}\n",
        directory.join("not-here").display()
    );
    let data = directory.join("data").display().to_string();
    let mut env = vec![
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &data),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING", "{enabled: true, age: 168h, interval: 24h, dryrun: false}"),
        ("REGISTRY_HTTP_SECRET", "kept by whoever runs this"),
        ("REGISTRY_HTTP_HEADERS_X-Example", "[of the environment]"),
        ("REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD", "5"),
        ("REGISTRY_LOG_LEVEL", "info"),
        ("REGISTRY_LOG_FIELDS_ENVIRONMENT", "swap"),
    ];
    if takes.schema1 {
        env.push(("REGISTRY_COMPATIBILITY_SCHEMA1_ENABLED", "true"));
    }
    let env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Setup { config, env, ..Setup::filesystem(directory, &directory.join("data")) }
}

/// The key that schema 1 manifests are signed with.
fn trust_key() -> PathBuf {
    repository().join("registry/tests/data/schema1/trustkey.json")
}

async fn swap(other: &Program, takes: Takes, list: &[Known]) -> Result<()> {
    let berth = &lab().berth;
    let temp = tempfile::tempdir()?;
    let setup = setup(temp.path(), takes);
    let berth_takes = Takes { schema1: takes.schema1, ..BERTH };
    let mut found = Vec::new();

    let server = Peer::start(other, &setup)?;
    let mut filled = fill(server.address()).await.context("fill the registry")?;
    oddities::fill(server.address(), &mut filled, "nobody", takes).await.context("fill the registry with oddities")?;
    let theirs = survey(server.address(), &filled).await?;
    server.stop()?;

    let server = Peer::start(berth, &setup)?;
    let ours = survey(server.address(), &filled).await?;
    found.extend(compare("Berth on what the other wrote", &theirs, &ours)?);
    ensure_referrers(server.address(), &filled).await?;
    work(server.address(), &mut filled, "berth", berth_takes).await.context("work on Berth")?;
    oddities::mount_other_sums(server.address(), &mut filled, "nobody", "mounts").await.context("mount on Berth")?;
    ensure_referrers(server.address(), &filled).await?;
    let ours = survey(server.address(), &filled).await?;
    server.stop()?;

    let server = Peer::start(other, &setup)?;
    let theirs = survey(server.address(), &filled).await?;
    found.extend(compare("the other on what Berth wrote", &theirs, &ours)?);
    work(server.address(), &mut filled, "other", takes).await.context("work on the other")?;
    let theirs = survey(server.address(), &filled).await?;
    server.stop()?;

    let server = Peer::start(berth, &setup)?;
    let ours = survey(server.address(), &filled).await?;
    found.extend(compare("Berth on what both wrote", &theirs, &ours)?);
    ensure_referrers(server.address(), &filled).await?;
    server.stop()?;

    for collector in [berth, other] {
        if collector == other {
            let server = Peer::start(berth, &setup)?;
            oddities::give_up_other_sums(server.address(), &mut filled, &["nobody", "other", "mounts"]).await?;
            server.stop()?;
        }
        collect(collector, &setup)?;
        let server = Peer::start(other, &setup)?;
        let theirs = survey(server.address(), &filled).await?;
        server.stop()?;
        let server = Peer::start(berth, &setup)?;
        let ours = survey(server.address(), &filled).await?;
        let what = format!("both after a collection by {}", collector.name);
        found.extend(compare(&what, &theirs, &ours)?);
        ensure_served(&filled, &ours).with_context(|| what.clone())?;
        ensure_referrers(server.address(), &filled).await.context(what)?;
        server.stop()?;
    }
    ensure!(!temp.path().join("not-here").exists(), "the variable did not take the place of what the file says");
    let complaints = review(list, &found);
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

fn compare(what: &str, theirs: &[Exchange], ours: &[Exchange]) -> Result<Vec<Difference>> {
    differences(theirs, ours).with_context(|| what.to_owned())
}

/// What comes after a swap: uploads go on, images come and go, a tag moves, new uploads begin.
async fn work(server: SocketAddr, filled: &mut Filled, who: &str, takes: Takes) -> Result<()> {
    oddities::fill(server, filled, who, takes).await?;
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

/// Whether everything that says something about a manifest is listed for it, whoever took it.
async fn ensure_referrers(server: SocketAddr, filled: &Filled) -> Result<()> {
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
fn ensure_served(filled: &Filled, exchanges: &[Exchange]) -> Result<()> {
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
