//! [pure] The data of an upload as objects that follow each other, each of which says what came before it.
//!
//! Any number of processes may write to one upload without knowing of each other: a client that gets no answer sends the
//! same bytes again, to whichever process it reaches, while the first one still writes. So the data is not one list but a
//! tree: a segment names the data that it follows, and the running hash behind its last byte. All of it stands in the name of
//! the object, so one listing tells everything, and a segment that is there is whole. A path from the root is a *chain*, and
//! the hash at its end is that of exactly its bytes, whoever wrote the others. Nothing here needs a store that can create an
//! object only once.
//!
//! What a segment follows is data of a length and a hash, not an object. So where small segments were written together as one,
//! what another process wrote behind the small ones follows the large one as well. No segment is removed before its upload
//! ends, all the same: somebody may be building on the middle of what was written together, and is told that his bytes arrived.
//!
//! Which chain counts is asked with the byte that a client goes on from. Where one chain is all there is, as whenever one
//! request follows the other, it is that chain, and a chunk that is sent again is told where it ends: whether its first
//! answer has arrived, nobody can know. Only of branches, which requests make that write at once, it is the one that ends at
//! that byte, if nothing follows it: a client must not be turned away because a request that it has given up wrote more.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_oci::{Algorithm, Digest, Hasher};

/// The directory of segments inside that of the upload.
pub(super) const DIRECTORY: &str = "berth";
/// What follows nothing.
const ROOT: &str = "root";
/// How much of a digest names a segment, in digits of four bits.
const ID_DIGITS: usize = 32;
/// The most of a running hash that stands between two slashes: with less than 255 bytes, every store takes it.
const STATE_CHARACTERS: usize = 200;

/// An object with a part of the data of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its name below the directory of the upload.
    pub(super) name: String,
    /// Its first byte in the upload.
    pub(super) start: u64,
    /// The byte behind its last.
    pub(super) end: u64,
    /// The running hash at its end; none of what another program has written.
    pub(super) state: Option<(Algorithm, Vec<u8>)>,
}

impl Segment {
    /// The segment that follows `previous` up to where `hasher` has come.
    fn following(previous: &str, start: u64, hasher: &Hasher) -> Self {
        let (algorithm, state, end) = (hasher.algorithm(), hasher.save(), hasher.bytes());
        let encoded = URL_SAFE_NO_PAD.encode(&state);
        // Only ASCII, so every cut is one between characters.
        let parts: Vec<&str> = (0..encoded.len())
            .step_by(STATE_CHARACTERS)
            .map(|at| &encoded[at..encoded.len().min(at + STATE_CHARACTERS)])
            .collect();
        let name = format!("{DIRECTORY}/{start:016x}-{end:016x}-{previous}/{algorithm}/{}", parts.join("/"));
        Segment { name, start, end, state: Some((algorithm, state)) }
    }

    /// What another program has written from the beginning of an upload.
    fn foreign(name: String, bytes: u64) -> Self {
        Segment { name, start: 0, end: bytes, state: None }
    }

    /// Reads a name; none if no part of Berth made it.
    fn parse(name: &str) -> Option<(Self, &str)> {
        let mut parts = name.strip_prefix(DIRECTORY)?.strip_prefix('/')?.splitn(3, '/');
        let (place, algorithm, encoded) = (parts.next()?, parts.next()?, parts.next()?);
        let mut place = place.splitn(3, '-');
        let (start, end, previous) = (place.next()?, place.next()?, place.next()?);
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let algorithm = Algorithm::from_str(algorithm).ok()?;
        let state = URL_SAFE_NO_PAD.decode(encoded.replace('/', "")).ok()?;
        Hasher::restore(algorithm, &state, end)?;
        let segment = Segment { name: name.to_owned(), start, end, state: Some((algorithm, state)) };
        (start < end).then_some((segment, previous))
    }

    /// What the next segment calls the data that ends here: the same for all that end with the same hash.
    fn id(&self) -> String {
        let data = match &self.state {
            Some((algorithm, state)) => format!("{:016x}/{algorithm}/{}", self.end, URL_SAFE_NO_PAD.encode(state)),
            None => self.name.clone(),
        };
        Digest::sha256(data.as_bytes()).hex()[..ID_DIGITS].to_owned()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// Segments of which each follows the one before; the first begins at byte 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    segments: Vec<Segment>,
    /// Whether there may be objects of the upload that are none of these.
    is_found: bool,
    /// How many objects the upload has, as far as is known: those that were written together as one are there as well.
    objects: usize,
}

/// Chains are the same that have the same segments, whatever lies beside them.
impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        let Chain { segments, is_found, objects: _ } = self;
        (segments, is_found) == (&other.segments, &other.is_found)
    }
}

impl Eq for Chain {}

impl Chain {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether other processes may have written to the upload: it was found in a listing.
    pub(super) fn is_found(&self) -> bool {
        self.is_found
    }

    /// How many objects the upload has, as far as is known.
    pub(super) fn objects(&self) -> usize {
        self.objects
    }

    /// Notes that there may be other objects.
    pub(super) fn found(&mut self) {
        self.is_found = true;
    }

    /// The length of the data in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.end)
    }

    /// The running hash at the end, if it is known.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        let Some(last) = self.segments.last() else { return Some(Hasher::new(Algorithm::Sha256)) };
        let (algorithm, state) = last.state.as_ref()?;
        Hasher::restore(*algorithm, state, last.end)
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.name.len() + 256).sum()
    }

    /// The segment that would follow, up to where `hasher` has come.
    pub(super) fn next(&self, hasher: &Hasher) -> Segment {
        let previous = self.segments.last().map_or_else(|| ROOT.to_owned(), Segment::id);
        Segment::following(&previous, self.bytes(), hasher)
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.segments.push(segment);
        self.objects += 1;
    }

    /// How many segments at the end are so small that they are better one: together they have at least `enough` bytes, and
    /// each has less; or they are [`MANY`], none of them much larger than the last. 0 if they are not enough yet. They are
    /// never twice as many bytes as are enough: they have to be held in memory.
    pub(super) fn crumbs(&self, enough: u64) -> usize {
        let is_small = |segment: &&Segment| segment.bytes() < enough && segment.state.is_some();
        let small: Vec<u64> = self.segments.iter().rev().take_while(is_small).map(Segment::bytes).collect();
        let mut bytes = 0;
        for (before, size) in small.iter().enumerate() {
            bytes += size;
            if bytes >= enough {
                return before + 1;
            }
        }
        // Those of one size become one of the next size, of which there may be many by that.
        let (mut count, mut last) = (0, small.first().copied().unwrap_or(0));
        loop {
            let more = if count == 0 { MANY } else { MANY - 1 };
            let alike = small.get(count..count + more).unwrap_or_default();
            if alike.is_empty() || alike.iter().any(|size| *size >= last.saturating_mul(MANY as u64)) {
                return count;
            }
            count += more;
            last = small[..count].iter().sum();
        }
    }

    /// The same data with the last `count` segments as one, which is given too.
    pub(super) fn merged(&self, count: usize) -> Option<(Chain, Segment)> {
        let kept = self.segments[..self.segments.len().checked_sub(count)?].to_vec();
        let mut merged = Chain { segments: kept, is_found: self.is_found, objects: self.objects };
        let segment = merged.next(&self.hasher()?);
        merged.push(segment.clone());
        Some((merged, segment))
    }

    /// The chain among the names of an upload's objects that ends at `expected` with nothing behind it, or else the longest;
    /// of several with the same data, the one of the fewest segments. `foreign` is what another program has written from the
    /// beginning, by name and length.
    pub(super) fn find<'a>(
        names: impl Iterator<Item = &'a str>,
        foreign: Option<(String, u64)>,
        expected: Option<u64>,
    ) -> Self {
        let mut parsed: Vec<(Segment, &str)> = names.filter_map(Segment::parse).collect();
        // What follows ends later, so whatever a segment follows has been seen before it.
        parsed.sort_unstable_by(|(one, _), (other, _)| (one.end, &one.name).cmp(&(other.end, &other.name)));
        let (mut tree, objects) = (Tree::default(), parsed.len());
        if let Some((name, bytes)) = foreign.filter(|(_, bytes)| *bytes > 0) {
            tree.add(Segment::foreign(name, bytes), None);
        }
        for (segment, previous) in parsed {
            let before = tree.known.get(previous).copied();
            let begins = before.map_or(0, |at| tree.linked[at].segment.end);
            if (before.is_some() || previous == ROOT) && begins == segment.start {
                tree.add(segment, before);
            }
        }
        Chain { segments: tree.best(expected), is_found: true, objects }
    }
}

/// So many segments of about one size are written together as one, however small they are. So an upload of tiny chunks has a
/// few of each size in place of tens of thousands, which every process that goes on with it would have to list; and each byte
/// is written a few times at the most, once for each size.
const MANY: usize = 32;

/// Segments that lead back to the beginning.
#[derive(Default)]
struct Tree {
    linked: Vec<Linked>,
    /// The one of the fewest segments among those that end with the same data, by what the next one calls it.
    known: HashMap<String, usize>,
}

/// A segment that leads back to the beginning.
struct Linked {
    segment: Segment,
    /// Which one it follows; none at the beginning.
    before: Option<usize>,
    /// How many there are up to here.
    count: usize,
    /// Whether another one follows its data.
    is_followed: bool,
}

impl Tree {
    fn add(&mut self, segment: Segment, before: Option<usize>) {
        let mut count = 1;
        if let Some(at) = before {
            self.linked[at].is_followed = true;
            count += self.linked[at].count;
        }
        let (at, known) = (self.linked.len(), self.known.entry(segment.id()));
        let same = known.or_insert(at);
        if self.linked.get(*same).is_some_and(|other| other.count > count) {
            *same = at;
        }
        self.linked.push(Linked { segment, before, count, is_followed: false });
    }

    fn best(&self, expected: Option<u64>) -> Vec<Segment> {
        let rank = |at: usize| {
            let Linked { segment, count, is_followed, .. } = &self.linked[at];
            (expected == Some(segment.end) && !is_followed, segment.end, Reverse(*count), &segment.name)
        };
        let mut last = self.known.values().copied().max_by(|one, other| rank(*one).cmp(&rank(*other)));
        let mut segments = Vec::new();
        while let Some(at) = last {
            segments.push(self.linked[at].segment.clone());
            last = self.linked[at].before;
        }
        segments.reverse();
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(chain: &Chain, hasher: &mut Hasher, content: &[u8]) -> Chain {
        hasher.update(content);
        let mut chain = chain.clone();
        chain.push(chain.next(hasher));
        chain
    }

    fn names(chains: &[&Chain]) -> Vec<String> {
        let mut names: Vec<String> =
            chains.iter().flat_map(|chain| chain.segments().iter().map(|segment| segment.name.clone())).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What is found, as if it had been made here.
    fn find(names: &[String], expected: Option<u64>) -> Chain {
        let found = Chain::find(names.iter().map(String::as_str), None, expected);
        assert!(found.is_found());
        Chain { is_found: false, ..found }
    }

    #[test]
    fn a_listing_tells_the_data_and_its_hash_for_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let (mut hasher, mut chain) = (Hasher::new(algorithm), Chain::default());
            for content in ["one", "a piece of some more bytes than the first one has", "3"] {
                chain = grown(&chain, &mut hasher, content.as_bytes());
            }
            let names = names(&[&chain]);
            assert!(names.iter().flat_map(|name| name.split('/')).all(|part| part.len() <= 255));
            let found = find(&names, None);
            assert_eq!(found, chain);
            assert_eq!(found.hasher().unwrap().finish(), hasher.finish());
        }
        for expected in [None, Some(0), Some(5)] {
            assert_eq!(find(&[], expected), Chain::default());
        }
    }

    #[test]
    fn a_chunk_that_is_sent_again_is_told_where_the_data_ends() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let one = grown(&Chain::default(), &mut hasher, b"hello");
        let two = grown(&one, &mut hasher, b" world");
        for expected in [None, Some(0), Some(3), Some(5), Some(11), Some(12)] {
            assert_eq!(find(&names(&[&two]), expected), two, "{expected:?}");
        }
    }

    #[test]
    fn tiny_segments_stay_few_and_are_written_a_few_times_at_the_most() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let (mut chain, mut written, mut most) = (Chain::default(), 0, 0);
        for number in 0..20_000_u64 {
            let bytes = 1 + number as usize % 3;
            chain = grown(&chain, &mut hasher, &[7; 3][..bytes]);
            written += bytes as u64;
            let crumbs = chain.crumbs(1 << 20);
            if crumbs > 0 {
                let (merged, segment) = chain.merged(crumbs).unwrap();
                written += segment.bytes();
                chain = merged;
            }
            most = most.max(chain.segments().len());
        }
        assert_eq!(chain.bytes(), 39_999);
        assert!(most <= 4 * MANY, "{most} segments");
        assert!(written <= 5 * chain.bytes(), "{written} bytes");
        assert_eq!(chain.hasher().unwrap().finish(), hasher.finish());
    }

    #[test]
    fn what_follows_small_segments_follows_what_was_written_together_of_them() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let one = grown(&Chain::default(), &mut hasher, &[1; 60]);
        let two = grown(&one, &mut hasher, &[2; 60]);
        let (merged, _) = two.merged(2).unwrap();
        // Another process goes on with what it has listed before, at the end and in the middle.
        let mut at_end = hasher.clone();
        let longer = grown(&two, &mut at_end, &[3; 10]);
        assert_eq!(longer.segments()[2], grown(&merged, &mut hasher.clone(), &[3; 10]).segments()[1]);
        let found = find(&names(&[&longer, &merged]), None);
        assert_eq!((found.bytes(), found.segments().len()), (130, 2), "the one of fewer segments");
        assert_eq!(found.segments()[0], merged.segments()[0]);
        assert_eq!(found.hasher().unwrap().finish(), at_end.finish());
        assert_eq!(found.crumbs(100), 0, "it is not written together again");
        // Who has written it together is told of what came meanwhile.
        assert_eq!(find(&names(&[&longer, &merged]), Some(120)), found);
        let mut in_middle = one.hasher().unwrap();
        let other = grown(&one, &mut in_middle, &[4; 100]);
        assert_eq!(find(&names(&[&two, &merged, &other]), None), other);
        assert_eq!(find(&names(&[&two, &merged, &other]), Some(120)), merged);
    }

    #[test]
    fn what_two_processes_write_from_one_point_is_told_apart() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let trunk = grown(&Chain::default(), &mut hasher, b"trunk");
        let (mut first, mut second) = (hasher.clone(), hasher);
        let one = grown(&trunk, &mut first, b"first");
        let other = grown(&trunk, &mut second, b"other");
        let longer = grown(&other, &mut second, b" and on");
        let names = names(&[&one, &longer]);
        assert_eq!(find(&names, None), longer);
        assert_eq!(find(&names, Some(12 + 5)), longer);
        assert_eq!(find(&names, Some(10)), one, "nobody has gone on from it");
        assert_eq!(find(&self::names(&[&one, &longer, &grown(&one, &mut first, b"!")]), Some(10)), longer);
        let both = self::names(&[&one, &other]);
        let at_ten = find(&both, Some(10));
        assert!(at_ten == one || at_ten == other, "one of both, never a mixture");
        assert_eq!(find(&both, Some(10)), at_ten, "and always the same");
        // The middle of the longer one is lost: nothing that followed it counts.
        let without: Vec<String> = names.iter().filter(|name| **name != other.segments()[1].name).cloned().collect();
        assert_eq!(find(&without, None), one);
    }

    #[test]
    fn small_segments_at_the_end_become_one_with_the_same_hash() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut chain = grown(&Chain::default(), &mut hasher, &[0; 100]);
        for (bytes, crumbs) in [(30, 0), (30, 0), (39, 0), (1, 4), (5, 5)] {
            chain = grown(&chain, &mut hasher, &vec![1; bytes]);
            assert_eq!(chain.crumbs(100), crumbs, "{bytes}");
        }
        let (merged, segment) = chain.merged(5).unwrap();
        assert_eq!((segment.start, segment.end, merged.segments().len()), (100, 205, 2));
        assert_eq!(merged.hasher().unwrap().finish(), hasher.clone().finish());
        assert_eq!(find(&names(&[&chain, &merged]), None), merged, "the one of fewer segments");
        assert_eq!(merged.crumbs(100), 0);
        // More than were written together in time: no more of them than are enough.
        for _ in 0..9 {
            chain = grown(&chain, &mut hasher, &[2; 60]);
        }
        assert_eq!(chain.crumbs(100), 2);
    }

    #[test]
    fn what_another_program_began_is_gone_on_with() {
        let foreign = Some(("data".to_owned(), 7));
        let chain = Chain::find([].into_iter(), foreign.clone(), None);
        assert_eq!((chain.bytes(), chain.hasher().is_none()), (7, true));
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"foreign");
        let longer = grown(&chain, &mut hasher, b" and ours");
        let names = names(&[&longer]);
        let found = Chain::find(names.iter().map(String::as_str), foreign, None);
        assert_eq!(found, longer);
        assert_eq!(find(&names, None), Chain::default(), "what it follows is not there");
    }

    proptest::proptest! {
        #[test]
        fn names_of_others_change_nothing(
            sizes in proptest::collection::vec(1_usize..200, 0..6),
            others in proptest::collection::vec(
                "(berth/)?[0-9a-f]{0,16}-?[0-9a-f]{0,16}-?(root)?/sha256/[A-Za-z0-9_/-]{0,160}|hashstates/sha256/[0-9]{1,6}|\\PC{0,60}",
                0..6,
            ),
            first: bool,
        ) {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            let chain = sizes.iter().fold(Chain::default(), |chain, size| grown(&chain, &mut hasher, &vec![7; *size]));
            let ours = names(&[&chain]);
            let all = if first { [others, ours].concat() } else { [ours, others].concat() };
            let found = find(&all, None);
            proptest::prop_assert_eq!(found.segments(), chain.segments());
            proptest::prop_assert_eq!(found.hasher().map(Hasher::finish), Some(hasher.finish()));
        }
    }
}
