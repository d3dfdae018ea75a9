//! Programs that Debian does not carry, built once from their Go modules: those that the cluster is made of, and the
//! registry and the clients that Berth is compared with.
//!
//! Each tool is a Go module below `e2e/tools/` with its checksums beside it. A build goes to a temporary directory that
//! is renamed when complete, so that an interrupted one leaves nothing half.

mod build;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

pub use build::ensure;

use crate::paths::Cache;

/// The version of Kubernetes.
pub const KUBERNETES_VERSION: &str = "v1.34.4";
/// The version of CoreDNS.
pub const COREDNS_VERSION: &str = "v1.15.0";
/// The version of Helm.
pub const HELM_VERSION: &str = "v4.3.1";
/// The version of CNCF Distribution.
pub const DISTRIBUTION_VERSION: &str = "v3.1.2";
/// The version of crane.
pub const CRANE_VERSION: &str = "v0.22.1";
/// The version of regctl.
pub const REGCTL_VERSION: &str = "v0.11.7";
/// The version of cosign.
pub const COSIGN_VERSION: &str = "v3.1.3";
/// The version of go-jose, which signs tokens.
pub const JOSE_VERSION: &str = "v4.1.3";

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
    /// Whether it is built without C, so that it runs where there is nothing else.
    pub is_static: bool,
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
    is_static: false,
};

/// CoreDNS with the plugins that a cluster needs.
pub const COREDNS: Tool = Tool {
    name: "coredns",
    version: COREDNS_VERSION,
    packages: &["."],
    programs: &["coredns"],
    ldflags: "-s -w",
    is_static: false,
};

/// Helm.
pub const HELM: Tool = Tool {
    name: "helm",
    version: HELM_VERSION,
    packages: &["helm.sh/helm/v4/cmd/helm"],
    programs: &["helm"],
    ldflags: "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
    is_static: false,
};

/// CNCF Distribution 3.
pub const DISTRIBUTION: Tool = Tool {
    name: "distribution",
    version: DISTRIBUTION_VERSION,
    packages: &["github.com/distribution/distribution/v3/cmd/registry"],
    programs: &["registry"],
    ldflags: "-s -w -X github.com/distribution/distribution/v3/version.version=v3.1.2",
    is_static: false,
};

/// crane, the client of go-containerregistry.
pub const CRANE: Tool = Tool {
    name: "crane",
    version: CRANE_VERSION,
    packages: &["github.com/google/go-containerregistry/cmd/crane"],
    programs: &["crane"],
    ldflags: "-s -w -X github.com/google/go-containerregistry/cmd/crane/cmd.Version=v0.22.1",
    is_static: true,
};

/// regctl, the client of regclient.
pub const REGCTL: Tool = Tool {
    name: "regctl",
    version: REGCTL_VERSION,
    packages: &["github.com/regclient/regclient/cmd/regctl"],
    programs: &["regctl"],
    ldflags: "-s -w -X github.com/regclient/regclient/internal/version.vcsTag=v0.11.7",
    is_static: false,
};

/// cosign, which signs images and looks for signatures.
pub const COSIGN: Tool = Tool {
    name: "cosign",
    version: COSIGN_VERSION,
    packages: &["github.com/sigstore/cosign/v3/cmd/cosign"],
    programs: &["cosign"],
    ldflags: "-s -w -X sigs.k8s.io/release-utils/version.gitVersion=v3.1.3",
    is_static: false,
};

/// What signs tokens, good ones and bad ones, for tests.
pub const TOKENS: Tool = Tool {
    name: "tokens",
    version: JOSE_VERSION,
    packages: &["."],
    programs: &["tokens"],
    ldflags: "-s -w",
    is_static: false,
};

/// A token service of somebody else's.
pub const TOKEN_SERVICE: Tool = Tool {
    name: "token-service",
    version: JOSE_VERSION,
    packages: &["."],
    programs: &["token-service"],
    ldflags: "-s -w",
    is_static: false,
};

/// What the local cluster and the demo need.
pub const CLUSTER: [Tool; 3] = [KUBERNETES, COREDNS, HELM];

/// Every tool.
pub const TOOLS: [Tool; 9] = [KUBERNETES, COREDNS, HELM, DISTRIBUTION, CRANE, REGCTL, COSIGN, TOKENS, TOKEN_SERVICE];

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
        if self.is_static {
            hash.update("static");
        }
        Ok(format!("{}-{}-{}", self.name, self.version, &hex::encode(hash.finalize())[..12]))
    }
}

/// Where the built programs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolbox {
    /// By the tool's name.
    directories: BTreeMap<&'static str, PathBuf>,
}

impl Toolbox {
    /// The tools' places in the cache, built or not.
    pub fn locate(cache: &Cache) -> Result<Self> {
        let place = |tool: &Tool| Ok((tool.name, cache.tools().join(tool.key()?)));
        Ok(Self { directories: TOOLS.iter().map(place).collect::<Result<_>>()? })
    }

    /// Places named by a function of the tool.
    #[cfg(test)]
    pub(crate) fn in_cache(cache: &Cache, name: impl Fn(&Tool) -> String) -> Self {
        Self { directories: TOOLS.iter().map(|tool| (tool.name, cache.tools().join(name(tool)))).collect() }
    }

    /// The directory of a tool.
    fn directory(&self, tool: &Tool) -> &Path {
        self.directories.get(tool.name).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The program of a tool that has one.
    pub fn program(&self, tool: &Tool) -> PathBuf {
        self.directory(tool).join(tool.programs.first().unwrap_or(&""))
    }

    /// One of Kubernetes' programs.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.directory(&KUBERNETES).join(program)
    }

    /// CoreDNS.
    pub fn coredns(&self) -> PathBuf {
        self.program(&COREDNS)
    }

    /// kubectl.
    pub fn kubectl(&self) -> PathBuf {
        self.kubernetes("kubectl")
    }

    /// Helm.
    pub fn helm(&self) -> PathBuf {
        self.program(&HELM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_its_own_place() {
        let toolbox = Toolbox::locate(&Cache::new("/c")).expect("every module has its checksums");
        let mut places: Vec<&PathBuf> = toolbox.directories.values().collect();
        places.dedup();
        assert_eq!(places.len(), TOOLS.len());
        for tool in &CLUSTER {
            assert!(toolbox.program(tool).starts_with("/c/tools"), "{} is not in the list of tools", tool.name);
        }
    }

    #[test]
    fn a_tool_is_of_the_version_that_it_says() {
        for tool in TOOLS {
            let modules = std::fs::read_to_string(tool.source().join("go.mod")).expect("it has a go.mod");
            let version = format!(" {}", tool.version);
            let required = modules.lines().any(|line| line.trim_end_matches(" // indirect").ends_with(&version));
            assert!(required, "{}'s go.mod requires nothing of version {}", tool.name, tool.version);
            assert!(!tool.ldflags.contains("-X") || tool.ldflags.contains(tool.version), "{}", tool.ldflags);
        }
    }
}
