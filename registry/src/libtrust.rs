//! How libtrust names a key: what schema 1 signatures and the tokens of Docker Registry 2.8 call keys by.
//!
//! It is the first 240 bits of the SHA-256 of the key's `SubjectPublicKeyInfo` (RFC 5280) in Base32, in groups of four.

use sha2::{Digest as _, Sha256};

/// The name of the key whose `SubjectPublicKeyInfo` in DER this is.
pub(crate) fn key_id(der: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(der);
    // 30 bytes are 48 characters of five bits: nothing is left over.
    let groups = hash[..30].chunks(5).flat_map(|chunk| {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8).rev().map(move |at| char::from(ALPHABET[(bits >> (5 * at)) as usize & 31]))
    });
    let mut id = String::with_capacity(59);
    for (at, character) in groups.enumerate() {
        if at > 0 && at % 4 == 0 {
            id.push(':');
        }
        id.push(character);
    }
    id
}
