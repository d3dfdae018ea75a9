//! What clients do without a password where everybody may pull what is public, and pushes ask for a password.

use anyhow::{Context as _, Result, ensure};
use berth_e2e::files::write_private;
use berth_e2e::packages;
use berth_e2e::run;
use berth_e2e::tools::{CRANE, REGCTL};

use super::site::{Access, PASSWORD, Site, USER, run_client};
use super::{image, tool, with_args};

/// Everybody pulls what is public.
const PUBLIC: (&str, &str) = ("REGISTRY_AUTH_ANONYMOUS", "[{repositories: 'public/**', actions: [pull]}]");

#[test]
fn everybody_pulls_what_is_public_and_nothing_else() -> Result<()> {
    packages::ensure(&packages::CLIENTS)?;
    let site = Site::start_with(Access { tls: false, password: true }, &[PUBLIC])?;
    let host = site.host();
    let crane = || site.client(tool(CRANE));
    let login = ["auth", "login", "--username", USER, "--password-stdin", &host];
    run::with_input(with_args(crane(), login), PASSWORD.as_bytes())?;
    let (layout, digest) = image()?;
    for repository in ["public/app", "private/app"] {
        run_client(
            &site,
            with_args(crane(), ["push", &layout.display().to_string(), &format!("{host}/{repository}:v1")]),
        )?;
    }
    // From here on nobody has a password.
    write_private(&site.passwords(), b"{}")?;
    let regctl = || {
        let mut command = site.client(tool(REGCTL));
        command.env("REGCTL_CONFIG", site.path("regctl.json"));
        command
    };
    run_client(&site, with_args(regctl(), ["registry", "set", "--skip-check", "--tls", "disabled", &host]))?;
    let store = [site.path("store"), site.path("run")].map(|path| path.display().to_string());
    let podman = ["--storage-driver", "vfs", "--root", &store[0], "--runroot", &store[1]];
    let image = |repository: &str| format!("{host}/{repository}:v1");
    let commands = |repository: &str| {
        let (image, transport) = (image(repository), format!("docker://{}", image(repository)));
        [
            ("crane", with_args(crane(), ["digest", &image])),
            ("skopeo", with_args(site.client("skopeo"), ["inspect", "--tls-verify=false", &transport])),
            ("regctl", with_args(regctl(), ["image", "digest", &image])),
            (
                "podman",
                with_args(
                    site.client("podman"),
                    [&podman[..], &["pull", "--quiet", "--tls-verify=false", &image]].concat(),
                ),
            ),
        ]
    };
    for (name, command) in commands("public/app") {
        let printed = run_client(&site, command).with_context(|| format!("{name} has no password"))?;
        ensure!(name == "podman" || printed.contains(&digest), "{name} has another image: {printed}");
    }
    for (name, command) in commands("private/app") {
        ensure!(run::checked(command).is_err(), "{name} has no password and pulls what is private");
    }
    let push = ["push", &layout.display().to_string(), &format!("{host}/public/app:v2")];
    ensure!(run::checked(with_args(crane(), push)).is_err(), "crane has no password and pushes");
    ensure!(site.tagged("public/app", "v2").is_err(), "the tag is there");
    Ok(())
}
