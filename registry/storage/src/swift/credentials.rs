//! Who uses the store, and with what: values from the settings, or files that are read again when they change.
//!
//! Files that cannot be read, or lack what is needed, change nothing: what was good stays in use until they are good again.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::options::{SwiftOptions, wrong};
use crate::{BoxError, StoreError};

/// How often the files are looked at for the sake of an address, at the most.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most that is read of a file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) username: String,
    pub(super) password: String,
    pub(super) secret_key: Option<String>,
    pub(super) access_key: Option<String>,
}

impl Secrets {
    /// Whether these are the same user and password.
    pub(super) fn log_in_as(&self, other: &Secrets) -> bool {
        (&self.username, &self.password) == (&other.username, &other.password)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets")
    }
}

/// The secrets, kept up to date.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The directory, and the user's name from the settings. None where everything is in the settings.
    directory: Option<(PathBuf, String)>,
    current: ArcSwap<Secrets>,
    looked: Mutex<Looked>,
}

/// The last look at the files.
#[derive(Debug)]
struct Looked {
    at: Instant,
    /// What was wrong with them, so that it is said once.
    wrong: Option<String>,
}

impl Credentials {
    /// The secrets of the settings.
    pub(super) fn open(options: &SwiftOptions) -> Result<Self, StoreError> {
        let directory = options.credentials_directory.clone().map(|directory| (directory, options.username.clone()));
        let secrets = match &directory {
            Some((directory, username)) => read(directory, username)?,
            None => Secrets {
                username: Some(options.username.clone())
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| must("username"))?,
                password: options.password.clone().ok_or_else(|| must("password"))?,
                secret_key: options.secret_key.clone().filter(|key| !key.is_empty()),
                access_key: options.access_key.clone().filter(|key| !key.is_empty()),
            },
        };
        let looked = Mutex::new(Looked { at: Instant::now(), wrong: None });
        Ok(Credentials { directory, current: ArcSwap::from_pointee(secrets), looked })
    }

    /// The secrets, as of a second ago at the latest.
    pub(super) async fn recent(&self) -> Arc<Secrets> {
        if self.is_due() { self.latest().await } else { self.current.load_full() }
    }

    /// The secrets as they are now.
    pub(super) async fn latest(&self) -> Arc<Secrets> {
        if let Some((directory, username)) = self.directory.clone() {
            let read = tokio::task::spawn_blocking(move || read(&directory, &username)).await;
            self.note(read.unwrap_or_else(|stopped| Err(wrong("credentialsdirectory", stopped))));
        }
        self.current.load_full()
    }

    /// Whether it is time to look. The first to ask is told so, and looks for all.
    fn is_due(&self) -> bool {
        if self.directory.is_none() {
            return false;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.at.elapsed() >= INTERVAL;
        if is_due {
            looked.at = Instant::now();
        }
        is_due
    }

    fn note(&self, read: Result<Secrets, StoreError>) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.at = Instant::now();
        let text = match read {
            Ok(secrets) => {
                looked.wrong = None;
                if **self.current.load() != secrets {
                    self.current.store(Arc::new(secrets));
                    tracing::info!(driver = "swift", "the credentials have changed; the new ones are in use");
                }
                return;
            }
            Err(error) => error.to_string(),
        };
        if looked.wrong.as_ref() != Some(&text) {
            let error = text.as_str();
            tracing::warn!(driver = "swift", error, "cannot use the new credentials; the old ones stay in use");
            looked.wrong = Some(text);
        }
    }
}

fn must(key: &str) -> StoreError {
    wrong(key, "must be set, or a file of that name in credentialsdirectory")
}

fn read(directory: &Path, username: &str) -> Result<Secrets, StoreError> {
    let file = |name: &str| read_file(&directory.join(name));
    let username = file("username")?.or(Some(username.to_owned()).filter(|name| !name.is_empty()));
    Ok(Secrets {
        username: username.ok_or_else(|| must("username"))?,
        password: file("password")?.ok_or_else(|| must("password"))?,
        secret_key: file("secretkey")?,
        access_key: file("accesskey")?,
    })
}

/// What a file holds, without the line's end behind it; none if there is no such file, or nothing in it.
fn read_file(path: &Path) -> Result<Option<String>, StoreError> {
    let wrong = |source: BoxError| StoreError::Settings { key: path.display().to_string(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.into())),
    };
    let mut content = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut content).map_err(|error| wrong(error.into()))?;
    Ok(Some(content.trim().to_owned()).filter(|content| !content.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let missing = |options: &SwiftOptions| Credentials::open(options).unwrap_err().to_string();
        let mut options = SwiftOptions::default();
        assert!(missing(&options).starts_with("storage.swift.username: must be set"));
        options.username = "me".into();
        assert!(missing(&options).starts_with("storage.swift.password: must be set"));
        let directory = tempfile::tempdir().unwrap();
        options.credentials_directory = Some(directory.path().to_owned());
        assert!(missing(&options).starts_with("storage.swift.password: must be set"));
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_read_and_broken_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
        write("password", "one\n");
        let options = SwiftOptions {
            username: "me".into(),
            credentials_directory: Some(directory.path().to_owned()),
            ..SwiftOptions::default()
        };
        let credentials = Credentials::open(&options).unwrap();
        assert_eq!(credentials.latest().await.username, "me");

        write("password", "");
        assert_eq!(credentials.latest().await.password, "one");
        write("password", "two");
        write("username", "you");
        assert_eq!(credentials.latest().await.password, "two");
        assert_eq!(credentials.latest().await.username, "you");

        write("secretkey", "key");
        assert_eq!(credentials.recent().await.secret_key, None);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(credentials.recent().await.secret_key.as_deref(), Some("key"));
    }
}
