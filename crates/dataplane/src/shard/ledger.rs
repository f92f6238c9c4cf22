//! Counts that are kept where packets pass, until everybody can see them.
//!
//! A packet in the lane counts in lines that it touches anyway: those of its session, its SA, its path.
//! The [counters that others read](crate::shared::pages) lie elsewhere, a cache line more for each of the
//! three. So the slot gets a mark, and a [`Round`] through all marks publishes what was counted: once a
//! second while frames keep coming, at once when they pause, and always before it is told that a slot
//! was retired. What is published is exact then; a reader sees what was so a second ago at most.

use super::Shards;
use super::pages::{Leaving, ROOM};
use super::slots::{Page, Slots};
use crate::batch::each;
use crate::id::{PAGE_SLOTS, SHARDS, ShardId, Slot};

/// What counts, and publishes it later.
pub(crate) trait Counts {
    /// Brings near what others see.
    fn approach(&self);

    /// Lets others see all that was counted until now.
    fn publish(&mut self, now_ms: u64);
}

/// Slots in a word of marks.
const WORD: usize = u64::BITS as usize;

const WORDS_OF_A_PAGE: usize = PAGE_SLOTS / WORD;

/// The slots that have counted, a bit each.
#[derive(Debug)]
pub(super) struct Marks(Vec<u64>);

impl Default for Marks {
    fn default() -> Self {
        Self(Vec::with_capacity(ROOM * SHARDS * WORDS_OF_A_PAGE))
    }
}

impl Marks {
    /// The slots of so many pages have a place.
    pub(super) fn reach(&mut self, pages: usize) {
        self.0.resize(pages * WORDS_OF_A_PAGE, 0);
    }

    #[cold]
    pub(super) fn set(&mut self, slot: Slot) {
        let bit = slot.place_in_all() as usize;
        if let Some(word) = self.0.get_mut(bit / WORD) {
            *word |= 1 << (bit % WORD);
        }
    }

    /// Takes the marks of a word out: the slots, of whatever generation.
    pub(super) fn take(&mut self, word: usize) -> impl Iterator<Item = Slot> + Clone + use<> {
        let marks = self.0.get_mut(word).map(std::mem::take).unwrap_or_default();
        let first = (word * WORD) as u32;
        each(marks).map(move |bit| Slot::from_bits(first + bit as u32))
    }

    fn words(&self) -> usize {
        self.0.len()
    }
}

/// In which time a round goes through all marks while frames keep coming.
const PERIOD_MS: u64 = 1000;

/// Slots to publish in a turn, and a few more: none shall wait long behind them.
const SLOTS: usize = 64;

/// Words of marks to look at in a turn.
const WORDS: usize = 1024;

/// How far the marks have been gone through.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The word that is next.
    at: usize,
    /// Words until all have been seen since a packet came.
    left: usize,
    /// Words that are due, in milliseconds of [`PERIOD_MS`].
    due: u64,
    now_ms: u64,
}

impl Round {
    /// How many words are to be looked at in this turn, of so many in all.
    #[inline]
    fn words(&mut self, is_busy: bool, words: usize, now_ms: u64) -> usize {
        let elapsed = now_ms.saturating_sub(self.now_ms);
        self.now_ms = now_ms;
        if !is_busy {
            self.due = 0;
            return self.left;
        }
        self.left = words;
        let all = PERIOD_MS * words as u64;
        self.due = elapsed
            .saturating_mul(words as u64)
            .saturating_add(self.due)
            .min(all);
        (self.due / PERIOD_MS) as usize
    }

    fn step(&mut self, words: usize) -> usize {
        let at = self.at;
        self.at = if at + 1 < words { at + 1 } else { 0 };
        self.left = self.left.saturating_sub(1);
        self.due = self.due.saturating_sub(PERIOD_MS);
        at
    }
}

impl Shards {
    /// Whether everybody can see all that was counted.
    pub(crate) fn is_published(&self) -> bool {
        self.round.left == 0
    }

    /// Publishes what is due after a turn, which was busy or not.
    #[inline]
    pub(crate) fn publish(&mut self, is_busy: bool, now_ms: u64) {
        let words = [
            self.paths.words(),
            self.inbound.words(),
            self.sessions.words(),
        ];
        let words = words.into_iter().max().unwrap_or_default();
        let due = self.round.words(is_busy, words, now_ms).min(WORDS);
        let mut published = 0;
        for _ in 0..due {
            if published >= SLOTS {
                break;
            }
            let word = self.round.step(words);
            published += self.paths.publish(word, now_ms)
                + self.inbound.publish(word, now_ms)
                + self.sessions.publish(word, now_ms);
        }
    }
}

impl<T> Slots<T> {
    fn words(&self) -> usize {
        self.marks.words()
    }
}

impl<T: Counts> Slots<T> {
    /// Lets the pages of a shard go, with nothing left to publish.
    pub(super) fn take(&mut self, shard: ShardId, now_ms: u64) -> Leaving<Page<T>> {
        let first = shard.index() * WORDS_OF_A_PAGE;
        for page in (first..self.words()).step_by(SHARDS * WORDS_OF_A_PAGE) {
            for word in page..page + WORDS_OF_A_PAGE {
                self.publish(word, now_ms);
            }
        }
        self.pages.take(shard)
    }

    /// Publishes what the slots of a word have counted; says how many.
    fn publish(&mut self, word: usize, now_ms: u64) -> usize {
        let marked = self.marks.take(word);
        marked.clone().for_each(|slot| self.expect(slot));
        let holders = marked.clone().filter_map(|slot| self.whoever(slot));
        holders.for_each(Counts::approach);
        let holders = marked.filter_map(|slot| {
            self.unmarked(slot)?.publish(now_ms);
            Some(())
        });
        holders.count()
    }
}
