//! [pure] Whether a request is tried again, and when.
//!
//! Two bounds. A request is tried so many times, and not for longer than somebody waits; the time between two tries is drawn
//! from all up to a bound that doubles (*full jitter*), so that those that have failed together do not come back together.
//! And all requests of a store share a budget: a try more costs, an answer pays back. A store that fails now and then is not
//! noticed; one that is down gets one try a request when the budget is spent, not five, and has air to come up again.

use std::time::Duration;

/// How requests are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// The most tries of one request, the first included.
    pub max_tries: u32,
    /// The longest time before the second try; it doubles from try to try.
    pub first_wait: Duration,
    /// The longest time before any try.
    pub max_wait: Duration,
    /// How long after the first failure of a request, or of a body that is being read, another try may still begin.
    pub patience: Duration,
    /// How long an object is waited for that the store says it has made, but does not show yet.
    pub settling: Duration,
    /// What the budget holds when all is well. A try more costs [`RetryOptions::TRY_COST`].
    pub budget: u32,
}

impl RetryOptions {
    /// What a try more costs. An answer at the first try pays back one.
    pub const TRY_COST: u32 = 5;
}

impl Default for RetryOptions {
    fn default() -> Self {
        RetryOptions {
            max_tries: 5,
            first_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            settling: Duration::from_secs(5 * 60),
            budget: 500,
        }
    }
}

/// How long to wait before the next try; none if there is none. `tries` have failed, the first of them `since` ago;
/// `random` is any number.
pub(super) fn next_try(options: &RetryOptions, tries: u32, since: Duration, random: u64) -> Option<Duration> {
    if tries >= options.max_tries {
        return None;
    }
    let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
    let longest = options.first_wait.saturating_mul(doubled).min(options.max_wait);
    // The share of the longest wait, in steps too small to matter.
    let share = (random >> 32) as f64 / f64::from(u32::MAX);
    let wait = longest.mul_f64(share);
    (since.saturating_add(wait) <= options.patience).then_some(wait)
}

/// How long to wait before the next look at what is being made; none if it was waited for long enough. `looks` have found
/// nothing, the first of them `since` ago.
pub(super) fn next_look(options: &RetryOptions, looks: u32, since: Duration) -> Option<Duration> {
    let doubled = 2_u32.saturating_pow(looks.saturating_sub(1));
    let wait = options.first_wait.saturating_mul(doubled).min(options.max_wait);
    (since.saturating_add(wait) <= options.settling).then_some(wait)
}

/// What is left of the budget when a try more is paid; none if there is too little.
pub(super) fn pay(budget: u32) -> Option<u32> {
    budget.checked_sub(RetryOptions::TRY_COST)
}

/// The budget after an answer: the price of the last of `tries` comes back, so that a store that answers at the second try
/// does not use it up; an answer at the first try adds one.
pub(super) fn pay_back(options: &RetryOptions, budget: u32, tries: u32) -> u32 {
    let amount = if tries > 1 { RetryOptions::TRY_COST } else { 1 };
    budget.saturating_add(amount).min(options.budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: RetryOptions = RetryOptions {
        max_tries: 5,
        first_wait: Duration::from_millis(100),
        max_wait: Duration::from_millis(350),
        patience: Duration::from_secs(2),
        settling: Duration::from_secs(3),
        budget: 12,
    };

    #[test]
    fn the_longest_wait_doubles_up_to_a_bound_and_every_wait_up_to_it_may_be_drawn() {
        const LONGEST: u64 = u64::MAX;
        const HALF: u64 = u64::MAX / 2;
        for (tries, since_ms, random, expected) in [
            (1, 0, LONGEST, Some(100)),
            (2, 0, LONGEST, Some(200)),
            (3, 0, LONGEST, Some(350)),
            (4, 0, LONGEST, Some(350)),
            (1, 0, 0, Some(0)),
            (1, 0, HALF, Some(50)),
            (4, 0, HALF, Some(175)),
            (5, 0, 0, None),
            (6, 0, 0, None),
            (1, 1_900, LONGEST, Some(100)),
            (1, 1_901, LONGEST, None),
            (1, 1_999, 0, Some(0)),
            (1, 2_001, 0, None),
        ] {
            let wait = next_try(&OPTIONS, tries, Duration::from_millis(since_ms), random);
            let wait = wait.map(|wait| (wait.as_secs_f64() * 1000.0).round() as u64);
            assert_eq!(wait, expected, "{tries} tries, {since_ms} ms, {random}");
        }
        let endless = RetryOptions { max_tries: u32::MAX, ..OPTIONS };
        assert_eq!(next_try(&endless, u32::MAX - 1, Duration::ZERO, LONGEST), Some(OPTIONS.max_wait));
    }

    #[test]
    fn what_is_being_made_is_looked_for_less_and_less_often_up_to_a_bound() {
        for (looks, since_ms, expected) in [
            (1, 0, Some(100)),
            (2, 100, Some(200)),
            (3, 300, Some(350)),
            (4, 650, Some(350)),
            (11, 2_650, Some(350)),
            (11, 2_651, None),
            (u32::MAX, 0, Some(350)),
        ] {
            let wait = next_look(&OPTIONS, looks, Duration::from_millis(since_ms));
            assert_eq!(wait, expected.map(Duration::from_millis), "{looks} looks, {since_ms} ms");
        }
    }

    #[test]
    fn a_try_more_costs_and_an_answer_pays_back_up_to_the_whole_budget() {
        for (budget, expected) in [(12, Some(7)), (7, Some(2)), (5, Some(0)), (4, None), (0, None)] {
            assert_eq!(pay(budget), expected, "{budget}");
        }
        for (budget, tries, expected) in [(0, 1, 1), (0, 2, 5), (0, 5, 5), (11, 1, 12), (12, 1, 12), (10, 3, 12)] {
            assert_eq!(pay_back(&OPTIONS, budget, tries), expected, "{budget} after {tries} tries");
        }
    }

    #[test]
    fn a_store_that_fails_one_time_in_five_never_uses_the_budget_up() {
        let options = RetryOptions::default();
        let (mut budget, mut state) = (options.budget, 1_u64);
        for _ in 0..100_000 {
            let mut tries = 1;
            loop {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let fails = (state >> 33) % 5 == 0;
                if !fails || tries == options.max_tries {
                    break;
                }
                budget = pay(budget).unwrap();
                tries += 1;
            }
            budget = pay_back(&options, budget, tries);
        }
    }
}
