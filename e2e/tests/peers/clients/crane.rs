//! crane, of go-containerregistry: the library of ko, kaniko and many more.

use anyhow::{Result, ensure};
use berth_e2e::run;
use berth_e2e::tools::CRANE;

use super::site::{PASSWORD, Site, USER, run_client, same_files};
use super::{Client, image, tool, with_args};

pub(super) const CLIENT: Client = Client {
    name: "crane",
    version: || with_args(std::process::Command::new(tool(CRANE)), ["version"]),
    done: "login, push, pull, validate, copy, tag, list tags and repositories, read blobs, delete",
    check,
};

fn check(site: &Site) -> Result<()> {
    let crane = |args: &[&str]| run_client(site, with_args(site.client(tool(CRANE)), args));
    let host = site.host();
    if site.access.password {
        let args = ["auth", "login", "--username", USER, "--password-stdin", &host];
        run::with_input(with_args(site.client(tool(CRANE)), args), PASSWORD.as_bytes())?;
    }
    let (layout, digest) = image()?;
    let target = format!("{host}/crane/app:v1");
    crane(&["push", &layout.display().to_string(), &target])?;
    site.holds(&layout)?;
    ensure!(crane(&["digest", &target])?.trim() == digest, "the digest is another");
    crane(&["validate", "--remote", &target])?;
    let pulled = site.path("pulled");
    crane(&["pull", "--format", "oci", &format!("{host}/crane/app@{digest}"), &pulled.display().to_string()])?;
    same_files(&layout.join("blobs"), &pulled.join("blobs"))?;
    crane(&["copy", &target, &format!("{host}/crane/other:copied")])?;
    crane(&["tag", &target, "again"])?;
    ensure!(crane(&["ls", &format!("{host}/crane/app")])? == "again\nv1\n", "other tags than were given");
    ensure!(crane(&["catalog", &host])? == "crane/app\ncrane/other\n", "other repositories than were pushed");
    let manifest = crane(&["manifest", &target])?;
    ensure!(manifest.trim_end().as_bytes() == site.stored(&digest)?.trim_ascii_end(), "another manifest");
    crane(&["delete", &format!("{host}/crane/other@{digest}")])?;
    ensure!(site.tagged("crane/other", "copied").is_err(), "the tag is still there");
    Ok(())
}
