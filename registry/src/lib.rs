//! The registry server: blobs, manifests and tags over the OCI distribution API, on a store with CNCF Distribution's
//! layout.
//!
//! A request is parsed by [`route`], handled by [`http`], and done by [`registry::Registry`], whose operations stand in one
//! module for each noun. [`gc`] collects what nothing refers to while the server runs. [`command`] is the command line.
//!
//! Kubernetes is not known here.

mod acme;
mod admin;
mod aliases;
mod audit;
pub mod auth;
mod blobs;
mod catalog;
mod check;
mod collect;
pub mod command;
pub mod conditions;
mod create_key;
mod debug;
pub mod error;
mod fetch;
mod found;
mod gate;
pub mod gc;
pub mod health;
mod histogram;
pub mod http;
mod issuer;
mod jose;
mod libtrust;
mod logging;
mod manifests;
pub mod metrics;
mod news;
mod output;
mod patience;
mod purge;
mod reach;
mod read_only_file;
mod readying;
mod recent;
mod redirects;
mod referrers;
pub mod registry;
mod reindex;
mod remote;
mod removals;
mod repositories;
mod revoke_tokens;
mod room;
pub mod route;
pub mod rules;
pub mod schema1;
mod serve;
mod server;
mod settings;
mod stamp;
mod stores;
mod switch;
mod tag_lists;
mod tags;
mod tls;
mod transport;
mod uploads;
pub mod verify;
mod watch;

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub use catalog::Paged;
pub use found::Found;
pub use issuer::{Endpoint as IssuerEndpoint, Issuer, KeyringError};
pub use manifests::{Received, Stored};
pub use redirects::Redirects;
pub use referrers::Rebuilt;
#[cfg(feature = "testing")]
pub use serve::start_on_bucket;
pub use serve::{Running, start};
pub use server::{Endpoint, Peer};
pub use uploads::{Place, Upload, no_body};
