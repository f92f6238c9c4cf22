//! Slots of the shards: an index that the fast path uses as it is, and what the slow path keeps
//! under it.
//!
//! ```text
//!   free ──insert──► held ──retire──► retiring ──release──► free, generation + 1
//!                      └───────────release──────────────────►
//! ```
//!
//! A slot that the fast path knows is *retired* first and *released* when its owner has said that
//! nothing refers to it any more. Slots are taken up again in the order in which they became free,
//! so that a stale id meets a wrong generation for as long as possible.

use std::collections::VecDeque;

use crypto::Random;
use dataplane::id::{SHARDS, ShardId, Slot};

/// What is held lies apart: slots grow by doubling, and most of what they have then is free.
#[derive(Debug)]
struct Entry<T> {
    generation: u8,
    is_retiring: bool,
    /// `None` while it is free.
    value: Option<Box<T>>,
}

impl<T> Entry<T> {
    fn held(&self) -> Option<&T> {
        self.value.as_deref().filter(|_| !self.is_retiring)
    }
}

#[derive(Debug)]
struct Shard<T> {
    entries: Vec<Entry<T>>,
    free: VecDeque<u32>,
}

/// The slots of one kind, of all shards.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    shards: Vec<Shard<T>>,
    per_shard: u32,
    first_generation: u8,
    held: usize,
    retiring: usize,
}

impl<T> Slots<T> {
    /// At most `per_shard` slots in each shard. Where generations begin should differ from run to
    /// run, so that ids of a former run are recognised.
    pub(crate) fn new(per_shard: u32, random: &mut Random) -> Self {
        let shard = || Shard {
            entries: Vec::new(),
            free: VecDeque::new(),
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            per_shard: per_shard.min(Slot::LIMIT),
            // Not 0: SPIs below 256 are reserved (RFC 4303 §2.1).
            first_generation: 1 + random.below(255) as u8,
            held: 0,
            retiring: 0,
        }
    }

    /// The slot that the next [`Slots::insert`] into the shard gives; `None` if there is none. For
    /// what has to know its own slot.
    pub(crate) fn vacant(&self, shard: ShardId) -> Option<Slot> {
        let entries = &self.shards[shard.index()];
        let fresh = entries.entries.len() as u32;
        let index = *entries.free.front().unwrap_or(&fresh);
        let entry = entries.entries.get(index as usize);
        (index < self.per_shard).then(|| {
            Slot::new(
                shard,
                index,
                entry.map_or(self.first_generation, |entry| entry.generation),
            )
        })
    }

    /// Takes a free slot of the shard; `None` if there is none.
    pub(crate) fn insert(&mut self, shard: ShardId, value: T) -> Option<Slot> {
        let slot = self.vacant(shard)?;
        let entries = &mut self.shards[shard.index()];
        if entries.free.pop_front().is_none() {
            entries.entries.push(Entry {
                generation: slot.generation(),
                is_retiring: false,
                value: None,
            });
        }
        let entry = &mut entries.entries[slot.index() as usize];
        debug_assert!(entry.value.is_none() && !entry.is_retiring);
        entry.value = Some(Box::new(value));
        self.held += 1;
        Some(slot)
    }

    fn entry(&self, slot: Slot) -> Option<&Entry<T>> {
        let entry = self.shards[slot.shard().index()]
            .entries
            .get(slot.index() as usize)?;
        (entry.generation == slot.generation()).then_some(entry)
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        let entry = self.shards[slot.shard().index()]
            .entries
            .get_mut(slot.index() as usize)?;
        (entry.generation == slot.generation()).then_some(entry)
    }

    /// What is held in the slot; `None` if it is free, retiring or somebody else's.
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.entry(slot)?.held()
    }

    /// As [`Slots::get`].
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entry_mut(slot)?;
        entry.value.as_deref_mut().filter(|_| !entry.is_retiring)
    }

    /// The holder is gone, the fast path does not know yet. Returns whether it was held.
    pub(crate) fn retire(&mut self, slot: Slot) -> bool {
        let entry = self.entry_mut(slot);
        let Some(entry) = entry.filter(|entry| entry.held().is_some()) else {
            return false;
        };
        entry.is_retiring = true;
        self.held -= 1;
        self.retiring += 1;
        true
    }

    /// The slot is free; what was in it.
    pub(crate) fn release(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entry_mut(slot)?;
        let value = entry.value.take()?;
        let was_held = !std::mem::take(&mut entry.is_retiring);
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        self.shards[slot.shard().index()]
            .free
            .push_back(slot.index());
        if was_held {
            self.held -= 1;
        } else {
            self.retiring -= 1;
        }
        Some(*value)
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.held
    }

    /// How many wait for the fast path to let go.
    #[cfg(test)]
    pub(crate) fn retiring(&self) -> usize {
        self.retiring
    }

    /// What is held, in order of shard and index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        ShardId::all().flat_map(|shard| self.from(shard, 0))
    }

    fn from(&self, shard: ShardId, first: u32) -> impl Iterator<Item = (Slot, &T)> {
        let entries = self.shards[shard.index()].entries.iter().enumerate();
        entries
            .skip(first as usize)
            .filter_map(move |(index, entry)| {
                let slot = Slot::new(shard, index as u32, entry.generation);
                Some((slot, entry.held()?))
            })
    }

    /// At most `visits` slots from the cursor on: those that are held, and where to go on.
    pub(crate) fn page(&self, cursor: Cursor, visits: usize) -> (Vec<Slot>, Option<Cursor>) {
        let Cursor(mut shard, mut index) = cursor;
        let mut found = Vec::new();
        let mut left = visits.max(1);
        while shard < SHARDS as u8 {
            let entries = &self.shards[usize::from(shard)].entries;
            while (index as usize) < entries.len() {
                if left == 0 {
                    return (found, Some(Cursor(shard, index)));
                }
                let entry = &entries[index as usize];
                if entry.held().is_some() {
                    found.push(Slot::new(ShardId::new(shard), index, entry.generation));
                }
                left -= 1;
                index += 1;
            }
            (shard, index) = (shard + 1, 0);
        }
        (found, None)
    }
}

/// Where a walk over the slots has come to: shard and index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor(u8, u32);

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId::new(9);

    #[test]
    fn a_slot_is_used_again_only_after_release_and_under_another_generation() {
        let mut slots = Slots::new(1, &mut Random::from_seed([1; 32]));
        let first = slots.insert(SHARD, 'a').unwrap();
        assert_eq!(slots.insert(SHARD, 'b'), None);
        assert!(slots.retire(first));
        assert!(!slots.retire(first));
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.insert(SHARD, 'b'), None);
        assert_eq!(slots.release(first), Some('a'));
        let second = slots.insert(SHARD, 'b').unwrap();
        assert_eq!(second.index(), first.index());
        assert_ne!(second.generation(), first.generation());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.release(first), None);
        assert_eq!((slots.len(), slots.retiring()), (1, 0));
    }

    // conformance: 4303-03
    #[test]
    fn a_generation_is_never_zero() {
        let mut slots = Slots::new(1, &mut Random::from_seed([1; 32]));
        for _ in 0..600 {
            let slot = slots.insert(SHARD, ()).unwrap();
            assert!(slot.word() >= 256);
            slots.release(slot);
        }
    }

    #[test]
    fn pages_show_everything_once() {
        let mut slots = Slots::new(100, &mut Random::from_seed([1; 32]));
        let mut expected: Vec<_> = (0..200_u8)
            .map(|n| slots.insert(ShardId::new(n), n).unwrap())
            .collect();
        let gone = expected.remove(17);
        slots.release(gone);
        let (mut seen, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(at) = cursor {
            let (page, next) = slots.page(at, 7);
            assert!(page.len() <= 7);
            seen.extend(page);
            cursor = next;
        }
        expected.sort();
        assert_eq!(seen, expected);
        assert!(slots.iter().map(|(slot, _)| slot).eq(expected));
    }
}
