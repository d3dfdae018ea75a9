//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{DEFAULT_REGISTRY_IMAGE, leader::DEFAULT_LEASE};

/// The operator of Berth: container registries from a few lines of YAML.
#[derive(Debug, Parser)]
#[command(name = "berth-operator", version, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controllers against the cluster of the kubeconfig or of the pod.
    Run(Run),
    /// Print the objects for the resources in files, with no cluster.
    Render(Render),
    /// Print the resource definitions, or write them to a directory.
    Crds(Crds),
    /// Print the permissions that `run` needs, as roles.
    Rbac(Rbac),
    /// Ask an address over HTTP, and fail unless it answers with success; for `helm test`.
    Probe(Probe),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The namespaces to work in, separated by commas; all of them when it is left out.
    #[arg(long, env = "BERTH_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// The image of a Registry that names none.
    #[arg(long, env = "BERTH_REGISTRY_IMAGE", default_value = DEFAULT_REGISTRY_IMAGE)]
    pub registry_image: String,
    /// Whether to work only while holding the Lease: for more than one replica.
    #[arg(
        long,
        env = "BERTH_LEADER_ELECT",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub leader_elect: bool,
    /// The namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// The name of the Lease. Two operators in one namespace that are to work both, each for its own namespaces, need two.
    #[arg(long, env = "BERTH_LEASE_NAME", default_value = DEFAULT_LEASE, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub lease_name: String,
    /// The name under which this process takes part in the election and writes events; one of its own when it is left
    /// out.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "BERTH_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The least severe level that is logged: error, warn, info, debug or trace; a filter such as `info,kube=debug` is
    /// taken too.
    #[arg(long, env = "BERTH_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// The form of a line of the log.
    #[arg(long, env = "BERTH_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Arguments of `render`.
#[derive(Debug, Args)]
pub struct Render {
    /// A file with resources, or `-` for standard input; may be given again.
    #[arg(short = 'f', long = "filename", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// The namespace of resources that name none.
    #[arg(short = 'n', long, default_value = "default")]
    pub namespace: String,
    /// The image of a Registry that names none.
    #[arg(long, env = "BERTH_REGISTRY_IMAGE", default_value = DEFAULT_REGISTRY_IMAGE)]
    pub registry_image: String,
}

/// Arguments of `crds`.
#[derive(Debug, Args)]
pub struct Crds {
    /// A directory to write one file a definition to, in place of standard output.
    #[arg(long, value_name = "DIRECTORY")]
    pub write: Option<PathBuf>,
}

/// Arguments of `rbac`.
#[derive(Debug, Args)]
pub struct Rbac {
    /// Print a Role for this namespace, in place of a ClusterRole; may be given again.
    #[arg(long)]
    pub namespace: Vec<String>,
    /// The operator's own namespace, where leader election needs a Role.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// The address, such as http://berth-operator.berth-system.svc:8080/readyz.
    pub url: http::Uri,
}

/// Forms of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_lease_of_a_release() {
        Cli::command().debug_assert();
        let lease = |arguments: &[&str]| {
            let given = ["berth-operator", "run"].iter().chain(arguments);
            match Cli::try_parse_from(given).map(|cli| cli.command) {
                Ok(Command::Run(run)) => Some(run.lease_name),
                Ok(_) | Err(_) => None,
            }
        };
        assert_eq!(lease(&[]).as_deref(), Some("berth-operator"));
        assert_eq!(lease(&["--lease-name=second"]).as_deref(), Some("second"));
        assert_eq!(lease(&["--lease-name="]), None);
    }
}
