//! A running server: the store, both listeners, and the tasks beside them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use berth_config::{Config, Maintenance};
use berth_storage::LockMode;
use berth_storage::bucket::Bucket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::audit::Audit;
use crate::auth::Policy;
use crate::auth::certificate::Certificates;
use crate::debug::{self, Debug};
use crate::gc::Guard;
use crate::health::{self, Health};
use crate::http::{self, App, StateKeys};
use crate::issuer::Issuer;
use crate::metrics::{Metered, Metrics};
use crate::news::News;
use crate::reach::Reach;
use crate::readying::{Needs, Readying};
use crate::registry::Registry;
use crate::server::{self, Endpoint, Listener, Transport};
use crate::stores::{self, Opened};
use crate::transport::{self, Prepared};
use crate::{check, purge, read_only_file, redirects, settings};

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
    start_on(config, None).await
}

/// Starts a server on a bucket, in place of the store that the configuration names.
///
/// # Errors
/// Those of [`start`].
#[cfg(feature = "testing")]
pub async fn start_on_bucket(config: &Config, bucket: Arc<dyn Bucket>) -> Result<Running> {
    start_on(config, Some(bucket)).await
}

async fn start_on(config: &Config, bucket: Option<Arc<dyn Bucket>>) -> Result<Running> {
    check::check(config)?;
    let (config, said) = &read_only_file::overlay(config);
    let issuer = settings::issuer(config).await?;
    let authenticator = settings::authenticator(config, issuer.as_ref()).await?;
    let mode = if config.storage.maintenance.readonly.enabled { LockMode::ReadOnly } else { LockMode::Shared };
    let metrics = Arc::new(Metrics::new());
    // This may wait for another process. Nobody waits for it: a stop drops the future and ends the process.
    let opened = Arc::new(open(config, bucket, mode, &metrics).await?);
    let (exclude, presign) = (opened.exclude.clone(), opened.presign.clone());
    let store: Arc<dyn berth_storage::Store> = Arc::new(Metered::new(opened.store.clone(), metrics.clone()));
    let issuer = issuer.map(|issuer| Arc::new(issuer.with_store(store.clone())));
    let state_keys = Arc::new(StateKeys::default());
    let needs = Needs::new(opened, store.clone(), config.clone(), state_keys.clone());
    let registry = Registry::new(store, exclude, Arc::new(Guard::new()), settings::permissions(config))
        .with_rules(settings::rules(config)?)
        .with_needs(needs.clone());
    let registry = Arc::new(registry);
    let reach = Arc::new(Reach::of(&registry));
    let health = Arc::new(Health::of(&config.health, reach.clone())?);
    let unready = Readying { needs, reach: reach.clone(), health: health.clone() }.begin().await?;
    let redirects::Opened { redirects, upkeep: beside } = redirects::open(config, presign)?;
    let app = Arc::new(App {
        registry: registry.clone(),
        authenticator: authenticator.clone(),
        issuer: issuer.clone(),
        certificates: Certificates::of(config.auth.as_ref()),
        addresses: settings::addresses(config),
        state_keys,
        signer: settings::signer(config)?,
        headers: settings::headers(config)?,
        access_log: !config.log.accesslog.disabled,
        audit: Audit::of_the_api(config),
        max_catalog_entries: config.catalog.maxentries,
        max_tags: config.tags.maxtags,
        policy: Policy::of(config),
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
            let debug = Arc::new(Debug {
                health: health.clone(),
                metrics,
                reach,
                metrics_path: settings.prometheus.enabled.then(|| settings.prometheus.path.clone()),
                authenticator: authenticator.clone(),
                issuer: issuer.clone(),
                admin: administration(config, &registry, issuer.as_ref()),
            });
            let handler = move |request, peer| {
                let debug = debug.clone();
                async move { debug::serve(&debug, request, peer).await }
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
    if let Some(readying) = unready {
        tasks.spawn(readying.until_it_is(stop.clone()));
    }
    tasks.spawn(health::watch(health, stop.clone()));
    beside.start(&mut tasks, &stop);
    maintain(&registry, issuer, &config.storage.maintenance, *said, &mut tasks, &stop);
    Ok(Running { endpoint, debug_address, registry, stop, tasks })
}

/// The administration, where it has a token.
fn administration(config: &Config, registry: &Arc<Registry>, issuer: Option<&Arc<Issuer>>) -> Option<Admin> {
    let settings = config.http.debug.as_ref()?.admin.as_ref()?;
    Some(Admin {
        registry: registry.clone(),
        issuer: issuer.cloned(),
        token_file: settings.tokenfile.clone(),
        audit: Audit::of_the_administration(config),
    })
}

/// Opens the store: that of the configuration, unless there is a bucket in its place.
async fn open(
    config: &Config,
    bucket: Option<Arc<dyn Bucket>>,
    mode: LockMode,
    metrics: &Arc<Metrics>,
) -> Result<Opened> {
    match bucket {
        Some(bucket) => Ok(Opened::in_bucket(bucket, mode)),
        None => stores::open(&config.storage.driver, mode, Some(metrics.clone())).await,
    }
}

/// Begins what is done beside the requests; `said` is what the file of `readonly` said at the start.
fn maintain(
    registry: &Arc<Registry>,
    issuer: Option<Arc<Issuer>>,
    settings: &Maintenance,
    said: Option<bool>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) {
    tasks.spawn(purge::watch(registry.clone(), settings.uploadpurging.clone(), stop.clone()));
    if let Some(issuer) = issuer {
        let (registry, stop) = (registry.clone(), stop.clone());
        tasks.spawn(async move { issuer.sweep(|| registry.writable().is_ok(), stop).await });
    }
    if registry.store.is_remote() {
        let news = News::new(registry.store.clone(), registry.removals.clone());
        tasks.spawn(news.follow(stop.clone()));
    }
    if let Some(file) = &settings.readonly.file {
        tasks.spawn(read_only_file::watch(registry.clone(), file.clone(), said, stop.clone()));
    }
}

async fn listen(key: &str, address: &str) -> Result<Listener> {
    let addresses = settings::resolve(key, address)?;
    Listener::tcp(&addresses).await.with_context(|| key.to_owned())
}
