//! The files that hold the keys, looked at every second. What cannot be read leaves the keys as they were.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::signing::{Ring, SigningError, ring};
use crate::jose::Keys;
use crate::stamp::Stamp;

/// How long the files are taken to be unchanged after a look at them.
const PAUSE: Duration = Duration::from_secs(1);
/// The largest file.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The file of a directory that says which key signs.
const CURRENT: &str = "current";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file or directory cannot be read.
    #[error("auth.issuer.keys: cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is larger than any key.
    #[error("auth.issuer.keys: {} has more than {MAX_FILE_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// What was read is no key.
    #[error("auth.issuer.keys: {}: {problem}", path.display())]
    Keys {
        /// Where it was read.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The keys, kept fresh.
pub(crate) struct Keyring {
    path: PathBuf,
    ring: ArcSwap<Ring>,
    /// Held by the one who looks; others go on with what there is.
    looked: tokio::sync::Mutex<Looked>,
    at: std::sync::Mutex<Instant>,
}

struct Looked {
    found: Found,
    /// What the log was told last.
    told: Option<String>,
}

/// The files that there are, and what tells that they have changed.
#[derive(PartialEq, Eq)]
struct Found {
    keys: Vec<(PathBuf, Stamp)>,
    current: Option<(PathBuf, Stamp)>,
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> KeyringError {
    |source| KeyringError::Read { path: path.to_owned(), source }
}

/// Looks for the files; blocks.
fn look(path: &Path) -> Result<Found, KeyringError> {
    let stamp = |path: &Path| {
        let stamp = Stamp::of(&std::fs::metadata(path).map_err(unreadable(path))?);
        if stamp.bytes() > MAX_FILE_BYTES {
            return Err(KeyringError::TooLarge(path.to_owned()));
        }
        Ok((path.to_owned(), stamp))
    };
    if !std::fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok(Found { keys: vec![stamp(path)?], current: None });
    }
    let mut found = Found { keys: Vec::new(), current: None };
    for entry in std::fs::read_dir(path).map_err(unreadable(path))? {
        let entry = entry.map_err(unreadable(path))?.path();
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == CURRENT {
            found.current = Some(stamp(&entry)?);
        } else if name.ends_with(".pem") && !name.starts_with('.') {
            found.keys.push(stamp(&entry)?);
        }
    }
    found.keys.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Reads the files; blocks. Where it is not said which key signs, that of `before` goes on, if it is there still: a key that
/// is added is published, and signs when it is said to.
fn read(path: &Path, found: &Found, before: Option<&str>) -> Result<Ring, KeyringError> {
    let content = |path: &Path| std::fs::read(path).map_err(unreadable(path));
    let mut files = Vec::new();
    for (file, _) in &found.keys {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files.push((name, content(file)?));
    }
    let current = found.current.as_ref().map(|(file, _)| content(file)).transpose()?;
    let current = current.map(|content| String::from_utf8_lossy(&content).trim().to_owned());
    let problem = |error: SigningError| KeyringError::Keys { path: path.to_owned(), problem: error.to_string() };
    let outcome = ring(&files, current.as_deref());
    match (outcome, before) {
        (Err(SigningError::Which(names)), Some(before)) if names.iter().any(|name| name == before) => {
            tracing::warn!(
                signs = before,
                file = %path.join(CURRENT).display(),
                "several keys could sign: write the name of one into this file before the next start, which would fail"
            );
            ring(&files, Some(before)).map_err(problem)
        }
        (outcome, _) => outcome.map_err(problem),
    }
}

impl Keyring {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// [`KeyringError`], where there is none that could sign.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, KeyringError> {
        let (found, ring) = on_a_thread({
            let path = path.clone();
            move || {
                let found = look(&path)?;
                let ring = read(&path, &found, None)?;
                Ok((found, ring))
            }
        })
        .await?;
        tell(&ring);
        Ok(Keyring {
            path,
            ring: ArcSwap::new(ring.into()),
            looked: tokio::sync::Mutex::new(Looked { found, told: None }),
            at: std::sync::Mutex::new(Instant::now()),
        })
    }

    fn is_due(&self) -> bool {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = at.elapsed() >= PAUSE;
        if is_due {
            *at = Instant::now();
        }
        is_due
    }

    /// The keys as they are now, or were up to [`PAUSE`] ago.
    pub(crate) async fn ring(&self) -> Arc<Ring> {
        if self.is_due()
            && let Ok(mut looked) = self.looked.try_lock()
            && let Err(error) = self.read_changed(&mut looked).await
        {
            let text = error.to_string();
            if looked.told.as_ref() != Some(&text) {
                tracing::error!(error = text, "the keys that sign tokens cannot be read again: those of before count");
            }
            looked.told = Some(text);
        }
        self.ring.load_full()
    }

    /// The keys by which tokens are believed.
    pub(crate) async fn keys(&self) -> Arc<Keys> {
        self.ring().await.keys.clone()
    }

    async fn read_changed(&self, looked: &mut Looked) -> Result<(), KeyringError> {
        let path = self.path.clone();
        let found = on_a_thread(move || look(&path)).await?;
        if found == looked.found {
            return Ok(());
        }
        let (path, before) = (self.path.clone(), self.ring.load().file.clone());
        let (found, ring) = on_a_thread(move || {
            let ring = read(&path, &found, Some(&before))?;
            Ok((found, ring))
        })
        .await?;
        tell(&ring);
        self.ring.store(ring.into());
        *looked = Looked { found, told: None };
        Ok(())
    }
}

fn tell(ring: &Ring) {
    tracing::info!(signs = ring.names[0], published = ?ring.names, "the keys that sign tokens were read");
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyringError> + Send + 'static,
) -> Result<T, KeyringError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(KeyringError::Read { path: PathBuf::new(), source: std::io::Error::other(error) }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rcgen::KeyPair;

    use super::*;

    fn pem() -> String {
        KeyPair::generate().unwrap().serialize_pem()
    }

    async fn refusal(path: &Path) -> String {
        Keyring::open(path.to_owned()).await.err().expect("it is refused").to_string()
    }

    /// After the pause; time stands still otherwise.
    async fn later(keyring: &Keyring) -> Arc<Ring> {
        tokio::time::advance(PAUSE).await;
        keyring.ring().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_mounted_secret_is_taken_up_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let mount = directory.path().join("keys");
        let write = |version: &str, files: &[(&str, &str)]| {
            let data = directory.path().join(version);
            std::fs::create_dir_all(&data).unwrap();
            for (name, content) in files {
                std::fs::write(data.join(name), content).unwrap();
            }
            // As the kubelet does it: one link is replaced, and every file leads through it.
            std::fs::create_dir_all(&mount).unwrap();
            let (new, link) = (directory.path().join("new"), mount.join("..data"));
            symlink(&data, &new).unwrap();
            std::fs::rename(&new, &link).unwrap();
            for entry in std::fs::read_dir(&mount).unwrap().flatten() {
                if entry.file_name() != "..data" {
                    std::fs::remove_file(entry.path()).unwrap();
                }
            }
            for (name, _) in files {
                symlink(Path::new("..data").join(name), mount.join(name)).unwrap();
            }
        };
        let (old, new) = (pem(), pem());
        write("1", &[("a.pem", &old), ("notes", "x")]);
        let keyring = Keyring::open(mount.clone()).await.unwrap();
        let first = keyring.ring().await;
        write("2", &[("a.pem", &old), ("b.pem", &new), ("current", "a\n")]);
        assert!(Arc::ptr_eq(&first, &keyring.ring().await), "it was looked at a moment ago");
        let second = later(&keyring).await;
        assert_eq!((second.names[0].as_str(), second.names.len()), (first.names[0].as_str(), 2));
        assert!(Arc::ptr_eq(&second, &later(&keyring).await), "nothing has changed");
        write("3", &[("a.pem", &old), ("b.pem", &new), ("current", "b")]);
        let third = later(&keyring).await;
        assert_eq!((&third.names[0], &third.names[1]), (&second.names[1], &second.names[0]));
        // Without a word about it, the one that signs goes on, and another is published.
        write("3a", &[("a.pem", &old), ("b.pem", &new)]);
        assert_eq!(later(&keyring).await.names, third.names);
        write("3b", &[("b.pem", &new)]);
        assert_eq!(later(&keyring).await.names, third.names[..1]);
        write("3c", &[("a.pem", &old), ("b.pem", &new)]);
        let third = later(&keyring).await;
        assert_eq!(third.names.len(), 2);
        write("4", &[("b.pem", &new), ("current", "c")]);
        assert!(Arc::ptr_eq(&third, &later(&keyring).await), "what cannot be used changes nothing");
        write("5", &[("b.pem", &new)]);
        assert_eq!(later(&keyring).await.names, third.names[..1]);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(refusal(&path.join("none")).await.starts_with("auth.issuer.keys: cannot read "));
        assert!(refusal(path).await.contains("there is no key in it; make one with `berth-registry create-key`"));
        std::fs::write(path.join("a.pem"), "secret").unwrap();
        let refused = refusal(path).await;
        assert!(refused.contains("a: it holds no private key") && !refused.contains("secret"), "{refused}");
        std::fs::write(path.join("a.pem"), vec![b'x'; 70_000]).unwrap();
        assert!(refusal(path).await.contains("a.pem has more than"));
        std::fs::write(path.join("a.pem"), pem()).unwrap();
        std::fs::write(path.join("b.pem"), pem()).unwrap();
        assert!(refusal(path).await.contains("which of a, b signs?"));
        assert!(Keyring::open(path.join("a.pem")).await.is_ok(), "a file is a key");
    }
}
