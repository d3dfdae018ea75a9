//! `garbage-collect`: through the admin route of a running server, or on a stopped registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use berth_config::Config;
use berth_storage::LockMode;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::admin::{self, Asked, Line};
use crate::gc::{self, Guard, Listener, Options, Progress, Report, ReportLimits};
use crate::registry::Registry;
use crate::settings;

/// For how long a server that does not listen yet, or not any more, is tried again.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// How long a server may say nothing: it tells of its progress every few seconds, but the disk or the node may be slow.
const SILENCE: Duration = Duration::from_secs(600);
/// The longest line of an answer in bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Where and how a server is asked.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) server: String,
    pub(crate) token_file: PathBuf,
    /// Whether progress is not told.
    pub(crate) quiet: bool,
}

/// Asks a running server, and tells of its progress on standard error.
pub(crate) async fn remote(remote: &Remote, options: Options) -> Result<Report> {
    let uri: Uri = remote.server.parse().with_context(|| format!("--server: {:?} is no address", remote.server))?;
    ensure!(uri.scheme_str() == Some("http"), "--server: {:?} is not an http:// address", remote.server);
    let authority = uri.authority().context("--server: the address has no host")?.clone();
    let token = std::fs::read_to_string(&remote.token_file)
        .with_context(|| format!("--token-file: cannot read {}", remote.token_file.display()))?;
    let target = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let stream = connect(&target).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("cannot speak HTTP to the server")?;
    let connection = tokio::spawn(connection);
    let asked = Asked {
        dry_run: options.dry_run,
        delete_untagged: options.delete_untagged,
        grace_period_seconds: options.grace.as_secs(),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{}", uri.path().trim_end_matches('/'), admin::GC_PATH))
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        // The token is trimmed: files made by hand end with a newline.
        .header(header::AUTHORIZATION, format!("Bearer {}", token.trim()))
        .body(Full::<Bytes>::from(serde_json::to_vec(&asked)?))
        .map_err(|_| anyhow!("--token-file: the token holds characters that no header may have"))?;
    let response = tokio::time::timeout(SILENCE, sender.send_request(request)).await;
    let response = response.context("the server does not answer")?.context("the server ended the connection")?;
    let status = response.status();
    let report =
        follow(response.into_body(), remote.quiet).await.with_context(|| format!("{target} answered {status}"));
    connection.abort();
    report
}

async fn connect(target: &str) -> Result<TcpStream> {
    let deadline = tokio::time::Instant::now() + CONNECT_PATIENCE;
    loop {
        match tokio::time::timeout_at(deadline, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if tokio::time::Instant::now() + CONNECT_PAUSE >= deadline => {
                return Err(error).with_context(|| format!("cannot connect to {target}"));
            }
            Ok(Err(error)) => {
                eprintln!("cannot connect to {target} yet: {error}");
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            Err(_) => bail!("cannot connect to {target} within {} seconds", CONNECT_PATIENCE.as_secs()),
        }
    }
}

/// Reads the answer line by line to its last.
async fn follow(mut body: Incoming, quiet: bool) -> Result<Report> {
    let mut buffer = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await.context("the server has fallen silent")?;
        let ended = frame.is_none();
        if let Some(frame) = frame {
            let data = frame.context("the server ended the connection")?.into_data().unwrap_or_default();
            buffer.extend_from_slice(&data);
        } else {
            // What the last line lacks.
            buffer.extend_from_slice(b"\n");
        }
        while let Some(at) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(at + 1);
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Progress(_)) if quiet => {}
                Ok(Line::Progress(progress)) => eprintln!("{progress}"),
                Ok(Line::Report(report)) => return Ok(report),
                Ok(Line::Error(refusal)) => bail!("{}: {}", refusal.code, refusal.message),
                Err(_) => bail!("not an answer of a registry's admin route: is this the debug port?"),
            }
        }
        ensure!(buffer.len() <= MAX_LINE_BYTES, "the server sends a line without an end");
        ensure!(!ended, "the answer ended without a report");
    }
}

/// Collects on a stopped registry, which must not be in use by a server.
pub(crate) async fn offline(config: &Config, options: Options, quiet: bool) -> Result<Report> {
    let (store, exclude) =
        settings::open_store(&config.storage.driver, LockMode::Exclusive).context("cannot open the store")?;
    let registry = Registry::new(store, exclude, Arc::new(Guard::offline()), settings::permissions(config));
    let run = registry.guard.begin_run().context("a collection is running")?;
    let (steps, mut following) = mpsc::channel::<Progress>(64);
    let printing = tokio::spawn(async move {
        while let Some(progress) = following.recv().await {
            if !quiet {
                eprintln!("{}", serde_json::json!(progress));
            }
        }
    });
    let report = gc::collect(&registry, &run, options, &Listener::new(steps)).await;
    // The sender is gone, so the printing ends.
    let _ = printing.await;
    Ok(report?)
}

/// Leaves what there is to say where the job's container leaves its termination message.
pub(crate) fn leave(path: &Path, outcome: &Result<Report>) -> Result<()> {
    let text = match outcome {
        Ok(report) => serde_json::to_string(report)?,
        Err(error) => {
            // A quarter of the limit: every character may need several bytes.
            let message: String = format!("{error:#}").chars().take(ReportLimits::BYTES / 4).collect();
            serde_json::json!({ "error": { "code": "FAILED", "message": message } }).to_string()
        }
    };
    std::fs::write(path, text).with_context(|| format!("--report-file: cannot write {}", path.display()))
}
