//! versitygw, a store that speaks S3: its program, installed once as for the tests of the storage drivers, and its image.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Context, archive, import};
use crate::cluster::Cluster;
use crate::compile::repository;
use crate::files::Lock;
use crate::paths::Cache;
use crate::run;

/// The name of the image in the cluster.
pub const IMAGE: &str = "berth.dev/e2e/versitygw:1";

/// The program, installed if it is not; also its own command line for users and buckets.
pub fn program() -> Result<PathBuf> {
    let mut command = Command::new(repository().join("e2e/stores/install.sh"));
    command.args(["versitygw", "--", "printenv", "BERTH_VERSITYGW"]);
    let directory = run::checked(command).context("install versitygw")?;
    Ok(Path::new(directory.trim()).join("versitygw"))
}

/// Puts the image into the cluster, unless it is there; returns the program.
pub fn load(cluster: &Cluster) -> Result<PathBuf> {
    let (cache, program) = (Cache::from_env()?, program()?);
    let _turn = Lock::take(&cache.lock("image-versitygw"), || ())?;
    let context = Context {
        dockerfile: Path::new(env!("CARGO_MANIFEST_DIR")).join("images/versitygw/Dockerfile"),
        files: vec![("versitygw", program.clone())],
    };
    let (archive, digest) = archive(&cache, &context, IMAGE)?;
    import(cluster, IMAGE, &archive, &digest)?;
    Ok(program)
}
