//! An incremental hash over any algorithm, fed while content streams by.

use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use crate::{Algorithm, Digest};

/// A running hash. Cloning it takes a snapshot, so that a digest can be asked for before the content has ended.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: State,
    bytes: u64,
}

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(Box<sha2::Sha384>),
    Sha512(Box<sha2::Sha512>),
}

impl Hasher {
    /// A hash of nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(Box::new(sha2::Sha384::new())),
            Algorithm::Sha512 => State::Sha512(Box::new(sha2::Sha512::new())),
        };
        Hasher { state, bytes: 0 }
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, content: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(content),
            State::Sha384(state) => state.update(content),
            State::Sha512(state) => state.update(content),
        }
        self.bytes += content.len() as u64;
    }

    /// The number of bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The algorithm this hash was made for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha384(_) => Algorithm::Sha384,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The state as bytes, from which [`Hasher::restore`] goes on, also in another process: 104 bytes of sha256, 208 of the
    /// others. They hold up to 127 bytes of the content.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        match &self.state {
            State::Sha256(state) => state.serialize().to_vec(),
            State::Sha384(state) => state.serialize().to_vec(),
            State::Sha512(state) => state.serialize().to_vec(),
        }
    }

    /// A hash that goes on behind the first `bytes` bytes of a content, from a state that [`Hasher::save`] gave; none if it
    /// is not such a state.
    #[must_use]
    pub fn restore(algorithm: Algorithm, saved: &[u8], bytes: u64) -> Option<Self> {
        fn state<T: SerializableState>(saved: &[u8]) -> Option<T> {
            T::deserialize(&SerializedState::<T>::try_from(saved).ok()?).ok()
        }
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(state(saved)?),
            Algorithm::Sha384 => State::Sha384(Box::new(state(saved)?)),
            Algorithm::Sha512 => State::Sha512(Box::new(state(saved)?)),
        };
        Some(Hasher { state, bytes })
    }

    /// Ends the content and gives its digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(state) => Digest::from_raw(Algorithm::Sha256, &state.finalize()),
            State::Sha384(state) => Digest::from_raw(Algorithm::Sha384, &state.finalize()),
            State::Sha512(state) => Digest::from_raw(Algorithm::Sha512, &state.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn pieces_hash_like_the_whole(pieces: Vec<Vec<u8>>) {
            for algorithm in Algorithm::ALL {
                let mut hasher = Hasher::new(algorithm);
                for piece in &pieces {
                    hasher.update(piece);
                }
                let whole = pieces.concat();
                let half = pieces.len() / 2;
                let mut first = Hasher::new(algorithm);
                pieces[..half].iter().for_each(|piece| first.update(piece));
                let mut second = Hasher::restore(algorithm, &first.save(), first.bytes()).unwrap();
                pieces[half..].iter().for_each(|piece| second.update(piece));
                proptest::prop_assert_eq!(second.bytes(), whole.len() as u64);
                proptest::prop_assert_eq!(second.finish(), Digest::of(algorithm, &whole));
                proptest::prop_assert_eq!(hasher.bytes(), whole.len() as u64);
                proptest::prop_assert_eq!(hasher.algorithm(), algorithm);
                proptest::prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &whole));
            }
        }
    }

    #[test]
    fn what_is_no_state_is_not_gone_on_from() {
        let saved = Hasher::new(Algorithm::Sha256).save();
        assert_eq!((saved.len(), Hasher::new(Algorithm::Sha512).save().len()), (104, 208));
        assert!(Hasher::restore(Algorithm::Sha512, &saved, 0).is_none());
        assert!(Hasher::restore(Algorithm::Sha256, &saved[1..], 0).is_none());
    }
}
