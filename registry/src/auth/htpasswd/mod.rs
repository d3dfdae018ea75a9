//! `auth.htpasswd`: names and passwords against a file, which is read again when it changes and never created.
//!
//! A password is checked on a blocking thread, as many at once as there are processors; the rest stand in a line that has
//! an end, and who fails again and again is not let into it for a while. While the file cannot be read or has a bad line,
//! nobody is let in: who was taken out of it must not stay.

mod users;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Semaphore};

use super::basic::{self, Basic};
use super::brake::Brake;
use super::verified::Verified;
use super::{Answer, AuthError, Authenticator, Challenge, Identity, Why, quoted};
use crate::hex;
use crate::stamp::Stamp;

pub use users::LineProblem;
use users::Users;

/// How long the file is taken to be unchanged after a look at it.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest file: room for 100,000 users.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// How many passwords may be checked or wait for it.
const MAX_WAITING: usize = 256;

/// Why the file of users cannot be used. It never holds what the file says.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// It cannot be read.
    #[error("{key}: cannot read {}; make it with `htpasswd -Bc`", path.display())]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is larger than any file of users.
    #[error("{key}: {} has more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A line is no entry.
    #[error("{key}: {}, line {line}: {problem}", path.display())]
    Line {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
}

/// Names and passwords against a file.
pub struct Htpasswd {
    /// The key of the configuration that names the file.
    key: &'static str,
    realm: String,
    path: PathBuf,
    /// None until it has been read well.
    file: ArcSwapOption<File>,
    /// Held by the one who looks at it; the others wait for what is found.
    looking: Mutex<()>,
    verified: Verified,
    /// Pairs that were wrong: who sends the same again is told so again, and guesses nothing.
    wrong: Verified,
    brake: Brake,
    waiting: Semaphore,
    checking: Arc<Semaphore>,
}

/// What the file held when it was looked at.
struct File {
    users: Arc<Users>,
    stamp: Stamp,
    looked: Instant,
}

impl Htpasswd {
    /// Reads the file for the first time, which this key of the configuration names.
    ///
    /// # Errors
    /// [`HtpasswdError`], when it cannot be read or a line of it is no entry.
    pub async fn open(key: &'static str, realm: String, path: PathBuf) -> Result<Self, HtpasswdError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let htpasswd = Self {
            key,
            realm,
            path,
            file: ArcSwapOption::empty(),
            looking: Mutex::default(),
            verified: Verified::new(),
            wrong: Verified::new(),
            brake: Brake::new(),
            waiting: Semaphore::new(MAX_WAITING),
            checking: Arc::new(Semaphore::new(processors)),
        };
        let users = htpasswd.users().await?;
        if users.len() == 0 {
            tracing::warn!(path = %htpasswd.path.display(), "the file of users is empty: nobody can log in");
        }
        Ok(htpasswd)
    }

    /// The users that the file holds now, or held up to [`PAUSE`] ago.
    async fn users(&self) -> Result<Arc<Users>, HtpasswdError> {
        if let Some(users) = self.users_of_late() {
            return Ok(users);
        }
        let _looking = self.looking.lock().await;
        // Somebody may have looked meanwhile.
        if let Some(users) = self.users_of_late() {
            return Ok(users);
        }
        let looked = Instant::now();
        // Until the file has been read well, what it held before does not count.
        let before = self.file.swap(None);
        let unreadable = |source| HtpasswdError::Read { key: self.key, path: self.path.clone(), source };
        let stamp = Stamp::of(&tokio::fs::metadata(&self.path).await.map_err(unreadable)?);
        let users = match before.as_deref() {
            Some(File { users, stamp: before, .. }) if *before == stamp => users.clone(),
            before => {
                let users = Arc::new(read(self.key, &self.path, stamp).await?);
                if before.is_some() {
                    // What was wrong may be right now.
                    self.brake.release();
                    tracing::info!(path = %self.path.display(), users = users.len(), "the file of users was read again");
                }
                users
            }
        };
        self.file.store(Some(Arc::new(File { users: users.clone(), stamp, looked })));
        Ok(users)
    }

    /// The users, if somebody has looked at the file a moment ago.
    fn users_of_late(&self) -> Option<Arc<Users>> {
        let file = self.file.load();
        file.as_ref().filter(|file| file.looked.elapsed() < PAUSE).map(|file| file.users.clone())
    }

    /// Whether this is the user's password: then what stands for it, which changes with it.
    pub(crate) async fn login(
        &self,
        name: &str,
        password: Vec<u8>,
        from: Option<IpAddr>,
    ) -> Result<Option<String>, AuthError> {
        let users = self.users().await?;
        let is_user = self.check(name, password, &users, from).await?;
        Ok(users.hash(name).filter(|_| is_user).map(stamp_of))
    }

    /// What stands for the password that a user has now; none if there is no such user.
    pub(crate) async fn stamp(&self, name: &str) -> Result<Option<String>, AuthError> {
        Ok(self.users().await?.hash(name).map(stamp_of))
    }

    /// Whether this is the user's password, checked on a blocking thread. `hash` is somebody's even if `user` is nobody's.
    async fn check(
        &self,
        name: &str,
        password: Vec<u8>,
        users: &Users,
        from: Option<IpAddr>,
    ) -> Result<bool, AuthError> {
        let known = users.hash(name);
        let hash = known.unwrap_or_else(|| users.nobody());
        let proof = self.verified.proof(name, &password, hash);
        let is_verified = || known.is_some() && self.verified.contains(&proof, Instant::now());
        if is_verified() {
            return Ok(true);
        }
        let failed = self.wrong.proof(name, &password, hash);
        if self.wrong.contains(&failed, Instant::now()) {
            return Ok(false);
        }
        if let Some(wait) = self.brake.holds(from, name, Instant::now()) {
            return Err(AuthError::Braked(wait));
        }
        let _place = self.waiting.try_acquire().map_err(|_| AuthError::Busy)?;
        let permit = self.checking.clone().acquire_owned().await.map_err(|_| AuthError::Stopped)?;
        // A client sends several requests at once; the first has done the work for all.
        if is_verified() {
            return Ok(true);
        }
        // Nor are those checked that came at once and of which enough have failed meanwhile.
        if let Some(wait) = self.brake.holds(from, name, Instant::now()) {
            return Err(AuthError::Braked(wait));
        }
        let (hash, rest) = (hash.clone(), users.rest(hash));
        let check = move || {
            let matches = |hash: &str| bcrypt::verify(&password, hash).unwrap_or(false);
            let is_right = matches(&hash);
            if !is_right {
                for hash in &rest {
                    std::hint::black_box(matches(hash));
                }
            }
            // Held by the thread, for who hangs up makes no room for more work than there are processors; and until it is known
            // of this one what has become of it.
            (is_right, permit)
        };
        let (matches, _permit) = tokio::task::spawn_blocking(check).await.map_err(|_| AuthError::Stopped)?;
        let is_user = matches && known.is_some();
        match is_user {
            true => self.verified.insert(proof, Instant::now()),
            false => {
                self.wrong.insert(failed, Instant::now());
                self.brake.failed(from, name, Instant::now());
            }
        }
        Ok(is_user)
    }
}

/// What stands for a password, and tells nothing of it: a hash of its hash.
fn stamp_of(hash: &Arc<str>) -> String {
    hex(&Sha256::digest(hash.as_bytes()))
}

async fn read(key: &'static str, path: &Path, stamp: Stamp) -> Result<Users, HtpasswdError> {
    if stamp.bytes() > MAX_FILE_BYTES {
        return Err(HtpasswdError::TooLarge { key, path: path.to_path_buf() });
    }
    let content = tokio::fs::read(path).await;
    let content = content.map_err(|source| HtpasswdError::Read { key, path: path.to_path_buf(), source })?;
    Users::parse(&content).map_err(|(line, problem)| HtpasswdError::Line {
        key,
        path: path.to_path_buf(),
        line,
        problem,
    })
}

#[async_trait]
impl Authenticator for Htpasswd {
    async fn authenticate(&self, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Answer, AuthError> {
        let (name, password) = match basic::read(headers) {
            // What some clients send that have none.
            Basic::Given { name, password } if name.is_empty() && password.is_empty() => {
                return Ok(Answer::NoCredentials);
            }
            Basic::Given { name, password } => (name, password),
            Basic::Absent => return Ok(Answer::NoCredentials),
            Basic::Malformed => return Ok(Answer::BadCredentials),
        };
        let users = self.users().await?;
        let is_user = self.check(&name, password, &users, from).await?;
        Ok(if is_user { Answer::Known(Identity::new(&name)) } else { Answer::BadCredentials })
    }

    fn challenge(&self, challenge: &Challenge<'_>) -> Option<String> {
        // Another password makes nobody somebody else.
        (challenge.why != Why::Insufficient).then(|| format!("Basic realm={}", quoted(&self.realm)))
    }

    async fn said(&self, headers: &HeaderMap) -> Option<String> {
        let Basic::Given { name, .. } = basic::read(headers) else { return None };
        let users = self.users().await.ok()?;
        users.hash(&name).is_some().then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use http::header;

    use super::*;

    async fn said(htpasswd: &Htpasswd, pair: &str) -> Result<Answer, AuthError> {
        let value = format!("Basic {}", STANDARD.encode(pair)).parse().unwrap();
        htpasswd.authenticate(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), None).await
    }

    #[tokio::test]
    async fn a_pair_is_checked_once_and_again_when_its_line_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        let line = || format!("alice:{}\n", bcrypt::hash("s3cr3t", 4).unwrap());
        std::fs::write(&path, line()).unwrap();
        let htpasswd = Htpasswd::open("auth.htpasswd.path", "r".into(), path.clone()).await.unwrap();
        let alice = Answer::Known(Identity::new("alice"));
        assert_eq!(said(&htpasswd, "alice:s3cr3t").await.unwrap(), alice);
        assert_eq!(said(&htpasswd, "alice:wrong").await.unwrap(), Answer::BadCredentials);
        // Whatever would be checked from now on fails otherwise.
        htpasswd.checking.close();
        for _ in 0..3 {
            assert_eq!(said(&htpasswd, "alice:s3cr3t").await.unwrap(), alice);
            assert_eq!(said(&htpasswd, "alice:wrong").await.unwrap(), Answer::BadCredentials);
        }
        for another in ["alice:wrong2", "alice:", "bob:s3cr3t"] {
            assert!(matches!(said(&htpasswd, another).await, Err(AuthError::Stopped)), "{another}");
        }
        // The same password with another salt.
        std::fs::write(&path, line()).unwrap();
        htpasswd.file.store(None);
        for again in ["alice:s3cr3t", "alice:wrong"] {
            assert!(matches!(said(&htpasswd, again).await, Err(AuthError::Stopped)), "{again}");
        }
    }

    /// One connection has room for hundreds of requests.
    #[tokio::test]
    async fn guesses_that_come_at_once_are_braked_as_those_one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, format!("alice:{}\n", bcrypt::hash("s3cr3t", 4).unwrap())).unwrap();
        let htpasswd = Htpasswd::open("auth.htpasswd.path", "r".into(), path).await.unwrap();
        let guesses: Vec<_> = (0..200).map(|number| format!("alice:{number}")).collect();
        let answers = futures::future::join_all(guesses.iter().map(|guess| said(&htpasswd, guess))).await;
        let checked = answers.iter().filter(|answer| matches!(answer, Ok(Answer::BadCredentials))).count();
        let braked = answers.iter().filter(|answer| matches!(answer, Err(AuthError::Braked(_)))).count();
        let at_once = std::thread::available_parallelism().unwrap().get();
        assert!((10..=10 + at_once).contains(&checked), "{checked}");
        assert_eq!(checked + braked, 200);
    }

    #[tokio::test]
    async fn nobody_is_let_in_by_what_the_file_held_before_it_could_not_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("htpasswd");
        std::fs::write(&path, format!("alice:{}\n", bcrypt::hash("s3cr3t", 4).unwrap())).unwrap();
        let htpasswd = Htpasswd::open("auth.htpasswd.path", "r".into(), path.clone()).await.unwrap();
        said(&htpasswd, "alice:s3cr3t").await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let of_now = htpasswd.file.load_full().unwrap();
        let looked = of_now.looked.checked_sub(PAUSE).unwrap();
        let of_before = File { users: of_now.users.clone(), stamp: of_now.stamp, looked };
        htpasswd.file.store(Some(Arc::new(of_before)));
        for _ in 0..2 {
            assert!(matches!(said(&htpasswd, "alice:s3cr3t").await, Err(AuthError::Htpasswd(_))));
        }
    }
}
