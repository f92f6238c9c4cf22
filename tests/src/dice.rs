//! Everything that is left to chance in a run, drawn from one seed.

use std::ops::Range;
use std::time::Duration;

use crypto::Random;

/// A stream of decisions.
#[derive(Debug)]
pub struct Dice(Random);

impl Dice {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&seed.to_le_bytes());
        Self(Random::from_seed(octets))
    }

    /// A stream of its own, so that one part's draws do not shift those of another.
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// The stream itself, for machines that take randomness as an argument.
    pub fn random(&mut self) -> &mut Random {
        &mut self.0
    }

    /// A seed for a machine.
    pub fn seed(&mut self) -> [u8; 32] {
        self.0.array()
    }

    /// A number of the range, all equally likely.
    pub fn within(&mut self, range: Range<u32>) -> u32 {
        range.start + self.0.below(range.end - range.start)
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.below(len as u32) as usize
    }

    /// One of `choices`.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// True `permille` times in a thousand.
    pub fn permille(&mut self, permille: u32) -> bool {
        self.0.below(1000) < permille
    }

    /// Whole milliseconds of the range.
    pub fn ms(&mut self, range: Range<u32>) -> Duration {
        Duration::from_millis(self.within(range).into())
    }

    /// Whole seconds of the range.
    pub fn seconds(&mut self, range: Range<u32>) -> Duration {
        Duration::from_secs(self.within(range).into())
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}
