//! The ceiling for ciphers that cost a hundred times what the others do.
//!
//! A packet in 3DES takes as long as fifty in AES-GCM, so one subscriber could take a core from all
//! others. All 3DES packets of a worker together get at most a share of its cycles; what is above it
//! is discarded by name before any cryptography.

use std::cell::Cell;

use crypto::cpu;
use crypto::esp::Suite;

use crate::esp::{Shape, is_dear};

/// The share is kept over this many cycles: about 10 ms.
const WINDOW: u64 = 1 << 25;

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

    /// Runs a cipher, at the ceiling's expense if it is a dear one.
    #[inline]
    pub(crate) fn charge(&self, suite: Suite, cipher: impl FnOnce()) {
        if !is_dear(suite) {
            return cipher();
        }
        let start = cpu::cycles();
        cipher();
        let spent = cpu::cycles().wrapping_sub(start) as i64;
        self.left.set(self.left.get() - spent);
    }
}

fn share(cycles: u64, percent: u64) -> i64 {
    (cycles * percent / 100) as i64
}
