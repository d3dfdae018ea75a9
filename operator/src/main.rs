//! The command line of the operator. Every command is a few lines around the library.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use berth_operator::{
    Settings,
    cli::{Cli, Command, Crds, LogFormat, Probe, Rbac, Render, Run},
    context::{Attempts, Context},
    controllers::{self, Scope},
    events::Events,
    leader::Election,
    metrics::Metrics,
    names,
    offline::{self, Source},
    probe, rbac,
    registry::{asks::Asks, settled::Settled},
    server::{self, Readiness},
};
use clap::Parser as _;
use kube::{Client, runtime::events::Reporter};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The most that is read of a file with resources.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// How long reconciliations that are underway may take at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Render(arguments) => render(&arguments),
        Command::Crds(arguments) => crds(&arguments),
        Command::Rbac(arguments) => print_rbac(&arguments),
        Command::Probe(arguments) => probe(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn render(arguments: &Render) -> anyhow::Result<()> {
    let settings =
        Settings { registry_image: arguments.registry_image.clone(), namespace: arguments.namespace.clone() };
    let sources = arguments.files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    // The error tells its source already, which is said once.
    let text = offline::render(&sources, &settings).map_err(|error| anyhow!("{error}"))?;
    print(&text)
}

fn read(path: &Path) -> anyhow::Result<Source> {
    let file = path.display().to_string();
    let mut text = String::new();
    let read = if file == "-" {
        io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|opened| opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
    };
    let length = read.with_context(|| format!("cannot read {file}"))?;
    if length as u64 > MAX_FILE_BYTES {
        bail!("{file} is larger than {MAX_FILE_BYTES} bytes");
    }
    Ok(Source { file, text })
}

fn crds(arguments: &Crds) -> anyhow::Result<()> {
    let mut all = String::new();
    for (file, definition) in berth_crds::definitions() {
        let text = berth_crds::to_yaml(&definition).context("cannot write a definition as YAML")?;
        match &arguments.write {
            Some(directory) => {
                let path = directory.join(file);
                fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => all.push_str(&format!("---\n{text}")),
        }
    }
    print(&all)
}

fn print_rbac(arguments: &Rbac) -> anyhow::Result<()> {
    let mut roles = vec![serde_json::to_value(rbac::leader_election_role(&arguments.lease_namespace))?];
    if arguments.namespace.is_empty() {
        roles.push(serde_json::to_value(rbac::cluster_role())?);
    }
    for namespace in &arguments.namespace {
        roles.push(serde_json::to_value(rbac::role(namespace))?);
    }
    let mut text = String::new();
    for role in &roles {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(role)?);
    }
    print(&text)
}

fn probe(arguments: Probe) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let status = runtime.block_on(probe::probe(arguments.url))?;
    print(&format!("{status}\n"))
}

/// A reader that closes the pipe has seen enough.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

fn run(arguments: Run) -> anyhow::Result<()> {
    start_log(&arguments)?;
    // Two providers may be compiled in, and then none is chosen by itself.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        bail!("another TLS provider is installed already");
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(operate(arguments))
}

fn start_log(arguments: &Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log_level)
        .with_context(|| format!("--log-level {:?} is no level and no filter", arguments.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match arguments.log_format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
    Ok(())
}

async fn operate(arguments: Run) -> anyhow::Result<()> {
    let Run {
        namespaces,
        registry_image,
        leader_elect,
        lease_namespace,
        lease_name,
        identity,
        listen,
        log_level: _,
        log_format: _,
    } = arguments;
    let identity = match identity {
        Some(identity) => identity,
        None => own_identity()?,
    };
    let stop = stop_on_signal()?;
    let client = Client::try_default().await.context("cannot find a cluster: no kubeconfig, and not in a pod")?;
    let version = client.apiserver_version().await.context("cannot reach the API server")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kubernetes = version.git_version,
        ?namespaces,
        registry_image,
        leader_elect,
        "starting"
    );
    let reporter = Reporter { controller: names::MANAGER.into(), instance: Some(identity.clone()) };
    let context = Arc::new(Context {
        events: Events::new(client.clone(), reporter),
        client: client.clone(),
        settings: Settings { registry_image, ..Settings::default() },
        metrics: Metrics::default(),
        attempts: Attempts::default(),
        settled: Settled::default(),
        asks: Asks::default(),
        watches: Arc::default(),
    });
    let readiness = Arc::new(Readiness::default());
    let listener = server::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let serving =
        tokio::spawn(server::serve(listener, Arc::clone(&context), Arc::clone(&readiness), stop.child_token()));
    // One that stands by is ready as well: a rollout does not wait for the Lease.
    readiness.set(true);
    let scopes = scopes(namespaces);
    let result = if leader_elect {
        let election = Election::enter(client, &lease_namespace, &lease_name, &identity)
            .await
            .with_context(|| format!("cannot take part in the election of Lease {lease_namespace}/{lease_name}"))?;
        // Said at once: another release that was given the same Lease keeps this one waiting for ever.
        tracing::info!(lease_namespace, lease_name, identity, "standing by until the Lease is ours");
        lead(election, context, scopes, &stop).await
    } else {
        context.metrics.leads(true);
        work(context, scopes, stop.clone()).await;
        Ok(())
    };
    readiness.set(false);
    stop.cancel();
    serving.await.context("the HTTP server ended badly")?;
    result
}

/// Two processes of one name would both believe that they hold the Lease.
fn own_identity() -> anyhow::Result<String> {
    let mut random = [0; 5];
    getrandom::fill(&mut random).context("cannot make a name for the leader election")?;
    Ok(format!("{}-{}", names::MANAGER, hex::encode(random)))
}

fn scopes(mut namespaces: Vec<String>) -> Vec<Scope> {
    namespaces.retain(|namespace| !namespace.is_empty());
    namespaces.sort();
    namespaces.dedup();
    if namespaces.is_empty() {
        return vec![Scope::Cluster];
    }
    namespaces.into_iter().map(Scope::Namespace).collect()
}

/// Works while holding the Lease; losing it is the end of the process.
async fn lead(
    mut election: Election,
    context: Arc<Context>,
    scopes: Vec<Scope>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let won = tokio::select! {
        won = election.won() => won,
        () = stop.cancelled() => false,
    };
    if !won {
        election.leave().await;
        return if stop.is_cancelled() { Ok(()) } else { bail!("the leader election is over before it was won") };
    }
    tracing::info!("leading");
    context.metrics.leads(true);
    let working = stop.child_token();
    let mut work = std::pin::pin!(work(Arc::clone(&context), scopes, working.clone()));
    let lost = tokio::select! {
        () = &mut work => false,
        () = election.lost() => true,
    };
    context.metrics.leads(false);
    if lost {
        // Another one works from now on: nothing that is underway here is waited for.
        bail!("the Lease is lost");
    }
    election.leave().await;
    Ok(())
}

/// Runs the controllers until `stop`, and gives what is underway then a bounded time.
async fn work(context: Arc<Context>, scopes: Vec<Scope>, stop: CancellationToken) {
    let controllers = controllers::run(context, scopes, stop.clone());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        () = controllers => tracing::info!("stopped"),
        () = late => tracing::warn!("stopped with reconciliations underway"),
    }
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        token.cancel();
    });
    Ok(stop)
}
