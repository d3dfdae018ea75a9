//! Tokens that were verified, by their hash, for as long as they count and no longer than a few minutes: a signature takes
//! longer to verify than a manifest to serve. When the keys change, nothing of before is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest as _, Sha256};

use super::super::Identity;
use crate::jose::Keys;

/// The most tokens that are remembered.
const MOST: usize = 4096;
/// How long a token is believed without another look, in seconds: its certificate may end before it does.
const LONGEST_SECONDS: i64 = 300;

/// What stands for a token.
pub(super) type TokenDigest = [u8; 32];

#[derive(Default)]
pub(super) struct Believed {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By which keys the tokens were verified.
    by: Weak<Keys>,
    until: HashMap<TokenDigest, (Identity, i64)>,
}

impl Believed {
    /// What stands for this token.
    pub(super) fn digest(token: &str) -> TokenDigest {
        Sha256::digest(token).into()
    }

    /// Who it is about, if it was verified by these keys and counts; `now` in seconds since 1970.
    pub(super) fn find(&self, digest: &TokenDigest, by: &Arc<Keys>, now: i64) -> Option<Identity> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, until) = known.until.get(digest)?;
        (std::ptr::eq(known.by.as_ptr(), Arc::as_ptr(by)) && now <= *until).then(|| identity.clone())
    }

    /// Remembers who a token is about that was verified by these keys, and counts `until` then.
    pub(super) fn insert(&self, digest: TokenDigest, by: &Arc<Keys>, identity: Identity, now: i64, until: i64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(known.by.as_ptr(), Arc::as_ptr(by)) {
            *known = Known { by: Arc::downgrade(by), until: HashMap::new() };
        }
        if known.until.len() >= MOST {
            known.until.retain(|_, (_, until)| now <= *until);
        }
        // More tokens than there is room for within minutes: they are verified again.
        if known.until.len() >= MOST {
            known.until.clear();
        }
        known.until.insert(digest, (identity, until.min(now.saturating_add(LONGEST_SECONDS))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_believed_for_a_while_and_by_the_same_keys() {
        let (believed, keys) = (Believed::default(), Arc::new(Keys::default()));
        let (digest, somebody) = (Believed::digest("token"), Identity::new("somebody"));
        assert_eq!(believed.find(&digest, &keys, 0), None);
        believed.insert(digest, &keys, somebody.clone(), 0, 60);
        assert_eq!(believed.find(&digest, &keys, 60), Some(somebody.clone()));
        assert_eq!(believed.find(&digest, &keys, 61), None);
        assert_eq!(believed.find(&Believed::digest("another"), &keys, 0), None);
        let others = Arc::new(Keys::default());
        assert_eq!(believed.find(&digest, &others, 0), None);
        believed.insert(digest, &others, somebody, 0, i64::MAX);
        assert_eq!(believed.find(&digest, &keys, 0), None);
        assert_eq!(believed.find(&digest, &others, LONGEST_SECONDS + 1), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (believed, keys) = (Believed::default(), Arc::new(Keys::default()));
        for number in 0..2 * MOST {
            believed.insert(Believed::digest(&number.to_string()), &keys, Identity::new(""), 0, 60);
        }
        assert!(believed.known.lock().unwrap().until.len() <= MOST);
    }
}
