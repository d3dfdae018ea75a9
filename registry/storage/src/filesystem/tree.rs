//! The files of a store: written whole or not at all, and durable once written.
//!
//! Two things race here, and both orders are right.
//!
//! *Making a directory, and relying on it.* A directory is made and its parent synced under the write lock of
//! `directories`, and looked for under the read lock. So whoever finds a directory finds a durable one, and a file in it
//! is durable once the file and that one directory are synced.
//!
//! *Removing an empty directory, and writing into it.* If the removal comes first, the rename finds no directory, makes
//! it again and tries again. If the rename comes first, the removal finds the directory not empty and stops.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use uuid::Uuid;

use crate::layout::{self, UploadKey};
use crate::{Key, Stat, StoreError};

/// How often a write starts again because a directory was removed under it. Each time takes another deletion of the last
/// object of that directory, so more than a few are not to be expected.
const MAX_ATTEMPTS: usize = 64;

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
    directories: RwLock<()>,
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
        fs::create_dir_all(root).map_err(failed("make the root directory"))?;
        // An absolute path keeps the store where it is if the process ever changes its directory.
        let root = fs::canonicalize(root).map_err(failed("resolve the root directory"))?;
        Ok(Tree { temporary: root.join(layout::TEMPORARY), root, directories: RwLock::new(()) })
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

    /// The length of an upload's data. A session without data yet is there by its start file alone.
    pub(super) fn upload_offset(&self, upload: &UploadKey) -> Result<u64, StoreError> {
        match self.stat(&upload.data()) {
            Ok(stat) => Ok(stat.size),
            Err(StoreError::NotFound { .. }) => match self.stat(&upload.started_at()) {
                Ok(_) => Ok(0),
                Err(StoreError::NotFound { .. }) => Err(StoreError::not_found(upload.directory())),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    pub(super) fn finish_upload(&self, upload: &UploadKey, to: &Key) -> Result<(), StoreError> {
        let data = upload.data();
        let path = self.path(&data);
        let failed = |action| move |source| StoreError::from_io(to, action, source);
        match File::open(&path) {
            Ok(file) => {
                file.sync_all().map_err(failed("sync the upload"))?;
                self.place(&path, &self.path(to), Placing::Replace).map_err(failed("move the upload into place"))?;
            }
            // Nothing was appended: the content is empty, if the session exists at all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.stat(&upload.started_at()).map_err(|_| StoreError::not_found(upload.directory()))?;
                self.write(to, &[], Placing::Replace)?;
            }
            Err(error) => return Err(StoreError::from_io(&data, "open the upload", error)),
        }
        // The blob is in place. What is left of the session is of no use, and the purge of old uploads finds it if this
        // fails.
        if let Err(error) = self.remove_upload(upload) {
            tracing::warn!(upload = %upload.directory(), %error, "cannot remove a finished upload");
        }
        Ok(())
    }

    pub(super) fn remove_upload(&self, upload: &UploadKey) -> Result<(), StoreError> {
        let directory = self.path(upload.directory());
        fs::remove_dir_all(&directory)
            .map_err(|source| StoreError::from_io(upload.directory(), "remove the upload", source))?;
        self.prune_above(&directory);
        Ok(())
    }

    /// Makes the directory that a file goes into, and makes every new directory durable.
    pub(super) fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        {
            let _found_is_durable = self.directories.read().unwrap_or_else(PoisonError::into_inner);
            if parent.is_dir() {
                return Ok(());
            }
        }
        let _making = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<&Path> = parent.ancestors().take_while(|directory| !directory.is_dir()).collect();
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if let Some(above) = directory.parent() {
                sync_directory(above)?;
            }
        }
        Ok(())
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
    fn place(&self, from: &Path, to: &Path, placing: Placing) -> io::Result<()> {
        self.rename(from, to, placing)?;
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

    /// Removes the directories above `path`, up to the first that is not empty. That one fails is how it ends, so no
    /// error counts: an empty directory that stays is harmless.
    fn prune_above(&self, path: &Path) {
        let above = path.ancestors().skip(1);
        for directory in above.take_while(|directory| *directory != self.root && directory.starts_with(&self.root)) {
            if fs::remove_dir(directory).is_err() {
                return;
            }
        }
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

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
