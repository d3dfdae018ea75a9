//! Container images: those of Berth itself, the pause image, and an application for the demo and the tests.
//!
//! All are `FROM scratch` with static programs, since nothing can be pulled from outside. Built with buildah in a
//! storage of our own; a content digest in the cached archive's name tells when there is nothing to build.

pub mod app;
mod berth;
pub mod pusher;
pub mod versitygw;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

pub use berth::{Loaded, compile_registry, image_names, load};

use crate::cluster::Cluster;
use crate::cluster::spec::PAUSE_IMAGE;
use crate::files::{beside, write_public};
use crate::packages::file_of_package;
use crate::paths::Cache;
use crate::run;

/// A directory that an image is built from: its files, by name.
#[derive(Debug, Clone)]
pub struct Context {
    /// The build instructions.
    pub dockerfile: PathBuf,
    /// Files to copy, by their name in the context.
    pub files: Vec<(&'static str, PathBuf)>,
}

impl Context {
    /// A digest of everything that goes into the image.
    pub fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for path in std::iter::once(&self.dockerfile).chain(self.files.iter().map(|(_, path)| path)) {
            let content = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(&content);
        }
        Ok(hex::encode(hash.finalize())[..16].to_owned())
    }
}

/// A static busybox.
fn busybox(cache: &Cache) -> Result<PathBuf> {
    let target = cache.images().join("busybox-static");
    file_of_package("busybox-static", "bin/busybox", &target)?;
    Ok(target)
}

fn buildah(cache: &Cache) -> Command {
    let storage = cache.images().join("storage");
    let mut command = Command::new("buildah");
    command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
    // Overlay mounts need more than every machine allows; these images are small enough to copy.
    command.args(["--storage-driver", "vfs"]);
    command
}

/// Builds an image and writes it to `target`, a destination that buildah understands.
fn build(cache: &Cache, context: &Context, name: &str, target: &str) -> Result<()> {
    let directory = beside(&cache.images().join("context"));
    let built = assemble(context, &directory).and_then(|()| {
        let mut command = buildah(cache);
        command.args(["build", "--isolation", "chroot", "--layers", "--timestamp", "0", "--tag", name, "--file"]);
        command.arg(directory.join("Dockerfile")).arg(&directory);
        run::checked(command)?;
        let mut command = buildah(cache);
        command.args(["push", "--quiet", name, target]);
        run::checked(command)
    });
    let removed = std::fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()));
    built.with_context(|| format!("build image {name}"))?;
    removed
}

fn assemble(context: &Context, directory: &Path) -> Result<()> {
    let dockerfile = ("Dockerfile", context.dockerfile.clone());
    for (name, source) in std::iter::once(&dockerfile).chain(&context.files) {
        let target = directory.join(name);
        let parent = target.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        std::fs::copy(source, &target).with_context(|| format!("copy {} to {}", source.display(), target.display()))?;
    }
    Ok(())
}

/// An image in the cache as an archive that containerd imports; built if it is not there.
///
/// Returns the archive and the digest of what went into it.
fn archive(cache: &Cache, context: &Context, name: &str) -> Result<(PathBuf, String)> {
    let digest = context.digest()?;
    let short = name.rsplit('/').next().unwrap_or(name).replace(':', "-");
    let target = cache.images().join(format!("{short}-{digest}.tar"));
    if !target.exists() {
        let temporary = beside(&target);
        build(cache, context, name, &format!("docker-archive:{}:{name}", temporary.display()))?;
        std::fs::rename(&temporary, &target).with_context(|| format!("write {}", target.display()))?;
    }
    Ok((target, digest))
}

/// Imports an archive into the cluster's containerd, unless that very content is there.
fn import(cluster: &Cluster, name: &str, archive: &Path, digest: &str) -> Result<bool> {
    if loaded_digest(cluster, name).is_some_and(|known| known == digest) {
        return Ok(false);
    }
    let mut command = cluster.ctr();
    command.args(["images", "import", "--no-unpack"]).arg(archive);
    run::checked(command)?;
    write_public(&mark(cluster, name), digest.as_bytes())?;
    Ok(true)
}

/// The file that says which content of an image the cluster has.
fn mark(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.spec.dir.join("images").join(name.replace(['/', ':'], "_"))
}

/// The digest of an image's content in the cluster, if it was loaded.
pub fn loaded_digest(cluster: &Cluster, name: &str) -> Option<String> {
    std::fs::read_to_string(mark(cluster, name)).ok()
}

/// Puts the pause image into the cluster.
pub fn load_pause(cluster: &Cluster, cache: &Cache) -> Result<()> {
    let context = Context {
        dockerfile: Path::new(env!("CARGO_MANIFEST_DIR")).join("images/pause/Dockerfile"),
        files: vec![("busybox", busybox(cache)?)],
    };
    let (archive, digest) = archive(cache, &context, PAUSE_IMAGE)?;
    import(cluster, PAUSE_IMAGE, &archive, &digest)?;
    Ok(())
}
