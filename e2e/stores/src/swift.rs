//! OpenStack Swift: a proxy server with the middleware that a registry's driver meets, one account, container and object
//! server each, and the memcached that its tokens are kept in. One replica on one device; nobody replicates or audits.
//!
//! It cannot create if absent: of two creators at once both are told that they have.

mod configuration;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request};

use crate::directory::Directory;
use crate::http_client::Target;
use crate::process::{self, Process};
use crate::{Programs, port};

use configuration::{KINDS, Ports};

/// The script that makes the rings.
const RINGS: &str = include_str!("swift/rings.py");
/// Runs a server as its own program does: DIRECTORY PROGRAM ARGUMENTS. Debian's has `/etc/swift` built in as the place of
/// `swift.conf`, whatever else the configuration says.
const RUN: &str = "\
import runpy, sys
from swift.common import utils
utils.set_swift_dir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
";
/// Debian's Python, which the modules of Debian are for.
const PYTHON: &str = "/usr/bin/python3";

/// A running Swift.
#[derive(Debug)]
pub struct Swift {
    /// Where its proxy server listens.
    pub address: SocketAddrV4,
    /// The URL of version 1 of its authentication.
    pub auth_url: String,
    /// The URL of the account, where containers are.
    pub storage_url: String,
    /// Who may do everything in the account.
    pub user: String,
    /// The user's key.
    pub key: String,
    proxy: Process,
    _others: Vec<Process>,
    _directory: Directory,
}

impl Swift {
    /// Starts one without containers.
    pub async fn start(programs: &Programs) -> Result<Self> {
        process::start(async || Self::start_once(programs).await).await
    }

    async fn start_once(programs: &Programs) -> Result<Self> {
        let packages = programs.swift()?;
        let [proxy] = port::free(programs.host)?;
        // Where the others are is known to the proxy alone, which looks for them on loopback.
        let [account, container, object, memcached] = port::free(Ipv4Addr::LOCALHOST)?;
        let ports = Ports { proxy, servers: [account, container, object], memcached };
        let directory = Directory::with_attributes("swift")?;
        let settings = directory.below("etc")?;
        directory.below("srv/d1")?;
        directory.below("cache")?;
        for (file, text) in configuration::files(&ports, directory.path()) {
            let file = settings.join(file);
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        // The first process comes before what takes time: beside it is who removes the directory if this one is killed.
        let program = packages.join("usr/bin/memcached");
        let memcached = Process::spawn("memcached", &program, directory.path(), |command| {
            with_packages(command, packages);
            command.args(["--listen", &ports.memcached.ip().to_string()]);
            command.args(["--port", &ports.memcached.port().to_string(), "--udp-port", "0"]);
            // It does not run as root unless it is told to.
            command.args(["--memory-limit", "16", "--user", "root"]);
        })?;
        make_rings(packages, &settings, &ports).await?;
        let spawn = |name: &'static str| {
            Process::spawn(name, Path::new(PYTHON), directory.path(), |command| {
                with_packages(command, packages);
                command.args(["-s", "-c", RUN]).arg(&settings).arg(packages.join("usr/bin").join(name));
                command.arg(settings.join(name.replace("swift-", "") + ".conf"));
                // It would speak to the log of the system.
                command.arg("--verbose");
            })
        };
        let mut others = vec![memcached];
        for kind in KINDS {
            others.push(spawn(kind.program)?);
        }
        let mut proxy_server = spawn("swift-proxy-server")?;
        for (other, address) in others.iter_mut().zip([&[ports.memcached][..], &ports.servers].concat()) {
            other.listening(address).await?;
        }
        proxy_server.listening(ports.proxy).await?;
        let target = Target::from(ports.proxy);
        proxy_server.until(async || target.answers("/healthcheck").await).await?;
        Ok(Self {
            address: ports.proxy,
            auth_url: format!("http://{}/auth/v1.0", ports.proxy),
            storage_url: format!("http://{}/v1/AUTH_{}", ports.proxy, configuration::ACCOUNT),
            user: format!("{}:{}", configuration::ACCOUNT, configuration::USER),
            key: configuration::KEY.to_owned(),
            proxy: proxy_server,
            _others: others,
            _directory: directory,
        })
    }

    /// Creates a container.
    pub async fn create_container(&self, name: &str) -> Result<()> {
        let headers = self.token().await?;
        self.send(Request::put(format!("/v1/AUTH_{}/{name}", configuration::ACCOUNT)), headers).await
    }

    /// Sets the account's key for temporary URLs, whose signatures may be of SHA-1, SHA-256 and SHA-512.
    pub async fn set_temp_url_key(&self, key: &str) -> Result<()> {
        let mut headers = self.token().await?;
        headers.insert("x-account-meta-temp-url-key", key.parse().context("a key is the value of a header")?);
        self.send(Request::post(format!("/v1/AUTH_{}", configuration::ACCOUNT)), headers).await
    }

    /// What its proxy server has printed.
    pub fn log(&self) -> String {
        self.proxy.log()
    }

    /// The header that tells who asks.
    async fn token(&self) -> Result<HeaderMap> {
        let request = Request::get("/auth/v1.0").header("x-auth-user", &self.user).header("x-auth-key", &self.key);
        let request = request.body(Bytes::new()).context("form a request")?;
        let answer = Target::from(self.address).send(request).await?;
        let token = answer.headers().get("x-auth-token").context("the answer to the login holds no token")?;
        Ok(HeaderMap::from_iter([("x-auth-token".parse()?, token.clone())]))
    }

    async fn send(&self, request: http::request::Builder, headers: HeaderMap) -> Result<()> {
        let mut request = request.body(Bytes::new()).context("form a request")?;
        request.headers_mut().extend(headers);
        Target::from(self.address).send(request).await.map(|_| ())
    }
}

/// Has a program find what was unpacked.
fn with_packages(command: &mut Command, packages: &Path) {
    command.env("PYTHONPATH", packages.join("usr/lib/python3/dist-packages"));
    // The only architecture that a release is made for.
    command.env("LD_LIBRARY_PATH", packages.join("usr/lib/x86_64-linux-gnu"));
}

async fn make_rings(packages: &Path, settings: &Path, ports: &Ports) -> Result<()> {
    let mut command = Command::new(PYTHON);
    with_packages(&mut command, packages);
    command.args(["-s", "-c", RINGS]).arg(settings);
    command.args(ports.servers.map(|address| address.port().to_string()));
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
    let output = output.context("run Debian's Python")?;
    if !output.status.success() {
        bail!("make the rings of Swift: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
