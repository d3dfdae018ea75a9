//! The registry on an object store, with a real server of S3 and a proxy in front of it that counts and breaks requests.
//!
//! `make stores` starts the servers and runs this.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod cloudfront;
mod faults;
mod killed;
mod listings;
mod read_only;
mod replicas;
mod requests;
