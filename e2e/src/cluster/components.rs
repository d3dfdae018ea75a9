//! The daemons of a cluster: what each is started with, and when it counts as up.
//!
//! Pure: arguments and configuration files are functions of the [`Spec`]; nothing here starts or writes.

pub mod apiserver;
pub mod containerd;
pub mod controller_manager;
pub mod coredns;
pub mod etcd;
pub mod gate;
pub mod kube_proxy;
pub mod kubelet;
pub mod provisioner;
pub mod scheduler;

use std::path::PathBuf;

use super::spec::Spec;

/// How a daemon is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The component's name, which also names its log and its record.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to the environment.
    pub env: Vec<(&'static str, String)>,
    /// Configuration files to write before the start.
    pub files: Vec<(PathBuf, String)>,
    /// Where it runs.
    pub place: Place,
    /// When it counts as up.
    pub ready: Ready,
}

/// Where a daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the cluster's network and mount namespaces.
    Inside,
    /// In the namespaces of whoever called `up`.
    Outside,
}

/// When a daemon counts as up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// `GET path` on a loopback port inside the namespace answers 200.
    Http {
        /// The port.
        port: u16,
        /// The path.
        path: &'static str,
    },
    /// A Unix socket takes connections.
    Socket(PathBuf),
    /// The API server says so itself (`/readyz`), through the gate.
    Api,
    /// The node's condition `Ready` is true.
    Node,
    /// The ServiceAccount `default/default` exists, without which no pod is accepted.
    ServiceAccount,
    /// It is enough that it runs: it has nothing to ask, or what it does is waited for elsewhere.
    Running,
}

/// The daemons in the order of their start: those of one stage start together, and are up before the next.
pub fn stages(spec: &Spec) -> [Vec<Launch>; 3] {
    [
        vec![etcd::launch(spec), containerd::launch(spec)],
        vec![apiserver::launch(spec), gate::launch(spec)],
        vec![
            controller_manager::launch(spec),
            scheduler::launch(spec),
            kubelet::launch(spec),
            kube_proxy::launch(spec),
            coredns::launch(spec),
            provisioner::launch(spec),
        ],
    ]
}

/// `--key=value` arguments.
fn flags<const N: usize>(pairs: [(&str, String); N]) -> Vec<String> {
    pairs.into_iter().map(|(key, value)| format!("--{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn what_every_daemon_is_started_with() {
        for launch in stages(&super::super::spec::example()).into_iter().flatten() {
            let mut text = format!("{}\n", launch.program.display());
            for (key, value) in &launch.env {
                writeln!(text, "env {key}={value}").expect("text");
            }
            for arg in &launch.args {
                writeln!(text, "  {arg}").expect("text");
            }
            writeln!(text, "{:?}, up when {:?}", launch.place, launch.ready).expect("text");
            for (path, content) in &launch.files {
                write!(text, "\n# {}\n{content}", path.display()).expect("text");
            }
            insta::assert_snapshot!(launch.name, text);
        }
    }
}
