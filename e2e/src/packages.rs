//! The Debian packages that the cluster, the images and the tests with other clients need, installed when missing.
//!
//! Their services are not wanted: the cluster starts its own daemons. A package that is newly installed is kept from
//! starting, and disabled.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::files::Lock;
use crate::paths::Cache;
use crate::progress::Step;
use crate::run;

/// A package, and a file that tells whether it is there.
pub type Package = (&'static str, &'static str);

/// What the local cluster and the images need.
pub const CLUSTER: [Package; 9] = [
    ("etcd-server", "/usr/bin/etcd"),
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iptables", "/usr/sbin/iptables"),
    ("iproute2", "/usr/sbin/ip"),
    ("skopeo", "/usr/bin/skopeo"),
    ("buildah", "/usr/bin/buildah"),
    ("musl-tools", "/usr/bin/musl-gcc"),
];

/// The clients that Berth is tested with.
pub const CLIENTS: [Package; 4] = [
    ("buildah", "/usr/bin/buildah"),
    ("containerd", "/usr/bin/containerd"),
    ("podman", "/usr/bin/podman"),
    ("skopeo", "/usr/bin/skopeo"),
];

/// What `berth-e2e bench` needs: the server to compare with, the load generator, the linker of the release build.
pub const BENCH: [Package; 3] =
    [("musl-tools", "/usr/bin/musl-gcc"), ("nginx", "/usr/sbin/nginx"), ("wrk", "/usr/bin/wrk")];

/// The units of systemd that those packages bring and that nobody asked for.
const UNITS: [(&str, &str); 7] = [
    ("etcd-server", "etcd.service"),
    ("containerd", "containerd.service"),
    ("nginx", "nginx.service"),
    ("podman", "podman.service"),
    ("podman", "podman.socket"),
    ("podman", "podman-restart.service"),
    ("podman", "podman-auto-update.timer"),
];

/// How long an update of the package lists waits for another apt that is no process of ours.
const PATIENCE: Duration = Duration::from_mins(10);

/// dpkg asks this program whether a newly installed service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

fn missing(packages: &[Package], exists: impl Fn(&Path) -> bool) -> Vec<&'static str> {
    let absent = |file: &str| {
        let path = Path::new(file);
        // Debian keeps some programs in /bin and /sbin, which on older systems are not links to /usr.
        !exists(path) && !path.strip_prefix("/usr").is_ok_and(|short| exists(&Path::new("/").join(short)))
    };
    packages.iter().filter(|(_, file)| absent(file)).map(|(package, _)| *package).collect()
}

/// Installs what is missing of `packages`; needs root and apt. Callers in other threads and processes take turns.
pub fn ensure(packages: &[Package]) -> Result<()> {
    if missing(packages, Path::exists).is_empty() {
        return Ok(());
    }
    let _turn = turn()?;
    let missing = missing(packages, Path::exists);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let step = Step::start(format!("install {list}"));
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these Debian packages are missing and there is no apt-get to install them: {list}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("these Debian packages are missing; install them as root: apt-get install {list}");
    }
    let policy = Policy::forbid_services()?;
    step.note("update the package lists");
    update()?;
    step.note("install");
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"];
    args.extend(&missing);
    run::checked(apt(&args))?;
    drop(policy);
    if Path::new("/run/systemd/system").exists() {
        for (_, unit) in UNITS.iter().filter(|(package, _)| missing.contains(package)) {
            let mut systemctl = Command::new("systemctl");
            systemctl.args(["disable", "--now", unit]);
            run::checked(systemctl)?;
        }
    }
    step.done("");
    Ok(())
}

/// Waits until no other thread or process of ours runs apt: a second one fails at once instead of waiting.
fn turn() -> Result<Lock> {
    Lock::take(&Cache::from_env()?.lock("apt"), || ())
}

/// Updates the package lists, whose lock has no waiting of its own: the machine may run apt by itself.
fn update() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match run::checked(apt(&["update", "-qq"])) {
            Ok(_) => return Ok(()),
            Err(error) if !is_locked(&error.to_string()) || Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}

/// Whether apt failed since another one was running.
fn is_locked(said: &str) -> bool {
    said.contains("Could not get lock")
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// While it lives, dpkg starts no service.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid_services() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        let policy = Self { ours: true };
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {POLICY} executable"))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("remove {POLICY}: {error}");
        }
    }
}

/// Unpacks one file of a Debian package that need not be installed.
pub fn file_of_package(package: &str, file: &str, target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let _turn = turn()?;
    if target.exists() {
        return Ok(());
    }
    let parent = target.parent().with_context(|| format!("{}: no parent", target.display()))?;
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let temporary = parent.join(format!(".unpacking-{package}-{}", std::process::id()));
    std::fs::create_dir_all(&temporary).with_context(|| format!("create {}", temporary.display()))?;
    let unpacked = unpack(package, file, &temporary)
        .and_then(|found| std::fs::rename(&found, target).with_context(|| format!("write {}", target.display())));
    let removed = std::fs::remove_dir_all(&temporary).with_context(|| format!("remove {}", temporary.display()));
    unpacked.and(removed)
}

fn unpack(package: &str, file: &str, directory: &Path) -> Result<std::path::PathBuf> {
    let download = || {
        let mut command = apt(&["download", "-qq", package]);
        // apt would hand the download to a user of its own who may not write here.
        command.current_dir(directory).args(["-o", "APT::Sandbox::User=root"]);
        run::checked(command)
    };
    if download().is_err() {
        update()?;
        download()?;
    }
    let archive = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {package} left no .deb file"))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(archive).arg(directory);
    run::checked(command)?;
    let found = directory.join(file);
    if !found.is_file() {
        bail!("package {package} holds no {file}");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_apt_is_waited_for_and_nothing_else() {
        let said =
            "`apt-get update -qq` failed:\nE: Could not get lock /var/lib/apt/lists/lock. It is held by process 7";
        assert!(is_locked(said));
        assert!(!is_locked("`apt-get update -qq` failed:\nE: The repository is not signed"));
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(missing(&CLUSTER, |_| true).is_empty());
        assert_eq!(missing(&CLUSTER, |path| !path.ends_with("skopeo")), ["skopeo"]);
        // On a system where /sbin is a directory of its own.
        assert!(!missing(&CLUSTER, |path| path == Path::new("/sbin/runc")).contains(&"runc"));
    }
}
