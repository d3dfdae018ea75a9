//! moto, a second server for S3. It never checks signatures, so it says nothing of credentials.

use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;

use crate::directory::Directory;
use crate::http_client::Target;
use crate::process::{self, Process};
use crate::{Programs, port};

/// A running moto.
#[derive(Debug)]
pub struct Moto {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its address as a URL, for requests in the path style.
    pub endpoint: String,
    /// Any key would do.
    pub access_key: String,
    /// Any secret would do.
    pub secret_key: String,
    /// Where its buckets are.
    pub region: String,
    process: Process,
    _directory: Directory,
}

impl Moto {
    /// Starts one without buckets.
    pub async fn start(programs: &Programs) -> Result<Self> {
        let modules = programs.moto()?;
        process::start(async || {
            let [address] = port::free(programs.host)?;
            let directory = Directory::create("moto")?;
            // Python is looked for by its name, as it is when moto is installed: the modules are compiled for that one.
            let mut process = Process::spawn("moto", Path::new("python3"), directory.path(), |command| {
                command.env("PYTHONPATH", modules).env("PYTHONUNBUFFERED", "1");
                command.args(["-m", "moto.server"]);
                command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
            })?;
            process.listening(address).await?;
            let target = Target::from(address);
            process.until(async || target.answers("/moto-api/").await).await?;
            Ok(Self {
                address,
                endpoint: format!("http://{address}"),
                access_key: "berth-access".to_owned(),
                secret_key: "berth-secret-of-tests".to_owned(),
                region: "us-east-1".to_owned(),
                process,
                _directory: directory,
            })
        })
        .await
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let request = Request::put(format!("/{name}")).body(Bytes::new()).context("form a request")?;
        Target::from(self.address).send(request).await.map(|_| ())
    }

    /// What it has printed: a line for each request.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
