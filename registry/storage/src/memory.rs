//! A store in the memory of the process, gone with it: for tests and for trying things out.
//!
//! One map of keys under one lock. A body is collected outside the lock, so a slow client holds nobody up.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use berth_oci::{Algorithm, Digest, Hasher};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};

use crate::layout::UploadKey;
use crate::store::{
    Appended, ByteRange, Cursor, Entry, EntryKind, Exclude, Excluded, Incoming, ListRequest, MAX_PAGE, Object,
    Outgoing, Page, Progress, Written, clamp, not_directly,
};
use crate::{Key, Stat, Store, StoreError};

/// The size of the pieces that an object is given out in, in bytes.
const PIECE_BYTES: usize = 512 * 1024;

/// The store in memory.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<Objects>,
}

type Objects = BTreeMap<String, Held>;

#[derive(Clone, Debug)]
struct Held {
    content: Content,
    modified: SystemTime,
}

/// An object is frozen; the data of an upload still grows.
#[derive(Clone, Debug)]
enum Content {
    Object(Bytes),
    Upload(BytesMut),
}

impl Held {
    fn object(content: Bytes) -> Self {
        Held { content: Content::Object(content), modified: SystemTime::now() }
    }

    fn bytes(&self) -> Bytes {
        match &self.content {
            Content::Object(content) => content.clone(),
            Content::Upload(content) => Bytes::copy_from_slice(content),
        }
    }

    fn stat(&self) -> Stat {
        let size = match &self.content {
            Content::Object(content) => content.len(),
            Content::Upload(content) => content.len(),
        };
        Stat { size: size as u64, modified: self.modified }
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Memory::default()
    }

    /// The map stays whole even if a holder of the lock panicked: every change is one call.
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, key: &Key) -> Result<Held, StoreError> {
        self.objects().get(key.as_str()).cloned().ok_or_else(|| StoreError::not_found(key))
    }
}

#[async_trait]
impl Exclude for Memory {
    async fn exclude(&self) -> Result<Excluded, StoreError> {
        Ok(Excluded::by_nature())
    }

    async fn prepare_to_write(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Store for Memory {
    fn driver(&self) -> &'static str {
        "inmemory"
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        "the memory of the process".to_owned()
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn stat(&self, key: &Key) -> Result<Stat, StoreError> {
        self.objects().get(key.as_str()).map(Held::stat).ok_or_else(|| StoreError::not_found(key))
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let held = self.held(key)?;
        let stat = held.stat();
        let range = clamp(key, range, stat.size)?;
        let mut rest = held.bytes().slice(range.start as usize..range.end as usize);
        let mut pieces = Vec::with_capacity(rest.len().div_ceil(PIECE_BYTES));
        while !rest.is_empty() {
            pieces.push(Ok(rest.split_to(PIECE_BYTES.min(rest.len()))));
        }
        Ok(Object { stat, range, body: Box::pin(stream::iter(pieces)) })
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.objects().insert(key.to_string(), Held::object(content));
        Ok(())
    }

    async fn put_if_absent(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let mut objects = self.objects();
        if objects.contains_key(key.as_str()) {
            return Err(StoreError::AlreadyExists { key: key.to_string() });
        }
        objects.insert(key.to_string(), Held::object(content));
        Ok(())
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let content = self.held(from)?.bytes();
        self.put(to, content).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.objects().remove(key.as_str()).map(|_| ()).ok_or_else(|| StoreError::not_found(key))
    }

    async fn delete_below(&self, below: &Key) -> Result<u64, StoreError> {
        let mut objects = self.objects();
        let (prefix, before) = (format!("{below}/"), objects.len());
        objects.retain(|key, _| !key.starts_with(&prefix));
        Ok((before - objects.len()) as u64)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<Page, StoreError> {
        let ListRequest { below, behind, one_level, after, limit } = request;
        let limit = limit.clamp(1, MAX_PAGE);
        let prefix = format!("{below}/");
        let behind = format!("{prefix}{}", behind.unwrap_or_default());
        let mut lower = after.map_or_else(|| behind.clone(), |cursor| cursor.0.clone());
        let mut entries = Vec::new();
        let objects = self.objects();
        loop {
            let next = objects.range::<str, _>((Bound::Excluded(lower.as_str()), Bound::Unbounded)).next();
            let Some((text, held)) = next.filter(|(text, _)| text.starts_with(&prefix)) else {
                return Ok(Page { entries, next: None });
            };
            if entries.len() == limit {
                return Ok(Page { entries, next: Some(Cursor(lower)) });
            }
            match text[prefix.len()..].find('/') {
                Some(at) if one_level => {
                    let directory = &text[..prefix.len() + at];
                    if text[..=prefix.len() + at] > *behind {
                        entries.push(Entry { key: directory.parse()?, kind: EntryKind::Directory });
                    }
                    // Behind everything that begins with the directory and a slash.
                    lower = format!("{directory}/\u{10ffff}");
                }
                _ => {
                    entries.push(Entry { key: text.parse()?, kind: EntryKind::Object(held.stat()) });
                    lower.clone_from(text);
                }
            }
        }
    }

    async fn begin(&self, upload: &UploadKey, started_at: Bytes) -> Result<Progress, StoreError> {
        self.put(&upload.started_at(), started_at).await?;
        Ok(Progress::of_file(0, None))
    }

    async fn resume(&self, upload: &UploadKey, _expected: Option<u64>) -> Result<Progress, StoreError> {
        let objects = self.objects();
        if !objects.contains_key(upload.started_at().as_str()) {
            return Err(StoreError::not_found(upload.directory()));
        }
        let offset = objects.get(upload.data().as_str()).map_or(0, |held| held.stat().size);
        Ok(Progress::of_file(offset, None))
    }

    async fn append(&self, upload: &UploadKey, from: Progress, mut body: Incoming) -> Result<Appended, StoreError> {
        let found = self.resume(upload, None).await?.offset;
        let data = upload.data();
        let mut hasher = from.hasher.unwrap_or_else(|| Hasher::new(Algorithm::Sha256));
        if found != from.offset {
            return Err(StoreError::Offset { key: data.to_string(), expected: from.offset, found });
        }
        let mut offset = found;
        let interrupted = loop {
            match body.next().await {
                None => break None,
                Some(Err(error)) => break Some(error),
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    offset += piece.len() as u64;
                    let mut objects = self.objects();
                    let held = objects.entry(data.to_string()).or_insert_with(|| Held {
                        content: Content::Upload(BytesMut::new()),
                        modified: SystemTime::now(),
                    });
                    held.modified = SystemTime::now();
                    if let Content::Upload(content) = &mut held.content {
                        content.extend_from_slice(&piece);
                    }
                }
            }
        };
        Ok(Appended { progress: Progress::of_file(offset, Some(hasher)), interrupted })
    }

    async fn read_upload(&self, upload: &UploadKey, progress: &Progress) -> Result<Outgoing, StoreError> {
        match progress.offset {
            0 => Ok(Box::pin(stream::empty())),
            _ => self.get(&upload.data(), None).await.map(|object| object.body),
        }
    }

    async fn finish(&self, upload: &UploadKey, progress: &Progress, to: &Key) -> Result<(), StoreError> {
        let size = progress.offset;
        let mut objects = self.objects();
        if !objects.contains_key(upload.started_at().as_str()) {
            return Err(StoreError::not_found(upload.directory()));
        }
        let data = upload.data();
        let found = objects.get(data.as_str()).map_or(0, |held| held.stat().size);
        if found != size {
            return Err(StoreError::Offset { key: data.to_string(), expected: size, found });
        }
        objects.remove(upload.started_at().as_str());
        let content = match objects.remove(data.as_str()).map(|held| held.content) {
            None => Bytes::new(),
            Some(Content::Object(content)) => content,
            Some(Content::Upload(content)) => content.freeze(),
        };
        match objects.get_mut(to.as_str()) {
            Some(kept) if kept.stat().size == size => kept.modified = SystemTime::now(),
            _ => {
                objects.insert(to.to_string(), Held::object(content));
            }
        }
        Ok(())
    }

    async fn abort(&self, upload: &UploadKey) -> Result<(), StoreError> {
        let mut objects = self.objects();
        let prefix = format!("{}/", upload.directory());
        let before = objects.len();
        objects.retain(|key, _| !key.starts_with(&prefix));
        if objects.len() == before {
            return Err(StoreError::not_found(upload.directory()));
        }
        Ok(())
    }

    async fn discard(&self, _upload: &UploadKey, _progress: &Progress) -> Result<(), StoreError> {
        // The data was moved.
        Ok(())
    }

    fn writes_directly(&self) -> bool {
        false
    }

    async fn write(&self, to: &Key, _digest: &Digest, _body: Incoming) -> Result<Written, StoreError> {
        Err(not_directly(to))
    }

    async fn remove_leftovers(&self, _below: &Key, _before: SystemTime) -> Result<u64, StoreError> {
        // Nothing outlives the process.
        Ok(0)
    }
}
