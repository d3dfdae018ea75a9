//! The lock file: every server that uses a directory holds it shared, the offline collector holds it alone.
//!
//! The lock is advisory and belongs to the open file, so the operating system lets go of it when the process ends in
//! whatever way. It says nothing about processes on other machines where the file system does not carry locks.

use std::fs::{File, TryLockError};

use crate::layout;
use crate::{Key, StoreError};

use super::tree::Tree;

/// How a process wants to hold a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Beside other servers, and not beside the offline collector.
    Shared,
    /// Alone.
    Exclusive,
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock or says who has it. Whoever finds itself alone also removes the half-written files of processes
    /// that were killed.
    pub(super) fn take(tree: &Tree, mode: LockMode) -> Result<Self, StoreError> {
        let key = Key::built(layout::LOCK.to_owned());
        let failed = |source| StoreError::Io { key: key.to_string(), action: "lock the store", source };
        let path = tree.path(&key);
        tree.make_parent(&path).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => tree.clean_temporary()?,
            Err(TryLockError::WouldBlock) if mode == LockMode::Shared => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path, holder: "a server or a collector", advice: "stop it first" });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        if mode == LockMode::Shared {
            // Going from alone to shared lets go for a moment; whoever comes in between wins, and is reported here.
            match file.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let advice = "wait until it has ended";
                    return Err(StoreError::Locked { path, holder: "the offline garbage collector", advice });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Ok(Lock { _file: file })
    }
}
