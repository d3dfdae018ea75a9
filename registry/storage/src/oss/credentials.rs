//! The keys that requests are signed with: fixed ones, files that are read again when they change, or those that a role
//! is given for a token.
//!
//! Old keys stay in use for as long as new ones cannot be had and the old ones are good. Nothing here shows a secret: of
//! a key's name its beginning and end at most.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, MutexGuard};

use super::role::Role;
use crate::{Refusal, StoreError};

/// How often files are looked at, at most, and how long a failure is the answer to everybody who asks.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a role is asked for again while its old keys are good, at most.
const ROLE_PAUSE: Duration = Duration::from_secs(10);
/// How long before their end keys are replaced.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// The most that is read of a file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// How often two files are read anew that change under the reader.
const READS: usize = 4;

/// The keys of an owner.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// The key's name.
    pub(super) id: String,
    /// The key.
    pub(super) secret: String,
    /// What temporary keys come with.
    pub(super) token: Option<String>,
    /// When temporary keys end.
    pub(super) expires: Option<Timestamp>,
}

impl Keys {
    /// The key's name as it may be shown.
    pub(super) fn shown(&self) -> String {
        let letters: Vec<char> = self.id.chars().collect();
        if letters.len() < 10 {
            return "…".to_owned();
        }
        let (head, tail) = (&letters[..4], &letters[letters.len() - 2..]);
        format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
    }

    fn are_good_for(&self, span: Duration) -> bool {
        self.expires
            .is_none_or(|end| Timestamp::now().as_second().saturating_add_unsigned(span.as_secs()) < end.as_second())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keys({})", self.shown())
    }
}

/// Where keys come from.
pub(super) enum Source {
    /// From the settings.
    Fixed(Keys),
    /// From the files `accesskeyid` and `accesskeysecret` of a directory.
    Directory(PathBuf),
    /// From the service that gives roles for tokens.
    Role(Box<Role>),
}

/// Why there are no keys. It can be told to everybody who waits for them.
#[derive(Clone, Debug)]
pub(super) enum KeysError {
    /// A file cannot be used.
    File(PathBuf, String),
    /// The service gives none.
    Refused(Refusal),
    /// The service does not answer, or makes no sense.
    Unreachable(String),
}

impl KeysError {
    pub(super) fn file(path: &Path, problem: &impl ToString) -> Self {
        KeysError::File(path.to_owned(), problem.to_string())
    }
}

impl From<KeysError> for StoreError {
    fn from(error: KeysError) -> Self {
        const ACTION: &str = "get credentials";
        match error {
            KeysError::File(path, problem) => {
                StoreError::Settings { key: path.display().to_string(), source: problem.into() }
            }
            KeysError::Refused(refusal) => StoreError::service("oss", ACTION, refusal),
            KeysError::Unreachable(problem) => StoreError::unreachable("oss", ACTION, problem),
        }
    }
}

/// The keys, kept up to date.
pub(super) struct Credentials {
    source: Source,
    current: ArcSwapOption<Keys>,
    began: Instant,
    /// When the source was asked last, in milliseconds since the beginning and one.
    asked: AtomicU64,
    /// Whether the store has refused the keys since the source was asked last.
    doubted: AtomicBool,
    /// Held by whoever asks the source; the failure of the last one who did.
    turn: Mutex<Option<(Instant, KeysError)>>,
}

impl Credentials {
    /// Keys from a source, of which nothing is asked yet.
    pub(super) fn new(source: Source) -> Self {
        let fixed = match &source {
            Source::Fixed(keys) => Some(Arc::new(keys.clone())),
            Source::Directory(_) | Source::Role(_) => None,
        };
        Credentials {
            source,
            current: ArcSwapOption::new(fixed),
            began: Instant::now(),
            asked: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
            turn: Mutex::new(None),
        }
    }

    /// The keys to sign with now.
    pub(super) async fn keys(&self) -> Result<Arc<Keys>, StoreError> {
        let current = self.current.load_full();
        let good = current.clone().filter(|keys| keys.are_good_for(Duration::ZERO));
        match (good, self.is_due(current.as_deref())) {
            (Some(keys), false) => Ok(keys),
            (Some(keys), true) => match self.turn.try_lock() {
                // Somebody asks already, and what there is is good until then.
                Err(_) => Ok(keys),
                Ok(turn) => Ok(self.ask(turn).await.unwrap_or(keys)),
            },
            (None, _) => {
                let turn = self.turn.lock().await;
                let current = self.current.load_full().filter(|keys| keys.are_good_for(Duration::ZERO));
                match (current, turn.as_ref()) {
                    // Somebody has asked while this one waited.
                    (Some(keys), _) => Ok(keys),
                    (None, Some((when, error))) if when.elapsed() < PAUSE => Err(error.clone().into()),
                    (None, _) => Ok(self.ask(turn).await?),
                }
            }
        }
    }

    /// The store has refused the keys: they may have been replaced.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    fn is_due(&self, current: Option<&Keys>) -> bool {
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        let since = (self.began.elapsed() + Duration::from_millis(1)).saturating_sub(asked);
        let doubted = self.doubted.load(Ordering::Relaxed);
        match &self.source {
            Source::Fixed(_) => false,
            Source::Directory(_) => doubted || since >= PAUSE,
            Source::Role(_) => {
                (doubted || !current.is_some_and(|keys| keys.are_good_for(AHEAD))) && since >= ROLE_PAUSE
            }
        }
    }

    /// Asks the source. Whoever is dropped on the way leaves all as it was, and the next one asks.
    async fn ask(&self, mut turn: MutexGuard<'_, Option<(Instant, KeysError)>>) -> Result<Arc<Keys>, KeysError> {
        let current = self.current.load_full();
        let found = match &self.source {
            Source::Fixed(keys) => Ok(keys.clone()),
            Source::Directory(directory) => read_directory(directory, current.as_deref()).await,
            Source::Role(role) => role.assume().await,
        };
        let now = self.began.elapsed().as_millis().saturating_add(1);
        self.asked.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.doubted.store(false, Ordering::Relaxed);
        match found {
            Ok(keys) => {
                *turn = None;
                if current.as_deref() == Some(&keys) {
                    return Ok(current.unwrap_or_else(|| Arc::new(keys)));
                }
                if current.is_some() {
                    tracing::info!(driver = "oss", key = keys.shown(), "other credentials are in use");
                }
                let keys = Arc::new(keys);
                self.current.store(Some(keys.clone()));
                Ok(keys)
            }
            Err(error) => {
                // Said once, and not each second.
                if let Some(keys) = current.filter(|_| turn.is_none()) {
                    let problem = StoreError::from(error.clone());
                    tracing::warn!(driver = "oss", key = keys.shown(), %problem, "the old credentials stay in use");
                }
                *turn = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// The keys in a directory. Kubernetes replaces all files of a secret at once, but they are read one after the other: what
/// differs from the keys in use is believed when it reads the same twice.
async fn read_directory(directory: &Path, current: Option<&Keys>) -> Result<Keys, KeysError> {
    let mut before = current.cloned();
    for _ in 0..READS {
        let keys = Keys {
            id: read_file(&directory.join("accesskeyid")).await?,
            secret: read_file(&directory.join("accesskeysecret")).await?,
            token: None,
            expires: None,
        };
        if before.as_ref() == Some(&keys) {
            return Ok(keys);
        }
        before = Some(keys);
    }
    Err(KeysError::file(directory, &"the files change faster than they can be read"))
}

/// The text of a small file, without what lies around it.
pub(super) async fn read_file(path: &Path) -> Result<String, KeysError> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(|error| KeysError::file(path, &error))?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).await.map_err(|error| KeysError::file(path, &error))?;
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(KeysError::file(path, &"must hold one line of text"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, id: &str, secret: &str) {
        std::fs::write(directory.join("accesskeyid"), id).unwrap();
        std::fs::write(directory.join("accesskeysecret"), secret).unwrap();
    }

    #[test]
    fn nothing_shows_a_secret() {
        let id = "LTAI5tNnBVexample3F".to_owned();
        let keys = Keys { id, secret: "hunter2".to_owned(), token: Some("hunter3".to_owned()), expires: None };
        assert_eq!(format!("{keys:?}"), "Keys(LTAI…3F)");
        let short = Keys { id: "LTAI3F".to_owned(), ..keys };
        assert_eq!(short.shown(), "…");
    }

    /// Keys of a directory that was looked at last an hour ago.
    fn long_looked_at(directory: &Path) -> Credentials {
        let credentials = Credentials::new(Source::Directory(directory.to_owned()));
        let began = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap();
        Credentials { began, ..credentials }
    }

    fn let_time_pass(credentials: &Credentials) {
        credentials.asked.store(0, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn files_are_read_again_when_they_change() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "LTAI-one\n", "secret one\n");
        let credentials = long_looked_at(directory.path());
        let keys = credentials.keys().await.unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("LTAI-one", "secret one"));
        write(directory.path(), "LTAI-two", "secret two");
        assert_eq!(credentials.keys().await.unwrap().id, "LTAI-one", "no file is looked at twice within a second");
        let_time_pass(&credentials);
        let keys = credentials.keys().await.unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("LTAI-two", "secret two"));
        write(directory.path(), "LTAI-three", "secret three");
        credentials.doubt();
        assert_eq!(credentials.keys().await.unwrap().id, "LTAI-three", "at once when the store refuses them");
    }

    #[tokio::test]
    async fn old_keys_stay_in_use_while_new_ones_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "LTAI-one", "secret one");
        let credentials = long_looked_at(directory.path());
        credentials.keys().await.unwrap();
        for content in [None, Some(""), Some("a\nb"), Some("\n")] {
            match content {
                None => std::fs::remove_file(directory.path().join("accesskeysecret")).unwrap(),
                Some(content) => write(directory.path(), "LTAI-two", content),
            }
            let_time_pass(&credentials);
            assert_eq!(credentials.keys().await.unwrap().id, "LTAI-one", "{content:?}");
        }
        write(directory.path(), "LTAI-two", "secret two");
        let_time_pass(&credentials);
        assert_eq!(credentials.keys().await.unwrap().secret, "secret two");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Credentials::new(Source::Directory(directory.path().to_owned()));
        let error = credentials.keys().await.unwrap_err();
        assert!(matches!(&error, StoreError::Settings { key, .. } if key.ends_with("/accesskeyid")), "{error}");
    }
}
