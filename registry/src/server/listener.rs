//! Where connections come from: a TCP address, or a Unix socket.
//!
//! A socket file outlives the process that made it. One that nobody listens on is removed; one that somebody listens on
//! is refused, as an address in use is. Two processes that start at the same moment may both find it dead, and the last
//! one has it then; the first is not told.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// Owner and group may connect: a proxy in front is let in through the group.
const SOCKET_MODE: u32 = 0o660;

/// A connection before anything was read of it.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a server cannot listen.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    #[error("cannot listen on {endpoint}")]
    Bind { endpoint: String, source: io::Error },
    #[error("{} exists and is no socket; move it away or choose another path", .0.display())]
    NotASocket(PathBuf),
    #[error("another process listens on {}", .0.display())]
    Taken(PathBuf),
    #[error("cannot tell whether somebody listens on {}", path.display())]
    Probe { path: PathBuf, source: io::Error },
    #[error("cannot remove {}, which nobody listens on", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("cannot set the permissions of {}", path.display())]
    Permissions { path: PathBuf, source: io::Error },
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens on the first of these addresses that can be listened on.
    pub(crate) async fn tcp(addresses: &[SocketAddr]) -> Result<Listener, ListenError> {
        let endpoint = || addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let bound = TcpListener::bind(addresses).await;
        bound.map(Listener::Tcp).map_err(|source| ListenError::Bind { endpoint: endpoint(), source })
    }

    /// Listens on a Unix socket, which is removed when the listener is dropped.
    pub(crate) async fn unix(path: &Path) -> Result<Listener, ListenError> {
        make_way(path).await?;
        let bind = |source| ListenError::Bind { endpoint: path.display().to_string(), source };
        let listener = UnixListener::bind(path).map_err(bind)?;
        let permissions = |source| ListenError::Permissions { path: path.to_path_buf(), source };
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(permissions)?;
        let inode = std::fs::metadata(path).map_err(permissions)?.ino();
        Ok(Listener::Unix(listener, SocketFile { path: path.to_path_buf(), inode }))
    }

    pub(crate) fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Listener::Unix(_, file) => Ok(Endpoint::Unix(file.path.clone())),
        }
    }

    /// The next connection, and its address if it has one.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer's head must not wait for the client to acknowledge what was sent before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
                }
                Ok((Either::Left(stream), Some(peer)))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Either::Right(stream), None))
            }
        }
    }
}

/// Removes a socket that nobody listens on.
async fn make_way(path: &Path) -> Result<(), ListenError> {
    let probe = |source| ListenError::Probe { path: path.to_path_buf(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(probe(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_path_buf())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::Taken(path.to_path_buf())),
        // It lives, and more clients wait than it lets wait.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ListenError::Taken(path.to_path_buf())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| ListenError::Remove { path: path.to_path_buf(), source })
        }
        Err(error) => Err(probe(error)),
    }
}

/// The file of a Unix socket, removed at the end unless another process has put its own in its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_of_a_dead_process_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.sock");
        let first = Listener::unix(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(first.endpoint().unwrap(), Endpoint::Unix(path.clone()));
        assert!(matches!(Listener::unix(&path).await.unwrap_err(), ListenError::Taken(taken) if taken == path));
        drop(first);
        assert!(!path.exists(), "a stopped server leaves its socket");

        // What a killed process leaves: a socket that nobody listens on.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::unix(&path).await.unwrap();

        // A later process has put its own there: it is not ours to remove.
        std::fs::remove_file(&path).unwrap();
        let _third = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(second);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        let error = Listener::unix(&path).await.unwrap_err().to_string();
        assert!(error.contains("precious exists and is no socket"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
        let missing = directory.path().join("missing/registry.sock");
        let error = Listener::unix(&missing).await.unwrap_err().to_string();
        assert!(error.contains("cannot listen on") && error.contains("missing/registry.sock"), "{error}");
    }
}
