//! A proxy before a storage server: counts what is asked, and on demand breaks a share of it.
//!
//! It runs on a thread of its own, so it serves tests with and without a runtime, and those of several at once. What
//! passes is not changed: neither `Host`, so signatures that were made for the proxy's address stay right, nor the case
//! of headers. Bodies are passed on as they arrive.

mod counts;
mod faults;
mod kind;
mod relay;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::Certificate;

pub use counts::Counts;
pub use faults::{Fault, Faults, MAX_STALL};
pub use kind::{Dialect, Kind};

use faults::Dice;

/// How many connections are served at once; more wait.
const MAX_CONNECTIONS: usize = 512;

/// A running proxy, which ends when dropped.
pub struct Proxy {
    address: SocketAddrV4,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What every connection looks at.
struct Shared {
    upstream: SocketAddrV4,
    dialect: Dialect,
    tls: Option<TlsAcceptor>,
    counts: Mutex<Counts>,
    dice: Mutex<Dice>,
    /// What paths end with that are neither counted nor broken.
    left_out: Mutex<Vec<String>>,
}

impl Proxy {
    /// Starts one before `upstream`, whose requests are understood as `dialect`.
    pub fn start(upstream: SocketAddrV4, dialect: Dialect) -> Result<Self> {
        Self::start_with(upstream, dialect, None)
    }

    /// Starts one that speaks TLS to its clients, and plainly to `upstream`.
    pub fn start_over_tls(upstream: SocketAddrV4, dialect: Dialect, certificate: &Certificate) -> Result<Self> {
        Self::start_with(upstream, dialect, Some(certificate.server()?.into()))
    }

    fn start_with(upstream: SocketAddrV4, dialect: Dialect, tls: Option<TlsAcceptor>) -> Result<Self> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a free port")?;
        listener.set_nonblocking(true).context("make a socket that does not block")?;
        let SocketAddr::V4(address) = listener.local_addr().context("read which port is free")? else {
            bail!("a socket of IPv4 has no address of IPv4");
        };
        let (counts, dice, left_out) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { upstream, dialect, tls, counts, dice, left_out });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("make a runtime")?;
        let (stop, stopped) = oneshot::channel();
        let for_thread = shared.clone();
        // What is left of the connections ends with the runtime.
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, for_thread) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(serve).context("start a thread")?;
        Ok(Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Its address as a URL.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What has been asked since the start, or since [`Proxy::forget_counts`]; also what was broken.
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// Counts from nothing again.
    pub fn forget_counts(&self) {
        *self.shared.counts() = Counts::default();
    }

    /// Neither counts nor breaks requests for paths that end so: what is asked by the clock, and not for a client.
    pub fn leave_out(&self, end: &str) {
        self.shared.left_out.lock().unwrap_or_else(PoisonError::into_inner).push(end.to_owned());
    }

    /// Breaks requests that come from now on as `faults` says, whose dice are thrown from the beginning.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.dice() = Dice::new(faults);
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("endpoint", &self.endpoint()).field("counts", &self.counts()).finish()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_left_out(&self, path: &str) -> bool {
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.iter().any(|end| path.ends_with(end.as_str()))
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = room.clone().acquire_owned().await {
        // What fails here is a connection that was given up before it was taken.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            relay::serve(stream, shared).await;
            drop(place);
        });
    }
}

async fn connect(upstream: SocketAddrV4) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
