//! Programs beside the server, on loopback, that end with the test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How soon most things must happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Waits until something is so, and says how long it took.
pub(crate) async fn until(so: impl AsyncFnMut() -> bool) -> Duration {
    within(SOON, so).await
}

/// Waits until something is so, for at most `limit`.
pub(crate) async fn within(limit: Duration, mut so: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !so().await {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

/// An address that nobody listens on at this moment.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A file that the Makefile has named in the environment.
pub(crate) fn named(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run make transport"));
    PathBuf::from(path)
}

/// A running program, killed when the test ends, however it ends.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program, and waits until it listens.
    pub(crate) async fn start(command: &mut Command, log: &Path, address: SocketAddr) -> Program {
        let output = File::create(log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).spawn();
        let mut program = Program { child: child.unwrap(), log: log.to_path_buf() };
        until(async || {
            if let Some(status) = program.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", program.log());
            }
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        program
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("its log:\n{}", self.log());
        }
    }
}
