//! regctl, of regclient: referrers, artifacts and deletion by tag.

use std::process::Command;

use anyhow::{Result, ensure};
use berth_e2e::run;
use berth_e2e::tools::REGCTL;

use super::site::{PASSWORD, Site, USER, run_client, same_files};
use super::{Client, image, tool, with_args};

pub(super) const CLIENT: Client = Client {
    name: "regctl",
    version: || with_args(Command::new(tool(REGCTL)), ["version"]),
    done: "login, copy in and out, attach artifacts and list referrers, list tags and repositories, delete a tag",
    check,
};

fn check(site: &Site) -> Result<()> {
    let client = || {
        let mut command = site.client(tool(REGCTL));
        command.env("REGCTL_CONFIG", site.path("regctl.json"));
        command
    };
    let regctl = |args: &[&str]| run_client(site, with_args(client(), args));
    let host = site.host();
    if !site.access.tls {
        regctl(&["registry", "set", "--skip-check", "--tls", "disabled", &host])?;
    }
    if site.access.password {
        let args = ["registry", "login", "--user", USER, "--pass-stdin", &host];
        run::with_input(with_args(client(), args), PASSWORD.as_bytes())?;
    }
    let (layout, digest) = image()?;
    let target = format!("{host}/regctl/app:v1");
    regctl(&["image", "copy", &format!("ocidir://{}:v1", layout.display()), &target])?;
    site.holds(&layout)?;
    ensure!(regctl(&["image", "digest", &target])?.trim() == digest, "the digest is another");
    let pulled = site.path("pulled");
    regctl(&["image", "copy", &target, &format!("ocidir://{}:v1", pulled.display())])?;
    same_files(&layout.join("blobs"), &pulled.join("blobs"))?;

    let put = ["artifact", "put", "--artifact-type", "application/vnd.example.note", "--subject", &target];
    let put = with_args(client(), put);
    run::with_input(put, b"a note")?;
    let format = ["--format", "{{range .Descriptors}}{{.ArtifactType}}\n{{end}}"];
    let listed = regctl(&[&["artifact", "list", &target], format.as_slice()].concat())?;
    ensure!(listed == "application/vnd.example.note\n", "other referrers than were attached: {listed}");
    let note = regctl(&["artifact", "get", "--subject", &target])?;
    ensure!(note == "a note", "the artifact is {note:?}");

    ensure!(regctl(&["repo", "ls", &host])? == "regctl/app\n", "other repositories than were pushed");
    regctl(&["image", "copy", &target, &format!("{host}/regctl/app:v2")])?;
    regctl(&["tag", "delete", &target])?;
    let tags = regctl(&["tag", "ls", &format!("{host}/regctl/app")])?;
    ensure!(tags == "v2\n", "other tags than are left: {tags}");
    Ok(())
}
