//! Helm: charts as OCI artifacts. An installation is a matter of the cluster's tests.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use berth_e2e::compile::repository;
use berth_e2e::run;
use berth_e2e::tools::HELM;

use super::site::{PASSWORD, Site, USER, run_client};
use super::{Client, tool, with_args};

pub(super) const CLIENT: Client = Client {
    name: "Helm",
    version: || with_args(Command::new(tool(HELM)), ["version", "--template", "{{.Version}}"]),
    done: "registry login, push, pull, show, template",
    check,
};

fn check(site: &Site) -> Result<()> {
    let helm = |args: &[&str]| run_client(site, with_args(site.client(tool(HELM)), args));
    let host = site.host();
    let plain: &[&str] = if site.access.tls { &[] } else { &["--plain-http"] };
    if site.access.password {
        let args = ["registry", "login", "--username", USER, "--password-stdin", &host];
        run::with_input(with_args(site.client(tool(HELM)), [args.as_slice(), plain].concat()), PASSWORD.as_bytes())?;
    }
    let chart = repository().join("charts/berth").display().to_string();
    let out = site.path("packaged").display().to_string();
    helm(&["package", &chart, "--destination", &out])?;
    let package = std::fs::read_dir(&out)?.next().context("nothing was packaged")??.path();
    let name = package.file_name().context("a name")?.to_string_lossy().into_owned();
    let version = name.trim_start_matches("berth-").trim_end_matches(".tgz");
    helm(&[&["push", &package.display().to_string(), &format!("oci://{host}/charts")], plain].concat())?;
    site.stored(&site.tagged("charts/berth", version)?)?;
    let pulled = site.path("pulled");
    std::fs::create_dir(&pulled)?;
    let source = format!("oci://{host}/charts/berth");
    let destination = pulled.display().to_string();
    helm(&[&["pull", &source, "--version", version, "--destination", &destination], plain].concat())?;
    ensure!(std::fs::read(&package)? == std::fs::read(pulled.join(&name))?, "the chart came back with other bytes");
    let shown = helm(&[&["show", "chart", &source, "--version", version], plain].concat())?;
    ensure!(shown.contains("name: berth\n"), "{shown}");
    let remote = helm(&[&["template", "berth", &source, "--version", version], plain].concat())?;
    let local = helm(&["template", "berth", &chart])?;
    ensure!(remote == local, "the pulled chart renders otherwise than the local one");
    Ok(())
}
