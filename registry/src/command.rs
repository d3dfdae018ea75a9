//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use berth_config::{Config, DISTRIBUTION_2_PATH, DISTRIBUTION_3_PATH, Loaded, PATH_VARIABLE};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::create_key::{self, CreateKey};
use crate::gc::Options;
use crate::reindex::{self, Reindex};
use crate::remote::Remote;
use crate::revoke_tokens::{self, RevokeTokens};
use crate::switch::{self, Switch};
use crate::verify::{self, Verify};
use crate::{check, collect, logging, serve};

/// A container registry: the OCI distribution API on a directory that CNCF Distribution can read, and the other way round.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  berth-registry serve
      Serves ./data on port 5000. No configuration is needed.
  berth-registry serve /etc/distribution/config.yml
      Takes the place of CNCF Distribution: the same configuration, the same directory.
  REGISTRY_HTTP_ADDR=:8080 berth-registry serve
      Every key can be set by a variable: REGISTRY_ and the path of the key.
  berth-registry check-config config.yml
      Shows the configuration in force, variables included and secrets hidden.
  berth-registry garbage-collect --server http://127.0.0.1:5001 --token-file token -m
      Collects in a running server, while people push.
  berth-registry read-only --server http://127.0.0.1:5001 --token-file token --reason \"a backup\" on
      Refuses writes until \"off\"; returns when those in flight have ended.
  berth-registry create-key keys/2027-01.pem
      Makes a key by which the server signs tokens; auth.issuer.keys names the directory.
  berth-registry verify /etc/distribution/config.yml
      Reads everything and says what is wrong; --repair moves what is of no use aside.

Without CONFIG the file is $REGISTRY_CONFIGURATION_PATH, else /etc/distribution/config.yml or
/etc/docker/registry/config.yml if there is one, else the built-in configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry until SIGTERM or SIGINT, then let requests in flight end.
    Serve {
        /// The configuration, in the form of CNCF Distribution.
        config: Option<PathBuf>,
    },
    /// Delete what nothing refers to: in a running server, or on a stopped registry.
    GarbageCollect(Collect),
    /// Make a running registry read-only, or take writes again, without a restart.
    ReadOnly(Switch),
    /// Make a key that signs tokens, for auth.issuer.keys.
    CreateKey(CreateKey),
    /// Have a running server revoke all refresh tokens of a user. Tokens that the user has count until they end, which is
    /// minutes.
    RevokeTokens(RevokeTokens),
    /// Check that every link leads to what it says, every byte has its digest and every image is whole. Exit 0: all is
    /// well; 1: there are problems; 2: it could not be checked.
    Verify(Verify),
    /// Make anew what Berth adds to the store, from what CNCF Distribution has there. The registry must be stopped. Exit 0:
    /// it is right; 1: some manifests could not be read; 2: it could not be done.
    Reindex(Reindex),
    /// Show the configuration in force, with secrets hidden. Exit 1: the server would not start with it, and the key is
    /// named. A file that it names and that is not here is only warned of: it may be where the server will run.
    CheckConfig {
        /// Also read the files that it names, such as certificates and passwords, and exit 1 if one cannot be used.
        #[arg(long)]
        files: bool,
        /// The configuration, in the form of CNCF Distribution.
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["server", "config"]))]
struct Collect {
    /// The debug port of a running server, such as http://127.0.0.1:5001.
    #[arg(long, value_name = "URL", requires = "token_file")]
    server: Option<String>,
    /// The file that holds the server's admin token.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    token_file: Option<PathBuf>,
    /// Also leave the report, or the error, as JSON in this file.
    #[arg(long, value_name = "FILE")]
    report_file: Option<PathBuf>,
    /// Only report; delete nothing.
    #[arg(short = 'd', long)]
    dry_run: bool,
    /// Also delete manifests that no tag leads to.
    #[arg(short = 'm', long)]
    delete_untagged: bool,
    /// Print the report and nothing of the progress.
    #[arg(short = 'q', long)]
    quiet: bool,
    /// How long content stays that was written, or said to exist, and that nothing refers to. Of a running server 1h, of
    /// a stopped registry 0s if not given.
    #[arg(long, value_name = "DURATION")]
    grace_period: Option<berth_config::Duration>,
    /// How long the collection may take. When that is over, nothing more is deleted, and the report says so. No bound if
    /// not given.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<berth_config::Duration>,
    /// The configuration of a stopped registry.
    config: Option<PathBuf>,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("berth-registry: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(command));
    // Blocking threads that read for clients that are gone must not hold the process up.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("berth-registry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve { config } => serve(load(config.as_deref())?).await?,
        Command::CheckConfig { files, config } => check_config(files, load(config.as_deref())?).await?,
        Command::GarbageCollect(arguments) => garbage_collect(arguments).await?,
        Command::ReadOnly(arguments) => switch::switch(arguments).await?,
        Command::CreateKey(arguments) => create_key::create(&arguments)?,
        Command::RevokeTokens(arguments) => revoke_tokens::revoke(arguments).await?,
        Command::Reindex(arguments) => {
            let outcome = async { reindex::reindex(&arguments, &load_for_tool(arguments.config.as_deref())?).await };
            return Ok(whether_all_is_well(outcome.await));
        }
        Command::Verify(arguments) => {
            let outcome = async { verify::verify(&arguments, &load_for_tool(arguments.config.as_deref())?).await };
            return Ok(whether_all_is_well(outcome.await));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What could not be done must not look like something that was done and has found a fault.
fn whether_all_is_well(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("berth-registry: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn check_config(files: bool, loaded: Loaded) -> Result<()> {
    let Loaded { config, mut warnings } = loaded;
    let checked = check::check(&config);
    if !files {
        warnings.extend(check::absent(&config));
    }
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    checked?;
    if files {
        check::read_files(&config).await?;
    }
    print!("{}", config.to_yaml_redacted());
    Ok(())
}

/// The configuration for a command that works on the store by itself, and logs as the server does.
fn load_for_tool(argument: Option<&Path>) -> Result<Config> {
    let Loaded { config, warnings } = load(argument)?;
    logging::begin(&config.log);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

async fn serve(loaded: Loaded) -> Result<()> {
    let Loaded { config, warnings } = loaded;
    logging::begin(&config.log);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // A start may wait for another server's collection, and must be as easy to stop as what comes after it.
    let running = tokio::select! {
        running = serve::start(&config) => running?,
        signal = stopped(&mut terminate, &mut interrupt) => {
            tracing::info!("{signal}: stopped before the start was complete");
            return Ok(());
        }
    };
    let address = running.endpoint();
    let debug_address = running.debug_address().map(tracing::field::display);
    let driver = config.storage.driver.name();
    tracing::info!(%address, debug_address, driver, version = env!("CARGO_PKG_VERSION"), "listening");
    let signal = stopped(&mut terminate, &mut interrupt).await;
    tracing::info!("{signal}: stopping");
    running.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for a signal to stop, and names it.
async fn stopped(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn garbage_collect(arguments: Collect) -> Result<()> {
    let report_file = arguments.report_file.clone();
    let outcome = collect_somewhere(arguments).await;
    if let Some(path) = &report_file {
        collect::leave(path, &outcome)?;
    }
    println!("{}", serde_json::to_string(&outcome?)?);
    Ok(())
}

async fn collect_somewhere(arguments: Collect) -> Result<crate::gc::Report> {
    let Collect { server, token_file, report_file: _, dry_run, delete_untagged, quiet, grace_period, timeout, config } =
        arguments;
    let options = |default: u64| Options {
        dry_run,
        delete_untagged,
        grace: grace_period.unwrap_or(berth_config::Duration::from_secs(default)).as_std(),
        timeout: timeout.map(berth_config::Duration::as_std),
    };
    if let (Some(server), Some(token_file)) = (server, token_file) {
        return collect::remote(&Remote { server, token_file }, options(3600), quiet).await;
    }
    let config = load_for_tool(config.as_deref())?;
    collect::offline(&config, options(0), quiet).await
}

/// The configuration in force: the file, if there is one, with the variables over it.
fn load(argument: Option<&Path>) -> Result<Loaded> {
    // A variable that is not text cannot be meant for us.
    let text = |value: OsString| value.into_string().ok();
    let variables = std::env::vars_os().filter_map(|(name, value)| text(name).zip(text(value)));
    let variables: Vec<(String, String)> = variables.collect();
    let named = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let known = || [DISTRIBUTION_3_PATH, DISTRIBUTION_2_PATH].map(PathBuf::from).into_iter().find(|path| path.exists());
    let Some(path) = argument.map(Path::to_path_buf).or(named).or_else(known) else {
        return Config::load_default(variables).context("the built-in configuration");
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::load(&text, variables).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
        let check = |arguments: &str, valid: bool| {
            let arguments = ["berth-registry"].into_iter().chain(arguments.split_whitespace());
            assert_eq!(Cli::try_parse_from(arguments).is_ok(), valid);
        };
        check("serve", true);
        check("serve config.yml", true);
        check("check-config --files config.yml", true);
        check("serve --files config.yml", false);
        check("garbage-collect -d -m config.yml", true);
        check("garbage-collect --dry-run --delete-untagged -q config.yml", true);
        check("garbage-collect --server http://x --token-file t --report-file r --grace-period 90m", true);
        check("garbage-collect", false);
        check("garbage-collect --server http://x", false);
        check("garbage-collect --server http://x --token-file t config.yml", false);
        check("garbage-collect --grace-period soon config.yml", false);
        check("verify", true);
        check("verify --repair --skip-content --output json --jobs 4 -q config.yml", true);
        check("verify --output yaml", false);
        check("reindex", true);
        check("reindex --output json -q config.yml", true);
        check("verify --jobs 0", false);
        check("read-only --server http://x --token-file t on", true);
        check("read-only --server http://x --token-file t --timeout 5m --reason backup on", true);
        check("read-only --server http://x --token-file t status", true);
        check("create-key k.pem", true);
        check("create-key --algorithm rs256 --certificate issuer.example --days 90 k.pem", true);
        check("create-key --days 90 k.pem", false);
        check("create-key --certificate c --days 0 k.pem", false);
        check("create-key", false);
        check("revoke-tokens --server http://x --token-file t alice", true);
        check("revoke-tokens --server http://x --token-file t", false);
        check("read-only --server http://x on", false);
        check("read-only --server http://x --token-file t", false);
        check("read-only --server http://x --token-file t maybe", false);
    }
}
