//! Real servers for tests: storage servers for those of storage drivers, with a proxy to put before them, and an identity
//! provider for those of logins.
//!
//! A server is started with a directory and ports of its own, on loopback unless [`Programs::on`] says otherwise. It answers
//! when it is handed out, and ends with its value, or with the test's process, however that ends. Any number can run at once.
//! What they are started from is installed by `install.sh` beside this crate; `make stores` runs it for the storage servers,
//! and `make peers` for the identity provider, and hands over where everything lies.
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
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use berth_stores::{Keycloak, Programs, Realm};
//!
//! let realm = Realm::default().user("alice", "a password", &["developers"]).service("ci", "a secret", &["robots"]);
//! let server = Keycloak::start(&Programs::from_env(), &realm).await?;
//! // What verifies tokens is told server.issuer, and the audience "registry".
//! let tokens = server.user_token("alice", "a password").await?;
//! assert_ne!(tokens.access_token, server.client_token("ci", "a secret").await?);
//! # Ok(()) }
//! ```

mod azurite;
mod certificate;
mod directory;
mod fake_gcs;
mod http_client;
mod keycloak;
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
pub use keycloak::{Keycloak, LoginClient, Realm, ServiceClient, SigningAlgorithm, Tokens, User};
pub use moto::Moto;
pub use programs::Programs;
pub use proxy::{Dialect, Fault, Faults, Kind, Proxy};
pub use swift::Swift;
pub use versitygw::Versitygw;
