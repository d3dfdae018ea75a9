//! Real storage servers for the tests of storage drivers, and a proxy to put before them.
//!
//! A server is started with a directory and ports of its own, on loopback unless [`Programs::on`] says otherwise. It answers
//! when it is handed out, and ends with its value, or with the test's process, however that ends. Any number can run at once.
//! What they are started from is installed by `install.sh` beside this crate; `make stores` runs it and hands over where
//! everything lies.
//!
//! Knows nothing of Berth: the tests of any crate may depend on it.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use berth_stores::{Dialect, Fault, Faults, Kind, Programs, Proxy, Versitygw};
//!
//! let server = Versitygw::start(&Programs::from_env()).await?;
//! server.create_bucket("registry")?;
//! let proxy = Proxy::start(server.address, Dialect::S3)?;
//! proxy.set_faults(Faults::of_seed(7).share(Fault::SlowDown, 0.2));
//! // A driver works on proxy.endpoint() with server.access_key and server.secret_key, and tries again.
//! assert_eq!(proxy.counts().of(&http::Method::GET, Kind::Listing), 0);
//! # Ok(()) }
//! ```

mod azurite;
mod certificate;
mod directory;
mod fake_gcs;
mod http_client;
mod moto;
mod port;
mod process;
mod programs;
pub mod proxy;
mod swift;
mod versitygw;

pub use azurite::Azurite;
pub use certificate::Certificate;
pub use fake_gcs::FakeGcs;
pub use moto::Moto;
pub use programs::Programs;
pub use proxy::{Dialect, Fault, Faults, Kind, Proxy};
pub use swift::Swift;
pub use versitygw::Versitygw;
