//! What an end-to-end test needs: a namespace of its own, waiting with a deadline, and everything on disk when it fails.

mod dump;
mod objects;
mod s3;
mod skopeo;
mod space;
mod wait;

pub use dump::write as dump;
pub use objects::{app_pod, condition, delete_and_wait, gc_run, pod_pulled, ready, registry_address};
pub use s3::{S3, User};
pub use skopeo::{copy_down, delete, push};
pub use space::{Space, in_namespace, in_namespace_without_berth};
pub use wait::until;
