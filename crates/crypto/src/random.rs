//! The one source of randomness: ChaCha20, deterministic from its seed.
//!
//! The gateway seeds it from the operating system, the simulation from a number; from there on
//! every draw can be repeated.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A ChaCha20 stream that is consumed piece by piece.
pub struct Random(ChaCha20Rng);

impl Random {
    /// Starts the stream that belongs to `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// Overwrites `bytes` with the next of the stream.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from `0..n`, all equally likely; 0 if `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        // Lemire 2019, "Fast random integer generation in an interval": the high half of the
        // product is uniform once the low products that would be counted twice are drawn again.
        let threshold = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        loop {
            let product = u64::from(self.u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A second stream, seeded from this one; the two have nothing else in common.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.array())
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::hex;

    /// RFC 8439 appendix A.1, test vectors 1 and 2: zero key and nonce, blocks 0 and 1.
    #[test]
    fn the_stream_is_chacha20() {
        let mut random = Random::from_seed([0; 32]);
        assert_eq!(
            random.array::<64>()[..],
            hex(
                "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7
                 da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
            )
        );
        assert_eq!(random.array::<4>(), [0x9f, 0x07, 0xe7, 0xbe]);
    }

    #[test]
    fn the_same_seed_is_the_same_run_and_another_seed_another() {
        let run = |seed| {
            let mut random = Random::from_seed([seed; 32]);
            let mut fork = random.fork();
            (
                random.u16(),
                random.u32(),
                random.u64(),
                random.below(1000),
                fork.u64(),
            )
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_fork_goes_its_own_way() {
        let mut random = Random::from_seed([1; 32]);
        let mut fork = random.fork();
        assert_ne!(random.u64(), fork.u64());
    }

    #[test]
    fn below_reaches_every_number_and_none_above() {
        let mut random = Random::from_seed([1; 32]);
        let mut drawn = [0; 7];
        for _ in 0..7000 {
            drawn[random.below(7) as usize] += 1;
        }
        assert!(
            drawn.iter().all(|&times| (850..1150).contains(&times)),
            "{drawn:?}"
        );
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }
}
