//! skopeo, run where the cluster's Services are reached by name.

use std::path::Path;

use anyhow::Result;

use super::Space;
use crate::run;

/// Pushes an image to `reference`, which is `HOST:PORT/REPOSITORY:TAG`.
pub fn push(space: &Space, source: &str, reference: &str) -> Result<()> {
    let mut command = space.cluster.inside("skopeo")?;
    command.args(["copy", "--quiet", "--dest-tls-verify=false", source, &format!("docker://{reference}")]);
    run::checked(command).map(drop)
}

/// Pulls an image into a directory; skopeo checks the digest of each blob.
pub fn copy_down(space: &Space, reference: &str, directory: &Path) -> Result<()> {
    let mut command = space.cluster.inside("skopeo")?;
    command.args(["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{reference}")]);
    command.arg(format!("dir:{}", directory.display()));
    run::checked(command).map(drop)
}

/// Deletes the manifest that a tag names.
pub fn delete(space: &Space, reference: &str) -> Result<()> {
    let mut command = space.cluster.inside("skopeo")?;
    command.args(["delete", "--tls-verify=false", &format!("docker://{reference}")]);
    run::checked(command).map(drop)
}
