//! A replica: the program itself, in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::bench::Bench;

/// A running replica, killed with its value.
pub(super) struct Replica {
    child: Child,
    pub(super) address: SocketAddr,
}

/// What every replica is configured with. What it takes in memory is its own: nobody is sent to the store.
pub(super) fn configuration(bench: &Bench) -> String {
    let server = &bench.server;
    format!(
        "version: 0.1\n\
         log: {{formatter: json, accesslog: {{disabled: true}}}}\n\
         http: {{addr: '127.0.0.1:0'}}\n\
         storage:\n\
         \x20 redirect: {{disable: true}}\n\
         \x20 s3: {{bucket: {}, region: {}, regionendpoint: '{}', accesskey: {}, secretkey: {}}}\n",
        crate::bench::BUCKET,
        server.region,
        server.endpoint,
        server.access_key,
        server.secret_key
    )
}

impl Replica {
    /// Starts one, and waits until it listens.
    pub(super) fn start(configuration: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry"));
        command.arg("serve").arg(configuration).env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("listening")).expect("it listens");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || {
            log.filter(|line| line.contains(r#""level":"error""#)).for_each(|line| eprintln!("{address}: {line}"));
        });
        Replica { child, address }
    }

    /// The most that it has had in memory at once so far, in bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        peak_of(&status).unwrap()
    }
}

/// The line of the kernel's account of a process, in bytes.
fn peak_of(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_kernel_says_how_much_a_process_has_had() {
    assert_eq!(peak_of("Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t    7204 kB\nVmRSS:\t 1 kB\n"), Some(7204 * 1024));
    assert_eq!(peak_of("Name:\tx\n"), None);
}
