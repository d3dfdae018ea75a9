//! Ranges: the one that a client asks for (RFC 9110, `Range`), and the one that a chunk says it is (`Content-Range`).

use berth_storage::ByteRange;

/// What a `Range` header means for content of a known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The whole content: no range, several ranges, or a unit that is not known.
    Whole,
    /// One part.
    Part(ByteRange),
    /// A range that the content does not have, or that is malformed.
    Unsatisfiable,
}

/// Reads a `Range` header. Several ranges are answered with the whole, as a server may.
pub(crate) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(ranges) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    // Nothing of nothing is the whole of it.
    if ranges.contains(',') || size == 0 {
        return Asked::Whole;
    }
    let Some((start, end)) = ranges.split_once('-') else { return Asked::Unsatisfiable };
    let (start, end) = (start.trim(), end.trim());
    if start.is_empty() {
        return match number(end) {
            Some(0) | None => Asked::Unsatisfiable,
            Some(length) => Asked::Part(ByteRange { start: size.saturating_sub(length), end: size }),
        };
    }
    let end = if end.is_empty() { Some(size - 1) } else { number(end) };
    match (number(start), end) {
        (Some(start), Some(end)) if start < size && start <= end => {
            Asked::Part(ByteRange { start, end: end.saturating_add(1).min(size) })
        }
        _ => Asked::Unsatisfiable,
    }
}

/// Reads the `Content-Range` of a chunk: `<start>-<end>`, both included, with or without a unit in front.
pub(crate) fn chunk(header: &str) -> Option<ByteRange> {
    let text = header.trim();
    let text = text.strip_prefix("bytes ").or_else(|| text.strip_prefix("bytes=")).unwrap_or(text);
    let (start, end) = text.split('/').next()?.split_once('-')?;
    let (start, end) = (number(start)?, number(end)?.checked_add(1)?);
    (start < end).then_some(ByteRange { start, end })
}

/// Digits only: the standard parser would take a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
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
        check("bytes=+1-3", 10, Asked::Unsatisfiable);
        check("bytes=1", 10, Asked::Unsatisfiable);
        check("bytes=0-1,3-4", 10, Asked::Whole);
        check("lines=0-1", 10, Asked::Whole);
        check("bytes=0-", 0, Asked::Whole);
    }

    #[test]
    fn ranges_that_chunks_say_they_are() {
        fn check(header: &str, expected: Option<(u64, u64)>) {
            assert_eq!(chunk(header).map(|range| (range.start, range.end)), expected, "{header}");
        }
        check("0-9", Some((0, 10)));
        check("bytes 5-9/20", Some((5, 10)));
        check("bytes=5-5", Some((5, 6)));
        check("9-5", None);
        check("5", None);
        check("-5", None);
        check("a-b", None);
        check("0-18446744073709551615", None);
    }
}
