//! A container of Azure Blob Storage.
//!
//! `object_store` has the credentials and signs requests; the requests themselves are made here, for the words of the
//! service are wanted that it does not hand out, and names that it does not allow. Objects are block blobs; what CNCF
//! Distribution has left there may be append blobs, which are read like the others, and replaced with more effort
//! (`object`, `parts`). What a copy leaves behind that is not done, or has failed, is no object.
//!
//! What the objects are for is not known here, and nothing is tried again.

mod access;
mod answer;
mod batch;
mod client;
mod connection;
mod copy;
mod credentials;
mod entra;
#[cfg(test)]
mod fake;
mod listing;
mod names;
mod object;
mod options;
mod parts;
mod probe;
mod sas;
mod tokens;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;

use self::access::{Access, Login};
use self::answer::Subject;
use self::client::{Call, Client, Target};
use self::credentials::Credentials;
use self::names::{Names, Naming};
use self::sas::{DelegationKey, Grant, Signer, Window, later, written};
use crate::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag};
use crate::http::Http;
use crate::presign::Presign;
use crate::{ByteRange, Key, Object, Stat, StoreError};

pub use options::{AzureLogin, AzureOptions};

/// The size of a part, in bytes: 50,000 of them make 390 GiB.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// The most blocks of a blob.
const MAX_PARTS: usize = 50_000;
/// The most bytes of a block.
const MAX_COPY_BYTES: u64 = 4000 << 20;
/// How many parts are copied at once.
const COPIES_AT_ONCE: usize = 16;
/// The most that is read of a key to sign with.
const MAX_KEY_BYTES: usize = 64 * 1024;

/// The container.
pub struct Azure {
    client: Client,
    place: Arc<str>,
    naming: Naming,
    found_naming: tokio::sync::OnceCell<Names>,
    abilities: OnceLock<Abilities>,
    copy_patience: Duration,
}

impl Azure {
    /// Opens a container. Nothing is asked of the service: that is what [`Bucket::check`] and [`Bucket::probe`] are for.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when the settings cannot be right, or a file of credentials cannot be read.
    pub async fn open(options: AzureOptions) -> Result<Self, StoreError> {
        if options.container.is_empty() || options.container.contains(['/', '?', '#']) {
            return Err(access::settings("container", "must be the name of a container"));
        }
        let http = Http::new(&options.trust)?;
        let (container, naming) = (options.container.clone(), Naming::of(&options.root_directory));
        let directory = options.root_directory.trim_matches('/').to_owned();
        let credentials = Credentials::open(options, http.clone())?;
        let client = Client::new(http, credentials, container);
        let place = format!("azure://{}/{}/{directory}", client.access().await.account, client.container());
        Ok(Azure {
            client,
            place: place.trim_end_matches('/').into(),
            naming,
            found_naming: tokio::sync::OnceCell::new(),
            abilities: OnceLock::new(),
            copy_patience: copy::PATIENCE,
        })
    }

    /// What a request about an object is about.
    fn subject<'a>(&'a self, key: &'a Key, action: &'static str) -> Subject<'a> {
        Subject { key: Some(key), ..self.place_subject(action) }
    }

    /// What a request about the container is about.
    fn place_subject(&self, action: &'static str) -> Subject<'_> {
        Subject { key: None, place: &self.place, action }
    }

    fn known_abilities(&self) -> Abilities {
        self.abilities.get().copied().unwrap_or(probe::LEAST)
    }

    /// A key that the service gives out to sign addresses with.
    async fn delegation_key(&self, window: Window) -> Result<DelegationKey, StoreError> {
        let subject = self.place_subject("get a key to sign addresses with");
        let (start, end) = (written(window.start), written(window.end));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{start}</Start><Expiry>{end}</Expiry></KeyInfo>"
        );
        let call = Call::new(subject, Method::POST, Target::Account).query("restype", "service");
        let answer = self.client.send(call.query("comp", "userdelegationkey").xml(body)).await?;
        let body = subject.read(answer.into_body(), MAX_KEY_BYTES).await?;
        answer::xml(&body).map_err(|error| subject.unreachable(error))
    }
}

#[async_trait]
impl Bucket for Azure {
    fn driver(&self) -> &'static str {
        "azure"
    }

    fn place(&self) -> String {
        self.place.to_string()
    }

    fn abilities(&self) -> Abilities {
        self.known_abilities()
    }

    fn limits(&self) -> Limits {
        Limits {
            chunk_bytes: CHUNK_BYTES,
            min_part_bytes: 1,
            max_parts: MAX_PARTS,
            max_copy_bytes: MAX_COPY_BYTES,
            copies_at_once: COPIES_AT_ONCE,
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        // Whoever may use a container may list it, but not always ask what it is like.
        let nothing = "berth/v1/check/";
        self.has_any(nothing).await.map(|_| ())
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        self.find_abilities().await
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.stat(key).await
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        self.open_object(key, range).await
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.write(key, content).await
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.write_new(key, content).await
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.copy_over(from, to).await
    }

    async fn copy_sized(&self, from: &Key, to: &Key, size: u64) -> Result<(), StoreError> {
        if self.keep(to, size).await? {
            return Ok(());
        }
        self.copy_over(from, to).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.erase(key).await
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.erase_all(keys).await
    }

    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        self.page(listing, self.known_abilities().lists_from_anywhere).await
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        self.begin(to).await
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.write_part(to, assembly, number, content).await
    }

    async fn copy_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        _size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        self.copy_to_part(to, assembly, number, from, range).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        self.complete(to, assembly, &parts, size).await
    }

    async fn abort_parts(&self, _to: &Key, _assembly: &Assembly) -> Result<(), StoreError> {
        // There is no such request: the service forgets blocks by itself.
        Ok(())
    }

    async fn adopt_parts(&self, _key: &Key) -> Result<Option<Stat>, StoreError> {
        // An upload of another program is a blob between two requests.
        Ok(None)
    }

    async fn remove_leftovers(&self, _below: &Key, _before: SystemTime) -> Result<u64, StoreError> {
        // The service forgets blocks by itself, a week after the last.
        Ok(0)
    }
}

#[async_trait]
impl Presign for Azure {
    async fn presign(&self, key: &Key, validity: Duration) -> Result<Option<String>, StoreError> {
        let (access, name) = (self.client.access().await, self.name(key).await?);
        let grant = Grant {
            account: &access.account,
            container: self.client.container(),
            blob: &name,
            expires: later(jiff::Timestamp::now(), validity),
            encrypted: access.is_encrypted(),
        };
        let query = match &access.login {
            Login::Key { bytes, .. } => grant.sign(&Signer::Account(bytes))?,
            // Whoever is given it would be given all that it allows.
            Login::Signature(_) => return Ok(None),
            Login::Entra(_) => {
                let window = Window::of(jiff::Timestamp::now(), validity);
                let key = access.delegation.key(window, |window| self.delegation_key(window)).await;
                let Some(key) = key else { return Ok(None) };
                grant.sign(&Signer::Delegated(&key))?
            }
        };
        Ok(Some(format!("{}?{query}", access.blob(self.client.container(), &name))))
    }
}

impl Access {
    /// Whether the account is reached over TLS.
    fn is_encrypted(&self) -> bool {
        self.endpoint.starts_with("https://")
    }
}

#[cfg(test)]
mod tests;
