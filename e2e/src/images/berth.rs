//! Berth's own two images: static binaries, built with one call of cargo.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Context, archive, import};
use crate::cluster::Cluster;
use crate::compile::{self, repository};
use crate::packages;
use crate::paths::Cache;
use crate::progress::{Step, bytes};
use crate::run;

/// The target that links statically.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Libraries in C are compiled against musl too.
const CC: [(&str, &str); 1] = [("CC_x86_64_unknown_linux_musl", "musl-gcc")];

/// The programs, each with the directory of its Dockerfile.
const PROGRAMS: [(&str, &str); 2] = [("berth-registry", "registry"), ("berth-operator", "operator")];

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image's name.
    pub image: String,
    /// The program in it, as it was built.
    pub program: PathBuf,
    /// The size of the archive, which is not compressed, in bytes.
    pub archive_bytes: u64,
    /// The size of the program, in bytes.
    pub program_bytes: u64,
    /// A digest of what went into the image.
    pub digest: String,
    /// Whether the cluster had another content or none.
    pub changed: bool,
}

/// The names that the images have in the cluster: the server's, the operator's.
pub fn image_names() -> [String; 2] {
    PROGRAMS.map(|(program, _)| format!("berth.dev/{program}:{}", env!("CARGO_PKG_VERSION")))
}

/// Builds both images and puts them into the cluster.
pub fn load(cluster: &Cluster) -> Result<Vec<Loaded>> {
    packages::ensure(&packages::CLUSTER)?;
    let cache = Cache::from_env()?;
    let programs = compile()?;
    let step = Step::start("images of berth-registry and berth-operator");
    let mut all = Vec::new();
    for (((program, directory), binary), image) in PROGRAMS.iter().zip(programs).zip(image_names()) {
        let context = Context {
            dockerfile: repository().join(directory).join("Dockerfile"),
            files: vec![(program, binary.clone())],
        };
        let (archive, digest) = archive(&cache, &context, &image)?;
        let changed = import(cluster, &image, &archive, &digest)?;
        let archive_bytes =
            std::fs::metadata(&archive).with_context(|| format!("look at {}", archive.display()))?.len();
        let program_bytes = std::fs::metadata(&binary).with_context(|| format!("look at {}", binary.display()))?.len();
        all.push(Loaded { image, program: binary, archive_bytes, program_bytes, digest, changed });
    }
    let shown = |loaded: &Loaded| {
        let state = if loaded.changed { "loaded" } else { "unchanged" };
        format!("{} {} ({state})", loaded.image, bytes(loaded.archive_bytes))
    };
    step.done(&all.iter().map(shown).collect::<Vec<_>>().join(", "));
    Ok(all)
}

/// Compiles both programs for [`TARGET`] and says where they lie.
fn compile() -> Result<[PathBuf; 2]> {
    add_target()?;
    compile::programs(PROGRAMS.map(|(program, _)| program), &["--release", "--target", TARGET], &CC)
}

/// Compiles the server as it is in its image, and says where it lies.
pub fn compile_registry() -> Result<PathBuf> {
    add_target()?;
    let [path] = compile::programs(["berth-registry"], &["--release", "--target", TARGET], &CC)?;
    Ok(path)
}

/// Installs the target's standard library, if rustup is there and it is not.
fn add_target() -> Result<()> {
    let mut list = Command::new("rustup");
    list.current_dir(repository()).args(["target", "list", "--installed"]);
    match run::checked(list) {
        Ok(installed) if installed.lines().any(|line| line.trim() == TARGET) => Ok(()),
        Ok(_) => {
            let mut add = Command::new("rustup");
            add.current_dir(repository()).args(["target", "add", TARGET]);
            run::checked(add).map(drop)
        }
        // Without rustup the target came with the toolchain, or cargo will say that it is missing.
        Err(_) => Ok(()),
    }
}
