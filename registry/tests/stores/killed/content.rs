//! Layers that take no memory: any part of one can be made at any time.

use std::sync::OnceLock;

use berth_oci::{Algorithm, Digest, Hasher};
use bytes::Bytes;

/// A layer is made of blocks of this size, in bytes: a number that no other block has, and what all have in common.
const BLOCK_BYTES: u64 = 1 << 20;
const HEAD_BYTES: u64 = 16;

/// What all blocks have in common: noise.
fn common() -> Bytes {
    static COMMON: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut content = Vec::with_capacity(BLOCK_BYTES as usize);
        while content.len() < BLOCK_BYTES as usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            content.extend_from_slice(&(state >> 11).to_le_bytes());
        }
        content.into()
    };
    COMMON.get_or_init(make).clone()
}

/// A layer of a size.
#[derive(Clone)]
pub(super) struct Layer {
    number: u64,
    bytes: u64,
    digest: Digest,
}

impl Layer {
    pub(super) fn new(number: u64, bytes: u64) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        pieces(number, 0, bytes).for_each(|piece| hasher.update(&piece));
        Layer { number, bytes, digest: hasher.finish() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its bytes from `start` to before `end`, in pieces.
    pub(super) fn part(&self, start: u64, end: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
        pieces(self.number, start, end.min(self.bytes))
    }
}

fn pieces(number: u64, mut start: u64, end: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    std::iter::from_fn(move || {
        let (block, within) = (start / BLOCK_BYTES, start % BLOCK_BYTES);
        let (whole, behind) = match within < HEAD_BYTES {
            true => (Bytes::from([number.to_le_bytes(), block.to_le_bytes()].concat()), HEAD_BYTES),
            false => (common(), BLOCK_BYTES),
        };
        let size = (behind - within).min(end.saturating_sub(start));
        start += size;
        (size > 0).then(|| whole.slice(within as usize..(within + size) as usize))
    })
}
