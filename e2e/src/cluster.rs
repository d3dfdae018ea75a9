//! A real single-node Kubernetes on this machine.
//!
//! `spec`, `components` and `objects` decide; `sandbox`, `process`, `up` and `down` act. The rest of the crate sees a
//! [`Cluster`]: a handle on a running one.

pub mod cgroup;
pub mod components;
pub mod down;
pub mod gate;
mod handle;
pub mod kubeconfig;
pub mod objects;
pub mod pki;
pub mod process;
pub mod sandbox;
pub mod spec;
pub mod status;
pub mod up;

pub use handle::Cluster;
