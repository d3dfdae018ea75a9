//! Tokens that were verified, by their hash, for as long as they count and no longer than a few minutes: a signature takes
//! longer to verify than a manifest to serve. When the keys change, nothing of before is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest as _, Sha256};

use super::super::Identity;
use crate::jose::Keys;

/// The most tokens that are remembered.
const MOST: usize = 4096;
/// How long they are altogether, in bytes. Who somebody is takes several times as much as the token that says it, so this may be
/// some tens of MiB.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// How long a token is believed without another look, in seconds.
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
    until: HashMap<TokenDigest, One>,
    /// How long the tokens are altogether.
    bytes: usize,
}

struct One {
    identity: Identity,
    until: i64,
    bytes: usize,
}

impl Known {
    fn is_full(&self, bytes: usize) -> bool {
        self.until.len() >= MOST || self.bytes + bytes > MOST_BYTES
    }

    fn retain(&mut self, counts: impl Fn(&One) -> bool) {
        let bytes = &mut self.bytes;
        self.until.retain(|_, one| {
            let stays = counts(one);
            *bytes -= if stays { 0 } else { one.bytes };
            stays
        });
    }
}

impl Believed {
    /// What stands for this token.
    pub(super) fn digest(token: &str) -> TokenDigest {
        Sha256::digest(token).into()
    }

    /// Who it is about, if it was verified by these keys and counts; `now` in seconds since 1970.
    pub(super) fn find(&self, digest: &TokenDigest, by: &Arc<Keys>, now: i64) -> Option<Identity> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let One { identity, until, .. } = known.until.get(digest)?;
        (std::ptr::eq(known.by.as_ptr(), Arc::as_ptr(by)) && now <= *until).then(|| identity.clone())
    }

    /// Remembers who a token of this length is about that was verified by these keys, and counts `until` then.
    pub(super) fn insert(
        &self,
        (digest, bytes): (TokenDigest, usize),
        by: &Arc<Keys>,
        identity: Identity,
        now: i64,
        until: i64,
    ) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(known.by.as_ptr(), Arc::as_ptr(by)) {
            *known = Known { by: Arc::downgrade(by), ..Known::default() };
        }
        if known.is_full(bytes) {
            known.retain(|one| now <= one.until);
        }
        // More tokens than there is room for within minutes: they are verified again.
        if known.is_full(bytes) {
            known.retain(|_| false);
        }
        let until = until.min(now.saturating_add(LONGEST_SECONDS));
        known.bytes += bytes;
        if let Some(before) = known.until.insert(digest, One { identity, until, bytes }) {
            known.bytes -= before.bytes;
        }
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
        believed.insert((digest, 5), &keys, somebody.clone(), 0, 60);
        assert_eq!(believed.find(&digest, &keys, 60), Some(somebody.clone()));
        assert_eq!(believed.find(&digest, &keys, 61), None);
        assert_eq!(believed.find(&Believed::digest("another"), &keys, 0), None);
        let others = Arc::new(Keys::default());
        assert_eq!(believed.find(&digest, &others, 0), None);
        believed.insert((digest, 5), &others, somebody, 0, i64::MAX);
        assert_eq!(believed.find(&digest, &keys, 0), None);
        assert_eq!(believed.find(&digest, &others, LONGEST_SECONDS + 1), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (believed, keys) = (Believed::default(), Arc::new(Keys::default()));
        for number in 0..2 * MOST {
            believed.insert((Believed::digest(&number.to_string()), 5), &keys, Identity::new(""), 0, 60);
        }
        assert!(believed.known.lock().unwrap().until.len() <= MOST);
        // Some are long, and one comes twice.
        for number in [0, 0].into_iter().chain(0..200) {
            let token = (Believed::digest(&format!("long {number}")), MOST_BYTES / 100);
            believed.insert(token, &keys, Identity::new(""), 0, 60);
            let known = believed.known.lock().unwrap();
            let bytes: usize = known.until.values().map(|one| one.bytes).sum();
            assert!(bytes == known.bytes && bytes <= MOST_BYTES, "{bytes} {}", known.bytes);
        }
    }
}
