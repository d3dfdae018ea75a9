//! What a server needs of its store before it answers, tried until it has got it.

use std::sync::Arc;
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

/// What a server needs of its store before it can do everything.
pub(crate) struct Readying {
    pub(crate) opened: Arc<Opened>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    pub(crate) state_keys: Arc<StateKeys>,
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
            Err(error) if self.store.is_remote() => {
                tracing::error!(error = format!("{error:#}"), "the store cannot be used yet");
                Ok(Some(self))
            }
            Err(error) => Err(error),
        }
    }

    /// Tries, and has everybody know what came of it.
    async fn attempt(&self) -> Result<()> {
        let outcome = self.try_everything().await;
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

    async fn try_everything(&self) -> Result<()> {
        let attempt = async {
            match self.opened.probe().await {
                Ok(()) => {}
                // Nothing is written by a registry that only reads, and what the store could do for it is of no use.
                Err(error) if self.config.storage.maintenance.readonly.enabled && error.is_forbidden() => {
                    tracing::info!(%error, "the store is only read");
                    self.store.check().await.context("cannot use the store")?;
                }
                Err(error) => return Err(error).context("cannot use the store"),
            }
            if self.state_keys.is_known() {
                return Ok(());
            }
            match settings::configured_state_key(&self.config) {
                Some(key) => self.state_keys.configure(key),
                None => {
                    let key = settings::state_key(&self.config, self.store.as_ref()).await?;
                    self.state_keys.take(key, self.store.clone(), self.opened.creates_once());
                }
            }
            Ok(())
        };
        if !self.store.is_remote() {
            return attempt.await;
        }
        let place = self.store.place();
        tokio::time::timeout(READY_PATIENCE, attempt).await.with_context(|| format!("{place}: no answer"))?
    }

    /// Tries again until it succeeds, or `stop`.
    pub(crate) async fn until_it_is(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(READY_PAUSE) => {}
            }
            match self.attempt().await {
                Ok(()) => return tracing::info!(place = self.store.place(), "the store can be used now"),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "the store cannot be used yet"),
            }
        }
    }
}
