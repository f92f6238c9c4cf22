//! The ceiling for ciphers that cost a hundred times what the others do.
//!
//! A packet in 3DES takes as long as fifty in AES-GCM, so one subscriber could take a core from all
//! others. All 3DES packets of a worker together get at most a share of its cycles; what is above it
//! is discarded by name before any cryptography.

use std::cell::Cell;

use crypto::cpu;
use crypto::esp::{EspJob, Suite};

use crate::esp::{Shape, is_dear};

/// The share is kept over this many cycles: about 10 ms.
const WINDOW: u64 = 1 << 25;

/// Cycles that an octet takes at most, twice over. What took longer was interrupted: the machine's taking
/// of the core is no subscriber's doing, and nobody's packets shall be discarded for it.
const OCTET_MOST: u64 = 512;

/// The cycles that are left for 3DES.
#[derive(Debug)]
pub(crate) struct Ceiling {
    percent: u64,
    left: Cell<i64>,
    filled_at: u64,
}

impl Ceiling {
    /// At most `percent` of all cycles; 100 sets no ceiling.
    pub(crate) fn new(percent: u8) -> Self {
        let percent = u64::from(percent.min(100));
        Self {
            percent,
            left: Cell::new(share(WINDOW, percent)),
            filled_at: cpu::cycles(),
        }
    }

    /// A turn begins.
    pub(crate) fn fill(&mut self) {
        let now = cpu::cycles();
        let elapsed = now.wrapping_sub(self.filled_at).min(1000 * WINDOW);
        let filled = self.left.get() + share(elapsed, self.percent);
        self.left.set(filled.min(share(WINDOW, self.percent)));
        self.filled_at = now;
    }

    /// Whether a packet of this suite may go on.
    #[inline]
    pub(crate) fn admits(&self, shape: Shape) -> bool {
        !shape.is_dear || self.left.get() > 0 || self.percent == 100
    }

    /// Runs a cipher over its packets, at the ceiling's expense if it is a dear one.
    #[inline]
    pub(crate) fn charge<'j>(
        &self,
        suite: Suite,
        jobs: &mut [EspJob<'j>],
        cipher: impl FnOnce(&mut [EspJob<'j>]),
    ) {
        if !is_dear(suite) {
            return cipher(jobs);
        }
        let octets: usize = jobs.iter().map(|job| job.packet.len()).sum();
        let start = cpu::cycles();
        cipher(jobs);
        let spent = cpu::cycles().wrapping_sub(start);
        let spent = spent.min(octets as u64 * OCTET_MOST) as i64;
        self.left.set(self.left.get() - spent);
    }
}

fn share(cycles: u64, percent: u64) -> i64 {
    (cycles * percent / 100) as i64
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use crypto::esp::{KeySlot, Verdict};

    use super::*;

    /// A cipher that takes its time.
    fn take(cycles: u64) {
        let start = cpu::cycles();
        while cpu::cycles().wrapping_sub(start) < cycles {
            std::hint::spin_loop();
        }
    }

    fn charged(octets: usize, cycles: u64) -> Ceiling {
        let mut packet = vec![0; octets];
        let mut job = [EspJob {
            packet: &mut packet,
            slot: KeySlot(0),
            esn_high: None,
            verdict: Verdict::Pending,
        }];
        let ceiling = Ceiling::new(25);
        ceiling.charge(dear(), &mut job, |_| take(cycles));
        ceiling
    }

    fn dear() -> Suite {
        let mut all = Suite::ALL.into_iter();
        all.find(|suite| is_dear(*suite)).unwrap()
    }

    #[test]
    fn who_is_interrupted_in_a_dear_cipher_does_not_pay_for_it() {
        let dear = Shape::of(dear());
        assert!(charged(1000, WINDOW).admits(dear), "interrupted");
        assert!(
            !charged(60_000, WINDOW).admits(dear),
            "at work all the time"
        );
    }
}
