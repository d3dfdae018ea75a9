//! The cluster's network and mount namespaces, and the process that holds them.
//!
//! Every daemon runs in both. The network namespace has no uplink: tests can neither reach nor be seen by anything
//! outside. The mount namespace is private: whatever the kubelet and containerd mount vanishes with the last process,
//! and the fixed paths that they insist on (`/var/lib/kubelet`, `/run/containerd`, …) are the cluster's own, so
//! several clusters share a machine.

use std::convert::Infallible;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::mount::mount_bind;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::UnixListener;

use super::cgroup::Hierarchies;
use super::gate;
use super::process;
use super::spec::{BRIDGE, CLUSTER_DOMAIN, DNS_SERVICE_IP, NODE_IP, SERVICE_CIDR, Spec};
use crate::files::write_public;

/// The holder's name among the components.
pub const HOLDER: &str = "namespace";

/// Paths that daemons use whatever they are told; each is a directory of the cluster inside.
const PRIVATE_PATHS: [&str; 5] =
    ["/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods"];

/// Starts the process that makes and holds the namespaces.
pub fn start(spec: &Spec) -> Result<Child> {
    let mut command = Command::new(&spec.program);
    command
        .args(process::enter_args(spec, None, true))
        .args(["unshare", "--net", "--mount", "--propagation", "private", "--"])
        .arg(&spec.program)
        .args(["internal", "hold"])
        .arg(spec.dir.root());
    process::spawn(spec, HOLDER, &mut command, String::new())
}

/// Joins the cluster's control group and namespaces, then becomes `command`. The calling process must have one thread.
pub fn enter(group: &str, holder: Option<i32>, session: bool, command: &[String]) -> Result<Infallible> {
    let [program, args @ ..] = command else { bail!("no command given") };
    if session {
        // Already the leader of a session: nothing to leave.
        let _ = rustix::process::setsid();
    }
    let file = Hierarchies::from_host()?.daemons_file(group);
    std::fs::write(&file, std::process::id().to_string()).with_context(|| format!("join {}", file.display()))?;
    if let Some(pid) = holder {
        let open = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            std::fs::File::open(&path).with_context(|| format!("open {path}"))
        };
        let (net, mnt) = (open("net")?, open("mnt")?);
        let directory = std::env::current_dir().ok();
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))
            .context("enter the network namespace")?;
        move_into_link_name_space(mnt.as_fd(), Some(LinkNameSpaceType::Mount)).context("enter the mount namespace")?;
        // Entering a mount namespace moves to its root.
        if let Some(directory) = directory {
            std::env::set_current_dir(&directory).with_context(|| format!("enter {}", directory.display()))?;
        }
    }
    Err(Command::new(program).args(args).exec()).with_context(|| format!("run {program}"))
}

/// Moves the calling thread alone into the network namespace of the process `holder`.
pub fn join_network(holder: i32) -> Result<()> {
    let path = format!("/proc/{holder}/ns/net");
    let namespace = std::fs::File::open(&path).with_context(|| format!("open {path}"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("enter the network namespace")
}

/// The holder itself, in fresh namespaces: sets up the network and the private paths, then serves the gate.
pub async fn hold(root: &Path) -> Result<()> {
    network()?;
    private_paths(root)?;
    // The gate's socket appears under its name only when it listens.
    let socket = root.join("gate.sock");
    let temporary = root.join("gate.new");
    for path in [&socket, &temporary] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    let listener = UnixListener::bind(&temporary).with_context(|| format!("listen on {}", temporary.display()))?;
    std::fs::rename(&temporary, &socket).with_context(|| format!("rename to {}", socket.display()))?;
    gate::serve_inside(listener).await
}

/// What `ip -batch` is told.
fn ip_commands() -> String {
    format!(
        "link set lo up\n\
         link add {BRIDGE} type bridge\n\
         addr add {NODE_IP}/24 dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         route add {SERVICE_CIDR} dev {BRIDGE}\n"
    )
}

fn network() -> Result<()> {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("run ip")?;
    child.stdin.take().context("no standard input")?.write_all(ip_commands().as_bytes()).context("write to ip")?;
    let status = child.wait().context("wait for ip")?;
    if !status.success() {
        bail!("ip -batch failed ({status})");
    }
    let forward = "/proc/sys/net/ipv4/ip_forward";
    std::fs::write(forward, "1").with_context(|| format!("write {forward}"))
}

/// The resolver inside: names as pods see them, in the namespace `default`.
fn resolv_conf() -> String {
    format!(
        "nameserver {DNS_SERVICE_IP}\n\
         search default.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}\n\
         options ndots:5\n"
    )
}

fn private_paths(root: &Path) -> Result<()> {
    for path in PRIVATE_PATHS {
        let own: PathBuf = root.join("private").join(path.trim_start_matches('/').replace('/', "-"));
        for directory in [own.as_path(), Path::new(path)] {
            std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        mount_bind(&own, path).with_context(|| format!("mount {} over {path}", own.display()))?;
    }
    let resolver = root.join("resolv.conf");
    write_public(&resolver, resolv_conf().as_bytes())?;
    mount_bind(&resolver, "/etc/resolv.conf").context("mount over /etc/resolv.conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace() {
        insta::assert_snapshot!("namespace", format!("{}\n{}", ip_commands(), resolv_conf()));
    }
}
