//! One server ends and another starts on the same directory or bucket, configuration and variables, and nothing is lost.
//!
//! CNCF Distribution fills it; Berth takes over, serves the same, goes on with uploads, takes pushes and
//! deletions; then Distribution takes over again, serves the same, and so on. Both collect garbage of what the other
//! wrote.

mod list;
mod place;
mod work;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::run;

use crate::fill::fill;
use crate::interview::{Difference, Exchange, differences};
use crate::known::{Known, review, rows};
use crate::lab::lab;
use crate::oddities::{self, Takes};
use crate::report;
use crate::store::Store;
use crate::survey::survey;

use list::{LIST_2, LIST_3, LIST_S3};
use place::{NOT_HERE, Place};
use work::{ensure_referrers, ensure_served, work};

const BERTH: Takes = Takes { schema1: true, tag_deletion: true, manifests_by_other_sums: true };
const DISTRIBUTION_3: Takes = Takes { schema1: false, tag_deletion: true, manifests_by_other_sums: false };
/// Tags alone cannot be deleted there.
const DOCKER_REGISTRY_2: Takes = Takes { schema1: true, tag_deletion: false, manifests_by_other_sums: false };

#[tokio::test]
async fn berth_takes_the_place_of_distribution_3_and_gives_it_back() -> Result<()> {
    swap(&lab().distribution_3, DISTRIBUTION_3, &Place::Directory, LIST_3).await?;
    report::section("swap-3", &rows(LIST_3))
}

#[tokio::test]
async fn berth_takes_the_place_of_docker_registry_2_and_gives_it_back() -> Result<()> {
    swap(&lab().distribution_2, DOCKER_REGISTRY_2, &Place::Directory, LIST_2).await?;
    report::section("swap-2", &rows(LIST_2))
}

#[tokio::test]
async fn berth_takes_the_place_of_distribution_3_on_s3_and_gives_it_back() -> Result<()> {
    let store = Store::start().await?;
    swap(&lab().distribution_3, DISTRIBUTION_3, &Place::Bucket(store.bucket()), LIST_S3).await?;
    report::section("swap-s3", &rows(LIST_S3))
}

async fn swap(other: &Program, takes: Takes, place: &Place, list: &[Known]) -> Result<()> {
    let berth = &lab().berth;
    let temp = tempfile::tempdir()?;
    let setup = place::setup(temp.path(), takes, place);
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
    work(server.address(), &mut filled, "berth", berth_takes, true).await.context("work on Berth")?;
    oddities::mount_other_sums(server.address(), &mut filled, "nobody", "mounts").await.context("mount on Berth")?;
    ensure_referrers(server.address(), &filled).await?;
    let ours = survey(server.address(), &filled).await?;
    server.stop()?;

    let server = Peer::start(other, &setup)?;
    let theirs = survey(server.address(), &filled).await?;
    found.extend(compare("the other on what Berth wrote", &theirs, &ours)?);
    let goes_on = place.uploads_are_of_both();
    work(server.address(), &mut filled, "other", takes, goes_on).await.context("work on the other")?;
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
    // A bucket of that name does not exist, so nothing could have been kept there.
    ensure!(!temp.path().join(NOT_HERE).exists(), "the variable did not take the place of what the file says");
    let complaints = review(list, &found);
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

fn compare(what: &str, theirs: &[Exchange], ours: &[Exchange]) -> Result<Vec<Difference>> {
    differences(theirs, ours).with_context(|| what.to_owned())
}

/// Collects garbage of the stopped registry.
fn collect(program: &Program, setup: &Setup) -> Result<()> {
    run::checked(setup.command(program, "garbage-collect")).map(drop)
}
