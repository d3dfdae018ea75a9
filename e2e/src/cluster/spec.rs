//! What a cluster is made of: names, addresses and programs, as plain data.
//!
//! Every argument list and configuration file is a pure function of a [`Spec`].

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::paths::ClusterDir;
use crate::tools::Toolbox;

/// The node's name; the cluster has one.
pub const NODE: &str = "berth-node";
/// The node's address, on the bridge that pods hang on.
pub const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// Addresses of pods.
pub const POD_CIDR: &str = "10.244.0.0/24";
/// Addresses of Services.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The Service `default/kubernetes`.
pub const API_SERVICE_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The Service `kube-system/kube-dns`.
pub const DNS_SERVICE_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The domain of Services.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// The bridge inside the namespace.
pub const BRIDGE: &str = "cni0";
/// The API server's port inside the namespace.
pub const API_PORT: u16 = 6443;
/// The image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "berth.dev/e2e/pause:1";

/// One cluster.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The cluster's name.
    pub name: String,
    /// Its directory.
    pub dir: ClusterDir,
    /// Programs.
    pub tools: Toolbox,
    /// This program, which is also started as a daemon.
    pub program: PathBuf,
    /// The loopback port, outside the namespace, at which the API is served.
    pub gate_port: u16,
}

impl Spec {
    /// The control group below which everything of the cluster runs.
    pub fn cgroup(&self) -> String {
        format!("berth-{}", self.name)
    }

    /// A path below the cluster's directory, as text for a configuration file.
    pub fn path(&self, below: &str) -> String {
        self.dir.join(below).display().to_string()
    }
}

#[cfg(test)]
pub(crate) fn example() -> Spec {
    let cache = crate::paths::Cache::new("/cache/berth");
    Spec {
        name: "berth".into(),
        dir: cache.cluster("berth").expect("a valid name"),
        tools: Toolbox::in_cache(&cache, |tool| format!("{}-0", tool.name)),
        program: "/usr/bin/berth-e2e".into(),
        gate_port: 16443,
    }
}
