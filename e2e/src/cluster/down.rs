//! Ends a cluster and removes everything of it, also after a crash of `up`, and as often as wanted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::mount::{UnmountFlags, unmount};

use super::cgroup::Hierarchies;
use super::process::Record;
use crate::files::Lock;
use crate::paths::Cache;
use crate::progress::Step;

/// How long processes and control groups may take to go.
const DEADLINE: Duration = Duration::from_secs(30);

/// Ends the cluster `name`.
///
/// Nothing in it is worth a graceful end: all processes are killed at once. With them go the namespaces, and with those
/// the mounts, network interfaces and packet-filter rules.
pub fn down(name: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a cluster belongs to root: run this as root");
    }
    let cache = Cache::from_env()?;
    let dir = cache.cluster(name)?;
    let group = format!("berth-{name}");
    let _lock = Lock::take(&cache.lock(&format!("cluster-{name}")), || {
        eprintln!("  another run works on cluster {name:?}: waiting for it");
    })?;
    let step = Step::start(format!("end cluster {name}"));
    let groups = Hierarchies::from_host()?;
    let killed = groups.kill(&group, DEADLINE)?;
    // A daemon that never reached the control group is known by its record alone.
    for entry in std::fs::read_dir(dir.join("processes")).into_iter().flatten().flatten() {
        if let Some(component) = entry.path().file_stem().and_then(|stem| stem.to_str())
            && let Some(record) = Record::load(&dir, component)
        {
            record.end().with_context(|| format!("end {component}"))?;
        }
    }
    groups.remove(&group, DEADLINE)?;
    unmount_below(dir.root())?;
    match std::fs::remove_dir_all(dir.root()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", dir.root().display()));
        }
        _ => {}
    }
    step.done(&format!("{killed} processes ended"));
    Ok(())
}

/// Takes away what is mounted below a directory in our own mount namespace, so that removing it removes nothing else.
fn unmount_below(root: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    for path in mount_points_below(&mounts, root).into_iter().rev() {
        unmount(path, UnmountFlags::DETACH).with_context(|| format!("unmount {path}"))?;
    }
    Ok(())
}

fn mount_points_below<'a>(mounts: &'a str, root: &Path) -> Vec<&'a str> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points.filter(|point| Path::new(point).starts_with(root)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_are_taken_away() {
        let mounts = "a /c/berth x rw 0 0\nb /c/berth/m x rw 0 0\nc /c/berth2 x rw 0 0\nd /c x rw 0 0\n";
        assert_eq!(mount_points_below(mounts, Path::new("/c/berth")), ["/c/berth", "/c/berth/m"]);
    }
}
