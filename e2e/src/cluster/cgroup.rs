//! The control group that holds every process of a cluster, daemons and containers alike.
//!
//! Membership is inherited, so the group knows the cluster's processes even when `up` died before it wrote a record;
//! `down` asks it whom to end. On version 1 there is one hierarchy per controller, on version 2 one for all.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Where the daemons run; containers are in the groups that the kubelet makes beside it.
const DAEMONS: &str = "daemons";

/// The machine's hierarchies of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    mounts: Vec<PathBuf>,
    /// The hierarchy that tells which processes belong to the cluster.
    membership: PathBuf,
}

impl Hierarchies {
    /// Reads them from the machine.
    pub fn from_host() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
        Self::parse(&mounts)
    }

    fn parse(mounts: &str) -> Result<Self> {
        let mut all = Vec::new();
        let mut membership = None;
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(path), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let pids = kind == "cgroup" && options.split(',').any(|option| option == "pids");
            if kind == "cgroup" || kind == "cgroup2" {
                all.push(PathBuf::from(path));
            }
            if pids || (kind == "cgroup2" && membership.is_none()) {
                membership = Some(PathBuf::from(path));
            }
        }
        let membership = membership.context("no control-group hierarchy with the pids controller is mounted")?;
        Ok(Self { mounts: all, membership })
    }

    /// Makes the group in every hierarchy.
    pub fn create(&self, group: &str) -> Result<()> {
        for mount in &self.mounts {
            let path = mount.join(group);
            std::fs::create_dir_all(&path).with_context(|| format!("create control group {}", path.display()))?;
            // A new group of the cpuset hierarchy has no processors, and nothing could run in it.
            for file in ["cpuset.mems", "cpuset.cpus"] {
                let (from, to) = (mount.join(file), path.join(file));
                if let (Ok(above), Ok(own)) = (std::fs::read(&from), std::fs::read(&to))
                    && own.trim_ascii().is_empty()
                {
                    std::fs::write(&to, above).with_context(|| format!("write {}", to.display()))?;
                }
            }
        }
        let daemons = self.membership.join(group).join(DAEMONS);
        std::fs::create_dir_all(&daemons).with_context(|| format!("create control group {}", daemons.display()))
    }

    /// The file to write a process id to, for it to become a daemon of the group.
    pub fn daemons_file(&self, group: &str) -> PathBuf {
        self.membership.join(group).join(DAEMONS).join("cgroup.procs")
    }

    /// Every process of the group and of the groups below.
    pub fn members(&self, group: &str) -> Vec<Pid> {
        let mut pids = Vec::new();
        for directory in below(&self.membership.join(group)) {
            let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
        }
        pids
    }

    /// Kills every process of the group except this one, and returns once none is left.
    pub fn kill(&self, group: &str, deadline: Duration) -> Result<usize> {
        let own = rustix::process::getpid();
        let started = Instant::now();
        let mut killed = std::collections::BTreeSet::new();
        loop {
            let members: Vec<Pid> = self.members(group).into_iter().filter(|pid| *pid != own).collect();
            if members.is_empty() {
                return Ok(killed.len());
            }
            if started.elapsed() > deadline {
                bail!("{} processes of {group} survive SIGKILL: {members:?}", members.len());
            }
            for pid in members {
                // It may have ended meanwhile: the next look tells.
                let _ = kill_process(pid, Signal::KILL);
                killed.insert(pid.as_raw_nonzero());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Removes the group from every hierarchy; its processes must have ended.
    pub fn remove(&self, group: &str, deadline: Duration) -> Result<()> {
        let started = Instant::now();
        for mount in &self.mounts {
            for directory in below(&mount.join(group)).into_iter().rev() {
                // The kernel empties a group a moment after its last process ended.
                while let Err(error) = std::fs::remove_dir(&directory) {
                    if error.kind() == std::io::ErrorKind::NotFound {
                        break;
                    }
                    if started.elapsed() > deadline {
                        return Err(error).with_context(|| format!("remove control group {}", directory.display()));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        Ok(())
    }
}

/// A directory and those below, parents first; empty if it does not exist.
fn below(root: &Path) -> Vec<PathBuf> {
    if !root.is_dir() {
        return vec![];
    }
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        if let Ok(entries) = std::fs::read_dir(&all[next]) {
            let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            all.extend(directories.map(|entry| entry.path()));
        }
        next += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_understood() {
        let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                  cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                  cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
                  /dev/vda / ext4 rw 0 0\n";
        let parsed = Hierarchies::parse(v1).expect("valid");
        assert_eq!(parsed.membership, Path::new("/sys/fs/cgroup/pids"));
        assert_eq!(parsed.mounts.len(), 3);
        let v2 = Hierarchies::parse("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n").expect("valid");
        assert_eq!(v2.membership, Path::new("/sys/fs/cgroup"));
        assert!(Hierarchies::parse("/dev/vda / ext4 rw 0 0\n").is_err());
    }
}
