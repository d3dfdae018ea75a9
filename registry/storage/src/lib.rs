//! Where a registry keeps its content.
//!
//! [`Store`] is what a back end can do, [`layout`] is where things lie in it (CNCF Distribution's layout), and each back
//! end is one module: [`Filesystem`] and [`Memory`]. Every back end runs the suite in `tests/buckets`.
//!
//! This crate knows nothing of HTTP, of configuration or of garbage collection.

mod azure;
pub mod bucket;
mod error;
mod filesystem;
mod gcs;
mod http;
mod key;
pub mod layers;
pub mod layout;
mod memory;
mod object_store;
mod oss;
mod presign;
mod s3;
mod store;
mod swift;
mod unlocked;

pub use self::object_store::ObjectStore;
pub use azure::{Azure, AzureLogin, AzureOptions};
pub use error::{BoxError, Refusal, StoreError};
pub use filesystem::{Filesystem, LockMode};
pub use gcs::{Gcs, GcsCredentials, GcsOptions};
pub use http::{Connector, Trust, authorities_of_the_system};
pub use key::{Key, KeyError};
pub use memory::Memory;
pub use oss::{Oss, OssCredentials, OssOptions, OssRole};
pub use presign::Presign;
pub use s3::{S3, S3Credentials, S3Options};
pub use store::{
    Appended, ByteRange, Cursor, Entry, EntryKind, Exclude, Excluded, Incoming, ListRequest, MAX_PAGE, Object,
    Outgoing, Page, Progress, Stat, Store, Written, list_all, read_all,
};
pub use swift::{Swift, SwiftOptions};
pub use unlocked::Unlocked;
