//! The drivers, each with the servers that it is run on.

mod azure;
mod gcs;
mod oss;
mod s3;
mod swift;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::process::Command;

use tokio::net::TcpSocket;

use crate::stored::Stored;
use crate::subject::Subject;

/// Starts a driver's servers.
type Start = fn() -> Pin<Box<dyn Future<Output = Vec<Subject>>>>;

/// One line a driver.
#[rustfmt::skip]
const DRIVERS: &[(&str, Start)] = &[
    ("azure", || Box::pin(azure::subjects())),
    ("gcs", || Box::pin(gcs::subjects())),
    ("oss", || Box::pin(oss::subjects())),
    ("s3", || Box::pin(s3::subjects())),
    ("swift", || Box::pin(swift::subjects())),
];

/// Starts every server, and opens a bucket on each.
pub(crate) async fn start() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (_, start) in DRIVERS.iter().filter(|(name, _)| is_wanted(name)) {
        subjects.extend(start().await);
    }
    subjects
}

/// The drivers that have no server.
pub(crate) fn without_servers() -> Vec<Stored> {
    Stored::of_this_machine().into_iter().filter(|stored| is_wanted(stored.driver)).collect()
}

fn is_wanted(driver: &str) -> bool {
    std::env::var("BERTH_DRIVER").ok().is_none_or(|only| only == driver)
}

/// The address of a server that is not there. Its port is taken for as long as the tests run, and nobody listens on it: one
/// that is only free may be a server's a moment later.
pub(crate) fn nobody() -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = socket.local_addr().unwrap();
    Box::leak(Box::new(socket));
    format!("http://{address}")
}

/// The version that a program says it has.
pub(crate) fn version_of_program(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_version = |word: &&str| word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
    text.split_whitespace().find(is_version).unwrap_or("unknown").trim_start_matches('v').to_owned()
}

/// The version of a Python module in a directory of modules.
pub(crate) fn version_of_module(module: &str, directory: &Path) -> String {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let version = |name: &str| {
        let version = name.strip_prefix(module)?.strip_prefix('-')?;
        version.strip_suffix(".dist-info").or_else(|| version.strip_suffix(".egg-info")).map(str::to_owned)
    };
    names.into_iter().find_map(|name| version(&name)).unwrap_or_else(|| "unknown".to_owned())
}

/// The version of a package of npm in its directory.
pub(crate) fn version_of_package(directory: &Path) -> String {
    let text = std::fs::read(directory.join("package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_slice(&text).unwrap();
    package["version"].as_str().unwrap_or("unknown").to_owned()
}

/// The version of a Go module that a `go.mod` names.
pub(crate) fn version_of_requirement(module: &str, requirements: &str) -> String {
    let words = requirements.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut versions = words.filter_map(|words| words.iter().skip_while(|word| **word != module).nth(1).copied());
    versions.next().unwrap_or("unknown").trim_start_matches('v').to_owned()
}
