//! `garbage-collect`: through the admin route of a running server, or on a stopped registry.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use berth_config::Config;
use berth_storage::LockMode;
use bytes::BytesMut;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::admin::GC_PATH;
use crate::admin::gc::{Asked, Line};
use crate::gc::{self, Guard, Listener, Options, Progress, Report, ReportLimits};
use crate::registry::Registry;
use crate::remote::{Remote, Reply};
use crate::settings;
use crate::stores;

/// How long a server may say nothing: it tells of its progress every few seconds, but the disk or the node may be slow.
const SILENCE: Duration = Duration::from_secs(600);
/// The longest line of an answer in bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Asks a running server, and tells of its progress on standard error unless that is not wanted.
pub(crate) async fn remote(remote: &Remote, options: Options, quiet: bool) -> Result<Report> {
    let asked = Asked {
        dry_run: options.dry_run,
        delete_untagged: options.delete_untagged,
        grace_period_seconds: options.grace.as_secs(),
        timeout_seconds: options.timeout.map(|timeout| timeout.as_secs()),
    };
    let reply = remote.send(Method::POST, GC_PATH, serde_json::to_vec(&asked)?, SILENCE).await?;
    let Reply { response, target, connection } = reply;
    let status = response.status();
    let report = follow(response.into_body(), quiet).await.with_context(|| format!("{target} answered {status}"));
    drop(connection);
    report
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
    let opened = stores::open(&config.storage.driver, LockMode::Exclusive, None).await?;
    opened.probe().await.context("cannot use the store")?;
    let stores::Opened { store, exclude, .. } = opened;
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
