//! [pure] How the segments of an upload become one object: which of them the store copies by itself, and which have to be
//! read and written again because the store takes no parts so small.

use std::ops::Range;

use crate::bucket::{Abilities, Limits};

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
    /// The store copies this segment.
    Copied(usize),
    /// These segments are read and written as one part.
    Rewritten(Range<usize>),
}

/// Decides by the lengths of the segments in bytes.
pub(super) fn plan(segments: &[u64], abilities: Abilities, limits: Limits) -> Plan {
    match segments {
        [] => return Plan::Empty,
        [_] => return Plan::Copy,
        _ => {}
    }
    let (chunk, least) = (limits.chunk_bytes as u64, limits.min_part_bytes);
    if segments.iter().sum::<u64>() <= chunk {
        return Plan::Rewrite;
    }
    // What the store copies may be as small as a part may be; what is moved through here is better large.
    let enough = if abilities.copies_parts { least } else { chunk.max(least) };
    let groups = fewer(grouped(segments, enough), segments, limits.max_parts.max(1));
    let part = |group: Range<usize>| match group.len() {
        1 if abilities.copies_parts => Part::Copied(group.start),
        _ => Part::Rewritten(group),
    };
    Plan::Assemble(groups.into_iter().map(part).collect())
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
        let abilities =
            Abilities { creates_atomically: true, removes_many: true, copies_parts, lists_from_anywhere: true };
        let limits = Limits { chunk_bytes: 10 << 20, min_part_bytes: 5 * MIB, max_parts: 10_000, copies_at_once: 10 };
        (abilities, limits)
    }

    #[test]
    fn large_segments_are_copied_and_small_ones_written_together() {
        use Part::{Copied, Rewritten};
        fn check(copies_parts: bool, segments: &[u64], expected: &Plan) {
            let (abilities, limits) = with(copies_parts);
            let segments: Vec<u64> = segments.iter().map(|mib| mib * MIB).collect();
            assert_eq!(plan(&segments, abilities, limits), *expected, "{copies_parts} {segments:?}");
        }
        check(true, &[], &Plan::Empty);
        check(true, &[1], &Plan::Copy);
        check(true, &[100], &Plan::Copy);
        check(true, &[1, 2, 3], &Plan::Rewrite);
        check(true, &[10, 10, 3], &Plan::Assemble(vec![Copied(0), Copied(1), Copied(2)]));
        check(true, &[10, 2, 10, 2], &Plan::Assemble(vec![Copied(0), Rewritten(1..3), Copied(3)]));
        check(true, &[10, 2, 2, 1, 10], &Plan::Assemble(vec![Copied(0), Rewritten(1..4), Copied(4)]));
        check(true, &[10, 2, 1], &Plan::Assemble(vec![Copied(0), Rewritten(1..3)]));
        check(false, &[10, 4, 4, 4, 1], &Plan::Assemble(vec![Rewritten(0..1), Rewritten(1..4), Rewritten(4..5)]));
    }

    #[test]
    fn segments_of_which_there_are_too_many_are_written_together_but_no_more_than_have_to_be() {
        fn check(count: usize, most: usize, parts: usize, moved: usize) {
            let (abilities, limits) = with(true);
            let limits = Limits { min_part_bytes: MIB, max_parts: most, ..limits };
            let Plan::Assemble(found) = plan(&vec![20 * MIB; count], abilities, limits) else {
                panic!("{count} parts")
            };
            let rewritten = found.iter().filter_map(|part| match part {
                Part::Copied(_) => None,
                Part::Rewritten(range) => Some(range.len()),
            });
            assert_eq!((found.len(), rewritten.sum::<usize>()), (parts, moved), "{count} segments, {most} parts");
        }
        check(1000, 1000, 1000, 0);
        check(1001, 1000, 1000, 2);
        check(1010, 1000, 1000, 20);
        check(5000, 1000, 1000, 5000);
        check(10_001, 10_000, 10_000, 2);
        check(3, 1, 1, 3);
    }

    proptest::proptest! {
        #[test]
        fn every_segment_is_in_one_part_and_no_part_but_the_last_is_too_small(
            segments in proptest::collection::vec(1_u64..12 * MIB, 2..40),
            copies_parts: bool,
            max_parts in 1_usize..50,
        ) {
            let (abilities, limits) = with(copies_parts);
            let limits = Limits { max_parts, ..limits };
            let Plan::Assemble(parts) = plan(&segments, abilities, limits) else { return Ok(()) };
            let ranges: Vec<Range<usize>> = parts
                .iter()
                .map(|part| match part { Part::Copied(at) => *at..at + 1, Part::Rewritten(range) => range.clone() })
                .collect();
            proptest::prop_assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..segments.len()).collect::<Vec<_>>());
            proptest::prop_assert!(parts.len() <= max_parts);
            let enough = segments.iter().sum::<u64>().div_ceil(max_parts as u64);
            for range in &ranges[..ranges.len() - 1] {
                let bytes: u64 = segments[range.clone()].iter().sum();
                proptest::prop_assert!(bytes >= limits.min_part_bytes);
                proptest::prop_assert!(bytes < enough.max(limits.chunk_bytes as u64) + 24 * MIB);
            }
        }
    }
}
