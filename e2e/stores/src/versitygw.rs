//! versitygw, the S3 server that most is tested with: it checks signatures, and of two creators one wins.
//!
//! It keeps objects as files, so a key `a/b` cannot be beside a key `a`.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::directory::Directory;
use crate::http_client::Target;
use crate::process::{self, Process};
use crate::{Programs, port};

/// A running versitygw.
#[derive(Debug)]
pub struct Versitygw {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its address as a URL, for requests in the path style.
    pub endpoint: String,
    /// The id of the key that may do everything.
    pub access_key: String,
    /// The key itself.
    pub secret_key: String,
    /// The only region that it takes signatures for.
    pub region: String,
    buckets: PathBuf,
    process: Process,
    _directory: Directory,
}

impl Versitygw {
    /// Starts one without buckets.
    pub async fn start(programs: &Programs) -> Result<Self> {
        process::start(async || Self::start_on(programs, None, &[]).await).await
    }

    /// Starts another one on the same buckets, which takes nothing new. It is to end first.
    pub async fn that_only_reads(&self, programs: &Programs) -> Result<Self> {
        process::start(async || Self::start_on(programs, Some(&self.buckets), &["--readonly"]).await).await
    }

    async fn start_on(programs: &Programs, buckets: Option<&Path>, args: &[&str]) -> Result<Self> {
        let program = programs.versitygw()?.join("versitygw");
        let [address] = port::free(programs.host)?;
        let directory = Directory::with_attributes("versitygw")?;
        let buckets = buckets.map_or_else(|| directory.below("buckets"), |buckets| Ok(buckets.to_owned()))?;
        let (access_key, secret_key, region) = ("berth-access", "berth-secret-of-tests", "us-east-1");
        let mut process = Process::spawn("versitygw", &program, directory.path(), |command| {
            command.env("ROOT_ACCESS_KEY", access_key).env("ROOT_SECRET_KEY", secret_key);
            command.args(["--region", region, "--keep-alive", "--port", &address.to_string()]).args(args);
            command.arg("posix").arg(&buckets);
        })?;
        process.listening(address).await?;
        let target = Target::from(address);
        process.until(async || target.answers("/").await).await?;
        Ok(Self {
            address,
            endpoint: format!("http://{address}"),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            region: region.to_owned(),
            buckets,
            process,
            _directory: directory,
        })
    }

    /// Creates a bucket, which is a directory that anybody may make.
    pub fn create_bucket(&self, name: &str) -> Result<()> {
        let path = self.buckets.join(name);
        std::fs::create_dir(&path).with_context(|| format!("create {}", path.display()))
    }

    /// What it has printed: a line for each request.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
