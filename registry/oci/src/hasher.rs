//! An incremental hash over any algorithm, fed while content streams by.

use sha2::Digest as _;

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
                proptest::prop_assert_eq!(hasher.bytes(), whole.len() as u64);
                proptest::prop_assert_eq!(hasher.algorithm(), algorithm);
                proptest::prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &whole));
            }
        }
    }
}
