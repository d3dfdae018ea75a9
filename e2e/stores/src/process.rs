//! A server's process: started, waited for, and ended with everything that it has started itself.
//!
//! It ends in one of two ways. Its value is dropped: the process group is killed. Or the test's own process ends without
//! dropping it, because it was killed or because the value is a static: beside each server a shell waits on a pipe whose
//! other end only the test's process holds, and kills the group and removes the directory when that end closes.

use std::fs::File;
use std::net::SocketAddrV4;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::port;

/// How soon a server must answer, on a machine that is busy with other things.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How often a server is started on other ports because somebody has taken its ports.
const TRIES: u32 = 5;
/// How many of the last lines of a log are shown.
const SHOWN_LINES: usize = 40;

/// Becomes the program that is named by the arguments after the directory. What waits for the end of standard input is
/// left beside it, in its process group.
const GUARD: &str = r#"
directory=$1; shift
exec 3<&0 </dev/null
{ read -r _ <&3; kill -9 $$; rm -rf -- "$directory"; kill -9 0; } &
exec 3<&-
exec "$@"
"#;

/// A program in a process group of its own, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, which `configure` gives arguments and variables. It belongs to a server whose files are all in
    /// `directory`; its log `NAME.log` is put there.
    pub(crate) fn spawn(
        name: &'static str,
        program: &Path,
        directory: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let errors = output.try_clone().context("open the log twice")?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, name]).arg(directory).arg(program);
        configure(&mut command);
        command.process_group(0).stdin(Stdio::piped()).stdout(output).stderr(errors);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name, child, log })
    }

    /// Waits until the process listens on the address, for as long as it lives and a start may take.
    pub(crate) async fn listening(&mut self, address: SocketAddrV4) -> Result<()> {
        let process = self.child.id();
        self.until(async || port::listens(process, address)).await
    }

    /// Waits until something is so, for as long as the process lives and a start may take.
    pub(crate) async fn until(&mut self, so: impl AsyncFn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !so().await {
            self.check()?;
            if start.elapsed() > START_LIMIT {
                bail!("{} does not answer after {START_LIMIT:?}:\n{}", self.name, self.last_lines());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.check()
    }

    fn check(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("look at {}", self.name))? {
            None => Ok(()),
            Some(status) if tells_of_taken_port(&self.log()) => {
                Err(anyhow::Error::new(PortTaken)).with_context(|| format!("{} ended with {status}", self.name))
            }
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.last_lines()),
        }
    }

    /// Everything that the program has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    fn last_lines(&self) -> String {
        last_lines(&self.log(), SHOWN_LINES)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What waits on the pipe is in the group too, so the group is there until we end it, and its id is nobody
        // else's even if the program itself is gone.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the end of the log of {}:\n{}", self.name, self.last_lines());
        }
    }
}

/// Why a server is started once more on other ports.
#[derive(Debug)]
struct PortTaken;

impl std::fmt::Display for PortTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("somebody has taken its port")
    }
}

impl std::error::Error for PortTaken {}

/// Starts a server, again for as long as a port that was free has been taken by the time that it is bound.
pub(crate) async fn start<T>(once: impl AsyncFn() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match once().await {
            Err(error) if error.is::<PortTaken>() => {}
            other => return other,
        }
    }
    once().await
}

/// Each server says it in the words of its language.
fn tells_of_taken_port(log: &str) -> bool {
    let log = log.to_ascii_lowercase();
    log.contains("address already in use") || log.contains("eaddrinuse") || log.contains("address in use")
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    fn shell(script: &str, directory: &Directory) -> Process {
        Process::spawn("shell", Path::new("/bin/sh"), directory.path(), |command| {
            command.args(["-c", script]);
        })
        .expect("there is a shell")
    }

    /// The process that a script has written the id of.
    async fn written_id(process: &mut Process, file: &Path) -> u32 {
        let read = || std::fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'));
        process.until(async || read().is_some()).await.expect("the script writes it");
        read().expect("it was read").trim().parse().expect("a process's id")
    }

    async fn ended(process: u32) {
        let start = Instant::now();
        // Who was killed may wait for its parent to take note.
        let lives =
            || std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while lives() {
            assert!(start.elapsed() < Duration::from_secs(10), "{process} still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_a_server_has_started_ends_with_it() {
        let directory = Directory::create("test").expect("a directory");
        let file = directory.path().join("id");
        let mut process = shell(&format!("sleep 600 & echo $! > {}; wait", file.display()), &directory);
        let inner = written_id(&mut process, &file).await;
        let outer = process.child.id();
        drop(process);
        ended(outer).await;
        ended(inner).await;
    }

    #[tokio::test]
    async fn it_ends_when_nobody_holds_it_any_more() {
        let directory = Directory::create("test").expect("a directory");
        let file = directory.path().join("id");
        let mut process = shell(&format!("sleep 600 & echo $! > {}; wait", file.display()), &directory);
        let inner = written_id(&mut process, &file).await;
        // As the kernel does when the test's process is killed.
        drop(process.child.stdin.take());
        ended(inner).await;
        let start = Instant::now();
        while directory.path().exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "the directory is still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_server_that_ends_shows_its_log() {
        let directory = Directory::create("test").expect("a directory");
        let mut process = shell("echo no such option >&2; exit 3", &directory);
        let error = process.until(async || false).await.expect_err("it ended").to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such option"), "{error}");
    }

    #[tokio::test]
    async fn a_taken_port_is_a_reason_to_try_again_and_nothing_else_is() {
        let tries = std::cell::Cell::new(0);
        let fail = async |text: &str| {
            tries.set(tries.get() + 1);
            let directory = Directory::create("test").expect("a directory");
            shell(&format!("echo '{text}'; exit 1"), &directory).until(async || false).await
        };
        start(async || fail("listen tcp 127.0.0.1:1: bind: address already in use").await).await.expect_err("taken");
        assert_eq!(tries.replace(0), TRIES);
        start(async || fail("no such bucket").await).await.expect_err("failed");
        assert_eq!(tries.get(), 1);
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
