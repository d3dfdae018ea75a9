//! Durations as Go writes them, which is how Distribution's configuration has them: `168h`, `1h30m`, `500ms`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// A length of time of at most 292 years, not negative, to the nanosecond.
///
/// Read from Go's syntax (`time.ParseDuration`), with days (`d`) on top, or, as Go's YAML has it, from an integer
/// number of nanoseconds. Written in Go's syntax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// Why a text is not a [`Duration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// There is nothing in it.
    #[error("a duration is empty: write for example 30s, 15m or 168h")]
    Empty,
    /// It is below zero.
    #[error("duration {0:?} is negative")]
    Negative(String),
    /// A number has no unit behind it, or one that is not known.
    #[error("duration {0:?} has a part without a known unit: use ns, us, ms, s, m, h or d, as in 1h30m")]
    Unit(String),
    /// A part has no number.
    #[error("duration {0:?} has a part without a number: write for example 30s, 15m or 168h")]
    Number(String),
    /// It is longer than 292 years.
    #[error("duration {0:?} is longer than 292 years")]
    TooLong(String),
}

impl Duration {
    /// This many whole seconds; the longest duration when that is too many.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        let nanos = seconds.saturating_mul(1_000_000_000);
        Self(if nanos > i64::MAX as u64 { i64::MAX as u64 } else { nanos })
    }

    /// This many milliseconds; the longest duration when that is too many.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        let nanos = milliseconds.saturating_mul(1_000_000);
        Self(if nanos > i64::MAX as u64 { i64::MAX as u64 } else { nanos })
    }

    /// The same length as the standard library's type.
    #[must_use]
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let given = || text.to_owned();
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.is_empty() {
            return Err(ParseDurationError::Empty);
        }
        if rest.starts_with('-') {
            return Err(ParseDurationError::Negative(given()));
        }
        if rest == "0" {
            return Ok(Self(0));
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, next) = tail.split_at(unit_end);
            let (_, nanos) =
                NANOS.iter().find(|(name, _)| *name == unit).ok_or_else(|| ParseDurationError::Unit(given()))?;
            total += part(number, *nanos).ok_or_else(|| ParseDurationError::Number(given()))?;
            if total > i64::MAX as u128 {
                return Err(ParseDurationError::TooLong(given()));
            }
            rest = next;
        }
        u64::try_from(total).map(Self).map_err(|_| ParseDurationError::TooLong(given()))
    }
}

/// `number` (digits with at most one point) times `nanos`; `None` when it is not a number. Digits beyond what a
/// duration can hold saturate, and the caller refuses the sum.
fn part(number: &str, nanos: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().unwrap_or(u64::MAX) };
    let mut value = u128::from(whole) * u128::from(nanos);
    let mut scale = u128::from(nanos);
    for digit in fraction.bytes() {
        scale /= 10;
        value += scale * u128::from(digit - b'0');
    }
    Some(value)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        let (seconds, nanos) = (self.0 / SECOND, self.0 % SECOND);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match (seconds, nanos) {
            (0, 0) => Ok(()),
            (_, 0) => write!(f, "{seconds}s"),
            _ => write!(f, "{}s", format!("{seconds}.{nanos:09}").trim_end_matches('0')),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Given)
    }
}

/// Reads what a key of a configuration may hold.
struct Given;

impl de::Visitor<'_> for Given {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 30s, 15m or 168h")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        // A variable that holds a number holds its text.
        if let Ok(nanos) = text.parse::<i64>() {
            return self.visit_i64(nanos);
        }
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<Duration, E> {
        match i64::try_from(nanos) {
            Ok(_) => Ok(Duration(nanos)),
            Err(_) => Err(E::custom(ParseDurationError::TooLong(nanos.to_string()))),
        }
    }

    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<Duration, E> {
        let whole = u64::try_from(nanos).map_err(|_| E::custom(ParseDurationError::Negative(nanos.to_string())))?;
        self.visit_u64(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_syntax_is_read_and_written() {
        for (text, nanos, written) in [
            ("0", 0, "0s"),
            ("300ms", 300_000_000, "0.3s"),
            ("1.5h", 5_400_000_000_000, "1h30m"),
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("168h", 604_800_000_000_000, "168h"),
            ("7d", 604_800_000_000_000, "168h"),
            (".5s", 500_000_000, "0.5s"),
            ("+1m1s", 61_000_000_000, "1m1s"),
            ("1us", 1_000, "0.000001s"),
        ] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (nanos, written), "{text}");
            assert_eq!(written.parse(), Ok(parsed), "{text} does not come back");
        }
    }

    #[test]
    fn bad_durations_are_refused() {
        for (text, message) in [
            ("", "is empty"),
            ("-1s", "is negative"),
            ("5", "without a known unit"),
            ("5 s", "without a known unit"),
            ("h", "without a number"),
            ("1.2.3s", "without a number"),
            ("1x", "without a known unit"),
            ("300000d", "longer than 292 years"),
            ("99999999999999999999999h", "longer than 292 years"),
        ] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
