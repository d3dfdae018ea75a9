//! What only Swift has: identity services, objects in segments, and docker-registry beside us in the same container.
//!
//! `make stores` starts the real Swift and runs this.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod addresses;
mod identity;
mod keystone;
mod lab;
mod peer;
mod segments;
