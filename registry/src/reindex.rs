//! `reindex`: makes what Berth adds to CNCF Distribution's layout anew from the layout alone.
//!
//! That is which manifest refers to which (`_referrers`). It heals by itself where a server notices that another program
//! has written; this is for when somebody wants to be sure. It needs the store for itself, as an offline collection does:
//! a server in another process writes an entry before the manifest that it is about, and would find it taken away. So it is
//! refused while a server runs, and a server that is started meanwhile waits a moment and is then refused.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use berth_config::Config;
use berth_oci::RepositoryName;
use berth_storage::LockMode;
use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::gc::Guard;
use crate::output::Output;
use crate::referrers::Rebuilt;
use crate::registry::{Permissions, Registry};
use crate::stores;
use crate::verify::{Telling, root};

/// How many repositories are listed at once.
const PAGE: usize = 1000;

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Reindex {
    /// How the report is printed.
    #[arg(long, value_name = "FORM", default_value = "text")]
    output: Output,
    /// Print the report and nothing of the progress.
    #[arg(short = 'q', long)]
    quiet: bool,
    /// The configuration, in the form of CNCF Distribution.
    pub(crate) config: Option<PathBuf>,
}

/// What was done, in all repositories together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// How many repositories there are.
    pub(crate) repositories: usize,
    /// How many manifests they have.
    pub(crate) manifests: usize,
    /// How many of these refer to another one.
    pub(crate) referrers: usize,
    /// How many entries were missing, and are there now.
    pub(crate) added: usize,
    /// How many entries said what is not so, and are gone.
    pub(crate) removed: usize,
    /// How many manifests could not be read; what is known of them stays.
    pub(crate) unreadable: usize,
}

impl Report {
    fn add(&mut self, rebuilt: Rebuilt) {
        let Rebuilt { manifests, referrers, added, removed, unreadable } = rebuilt;
        self.repositories += 1;
        self.manifests += manifests;
        self.referrers += referrers;
        self.added += added;
        self.removed += removed;
        self.unreadable += unreadable;
    }
}

/// Does it for the store of a configuration, and prints the report. `false` if some manifests could not be read.
pub(crate) async fn reindex(arguments: &Reindex, config: &Config) -> Result<bool> {
    let Reindex { output, quiet, config: _ } = arguments;
    root(config)?;
    let opened = stores::open(&config.storage.driver, LockMode::Exclusive, None).await?;
    opened.probe().await.context("cannot use the store")?;
    let stores::Opened { store, exclude, .. } = opened;
    let permissions = Permissions { delete: false, read_only: false };
    let registry = Registry::new(store, exclude, Arc::new(Guard::offline()), permissions);
    let report = all(&registry, &Telling::new(!quiet)).await.context("cannot make the index")?;
    let Report { repositories, manifests, referrers, added, removed, unreadable } = report;
    match output {
        Output::Json => println!("{}", serde_json::to_string(&report)?),
        Output::Text => println!(
            "{repositories} repositories, {manifests} manifests, {referrers} of which refer to another: {added} entries \
             added, {removed} removed, {unreadable} manifests unreadable"
        ),
    }
    Ok(unreadable == 0)
}

/// Does it for every repository.
///
/// # Errors
/// What the store says.
async fn all(registry: &Registry, telling: &Telling) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut last: Option<RepositoryName> = None;
    loop {
        let page = registry.catalog(PAGE, last.as_ref().map(RepositoryName::as_str)).await?;
        for name in &page.entries {
            report.add(registry.referrers_rebuild(name).await?);
            telling.tell(false, || format!("{} repositories, now {name}", report.repositories));
        }
        if !page.more {
            return Ok(report);
        }
        last = page.entries.last().cloned();
    }
}
