//! The same requests, good and bad, to CNCF Distribution 3 and to Berth, on copies of the same store.
//!
//! Statuses, headers and bodies are compared. What differs is on a reviewed list, or the test fails; so it does when
//! something on the list no longer differs.

mod list;
mod paths;
mod reads;
mod sha512;
mod uploads;
mod variants;
mod writes;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::peer::{Peer, Program, Setup};
use berth_e2e::run;
use tempfile::TempDir;

use crate::fill::fill;
use crate::interview::{Exchange, Interview, differences};
use crate::known::{review, rows};
use crate::lab::lab;
use crate::report;

/// How many requests there are at least.
const REQUESTS: usize = 1000;

#[tokio::test]
async fn every_answer_is_that_of_distribution_or_on_the_list() -> Result<()> {
    let lab = lab();
    let temp = tempfile::tempdir()?;
    let server = Peer::start(&lab.distribution_3, &Setup::filesystem(temp.path(), &temp.path().join("data")))?;
    fill(server.address()).await.context("fill the registry")?;
    server.stop()?;

    let theirs = interview(&lab.distribution_3, temp.path()).await?;
    let ours = interview(&lab.berth, temp.path()).await?;
    ensure!(ours.len() >= REQUESTS, "only {} requests were compared", ours.len());
    let differences = differences(&theirs, &ours)?;
    let list = list::list();
    let complaints = review(&list, &differences);
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
    report::section("answers", &rows(&list))
}

/// How many requests are answered differently.
fn differing(differences: &[crate::interview::Difference]) -> usize {
    let mut names: Vec<&str> = differences.iter().map(|difference| difference.name.as_str()).collect();
    names.dedup();
    names.len()
}

/// Asks one of the servers everything, each time on a copy of what was filled.
async fn interview(program: &Program, filled: &Path) -> Result<Vec<Exchange>> {
    let (server, _directory) = start(program, filled, |setup| setup)?;
    let mut interview = Interview::with(server.address());
    paths::all(&mut interview).await?;
    reads::all(&mut interview).await?;
    uploads::all(&mut interview).await?;
    writes::all(&mut interview).await?;
    sha512::all(&mut interview).await?;
    server.stop()?;
    let mut exchanges = interview.exchanges;
    for variant in variants::ALL {
        let (server, _directory) = start(program, filled, |setup| variant.applied_to(setup))?;
        let mut interview = Interview::with(server.address());
        variant.ask(&mut interview).await.with_context(|| format!("{}, {}", program.name, variant.name))?;
        server.stop()?;
        exchanges.extend(interview.exchanges);
    }
    Ok(exchanges)
}

/// A server on a copy of the data below a directory, and the directory of the copy.
fn start(program: &Program, filled: &Path, change: impl Fn(Setup) -> Setup) -> Result<(Peer, TempDir)> {
    let directory = tempfile::tempdir()?;
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(filled.join("data")).arg(directory.path().join("data"));
    run::checked(copy)?;
    let setup = change(Setup::filesystem(directory.path(), &directory.path().join("data")));
    Ok((Peer::start(program, &setup)?, directory))
}
