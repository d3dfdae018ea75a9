//! Manifests and small blobs that were read a moment ago, kept in memory.
//!
//! *The content* of a digest never changes, so it may be kept for as long as there is room. It is kept only if it has the
//! digest that it lies under: what a crash or a disk has damaged is read again every time, and so is seen as soon as it
//! is mended. Room is bounded in bytes; there are two generations, and what was not asked for while the younger one
//! filled up is forgotten.
//!
//! *That a repository has it* can change, and is believed for one second, or for half a minute where every look is a request
//! to another machine ([`believed`]) and word of the removals of others is looked for (`news.rs`), and never after a removal
//! that this process has made or has had word of ([`Removals`]): then the link is looked at again, which is cheap. So a
//! deletion by another process, such as a second server on the same directory, goes unnoticed by readers for a second. Take a
//! reader that looks, finds the link and remembers it, and a deletion. The reader takes its [`Mark`] before it looks. If
//! the removal has been counted by then, it is complete, and the look does not find the link. If not, the count changes
//! after the mark was taken, and what is remembered under that mark is worth nothing once the deletion is acknowledged.
//! Whatever is concluded from what is believed here is remembered under the mark of the look, not of the conclusion: or
//! else what is asked for again and again would never be looked at.
//!
//! What a client *fetches* is answered from here; that content *exists* is never said from here without the guard
//! (`gc/guard.rs`), and while a collection runs, every request passes through the guard first.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_oci::{Digest, RepositoryName};
use tokio::time::Instant;

use crate::removals::Removals;

/// How long it is believed that a repository still has what it had.
const BELIEVED: Duration = Duration::from_secs(1);
/// The same where a look is a request to another machine, and the removals of others are known.
const BELIEVED_FROM_AFAR: Duration = Duration::from_secs(30);
/// The largest content that is kept, in bytes: more than any but the oddest manifest, and than configurations of images.
pub(crate) const MAX_CONTENT_BYTES: usize = 64 * 1024;
/// The most that is kept of one kind of content, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Over how many locks the content is spread.
const SHARDS: usize = 16;
/// What an entry takes besides its content and its places, in bytes.
const ENTRY_BYTES: usize = 512;
/// Of how many repositories it is remembered that they have the same content.
const MAX_PLACES: usize = 8;
/// What a place takes besides the name of its repository, in bytes.
const PLACE_BYTES: usize = 128;

/// The moment before a look at the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    at: Instant,
    removals: u64,
}

/// Content of one kind, by digest.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    removals: Removals,
    believed: Duration,
    shards: Vec<Mutex<Shard<T>>>,
}

/// How long what was seen is believed.
#[derive(Clone, Copy, Debug)]
struct Belief {
    longest: Duration,
    /// Since when the removals of other replicas are known; none if they are not.
    since: Option<Instant>,
}

impl Belief {
    fn holds(&self, mark: &Mark, now: Mark) -> bool {
        let is_known = self.since.is_some_and(|since| mark.at >= since);
        now.at.duration_since(mark.at) < if is_known { self.longest } else { self.longest.min(BELIEVED) }
    }
}

/// How long it is believed that a repository of a store still has what it had.
pub(crate) fn believed(is_remote: bool) -> Duration {
    if is_remote { BELIEVED_FROM_AFAR } else { BELIEVED }
}

#[derive(Debug)]
struct Shard<T> {
    young: HashMap<Digest, Entry<T>>,
    old: HashMap<Digest, Entry<T>>,
    /// What the younger generation takes.
    young_bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    content: T,
    /// What the content takes.
    bytes: usize,
    /// Who had it when, the latest first.
    places: Vec<(RepositoryName, Mark)>,
}

/// What is known of a digest in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// The repository has it.
    Present(T),
    /// This is the content; whether the repository has it must be looked at.
    Content(T),
    /// Nothing.
    Nothing,
}

impl<T: Clone> Recent<T> {
    /// Nothing yet, of a store whose removals are counted; what is there is believed to be there for so long.
    pub(crate) fn new(removals: Removals, believed: Duration) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 });
        Recent { removals, believed, shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// How long it is believed now that something is there.
    fn belief(&self) -> Belief {
        let is_far = self.believed > BELIEVED;
        Belief { longest: self.believed, since: is_far.then(|| self.removals.watched_since()).flatten() }
    }

    /// To be taken before the look at the store whose outcome is remembered.
    pub(crate) fn mark(&self) -> Mark {
        Mark { at: Instant::now(), removals: self.removals.so_far() }
    }

    pub(crate) fn find(&self, name: &RepositoryName, digest: &Digest) -> Known<T> {
        let now = self.mark();
        let mut shard = self.shard(digest);
        if let Some(entry) = shard.young.get(digest) {
            return entry.known(name, now, self.belief());
        }
        if !shard.promote(digest) {
            return Known::Nothing;
        }
        shard.young.get(digest).map_or(Known::Nothing, |entry| entry.known(name, now, self.belief()))
    }

    /// When it was looked at that a repository has this, if it is believed still.
    pub(crate) fn seen(&self, name: &RepositoryName, digest: &Digest) -> Option<Mark> {
        let now = self.mark();
        let mut shard = self.shard(digest);
        if !shard.young.contains_key(digest) && !shard.promote(digest) {
            return None;
        }
        shard.young.get(digest).and_then(|entry| entry.seen(name, now, self.belief()))
    }

    /// Remembers that a repository has content with this digest, `bytes` long, which was looked for after `mark`.
    pub(crate) fn keep(&self, mark: Mark, name: &RepositoryName, digest: &Digest, bytes: usize, content: T) {
        if bytes > MAX_CONTENT_BYTES {
            return;
        }
        let mut shard = self.shard(digest);
        // Counted anew: a place more is more to remember.
        let mut entry = shard.take(digest).unwrap_or(Entry { content, bytes, places: Vec::new() });
        entry.note(name, mark);
        shard.insert(digest.clone(), entry);
    }

    /// Every change is complete before anything can panic, so a poisoned lock is as good as another.
    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard<T>> {
        // A digest is as evenly spread as any hash of it.
        let last = digest.as_str().bytes().last().unwrap_or_default();
        self.shards[usize::from(last) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Entry<T> {
    /// What all of it takes.
    fn weight(&self) -> usize {
        let places: usize = self.places.iter().map(|(name, _)| name.as_str().len() + PLACE_BYTES).sum();
        self.bytes + ENTRY_BYTES + places
    }

    /// Notes that a repository has it. Of two looks the later one counts.
    fn note(&mut self, name: &RepositoryName, mark: Mark) {
        let known = self.places.iter().position(|(place, _)| place == name).map(|at| self.places.remove(at).1);
        let mark = known.filter(|known| known.at > mark.at).unwrap_or(mark);
        self.places.truncate(MAX_PLACES - 1);
        self.places.insert(0, (name.clone(), mark));
    }

    fn seen(&self, name: &RepositoryName, now: Mark, belief: Belief) -> Option<Mark> {
        let is_believed = |mark: &Mark| mark.removals == now.removals && belief.holds(mark, now);
        self.places.iter().find(|(place, _)| place == name).map(|(_, mark)| *mark).filter(is_believed)
    }
}

impl<T: Clone> Entry<T> {
    fn known(&self, name: &RepositoryName, now: Mark, belief: Belief) -> Known<T> {
        match self.seen(name, now, belief) {
            Some(_) => Known::Present(self.content.clone()),
            None => Known::Content(self.content.clone()),
        }
    }
}

impl<T> Shard<T> {
    /// Makes an old entry young again.
    fn promote(&mut self, digest: &Digest) -> bool {
        let Some((digest, entry)) = self.old.remove_entry(digest) else { return false };
        self.insert(digest, entry);
        true
    }

    fn take(&mut self, digest: &Digest) -> Option<Entry<T>> {
        let Some(entry) = self.young.remove(digest) else { return self.old.remove(digest) };
        self.young_bytes -= entry.weight();
        Some(entry)
    }

    fn insert(&mut self, digest: Digest, entry: Entry<T>) {
        let weight = entry.weight();
        if self.young_bytes + weight > MAX_BYTES / SHARDS / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += weight;
        self.young.insert(digest, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn presence_is_believed_of_the_repository_that_was_looked_at() {
        let recent = Recent::new(Removals::default(), BELIEVED);
        let digest = Digest::sha256(b"x");
        assert_eq!(recent.find(&name("a"), &digest), Known::Nothing);
        recent.keep(recent.mark(), &name("a"), &digest, 1, 'x');
        assert_eq!(recent.find(&name("a"), &digest), Known::Present('x'));
        assert_eq!(recent.find(&name("b"), &digest), Known::Content('x'));
        recent.keep(recent.mark(), &name("b"), &digest, 1, 'x');
        assert_eq!(recent.find(&name("b"), &digest), Known::Present('x'));
        assert_eq!(recent.find(&name("a"), &digest), Known::Present('x'));
    }

    #[test]
    fn presence_is_not_believed_for_long_nor_after_a_removal() {
        let removals = Removals::default();
        let recent = Recent::new(removals.clone(), BELIEVED);
        let digest = Digest::sha256(b"x");
        let now = recent.mark();
        let long_ago = Mark { at: now.at.checked_sub(BELIEVED).unwrap(), ..now };
        recent.keep(long_ago, &name("a"), &digest, 1, 'x');
        assert_eq!(recent.find(&name("a"), &digest), Known::Content('x'));
        recent.keep(recent.mark(), &name("a"), &digest, 1, 'x');
        assert_eq!(recent.find(&name("a"), &digest), Known::Present('x'));
        removals.count();
        assert_eq!(recent.find(&name("a"), &digest), Known::Content('x'));
        // A look that began before the removal says nothing of what is there after it.
        recent.keep(now, &name("a"), &digest, 1, 'x');
        assert_eq!(recent.find(&name("a"), &digest), Known::Content('x'));
    }

    #[test]
    fn room_and_places_are_bounded_and_what_is_asked_for_stays() {
        let recent = Recent::new(Removals::default(), BELIEVED);
        let asked = Digest::sha256(b"asked");
        recent.keep(recent.mark(), &name("a"), &asked, 1, 0_u32);
        for number in 0..2000_u32 {
            let digest = Digest::sha256(&number.to_le_bytes());
            recent.keep(recent.mark(), &name("a"), &digest, MAX_CONTENT_BYTES, number);
            assert_eq!(recent.find(&name("a"), &asked), Known::Present(0), "{number}");
        }
        let mut kept = 0;
        for shard in &recent.shards {
            let shard = shard.lock().unwrap();
            kept += shard.young.values().chain(shard.old.values()).map(Entry::weight).sum::<usize>();
        }
        assert!(kept > MAX_BYTES / 4 && kept <= MAX_BYTES, "{kept}");
        recent.keep(recent.mark(), &name("a"), &Digest::sha256(b"large"), MAX_CONTENT_BYTES + 1, 1);
        assert_eq!(recent.find(&name("a"), &Digest::sha256(b"large")), Known::Nothing);
        for number in 0..100 {
            recent.keep(recent.mark(), &name(&format!("n{number}")), &asked, 1, 0);
        }
        assert_eq!(recent.find(&name("n99"), &asked), Known::Present(0));
        assert_eq!(recent.find(&name("a"), &asked), Known::Content(0));
        assert_eq!(recent.shard(&asked).young[&asked].places.len(), MAX_PLACES);
    }

    #[test]
    fn names_take_room_as_well() {
        let recent = Recent::new(Removals::default(), BELIEVED);
        let long = "n".repeat(200);
        for number in 0..10_000_u32 {
            let digest = Digest::sha256(&number.to_le_bytes());
            for place in 0..MAX_PLACES {
                recent.keep(recent.mark(), &name(&format!("{long}/{place}")), &digest, 0, ());
            }
        }
        let mut names = 0;
        for shard in &recent.shards {
            let shard = shard.lock().unwrap();
            assert_eq!(shard.young_bytes, shard.young.values().map(Entry::weight).sum::<usize>());
            let places = shard.young.values().chain(shard.old.values()).flat_map(|entry| &entry.places);
            names += places.map(|(name, _)| name.as_str().len()).sum::<usize>();
        }
        assert!(names > MAX_BYTES / 8 && names < MAX_BYTES, "{names}");
    }

    #[test]
    fn of_two_looks_the_later_one_counts() {
        let recent = Recent::new(Removals::default(), BELIEVED);
        let (digest, now) = (Digest::sha256(b"x"), recent.mark());
        let earlier = Mark { at: now.at.checked_sub(BELIEVED / 2).unwrap(), ..now };
        for mark in [earlier, now, earlier] {
            recent.keep(mark, &name("a"), &digest, 1, 'x');
        }
        assert_eq!(recent.seen(&name("a"), &digest).map(|mark| mark.at), Some(now.at));
    }
}
