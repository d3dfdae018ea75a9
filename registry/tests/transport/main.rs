//! How the API is reached: TLS and its files, HTTP/1.1 and HTTP/2, Unix sockets, and the end of a server.
//!
//! What needs programs that are not everywhere, proxies and an ACME authority, is run by `make transport`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod clients;
mod ending;
mod identity;
mod pki;
mod programs;
mod protocols;
mod proxies;
mod reload;
mod replicas;
mod unix;
mod wire;
