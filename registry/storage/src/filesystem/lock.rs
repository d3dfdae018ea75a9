//! Who uses a directory: told by locked files, which the operating system lets go of when a process ends in whatever way.
//!
//! Every server holds `lock` shared, the offline collector holds it alone. That keeps these two apart.
//!
//! Every process holds `cleaning` shared for as long as it may have files in `tmp`. Who starts and gets it alone knows that
//! no file there is being written, and removes what killed processes left; who starts meanwhile waits for that.
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
//! The locks are advisory. Where a network file system does not carry them to other machines they say nothing. Where a file
//! system refuses them, or a server that only reads cannot write its files, a server runs without them and says so. It
//! leaves `tmp` alone and does not collect, and a collector that does hold locks does not see it.
//!
//! On NFS a lock is a POSIX lock of the whole file, for which a shared holder must be able to read the file and a sole one
//! to write it. So every file here is opened for both.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::layout;
use crate::store::Excluded;
use crate::{Key, StoreError};

use super::tree::Tree;

/// How often a lock that another process has is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log says that a process still waits.
const REMINDER: Duration = Duration::from_secs(30);
/// How long a server that starts waits for an offline collector. That one may be about to end, or be killed already and
/// its lock not yet known to be free on a network file system.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(3);

/// How a process wants to hold a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Beside other servers, and not beside the offline collector.
    Shared,
    /// As [`LockMode::Shared`], for a server that writes nothing: where the directory cannot be written, without a lock.
    ReadOnly,
    /// Alone.
    Exclusive,
}

/// What keeps a process and others apart.
#[derive(Debug)]
pub(super) enum Lock {
    /// The locks, held until this is dropped.
    Held(Held),
    /// There are no locks, for this reason.
    None(&'static str),
}

/// The locks of a process.
#[derive(Debug)]
pub(super) struct Held {
    _main: File,
    _cleaning: File,
    _own: File,
    own_path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A file that stays is removed by the next one who looks and finds it unlocked.
        let _ = fs::remove_file(&self.own_path);
    }
}

impl Lock {
    /// Takes the locks or says who has them. Waits while another server collects.
    pub(super) fn take(tree: &Tree, mode: LockMode) -> Result<Self, StoreError> {
        match Held::take(tree, mode) {
            Ok(held) => Ok(Lock::Held(held)),
            Err(StoreError::Io { key, action, source }) => match reason_for_none(mode, &source) {
                Some(reason) => {
                    let root = tree.root().display();
                    tracing::warn!(
                        "{root}: {reason}: serving without a lock, and without garbage collection: {key}: {source}"
                    );
                    Ok(Lock::None(reason))
                }
                None => Err(StoreError::Io { key, action, source }),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes sure that no other process uses the store, and that one that starts waits.
    pub(super) fn exclude(&self, tree: &Tree) -> Result<Excluded, StoreError> {
        match self {
            Lock::Held(held) => held.exclude(tree),
            Lock::None(reason) => Err(StoreError::Unlockable { path: tree.root().to_path_buf(), reason }),
        }
    }

    /// Takes the locks that a server that only reads went without because it could not write them.
    pub(super) fn prepare_to_write(&mut self, tree: &Tree) -> Result<(), StoreError> {
        if matches!(self, Lock::None(CLOSED)) {
            *self = Lock::take(tree, LockMode::Shared)?;
        }
        Ok(())
    }
}

/// Why a server that only reads has no locks.
const CLOSED: &str = "the directory cannot be written";

/// Whether an error says that the file system has no locks.
pub(super) fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}

/// Why a process goes on without a lock after an error; none if it must not.
fn reason_for_none(mode: LockMode, error: &io::Error) -> Option<&'static str> {
    let is_closed = matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied);
    match mode {
        LockMode::Exclusive => None,
        _ if has_no_locks(error) => Some("the file system has no locks"),
        LockMode::ReadOnly if is_closed => Some(CLOSED),
        _ => None,
    }
}

impl Held {
    fn take(tree: &Tree, mode: LockMode) -> Result<Self, StoreError> {
        tree.make_temporary()?;
        let main = take_main(tree, mode)?;
        let cleaning = clean(tree)?;
        let (own, own_path) = register(tree).map_err(|source| failed(layout::SERVERS, source))?;
        // From here on the drop removes the file.
        let held = Held { _main: main, _cleaning: cleaning, _own: own, own_path };
        let collecting = open(tree, layout::COLLECTING)?;
        wait(&collecting, layout::COLLECTING, "another server to end its garbage collection", None)?;
        Ok(held)
    }

    fn exclude(&self, tree: &Tree) -> Result<Excluded, StoreError> {
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
    if mode == LockMode::Exclusive {
        return match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::Locked { path, holder: "a server or a collector", advice: "stop it first" })
            }
            Err(TryLockError::Error(source)) => Err(failed(layout::LOCK, source)),
        };
    }
    if wait(&file, layout::LOCK, "an offline collection, repair or reindex", Some(COLLECTOR_PATIENCE))? {
        return Ok(file);
    }
    Err(StoreError::Locked {
        path,
        holder: "an offline collection, repair or reindex",
        advice: "wait until it has ended",
    })
}

/// Removes what killed processes left half-written, if nobody else can be writing, and holds off others who would.
fn clean(tree: &Tree) -> Result<File, StoreError> {
    let file = open(tree, layout::CLEANING)?;
    match file.try_lock() {
        Ok(()) => tree.clean_temporary(),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(failed(layout::CLEANING, source)),
    }
    // Going from alone to shared lets go for a moment. Whoever comes in between cleans as well, and this process has no
    // file there yet.
    wait(&file, layout::CLEANING, "another process to remove half-written files", None)?;
    Ok(file)
}

/// Takes a lock shared, and waits for whoever has it alone; false if that one has it for longer than `patience`.
fn wait(file: &File, key: &str, awaited: &str, patience: Option<Duration>) -> Result<bool, StoreError> {
    let begin = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if patience.is_some_and(|patience| begin.elapsed() >= patience) => {
                return Ok(false);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed(key, source)),
        }
        if told.is_none_or(|told| told.elapsed() >= REMINDER) {
            tracing::warn!(lock = key, "waiting for {awaited}");
            told = Some(Instant::now());
        }
        thread::sleep(PAUSE);
    }
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
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
    file.map_err(|source| failed(key, source))
}

fn failed(key: &str, source: io::Error) -> StoreError {
    StoreError::Io { key: key.to_owned(), action: "lock the store", source }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn without_a_lock_goes_only_who_can_do_no_harm() {
        let no_locks = Some("the file system has no locks");
        let closed = Some("the directory cannot be written");
        for (error, shared, read_only) in [
            (Errno::NOLCK, no_locks, no_locks),
            (Errno::NOTSUP, no_locks, no_locks),
            (Errno::NOSYS, no_locks, no_locks),
            (Errno::ROFS, None, closed),
            (Errno::ACCESS, None, closed),
            (Errno::BADF, None, None),
            (Errno::NOSPC, None, None),
        ] {
            let error = io::Error::from(error);
            assert_eq!(reason_for_none(LockMode::Shared, &error), shared, "{error}");
            assert_eq!(reason_for_none(LockMode::ReadOnly, &error), read_only, "{error}");
            assert_eq!(reason_for_none(LockMode::Exclusive, &error), None, "{error}");
        }
    }

    #[test]
    fn a_store_without_locks_is_not_collected_in() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path()).unwrap();
        let refused = Lock::None("the file system has no locks").exclude(&tree).err().unwrap().to_string();
        assert!(
            refused.ends_with("cannot be collected in while it is served: the file system has no locks"),
            "{refused}"
        );
    }

    #[test]
    fn a_server_that_was_to_only_read_takes_the_locks_before_it_writes() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path()).unwrap();
        let mut lock = Lock::None(CLOSED);
        let collecting = Lock::take(&tree, LockMode::Exclusive).unwrap();
        assert!(matches!(lock.prepare_to_write(&tree), Err(StoreError::Locked { .. })));
        drop(collecting);
        lock.prepare_to_write(&tree).unwrap();
        assert!(matches!(lock, Lock::Held(_)));
        assert!(matches!(Lock::take(&tree, LockMode::Exclusive), Err(StoreError::Locked { .. })));
    }

    /// A lock on NFS needs a file that is open for reading and for writing.
    #[test]
    fn lock_files_are_open_for_both() {
        use rustix::fs::{OFlags, fcntl_getfl};

        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path()).unwrap();
        let held = Held::take(&tree, LockMode::Shared).unwrap();
        for file in [&held._main, &held._cleaning, &held._own] {
            assert_eq!(fcntl_getfl(file).unwrap() & OFlags::ACCMODE, OFlags::RDWR);
        }
    }
}
