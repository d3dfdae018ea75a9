//! One look at one thing: the store, a file, an HTTP server, a TCP port. The words are those of CNCF Distribution, for
//! those who match them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use berth_config::{HttpHealth, shown_address};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio::net::TcpStream;

use super::fetch::{self, Head};
use crate::reach::Reach;

/// How long one look may take where nothing else is said; a look that ends never would hide a store that hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is looked at.
pub(super) enum Look {
    /// A store must answer.
    Store(Arc<Reach>),
    /// A file must not be there: who puts it there takes the registry out of service.
    Absent(PathBuf),
    /// A server must answer a HEAD request with this status.
    Http(Box<Head>),
    /// A port must accept connections.
    Tcp { address: String, patience: Duration },
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Look::Store(reach) => f.debug_tuple("Store").field(&reach.store().driver()).finish(),
            Look::Absent(path) => f.debug_tuple("Absent").field(path).finish(),
            // Not its headers, which may hold a password.
            Look::Http(head) => f.debug_tuple("Http").field(&head.shown()).finish(),
            Look::Tcp { address, .. } => f.debug_tuple("Tcp").field(address).finish(),
        }
    }
}

/// How long a look may take for which the configuration says this much.
pub(super) fn patience(configured: berth_config::Duration) -> Duration {
    Some(configured.as_std()).filter(|patience| !patience.is_zero()).unwrap_or(PATIENCE)
}

impl Look {
    /// The look that an entry of `health.http` asks for; `key` is where it stands.
    pub(super) fn http(key: &str, settings: &HttpHealth) -> Result<Look> {
        let HttpHealth { uri, headers, statuscode, timeout, interval: _, threshold: _ } = settings;
        let parsed: Uri = uri.parse().with_context(|| format!("{key}.uri: {:?} is no address", shown_address(uri)))?;
        fetch::endpoint(&parsed).with_context(|| format!("{key}.uri: {:?}", shown_address(uri)))?;
        let status = match statuscode {
            0 => StatusCode::OK,
            code => StatusCode::from_u16(*code).with_context(|| format!("{key}.statuscode: {code} is no status"))?,
        };
        let mut sent = HeaderMap::new();
        for (name, values) in headers {
            let parsed: HeaderName =
                name.parse().with_context(|| format!("{key}.headers: {name:?} is no header name"))?;
            for value in values {
                let value = HeaderValue::from_str(value.expose());
                let mut value = value.with_context(|| format!("{key}.headers.{name}: a value is invalid"))?;
                value.set_sensitive(true);
                sent.append(parsed.clone(), value);
            }
        }
        Ok(Look::Http(Box::new(Head { uri: parsed, headers: sent, status, patience: patience(*timeout) })))
    }

    /// Looks once.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub(super) async fn look(&self) -> Result<(), String> {
        match self {
            Look::Store(reach) => reach.check().await.map_err(|trouble| trouble.message),
            Look::Absent(path) => match tokio::fs::metadata(path).await {
                Ok(_) => Err("file exists".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Look::Http(head) => head.send().await.map_err(|error| format!("{}: {error:#}", head.shown())),
            Look::Tcp { address, patience } => {
                let connected = tokio::time::timeout(*patience, TcpStream::connect(address)).await;
                match connected {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(format!("{address}: connection failed: {error}")),
                    Err(_) => Err(format!("{address}: connection failed: no answer within {patience:?}")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::{Filesystem, LockMode, Memory};

    use super::*;

    #[tokio::test]
    async fn an_empty_store_is_healthy() {
        let directory = tempfile::tempdir().unwrap();
        let filesystem = Filesystem::open(directory.path(), 25, LockMode::Shared).unwrap();
        assert_eq!(Look::Store(Arc::new(Reach::new(Arc::new(filesystem)))).look().await, Ok(()));
        assert_eq!(Look::Store(Arc::new(Reach::new(Arc::new(Memory::new())))).look().await, Ok(()));
    }

    #[tokio::test]
    async fn a_file_that_appears_takes_the_registry_out_of_service() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out-of-service");
        let look = Look::Absent(path.clone());
        assert_eq!(look.look().await, Ok(()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(look.look().await, Err("file exists".to_owned()));
        assert!(Look::Absent(path.join("below")).look().await.is_err(), "what cannot be looked at fails");
    }

    #[tokio::test]
    async fn a_port_must_accept_connections() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let look = Look::Tcp { address: address.clone(), patience: PATIENCE };
        assert_eq!(look.look().await, Ok(()));
        drop(listener);
        let refused = look.look().await.unwrap_err();
        assert!(refused.starts_with(&format!("{address}: connection failed: ")), "{refused}");
    }
}
