//! The files of a store: written whole or not at all, and durable once written.
//!
//! Two things race here, and both orders are right.
//!
//! *Making a directory, and relying on it.* Each directory belongs to one of several locks, by its path. A directory is
//! made, and its parent synced, under the write lock of that one, after the same was done for the parent; and it is
//! looked for under the read lock. No two locks are held at once. So whoever finds a directory that this process made finds
//! a durable one. As a directory may be removed and made again at any time before there is a file below it, a writer
//! passes through the lock of each directory above the file once more after the rename: what is there then holds the
//! file, so it stays, and whoever made it has synced its parent. The file is durable once it and its directory are synced.
//!
//! This holds among the threads of a process. A directory that *another* process made, and has not synced yet or was
//! killed before it could, is relied on as it is found. The journals of ext4, XFS and btrfs keep the order of such
//! changes, so that to sync the directory of a file also keeps what was made before it; a network file system makes a
//! directory on the server, durably, before it answers. Where neither is so, a power failure right after such a moment
//! can lose the directory, and with it what was put there since.
//!
//! *Removing an empty directory, and writing into it.* If the removal comes first, the rename finds no directory, makes
//! it again and tries again. If the rename comes first, the removal finds the directory not empty and stops.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::layout;
use crate::{Key, Stat, StoreError};

use super::resident::Resident;

/// How often a write starts again because a directory was removed under it. Each time takes another deletion of the last
/// object of that directory, so more than a few are not to be expected.
const MAX_ATTEMPTS: usize = 64;

/// Among how many locks the directories are divided: more than there are file operations at once by default, so that two
/// of them seldom wait for one another's sync.
const STRIPES: usize = 128;

/// What happens to an object that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Placing {
    Replace,
    IfAbsent,
}

/// The directory of a store.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    temporary: PathBuf,
    directories: Stripes,
    resident: Resident,
}

/// The locks under which directories are made and looked for.
#[derive(Debug)]
struct Stripes {
    locks: Vec<RwLock<()>>,
    hasher: RandomState,
}

impl Stripes {
    fn new() -> Self {
        Stripes { locks: (0..STRIPES).map(|_| RwLock::new(())).collect(), hasher: RandomState::new() }
    }

    /// The lock of one directory. Its parent may well have the same.
    fn of(&self, directory: &Path) -> &RwLock<()> {
        let hash = self.hasher.hash_one(directory) % STRIPES as u64;
        &self.locks[hash as usize]
    }
}

/// A file that is removed unless it is renamed away.
struct Temporary {
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing; what cannot be removed is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let failed = |action| move |source| StoreError::Io { key: root.display().to_string(), action, source };
        make_root(root).map_err(failed("make the root directory"))?;
        // An absolute path keeps the store where it is if the process ever changes its directory.
        let root = fs::canonicalize(root).map_err(failed("resolve the root directory"))?;
        let resident = Resident::below(&root);
        Ok(Tree { temporary: root.join(layout::TEMPORARY), root, directories: Stripes::new(), resident })
    }

    /// Makes the place of files that are being written, without which nothing can be.
    pub(super) fn make_temporary(&self) -> Result<(), StoreError> {
        fs::create_dir_all(&self.temporary).map_err(|source| StoreError::Io {
            key: layout::TEMPORARY.to_owned(),
            action: "make the directory",
            source,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What can be read of files without waiting.
    pub(super) fn resident(&self) -> &Resident {
        &self.resident
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Removes what killed processes left half-written. Only for a process that knows that nobody writes there. What
    /// cannot be removed is in nobody's way, so it is only said.
    pub(super) fn clean_temporary(&self) {
        let entries = match fs::read_dir(&self.temporary) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(directory = layout::TEMPORARY, %error, "cannot look for half-written files");
                return;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what lies among half-written files");
            }
        }
    }

    pub(super) fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        let failed = |source| StoreError::from_io(key, "look at the file", source);
        let metadata = fs::metadata(self.path(key)).map_err(failed)?;
        if !metadata.is_file() {
            return Err(StoreError::not_found(key));
        }
        Ok(Stat { size: metadata.len(), modified: metadata.modified().map_err(failed)? })
    }

    /// What is known of an object, if that can be told without waiting.
    pub(super) fn resident_stat(&self, key: &Key) -> Option<Result<Stat, StoreError>> {
        let found = self.resident.stat(&self.path(key))?;
        let found = found.map_err(|source| StoreError::from_io(key, "look at the file", source));
        Some(found.and_then(|stat| stat.ok_or_else(|| StoreError::not_found(key))))
    }

    /// Opens an object for reading, if that can be done without waiting.
    pub(super) fn resident_file(&self, key: &Key) -> Option<Result<(File, Stat), StoreError>> {
        let found = self.resident.open(&self.path(key))?;
        let found = found.map_err(|source| StoreError::from_io(key, "open the file", source));
        Some(found.and_then(|(file, stat)| Ok((file, stat.ok_or_else(|| StoreError::not_found(key))?))))
    }

    /// Opens an object for reading.
    pub(super) fn open_file(&self, key: &Key) -> Result<(File, Stat), StoreError> {
        let failed = |source| StoreError::from_io(key, "open the file", source);
        let file = File::open(self.path(key)).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(StoreError::not_found(key));
        }
        Ok((file, Stat { size: metadata.len(), modified: metadata.modified().map_err(failed)? }))
    }

    pub(super) fn write(&self, key: &Key, content: &[u8], placing: Placing) -> Result<(), StoreError> {
        if placing == Placing::IfAbsent && self.path(key).exists() {
            return Err(StoreError::AlreadyExists { key: key.to_string() });
        }
        let written = self.temporary_file().and_then(|(temporary, mut file)| {
            file.write_all(content)?;
            file.sync_all()?;
            self.place(&temporary.path, &self.path(key), placing)
        });
        written.map_err(|source| StoreError::from_io(key, "write the file", source))
    }

    /// Writes what may be lost by a power failure, but not be half there after a crash of the process.
    pub(super) fn write_unsynced(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let written = self.temporary_file().and_then(|(temporary, mut file)| {
            file.write_all(content)?;
            self.rename(&temporary.path, &self.path(key), Placing::Replace)
        });
        written.map_err(|source| StoreError::from_io(key, "write the file", source))
    }

    pub(super) fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (mut source_file, _) = self.open_file(from)?;
        let written = self.temporary_file().and_then(|(temporary, mut file)| {
            io::copy(&mut source_file, &mut file)?;
            file.sync_all()?;
            self.place(&temporary.path, &self.path(to), Placing::Replace)
        });
        written.map_err(|source| StoreError::from_io(to, "copy the file", source))
    }

    pub(super) fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        fs::remove_file(&path).map_err(|source| StoreError::from_io(key, "delete the file", source))?;
        self.settle_removal(&path).map_err(|source| StoreError::Io {
            key: key.to_string(),
            action: "sync the directory of the deleted file",
            source,
        })
    }

    /// Removes every file below a directory, and the directories that are empty then, its own included. A link to a
    /// directory is removed, not what it leads to.
    pub(super) fn delete_below(&self, below: &Key) -> Result<u64, StoreError> {
        let path = self.path(below);
        let mut removed = 0;
        empty(&path, &mut removed).and_then(|()| self.settle_removal(&path)).map_err(|source| StoreError::Io {
            key: below.to_string(),
            action: "delete the directory",
            source,
        })?;
        Ok(removed)
    }

    /// Makes the directory that a file goes into, and makes every new directory durable.
    pub(super) fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let mut attempt = 1;
        loop {
            match self.make_directory(parent) {
                // A directory above it was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < MAX_ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        {
            let _found_is_durable = self.directories.of(directory).read().unwrap_or_else(PoisonError::into_inner);
            if directory.is_dir() {
                return Ok(());
            }
        }
        let Some(above) = directory.parent() else { return Ok(()) };
        self.make_directory(above)?;
        let _making = self.directories.of(directory).write().unwrap_or_else(PoisonError::into_inner);
        match fs::create_dir(directory) {
            // Who made it has synced its parent, for it had the lock. If it is no directory, or not there any more, whoever
            // goes on to use it finds out.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        sync_directory(above).inspect_err(|_| {
            // What could not be made durable must not be found by others as if it were.
            let _ = fs::remove_dir(directory);
        })
    }

    /// A file of its own below [`layout::TEMPORARY`], not removed on its own.
    pub(super) fn new_file(&self) -> io::Result<(PathBuf, File)> {
        let path = self.temporary.join(Uuid::new_v4().to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok((path, file))
    }

    fn temporary_file(&self) -> io::Result<(Temporary, File)> {
        let (path, file) = self.new_file()?;
        Ok((Temporary { path }, file))
    }

    /// Renames a synced file into place and makes that durable.
    pub(super) fn place(&self, from: &Path, to: &Path, placing: Placing) -> io::Result<()> {
        self.rename(from, to, placing)?;
        for directory in self.directories_above(to) {
            // Waits for whoever has made the directory to have synced its parent.
            drop(self.directories.of(directory).read().unwrap_or_else(PoisonError::into_inner));
        }
        match to.parent().map(sync_directory) {
            // The object was deleted again, and its directory with it: it was there, and is not any more.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Some(other) => other,
            None => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path, placing: Placing) -> io::Result<()> {
        let mut attempt = 1;
        loop {
            let moved = self.make_parent(to).and_then(|()| match placing {
                Placing::Replace => fs::rename(from, to),
                Placing::IfAbsent => rename_if_absent(from, to),
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < MAX_ATTEMPTS && from.exists() => {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// Makes a removal durable, and removes the directories that it left empty.
    fn settle_removal(&self, path: &Path) -> io::Result<()> {
        match path.parent().map(sync_directory) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.prune_above(path);
        Ok(())
    }

    /// The directories above `path` and below the root, the deepest first.
    fn directories_above<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        let above = path.ancestors().skip(1);
        above.take_while(|directory| *directory != self.root && directory.starts_with(&self.root))
    }

    /// Removes the directories above `path`, up to the first that is not empty. That one fails is how it ends, so no
    /// error counts: an empty directory that stays is harmless.
    pub(super) fn prune_above(&self, path: &Path) {
        for directory in self.directories_above(path) {
            if fs::remove_dir(directory).is_err() {
                return;
            }
        }
    }
}

/// Empties a directory and removes it, unless something is written into it meanwhile.
fn empty(directory: &Path, removed: &mut u64) -> io::Result<()> {
    let listing = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        listing => listing?,
    };
    for entry in listing {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty(&entry.path(), removed)?;
        } else {
            match fs::remove_file(entry.path()) {
                Ok(()) => *removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    match fs::remove_dir(directory) {
        // The removal of the directory is made durable with its parent.
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // What is in it now stays, and what was in it before must not come back.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => sync_directory(directory),
        Err(error) => Err(error),
    }
}

/// `RENAME_NOREPLACE`, or a hard link where the file system does not know it.
fn rename_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => other.map_err(io::Error::from),
    }
}

/// Makes the root and what is missing above it, durably.
fn make_root(root: &Path) -> io::Result<()> {
    let root = std::path::absolute(root)?;
    let missing: Vec<&Path> = root.ancestors().take_while(|directory| !directory.exists()).collect();
    fs::create_dir_all(&root)?;
    for directory in &missing {
        directory.parent().map_or(Ok(()), sync_directory)?;
    }
    if missing.is_empty() {
        // Whoever made it may not have synced it. Above a volume this process may not be allowed to look, and need not.
        let _ = root.parent().map(sync_directory);
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deep chains that share their upper part, made and removed by many at once.
    #[test]
    fn many_make_and_remove_directories_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(&directory.path().join("made/with/the/store")).unwrap();
        tree.make_temporary().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let tree = &tree;
                scope.spawn(move || {
                    for round in 0..40 {
                        let key = Key::built(format!("a/{}/{}/{writer}/data", round % 3, round % 5));
                        tree.write(&key, b"x", Placing::Replace).unwrap();
                        assert_eq!(tree.stat(&key).unwrap().size, 1);
                        tree.delete(&key).unwrap();
                    }
                });
            }
        });
        assert!(!tree.root().join("a").exists());
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path()).unwrap();
        std::fs::write(directory.path().join("a"), b"x").unwrap();
        assert!(tree.make_parent(&directory.path().join("a/b/c")).is_err());
        assert!(tree.write(&Key::built("a/b".to_owned()), b"x", Placing::Replace).is_err());
    }
}
