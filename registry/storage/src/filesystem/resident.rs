//! Files that the kernel holds in memory, read without a hop to another thread.
//!
//! A small answer takes a few microseconds, and a hop to a blocking thread and back costs more than that. A file operation
//! may wait for a disk, though, and must then not hold up the thread that serves other requests. Linux can be asked for
//! an operation only if it need not wait: `openat2` with `RESOLVE_CACHED` looks a path up in the directory cache alone,
//! and `preadv2` with `RWF_NOWAIT` reads from the page cache alone. Whatever is not there, or cannot be asked for in this
//! way, is for a blocking thread: that is what `None` says here.
//!
//! Neither flag binds the `open` of a network file system, which may ask its server. So this is done only on file systems
//! that are known to be local, and never across a mount. Where the kernel or its sandbox does not know a call, the first
//! attempt finds out and is the last.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, statfs};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::Stat;

/// The magic numbers (`statfs(2)`) of btrfs, ext2 to ext4, F2FS, overlayfs, tmpfs and XFS.
const LOCAL: [u64; 6] = [0x9123_683e, 0xef53, 0xf2f5_2010, 0x794c_7630, 0x0102_1994, 0x5846_5342];

/// What there is to be had of a file without waiting.
#[derive(Debug)]
pub(super) struct Resident {
    /// Whether it makes sense to ask.
    available: AtomicBool,
}

impl Resident {
    /// For files below `root`.
    pub(super) fn below(root: &Path) -> Self {
        // The type is a signed word on some architectures.
        let is_local = statfs(root).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64 & 0xffff_ffff)));
        Resident { available: AtomicBool::new(is_local) }
    }

    /// Opens a file. It may turn out to be none, such as a directory.
    pub(super) fn open(&self, path: &Path) -> Option<io::Result<(File, Option<Stat>)>> {
        // Not to wait for the writer of a named pipe that somebody has put there.
        self.look(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// Looks at a file; nothing if what is there is none.
    pub(super) fn stat(&self, path: &Path) -> Option<io::Result<Option<Stat>>> {
        Some(self.look(path, OFlags::PATH)?.map(|(_, stat)| stat))
    }

    fn look(&self, path: &Path, flags: OFlags) -> Option<io::Result<(File, Option<Stat>)>> {
        if !self.available.load(Ordering::Relaxed) {
            return None;
        }
        let resolve = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
        match openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(file) => Some(stat_of(&file).map(|stat| (file.into(), stat))),
            Err(Errno::AGAIN | Errno::XDEV | Errno::INTR) => None,
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => {
                self.available.store(false, Ordering::Relaxed);
                None
            }
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Reads into `buffer` what follows byte `at`: at least one byte, unless the file ends there.
    pub(super) fn read(&self, file: &File, buffer: &mut [u8], at: u64) -> Option<io::Result<usize>> {
        if !self.available.load(Ordering::Relaxed) {
            return None;
        }
        match preadv2(file, &mut [IoSliceMut::new(buffer)], at, ReadWriteFlags::NOWAIT) {
            Ok(count) => Some(Ok(count)),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => {
                self.available.store(false, Ordering::Relaxed);
                None
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}

fn stat_of(file: &impl std::os::fd::AsFd) -> io::Result<Option<Stat>> {
    let found = fstat(file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let seconds = u64::try_from(found.st_mtime).unwrap_or_default();
    let modified = SystemTime::UNIX_EPOCH + Duration::new(seconds, u32::try_from(found.st_mtime_nsec).unwrap_or(0));
    Ok(Some(Stat { size: u64::try_from(found.st_size).unwrap_or_default(), modified }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(root: &Path) -> Resident {
        let resident = Resident::below(root);
        // The test must hold on file systems that are not known to be local, too.
        resident.available.store(true, Ordering::Relaxed);
        resident
    }

    /// What was just written is in memory, unless the file system cannot be asked, and is the same as on the slow way.
    #[test]
    fn what_is_in_memory_is_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let (root, path) = (directory.path(), directory.path().join("file"));
        std::fs::write(&path, b"content").unwrap();
        let resident = resident(root);
        if let Some(found) = resident.open(&path) {
            let (file, stat) = found.unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            let expected = Stat { size: metadata.len(), modified: metadata.modified().unwrap() };
            assert_eq!(stat, Some(expected));
            assert_eq!(resident.stat(&path).unwrap().unwrap(), Some(expected));
            let mut buffer = [0; 16];
            if let Some(count) = resident.read(&file, &mut buffer, 3) {
                assert_eq!(buffer[..count.unwrap()], *b"tent");
                assert_eq!(resident.read(&file, &mut buffer, 7).unwrap().unwrap(), 0);
            }
        }
        if let Some(found) = resident.stat(root) {
            assert_eq!(found.unwrap(), None, "a directory is no file");
        }
        if let Some(found) = resident.stat(&root.join("missing")) {
            assert_eq!(found.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_file_system_that_is_not_known_to_be_local_is_not_asked() {
        let resident = Resident::below(Path::new("/proc"));
        assert!(resident.open(Path::new("/proc/self/status")).is_none());
        assert!(resident.stat(Path::new("/proc/self/status")).is_none());
        let file = File::open("/proc/self/status").unwrap();
        assert!(resident.read(&file, &mut [0; 1], 0).is_none());
    }
}
