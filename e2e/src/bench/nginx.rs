//! nginx, which serves the same bytes as plain files: about the least that a server on files has to do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::content::Content;
use crate::peer::free_port;

/// How long it may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// A running nginx, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// Writes the content below `directory` and serves it.
    pub(super) fn start(directory: &Path, content: &Content) -> Result<Self> {
        content.write(&directory.join("root"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let path = directory.join("nginx.conf");
        let is_root = rustix::process::geteuid().is_root();
        std::fs::write(&path, config(directory, address, is_root)).context("write nginx.conf")?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start nginx")?;
        let mut nginx = Self { child, address };
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if let Some(status) = nginx.child.try_wait().context("look at nginx")? {
                bail!("nginx ended ({status}); see {}", directory.join("error.log").display());
            }
            if started.elapsed() > START_DEADLINE {
                bail!("nginx does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(nginx)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process that the workers belong to.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it, unless it is killed.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            eprintln!("end nginx: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("wait for nginx: {error}");
        }
    }
}

/// Set up for speed: a worker for each processor, `sendfile`, no log, connections that stay.
fn config(directory: &Path, address: SocketAddr, is_root: bool) -> String {
    let directory = directory.display();
    // Otherwise the workers become a user that may not read here.
    let user = if is_root { "user root;\n" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        temporary.iter().map(|kind| format!("  {kind}_temp_path {directory}/temporary;\n")).collect();
    format!(
        "{user}daemon off;\n\
         worker_processes auto;\n\
         pid {directory}/pid;\n\
         error_log {directory}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{temporary}\
         \x20 access_log off;\n\
         \x20 sendfile on;\n\
         \x20 tcp_nopush on;\n\
         \x20 keepalive_requests 1000000000;\n\
         \x20 open_file_cache off;\n\
         \x20 default_type application/octet-stream;\n\
         \x20 server {{ listen {address}; root {directory}/root; }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration() {
        insta::assert_snapshot!(config(Path::new("/d"), SocketAddr::from(([127, 0, 0, 1], 8080)), true));
    }
}
