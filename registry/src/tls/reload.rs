//! Takes up new contents of the files while the server runs.
//!
//! A pair may be seen half written, or one of its files before the other. So a change is given a moment to settle, what
//! does not fit is read again, and only what still does not fit is complained of, once; until it fits, the server goes on
//! with what it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::TlsError;
use super::files::{Built, Files, Source};
use super::policy::Policy;
use super::{Opened, Tls};
use crate::metrics::Metrics;
use crate::watch::Watch;

/// How long a change may take to be complete.
const SETTLE: Duration = Duration::from_millis(200);
/// How often contents that do not fit are read again before they are complained of.
const ATTEMPTS: u32 = 4;

/// Keeps TLS up to date with its files.
pub(crate) struct Reloader {
    tls: Arc<Tls>,
    files: Files,
    policy: Policy,
    metrics: Arc<Metrics>,
    /// Of the contents in force.
    fingerprint: [u8; 32],
    /// What was complained of last.
    complaint: Option<String>,
}

/// What a look at the files found.
enum Look {
    Same,
    New(Built, [u8; 32]),
}

impl Reloader {
    pub(crate) fn new(opened: &Opened, files: Files, policy: Policy, metrics: Arc<Metrics>) -> Reloader {
        let Opened { tls, fingerprint, expires } = opened;
        let reloader =
            Reloader { tls: tls.clone(), files, policy, metrics, fingerprint: *fingerprint, complaint: None };
        reloader.note_expiry(*expires);
        reloader
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let watching = async {
            let mut watch = Watch::new(self.files.paths());
            loop {
                self.look().await;
                watch.changed().await;
                sleep(SETTLE).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watching => {}
        }
    }

    async fn look(&mut self) {
        let mut outcome = self.read().await;
        for _ in 1..ATTEMPTS {
            if outcome.is_ok() {
                break;
            }
            sleep(SETTLE).await;
            outcome = self.read().await;
        }
        match outcome {
            Ok(Look::Same) => self.complaint = None,
            Ok(Look::New(built, fingerprint)) => {
                self.tls.current.store(built.current);
                self.metrics.certificate_load(true);
                self.fingerprint = fingerprint;
                self.complaint = None;
                self.note_expiry(built.expires);
                let certificate = self.certificate();
                let expires = built.expires.and_then(|second| jiff::Timestamp::from_second(second).ok());
                let expires = expires.map(tracing::field::display);
                tracing::info!(certificate, expires, "new TLS files are in force");
            }
            Err(error) => self.complain(&error),
        }
    }

    async fn read(&self) -> Result<Look, TlsError> {
        let files = self.files.clone();
        let contents = match tokio::task::spawn_blocking(move || files.read()).await {
            Ok(contents) => contents?,
            // The runtime ends.
            Err(_) => return Ok(Look::Same),
        };
        let fingerprint = contents.fingerprint();
        if fingerprint == self.fingerprint {
            return Ok(Look::Same);
        }
        Ok(Look::New(self.files.build(&contents, &self.policy)?, fingerprint))
    }

    fn complain(&mut self, error: &TlsError) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            let source = std::error::Error::source(error).map(tracing::field::display);
            tracing::error!(
                error = complaint,
                source,
                "new TLS files cannot be used; the server goes on with the old ones"
            );
            self.metrics.certificate_load(false);
            self.complaint = Some(complaint);
        }
    }

    fn certificate(&self) -> Option<String> {
        match &self.files.source {
            Source::Files { certificate, .. } => Some(certificate.display().to_string()),
            Source::Issued(_) => None,
        }
    }

    fn note_expiry(&self, expires: Option<i64>) {
        if let (Some(certificate), Some(expires)) = (self.certificate(), expires) {
            self.metrics.certificate(&certificate, expires);
            if expires <= jiff::Timestamp::now().as_second() {
                tracing::warn!(certificate, "the certificate has ended: clients will refuse it");
            }
        }
    }
}
