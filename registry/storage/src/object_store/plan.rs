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
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, size) in segments.iter().enumerate() {
        bytes += size;
        if bytes >= enough || at + 1 == segments.len() {
            let is_alone = start == at;
            parts.push(match is_alone && abilities.copies_parts {
                true => Part::Copied(at),
                false => Part::Rewritten(start..at + 1),
            });
            (start, bytes) = (at + 1, 0);
        }
    }
    Plan::Assemble(parts)
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

    proptest::proptest! {
        #[test]
        fn every_segment_is_in_one_part_and_no_part_but_the_last_is_too_small(
            segments in proptest::collection::vec(1_u64..12 * MIB, 2..40),
            copies_parts: bool,
        ) {
            let (abilities, limits) = with(copies_parts);
            let Plan::Assemble(parts) = plan(&segments, abilities, limits) else { return Ok(()) };
            let ranges: Vec<Range<usize>> = parts
                .iter()
                .map(|part| match part { Part::Copied(at) => *at..at + 1, Part::Rewritten(range) => range.clone() })
                .collect();
            proptest::prop_assert_eq!(ranges.iter().cloned().flatten().collect::<Vec<_>>(), (0..segments.len()).collect::<Vec<_>>());
            for range in &ranges[..ranges.len() - 1] {
                let bytes: u64 = segments[range.clone()].iter().sum();
                proptest::prop_assert!(bytes >= limits.min_part_bytes);
                proptest::prop_assert!(bytes < limits.chunk_bytes as u64 + 12 * MIB);
            }
        }
    }
}
