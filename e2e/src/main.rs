//! The command line of `berth-e2e`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use berth_e2e::cluster::{Cluster, down, gate, sandbox, status, up};
use berth_e2e::{bench, demo, figures, files, images, install, provisioner};
use clap::{Args, Parser, Subcommand};

/// A real single-node Kubernetes on this machine, and Berth on it.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Name {
    /// The cluster's name; several run side by side.
    #[arg(long, default_value = "berth", env = "BERTH_E2E_CLUSTER", global = true)]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the cluster, or what of it does not run; builds the tools that are not in the cache.
    Up(Name),
    /// End the cluster and remove everything of it.
    #[command(alias = "demo-down")]
    Down(Name),
    /// Show what runs; exit 1 unless all of it does.
    Status(Name),
    /// Build Berth's images from this work tree and put them into the cluster.
    LoadImages(Name),
    /// Install or upgrade the operator with its Helm chart.
    Install(Name),
    /// Show Berth from the first `helm install` to a collection, on a cluster that is started if need be.
    Demo(Name),
    /// Measure idle memory, time to the first answer, and sizes.
    Figures(Name),
    /// Compare the server's speed with CNCF Distribution's and nginx's, on this machine, without a cluster.
    Bench {
        /// How many rounds; every server has its turn in each.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// For how many seconds small answers are asked for in a turn.
        #[arg(long, default_value_t = 2)]
        seconds: u64,
        /// Over how many connections small answers are asked for.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Measure nothing but what it costs to be asked who one is.
        #[arg(long)]
        access_alone: bool,
        /// A directory on the file system to measure; a new one below it holds all content.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        directory: PathBuf,
    },
    /// Run a command where the cluster's Services are reached by address and name.
    Exec {
        #[command(flatten)]
        name: Name,
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Print the path of the kubeconfig, which works outside the cluster's namespace.
    Kubeconfig(Name),
    /// Print a component's log.
    Logs {
        #[command(flatten)]
        name: Name,
        /// The component, as `status` names it.
        component: String,
        /// How many of the last lines.
        #[arg(long, default_value_t = 200)]
        lines: usize,
    },
    /// What the cluster's own daemons are started with.
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

#[derive(Debug, Subcommand)]
enum Internal {
    /// Join a cluster's control group and namespaces, and become a command.
    Enter {
        /// The control group.
        #[arg(long)]
        group: String,
        /// The process that holds the namespaces.
        #[arg(long)]
        holder: Option<i32>,
        /// Stay in the caller's session, so that its terminal's signals arrive.
        #[arg(long)]
        attached: bool,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Set up fresh namespaces and serve the gate.
    Hold {
        /// The cluster's directory.
        root: PathBuf,
    },
    /// Forward a loopback port through the gate.
    Forward {
        /// Where to listen.
        listen: String,
        /// The gate's socket.
        gate: PathBuf,
        /// Where to connect, inside.
        target: String,
    },
    /// Provision volumes.
    Provisioner {
        /// Where their directories are.
        #[arg(long)]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("berth-e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    // Entering a mount namespace needs a process of one thread: before the runtime starts its own.
    if let Command::Internal(Internal::Enter { group, holder, attached, command }) = cli.command {
        match sandbox::enter(&group, holder, !attached, &command)? {}
    }
    berth_e2e::install_crypto_provider();
    tokio::runtime::Runtime::new().context("start the runtime")?.block_on(dispatch(cli.command))
}

async fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(Name { name }) => {
            let cluster = up::up(&name).await?;
            eprintln!("\ncluster {name} is up: export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Command::Down(Name { name }) => down::down(&name)?,
        Command::Status(Name { name }) => {
            if !status::status(&name).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::LoadImages(Name { name }) => {
            images::load(&Cluster::running(&name)?)?;
        }
        Command::Install(Name { name }) => install::install(&Cluster::running(&name)?)?,
        Command::Demo(Name { name }) => demo::demo(&name).await?,
        Command::Figures(Name { name }) => figures::figures(&name).await?,
        Command::Bench { rounds, seconds, connections, access_alone, directory } => {
            let directory = directory.join(format!("berth-bench-{}", std::process::id()));
            let options = bench::Options { rounds, seconds, connections, access_alone, directory };
            tokio::task::spawn_blocking(move || bench::bench(&options)).await??;
        }
        Command::Exec { name, command } => return exec(&Cluster::running(&name.name)?, &command),
        Command::Kubeconfig(Name { name }) => println!("{}", Cluster::running(&name)?.kubeconfig().display()),
        Command::Logs { name, component, lines } => {
            println!("{}", files::tail(&Cluster::describe(&name.name)?.spec.dir.log(&component), lines)?);
        }
        Command::Internal(internal) => daemon(internal).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(cluster: &Cluster, command: &[OsString]) -> Result<ExitCode> {
    let [program, args @ ..] = command else { anyhow::bail!("no command given") };
    let status = cluster.inside(program)?.args(args).env("KUBECONFIG", cluster.kubeconfig()).status();
    let status = status.with_context(|| format!("run {}", program.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

async fn daemon(internal: Internal) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match internal {
        Internal::Enter { .. } => Ok(()),
        Internal::Hold { root } => sandbox::hold(&root).await,
        Internal::Forward { listen, gate, target } => {
            let listener =
                tokio::net::TcpListener::bind(&listen).await.with_context(|| format!("listen on {listen}"))?;
            gate::serve_outside(listener, gate, target).await
        }
        Internal::Provisioner { directory } => provisioner::run(&directory).await,
    }
}
