//! What has been verified a short while ago, or found wrong: a small cache, for a bcrypt hash takes longer to compute than a manifest to
//! serve. It holds no password, but a keyed hash of name, password and stored hash; the key is made at start and never
//! leaves the process. An entry of a user whose stored hash has changed is never found again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// How long a verified pair counts.
const LIFETIME: Duration = Duration::from_secs(60);
/// The most pairs that are remembered.
const MOST: usize = 4096;

/// What stands for a verified pair.
pub(super) type Proof = [u8; 32];

/// A cache of verified pairs.
pub(super) struct Verified {
    /// With the key in it already.
    mac: Hmac<Sha256>,
    until: Mutex<HashMap<Proof, Instant>>,
}

impl Verified {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        // 244 random bits from the operating system.
        key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        let mac = Hmac::new_from_slice(&key).expect("a key of any length will do");
        Self { mac, until: Mutex::default() }
    }

    /// What stands for this name and password where the stored hash is this.
    pub(super) fn proof(&self, name: &str, password: &[u8], hash: &str) -> Proof {
        let mut mac = self.mac.clone();
        for part in [name.as_bytes(), password, hash.as_bytes()] {
            // The length keeps the parts apart.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    pub(super) fn contains(&self, proof: &Proof, now: Instant) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(proof).is_some_and(|until| now < *until)
    }

    pub(super) fn insert(&self, proof: Proof, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= MOST {
            until.retain(|_, until| now < *until);
        }
        // More users than there is room for within a minute: their passwords are checked again.
        if until.len() >= MOST {
            until.clear();
        }
        until.insert(proof, now + LIFETIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_counts_for_a_while() {
        let (verified, now) = (Verified::new(), Instant::now());
        let proof = verified.proof("alice", b"secret", "$2y$");
        assert!(!verified.contains(&proof, now));
        verified.insert(proof, now);
        assert!(verified.contains(&proof, now + LIFETIME - Duration::from_nanos(1)));
        assert!(!verified.contains(&proof, now + LIFETIME));
        for (name, password, hash) in
            [("alice", "secret", "$2b$"), ("alic", "esecret", "$2y$"), ("alice", "secre", "t$2y$")]
        {
            assert!(!verified.contains(&verified.proof(name, password.as_bytes(), hash), now), "{name} {password}");
        }
        assert_ne!(Verified::new().proof("alice", b"secret", "$2y$"), proof, "the key is not its own");
    }

    #[test]
    fn the_cache_does_not_grow() {
        let (verified, now) = (Verified::new(), Instant::now());
        for n in 0..3 * MOST {
            verified.insert(verified.proof(&n.to_string(), b"", ""), now);
        }
        assert!(verified.until.lock().unwrap().len() <= MOST);
    }
}
