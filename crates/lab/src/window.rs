//! The replay window of an inbound SA (RFC 4303 §3.4.3).
//!
//! The gateway has one of its own. They share no line, so that a fault in one is not repeated, and
//! thereby hidden, by the other.

/// Sequence numbers behind the highest that are still told apart.
pub const WINDOW: u32 = 1024;
/// One word more than the window fills: the highest number may be anywhere in its word.
const WORDS: usize = (WINDOW / 64) as usize + 1;

/// Which sequence numbers have been seen.
#[derive(Clone, Debug)]
pub struct Window {
    highest: u32,
    seen: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        // RFC 4303 §2.2: the first packet has number 1, so 0 counts as seen.
        let mut seen = [0; WORDS];
        seen[0] = 1;
        Self { highest: 0, seen }
    }
}

impl Window {
    /// Whether a packet with this number may be looked at; changes nothing.
    #[must_use]
    pub fn is_fresh(&self, sequence: u32) -> bool {
        if sequence > self.highest {
            return true;
        }
        let is_inside = self.highest - sequence < WINDOW;
        is_inside && self.seen[word(sequence)] & bit(sequence) == 0
    }

    /// Notes the number of a packet that was found authentic; `false` if it had been noted before
    /// or is too old to tell.
    pub fn note(&mut self, sequence: u32) -> bool {
        if !self.is_fresh(sequence) {
            return false;
        }
        if sequence > self.highest {
            self.move_to(sequence);
        }
        self.seen[word(sequence)] |= bit(sequence);
        true
    }

    fn move_to(&mut self, sequence: u32) {
        let words_ahead = (sequence / 64 - self.highest / 64) as usize;
        for ahead in 1..=words_ahead.min(WORDS) {
            self.seen[(word(self.highest) + ahead) % WORDS] = 0;
        }
        self.highest = sequence;
    }
}

fn word(sequence: u32) -> usize {
    (sequence / 64) as usize % WORDS
}

fn bit(sequence: u32) -> u64 {
    1 << (sequence % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_taken_once_and_not_when_it_is_too_old() {
        let mut window = Window::default();
        // (number, is taken)
        let cases = [
            (0, false),
            (1, true),
            (1, false),
            (64, true),
            (63, true),
            (64, false),
            (1087, true),
            (64, false),
            (65, true),
            (63, false),
            (5000, true),
            (1087, false),
            (5000 - 1023 + 63, true),
            (u32::MAX, true),
            (u32::MAX, false),
            (u32::MAX - 1, true),
        ];
        for (row, (sequence, taken)) in cases.into_iter().enumerate() {
            assert_eq!(window.note(sequence), taken, "row {row}: {sequence}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice_and_nothing_recent_is_lost(steps in prop::collection::vec(0u32..3000, 1..400)) {
            let mut window = Window::default();
            let mut taken = BTreeSet::from([0]);
            for sequence in steps {
                let highest = taken.last().copied().unwrap_or(0);
                let is_new = !taken.contains(&sequence);
                let is_recent = sequence > highest || highest - sequence < WINDOW;
                let is_taken = window.note(sequence);
                prop_assert_eq!(is_taken, is_new && is_recent);
                if is_taken {
                    taken.insert(sequence);
                }
            }
        }
    }
}
