//! Where things lie: the tool cache and one directory per cluster.
//!
//! Knows names only; it creates nothing and knows nothing of what the files hold.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The longest directory of a cluster, in bytes: a Unix socket's path is at most 107, and the deepest one below the
/// directory needs about 30.
const MAX_CLUSTER_DIR_BYTES: usize = 70;

/// The longest name of a cluster, in bytes: it becomes part of a control group's name and of paths.
const MAX_NAME_BYTES: usize = 20;

/// The cache directory: `$XDG_CACHE_HOME/berth`, else `~/.cache/berth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Takes the place from the environment.
    pub fn from_env() -> Result<Self> {
        let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
                .join(".cache"),
        };
        if !base.is_absolute() {
            bail!("the cache directory {} is not an absolute path", base.display());
        }
        Ok(Self { root: base.join("berth") })
    }

    /// A cache in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Built tools, one directory per tool and version.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Built container images and the storage of the image builder.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// A lock file of that name.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(format!("{name}.lock"))
    }

    /// The directory of the cluster `name`, which must be a DNS label of at most 20 characters.
    pub fn cluster(&self, name: &str) -> Result<ClusterDir> {
        let label = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !label || name.starts_with('-') || name.ends_with('-') {
            bail!("cluster name {name:?}: use lower-case letters, digits and dashes, at most {MAX_NAME_BYTES} of them");
        }
        let root = self.root.join("clusters").join(name);
        let bytes = root.as_os_str().len();
        if bytes > MAX_CLUSTER_DIR_BYTES {
            bail!(
                "{}: {bytes} bytes, too long for the Unix sockets below it (at most {MAX_CLUSTER_DIR_BYTES}); \
                 set XDG_CACHE_HOME to a shorter path",
                root.display()
            );
        }
        Ok(ClusterDir { root })
    }
}

/// The directory of one cluster: everything it writes lies below, and `down` removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir {
    root: PathBuf,
}

impl ClusterDir {
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the directory.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Certificates and keys.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    /// The kubeconfig that `user` talks to the API with, from inside the cluster's namespace.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.root.join("kubeconfigs").join(user)
    }

    /// The developer's kubeconfig, which works outside the namespace.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.root.join("logs").join(format!("{component}.log"))
    }

    /// The record of a component's process.
    pub fn record(&self, component: &str) -> PathBuf {
        self.root.join("processes").join(format!("{component}.json"))
    }

    /// The socket through which the namespace is reached from outside.
    pub fn gate_socket(&self) -> PathBuf {
        self.root.join("gate.sock")
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.root.join("containerd.sock")
    }

    /// Directories of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// containerd's per-registry settings.
    pub fn certs_d(&self) -> PathBuf {
        self.root.join("certs.d")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        let cache = Cache::new("/c");
        for (name, ok) in [
            ("berth", true),
            ("a-1", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a/b", false),
            ("..", false),
            ("a23456789012345678901", false),
        ] {
            assert_eq!(cache.cluster(name).is_ok(), ok, "{name:?}");
        }
    }

    #[test]
    fn a_long_directory_is_refused_with_the_way_out() {
        let error = Cache::new(format!("/{}", "x".repeat(80))).cluster("berth").expect_err("too long");
        assert!(error.to_string().contains("XDG_CACHE_HOME"), "{error}");
    }
}
