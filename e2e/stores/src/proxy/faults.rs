//! What is broken, and when: a table of shares, and dice that fall the same way for the same seed.

use std::time::Duration;

use http::Method;

use super::Kind;

/// The longest time for which a request is held back.
pub const MAX_STALL: Duration = Duration::from_secs(60);

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 500, and the server never saw the request.
    Error,
    /// 503 in the words with which the server asks for fewer requests, and it never saw the request.
    SlowDown,
    /// 403 in the words with which the server refuses what the credentials do not permit, and it never saw the request.
    Deny,
    /// The connection is reset, and the server never saw the request.
    Reset,
    /// The server has done what it was asked, and the connection is reset instead of an answer.
    Lost,
    /// The request is held back for a while, and then passed on.
    Stall,
    /// Half of the answer's body comes, and then the connection ends. An answer without a body passes.
    Truncate,
    /// The server has done what it was asked, and half of the answer's body comes, or nothing of an answer that has none;
    /// then nothing more, until the client goes away or [`MAX_STALL`] is over.
    Hang,
}

/// What is broken, and how often.
///
/// ```
/// # use berth_stores::{Fault, Faults, Kind};
/// // A fifth of the writes of objects is refused, a tenth done and not answered, until that was so three times.
/// Faults::of_seed(7).share(Fault::SlowDown, 0.2).share(Fault::Lost, 0.1).only(&http::Method::PUT, Kind::Object).at_most(3);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    seed: u64,
    shares: Vec<(Fault, f64)>,
    only: Vec<(Method, Kind)>,
    at_most: u64,
    stall: Duration,
}

impl Faults {
    /// Nothing is broken.
    pub fn none() -> Self {
        Self::of_seed(0)
    }

    /// Nothing is broken yet; which requests will be depends on the seed and on the order of their arrival alone.
    pub fn of_seed(seed: u64) -> Self {
        let stall = Duration::from_secs(1);
        Self { seed, shares: Vec::new(), only: Vec::new(), at_most: u64::MAX, stall }
    }

    /// Breaks this share of the requests, from 0 to 1, in this way. Where the shares of several faults are more than the
    /// whole, the later ones get what is left.
    #[must_use]
    pub fn share(mut self, fault: Fault, share: f64) -> Self {
        self.shares.push((fault, share.clamp(0.0, 1.0)));
        self
    }

    /// Breaks such requests only, and those of further calls.
    #[must_use]
    pub fn only(mut self, method: &Method, kind: Kind) -> Self {
        self.only.push((method.clone(), kind));
        self
    }

    /// Breaks no more than so many requests.
    #[must_use]
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = count;
        self
    }

    /// For how long a request is held back, a second unless it is said here, and [`MAX_STALL`] at most.
    #[must_use]
    pub fn stall_for(mut self, time: Duration) -> Self {
        self.stall = time.min(MAX_STALL);
        self
    }

    fn concerns(&self, method: &Method, kind: Kind) -> bool {
        self.only.is_empty() || self.only.iter().any(|(of, is)| of == method && *is == kind)
    }

    /// The fault for a number from 0 to 1.
    fn at(&self, number: f64) -> Option<Fault> {
        let mut end = 0.0;
        self.shares.iter().find_map(|(fault, share)| {
            end += share;
            (number < end).then_some(*fault)
        })
    }
}

/// Faults, and how far the dice have been thrown.
#[derive(Debug)]
pub(super) struct Dice {
    faults: Faults,
    state: u64,
    struck: u64,
}

impl Default for Dice {
    fn default() -> Self {
        Self::new(Faults::none())
    }
}

impl Dice {
    pub(super) fn new(faults: Faults) -> Self {
        Self { state: faults.seed, faults, struck: 0 }
    }

    /// What happens to this request. One that is not concerned throws no dice, so that what goes on beside the requests
    /// that are broken does not change which of them are.
    pub(super) fn throw(&mut self, method: &Method, kind: Kind) -> Option<Fault> {
        if self.faults.shares.is_empty() || self.struck >= self.faults.at_most || !self.faults.concerns(method, kind) {
            return None;
        }
        let number = self.next();
        let fault = self.faults.at(number);
        self.struck += u64::from(fault.is_some());
        fault
    }

    pub(super) fn stall(&self) -> Duration {
        self.faults.stall
    }

    /// The next number of SplitMix64, from 0 to 1.
    fn next(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The 53 bits that a number from 0 to 1 holds.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(faults: Faults, count: usize) -> Vec<Option<Fault>> {
        let mut dice = Dice::new(faults);
        (0..count).map(|_| dice.throw(&Method::PUT, Kind::Object)).collect()
    }

    #[test]
    fn the_same_seed_breaks_the_same_requests() {
        let faults = |seed| Faults::of_seed(seed).share(Fault::Error, 0.3).share(Fault::Reset, 0.3);
        assert_eq!(throws(faults(1), 100), throws(faults(1), 100));
        assert_ne!(throws(faults(1), 100), throws(faults(2), 100));
    }

    #[test]
    fn each_fault_gets_its_share() {
        let thrown = throws(Faults::of_seed(3).share(Fault::Error, 0.1).share(Fault::SlowDown, 0.25), 10_000);
        let count = |fault| thrown.iter().filter(|is| **is == fault).count();
        assert!((900..1100).contains(&count(Some(Fault::Error))), "{}", count(Some(Fault::Error)));
        assert!((2350..2650).contains(&count(Some(Fault::SlowDown))), "{}", count(Some(Fault::SlowDown)));
        assert_eq!(count(Some(Fault::Reset)), 0);
    }

    #[test]
    fn none_and_all_are_exact() {
        assert!(throws(Faults::none(), 1000).iter().all(Option::is_none));
        assert!(throws(Faults::of_seed(4).share(Fault::Lost, 0.0), 1000).iter().all(Option::is_none));
        assert!(throws(Faults::of_seed(4).share(Fault::Lost, 1.0), 1000).iter().all(|is| *is == Some(Fault::Lost)));
        let more = Faults::of_seed(4).share(Fault::Lost, 1.0).share(Fault::Error, 1.0);
        assert!(throws(more, 1000).iter().all(|is| *is == Some(Fault::Lost)));
    }

    #[test]
    fn no_more_are_broken_than_was_said() {
        let thrown = throws(Faults::of_seed(5).share(Fault::Error, 1.0).at_most(2), 5);
        assert_eq!(thrown, [Some(Fault::Error), Some(Fault::Error), None, None, None]);
    }

    #[test]
    fn requests_that_are_not_concerned_change_nothing() {
        let faults = Faults::of_seed(6).share(Fault::Error, 0.5).only(&Method::PUT, Kind::Object);
        let alone = throws(faults.clone(), 50);
        let mut dice = Dice::new(faults);
        let among: Vec<Option<Fault>> = (0..50)
            .map(|_| {
                assert_eq!(dice.throw(&Method::GET, Kind::Object), None);
                assert_eq!(dice.throw(&Method::PUT, Kind::Part), None);
                dice.throw(&Method::PUT, Kind::Object)
            })
            .collect();
        assert_eq!(alone, among);
    }

    #[test]
    fn a_stall_is_bounded() {
        assert_eq!(Dice::new(Faults::none().stall_for(Duration::MAX)).stall(), MAX_STALL);
    }
}
