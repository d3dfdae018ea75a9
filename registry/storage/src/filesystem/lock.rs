//! Who uses a directory: told by locked files, which the operating system lets go of when a process ends in whatever way.
//!
//! Every server holds `lock` shared, the offline collector holds it alone. That keeps these two apart.
//!
//! A server that collects must also know that no other server uses the directory, for it cannot see what another one is
//! about to acknowledge. Every process therefore also holds a file of its own in `servers/`, which appears there already
//! locked, and a server that collects holds `collecting`:
//!
//! * a process that starts puts its file into `servers/`, and then waits until nobody holds `collecting`;
//! * a server that collects takes `collecting`, and then looks into `servers/`.
//!
//! If the newcomer's file was there before the look, the collector sees it and does not collect. If not, the collector
//! had taken `collecting` before the newcomer looked at it, and the newcomer waits until the collection has ended.
//!
//! The locks are advisory. Where a network file system does not carry them to other machines they say nothing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::layout;
use crate::store::Excluded;
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

/// The locks of a process, held until this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _shared: File,
    _own: File,
    own_path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays is removed by the next one who looks and finds it unlocked.
        let _ = fs::remove_file(&self.own_path);
    }
}

impl Lock {
    /// Takes the locks or says who has them. Whoever finds itself alone also removes the half-written files of processes
    /// that were killed.
    pub(super) fn take(tree: &Tree, mode: LockMode) -> Result<Self, StoreError> {
        let shared = take_main(tree, mode)?;
        let (own, own_path) = register(tree).map_err(|source| failed(layout::SERVERS, source))?;
        // From here on the drop removes the file.
        let lock = Lock { _shared: shared, _own: own, own_path };
        let collecting = open(tree, layout::COLLECTING)?;
        match collecting.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::warn!("another server is collecting garbage: waiting until it has ended");
                collecting.lock_shared().map_err(|source| failed(layout::COLLECTING, source))?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(layout::COLLECTING, source)),
        }
        Ok(lock)
    }

    /// Makes sure that no other process uses the store, and that one that starts waits.
    pub(super) fn exclude(&self, tree: &Tree) -> Result<Excluded, StoreError> {
        let collecting = open(tree, layout::COLLECTING)?;
        match collecting.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = tree.path(&Key::built(layout::COLLECTING.to_owned()));
                return Err(StoreError::Locked { path, holder: "another server", advice: "try again later" });
            }
            Err(TryLockError::Error(source)) => return Err(failed(layout::COLLECTING, source)),
        }
        let servers = tree.path(&Key::built(layout::SERVERS.to_owned()));
        for entry in fs::read_dir(servers).map_err(|source| failed(layout::SERVERS, source))? {
            let path = entry.map_err(|source| failed(layout::SERVERS, source))?.path();
            if path != self.own_path && is_in_use(&path).map_err(|source| failed(layout::SERVERS, source))? {
                let advice = "garbage can be collected while one server alone uses the directory";
                return Err(StoreError::Locked { path, holder: "another server", advice });
            }
        }
        Ok(Excluded::by_lock(collecting))
    }
}

fn take_main(tree: &Tree, mode: LockMode) -> Result<File, StoreError> {
    let path = tree.path(&Key::built(layout::LOCK.to_owned()));
    let file = open(tree, layout::LOCK)?;
    match file.try_lock() {
        Ok(()) => tree.clean_temporary()?,
        Err(TryLockError::WouldBlock) if mode == LockMode::Shared => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked { path, holder: "a server or a collector", advice: "stop it first" });
        }
        Err(TryLockError::Error(source)) => return Err(failed(layout::LOCK, source)),
    }
    if mode == LockMode::Shared {
        // Going from alone to shared lets go for a moment; whoever comes in between wins, and is reported here.
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let advice = "wait until it has ended";
                return Err(StoreError::Locked { path, holder: "the offline garbage collector", advice });
            }
            Err(TryLockError::Error(source)) => return Err(failed(layout::LOCK, source)),
        }
    }
    Ok(file)
}

/// Puts this process's file among those of the others, locked before anybody can see it there.
fn register(tree: &Tree) -> io::Result<(File, PathBuf)> {
    let (temporary, file) = tree.new_file()?;
    file.lock()?;
    let servers = tree.path(&Key::built(layout::SERVERS.to_owned()));
    fs::create_dir_all(&servers)?;
    let name = temporary.file_name().unwrap_or_default();
    let path = servers.join(name);
    fs::rename(&temporary, &path)?;
    Ok((file, path))
}

/// Whether a process holds its file. The file of one that was killed is removed.
fn is_in_use(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = fs::remove_file(path);
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(tree: &Tree, key: &str) -> Result<File, StoreError> {
    let path = tree.path(&Key::built(key.to_owned()));
    tree.make_parent(&path).map_err(|source| failed(key, source))?;
    let file = File::options().create(true).truncate(false).write(true).open(path);
    file.map_err(|source| failed(key, source))
}

fn failed(key: &str, source: io::Error) -> StoreError {
    StoreError::Io { key: key.to_owned(), action: "lock the store", source }
}
