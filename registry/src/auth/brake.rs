//! [pure] A brake for who tries one password after the other.
//!
//! Failures fill a vessel that drains with time, one for each pair of address and name, and one for each address, since who
//! guesses may also try one password with many names. While one is full, no more passwords are checked for it. What was right
//! a short while ago is not checked and passes, so clients at work behind the same address go on.
//!
//! There is no vessel for a name alone: by that, anybody could keep somebody out.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many failures a pair of address and name has at once, and how long it takes until one is forgotten.
const OF_PAIR: Vessel = Vessel { holds: 10, drains: Duration::from_secs(6) };
/// The same of an address. A proxy in front has the failures of all its clients.
const OF_ADDRESS: Vessel = Vessel { holds: 100, drains: Duration::from_millis(600) };
/// How many vessels are remembered.
const MOST: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Vessel {
    holds: u32,
    drains: Duration,
}

/// Whose failures are counted: names by their hash, of which nobody outside knows the key.
type Key = (Option<IpAddr>, Option<u64>);

/// The brake.
pub(super) struct Brake {
    hasher: RandomState,
    /// When each is empty again.
    empty: Mutex<HashMap<Key, Instant>>,
}

/// The network of an address that one client has: of IPv6 the first half.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

impl Brake {
    pub(super) fn new() -> Self {
        Brake { hasher: RandomState::new(), empty: Mutex::default() }
    }

    fn keys(&self, from: Option<IpAddr>, name: &str) -> [(Key, Vessel); 2] {
        let from = from.map(network);
        [((from, Some(self.hasher.hash_one(name))), OF_PAIR), ((from, None), OF_ADDRESS)]
    }

    /// How long nothing is checked for somebody at this address who says this name; none if it is.
    pub(super) fn holds(&self, from: Option<IpAddr>, name: &str, now: Instant) -> Option<Duration> {
        let empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = self.keys(from, name).into_iter().filter_map(|(key, Vessel { holds, drains })| {
            let full = empty.get(&key)?.saturating_duration_since(now);
            // One more has to fit.
            full.checked_sub(drains * (holds - 1)).filter(|wait| !wait.is_zero())
        });
        waits.max()
    }

    /// Forgets all failures.
    pub(super) fn release(&self) {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts a failure.
    pub(super) fn failed(&self, from: Option<IpAddr>, name: &str, now: Instant) {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        if empty.len() >= MOST {
            empty.retain(|_, at| *at > now);
        }
        // More guess at once than there is room for: those that are nearly empty are forgotten.
        if empty.len() >= MOST {
            let mut times: Vec<Instant> = empty.values().copied().collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            empty.retain(|_, at| *at > middle);
        }
        for (key, Vessel { drains, .. }) in self.keys(from, name) {
            let at = empty.entry(key).or_insert(now);
            *at = (*at).max(now) + drains;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    fn fail(brake: &Brake, from: &str, name: &str, count: u32, now: Instant) {
        for _ in 0..count {
            brake.failed(at(from), name, now);
        }
    }

    #[test]
    fn who_fails_often_has_to_wait_and_nobody_else() {
        let (brake, now) = (Brake::new(), Instant::now());
        fail(&brake, "10.0.0.1", "alice", OF_PAIR.holds - 1, now);
        assert_eq!(brake.holds(at("10.0.0.1"), "alice", now), None);
        fail(&brake, "10.0.0.1", "alice", 1, now);
        assert_eq!(brake.holds(at("10.0.0.1"), "alice", now), Some(OF_PAIR.drains));
        assert_eq!(brake.holds(at("::ffff:10.0.0.1"), "alice", now), Some(OF_PAIR.drains), "it is the same");
        assert_eq!(brake.holds(at("10.0.0.1"), "bob", now), None);
        assert_eq!(brake.holds(at("10.0.0.2"), "alice", now), None, "nobody keeps somebody else out");
        assert_eq!(brake.holds(None, "alice", now), None);
        let later = now + OF_PAIR.drains;
        assert_eq!(brake.holds(at("10.0.0.1"), "alice", later), None, "one more");
        fail(&brake, "10.0.0.1", "alice", 1, later);
        assert_eq!(brake.holds(at("10.0.0.1"), "alice", later), Some(OF_PAIR.drains));
    }

    #[test]
    fn one_password_with_many_names_is_braked_as_well() {
        let (brake, now) = (Brake::new(), Instant::now());
        for number in 0..OF_ADDRESS.holds {
            brake.failed(at("2001:db8::1"), &format!("user{number}"), now);
        }
        assert!(brake.holds(at("2001:db8::1"), "another", now).is_some());
        assert!(brake.holds(at("2001:db8::2:3:4"), "another", now).is_some(), "one client has them all");
        assert_eq!(brake.holds(at("2001:db8:0:1::1"), "another", now), None);
        assert_eq!(brake.holds(at("2001:db8::1"), "another", now + OF_ADDRESS.drains * 2), None);
    }

    #[test]
    fn the_brake_does_not_grow_and_keeps_who_fails_most() {
        let (brake, now) = (Brake::new(), Instant::now());
        fail(&brake, "10.0.0.1", "alice", OF_PAIR.holds, now);
        for number in 0..2 * MOST as u32 {
            brake.failed(Some(IpAddr::V4(number.into())), "x", now);
        }
        assert!(brake.empty.lock().unwrap().len() <= MOST + 2);
        assert!(brake.holds(at("10.0.0.1"), "alice", now).is_some());
    }
}
