//! When a certificate is asked for: nothing but arithmetic.

use std::time::Duration;

use jiff::Timestamp;

/// After the first failure. An authority counts failures for an hour, and Let's Encrypt allows five.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(6 * 3600);

/// When a certificate of this validity is renewed: after two thirds of it, which of 90 days leaves 30.
pub(super) fn renewal(not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let seconds = (not_after.as_second() - not_before.as_second()).max(0);
    Timestamp::from_second(not_before.as_second() + seconds / 3 * 2).unwrap_or(not_before)
}

/// How long to wait after so many failures in a row.
pub(super) fn retry(failures: u32) -> Duration {
    let factor = 4_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds_of_the_validity() {
        let check = |from: &str, to: &str, expected: &str| {
            let found = renewal(from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(found, expected.parse::<Timestamp>().unwrap());
        };
        check("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z", "2026-03-02T00:00:00Z");
        check("2026-01-01T00:00:00Z", "2026-01-07T00:00:00Z", "2026-01-05T00:00:00Z");
        // Nonsense is renewed at once.
        check("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    }

    #[test]
    fn failures_are_far_apart() {
        let minutes: Vec<u64> = (1..8).map(|failures| retry(failures).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 4, 16, 64, 256, 360, 360]);
        assert_eq!(retry(u32::MAX), LONGEST_RETRY);
    }
}
