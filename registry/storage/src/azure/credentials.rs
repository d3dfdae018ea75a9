//! The account as the newest readable settings have it: files of credentials are read again while the driver runs.
//!
//! Whoever uses the account looks at the files when nobody has within the last second. Files that cannot be read, or hold
//! what cannot be used, change nothing: what was good stays in use until they are good again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use object_store::azure::AzureCredential;

use super::access::{Access, Files, Plan, plan};
use super::options::AzureOptions;
use crate::http::Http;
use crate::{BoxError, Refusal, StoreError};

/// How often the files are looked at, at the most, outside tests.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most that is read of a file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The account, and where its credentials come from.
pub(super) struct Credentials {
    options: AzureOptions,
    http: Http,
    current: ArcSwap<(Plan, Arc<Access>)>,
    looked: Mutex<Looked>,
    /// How often the files are looked at, at the most.
    pub(super) interval: Duration,
}

/// The last look at the files.
struct Looked {
    at: Instant,
    /// What was wrong with them, so that it is said once.
    wrong: Option<String>,
}

impl Credentials {
    /// Opens the account.
    pub(super) fn open(options: AzureOptions, http: Http) -> Result<Self, StoreError> {
        let plan = read_and_plan(&options)?;
        let access = Access::new(plan.clone(), &options.container, &http)?;
        Ok(Credentials {
            options,
            http,
            current: ArcSwap::from_pointee((plan, Arc::new(access))),
            looked: Mutex::new(Looked { at: Instant::now(), wrong: None }),
            interval: INTERVAL,
        })
    }

    /// The account, as of a second ago at the latest.
    pub(super) async fn access(&self) -> Arc<Access> {
        if self.options.credentials_directory.is_some() && self.is_due() {
            self.look().await;
        }
        self.current.load().1.clone()
    }

    /// Where the store has not believed `credential` of `used`, a look at the files at once, and for another token: the
    /// account, if it can be asked in another way now.
    pub(super) async fn renewed_after(
        &self,
        refusal: &Refusal,
        used: &Arc<Access>,
        credential: &Arc<AzureCredential>,
    ) -> Option<Arc<Access>> {
        if !is_disbelief(refusal) {
            return None;
        }
        match self.renewed(used).await {
            None => used.give_up(credential).await.then(|| used.clone()),
            renewed => renewed,
        }
    }

    /// Takes on a login with tokens.
    #[cfg(test)]
    pub(super) fn become_for_tests(&self, entra: super::access::Entra) {
        let (plan, access) = &*self.current.load_full();
        let tokens = super::tokens::Tokens::new(entra, &access.account, &self.options.container, self.http.clone());
        let access = Access {
            account: access.account.clone(),
            endpoint: access.endpoint.clone(),
            login: super::access::Login::Entra(Box::new(tokens.unwrap())),
            delegation: super::sas::Delegation::default(),
        };
        self.current.store(Arc::new((plan.clone(), Arc::new(access))));
    }

    async fn renewed(&self, used: &Arc<Access>) -> Option<Arc<Access>> {
        if self.options.credentials_directory.is_some() {
            self.look().await;
        }
        let access = self.current.load().1.clone();
        (!Arc::ptr_eq(&access, used)).then_some(access)
    }

    /// Whether it is time to look. The first to ask is told so, and looks for all.
    fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.at.elapsed() >= self.interval;
        if due {
            looked.at = Instant::now();
        }
        due
    }

    async fn look(&self) {
        let options = self.options.clone();
        let read = tokio::task::spawn_blocking(move || read_and_plan(&options));
        let read = read.await.unwrap_or_else(|stopped| Err(super::access::settings("credentials", stopped)));
        let changed = read.and_then(|plan| {
            if self.current.load().0 == plan {
                return Ok(None);
            }
            let access = Access::new(plan.clone(), &self.options.container, &self.http)?;
            Ok(Some((plan, Arc::new(access))))
        });
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.at = Instant::now();
        match changed {
            Ok(None) => looked.wrong = None,
            Ok(Some(current)) => {
                looked.wrong = None;
                self.current.store(Arc::new(current));
                tracing::info!(driver = "azure", "the credentials have changed; the new ones are in use");
            }
            Err(error) => {
                let text = error.to_string();
                if looked.wrong.as_ref() != Some(&text) {
                    tracing::warn!(driver = "azure", %error, "cannot use the new credentials; the old ones stay in use");
                    looked.wrong = Some(text);
                }
            }
        }
    }
}

/// Whether the store does not believe that we are who we say.
fn is_disbelief(refusal: &Refusal) -> bool {
    let code = refusal.code.as_str();
    matches!((refusal.status, code), (401, _) | (403, "" | "AuthenticationFailed" | "InvalidAuthenticationInfo"))
}

fn read_and_plan(options: &AzureOptions) -> Result<Plan, StoreError> {
    let files = match &options.credentials_directory {
        Some(directory) => read(directory)?,
        None => Files::default(),
    };
    plan(options, &files, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn read(directory: &Path) -> Result<Files, StoreError> {
    let file = |name: &str| read_file(&directory.join(name));
    Ok(Files { accountkey: file("accountkey")?, connectionstring: file("connectionstring")?, secret: file("secret")? })
}

/// What a file holds, without the white space around it; none if there is no such file, or nothing in it.
fn read_file(path: &Path) -> Result<Option<String>, StoreError> {
    let wrong = |source: BoxError| StoreError::Settings { key: path.display().to_string(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.into())),
    };
    let mut content = String::new();
    let read = std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_FILE_BYTES), &mut content);
    read.map_err(|error| wrong(error.into()))?;
    Ok(Some(content.trim().to_owned()).filter(|content| !content.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trust;
    use crate::azure::access::Login;

    /// The key in use, as text.
    fn key(access: &Access) -> String {
        match &access.login {
            Login::Key { bytes, .. } => String::from_utf8(bytes.clone()).unwrap(),
            _ => unreachable!("only keys are used here"),
        }
    }

    #[tokio::test]
    async fn credentials_that_change_are_used_and_broken_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("accountkey");
        std::fs::write(&path, "b25l\n").unwrap();
        let options = AzureOptions {
            account_name: "acct".into(),
            realm: "core.windows.net".into(),
            credentials_directory: Some(directory.path().to_owned()),
            ..AzureOptions::default()
        };
        let credentials = Credentials::open(options, Http::new(&Trust::default()).unwrap()).unwrap();
        let first = credentials.access().await;
        assert_eq!(key(&first), "one");
        assert!(credentials.renewed(&first).await.is_none());

        std::fs::write(&path, "no base64!").unwrap();
        assert!(credentials.renewed(&first).await.is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(credentials.renewed(&first).await.is_none());
        assert_eq!(key(credentials.access().await.as_ref()), "one");

        std::fs::write(&path, "dHdv").unwrap();
        let second = credentials.renewed(&first).await.unwrap();
        assert_eq!(key(&second), "two");
        assert_eq!(key(credentials.access().await.as_ref()), "two");
    }
}
