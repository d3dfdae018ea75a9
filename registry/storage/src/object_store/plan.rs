//! [pure] How the segments of an upload become one object: which of them the store copies by itself, and which have to be
//! read and written again because the store takes no parts so small.

use std::ops::Range;

use crate::ByteRange;
use crate::bucket::{Abilities, Limits};

use super::BUDGET_BYTES;

/// What is done to make the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// An object of nothing is written.
    Empty,
    /// One segment is all: it is copied.
    Copy,
    /// All of it is read and written as one.
    Rewrite,
    /// Parts are put together.
    Assemble(Vec<Part>),
}

/// A part of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The store copies this segment, or a range of it.
    Copied { at: usize, range: Option<ByteRange> },
    /// These bytes of all segments together are read and written as one part.
    Rewritten(Range<u64>),
}

/// Decides by the lengths of the segments in bytes.
pub(super) fn plan(segments: &[u64], abilities: Abilities, limits: Limits) -> Plan {
    match segments {
        [] => return Plan::Empty,
        [_] => return Plan::Copy,
        _ => {}
    }
    let (moved, least) = (moved_bytes(limits) as u64, limits.min_part_bytes);
    let (size, most) = (segments.iter().sum::<u64>(), limits.max_parts.max(1));
    if size <= moved {
        return Plan::Rewrite;
    }
    if !abilities.copies_parts {
        // All of it is moved, in pieces that may be as long as it takes: a segment of another program is any length.
        let count = pieces(size, moved.max(least), most);
        return Plan::Assemble(cut(size, count).map(|ByteRange { start, end }| Part::Rewritten(start..end)).collect());
    }
    let wanted = |size: u64| pieces(size, limits.max_copy_bytes, (most / 2).max(1));
    // What is cut needs room among the parts.
    let cuts: usize = segments.iter().map(|size| wanted(*size) - 1).sum();
    let groups = fewer(grouped(segments, least), segments, most.saturating_sub(cuts).max(1));
    let mut room = most.saturating_sub(groups.len());
    let (mut parts, mut begin) = (Vec::with_capacity(groups.len()), 0_u64);
    for group in groups {
        let start = begin;
        begin += segments[group.clone()].iter().sum::<u64>();
        if group.len() > 1 {
            match room.checked_sub(1).and_then(|less| Some((less, spared(segments, &group, moved, least)?))) {
                None => parts.push(Part::Rewritten(start..begin)),
                Some((less, copied)) => {
                    room = less;
                    parts.push(Part::Rewritten(start..begin - (copied.end - copied.start)));
                    parts.push(Part::Copied { at: group.end - 1, range: Some(copied).filter(|range| range.start > 0) });
                }
            }
            continue;
        }
        let (at, size) = (group.start, segments[group.start]);
        let count = wanted(size).min(room + 1);
        room -= count - 1;
        match count {
            1 => parts.push(Part::Copied { at, range: None }),
            _ => parts.extend(cut(size, count).map(|range| Part::Copied { at, range: Some(range) })),
        }
    }
    Plan::Assemble(parts)
}

/// What of the last of some segments need not be moved, since those before become a part without it: if it is large.
fn spared(segments: &[u64], group: &Range<usize>, moved: u64, least: u64) -> Option<ByteRange> {
    let last = group.end - 1;
    let before: u64 = segments[group.start..last].iter().sum();
    let start = least.saturating_sub(before);
    let is_large = segments[last] > moved && segments[last] - start >= least;
    is_large.then_some(ByteRange { start, end: segments[last] })
}

/// How much is read at once to be written as one, in bytes: a chunk, and of large ones what others have room beside. For as
/// long as one waits for room, nobody who comes later gets any.
pub(super) fn moved_bytes(limits: Limits) -> usize {
    limits.chunk_bytes.min(BUDGET_BYTES / 4)
}

/// In how many pieces so much is moved or copied. Larger pieces than are wanted are better than too many.
fn pieces(size: u64, wanted: u64, most: usize) -> usize {
    let piece = wanted.max(size.div_ceil(most as u64)).max(1);
    usize::try_from(size.div_ceil(piece)).unwrap_or(most).max(1)
}

/// At most so many ranges of almost one length, which are all there is.
fn cut(size: u64, count: usize) -> impl Iterator<Item = ByteRange> {
    let piece = size.div_ceil(count.max(1) as u64).max(1);
    (0..size.div_ceil(piece)).map(move |number| {
        let start = number * piece;
        ByteRange { start, end: size.min(start.saturating_add(piece)) }
    })
}

/// Neighbours together, so that each group but the last has enough bytes.
fn grouped(segments: &[u64], enough: u64) -> Vec<Range<usize>> {
    let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, size) in segments.iter().enumerate() {
        bytes += size;
        if bytes >= enough || at + 1 == segments.len() {
            groups.push(start..at + 1);
            (start, bytes) = (at + 1, 0);
        }
    }
    groups
}

/// At most so many groups, of which neighbours are put together from the front until there are few enough: what is put
/// together has to be moved, so it is no more than must be. An object of the same bytes in as many parts of one size has
/// parts of `enough` bytes, so groups that each have as many are never too many.
fn fewer(groups: Vec<Range<usize>>, segments: &[u64], most: usize) -> Vec<Range<usize>> {
    let enough = segments.iter().sum::<u64>().div_ceil(most as u64);
    let (count, mut left) = (groups.len(), Vec::new());
    let (mut open, mut bytes): (Option<Range<usize>>, u64) = (None, 0);
    for (at, group) in groups.into_iter().enumerate() {
        // As if none of those that are still to come were put together.
        if left.len() + usize::from(open.is_some()) + (count - at) <= most {
            left.extend(open.take());
            left.push(group);
            continue;
        }
        bytes += segments[group.clone()].iter().sum::<u64>();
        let start = open.take().map_or(group.start, |open| open.start);
        open = Some(start..group.end);
        if bytes >= enough {
            left.extend(open.take());
            bytes = 0;
        }
    }
    left.extend(open);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn with(copies_parts: bool) -> (Abilities, Limits) {
        let abilities = Abilities {
            creates_atomically: true,
            removes_many: true,
            copies_parts,
            lists_from_anywhere: true,
            lists_at_once: true,
        };
        let limits = Limits {
            chunk_bytes: 10 << 20,
            min_part_bytes: 5 * MIB,
            max_parts: 10_000,
            max_copy_bytes: 5 << 30,
            copies_at_once: 10,
        };
        (abilities, limits)
    }

    #[test]
    fn large_segments_are_copied_and_small_ones_written_together() {
        let copied = |at| Part::Copied { at, range: None };
        let rewritten = |mib: Range<u64>| Part::Rewritten(mib.start * MIB..mib.end * MIB);
        fn check(copies_parts: bool, segments: &[u64], expected: &Plan) {
            let (abilities, limits) = with(copies_parts);
            let segments: Vec<u64> = segments.iter().map(|mib| mib * MIB).collect();
            assert_eq!(plan(&segments, abilities, limits), *expected, "{copies_parts} {segments:?}");
        }
        check(true, &[], &Plan::Empty);
        check(true, &[1], &Plan::Copy);
        check(true, &[100], &Plan::Copy);
        check(true, &[1, 2, 3], &Plan::Rewrite);
        check(true, &[10, 10, 3], &Plan::Assemble(vec![copied(0), copied(1), copied(2)]));
        check(true, &[10, 2, 10, 2], &Plan::Assemble(vec![copied(0), rewritten(10..22), copied(3)]));
        check(true, &[10, 2, 2, 1, 10], &Plan::Assemble(vec![copied(0), rewritten(10..15), copied(4)]));
        check(true, &[10, 2, 1], &Plan::Assemble(vec![copied(0), rewritten(10..13)]));
        check(false, &[10, 2, 2], &Plan::Assemble(vec![rewritten(0..7), rewritten(7..14)]));
        check(false, &[25, 4, 1], &Plan::Assemble(vec![rewritten(0..10), rewritten(10..20), rewritten(20..30)]));
    }

    #[test]
    fn of_large_chunks_no_more_is_moved_at_once_than_others_have_room_beside() {
        let (abilities, limits) = with(false);
        let limits = Limits { chunk_bytes: 64 << 20, ..limits };
        let Plan::Assemble(parts) = plan(&[20 * MIB, 30 * MIB], abilities, limits) else { panic!("rewritten as one") };
        assert_eq!(parts.len(), 5);
        assert_eq!(plan(&[6 * MIB, 6 * MIB], abilities, limits), Plan::Rewrite);
        // What a small segment lacks to be a part it gets from the large one behind it.
        let (abilities, _) = with(true);
        let expected = vec![
            Part::Rewritten(0..5 * MIB),
            Part::Copied { at: 1, range: Some(ByteRange { start: 3 * MIB, end: 64 * MIB }) },
            Part::Copied { at: 2, range: None },
        ];
        assert_eq!(plan(&[2 * MIB, 64 * MIB, MIB], abilities, limits), Plan::Assemble(expected));
    }

    #[test]
    fn segments_of_which_there_are_too_many_are_written_together_but_no_more_than_have_to_be() {
        fn check(count: usize, most: usize, parts: usize, moved: u64) {
            let (abilities, limits) = with(true);
            let limits = Limits { min_part_bytes: MIB, max_parts: most, ..limits };
            let Plan::Assemble(found) = plan(&vec![20 * MIB; count], abilities, limits) else {
                panic!("{count} parts")
            };
            let rewritten = found.iter().filter_map(|part| match part {
                Part::Copied { .. } => None,
                Part::Rewritten(range) => Some((range.end - range.start) / (20 * MIB)),
            });
            assert_eq!((found.len(), rewritten.sum::<u64>()), (parts, moved), "{count} segments, {most} parts");
        }
        check(1000, 1000, 1000, 0);
        check(1001, 1000, 1000, 2);
        check(1010, 1000, 1000, 20);
        check(5000, 1000, 1000, 5000);
        check(10_001, 10_000, 10_000, 2);
        check(3, 1, 1, 3);
    }

    #[test]
    fn what_is_larger_than_a_copy_may_be_is_cut_into_pieces_of_almost_one_length() {
        fn check(limits: Limits, segments: &[u64], expected: &[Option<(u64, u64)>]) {
            let (abilities, _) = with(true);
            let Plan::Assemble(parts) = plan(segments, abilities, limits) else { panic!("{segments:?}") };
            let ranges: Vec<_> = parts
                .iter()
                .map(|part| match part {
                    Part::Copied { range, .. } => range.map(|range| (range.start, range.end)),
                    Part::Rewritten(_) => panic!("{segments:?}"),
                })
                .collect();
            assert_eq!(ranges, expected, "{segments:?}");
        }
        let (_, limits) = with(true);
        let limits = Limits { max_copy_bytes: 100 * MIB, ..limits };
        let thirds = [(0, 70 * MIB), (70 * MIB, 140 * MIB), (140 * MIB, 210 * MIB)].map(Some);
        check(limits, &[210 * MIB, 10 * MIB], &[&thirds[..], &[None]].concat());
        check(limits, &[100 * MIB, 10 * MIB], &[None, None]);
        // Few parts: half of them at the most are for what is cut.
        let few = Limits { max_parts: 4, ..limits };
        let halves = [(0, 500 * MIB), (500 * MIB, 1000 * MIB)].map(Some);
        check(few, &[1000 * MIB, 10 * MIB, 10 * MIB], &[&halves[..], &[None, None]].concat());
    }

    proptest::proptest! {
        #[test]
        fn every_segment_is_in_one_part_and_no_part_but_the_last_is_too_small(
            segments in proptest::collection::vec(1_u64..12 * MIB, 2..40),
            foreign in 1_u64..400 * MIB,
            copies_parts: bool,
            max_parts in 1_usize..50,
        ) {
            let segments = [vec![foreign], segments].concat();
            let (abilities, limits) = with(copies_parts);
            let limits = Limits { max_parts, max_copy_bytes: 12 * MIB, ..limits };
            let Plan::Assemble(parts) = plan(&segments, abilities, limits) else { return Ok(()) };
            // Where each part begins and ends in the whole.
            let begin = |at: usize| segments[..at].iter().sum::<u64>();
            let spans: Vec<Range<u64>> = parts
                .iter()
                .map(|part| match part {
                    Part::Copied { at, range: None } => begin(*at)..begin(at + 1),
                    Part::Copied { at, range: Some(range) } => begin(*at) + range.start..begin(*at) + range.end,
                    Part::Rewritten(range) => range.clone(),
                })
                .collect();
            proptest::prop_assert_eq!((spans[0].start, spans[spans.len() - 1].end), (0, begin(segments.len())));
            proptest::prop_assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start));
            proptest::prop_assert!(parts.len() <= max_parts);
            let enough = segments.iter().sum::<u64>().div_ceil(max_parts as u64);
            for (part, span) in parts.iter().zip(&spans).take(parts.len() - 1) {
                let bytes = span.end - span.start;
                proptest::prop_assert!(bytes >= limits.min_part_bytes);
                if matches!(part, Part::Rewritten(_)) {
                    let largest = segments[1..].iter().max().copied().unwrap_or_default();
                    proptest::prop_assert!(bytes < 2 * enough.max(limits.chunk_bytes as u64) + 2 * largest);
                }
            }
            // Where there are parts enough, no copy is too large.
            let is_cut_enough = parts.iter().zip(&spans).all(|(part, span)| {
                matches!(part, Part::Rewritten(_)) || span.end - span.start <= limits.max_copy_bytes
            });
            let is_roomy = max_parts as u64 >= 2 * (foreign.div_ceil(limits.max_copy_bytes) + segments.len() as u64);
            proptest::prop_assert!(is_cut_enough || !is_roomy);
        }
    }
}
