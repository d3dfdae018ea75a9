//! Programs that the cluster is made of and that Debian does not carry: built once from their Go modules.
//!
//! Each tool is a Go module below `e2e/tools/` with its checksums beside it. A build goes to a temporary directory that
//! is renamed when complete, so that an interrupted one leaves nothing half.

mod build;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

pub use build::ensure_all;

use crate::paths::Cache;

/// The version of Kubernetes.
pub const KUBERNETES_VERSION: &str = "v1.34.4";
/// The version of CoreDNS.
pub const COREDNS_VERSION: &str = "v1.15.0";
/// The version of Helm.
pub const HELM_VERSION: &str = "v4.3.1";

/// A tool that is built from a Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The directory below `e2e/tools/`.
    pub name: &'static str,
    /// The version, for people.
    pub version: &'static str,
    /// The packages to build.
    pub packages: &'static [&'static str],
    /// The programs that come out.
    pub programs: &'static [&'static str],
    /// Arguments of the linker.
    pub ldflags: &'static str,
}

/// Kubernetes. Without the version flags the server says v0.0.0, and clients misjudge it.
pub const KUBERNETES: Tool = Tool {
    name: "kubernetes",
    version: KUBERNETES_VERSION,
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubelet",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kubectl",
    ],
    programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"],
    ldflags: "-s -w \
        -X k8s.io/component-base/version.gitVersion=v1.34.4 \
        -X k8s.io/component-base/version.gitMajor=1 \
        -X k8s.io/component-base/version.gitMinor=34 \
        -X k8s.io/component-base/version.gitTreeState=clean",
};

/// CoreDNS with the plugins that a cluster needs.
pub const COREDNS: Tool =
    Tool { name: "coredns", version: COREDNS_VERSION, packages: &["."], programs: &["coredns"], ldflags: "-s -w" };

/// Helm.
pub const HELM: Tool = Tool {
    name: "helm",
    version: HELM_VERSION,
    packages: &["helm.sh/helm/v4/cmd/helm"],
    programs: &["helm"],
    ldflags: "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
};

/// Every tool.
pub const TOOLS: [Tool; 3] = [KUBERNETES, COREDNS, HELM];

impl Tool {
    /// The module's directory in this repository.
    pub fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(self.name)
    }

    /// The name of the cached build, which changes with anything that goes into it.
    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let path = self.source().join(file);
            match std::fs::read(&path) {
                Ok(content) => hash.update(content),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && file == "main.go" => {}
                Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
            }
        }
        hash.update(self.ldflags);
        self.packages.iter().for_each(|package| hash.update(package));
        Ok(format!("{}-{}-{}", self.name, self.version, &hex::encode(hash.finalize())[..12]))
    }
}

/// Where the built programs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolbox {
    directories: [PathBuf; 3],
}

impl Toolbox {
    /// The tools' places in the cache, built or not.
    pub fn locate(cache: &Cache) -> Result<Self> {
        let keys = [KUBERNETES.key()?, COREDNS.key()?, HELM.key()?];
        Ok(Self { directories: keys.map(|key| cache.tools().join(key)) })
    }

    /// Places named by a function of the tool.
    #[cfg(test)]
    pub(crate) fn in_cache(cache: &Cache, name: impl Fn(&Tool) -> String) -> Self {
        Self { directories: TOOLS.map(|tool| cache.tools().join(name(&tool))) }
    }

    /// The directory of a tool; the order is that of [`TOOLS`].
    fn directory(&self, tool: &Tool) -> &Path {
        let index = TOOLS.iter().position(|other| other == tool).unwrap_or_default();
        &self.directories[index]
    }

    /// One of Kubernetes' programs.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.directory(&KUBERNETES).join(program)
    }

    /// CoreDNS.
    pub fn coredns(&self) -> PathBuf {
        self.directory(&COREDNS).join("coredns")
    }

    /// kubectl.
    pub fn kubectl(&self) -> PathBuf {
        self.kubernetes("kubectl")
    }

    /// Helm.
    pub fn helm(&self) -> PathBuf {
        self.directory(&HELM).join("helm")
    }
}
