//! Upload sessions in files: `startedat` and `data` in a directory of their own.
//!
//! Several processes may serve one directory. Who appends to the data, or makes it an object, holds a lock on it, so that
//! what becomes an object is what that process has hashed. Where the file system has no locks, lengths alone are compared.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::layout::UploadKey;
use crate::{Key, StoreError};

use super::lock;
use super::tree::{Placing, Tree};

/// How often a removal starts again because something was written meanwhile.
const MAX_ATTEMPTS: usize = 64;

/// How long a lock is waited for. A process that starts another holds the locks of all its files twice until that one runs
/// its program.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// How long to wait before a lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

impl Tree {
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

    /// Opens the data of an upload, which must be `size` bytes long, and locks it until the file is closed.
    pub(super) fn open_upload(&self, upload: &UploadKey, size: u64) -> Result<File, StoreError> {
        let data = upload.data();
        let failed = |source| StoreError::from_io(&data, "open the upload", source);
        let path = self.path(&data);
        // On NFS, only who may write can lock.
        let file =
            File::options().read(true).write(true).create(size == 0).truncate(false).open(&path).map_err(failed)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { key: data.to_string() }),
                Err(TryLockError::Error(error)) if lock::has_no_locks(&error) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(StoreError::Io { key: data.to_string(), action: "lock the upload", source });
                }
            }
        }
        // Whoever had the lock before may have moved the file away.
        let (held, there) = (file.metadata().map_err(failed)?, fs::metadata(&path).map_err(failed)?);
        if (held.dev(), held.ino()) != (there.dev(), there.ino()) {
            return Err(StoreError::not_found(&data));
        }
        if held.len() != size {
            return Err(StoreError::Offset { key: data.to_string(), expected: size, found: held.len() });
        }
        Ok(file)
    }

    /// Makes the data of an upload an object, unless it is there already, and removes the session.
    pub(super) fn finish_upload(&self, upload: &UploadKey, to: &Key, size: u64) -> Result<(), StoreError> {
        if size == 0 {
            // Nothing may have been appended, but the session must exist.
            self.upload_offset(upload)?;
        }
        let failed = |action| move |source| StoreError::from_io(to, action, source);
        let file = self.open_upload(upload, size)?;
        let target = self.path(to);
        if !is_kept(&target, size) {
            sync(&file, File::sync_all).map_err(failed("sync the upload"))?;
            let moved = self.place(&self.path(&upload.data()), &target, Placing::Replace);
            moved.map_err(failed("move the upload into place"))?;
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
        let mut attempt = 1;
        loop {
            match fs::remove_dir_all(&directory) {
                // Another process has just begun to append: what it has written goes as well.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < MAX_ATTEMPTS => {
                    attempt += 1;
                }
                removed => {
                    let failed = |source| StoreError::from_io(upload.directory(), "remove the upload", source);
                    removed.map_err(failed)?;
                    self.prune_above(&directory);
                    return Ok(());
                }
            }
        }
    }
}

/// Brings the data of an upload to the disk. If that fails, none of it is left: the kernel tells of what it could not write
/// once, and whoever tried again would be told that all is well.
fn sync(file: &File, sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    sync(file).inspect_err(|_| {
        let _ = file.set_len(0);
    })
}

/// Whether a file of this length is there, and can be kept as if it were written now. One of another length is damaged: it
/// is replaced.
fn is_kept(path: &Path, size: u64) -> bool {
    let touch = || -> io::Result<bool> {
        let file = File::open(path)?;
        if file.metadata()?.len() != size {
            return Ok(false);
        }
        file.set_modified(SystemTime::now()).map(|()| true)
    };
    touch().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_brought_to_the_disk_is_forgotten() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        sync(&file, File::sync_all).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100);
        let error = sync(&file, |_| Err(io::Error::other("the disk is broken"))).unwrap_err();
        assert_eq!(error.to_string(), "the disk is broken");
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
