//! The bundled issuer, over a real socket.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod keys;
mod lab;
mod oauth;
mod others;
