//! The policer: a token bucket that holds octets.

use std::num::NonZeroU64;

use crate::change::Rate;

/// The unit of the bucket: at one bit a second this much comes in a millisecond.
const PER_OCTET: u64 = 8 * 1000;

/// What one direction of a session has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policer {
    /// What comes in a millisecond.
    rate: NonZeroU64,
    level: u64,
    /// Octets.
    burst: u32,
    /// The lower half of when that was, which comes again after 49 days.
    filled_ms: u32,
}

/// A time that seems to be so far ahead is one that runs backwards, as much as a minute.
const BACKWARDS: u32 = u32::MAX - 60_000;

/// Two of them, or none, fit into a cache line with what they let pass.
const _: () = assert!(size_of::<Option<Policer>>() == 24);

impl Policer {
    /// A full bucket.
    pub(crate) fn new(rate: Rate, now_ms: u64) -> Self {
        Self {
            rate: NonZeroU64::new(rate.bits_per_second).unwrap_or(NonZeroU64::MIN),
            level: u64::from(rate.burst) * PER_OCTET,
            burst: rate.burst,
            filled_ms: now_ms as u32,
        }
    }

    /// Whether a packet of `len` octets conforms; one that does not costs nothing.
    #[inline(always)]
    pub(crate) fn passes(&mut self, len: usize, now_ms: u64) -> bool {
        let conforms = self.would_pass(len, now_ms);
        if conforms {
            self.take(len);
        }
        conforms
    }

    /// Whether it would conform, for who has yet to ask others. The bucket is filled up to this moment,
    /// which whoever asks in the same millisecond does again.
    #[inline(always)]
    pub(crate) fn would_pass(&mut self, len: usize, now_ms: u64) -> bool {
        let elapsed = (now_ms as u32).wrapping_sub(self.filled_ms);
        if elapsed > 0 && elapsed < BACKWARDS {
            let filled = u64::from(elapsed).saturating_mul(self.rate.get());
            let full = u64::from(self.burst) * PER_OCTET;
            self.level = self.level.saturating_add(filled).min(full);
            self.filled_ms = now_ms as u32;
        }
        cost(len) <= self.level
    }

    /// Takes what a packet costs that would pass.
    #[inline(always)]
    pub(crate) fn take(&mut self, len: usize) {
        self.level -= cost(len);
    }
}

#[inline(always)]
fn cost(len: usize) -> u64 {
    len as u64 * PER_OCTET
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 kbit/s: an octet a millisecond.
    const RATE: Rate = Rate {
        bits_per_second: 8000,
        burst: 3000,
    };

    #[test]
    fn it_lets_its_burst_pass_and_then_its_rate_to_the_octet() {
        let mut policer = Policer::new(RATE, 5);
        assert!(policer.passes(1500, 5) && policer.passes(1500, 5));
        assert!(!policer.passes(1, 5));
        assert!(!policer.passes(100, 104));
        assert!(policer.passes(100, 105));
        assert!(!policer.passes(1, 105));
    }

    #[test]
    fn what_does_not_conform_costs_nothing_and_a_rest_fills_no_more_than_the_burst() {
        let mut policer = Policer::new(RATE, 0);
        assert!(!policer.passes(3001, 0));
        assert!(policer.passes(3000, 0));
        assert!(!policer.passes(1, 0) && policer.passes(3000, 3 << 30));
        assert!(!policer.passes(1, 3 << 30));
        let days = (3 << 30) + (1 << 32) - 120_000;
        assert!(policer.passes(3000, days), "left alone for 49 days");
        assert!(policer.passes(240, days + 240), "and filled as before");
        assert!(
            !policer.passes(1, days + 239),
            "time that runs backwards brings nothing"
        );
    }

    #[test]
    fn a_second_brings_what_the_rate_says() {
        let rate = Rate {
            bits_per_second: 1_000_000,
            burst: 12_500,
        };
        let mut policer = Policer::new(rate, 0);
        let passed = (1..=10_000).filter(|ms| policer.passes(100, *ms)).count();
        assert_eq!(passed, 10_000, "800 kbit/s are within a megabit");
        let mut taken = 0;
        for ms in 10_000..20_000 {
            while policer.passes(125, ms) {
                taken += 125;
            }
        }
        assert!((1_250_000..=1_250_000 + 12_500).contains(&taken), "{taken}");
    }
}
