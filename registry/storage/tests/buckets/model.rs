//! A bucket in memory that does what the trait says: the suite is tried on it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use async_trait::async_trait;
use berth_storage::bucket::{Abilities, Assembly, Bucket, Limits, Listed, Listing, PartTag, Start};
use berth_storage::{ByteRange, Key, Object, Refusal, Stat, StoreError};
use bytes::Bytes;
use futures::stream;

use crate::subject::Subject;

pub(crate) fn subject() -> Subject {
    let model = Model::default();
    let none = "a model in memory needs nothing of the kind";
    Subject {
        server: "memory",
        version: String::new(),
        bucket: Arc::new(model.clone()),
        other: Arc::new(model),
        presign: Err(none),
        large_bytes: 100_000,
        wrong_credentials: Err(none),
        missing_bucket: Err(none),
        wrong_clock: Err(none),
        nobody: Err(none),
        files: Err(none),
        through: Err(none),
        lacks: vec![("what_nobody_completes_is_removed", "nothing outlives the test")],
        secrets: Vec::new(),
        kept: Vec::new(),
    }
}

#[derive(Clone, Default)]
struct Model(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, (Bytes, SystemTime)>,
    assemblies: BTreeMap<String, (String, BTreeMap<usize, Bytes>)>,
    begun: usize,
}

impl Model {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn object(&self, key: &Key) -> Result<(Bytes, Stat), StoreError> {
        let found = self.state().objects.get(key.as_str()).cloned();
        let (content, modified) = found.ok_or_else(|| StoreError::not_found(key))?;
        let stat = Stat { size: content.len() as u64, modified };
        Ok((content, stat))
    }
}

impl State {
    fn write(&mut self, key: &Key, content: Bytes) {
        self.objects.insert(key.to_string(), (content, SystemTime::now()));
    }

    fn parts(&mut self, to: &Key, assembly: &Assembly) -> Result<&mut BTreeMap<usize, Bytes>, StoreError> {
        match self.assemblies.get_mut(&assembly.0) {
            Some((at, parts)) if at == to.as_str() => Ok(parts),
            _ => Err(StoreError::Service {
                key: to.to_string(),
                action: "write a part",
                refusal: Box::new(Refusal { status: 404, code: "NoSuchUpload".into(), message: String::new() }),
            }),
        }
    }
}

impl State {
    fn adopt(&mut self, key: &Key) -> bool {
        let Some((id, (_, parts))) = self.assemblies.iter().find(|(_, (at, _))| at == key.as_str()) else {
            return false;
        };
        let (id, content) = (id.clone(), parts.values().cloned().collect::<Vec<_>>().concat());
        self.assemblies.remove(&id);
        if !content.is_empty() || !self.objects.contains_key(key.as_str()) {
            self.write(key, content.into());
        }
        true
    }
}

#[async_trait]
impl Bucket for Model {
    fn driver(&self) -> &'static str {
        "model"
    }

    fn place(&self) -> String {
        "model://".to_owned()
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            creates_atomically: true,
            removes_many: true,
            copies_parts: true,
            lists_from_anywhere: true,
            lists_at_once: true,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            chunk_bytes: 100_000,
            min_part_bytes: 10_000,
            max_parts: 100,
            max_copy_bytes: 30_000,
            copies_at_once: 4,
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn probe(&self) -> Result<Abilities, StoreError> {
        Ok(self.abilities())
    }

    async fn head(&self, key: &Key) -> Result<Stat, StoreError> {
        self.object(key).map(|(_, stat)| stat)
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>) -> Result<Object, StoreError> {
        let (content, stat) = self.object(key)?;
        let range = match range {
            None => ByteRange { start: 0, end: stat.size },
            Some(ByteRange { start, end }) if start >= stat.size || start >= end => {
                return Err(StoreError::Range { key: key.to_string(), start, size: stat.size });
            }
            Some(ByteRange { start, end }) => ByteRange { start, end: end.min(stat.size) },
        };
        let part = content.slice(range.start as usize..range.end as usize);
        Ok(Object { stat, range, body: Box::pin(stream::iter([Ok(part)])) })
    }

    async fn put(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        self.state().write(key, content);
        Ok(())
    }

    async fn create(&self, key: &Key, content: Bytes) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.objects.contains_key(key.as_str()) {
            return Err(StoreError::AlreadyExists { key: key.to_string() });
        }
        state.write(key, content);
        Ok(())
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (content, _) = self.object(from)?;
        self.put(to, content).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.state().objects.remove(key.as_str()).map(drop).ok_or_else(|| StoreError::not_found(key))
    }

    async fn remove(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.state().objects.retain(|name, _| !keys.iter().any(|key| key.as_str() == name));
        Ok(())
    }

    /// The next page begins behind the last entry of this one, which is all that a page's text says.
    async fn list(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        let Listing { below, one_level, start, limit } = listing;
        let prefix = format!("{below}/");
        let behind = match start {
            Start::First => String::new(),
            Start::Page(text) | Start::Behind(text) => text.to_owned(),
        };
        let (mut listed, mut last) = (Listed::default(), String::new());
        let state = self.state();
        let from = (Bound::Excluded(prefix.as_str()), Bound::Unbounded);
        for (name, (content, modified)) in state.objects.range::<str, _>(from) {
            let Some(rest) = name.strip_prefix(&prefix) else { break };
            let directory = rest.split_once('/').map(|(first, _)| first).filter(|_| one_level);
            let entry = directory.map_or_else(|| rest.to_owned(), |directory| format!("{directory}/"));
            if entry <= behind || entry == last {
                continue;
            }
            if listed.objects.len() + listed.directories.len() == limit.min(1000) {
                listed.next = Some(last);
                break;
            }
            match directory {
                Some(directory) => listed.directories.push(format!("{prefix}{directory}")),
                None => {
                    let stat = Stat { size: content.len() as u64, modified: *modified };
                    listed.objects.push((name.clone(), stat));
                }
            }
            last = entry;
        }
        Ok(listed)
    }

    async fn begin_parts(&self, to: &Key) -> Result<Assembly, StoreError> {
        let mut state = self.state();
        state.begun += 1;
        let id = format!("assembly {:04}", state.begun);
        state.assemblies.insert(id.clone(), (to.to_string(), BTreeMap::new()));
        Ok(Assembly(id))
    }

    async fn put_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        self.state().parts(to, assembly)?.insert(number, content);
        Ok(PartTag(number.to_string()))
    }

    async fn copy_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        size: u64,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        let (content, stat) = self.object(from)?;
        assert_eq!(stat.size, size, "{from}");
        let ByteRange { start, end } = range.unwrap_or(ByteRange { start: 0, end: size });
        let content = content.slice(start as usize..end as usize);
        self.put_part(to, assembly, number, content).await
    }

    async fn complete_parts(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let held = match state.parts(to, assembly).map(|parts| parts.clone()) {
            Ok(held) => held,
            // Tried again after an answer that was lost.
            Err(_) if state.objects.get(to.as_str()).is_some_and(|(content, _)| content.len() as u64 == size) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let content: Vec<Bytes> = parts.iter().map(|PartTag(tag)| held[&tag.parse().unwrap()].clone()).collect();
        let content = content.concat();
        assert_eq!(content.len() as u64, size, "{to}");
        state.assemblies.remove(&assembly.0);
        state.write(to, content.into());
        Ok(())
    }

    async fn abort_parts(&self, _to: &Key, assembly: &Assembly) -> Result<(), StoreError> {
        self.state().assemblies.remove(&assembly.0);
        Ok(())
    }

    async fn adopt_parts(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        if !self.state().adopt(key) {
            return Ok(None);
        }
        self.head(key).await.map(Some)
    }

    async fn remove_leftovers(&self, _below: &Key, _before: SystemTime) -> Result<u64, StoreError> {
        // Nothing outlives the test.
        Ok(0)
    }
}
