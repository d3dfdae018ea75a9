//! azurite, which stands for Azure's blobs. It checks keys and signatures of access (SAS); over TLS it also takes OAuth
//! tokens, of which it reads the audience and the time, and believes the rest.
//!
//! Of two creators one wins, and the other is told so with 409. Blocks and blobs from a URL are not there (501).

use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Request, header};
use sha2::Sha256;

use crate::directory::Directory;
use crate::http_client::Target;
use crate::process::{self, Process};
use crate::{Certificate, Programs, port};

/// The version of the API that the requests here are written for.
const API_VERSION: &str = "2021-08-06";

/// A running azurite.
#[derive(Debug)]
pub struct Azurite {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its address as a URL, the account being the first segment of its path.
    pub endpoint: String,
    /// The only account.
    pub account: String,
    /// The account's key, in base64.
    pub key: String,
    /// What to trust, where it speaks TLS.
    pub certificate: Option<Certificate>,
    target: Target,
    process: Process,
    _directory: Directory,
}

impl Azurite {
    /// Starts one without containers.
    pub async fn start(programs: &Programs) -> Result<Self> {
        process::start(async || Self::start_once(programs, None).await).await
    }

    /// Starts one without containers that speaks TLS, and takes OAuth tokens.
    pub async fn start_with_tls(programs: &Programs) -> Result<Self> {
        process::start(async || Self::start_once(programs, Some(Certificate::for_loopback()?)).await).await
    }

    async fn start_once(programs: &Programs, certificate: Option<Certificate>) -> Result<Self> {
        let program = programs.azurite()?.join("node_modules/azurite/dist/src/blob/main.js");
        let [address] = port::free(programs.host)?;
        let directory = Directory::create("azurite")?;
        let data = directory.below("data")?;
        let (account, key) = ("berthtests", STANDARD.encode("a key of azurite in tests, known to everybody"));
        let files = certificate.as_ref().map(|certificate| certificate.write(directory.path())).transpose()?;
        let mut process = Process::spawn("azurite", Path::new("node"), directory.path(), |command| {
            command.env("AZURITE_ACCOUNTS", format!("{account}:{key}")).arg(program);
            command.args(["--blobHost", &address.ip().to_string(), "--blobPort", &address.port().to_string()]);
            // It would end connections after five seconds, under the requests of clients that keep them for longer.
            command.args(["--blobKeepAliveTimeout", "60"]);
            command.args(["--disableTelemetry", "--skipApiVersionCheck", "--location"]).arg(data);
            if let Some([certificate, key]) = files {
                command.args(["--oauth", "basic", "--cert"]).arg(certificate).arg("--key").arg(key);
            }
        })?;
        process.listening(address).await?;
        let (scheme, target) = match &certificate {
            None => ("http", Target::from(address)),
            Some(certificate) => ("https", Target::over_tls(address, certificate.client()?)),
        };
        process.until(async || target.answers("/").await).await?;
        Ok(Self {
            address,
            endpoint: format!("{scheme}://{address}/{account}"),
            account: account.to_owned(),
            key,
            certificate,
            target,
            process,
            _directory: directory,
        })
    }

    /// Creates a container.
    pub async fn create_container(&self, name: &str) -> Result<()> {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now())?;
        let key = STANDARD.decode(&self.key).context("decode the account's key")?;
        let mut signature = Hmac::<Sha256>::new_from_slice(&key).context("an HMAC takes any key")?;
        signature.update(text_to_sign(&self.account, name, &date).as_bytes());
        let signature = STANDARD.encode(signature.finalize().into_bytes());
        let request = Request::put(format!("/{}/{name}?restype=container", self.account))
            .header("x-ms-date", date)
            .header("x-ms-version", API_VERSION)
            .header(header::CONTENT_LENGTH, 0)
            .header(header::AUTHORIZATION, format!("SharedKey {}:{signature}", self.account));
        self.target.send(request.body(Bytes::new()).context("form a request")?).await.map(|_| ())
    }

    /// What it has printed: a line for each request.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// What the account's key signs of the request that creates a container.
fn text_to_sign(account: &str, container: &str, date: &str) -> String {
    // Between the method and the headers are eleven headers that are not sent, or are empty for what has no body. The
    // account is named twice because it is in the path as well.
    let absent = "\n".repeat(11);
    let headers = format!("x-ms-date:{date}\nx-ms-version:{API_VERSION}");
    format!("PUT\n{absent}{headers}\n/{account}/{account}/{container}\nrestype:container")
}
