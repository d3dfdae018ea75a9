//! Small file operations that every part needs: whole writes, and a lock between runs.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

/// Writes a whole file that only its owner may read, by renaming a temporary one: a reader never sees half of it.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o600)
}

/// Writes a whole file that everyone may read, by renaming a temporary one.
pub fn write_public(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let context = || format!("write {}", path.display());
    let parent = path.parent().with_context(context)?;
    std::fs::create_dir_all(parent).with_context(context)?;
    let temporary = beside(path);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary).with_context(context)?;
    file.write_all(content).with_context(context)?;
    std::fs::rename(&temporary, path).with_context(context)
}

/// A name beside `path` that nobody else writes to, neither another process nor another thread of this one: what is written
/// there is then renamed.
pub fn beside(path: &Path) -> PathBuf {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{}", std::process::id(), TAKEN.fetch_add(1, Ordering::Relaxed)))
}

/// An exclusive lock between processes, and between threads; dropping it lets the next one in.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the lock, waiting for whoever holds it; `waiting` is called once if that is needed.
    pub fn take(path: &Path, waiting: impl FnOnce()) -> Result<Self> {
        let context = || format!("lock {}", path.display());
        std::fs::create_dir_all(path.parent().with_context(context)?).with_context(context)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).with_context(context)?;
        if file.try_lock().is_err() {
            waiting();
            file.lock().with_context(context)?;
        }
        Ok(Self(file))
    }
}

/// The last `lines` lines of a text file, reading at most 64 KiB of it.
pub fn tail(path: &Path, lines: usize) -> Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const MAX_BYTES: u64 = 64 << 10;
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let path = temp.path().join("locks/one.lock");
        let first = Lock::take(&path, || panic!("nobody holds it")).expect("taken");
        let (waiting, waits) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Lock::take(&path, || waiting.send(()).expect("heard")).map(drop));
            waits.recv().expect("the second one waits");
            assert!(!second.is_finished());
            drop(first);
            second.join().expect("no panic").expect("taken in its turn");
        });
    }

    #[test]
    fn the_tail_is_the_end() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let path = temp.path().join("log");
        write_public(&path, b"a\nb\nc\n").expect("written");
        assert_eq!(tail(&path, 2).expect("read"), "b\nc");
        assert_eq!(tail(&path, 9).expect("read"), "a\nb\nc");
    }
}
