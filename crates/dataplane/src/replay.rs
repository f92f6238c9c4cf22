//! The receive window of an SA (RFC 4303 §3.4.3), with extended sequence numbers (Appendix A).
//!
//! ```text
//!   seen:  … 1 1 0 1 1 1 1 0 1 1 | nothing yet
//!          ▲ left edge           ▲ top: the highest authentic number
//! ```
//!
//! A bit for each number in the window, in a ring of words, so that moving on clears whole words
//! (RFC 6479). The word that `top` lies in is kept apart, where a packet in order finds it without
//! another cache line; it enters the ring when the window leaves it.

/// Bits in a word.
const WORD_BITS: u64 = 64;

/// Widest window, frames.
pub(crate) const WINDOW_MAX: u32 = 1 << 16;

/// Which sequence numbers were received.
#[derive(Debug)]
pub(crate) struct Window {
    top: u64,
    width: u32,
    esn: bool,
    /// The bits of the word that `top` lies in.
    newest: u64,
    /// The words before it.
    seen: Box<[u64]>,
}

impl Window {
    /// A window of `width` frames, rounded up to whole words; 0 accepts everything.
    pub(crate) fn new(width: u32, esn: bool) -> Self {
        let words = width.min(WINDOW_MAX).div_ceil(WORD_BITS as u32);
        // As many as a window reaches into that ends in the word that is apart.
        let ring = if words == 0 {
            0
        } else {
            words.next_power_of_two()
        };
        Self {
            top: 0,
            width: words * WORD_BITS as u32,
            esn,
            newest: 0,
            seen: vec![0; ring as usize].into(),
        }
    }

    /// The highest authentic number.
    #[inline]
    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// The whole number of a packet whose header has `low`, if it may be a new one.
    #[inline(always)]
    pub(crate) fn check(&self, low: u32) -> Option<u64> {
        let sequence = self.infer(low)?;
        self.is_new(sequence).then_some(sequence)
    }

    /// Notes an authentic packet; `false` if it is the second of its number, or has fallen left
    /// of the window since it was checked.
    #[inline(always)]
    pub(crate) fn advance(&mut self, sequence: u64) -> bool {
        if !self.is_new(sequence) {
            return false;
        }
        let bit = 1 << (sequence % WORD_BITS);
        if sequence / WORD_BITS == self.top / WORD_BITS {
            self.newest |= bit;
        } else if sequence > self.top {
            self.move_to(sequence / WORD_BITS);
            self.newest = bit;
        } else if self.width > 0 {
            let word = self.place(sequence / WORD_BITS);
            self.seen[word] |= bit;
        }
        self.top = self.top.max(sequence);
        true
    }

    #[inline(always)]
    fn is_new(&self, sequence: u64) -> bool {
        if sequence > self.top || self.width == 0 {
            return true;
        }
        let is_seen = |word: u64| word >> (sequence % WORD_BITS) & 1 != 0;
        if sequence / WORD_BITS == self.top / WORD_BITS {
            return !is_seen(self.newest);
        }
        let word = self.place(sequence / WORD_BITS);
        self.top - sequence < u64::from(self.width) && !is_seen(self.seen[word])
    }

    #[inline(always)]
    fn infer(&self, low: u32) -> Option<u64> {
        if self.esn {
            return self.infer_whole(low);
        }
        // RFC 4303 §2.2: the first packet has number 1, and without ESN none may wrap.
        (low != 0).then_some(u64::from(low))
    }

    /// RFC 4303 Appendix A2.2: the upper half is the one that puts the number nearest to the
    /// window.
    #[inline(never)]
    fn infer_whole(&self, low: u32) -> Option<u64> {
        let (top_low, top_high) = (self.top as u32, (self.top >> 32) as u32);
        let left = top_low.wrapping_sub(self.width.max(1) - 1);
        let window_spans_wrap = left > top_low && self.top >= u64::from(self.width);
        let high = if window_spans_wrap {
            if low >= left {
                top_high.checked_sub(1)?
            } else {
                top_high
            }
        } else if low >= left || self.top < u64::from(self.width) {
            top_high
        } else {
            top_high.checked_add(1)?
        };
        let sequence = u64::from(high) << 32 | u64::from(low);
        (sequence != 0).then_some(sequence)
    }

    /// The word that was the newest enters the ring, and what lay where later ones will is forgotten.
    fn move_to(&mut self, to: u64) {
        if self.width == 0 {
            return;
        }
        let from = self.top / WORD_BITS;
        let place = self.place(from);
        self.seen[place] = self.newest;
        let skipped = (to - from - 1).min(self.seen.len() as u64);
        for word in to - skipped..to {
            let place = self.place(word);
            self.seen[place] = 0;
        }
    }

    /// Where a word lies in the ring.
    #[inline]
    fn place(&self, word: u64) -> usize {
        word as usize & (self.seen.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The cases of WireGuard's `selftest/counter.c`, whose limit is its window; numbers there
    /// start at 0, ours at 1.
    // conformance: 4303-25 4303-28 4303-29
    #[test]
    fn wireguards_numbered_list() {
        const LIMIT: u32 = 8192;
        let mut window = Window::new(LIMIT, false);
        let mut t = |number: u32, sequence: u32, expected: bool| {
            let accepted = take(&mut window, sequence + 1);
            assert_eq!(accepted, expected, "case {number}");
        };
        t(1, 0, true);
        t(2, 1, true);
        t(3, 1, false);
        t(4, 9, true);
        t(5, 8, true);
        t(6, 7, true);
        t(7, 7, false);
        t(8, LIMIT, true);
        t(9, LIMIT - 1, true);
        t(10, LIMIT - 1, false);
        t(11, LIMIT - 2, true);
        t(12, 2, true);
        t(13, 2, false);
        t(14, LIMIT + 16, true);
        t(15, 3, false);
        t(16, LIMIT + 16, false);
        t(17, LIMIT * 4, true);
        t(18, LIMIT * 4 - (LIMIT - 1), true);
        t(19, 10, false);
        t(20, LIMIT * 4 - LIMIT, false);
        t(21, LIMIT * 4 - (LIMIT + 1), false);
        t(22, LIMIT * 4 - (LIMIT - 2), true);
        t(23, LIMIT * 4 + 1 - LIMIT, false);
        t(24, 0, false);
        t(25, u32::MAX - 1, true);
        t(26, u32::MAX - 1, false);
        t(27, u32::MAX - 2, true);
        t(28, u32::MAX - 3, true);
    }

    #[test]
    fn zero_is_never_a_number_without_esn() {
        assert_eq!(Window::new(1024, false).check(0), None);
        assert_eq!(Window::new(1024, true).check(0), None);
    }

    // conformance: 4303-30
    #[test]
    fn reorder_across_the_wrap_of_the_low_half_works_in_both_directions() {
        let wrap = 1_u64 << 32;
        let mut window = Window::new(1024, true);
        for expected in [
            1,
            1 << 20,
            1 << 31,
            wrap - 3,
            wrap + 2,
            wrap - 1,
            wrap,
            wrap - 1000,
            wrap + 1000,
            wrap + (1 << 31),
            2 * wrap - 5,
            2 * wrap + 5,
            2 * wrap - 4,
        ] {
            assert_eq!(window.check(expected as u32), Some(expected));
            assert!(window.advance(expected));
            assert_eq!(
                window.check(expected as u32).filter(|s| *s == expected),
                None
            );
        }
    }

    #[test]
    fn a_window_of_nothing_accepts_everything() {
        let mut window = Window::new(0, false);
        assert!(take(&mut window, 5) && take(&mut window, 5) && take(&mut window, 1));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_of_numbers(
            width in 1u32..300,
            steps in prop::collection::vec((any::<bool>(), 1u64..600), 1..400),
        ) {
            let mut window = Window::new(width, false);
            let (mut seen, mut at) = (BTreeSet::new(), 1_000_000_u64);
            for (forward, by) in steps {
                let sequence = if forward { at += by; at } else { at - by };
                let top = seen.last().copied().unwrap_or(0);
                let expected = !seen.contains(&sequence) && sequence + u64::from(window.width) > top;
                prop_assert_eq!(take(&mut window, sequence as u32), expected);
                if expected { seen.insert(sequence); }
            }
        }
    }

    fn take(window: &mut Window, low: u32) -> bool {
        window
            .check(low)
            .is_some_and(|sequence| window.advance(sequence))
    }
}
