//! A registry server on this machine: Berth, or one of those that it takes the place of.
//!
//! All of them read the same configuration file and the same `REGISTRY_*` variables, so a server is a [`Program`] on a
//! [`Setup`]. Nothing here knows what is asked of the server.

mod setup;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::files::{tail, write_public};
use crate::packages::file_of_package;
use crate::paths::Cache;
use crate::tools::{DISTRIBUTION, Toolbox};
use crate::{compile, tools};

pub use setup::{Bucket, Setup};

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a server may take to end by itself.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// How often another port is tried when somebody else took the free one first.
const PORTS: usize = 5;
/// How many of the last lines of a log are shown.
const SHOWN_LINES: usize = 40;

/// The variable that names a `berth-registry` to use instead of one that is compiled.
const BERTH_PROGRAM: &str = "BERTH_REGISTRY_PROGRAM";

/// A program that serves a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What people call it.
    pub name: &'static str,
    /// Its version, for people.
    pub version: &'static str,
    /// Its file.
    pub path: PathBuf,
}

impl Program {
    /// `berth-registry` of this work tree, compiled with cargo's arguments such as `--release`, or the one that
    /// `BERTH_REGISTRY_PROGRAM` names.
    pub fn berth(cargo_args: &[&str]) -> Result<Self> {
        let path = match Self::given() {
            Some(path) => path,
            None => {
                let [path] = compile::programs(["berth-registry"], cargo_args, &[])?;
                path
            }
        };
        Ok(Self { name: "Berth", version: env!("CARGO_PKG_VERSION"), path })
    }

    /// The `berth-registry` that `BERTH_REGISTRY_PROGRAM` names, if it does.
    pub(crate) fn given() -> Option<PathBuf> {
        std::env::var_os(BERTH_PROGRAM).map(PathBuf::from)
    }

    /// CNCF Distribution 3, which must be among the tools that were built ([`tools::ensure`]).
    pub fn distribution_3(toolbox: &Toolbox) -> Self {
        Self {
            name: "Distribution",
            version: tools::DISTRIBUTION_VERSION.trim_start_matches('v'),
            path: toolbox.program(&DISTRIBUTION),
        }
    }

    /// Docker Registry 2.8.2, the older series of CNCF Distribution, from Debian.
    pub fn distribution_2(cache: &Cache) -> Result<Self> {
        let path = cache.tools().join("docker-registry-2.8.2/docker-registry");
        file_of_package("docker-registry", "usr/bin/docker-registry", &path)?;
        Ok(Self { name: "Docker Registry", version: "2.8.2", path })
    }
}

/// A server that runs, and ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    /// The program.
    pub program: Program,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    tls: bool,
}

impl Peer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// The server ended, or did not answer in time; the error holds the end of its log.
    pub fn start(program: &Program, setup: &Setup) -> Result<Self> {
        for _ in 1..PORTS {
            match Self::start_once(program, setup) {
                Err(error) if setup.port.is_none() && format!("{error:#}").contains("address already in use") => {}
                outcome => return outcome,
            }
        }
        Self::start_once(program, setup)
    }

    fn start_once(program: &Program, setup: &Setup) -> Result<Self> {
        let port = match setup.port {
            Some(port) => port,
            None => free_port()?,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        write_public(&setup.file(), setup.config.as_bytes())?;
        let path = setup.directory.join(format!("{}-{port}.log", program.name.to_lowercase().replace(' ', "-")));
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut command = setup.command(program, "serve");
        command.env("REGISTRY_HTTP_ADDR", address.to_string());
        let errors = log.try_clone().with_context(|| format!("open {}", path.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {}", program.path.display()))?;
        let mut peer = Self { program: program.clone(), child, address, log: path, tls: setup.tls };
        peer.wait_until_ready().map_err(|error| {
            let log = peer.log_tail();
            error.context(format!("{} on {address}; the end of its log:\n{log}", program.name))
        })?;
        Ok(peer)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !answers(self.address, self.tls) {
            if let Some(status) = self.child.try_wait().context("look at the server")? {
                bail!("it ended ({status}) before it answered");
            }
            if started.elapsed() > START_DEADLINE {
                bail!("no answer within {} s", START_DEADLINE.as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as clients write it in front of a repository: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of what it printed.
    pub fn log_tail(&self) -> String {
        tail(&self.log, SHOWN_LINES).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Ends it as a service manager would, and waits for the end.
    ///
    /// # Errors
    /// It did not end in time, and was killed.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.end()
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait().context("look at the server")? {
            return Ok(status);
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM).context("end the server")?;
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE {
            if let Some(status) = self.child.try_wait().context("look at the server")? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.child.kill().and_then(|()| self.child.wait()).context("kill the server")?;
        bail!("{} did not end within {} s", self.program.name, STOP_DEADLINE.as_secs())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of {}:\n{}", self.program.name, self.log_tail());
        }
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// A loopback port that nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

/// Whether the server answers to HTTP; with TLS, whether it takes connections.
fn answers(address: SocketAddr, tls: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    if tls {
        return true;
    }
    let request = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut head = [0; 5];
    let asked = stream.set_read_timeout(Some(START_DEADLINE)).and_then(|()| stream.write_all(request));
    asked.and_then(|()| stream.read_exact(&mut head)).is_ok() && head == *b"HTTP/"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_says_why() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let script = temp.path().join("server");
        std::fs::write(&script, "#!/bin/sh\necho \"no such key in $2\" >&2\nexit 3\n").expect("written");
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("made executable");
        let program = Program { name: "a server", version: "0", path: script };
        let setup = Setup::filesystem(temp.path(), &temp.path().join("data"));
        let error = format!("{:#}", Peer::start(&program, &setup).expect_err("it ended"));
        assert!(error.contains("ended (exit status: 3)") && error.contains("no such key in"), "{error}");
    }
}
