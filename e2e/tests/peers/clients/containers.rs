//! podman, buildah and skopeo, which share a library.

use std::process::Command;

use anyhow::{Result, ensure};
use berth_e2e::run;

use super::site::{PASSWORD, Site, USER, run_client, same_files};
use super::{Client, image, with_args};

pub(super) const SKOPEO: Client = Client {
    name: "skopeo",
    version: || with_args(Command::new("skopeo"), ["--version"]),
    done: "login, copy in and out with digests preserved, copy between repositories, list tags, inspect, delete",
    check: skopeo,
};

pub(super) const PODMAN: Client = Client {
    name: "Podman",
    version: || with_args(Command::new("podman"), ["--version"]),
    done: "login, push, pull by tag and by digest",
    check: podman,
};

pub(super) const BUILDAH: Client = Client {
    name: "Buildah",
    version: || with_args(Command::new("buildah"), ["--version"]),
    done: "login, build `FROM` a pulled image, push, pull by digest",
    check: buildah,
};

/// The argument by which these clients are told that there is no TLS.
fn tls(site: &Site) -> &'static str {
    if site.access.tls { "--tls-verify=true" } else { "--tls-verify=false" }
}

fn login(site: &Site, command: Command) -> Result<()> {
    if site.access.password {
        let args = ["login", tls(site), "--username", USER, "--password-stdin", &site.host()];
        run::with_input(with_args(command, args), PASSWORD.as_bytes())?;
    }
    Ok(())
}

fn skopeo(site: &Site) -> Result<()> {
    let skopeo = |args: &[&str]| run_client(site, with_args(site.client("skopeo"), args));
    login(site, site.client("skopeo"))?;
    let (layout, digest) = image()?;
    let (host, tls) = (site.host(), tls(site));
    let (from, to) = (format!("--src-{}", &tls[2..]), format!("--dest-{}", &tls[2..]));
    let source = format!("oci:{}", layout.display());
    let target = format!("docker://{host}/skopeo/app:v1");
    skopeo(&["copy", "--preserve-digests", &to, &source, &target])?;
    site.holds(&layout)?;
    ensure!(site.tagged("skopeo/app", "v1")? == digest, "the tag leads elsewhere");
    let pulled = site.path("pulled");
    let by_digest = format!("docker://{host}/skopeo/app@{digest}");
    skopeo(&["copy", "--preserve-digests", &from, &by_digest, &format!("oci:{}", pulled.display())])?;
    same_files(&layout.join("blobs"), &pulled.join("blobs"))?;
    let other = format!("docker://{host}/skopeo/other:v1");
    skopeo(&["copy", "--preserve-digests", &from, &to, &target, &other])?;
    let raw = skopeo(&["inspect", "--raw", tls, &other])?;
    ensure!(raw.as_bytes() == site.stored(&digest)?, "inspect shows another manifest");
    let tags = skopeo(&["list-tags", tls, &format!("docker://{host}/skopeo/app")])?;
    ensure!(tags.contains("\"v1\""), "{tags}");
    skopeo(&["delete", tls, &other])?;
    ensure!(site.tagged("skopeo/other", "v1").is_err(), "the tag is still there");
    Ok(())
}

/// podman and buildah with a storage of the site's own, which needs no mounts.
pub(super) fn with_storage(site: &Site, program: &str) -> Command {
    let mut command = site.client(program);
    command.arg("--root").arg(site.path("storage")).arg("--runroot").arg(site.path("storage-run"));
    command.args(["--storage-driver", "vfs"]);
    command
}

/// The image in a form that they take by any path: of a layout they make the path a name.
pub(super) fn archive(site: &Site) -> Result<String> {
    let (layout, _) = image()?;
    let target = format!("docker-archive:{}", site.path("image.tar").display());
    if site.path("image.tar").exists() {
        return Ok(target);
    }
    let source = format!("oci:{}:v1", layout.display());
    let copy = ["copy", "--quiet", &source, &format!("{target}:example.com/app:v1")];
    run_client(site, with_args(site.client("skopeo"), copy))?;
    Ok(target)
}

fn podman(site: &Site) -> Result<()> {
    let podman = |args: &[&str]| run_client(site, with_args(with_storage(site, "podman"), args));
    login(site, with_storage(site, "podman"))?;
    let (host, tls) = (site.host(), tls(site));
    let loaded = podman(&["pull", "--quiet", &archive(site)?])?;
    let id = loaded.trim();
    let target = format!("{host}/podman/app:v1");
    podman(&["push", "--quiet", tls, id, &target])?;
    let digest = site.tagged("podman/app", "v1")?;
    podman(&["rmi", "--force", id])?;
    for reference in [target.clone(), format!("{host}/podman/app@{digest}")] {
        let pulled = podman(&["pull", "--quiet", tls, &reference])?;
        // The identity is the digest of the configuration, which holds those of the layers' content.
        ensure!(pulled.trim() == id, "{reference} is {} and not {id}", pulled.trim());
        let shown = podman(&["image", "inspect", "--format", "{{.Digest}}", &reference])?;
        ensure!(shown.trim() == digest, "{reference} has digest {} and not {digest}", shown.trim());
    }
    Ok(())
}

fn buildah(site: &Site) -> Result<()> {
    let buildah = |args: &[&str]| run_client(site, with_args(with_storage(site, "buildah"), args));
    login(site, with_storage(site, "buildah"))?;
    let (host, tls) = (site.host(), tls(site));
    let loaded = buildah(&["pull", "--quiet", &archive(site)?])?;
    buildah(&["push", "--quiet", tls, loaded.trim(), &format!("docker://{host}/buildah/base:v1")])?;
    buildah(&["rmi", "--all", "--force"])?;
    std::fs::write(site.path("Dockerfile"), format!("FROM {host}/buildah/base:v1\nCOPY added /added\n"))?;
    std::fs::write(site.path("added"), "added")?;
    let context = site.path("").display().to_string();
    let file = site.path("Dockerfile").display().to_string();
    let ignore = site.path(".dockerignore");
    std::fs::write(ignore, "*\n!added\n")?;
    let built = buildah(&["build", "--quiet", "--isolation", "chroot", tls, "--file", &file, &context])?;
    let target = format!("{host}/buildah/app:v1");
    buildah(&["push", "--quiet", tls, built.trim(), &format!("docker://{target}")])?;
    let digest = site.tagged("buildah/app", "v1")?;
    site.stored(&digest)?;
    buildah(&["rmi", "--all", "--force"])?;
    let pulled = buildah(&["pull", "--quiet", tls, &format!("{host}/buildah/app@{digest}")])?;
    ensure!(pulled.trim() == built.trim(), "pulled {} and not {}", pulled.trim(), built.trim());
    Ok(())
}
