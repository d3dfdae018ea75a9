//! Waits until files may have changed: as soon as the kernel says so, and every few seconds in case it says nothing, as
//! on a network file system.
//!
//! The directories are watched and not the files: an editor, certbot and Kubernetes put a new file, or a new link, in the
//! place of the old one. Kubernetes mounts a Secret as links through `..data`, which lies in the same directory and is
//! what it replaces.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How long a change may stay unnoticed where the kernel does not tell.
const POLL: Duration = Duration::from_secs(5);

/// A watch of some files.
pub(crate) struct Watch {
    events: Option<events::Events>,
    poll: Duration,
}

impl Watch {
    /// Watches the directories of these files.
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = &'a Path>) -> Watch {
        let directory = |file: &'a Path| match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directories: BTreeSet<&Path> = files.into_iter().map(directory).collect();
        match events::Events::of(&directories) {
            Ok(events) => Watch { events: Some(events), poll: POLL },
            Err(error) => {
                tracing::warn!(%error, every = ?POLL, "the kernel tells of no changes of files; they are looked at in turn");
                Watch { events: None, poll: POLL }
            }
        }
    }

    /// Returns when something may have changed.
    pub(crate) async fn changed(&mut self) {
        let told = async {
            match &mut self.events {
                Some(events) => events.next().await,
                None => std::future::pending().await,
            }
        };
        match tokio::time::timeout(self.poll, told).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, every = ?POLL, "the kernel tells of no more changes; files are looked at in turn");
                self.events = None;
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod events {
    use std::collections::BTreeSet;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
    use rustix::io::Errno;
    use tokio::io::unix::AsyncFd;

    /// Enough for many events of the longest names; what does not fit comes with the next read.
    const BUFFER_BYTES: usize = 4096;

    /// What the kernel tells of directories.
    pub(super) struct Events(AsyncFd<OwnedFd>);

    impl Events {
        pub(super) fn of(directories: &BTreeSet<&Path>) -> io::Result<Events> {
            let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO;
            for directory in directories {
                inotify::add_watch(&descriptor, *directory, flags)?;
            }
            #[expect(deprecated, reason = "an OwnedFd stays the same descriptor; what replaces this call is unsafe")]
            AsyncFd::new(descriptor).map(Events)
        }

        /// Returns when something has happened since the last call.
        pub(super) async fn next(&mut self) -> io::Result<()> {
            let mut guard = self.0.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
            let mut reader = Reader::new(guard.get_inner(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(_) => {}
                    Err(Errno::WOULDBLOCK) => {
                        guard.clear_ready();
                        return Ok(());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod events {
    use std::collections::BTreeSet;
    use std::convert::Infallible;
    use std::io;
    use std::path::Path;

    /// Elsewhere files are looked at in turn.
    pub(super) struct Events(Infallible);

    impl Events {
        pub(super) fn of(_: &BTreeSet<&Path>) -> io::Result<Events> {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }

        pub(super) async fn next(&mut self) -> io::Result<()> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_link_that_is_swapped_is_noticed_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tls.crt");
        std::os::unix::fs::symlink("..data/tls.crt", &file).unwrap();
        let mut watch = Watch::new([file.as_path()]);
        let start = Instant::now();
        let link = directory.path().join("..data_tmp");
        std::os::unix::fs::symlink("..1", &link).unwrap();
        std::fs::rename(link, directory.path().join("..data")).unwrap();
        watch.changed().await;
        assert!(start.elapsed() < POLL, "only seen in turn");
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_tell_is_looked_at_in_turn() {
        let mut watch = Watch::new([Path::new("/absent/tls.crt")]);
        assert!(watch.events.is_none());
        watch.poll = Duration::from_millis(1);
        watch.changed().await;
    }
}
