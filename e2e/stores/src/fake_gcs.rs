//! fake-gcs-server, which stands for Google Cloud Storage.
//!
//! It keeps everything in memory and never looks at credentials. Of two creators one wins; beyond that it forgets
//! preconditions on deletes, rewrites and compositions, and asking a resumable upload how far it has come ends it.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, header};

use crate::directory::Directory;
use crate::http_client::Target;
use crate::process::{self, Process};
use crate::{Programs, Proxy, port};

/// A running fake-gcs-server.
#[derive(Debug)]
pub struct FakeGcs {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its address as a URL, without a path.
    pub endpoint: String,
    process: Process,
    _directory: Directory,
}

impl FakeGcs {
    /// Starts one without buckets.
    pub async fn start(programs: &Programs) -> Result<Self> {
        let program = programs.fake_gcs()?.join("fake-gcs-server");
        process::start(async || {
            let [address] = port::free(programs.host)?;
            let directory = Directory::create("fake-gcs")?;
            let endpoint = format!("http://{address}");
            let mut process = Process::spawn("fake-gcs-server", &program, directory.path(), |command| {
                command.args(["-scheme", "http", "-backend", "memory"]);
                command.args(["-host", &address.ip().to_string(), "-port", &address.port().to_string()]);
                // Named without a port, it stands for every port, a proxy's as well.
                command.args(["-public-host", &address.ip().to_string(), "-external-url", &endpoint]);
            })?;
            process.listening(address).await?;
            let target = Target::from(address);
            process.until(async || target.answers("/_internal/healthcheck").await).await?;
            Ok(Self { address, endpoint, process, _directory: directory })
        })
        .await
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        self.send_json(Request::post("/storage/v1/b?project=berth"), format!(r#"{{"name":"{name}"}}"#)).await
    }

    /// Makes the addresses that it hands out, of resumable uploads for one, those of a proxy before it.
    pub async fn behind(&self, proxy: &Proxy) -> Result<()> {
        let configuration = format!(r#"{{"externalUrl":"{}"}}"#, proxy.endpoint());
        self.send_json(Request::put("/_internal/config"), configuration).await
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }

    async fn send_json(&self, request: http::request::Builder, body: String) -> Result<()> {
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Bytes::from(body));
        Target::from(self.address).send(request.context("form a request")?).await.map(|_| ())
    }
}
