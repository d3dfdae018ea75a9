//! `verify`: the command.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use berth_config::{Config, Driver};
use berth_storage::LockMode;
use clap::Args;

use super::{Options, Report};
use crate::output::Output;
use crate::stores;

/// More reads at once than this only make a disk seek.
const MAX_JOBS: usize = 16;

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Move what is of no use aside, to berth/v1/aside/<time>/; nothing is deleted. The registry must be stopped.
    #[arg(long)]
    repair: bool,
    /// Look at links, lengths and manifests only; do not read blobs.
    #[arg(long)]
    skip_content: bool,
    /// How the report is printed.
    #[arg(long, value_name = "FORM", default_value = "text")]
    output: Output,
    /// How many blobs are read at once. As many as there are processors if not given, and at most 16.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Print the report and nothing of the progress.
    #[arg(short = 'q', long)]
    quiet: bool,
    /// The configuration, in the form of CNCF Distribution.
    pub(crate) config: Option<PathBuf>,
}

/// Verifies the store of a configuration and prints the report. `false` if there are problems.
pub(crate) async fn verify(arguments: &Verify, config: &Config) -> Result<bool> {
    let Verify { repair, skip_content, output, jobs, quiet, config: _ } = arguments;
    let root = root(config)?;
    // Who only reads may do so beside servers, and where nothing can be written.
    let mode = if *repair { LockMode::Exclusive } else { LockMode::ReadOnly };
    let opened = stores::open(&config.storage.driver, mode, None).await?;
    opened.probe().await.context("cannot use the store")?;
    let stores::Opened { store, exclude: _lock, .. } = opened;
    let options = Options {
        repair: *repair,
        content: !skip_content,
        jobs: jobs.map_or_else(processors, NonZeroUsize::get).min(MAX_JOBS),
        tells: !quiet,
    };
    let report: Report = super::run(store.as_ref(), options).await.context("cannot read the store")?;
    match output {
        Output::Text => print!("{}", report.to_text(&root)),
        Output::Json => println!("{}", serde_json::to_string(&report)?),
    }
    Ok(report.clean)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Where the store is, for messages. It must be there: a path that was mistyped must not be found to be in order.
pub(crate) fn root(config: &Config) -> Result<String> {
    match &config.storage.driver {
        Driver::InMemory => {
            anyhow::bail!("storage.inmemory: there is nothing in the memory of a server that is not running")
        }
        Driver::Filesystem(settings) => {
            let root = &settings.rootdirectory;
            ensure!(root.is_dir(), "storage.filesystem.rootdirectory: {} is not a directory", root.display());
            Ok(root.display().to_string())
        }
        other => Ok(format!("storage.{}", other.name())),
    }
}
