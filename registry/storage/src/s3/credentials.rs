//! Who the driver is to the store: keys out of the configuration, out of files that may change, or what the process has
//! been given.
//!
//! Files are read again at most once a second, when a request needs them. What cannot be read, or is half written, leaves
//! what was read before in use, and is complained of once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::{IdentityCache, Region, SharedIdentityCache};
use aws_smithy_types::retry::RetryConfig;

use super::options::{S3Credentials, Settings, shortened, wrong};
use super::transport::Transport;
use crate::{BoxError, StoreError};

/// How long what was read of files is believed without another look.
const BELIEVED: Duration = Duration::from_secs(1);
/// The longest file that is read, in bytes. A session token has a thousand or two.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where credentials come from, how long the SDK keeps them, and the name of the key that was used last.
pub(super) struct Source {
    pub(super) provider: SharedCredentialsProvider,
    pub(super) cache: SharedIdentityCache,
    pub(super) in_use: Arc<ArcSwapOption<String>>,
}

impl Source {
    /// Credentials that are nobody's.
    pub(super) fn nobody() -> Source {
        let provider = SharedCredentialsProvider::new(keys("nobody", "nothing", None));
        Source { provider, cache: IdentityCache::no_cache(), in_use: Arc::default() }
    }

    /// The source that the settings name. Nothing is asked of anybody yet, but files must be there.
    pub(super) async fn new(
        credentials: &S3Credentials,
        settings: &Settings,
        transport: Transport,
    ) -> Result<Source, StoreError> {
        let in_use = Arc::new(ArcSwapOption::empty());
        let named = |provider| SharedCredentialsProvider::new(Named { provider, in_use: in_use.clone() });
        let (provider, cache) = match credentials {
            S3Credentials::Keys { access_key, secret_key, session_token } => {
                let keys = keys(access_key, secret_key, session_token.as_deref());
                (named(SharedCredentialsProvider::new(keys)), IdentityCache::lazy().build())
            }
            S3Credentials::Directory(path) => {
                let files = Files::open(path).map_err(|error| wrong("credentialsdirectory", error))?;
                // The files are what is looked at each time, so nothing else may remember what was in them.
                (named(SharedCredentialsProvider::new(files)), IdentityCache::no_cache())
            }
            S3Credentials::Surroundings => {
                let region = Region::new(settings.region.clone());
                let config = ProviderConfig::without_region()
                    .with_http_client(transport)
                    .with_region(Some(region.clone()))
                    .with_retry_config(RetryConfig::disabled());
                let chain = DefaultCredentialsChain::builder().region(region).configure(config).build().await;
                (named(SharedCredentialsProvider::new(chain)), IdentityCache::lazy().build())
            }
        };
        Ok(Source { provider, cache, in_use })
    }
}

fn keys(access_key: &str, secret_key: &str, session_token: Option<&str>) -> Credentials {
    Credentials::new(access_key, secret_key, session_token.map(str::to_owned), None, "configuration")
}

/// Notes the name of the key that is handed out, so that an error about credentials can say which they were.
#[derive(Debug)]
struct Named {
    provider: SharedCredentialsProvider,
    in_use: Arc<ArcSwapOption<String>>,
}

impl ProvideCredentials for Named {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.provider.provide_credentials().await?;
            let name = shortened(credentials.access_key_id());
            if self.in_use.load().as_deref() != Some(&name) {
                self.in_use.store(Some(Arc::new(name)));
            }
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.fallback_on_interrupt()
    }
}

/// Credentials in a directory, a file each.
#[derive(Clone)]
struct Files {
    directory: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    credentials: Credentials,
    looked_at: Instant,
    /// What was complained of last.
    complaint: Option<String>,
}

impl fmt::Debug for Files {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Files({})", self.directory.display())
    }
}

impl Files {
    fn open(directory: &Path) -> Result<Files, BoxError> {
        let credentials = read(directory)?;
        let state = State { credentials, looked_at: Instant::now(), complaint: None };
        Ok(Files { directory: directory.to_owned(), state: Arc::new(Mutex::new(state)) })
    }

    /// Looks at the files. Nobody waits for that: meanwhile others get what was read before.
    fn current(&self) -> Credentials {
        self.state().looked_at = Instant::now();
        let read = read(&self.directory);
        let mut state = self.state();
        let directory = self.directory.display();
        match read {
            Ok(read) => {
                if read != state.credentials || state.complaint.is_some() {
                    let key = shortened(read.access_key_id());
                    tracing::info!(%directory, key, "took up the credentials in the files");
                }
                (state.credentials, state.complaint) = (read, None);
            }
            Err(error) => {
                let error = error.to_string();
                if state.complaint.as_deref() != Some(&error) {
                    tracing::warn!(%directory, error, "cannot read credentials again: the old ones stay in use");
                    state.complaint = Some(error);
                }
            }
        }
        state.credentials.clone()
    }

    /// The state stays whole even if a holder of the lock panicked: every change is an assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self) -> Option<Credentials> {
        let state = self.state();
        (state.looked_at.elapsed() < BELIEVED).then(|| state.credentials.clone())
    }
}

impl ProvideCredentials for Files {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        if let Some(credentials) = self.is_fresh() {
            return future::ProvideCredentials::ready(Ok(credentials));
        }
        let files = self.clone();
        future::ProvideCredentials::new(async move {
            tokio::task::spawn_blocking(move || files.current()).await.map_err(CredentialsError::unhandled)
        })
    }
}

/// What the files of a directory hold. Kubernetes puts a whole new directory in the place of `..data`: what is read behind
/// that link belongs together.
fn read(directory: &Path) -> Result<Credentials, BoxError> {
    let whole = std::fs::canonicalize(directory.join("..data")).unwrap_or_else(|_| directory.to_owned());
    let required = |name: &str| match file(&whole, name) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(BoxError::from(format!("{}: is empty or not there", directory.join(name).display()))),
        Err(error) => Err(format!("{}: {error}", directory.join(name).display()).into()),
    };
    let (access_key, secret_key) = (required("accesskey")?, required("secretkey")?);
    let session_token = file(&whole, "sessiontoken").map_err(|error| format!("sessiontoken: {error}"))?;
    Ok(keys(&access_key, &secret_key, session_token.as_deref()))
}

/// The content of a file without white space around it; nothing if there is none.
fn file(directory: &Path, name: &str) -> Result<Option<String>, std::io::Error> {
    use std::io::{Error, ErrorKind, Read as _};
    let opened = match std::fs::File::open(directory.join(name)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            std::fs::write(directory.join(name), content).unwrap();
        }
    }

    fn is(credentials: &Credentials, expected: (&str, &str, Option<&str>)) {
        let found = (credentials.access_key_id(), credentials.secret_access_key(), credentials.session_token());
        assert_eq!(found, expected);
    }

    #[test]
    fn files_hold_what_they_are_named_after() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let error = read(path).unwrap_err().to_string();
        assert!(error.ends_with("accesskey: is empty or not there"), "{error}");
        write(path, &[("accesskey", "name\n"), ("secretkey", " \n")]);
        let error = read(path).unwrap_err().to_string();
        assert!(error.ends_with("secretkey: is empty or not there"), "{error}");
        write(path, &[("secretkey", "  secret\r\n")]);
        is(&read(path).unwrap(), ("name", "secret", None));
        write(path, &[("sessiontoken", "token\n")]);
        is(&read(path).unwrap(), ("name", "secret", Some("token")));
        write(path, &[("secretkey", &"x".repeat(70_000))]);
        let error = read(path).unwrap_err().to_string();
        assert!(error.ends_with("longer than 65536 bytes") && !error.contains("xxx"), "{error}");
    }

    #[test]
    fn a_mounted_secret_is_read_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (version, secret) in [("..first", "one"), ("..second", "two")] {
            std::fs::create_dir(path.join(version)).unwrap();
            write(&path.join(version), &[("accesskey", "name"), ("secretkey", secret)]);
        }
        std::os::unix::fs::symlink("..first", path.join("..data")).unwrap();
        for name in ["accesskey", "secretkey"] {
            std::os::unix::fs::symlink(format!("..data/{name}"), path.join(name)).unwrap();
        }
        is(&read(path).unwrap(), ("name", "one", None));
        std::os::unix::fs::symlink("..second", path.join("..new")).unwrap();
        std::fs::rename(path.join("..new"), path.join("..data")).unwrap();
        is(&read(path).unwrap(), ("name", "two", None));
    }

    #[test]
    fn what_cannot_be_read_leaves_the_old_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        write(path, &[("accesskey", "name"), ("secretkey", "one")]);
        let files = Files::open(path).unwrap();
        let age = || {
            let mut state = files.state.lock().unwrap();
            state.looked_at -= BELIEVED;
        };
        write(path, &[("secretkey", "two")]);
        is(&files.is_fresh().unwrap(), ("name", "one", None));
        age();
        assert!(files.is_fresh().is_none());
        is(&files.current(), ("name", "two", None));
        std::fs::remove_file(path.join("secretkey")).unwrap();
        age();
        is(&files.current(), ("name", "two", None));
        assert!(files.state.lock().unwrap().complaint.is_some());
        write(path, &[("secretkey", "three")]);
        age();
        is(&files.current(), ("name", "three", None));
        assert!(files.state.lock().unwrap().complaint.is_none());
        assert!(!format!("{files:?}").contains("three"));
    }
}
