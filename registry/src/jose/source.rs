//! Where the keys come from: files, which are read again when they change, and an address, which is asked again for a key that
//! is not known and now and then.
//!
//! What cannot be read again leaves the keys as they were, and the log says why: a file that is being written must not turn
//! everybody away. Who takes a key out of the set has it taken out as soon as the set can be read, and who takes out the last
//! one has nobody believed any more. Only a start with a file of no keys is a mistake.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::Instant;

use super::keys::{Keys, KeysError};
use super::remote::{Fetched, Remote};
use crate::stamp::Stamp;

/// How long files are taken to be unchanged after a look at them.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest file or answer.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long an answer of the address counts.
const STANDS: Duration = Duration::from_secs(600);
/// How often the address is asked at most, whatever tokens name.
const ASK_PAUSE: Duration = Duration::from_secs(10);

/// Why there are no keys. It holds nothing of what a file or an answer says but names of keys.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    Read {
        /// The key of the configuration.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is larger than any such.
    #[error("{key}: {} has more than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The key of the configuration.
        key: String,
        /// The file.
        path: PathBuf,
    },
    /// What was read holds no keys.
    #[error("{key}: {place}: {problem}")]
    Keys {
        /// The key of the configuration.
        key: String,
        /// The file or the address.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The address does not answer, or not with keys.
    #[error("{key}: cannot fetch {address}: {problem}")]
    Fetch {
        /// The key of the configuration.
        key: String,
        /// The address, without what lets somebody in.
        address: String,
        /// What is wrong.
        problem: String,
    },
}

/// Where a set of keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Remote(Box<Remote>),
}

/// Something with the key of the configuration that says where it is.
type Named<T> = (&'static str, T);

/// The keys, kept fresh.
pub(crate) struct Source {
    bundle: Option<Named<PathBuf>>,
    set: Option<Named<Place>>,
    keys: ArcSwap<Keys>,
    /// Held by the one who looks; others go on with what there is.
    looked: Arc<tokio::sync::Mutex<Looked>>,
    /// Why the keys at the address are not those of now; none if they are.
    problem: std::sync::Mutex<Option<String>>,
    /// Why what is in files is not what they hold now; none if it is.
    unread: std::sync::Mutex<Option<String>>,
    /// When files were last looked at.
    at: std::sync::Mutex<Option<Instant>>,
}

/// What the last looks have found.
#[derive(Default)]
struct Looked {
    stamps: Vec<Stamp>,
    /// What the address answered last.
    fetched: Option<Fetched>,
    /// When it was asked, when for a key that was not known, and when it answered.
    asked: Option<Instant>,
    asked_for_a_key: Option<Instant>,
    answered: Option<Instant>,
    /// Whether keys were read before, be it none.
    begun: bool,
}

/// How it stands with keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// The address that they are fetched from, without what lets somebody in, or the files that they are in.
    pub address: String,
    /// Why they could not be fetched or read last; none if they could.
    pub problem: Option<String>,
    /// Whether they were there, and are none that can be used.
    pub unusable: bool,
}

/// Why an address is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    /// What it has answered is old.
    Time,
    /// A token names a key that is not known.
    Key,
}

/// What is read.
struct Contents {
    bundle: Option<Vec<u8>>,
    set: Option<Bytes>,
    issuer: Option<String>,
}

impl Source {
    /// Reads the files, and asks the address, for the first time. An address that does not answer is asked again later.
    pub(crate) async fn open(bundle: Option<Named<PathBuf>>, set: Option<Named<Place>>) -> Result<Self, SourceError> {
        let source = Source {
            bundle,
            set,
            keys: ArcSwap::default(),
            looked: Arc::default(),
            at: std::sync::Mutex::default(),
            problem: std::sync::Mutex::default(),
            unread: std::sync::Mutex::default(),
        };
        let mut looked = source.looked.lock().await;
        if let Some(remote) = source.remote() {
            let outcome = remote.ask().await;
            looked.asked = Some(Instant::now());
            match outcome {
                Ok(answer) => {
                    looked.answered = looked.asked;
                    looked.fetched = Some(answer);
                }
                Err(error) => {
                    source.tell_of(Some(&error));
                    tracing::warn!(%error, "tokens are refused until their keys are there");
                }
            }
        }
        if let Err(error) = source.read(&mut looked).await {
            // What the address answers may be no set of keys for a while, as if it had not answered. A file is another matter.
            if looked.fetched.take().is_none() {
                return Err(error);
            }
            looked.answered = None;
            source.tell_of(Some(&error));
            source.read(&mut looked).await?;
            tracing::warn!(%error, "tokens are refused until their keys are there");
        }
        drop(looked);
        source.look_is_over();
        Ok(source)
    }

    fn look_is_over(&self) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn tell_of(&self, problem: Option<&SourceError>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem.map(ToString::to_string);
    }

    /// Where the keys are, and why those that are known are not those of now, if they are not.
    pub(crate) async fn standing(self: &Arc<Self>) -> Standing {
        // Whoever asks has it looked at again, where that is due.
        self.keys().await;
        let files = self.files().map(|(_, path)| path.display().to_string());
        let places: Vec<String> = self.remote().map(Remote::shown).into_iter().chain(files).collect();
        let of =
            |problem: &std::sync::Mutex<Option<String>>| problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (address, has_none) = (places.join(", "), self.keys.load().counts() == (0, 0));
        let none = || has_none.then(|| format!("{address}: there is no key in it that could sign a token"));
        let unfetched = of(&self.problem);
        let unusable = unfetched.is_none();
        let problem = unfetched.or_else(|| of(&self.unread)).or_else(none);
        Standing { address, unusable: unusable && problem.is_some(), problem }
    }

    fn is_due(&self) -> bool {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|at| at.elapsed() >= PAUSE)
    }

    /// The keys as they are now, or were up to [`PAUSE`] ago.
    pub(crate) async fn keys(self: &Arc<Self>) -> Arc<Keys> {
        if self.is_due()
            && let Ok(mut looked) = self.looked.try_lock()
        {
            self.look_is_over();
            let unread = self.read_changed(&mut looked).await.err().map(|error| error.to_string());
            let before =
                std::mem::replace(&mut *self.unread.lock().unwrap_or_else(PoisonError::into_inner), unread.clone());
            if let Some(error) = unread.filter(|now| before.as_ref() != Some(now)) {
                tracing::error!(error, "the keys of tokens cannot be read again: those of before count");
            }
            let stands = looked.answered.is_some_and(|at| at.elapsed() < STANDS);
            let may_ask = looked.asked.is_none_or(|at| at.elapsed() >= ASK_PAUSE);
            if self.remote().is_some() && !stands && may_ask {
                let source = self.clone();
                drop(looked);
                // Nobody waits for what may be as it was.
                tokio::spawn(async move { source.ask_again(Because::Time).await });
            }
        }
        self.keys.load_full()
    }

    /// The keys after the address was asked for one that is not among `known`, unless that was done a moment ago, perhaps by a
    /// request that this one has waited for; none if they are the same.
    pub(crate) async fn other_than(self: &Arc<Self>, known: &Arc<Keys>) -> Option<Arc<Keys>> {
        if self.remote().is_some() {
            self.ask_again(Because::Key).await;
        }
        let keys = self.keys.load_full();
        (!Arc::ptr_eq(&keys, known)).then_some(keys)
    }

    /// Asks the address, in a task of its own: whoever asks for it and hangs up ends no ask that others wait for, and makes no
    /// room for another one.
    async fn ask_again(self: &Arc<Self>, because: Because) {
        let looked = self.looked.clone().lock_owned().await;
        // A key may be a new one however shortly before the address was asked because of the time.
        let before = match because {
            Because::Time => looked.asked,
            Because::Key => looked.asked_for_a_key,
        };
        if before.is_some_and(|at| at.elapsed() < ASK_PAUSE) {
            return;
        }
        let source = self.clone();
        let asking = tokio::spawn(async move { source.ask(looked, because).await });
        // It ends without being waited for where the server stops.
        asking.await.unwrap_or_default();
    }

    async fn ask(&self, mut looked: tokio::sync::OwnedMutexGuard<Looked>, because: Because) {
        let Some(remote) = self.remote() else { return };
        let asked = remote.ask().await;
        // From the end of it on, so that whoever has waited meanwhile does not ask again, and wait as long once more.
        looked.asked = Some(Instant::now());
        if because == Because::Key {
            looked.asked_for_a_key = looked.asked;
        }
        let outcome = match asked {
            Ok(answer) => {
                looked.answered = looked.asked;
                match looked.fetched.as_ref() == Some(&answer) {
                    true => Ok(()),
                    false => {
                        let before = looked.fetched.replace(answer);
                        let outcome = self.read(&mut looked).await;
                        if outcome.is_err() {
                            looked.fetched = before;
                        }
                        outcome
                    }
                }
            }
            Err(error) => Err(error),
        };
        self.tell_of(outcome.as_ref().err());
        if let Err(error) = outcome {
            tracing::warn!(%error, "the keys of tokens cannot be fetched again: those of before count");
        }
    }

    /// Reads files that have changed.
    async fn read_changed(&self, looked: &mut Looked) -> Result<(), SourceError> {
        match self.stamps().await? == looked.stamps {
            true => Ok(()),
            false => self.read(looked).await,
        }
    }

    fn remote(&self) -> Option<&Remote> {
        match &self.set {
            Some((_, Place::Remote(remote))) => Some(remote),
            Some((_, Place::File(_))) | None => None,
        }
    }

    /// The bundle first, where there is one.
    fn files(&self) -> impl Iterator<Item = Named<&Path>> {
        let set = match &self.set {
            Some((key, Place::File(path))) => Some((*key, path.as_path())),
            Some((_, Place::Remote(_))) | None => None,
        };
        self.bundle.iter().map(|(key, path)| (*key, path.as_path())).chain(set)
    }

    async fn stamps(&self) -> Result<Vec<Stamp>, SourceError> {
        let mut stamps = Vec::new();
        for (key, path) in self.files() {
            let metadata = tokio::fs::metadata(path).await;
            let metadata =
                metadata.map_err(|source| SourceError::Read { key: key.to_owned(), path: path.to_owned(), source })?;
            stamps.push(Stamp::of(&metadata));
        }
        Ok(stamps)
    }

    async fn read(&self, looked: &mut Looked) -> Result<(), SourceError> {
        let stamps = self.stamps().await?;
        let (set, issuer) = looked.fetched.clone().map(|Fetched { set, issuer }| (set, issuer)).unzip();
        let mut contents = Contents { bundle: None, set, issuer: issuer.flatten() };
        for ((key, path), stamp) in self.files().zip(&stamps) {
            if stamp.bytes() > MAX_BYTES as u64 {
                return Err(SourceError::TooLarge { key: key.to_owned(), path: path.to_owned() });
            }
            let content = tokio::fs::read(path).await;
            let content =
                content.map_err(|source| SourceError::Read { key: key.to_owned(), path: path.to_owned(), source })?;
            match &self.bundle {
                Some((of_bundle, _)) if *of_bundle == key => contents.bundle = Some(content),
                _ => contents.set = Some(content.into()),
            }
        }
        let keys = self.made_of(&contents, looked.begun)?;
        let (count, certificates) = keys.counts();
        tracing::info!(keys = count, certificates, "the keys of tokens were read");
        self.keys.store(keys.into());
        looked.stamps = stamps;
        looked.begun = true;
        Ok(())
    }

    /// The keys in what was read. A set may have none if it `may_be_empty`: somebody has taken out the last one.
    fn made_of(&self, Contents { bundle, set, issuer }: &Contents, may_be_empty: bool) -> Result<Keys, SourceError> {
        let mut keys = Keys::of_issuer(issuer.clone());
        let tell = |key: &'static str, place: String, outcome: Result<Vec<String>, KeysError>| match outcome {
            Ok(passed_over) => {
                for problem in passed_over {
                    tracing::warn!(key, place, problem, "a key of tokens is passed over");
                }
                Ok(())
            }
            Err(problem @ KeysError::NoKey(_)) if may_be_empty => {
                tracing::warn!(key, place, %problem, "nobody is believed by these keys any more");
                Ok(())
            }
            Err(problem) => Err(SourceError::Keys { key: key.to_owned(), place, problem: problem.to_string() }),
        };
        if let (Some((key, path)), Some(pem)) = (&self.bundle, bundle) {
            tell(key, path.display().to_string(), keys.add_bundle(pem))?;
        }
        if let (Some((key, place)), Some(json)) = (&self.set, set) {
            let place = match place {
                Place::File(path) => path.display().to_string(),
                Place::Remote(remote) => remote.shown(),
            };
            tell(key, place, keys.add_set(json))?;
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Document;

    /// An address that takes requests and does not answer, and a source that was opened with it.
    async fn silent() -> (tokio::net::TcpListener, Arc<Source>) {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/keys", silent.local_addr().unwrap()).parse().unwrap();
        let remote = Place::Remote(Remote::Set(Document::new("key", address)).into());
        let source = Arc::new(Source::open(None, Some(("key", remote))).await.unwrap());
        (silent, source)
    }

    /// Whoever waits for an address that does not answer waits for one ask, and not for those of all who came before.
    #[tokio::test(start_paused = true)]
    async fn many_wait_for_one_ask() {
        let (_silent, source) = silent().await;
        tokio::time::advance(ASK_PAUSE).await;
        let (begin, known) = (Instant::now(), source.keys.load_full());
        let waiting = (0..20).map(|_| source.other_than(&known));
        assert!(futures::future::join_all(waiting).await.iter().all(Option::is_none));
        assert!(begin.elapsed() < ASK_PAUSE * 2, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_has_the_address_asked_no_more_often() {
        let (silent, source) = silent().await;
        let asked = async || {
            let mut count = 0;
            while tokio::time::timeout(Duration::from_millis(1), silent.accept()).await.is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!(asked().await, 1, "the start has asked");
        tokio::time::advance(ASK_PAUSE).await;
        let known = source.keys.load_full();
        for _ in 0..20 {
            let hung_up = tokio::time::timeout(Duration::from_millis(100), source.other_than(&known)).await;
            assert!(hung_up.is_err(), "it waits for the address");
        }
        assert_eq!(asked().await, 1);
    }
}
