//! A real single-node Kubernetes on one machine, and what is done with it: the demo, the end-to-end tests, the figures.
//!
//! The cluster is etcd, containerd, runc and the CNI plugins of Debian, and Kubernetes, CoreDNS and Helm built from
//! their Go modules, all in a network namespace with no uplink. Everything that a daemon is started with is a pure
//! function of [`cluster::spec::Spec`]; the thin rest starts, waits for a condition with a deadline, and ends.
//!
//! Errors are shown to people and never matched, so this crate uses [`anyhow`] throughout.

pub mod bench;
pub mod cluster;
pub mod compile;
pub mod demo;
pub mod figures;
pub mod files;
pub mod images;
pub mod install;
pub mod kit;
pub mod packages;
pub mod paths;
pub mod peer;
pub mod progress;
pub mod provisioner;
pub mod run;
pub mod table;
pub mod tools;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// Chooses the implementation of TLS; the first call counts.
pub fn install_crypto_provider() {
    // An error says that one was chosen before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The program `berth-e2e`, which is also started as a daemon: this process's own, or, in a test, the one beside it.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's file")?;
    if own.file_name().is_some_and(|name| name == "berth-e2e") {
        return Ok(own);
    }
    // Tests lie in the directory `deps` beside the program.
    let beside = own.parent().and_then(|deps| deps.parent()).map(|directory| directory.join("berth-e2e"));
    match beside {
        Some(path) if path.exists() => Ok(path),
        _ => bail!("{}: there is no berth-e2e beside it; build it with `cargo build -p berth-e2e`", own.display()),
    }
}
