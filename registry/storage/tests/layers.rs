//! Random operations on a bucket in memory through all layers, while one request in five fails: what was acknowledged is
//! there, what was refused is not, and nothing is ever torn. What failed may have taken effect or not, and must say so clearly.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_storage::bucket::{Abilities, Bucket, Listing, Start};
use berth_storage::layers::{Faulty, RetryOptions, Shelf, ShelfOptions, StackOptions, stack};
use berth_storage::{ByteRange, Key, StoreError};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

const KEYS: usize = 6;

/// Numbers that are the same for a seed.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// What may lie at a key: one thing, until a request has failed.
type Possible = BTreeSet<Option<Bytes>>;

/// One who works on keys of his own, and knows what may lie there.
struct Worker {
    bucket: Arc<dyn Bucket>,
    below: Key,
    dice: Dice,
    model: BTreeMap<Key, Possible>,
    written: usize,
    failed: usize,
}

impl Worker {
    fn new(bucket: Arc<dyn Bucket>, number: usize, seed: u64) -> Self {
        let below: Key = format!("worker-{number}").parse().unwrap();
        let keys = (0..KEYS).map(|n| below.join(&format!("{}/{n}", n % 2)).unwrap());
        let model = keys.map(|key| (key, Possible::from([None]))).collect();
        Worker { bucket, below, dice: Dice(seed), model, written: 0, failed: 0 }
    }

    fn key(&mut self) -> Key {
        let at = self.dice.roll(KEYS);
        self.model.keys().nth(at).unwrap().clone()
    }

    /// Content that is written once, small or long.
    fn content(&mut self) -> Bytes {
        self.written += 1;
        let lines = [1, 20, 2_000, 8_000][self.dice.roll(4)] + self.dice.roll(10);
        let text = format!("{} {}\n", self.below, self.written);
        text.repeat(lines).into()
    }

    fn possible(&mut self, key: &Key) -> &mut Possible {
        self.model.get_mut(key).unwrap()
    }

    /// A request has failed: its error is about the request, and says that it may work later.
    fn failed(&mut self, error: &StoreError, key: &Key) {
        self.failed += 1;
        assert!(error.is_transient(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(key.as_str()) || text.starts_with("shelf: "), "{text}");
    }

    /// What is now there, or may be if the write has failed.
    fn wrote(&mut self, key: &Key, now: impl IntoIterator<Item = Option<Bytes>>, result: Result<(), StoreError>) {
        match result {
            Ok(()) => *self.possible(key) = now.into_iter().collect(),
            Err(error) => {
                self.failed(&error, key);
                self.possible(key).extend(now);
            }
        }
    }

    /// What was seen leaves what agrees with it, which must not be nothing.
    fn saw(&mut self, key: &Key, agrees: impl Fn(Option<&Bytes>) -> bool) {
        let possible = self.possible(key);
        possible.retain(|content| agrees(content.as_ref()));
        assert!(!possible.is_empty(), "{key}: what was seen cannot be");
    }

    async fn step(&mut self) {
        let bucket = self.bucket.clone();
        let key = self.key();
        match self.dice.roll(10) {
            0 => {
                let content = self.content();
                let result = bucket.put(&key, content.clone()).await;
                self.wrote(&key, [Some(content)], result);
            }
            1 => self.create(&key).await,
            2 => self.copy(&key).await,
            3 => match bucket.delete(&key).await {
                Err(StoreError::NotFound { .. }) => self.saw(&key, |content| content.is_none()),
                result => self.wrote(&key, [None], result),
            },
            4 => {
                let keys = [key, self.key()];
                match bucket.remove(&keys).await {
                    Ok(()) => keys.iter().for_each(|key| self.wrote(key, [None], Ok(()))),
                    Err(error) => {
                        self.failed(&error, &keys[0]);
                        keys.iter().for_each(|key| _ = self.possible(key).insert(None));
                    }
                }
            }
            5 => match bucket.head(&key).await {
                Ok(stat) => self.saw(&key, |content| content.is_some_and(|content| content.len() as u64 == stat.size)),
                Err(error) if error.is_not_found() => self.saw(&key, |content| content.is_none()),
                Err(error) => self.failed(&error, &key),
            },
            6 | 7 => self.read(&key).await,
            8 => self.list().await,
            _ => self.assemble(&key).await,
        }
    }

    async fn create(&mut self, key: &Key) {
        let content = self.content();
        match self.bucket.create(key, content.clone()).await {
            Ok(()) => {
                self.saw(key, |content| content.is_none());
                self.wrote(key, [Some(content)], Ok(()));
            }
            Err(StoreError::AlreadyExists { .. }) => self.saw(key, |content| content.is_some()),
            Err(error) => {
                self.failed(&error, key);
                if self.possible(key).contains(&None) {
                    self.possible(key).insert(Some(content));
                }
            }
        }
    }

    async fn copy(&mut self, to: &Key) {
        let from = self.key();
        let some: Vec<_> = self.possible(&from).iter().filter(|content| content.is_some()).cloned().collect();
        match self.bucket.copy(&from, to).await {
            Err(StoreError::NotFound { .. }) => self.saw(&from, |content| content.is_none()),
            result => {
                if result.is_ok() {
                    self.saw(&from, |content| content.is_some());
                }
                self.wrote(to, some, result);
            }
        }
    }

    async fn read(&mut self, key: &Key) {
        let start = self.dice.roll(2) * self.dice.roll(200_000);
        let range = (start > 0).then(|| ByteRange { start: start as u64, end: (start + 100_000) as u64 });
        let mut object = match self.bucket.get(key, range).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return self.saw(key, |content| content.is_none()),
            Err(StoreError::Range { size, .. }) => {
                return self.saw(key, |content| content.is_some_and(|content| content.len() as u64 == size));
            }
            Err(error) => return self.failed(&error, key),
        };
        let mut found = Vec::new();
        while let Some(piece) = object.body.next().await {
            match piece {
                Ok(piece) => found.extend_from_slice(&piece),
                Err(error) => {
                    self.failed(&error, key);
                    // What was given before is right all the same.
                    return self.saw(key, |content| part(content, start, usize::MAX).starts_with(&found));
                }
            }
        }
        let end = object.range.end as usize;
        self.saw(key, |content| content.is_some() && part(content, start, end) == found);
    }

    async fn list(&mut self) {
        let limit = 1 + self.dice.roll(KEYS);
        let (mut listed, mut token) = (BTreeMap::new(), None::<String>);
        loop {
            let start = token.as_deref().map_or(Start::First, Start::Page);
            let below = self.below.clone();
            match self.bucket.list(Listing { below: &below, one_level: false, start, limit }).await {
                Ok(page) => {
                    listed.extend(page.objects.into_iter().map(|(name, stat)| (name, stat.size)));
                    token = page.next;
                }
                Err(error) => return self.failed(&error, &below),
            }
            if token.is_none() {
                break;
            }
        }
        for key in self.model.keys().cloned().collect::<Vec<_>>() {
            let size = listed.remove(key.as_str());
            self.saw(&key, |content| content.map(|content| content.len() as u64) == size);
        }
        assert!(listed.is_empty(), "{listed:?}");
    }

    async fn assemble(&mut self, key: &Key) {
        let bucket = self.bucket.clone();
        let least = bucket.limits().min_part_bytes as usize;
        let count = 1 + self.dice.roll(4);
        let parts: Vec<Bytes> = (1..=count)
            .map(|number| {
                let part = self.content();
                // Only the last may be small.
                let times = if number < count { least.div_ceil(part.len()) } else { 1 };
                part.repeat(times).into()
            })
            .collect();
        let all: Bytes = parts.concat().into();

        let assembly = match bucket.begin_parts(key).await {
            Ok(assembly) => assembly,
            Err(error) => return self.failed(&error, key),
        };
        let put = |(at, part): (usize, &Bytes)| bucket.put_part(key, &assembly, at + 1, part.clone());
        let tags: Result<Vec<_>, _> = join_all(parts.iter().enumerate().map(put)).await.into_iter().collect();
        match tags {
            Ok(tags) if self.dice.roll(5) > 0 => {
                let result = bucket.complete_parts(key, &assembly, tags, all.len() as u64).await;
                self.wrote(key, [Some(all)], result);
            }
            tags => {
                if let Err(error) = tags {
                    self.failed(&error, key);
                }
                if let Err(error) = bucket.abort_parts(key, &assembly).await {
                    self.failed(&error, key);
                }
            }
        }
    }
}

/// A part of what may lie at a key, as far as it reaches.
fn part(content: Option<&Bytes>, start: usize, end: usize) -> &[u8] {
    let content = content.map_or(&[][..], |content| content);
    &content[start.min(content.len())..end.min(content.len())]
}

/// Every layer over a bucket in memory, of whose requests so many of a thousand fail.
fn layers(options: ShelfOptions, max_tries: u32, per_mille: u16, seed: u64) -> (Arc<Shelf>, Arc<dyn Bucket>) {
    let shelf = Arc::new(Shelf::new(options));
    let faulty = Arc::new(Faulty::random(shelf.clone(), per_mille, seed));
    let retry = RetryOptions { max_tries, ..RetryOptions::default() };
    (shelf, stack(faulty, &StackOptions { retry, max_requests: 3 }, Arc::new(())))
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_and_nothing_is_torn_while_requests_fail() {
    let rich = ShelfOptions::default();
    let abilities = Abilities {
        creates_atomically: true,
        removes_many: false,
        copies_parts: false,
        lists_from_anywhere: false,
        lists_at_once: true,
    };
    let poor = ShelfOptions { abilities, max_page: 2, piece_bytes: 1000, ..rich };
    for (max_tries, most_failures) in [(1, 800), (2, 200), (5, 8)] {
        for (seed, options) in [(1, rich), (2, poor)] {
            let (shelf, bucket) = layers(options, max_tries, 200, seed);
            let mut workers: Vec<Worker> =
                (0..4).map(|n| Worker::new(bucket.clone(), n, seed * 10 + n as u64)).collect();
            join_all(workers.iter_mut().map(|worker| async {
                for _ in 0..500 {
                    worker.step().await;
                }
            }))
            .await;
            let failed: usize = workers.iter().map(|worker| worker.failed).sum();
            println!("{max_tries} tries, seed {seed}: {failed} of 2000 operations failed");
            assert!(failed <= most_failures, "{failed} of 2000 failed with {max_tries} tries");
            for worker in workers {
                for (key, possible) in worker.model {
                    let found = shelf.peek(key.as_str());
                    assert!(possible.contains(&found), "{key}: {:?} bytes", found.map(|content| content.len()));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_several_creates_an_object_though_answers_are_lost() {
    let (shelf, bucket) = layers(ShelfOptions::default(), 5, 300, 7);
    let mut won = 0;
    for round in 0..200 {
        let key: Key = format!("race/{round}").parse().unwrap();
        let write = async |writer: usize| (writer, bucket.create(&key, Bytes::from(format!("writer {writer}"))).await);
        let answers = join_all((0..8).map(write)).await;
        let winners: Vec<usize> =
            answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(writer, _)| *writer).collect();
        assert!(winners.len() <= 1, "round {round}: {winners:?}");
        if let Some(winner) = winners.first() {
            assert_eq!(shelf.peek(key.as_str()).unwrap(), format!("writer {winner}"));
            won += 1;
        }
    }
    assert!(won > 190, "{won} of 200 rounds had a winner that knew of it");
}
