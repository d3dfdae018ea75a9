//! Where a registry keeps its content.
//!
//! [`Store`] is what a back end can do, [`layout`] is where things lie in it (CNCF Distribution's layout), and each back
//! end is one module: [`Filesystem`] and [`Memory`]. Every back end runs the suite in `tests/contract`.
//!
//! This crate knows nothing of HTTP, of configuration or of garbage collection.

mod error;
mod filesystem;
mod key;
pub mod layout;
mod memory;
mod store;

pub use error::{BoxError, StoreError};
pub use filesystem::{Filesystem, LockMode};
pub use key::{Key, KeyError};
pub use memory::Memory;
pub use store::{
    Appended, ByteRange, Cursor, Entry, EntryKind, Exclude, Excluded, Incoming, ListRequest, MAX_PAGE, Object,
    Outgoing, Page, Stat, Store, list_all, read_all,
};
