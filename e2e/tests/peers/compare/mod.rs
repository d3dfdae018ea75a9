//! The same requests, good and bad, to CNCF Distribution 3 and to Berth, on copies of the same store.
//!
//! Statuses, headers and bodies are compared. What differs is on a reviewed list, or the test fails; so it does when
//! something on the list no longer differs.

mod list;
mod reads;
mod uploads;
mod writes;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::run;

use crate::fill::fill;
use crate::interview::{Exchange, Interview, differences};
use crate::known::{review, rows};
use crate::lab::lab;
use crate::report;

/// How many requests there are at least.
const REQUESTS: usize = 400;

#[tokio::test]
async fn every_answer_is_that_of_distribution_or_on_the_list() -> Result<()> {
    let lab = lab();
    let temp = tempfile::tempdir()?;
    let (theirs, ours) = (temp.path().join("theirs"), temp.path().join("ours"));
    for directory in [&theirs, &ours] {
        std::fs::create_dir(directory)?;
    }
    let server = Peer::start(&lab.distribution_3, &Setup::filesystem(&theirs, &theirs.join("data")))?;
    fill(server.address()).await.context("fill the registry")?;
    server.stop()?;
    let mut copy = std::process::Command::new("cp");
    copy.arg("--archive").arg(theirs.join("data")).arg(ours.join("data"));
    run::checked(copy)?;

    let theirs = interview(&lab.distribution_3, &theirs).await?;
    let ours = interview(&lab.berth, &ours).await?;
    ensure!(ours.len() >= REQUESTS, "only {} requests were compared", ours.len());
    let differences = differences(&theirs, &ours)?;
    let complaints = review(list::LIST, &differences);
    ensure!(
        complaints.is_empty(),
        "{} requests, {} differences, {} complaints:\n{}",
        ours.len(),
        differences.len(),
        complaints.len(),
        complaints.join("\n")
    );
    let same = ours.len() - differing(&differences);
    eprintln!("{} requests: {same} are answered the same, the others as listed", ours.len());
    report::section("answers", &rows(list::LIST))
}

/// How many requests are answered differently.
fn differing(differences: &[crate::interview::Difference]) -> usize {
    let mut names: Vec<&str> = differences.iter().map(|difference| difference.name.as_str()).collect();
    names.dedup();
    names.len()
}

async fn interview(program: &Program, directory: &Path) -> Result<Vec<Exchange>> {
    let server = Peer::start(program, &Setup::filesystem(directory, &directory.join("data")))?;
    let mut interview = Interview::with(server.address());
    reads::all(&mut interview).await?;
    uploads::all(&mut interview).await?;
    writes::all(&mut interview).await?;
    server.stop()?;
    Ok(interview.exchanges)
}
