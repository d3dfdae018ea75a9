//! From `http` of the configuration to the listener of the API, how it is served, and what keeps its certificate up to
//! date.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use berth_config::{Http, Net, Tls as TlsSettings};
use rustls::server::ResolvesServerCertUsingSni;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::acme::Acme;
use crate::metrics::Metrics;
use crate::server::{Endpoint, Listener, Plain, Transport};
use crate::settings;
use crate::tls::{self, Files, Opened, Policy, Reloader, Source, Tls, TlsError};

/// The listener of the API, before it is served.
pub(crate) struct Prepared {
    pub(crate) listener: Listener,
    pub(crate) endpoint: Endpoint,
    pub(crate) transport: Transport,
    pub(crate) upkeep: Option<Upkeep>,
}

/// What keeps TLS up to date.
pub(crate) struct Upkeep {
    reloader: Reloader,
    acme: Option<Acme>,
}

impl Upkeep {
    /// Starts it. It runs until `stop`.
    pub(crate) fn start(self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let Upkeep { reloader, acme } = self;
        tasks.spawn(reloader.run(stop.clone()));
        if let Some(acme) = acme {
            tasks.spawn(acme.run(stop.clone()));
        }
    }
}

/// Reads the files of TLS, and then listens: what is wrong with a file is said before a client can connect.
///
/// # Errors
/// When a file cannot be used or the address cannot be listened on. The key is named.
pub(crate) async fn prepare(http: &Http, metrics: &Arc<Metrics>) -> Result<Prepared> {
    let (tls, upkeep) = match &http.tls {
        None => (None, None),
        Some(settings) => {
            let (settings, http2, metrics) = (settings.clone(), !http.http2.disabled, metrics.clone());
            let opened = tokio::task::spawn_blocking(move || open_tls(settings, http2, metrics));
            let (tls, upkeep) = opened.await??;
            (Some(tls), Some(upkeep))
        }
    };
    let listener = match http.net {
        Net::Tcp => Listener::tcp(&settings::resolve("http.addr", &http.addr)?).await,
        Net::Unix => Listener::unix(Path::new(&http.addr)).await,
    };
    let listener = listener.context("http.addr")?;
    let endpoint = listener.endpoint().context("http.addr")?;
    let plain = if http.h2c.enabled { Plain::Http1OrHttp2 } else { Plain::Http1 };
    let transport = Transport { plain, tls, drain: http.draintimeout.as_std(), ..Transport::default() };
    Ok(Prepared { listener, endpoint, transport, upkeep })
}

/// Reads the files of TLS as a start does, and opens nothing else.
///
/// # Errors
/// When one cannot be used. The key is named.
pub(crate) fn read_files(settings: &TlsSettings, http2: bool) -> Result<(), TlsError> {
    let policy = Policy::new(settings, http2)?;
    let source = match (&settings.letsencrypt, settings.certificate.clone().zip(settings.key.clone())) {
        (Some(letsencrypt), _) => {
            tls::client("letsencrypt.directoryca", letsencrypt.directoryca.as_deref())?;
            Source::Issued(Arc::new(ResolvesServerCertUsingSni::new()))
        }
        (None, Some((certificate, key))) => Source::Files { certificate, key },
        (None, None) => return Err(TlsError::NoSource),
    };
    Tls::open(&Files { source, client_cas: settings.clientcas.clone() }, &policy, None).map(drop)
}

fn open_tls(settings: TlsSettings, http2: bool, metrics: Arc<Metrics>) -> Result<(Arc<Tls>, Upkeep)> {
    let policy = Policy::new(&settings, http2)?;
    let TlsSettings { certificate, key, clientcas, clientauth: _, minimumtls: _, ciphersuites: _, letsencrypt } =
        settings;
    let (source, acme) = match (letsencrypt, certificate.zip(key)) {
        (Some(letsencrypt), _) => {
            let acme = Acme::open(letsencrypt, metrics.clone())?;
            (Source::Issued(acme.certificates()), Some(acme))
        }
        (None, Some((certificate, key))) => (Source::Files { certificate, key }, None),
        (None, None) => return Err(TlsError::NoSource.into()),
    };
    let challenge = acme.as_ref().map(Acme::challenge).transpose()?;
    let files = Files { source, client_cas: clientcas };
    let opened = Tls::open(&files, &policy, challenge)?;
    let reloader = Reloader::new(&opened, files, policy, metrics);
    let Opened { tls, .. } = opened;
    Ok((tls, Upkeep { reloader, acme }))
}
