//! Ranges: the one that a client asks for (RFC 9110, `Range`), and the one that a chunk says it is (`Content-Range`).

use berth_storage::ByteRange;

/// The most ranges of one request that are answered part by part; of more, the whole is given.
const MAX_RANGES: usize = 128;

/// What a `Range` header means for content of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The whole content: no range, a unit that is not known, or parts that are more than the whole.
    Whole,
    /// One part.
    Part(ByteRange),
    /// Several parts, in the order in which they were asked for. They may overlap.
    Parts(Vec<ByteRange>),
    /// Only ranges that the content does not have, or a malformed one.
    Unsatisfiable,
}

/// Reads a `Range` header, as Distribution does: of several ranges, those that the content does not have are passed over,
/// and who asks for more bytes than there are gets the whole.
pub(crate) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(text) = header.map(str::trim).filter(|text| !text.is_empty()) else { return Asked::Whole };
    // Without a unit it is no range at all.
    let Some((unit, ranges)) = text.split_once('=') else { return Asked::Unsatisfiable };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let ranges: Vec<&str> = ranges.split(',').map(str::trim).filter(|range| !range.is_empty()).collect();
    if ranges.is_empty() || ranges.len() > MAX_RANGES {
        return Asked::Whole;
    }
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        match one(range, size) {
            Some(part) if part.start < part.end => parts.push(part),
            Some(_) => {}
            None => return Asked::Unsatisfiable,
        }
    }
    let bytes = parts.iter().fold(0_u64, |bytes, part| bytes.saturating_add(part.end - part.start));
    match parts.as_slice() {
        // Nothing of nothing is the whole of it.
        [] if size == 0 => Asked::Whole,
        [] => Asked::Unsatisfiable,
        [part] => Asked::Part(*part),
        _ if bytes > size => Asked::Whole,
        _ => Asked::Parts(parts),
    }
}

/// One range: nothing if it is malformed, an empty one if the content does not have it.
fn one(range: &str, size: u64) -> Option<ByteRange> {
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.trim(), end.trim());
    if start.is_empty() {
        let length = number(end)?;
        return Some(ByteRange { start: size.saturating_sub(length), end: size });
    }
    let start = number(start)?;
    let end = if end.is_empty() { size } else { number(end)?.saturating_add(1) };
    // The last byte may lie behind the end, but not in front of the first.
    let is_backwards = end <= start && start < size;
    (!is_backwards).then_some(ByteRange { start: start.min(size), end: end.min(size) })
}

/// What the `Content-Range` of a chunk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Which bytes of the upload the chunk is.
    Bytes(ByteRange),
    /// The last byte lies before the first.
    Backwards,
    /// It is not of the form that a chunk's range has.
    Malformed,
}

/// Reads the `Content-Range` of a chunk: `<start>-<end>`, both included. The form is that of the distribution
/// specification, which knows no unit and no length of the whole.
pub(crate) fn chunk(header: &str) -> Chunk {
    let numbers = header.trim().split_once('-').and_then(|(start, end)| Some((digits(start)?, digits(end)?)));
    match numbers.and_then(|(start, last)| Some((start, last.checked_add(1)?))) {
        None => Chunk::Malformed,
        Some((start, end)) if start >= end => Chunk::Backwards,
        Some((start, end)) => Chunk::Bytes(ByteRange { start, end }),
    }
}

/// A number of a `Content-Range`: digits only, where the standard parser would take a plus sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A number of a `Range`, with or without a plus sign, as Distribution reads it.
fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::needless_pass_by_value, reason = "reads better in a table")]
    fn ranges_that_clients_ask_for() {
        fn part(start: u64, end: u64) -> Asked {
            Asked::Part(ByteRange { start, end })
        }
        fn check(header: &str, size: u64, expected: Asked) {
            assert_eq!(asked(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(asked(None, 10), Asked::Whole);
        check("bytes=0-", 10, part(0, 10));
        check("bytes=0-0", 10, part(0, 1));
        check("bytes=3-5", 10, part(3, 6));
        check("bytes=3-99", 10, part(3, 10));
        check("bytes=3-18446744073709551615", 10, part(3, 10));
        check("bytes=-4", 10, part(6, 10));
        check("bytes=-99", 10, part(0, 10));
        check("bytes=-0", 10, Asked::Unsatisfiable);
        check("bytes=-", 10, Asked::Unsatisfiable);
        check("bytes=10-", 10, Asked::Unsatisfiable);
        check("bytes=5-3", 10, Asked::Unsatisfiable);
        check("bytes=x-3", 10, Asked::Unsatisfiable);
        check("bytes=+1-3", 10, part(1, 4));
        check("bytes=--1", 10, Asked::Unsatisfiable);
        check("bytes=1", 10, Asked::Unsatisfiable);
        check("bytes=", 10, Asked::Whole);
        check("bytes= , ,", 10, Asked::Whole);
        check("Bytes=0-0", 10, part(0, 1));
        check("", 10, Asked::Whole);
        check("bytes", 10, Asked::Unsatisfiable);
        check("0-1", 10, Asked::Unsatisfiable);
        check("bytes=99999999999999999999-", 10, Asked::Unsatisfiable);
        check("lines=0-1", 10, Asked::Whole);
        check("bytes=0-", 0, Asked::Whole);
        check("bytes=-1", 0, Asked::Whole);
        check("bytes=x-3", 0, Asked::Unsatisfiable);
        let parts = |parts: &[(u64, u64)]| {
            Asked::Parts(parts.iter().map(|(start, end)| ByteRange { start: *start, end: *end }).collect())
        };
        check("bytes=0-1,3-4", 10, parts(&[(0, 2), (3, 5)]));
        check("bytes= 0-1 , , -2 ,", 10, parts(&[(0, 2), (8, 10)]));
        check("bytes=3-4,0-1", 10, parts(&[(3, 5), (0, 2)]));
        check("bytes=0-4,2-6", 10, parts(&[(0, 5), (2, 7)]));
        check("bytes=0-4,2-7", 10, Asked::Whole);
        check("bytes=0-,0-", 10, Asked::Whole);
        check("bytes=0-1,10-,50-60", 10, part(0, 2));
        check("bytes=10-,0-1,-3", 10, parts(&[(0, 2), (7, 10)]));
        check("bytes=10-,11-12,-0", 10, Asked::Unsatisfiable);
        check("bytes=0-1,x", 10, Asked::Unsatisfiable);
        check("bytes=0-1,5-4", 10, Asked::Unsatisfiable);
        check("bytes=0-1,3-4", 0, Asked::Whole);
        let many = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        check(&many(MAX_RANGES), 1000, Asked::Parts(vec![ByteRange { start: 0, end: 1 }; MAX_RANGES]));
        check(&many(MAX_RANGES + 1), 1000, Asked::Whole);
    }

    #[test]
    fn ranges_that_chunks_say_they_are() {
        #[expect(clippy::needless_pass_by_value, reason = "reads better in a table")]
        fn check(header: &str, expected: Chunk) {
            assert_eq!(chunk(header), expected, "{header}");
        }
        check("0-9", Chunk::Bytes(ByteRange { start: 0, end: 10 }));
        check(" 5-5 ", Chunk::Bytes(ByteRange { start: 5, end: 6 }));
        check("9-5", Chunk::Backwards);
        for malformed in ["", "5", "-5", "5-", "a-b", "0-4-8", "+0-4", "bytes 5-9/20", "bytes=5-5", "5-9/20"] {
            check(malformed, Chunk::Malformed);
        }
        check("0-18446744073709551615", Chunk::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn no_header_gives_a_part_that_the_content_does_not_have(
            header in "(bytes=|Bytes = |lines=)?([0-9]{0,20}-[0-9]{0,20},? ?){0,6}|\\PC{0,40}",
            size in proptest::prop_oneof![0..20_u64, proptest::prelude::any::<u64>()],
        ) {
            let is_inside = |part: &ByteRange| part.start < part.end && part.end <= size;
            match asked(Some(&header), size) {
                Asked::Whole | Asked::Unsatisfiable => {}
                Asked::Part(part) => proptest::prop_assert!(is_inside(&part), "{part:?}"),
                Asked::Parts(parts) => {
                    proptest::prop_assert!((2..=MAX_RANGES).contains(&parts.len()) && parts.iter().all(is_inside));
                    let bytes: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
                    proptest::prop_assert!(bytes <= u128::from(size), "more than there is");
                }
            }
        }

        #[test]
        fn what_the_content_has_is_given_as_asked(start: u64, more: u32, behind: u32) {
            let end = start.saturating_add(more.into()).min(u64::MAX - 1);
            let start = start.min(end);
            let size = (end + 1).saturating_add(behind.into());
            let expected = ByteRange { start, end: end + 1 };
            proptest::prop_assert_eq!(asked(Some(&format!("bytes={start}-{end}")), size), Asked::Part(expected));
            proptest::prop_assert_eq!(chunk(&format!("{start}-{end}")), Chunk::Bytes(expected));
        }

        #[test]
        fn no_chunk_is_empty(header in "[ +]?[0-9]{0,20}-?[0-9]{0,20}(/[0-9*]{0,3})?|\\PC{0,30}") {
            if let Chunk::Bytes(ByteRange { start, end }) = chunk(&header) {
                proptest::prop_assert!(start < end);
                proptest::prop_assert!(header.bytes().all(|byte| byte.is_ascii_digit() || b"- ".contains(&byte)));
            }
        }
    }
}
