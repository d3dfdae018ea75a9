//! A running server: the store, both listeners, and the tasks beside them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use berth_config::{Config, Maintenance};
use berth_storage::LockMode;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::debug::{self, Debug};
use crate::gc::Guard;
use crate::health::{self, Health};
use crate::http::{self, App, StateKeys};
use crate::metrics::{Metered, Metrics};
use crate::reach::Reach;
use crate::registry::Registry;
use crate::server::{self, Endpoint, Listener, Transport};
use crate::stores::{self, Opened};
use crate::transport::{self, Prepared};
use crate::{check, purge, read_only_file, redirects, settings};

/// How long a start waits for an object store.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long until an object store that cannot be used is tried again.
const READY_PAUSE: Duration = Duration::from_secs(5);

/// A server that answers.
pub struct Running {
    endpoint: Endpoint,
    debug_address: Option<SocketAddr>,
    registry: Arc<Registry>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// Where the API listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The TCP address of the API; zeros if it listens on a Unix socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self.endpoint {
            Endpoint::Tcp(address) => address,
            Endpoint::Unix(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// Where the debug port listens, if it does.
    #[must_use]
    pub fn debug_address(&self) -> Option<SocketAddr> {
        self.debug_address
    }

    /// The registry behind the listeners.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Stops accepting, lets requests in flight end for as long as the configuration says, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts a server. It answers when this returns.
///
/// # Errors
/// When the store cannot be opened or an address cannot be listened on.
pub async fn start(config: &Config) -> Result<Running> {
    check::check(config)?;
    let (config, said) = &read_only_file::overlay(config);
    let authenticator = settings::authenticator(config).await?;
    let mode = if config.storage.maintenance.readonly.enabled { LockMode::ReadOnly } else { LockMode::Shared };
    let metrics = Arc::new(Metrics::new());
    // This may wait for another process. Nobody waits for it: a stop drops the future and ends the process.
    let opened = Arc::new(stores::open(&config.storage.driver, mode, Some(metrics.clone())).await?);
    let (exclude, presign, is_remote) = (opened.exclude.clone(), opened.presign.clone(), opened.store.is_remote());
    let store: Arc<dyn berth_storage::Store> = Arc::new(Metered::new(opened.store.clone(), metrics.clone()));
    let state_keys = Arc::new(StateKeys::default());
    let guard = Arc::new(Guard::new());
    let registry = Arc::new(
        Registry::new(store.clone(), exclude, guard, settings::permissions(config))
            .with_rules(settings::rules(config)?),
    );
    let health = Arc::new(Health::of(&config.health, store.clone())?);
    let readying = Readying { opened, store: store.clone(), config: config.clone(), state_keys: state_keys.clone() };
    // A directory that cannot be used is the end; an object store may come back, and then nobody has to start this again.
    let is_ready = match readying.attempt().await {
        Ok(()) => true,
        Err(error) if is_remote => {
            tracing::error!(error = format!("{error:#}"), "the store cannot be used yet");
            health.doubt_store(&format!("{error:#}"));
            false
        }
        Err(error) => return Err(error),
    };
    let redirects::Opened { redirects, upkeep: beside } = redirects::open(config, presign)?;
    let app = Arc::new(App {
        registry: registry.clone(),
        authenticator,
        addresses: settings::addresses(config),
        state_keys,
        signer: settings::signer(config)?,
        headers: settings::headers(config)?,
        access_log: !config.log.accesslog.disabled,
        max_catalog_entries: config.catalog.maxentries,
        max_tags: config.tags.maxtags,
        mounts_from_anywhere: settings::mounts_from_anywhere(config),
        redirects,
        health: health.clone(),
        metrics: metrics.clone(),
    });

    let stop = CancellationToken::new();
    // What the server does while it ends can be looked at until it has ended.
    let drained = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let Prepared { listener, endpoint, transport, upkeep } = transport::prepare(&config.http, &metrics).await?;
    let debug_address = match &config.http.debug {
        None => None,
        Some(settings) => {
            let listener = listen("http.debug.addr", &settings.addr).await?;
            let Endpoint::Tcp(address) = listener.endpoint().context("http.debug.addr")? else {
                anyhow::bail!("http.debug.addr: not an address of TCP");
            };
            let admin = settings.admin.as_ref();
            let debug = Arc::new(Debug {
                health: health.clone(),
                metrics,
                reach: Reach::new(store.clone()),
                metrics_path: settings.prometheus.enabled.then(|| settings.prometheus.path.clone()),
                admin: admin.map(|admin| Admin { registry: registry.clone(), token_file: admin.tokenfile.clone() }),
            });
            let handler = move |request, _peer| {
                let debug = debug.clone();
                async move { debug::serve(&debug, request).await }
            };
            tasks.spawn(server::serve(listener, Transport::default(), handler, drained.clone()));
            Some(address)
        }
    };
    let handler = move |request, peer| {
        let app = app.clone();
        async move { http::serve(&app, request, peer).await }
    };
    let serving = server::serve(listener, transport, handler, stop.clone());
    tasks.spawn(async move {
        let _drained = drained.drop_guard();
        serving.await;
    });
    if let Some(upkeep) = upkeep {
        upkeep.start(&mut tasks, &stop);
    }
    if !is_ready {
        tasks.spawn(readying.until_it_is(stop.clone()));
    }
    tasks.spawn(health::watch(health, stop.clone()));
    beside.start(&mut tasks, &stop);
    maintain(&registry, &config.storage.maintenance, *said, &mut tasks, &stop);
    Ok(Running { endpoint, debug_address, registry, stop, tasks })
}

/// Begins what is done beside the requests; `said` is what the file of `readonly` said at the start.
fn maintain(
    registry: &Arc<Registry>,
    settings: &Maintenance,
    said: Option<bool>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) {
    tasks.spawn(purge::watch(registry.clone(), settings.uploadpurging.clone(), stop.clone()));
    if let Some(file) = &settings.readonly.file {
        tasks.spawn(read_only_file::watch(registry.clone(), file.clone(), said, stop.clone()));
    }
}

/// What a server needs of its store before it can do everything.
struct Readying {
    opened: Arc<Opened>,
    store: Arc<dyn berth_storage::Store>,
    config: Config,
    state_keys: Arc<StateKeys>,
}

impl Readying {
    async fn attempt(&self) -> Result<()> {
        let attempt = async {
            self.opened.probe().await.context("cannot use the store")?;
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
    async fn until_it_is(self, stop: CancellationToken) {
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

async fn listen(key: &str, address: &str) -> Result<Listener> {
    let addresses = settings::resolve(key, address)?;
    Listener::tcp(&addresses).await.with_context(|| key.to_owned())
}
