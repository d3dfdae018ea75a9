//! The clients that people use, against Berth, with every kind of access that the list in `site` has.
//!
//! What is pushed is looked at in the store, and what is pulled is compared with what was pushed, byte for byte.

mod anonymous;
mod containers;
mod cosign;
mod crane;
mod ctr;
mod helm;
mod keycloak;
mod regctl;
mod site;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::images::app;
use berth_e2e::packages;
use berth_e2e::paths::Cache;
use berth_e2e::run;
use berth_e2e::tools::{self, Tool};

use crate::report;
use site::{Access, Site};

/// A client, and what is done with it.
struct Client {
    name: &'static str,
    /// Prints the version.
    version: fn() -> Command,
    /// For people.
    done: &'static str,
    check: fn(&Site) -> Result<()>,
}

/// The order of the table in the document.
const CLIENTS: [&Client; 8] = [
    &ctr::CLIENT,
    &containers::PODMAN,
    &containers::BUILDAH,
    &containers::SKOPEO,
    &crane::CLIENT,
    &regctl::CLIENT,
    &helm::CLIENT,
    &cosign::CLIENT,
];

#[test]
fn containerd() -> Result<()> {
    everywhere(&ctr::CLIENT)
}

#[test]
fn podman() -> Result<()> {
    everywhere(&containers::PODMAN)
}

#[test]
fn buildah() -> Result<()> {
    everywhere(&containers::BUILDAH)
}

#[test]
fn skopeo() -> Result<()> {
    everywhere(&containers::SKOPEO)
}

#[test]
fn crane() -> Result<()> {
    everywhere(&crane::CLIENT)
}

#[test]
fn regctl() -> Result<()> {
    everywhere(&regctl::CLIENT)
}

#[test]
fn helm() -> Result<()> {
    everywhere(&helm::CLIENT)
}

#[test]
fn cosign() -> Result<()> {
    everywhere(&cosign::CLIENT)
}

#[test]
fn the_clients_are_documented() -> Result<()> {
    packages::ensure(&packages::CLIENTS)?;
    let mut rows = Vec::new();
    for client in CLIENTS {
        let printed = run::checked((client.version)())?;
        let version = version(&printed).with_context(|| format!("{} prints no version: {printed}", client.name))?;
        rows.push(format!("| {} | {version} | {} |", client.name, client.done));
    }
    report::section("clients", &rows.join("\n"))
}

/// The first word that looks like a version.
fn version(printed: &str) -> Option<&str> {
    let is_digit = |c: char| c.is_ascii_digit();
    let words = printed.split(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | ':'));
    let words = words.map(|word| word.trim_start_matches('v'));
    words.into_iter().find(|word| word.starts_with(is_digit) && word.contains('.')).map(|word| {
        // Debian's and Git's additions say nothing about the client.
        word.split(['~', '+']).next().unwrap_or(word)
    })
}

fn everywhere(client: &Client) -> Result<()> {
    packages::ensure(&packages::CLIENTS)?;
    for access in Access::ALL {
        let site = Site::start(access)?;
        (client.check)(&site).with_context(|| format!("{}, {access:?}", client.name))?;
    }
    Ok(())
}

/// An image of several layers as an OCI layout: the directory, and the digest of its manifest.
fn image() -> Result<(PathBuf, String)> {
    let app = app::release(&Cache::from_env()?, "v1")?;
    let directory = app.directory().to_owned();
    let index = std::fs::read(directory.join("index.json"))?;
    let index: serde_json::Value = serde_json::from_slice(&index)?;
    let digest = index["manifests"][0]["digest"].as_str().context("an index without a manifest")?;
    ensure!(digest.starts_with("sha256:"), "{digest} is not of sha256");
    Ok((directory, digest.to_owned()))
}

/// The program of a tool, which is built if it is not in the cache.
fn tool(tool: Tool) -> PathBuf {
    let cache = Cache::from_env().expect("a place for the tools");
    tools::ensure(&cache, &[tool]).expect("the tool is built").program(&tool)
}

/// The arguments of a command, as one writes them.
fn with_args<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(mut command: Command, args: I) -> Command {
    command.args(args);
    command
}

#[test]
fn versions_are_found() {
    for (printed, expected) in [
        ("skopeo version 1.9.3\n", "1.9.3"),
        ("ctr github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", "1.6.20"),
        ("v4.3.1+g1234\n", "4.3.1"),
        ("\"VCSTag\": \"v0.11.7\",", "0.11.7"),
        ("GitVersion:    v3.1.3", "3.1.3"),
    ] {
        assert_eq!(version(printed), Some(expected), "{printed}");
    }
}
