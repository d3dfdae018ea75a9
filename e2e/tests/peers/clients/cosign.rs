//! cosign with a pair of keys and no transparency log: signatures and attestations that refer to an image.

use std::process::Command;

use anyhow::{Result, ensure};
use berth_e2e::run;
use berth_e2e::tools::{COSIGN, CRANE};

use super::site::{PASSWORD, Site, USER, run_client};
use super::{Client, image, tool, with_args};

pub(super) const CLIENT: Client = Client {
    name: "cosign",
    version: || with_args(Command::new(tool(COSIGN)), ["version"]),
    done: "login, sign and verify with a key, attest and verify, both found through referrers",
    check,
};

fn check(site: &Site) -> Result<()> {
    let client = || {
        let mut command = site.client(tool(COSIGN));
        command.env("COSIGN_PASSWORD", "of the key");
        command
    };
    let cosign = |args: &[&str]| run_client(site, with_args(client(), args));
    let host = site.host();
    if site.access.password {
        let args = ["login", "--username", USER, "--password-stdin", &host];
        run::with_input(with_args(client(), args), PASSWORD.as_bytes())?;
    }
    let (layout, digest) = image()?;
    let push = ["push", &layout.display().to_string(), &format!("{host}/cosign/app:v1")];
    run_client(site, with_args(site.client(tool(CRANE)), push))?;
    let target = format!("{host}/cosign/app@{digest}");
    cosign(&["generate-key-pair"])?;
    let plain: &[&str] = if site.access.tls { &[] } else { &["--allow-http-registry"] };
    let offline = ["--key", "cosign.key", "--yes", "--tlog-upload=false", "--use-signing-config=false"];
    cosign(&[&["sign"], plain, &offline, &[&target]].concat())?;
    std::fs::write(site.path("predicate.json"), "{\"built\":\"by a test\"}")?;
    let predicate = ["--predicate", "predicate.json", "--type", "https://example.com/built"];
    cosign(&[&["attest"], plain, &offline, &predicate, &[&target]].concat())?;

    let verify = ["--key", "cosign.pub", "--insecure-ignore-tlog=true"];
    let verified = cosign(&[&["verify"], plain, &verify, &[&target]].concat())?;
    ensure!(verified.contains(&digest), "verified something else: {verified}");
    let predicate = ["--type", "https://example.com/built"];
    cosign(&[&["verify-attestation"], plain, &verify, &predicate, &[&target]].concat())?;
    let tags = run_client(site, with_args(site.client(tool(CRANE)), ["ls", &format!("{host}/cosign/app")]))?;
    ensure!(tags == "v1\n", "cosign did not use the referrers API, and made tags of its own: {tags}");
    // A signature is one of the very image: another image has none.
    cosign(&["generate-key-pair", "--output-key-prefix", "other"])?;
    let other = ["--key", "other.pub", "--insecure-ignore-tlog=true"];
    let outcome = run::outcome(with_args(client(), [&["verify"], plain, &other, &[&target]].concat()), &[])?;
    ensure!(!outcome.success, "a signature of another key was verified");
    Ok(())
}
