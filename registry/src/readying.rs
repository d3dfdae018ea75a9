//! What a server needs of its store before it answers, tried until it has got it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use berth_config::Config;
use berth_storage::Store;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::http::StateKeys;
use crate::reach::{Reach, Trouble};
use crate::settings;
use crate::stores::Opened;

/// How long a start waits for an object store.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long until an object store that cannot be used is tried again.
const READY_PAUSE: Duration = Duration::from_secs(5);

/// What a server needs of its store before it can do everything: an answer, what the store is able to do, and the key that
/// signs addresses of uploads.
pub(crate) struct Needs {
    opened: Arc<Opened>,
    store: Arc<dyn Store>,
    config: Config,
    state_keys: Arc<StateKeys>,
    /// Whether it has all of it, and not only what a registry needs that is read.
    is_met: AtomicBool,
}

impl Needs {
    pub(crate) fn new(
        opened: Arc<Opened>,
        store: Arc<dyn Store>,
        config: Config,
        state_keys: Arc<StateKeys>,
    ) -> Arc<Self> {
        Arc::new(Needs { opened, store, config, state_keys, is_met: AtomicBool::new(false) })
    }

    /// Gets what the configuration asks for.
    async fn meet(&self) -> Result<()> {
        self.within_patience(self.attempt(self.config.storage.maintenance.readonly.enabled)).await
    }

    /// Gets what a registry needs that takes writes, if it was opened to only read and has gone without.
    ///
    /// # Errors
    /// What the store says, or that it says nothing.
    pub(crate) async fn meet_to_write(&self) -> Result<()> {
        match self.is_met.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.within_patience(self.attempt(false)).await,
        }
    }

    async fn within_patience(&self, attempt: impl Future<Output = Result<()>>) -> Result<()> {
        if !self.store.is_remote() {
            return attempt.await;
        }
        let place = self.store.place();
        tokio::time::timeout(READY_PATIENCE, attempt).await.with_context(|| format!("{place}: no answer"))?
    }

    async fn attempt(&self, reads_only: bool) -> Result<()> {
        let is_probed = match self.opened.probe().await {
            Ok(()) => true,
            // Nothing is written by a registry that only reads, and what the store could do for it is of no use.
            Err(error) if reads_only && error.is_forbidden() => {
                tracing::info!(%error, "the store is only read");
                self.store.check().await.context("cannot use the store")?;
                false
            }
            Err(error) => return Err(error).context("cannot use the store"),
        };
        if !self.state_keys.is_shared() {
            match settings::configured_state_key(&self.config) {
                Some(key) => self.state_keys.configure(key),
                None => match settings::state_key(self.store.as_ref(), reads_only).await? {
                    Some(key) => self.state_keys.take(key, self.store.clone(), self.opened.creates_once()),
                    None => self.state_keys.improvise(settings::own_state_key(), self.store.clone()),
                },
            }
        }
        if is_probed && self.state_keys.is_shared() {
            self.is_met.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Tries to get what a server needs until it has got it.
pub(crate) struct Readying {
    pub(crate) needs: Arc<Needs>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) health: Arc<Health>,
}

impl Readying {
    /// Tries for the first time. What comes back is to be tried on.
    ///
    /// # Errors
    /// A directory that cannot be used is the end; an object store may come back, and then nobody has to start this again.
    pub(crate) async fn begin(self) -> Result<Option<Self>> {
        match self.attempt().await {
            Ok(()) => Ok(None),
            Err(error) if self.needs.store.is_remote() => {
                tracing::error!(error = format!("{error:#}"), "the store cannot be used yet");
                Ok(Some(self))
            }
            Err(error) => Err(error),
        }
    }

    /// Tries, and has everybody know what came of it.
    async fn attempt(&self) -> Result<()> {
        let outcome = self.needs.meet().await;
        match &outcome {
            Ok(()) => {
                self.reach.doubt(None);
                self.health.trust_store();
            }
            Err(error) => {
                let trouble = Trouble::within(error);
                self.health.doubt_store(&trouble.message);
                self.reach.doubt(Some(trouble));
            }
        }
        outcome
    }

    /// Tries again until it succeeds, or `stop`.
    pub(crate) async fn until_it_is(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READY_PAUSE) => {}
            }
            match self.attempt().await {
                Ok(()) => return tracing::info!(place = self.needs.store.place(), "the store can be used now"),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "the store cannot be used yet"),
            }
        }
    }
}
