//! Where the account's key and the certificates are kept between two starts: a directory in the form of Go's autocert,
//! which Distribution uses, so that each takes up what the other left.
//!
//! `acme_account+key` holds a private key, and a file named as the host the certificate's private key and then its
//! chain, all in PEM. Keys are written in PKCS#8, which autocert reads as well as its own form.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

const ACCOUNT_FILE: &str = "acme_account+key";
/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Why the cache cannot be used.
#[derive(Debug, Error)]
pub(crate) enum CacheError {
    #[error("{} is a file; a directory is kept there: move it away", .0.display())]
    NotADirectory(PathBuf),
    #[error("cannot make the directory {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} holds no key of an account (ECDSA P-256, in PEM form)", .0.display())]
    Account(PathBuf),
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    /// Makes the directory if it is missing, and makes sure that something can be written there.
    pub(crate) fn open(path: &Path) -> Result<Cache, CacheError> {
        if path.is_file() {
            return Err(CacheError::NotADirectory(path.to_path_buf()));
        }
        let make = |source| CacheError::Make { path: path.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(make)?;
        let cache = Cache(path.to_path_buf());
        // Found out now, and not when the authority has already been asked.
        let probe = cache.0.join(format!(".probe-{}", std::process::id()));
        write_private(&probe, b"")
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(|source| CacheError::Write { path: probe.clone(), source })?;
        Ok(cache)
    }

    /// The key of the account, if there is one.
    pub(super) fn account(&self) -> Result<Option<PrivatePkcs8KeyDer<'static>>, CacheError> {
        let Some(content) = self.read(ACCOUNT_FILE)? else { return Ok(None) };
        let invalid = || CacheError::Account(self.0.join(ACCOUNT_FILE));
        match PrivateKeyDer::from_pem_slice(&content) {
            Ok(PrivateKeyDer::Pkcs8(key)) => Ok(Some(key)),
            // As autocert writes it.
            Ok(PrivateKeyDer::Sec1(key)) => {
                let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_sec1_der());
                let key = key.map_err(|_| invalid())?.to_pkcs8v1().map_err(|_| invalid())?;
                Ok(Some(PrivatePkcs8KeyDer::from(key.as_ref().to_vec())))
            }
            _ => Err(invalid()),
        }
    }

    pub(super) fn keep_account(&self, key: &rcgen::KeyPair) -> Result<(), CacheError> {
        self.write(ACCOUNT_FILE, key.serialize_pem().as_bytes())
    }

    /// The private key and the chain of a host, in one text, if they are there.
    pub(super) fn certificate(&self, host: &str) -> Result<Option<Vec<u8>>, CacheError> {
        self.read(host)
    }

    pub(super) fn keep_certificate(&self, host: &str, key: &str, chain: &str) -> Result<(), CacheError> {
        self.write(host, format!("{}\n{chain}", key.trim_end()).as_bytes())
    }

    /// Where the certificate of a host is kept.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(name);
        let mut content = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut content));
        match read {
            Ok(_) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CacheError::Read { path, source }),
        }
    }

    /// Puts a whole file in the place of the one before.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), CacheError> {
        let path = self.path(name);
        let temporary = self.0.join(format!(".{name}-{}", std::process::id()));
        let written = write_private(&temporary, content).and_then(|()| std::fs::rename(&temporary, &path));
        written.and_then(|()| File::open(&self.0)?.sync_all()).map_err(|source| CacheError::Write { path, source })
    }
}

/// Writes a file that only the owner may read.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_nobody_else_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/cache");
        let cache = Cache::open(&path).unwrap();
        assert!(cache.account().unwrap().is_none());
        assert!(cache.certificate("reg.example").unwrap().is_none());
        let key = rcgen::KeyPair::generate().unwrap();
        cache.keep_account(&key).unwrap();
        cache.keep_certificate("reg.example", "KEY\n", "CHAIN\n").unwrap();
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.account().unwrap().unwrap().secret_pkcs8_der(), key.serialize_der());
        assert_eq!(cache.certificate("reg.example").unwrap().unwrap(), b"KEY\nCHAIN\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!((mode(&cache.path(ACCOUNT_FILE)), mode(&cache.path("reg.example"))), (0o600, 0o600));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2, "something temporary was left");
    }

    #[test]
    fn an_account_that_autocert_kept_is_taken_up() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let sec1: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().unwrap();
        let text = STANDARD.encode(sec1.as_ref());
        let theirs = format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n");
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(ACCOUNT_FILE), theirs).unwrap();
        let key = Cache::open(directory.path()).unwrap().account().unwrap().unwrap();
        assert!(instant_acme::Key::from_pkcs8_der(key).is_ok());
    }

    #[test]
    fn what_cannot_be_a_cache_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("letsencrypt.cache");
        std::fs::write(&file, "{}").unwrap();
        let error = Cache::open(&file).unwrap_err().to_string();
        assert!(error.ends_with("letsencrypt.cache is a file; a directory is kept there: move it away"), "{error}");
        std::fs::write(directory.path().join(ACCOUNT_FILE), "x").unwrap();
        let error = Cache::open(directory.path()).unwrap().account().unwrap_err().to_string();
        assert!(error.contains("acme_account+key holds no key of an account"), "{error}");
    }
}
