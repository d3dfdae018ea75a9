//! containerd, through ctr: what the kubelet's pull is made of.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use berth_e2e::files::tail;
use berth_e2e::run;

use super::site::{PASSWORD, Site, USER, run_client};
use super::{Client, image, with_args};

pub(super) const CLIENT: Client = Client {
    name: "containerd (ctr)",
    version: || with_args(Command::new("ctr"), ["--version"]),
    done: "import, push, pull by tag and by digest, content compared",
    check,
};

/// How long containerd may take to listen.
const DEADLINE: Duration = Duration::from_secs(30);

/// A containerd of the test's own, which ends when this is dropped.
struct Containerd(Child);

impl Containerd {
    fn start(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        let config = format!(
            "version = 2\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = \"{shown}/sock\"\n"
        );
        std::fs::create_dir_all(directory)?;
        let (file, log) = (directory.join("config.toml"), directory.join("log"));
        std::fs::write(&file, config)?;
        let output = std::fs::File::create(&log)?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut containerd = Self(command.spawn().context("start containerd")?);
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(directory.join("sock")).is_err() {
            let ended = containerd.0.try_wait()?;
            if ended.is_some() || started.elapsed() > DEADLINE {
                bail!("containerd does not listen ({ended:?}):\n{}", tail(&log, 20)?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(containerd)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if let Err(error) = self.0.wait() {
            eprintln!("wait for containerd: {error}");
        }
    }
}

fn check(site: &Site) -> Result<()> {
    let directory = site.path("containerd");
    let _containerd = Containerd::start(&directory)?;
    let ctr = |args: &[&str]| {
        let mut command = site.client("ctr");
        command.arg("--address").arg(directory.join("sock"));
        run_client(site, with_args(command, args))
    };
    let (layout, digest) = image()?;
    let archive = site.path("image.tar");
    let tar = ["--create", "--file", &archive.display().to_string(), "--directory", &layout.display().to_string(), "."];
    run::checked(with_args(Command::new("tar"), tar))?;
    let target = format!("{}/ctr/app:v1", site.host());
    let user = format!("{USER}:{PASSWORD}");
    let hosts = site.path("hosts");
    let hosts = hosts.to_string_lossy();
    let mut access = if site.access.tls { vec!["--hosts-dir", &hosts] } else { vec!["--plain-http"] };
    if site.access.tls {
        trust(site)?;
    }
    if site.access.password {
        access.extend(["--user", &user]);
    }
    ctr(&["images", "import", "--no-unpack", "--digests", "--base-name", "imported", &archive.display().to_string()])?;
    ctr(&["images", "tag", &format!("imported@{digest}"), &target])?;
    ctr(&[&["images", "push"], access.as_slice(), &[&target]].concat())?;
    site.holds(&layout)?;
    ensure!(site.tagged("ctr/app", "v1")? == digest, "the tag leads elsewhere");
    for reference in [target.clone(), format!("{}/ctr/app@{digest}", site.host())] {
        forget(&ctr)?;
        ctr(&[&["images", "pull", "--snapshotter", "native"], access.as_slice(), &[&reference]].concat())?;
        let manifest = ctr(&["content", "get", &digest])?;
        ensure!(manifest.as_bytes() == site.stored(&digest)?, "{reference} gives another manifest");
    }
    let blobs = directory.join("root/io.containerd.content.v1.content/blobs/sha256");
    for entry in std::fs::read_dir(layout.join("blobs/sha256"))? {
        let entry = entry?;
        ensure!(
            std::fs::read(entry.path())? == std::fs::read(blobs.join(entry.file_name()))?,
            "{:?} was pulled with other bytes",
            entry.file_name()
        );
    }
    Ok(())
}

/// Says that there is TLS, which containerd does not expect on loopback, and whose.
fn trust(site: &Site) -> Result<()> {
    let (host, authority) = (site.host(), site.authority());
    let directory = site.path("hosts").join(&host);
    std::fs::create_dir_all(&directory)?;
    let settings = format!(
        "server = \"https://{host}\"\n[host.\"https://{host}\"]\n  \
         capabilities = [\"pull\", \"resolve\", \"push\"]\n  ca = \"{}\"\n",
        authority.display()
    );
    std::fs::write(directory.join("hosts.toml"), settings).context("write hosts.toml")
}

/// Removes every image and all content, so that a pull fetches everything.
fn forget(ctr: &dyn Fn(&[&str]) -> Result<String>) -> Result<()> {
    for name in ctr(&["images", "list", "--quiet"])?.lines() {
        ctr(&["images", "rm", "--sync", name])?;
    }
    let left = ctr(&["content", "list", "--quiet"])?;
    ensure!(left.is_empty(), "content is left: {left}");
    Ok(())
}
