//! Daemons as processes: start, record, look whether they live, end.
//!
//! A record holds the process id and the time of its start, so that a later process with the same id is never taken
//! for the daemon.

use std::fs::OpenOptions;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::components::{Launch, Place};
use super::spec::Spec;
use crate::files::{write_private, write_public};
use crate::paths::ClusterDir;

/// How long a daemon may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// What is remembered of a started daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The process id.
    pub pid: i32,
    /// When it started, in clock ticks after boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// A digest of how it was started.
    pub launch: String,
}

impl Record {
    /// The record of a component, if there is a readable one.
    pub fn load(dir: &ClusterDir, component: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.record(component)).ok()?).ok()
    }

    /// Whether the very process that was started still runs.
    pub fn alive(&self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.state != 'Z')
    }

    /// Asks the process to end, and kills it if it does not.
    pub fn end(&self) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        let started = Instant::now();
        let mut signal = Signal::TERM;
        while self.alive() {
            let _ = kill_process(pid, signal);
            if started.elapsed() > GRACE {
                signal = Signal::KILL;
            }
            if started.elapsed() > GRACE * 2 {
                bail!("process {} survives SIGKILL", self.pid);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The state's letter; `Z` is a process that ended and was not waited for.
    pub state: char,
    /// When it started, in clock ticks after boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads it; `None` if there is no such process.
    pub fn read(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        Some(Self { state: fields.next()?.chars().next()?, start_ticks: fields.nth(18)?.parse().ok()? })
    }
}

/// The resident memory of a process, in bytes.
pub fn resident_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// A digest of how a daemon is started.
pub fn digest(launch: &Launch) -> String {
    hex::encode(Sha256::digest(format!("{launch:?}")))
}

/// Arguments of this program for running a command in the cluster's group, and in the namespaces of `holder`; a daemon
/// gets a session of its own, so that a terminal's signals do not reach it.
pub fn enter_args(spec: &Spec, holder: Option<i32>, daemon: bool) -> Vec<String> {
    let mut args = vec!["internal".to_owned(), "enter".to_owned(), "--group".to_owned(), spec.cgroup()];
    if !daemon {
        args.push("--attached".to_owned());
    }
    if let Some(pid) = holder {
        args.extend(["--holder".to_owned(), pid.to_string()]);
    }
    args.push("--".to_owned());
    args
}

/// Starts a daemon and writes its record.
pub fn start(spec: &Spec, launch: &Launch, holder: Option<i32>) -> Result<Child> {
    for (path, content) in &launch.files {
        write_public(path, content.as_bytes())?;
    }
    let holder = holder.filter(|_| launch.place == Place::Inside);
    let mut command = Command::new(&spec.program);
    command
        .args(enter_args(spec, holder, true))
        .arg(&launch.program)
        .args(&launch.args)
        .envs(launch.env.iter().map(|(key, value)| (*key, value.as_str())));
    spawn(spec, launch.name, &mut command, digest(launch))
}

/// Starts a prepared command as the daemon `name`, its output going to the log.
pub fn spawn(spec: &Spec, name: &str, command: &mut Command, launch: String) -> Result<Child> {
    let path = spec.dir.log(name);
    let context = || format!("open {}", path.display());
    std::fs::create_dir_all(spec.dir.join("logs")).with_context(context)?;
    let log = OpenOptions::new().create(true).append(true).open(&path).with_context(context)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().with_context(context)?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let pid = i32::try_from(child.id()).context("a process id that does not fit")?;
    let start_ticks = Stat::read(pid).with_context(|| format!("{name} ended at once"))?.start_ticks;
    let record = Record { pid, start_ticks, launch };
    write_private(&spec.dir.record(name), &serde_json::to_vec(&record)?)?;
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'S', start_ticks: 777 }));
    }

    #[test]
    fn a_reused_id_is_not_the_daemon() {
        let own = i32::try_from(std::process::id()).expect("fits");
        let start_ticks = Stat::read(own).expect("this process").start_ticks;
        let record = Record { pid: own, start_ticks, launch: String::new() };
        assert!(record.alive());
        assert!(!Record { start_ticks: start_ticks + 1, ..record }.alive());
    }
}
