//! Arrays of slots with generations, in pages that grow without copying.

use crypto::cpu;

use crate::id::Slot;

/// Slots that come into being together.
const PAGE_SLOTS: usize = 256;

/// What the slots of one kind in one shard hold.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    pages: Vec<Box<Page<T>>>,
}

type Page<T> = [Entry<T>; PAGE_SLOTS];

#[derive(Debug)]
#[repr(align(64))]
struct Entry<T> {
    generation: u8,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Vacant,
    Held(T),
    /// Closed, but the slow path has not been told yet; no look-up finds it.
    Retired(T),
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at(&self, slot: Slot) -> Option<&T> {
        match &self.entry(slot)?.state {
            State::Held(holder) => Some(holder),
            State::Vacant | State::Retired(_) => None,
        }
    }

    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut T> {
        match &mut self.entry_mut(slot)?.state {
            State::Held(holder) => Some(holder),
            State::Vacant | State::Retired(_) => None,
        }
    }

    /// Brings a slot near that will soon be looked up.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot) {
        let index = slot.index as usize;
        if let Some(page) = self.pages.get(index / PAGE_SLOTS) {
            cpu::prefetch(&page[index % PAGE_SLOTS]);
        }
    }

    /// Gives a vacant slot to a holder.
    ///
    /// # Panics
    /// If the slot is not vacant: the slow path uses it again only after it was told.
    pub(crate) fn hold(&mut self, slot: Slot, holder: T) {
        assert!(slot.index < Slot::LIMIT, "a slot index has 18 bits");
        let page = slot.index as usize / PAGE_SLOTS;
        while self.pages.len() <= page {
            let vacant: Vec<_> = (0..PAGE_SLOTS).map(|_| Entry::vacant()).collect();
            match vacant.try_into() {
                Ok(page) => self.pages.push(page),
                Err(_) => unreachable!("as many as a page has"),
            }
        }
        let entry = &mut self.pages[page][slot.index as usize % PAGE_SLOTS];
        assert!(
            matches!(entry.state, State::Vacant),
            "{slot:?} is used again before it was reported free"
        );
        *entry = Entry {
            generation: slot.generation,
            state: State::Held(holder),
        };
    }

    /// From here on no look-up finds the holder. `None` if it was not there.
    pub(crate) fn retire(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entry_mut(slot)?;
        match std::mem::replace(&mut entry.state, State::Vacant) {
            State::Held(holder) => entry.state = State::Retired(holder),
            other @ (State::Vacant | State::Retired(_)) => {
                entry.state = other;
                return None;
            }
        }
        self.told_of(slot)
    }

    /// The holder of a slot, retired or not: for telling of it.
    pub(crate) fn told_of(&mut self, slot: Slot) -> Option<&mut T> {
        match &mut self.entry_mut(slot)?.state {
            State::Held(holder) | State::Retired(holder) => Some(holder),
            State::Vacant => None,
        }
    }

    /// The slow path knows that the slot is free.
    pub(crate) fn vacate(&mut self, slot: Slot) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.state = State::Vacant;
        }
    }

    #[inline]
    fn entry(&self, slot: Slot) -> Option<&Entry<T>> {
        let index = slot.index as usize;
        let page = self.pages.get(index / PAGE_SLOTS)?;
        let entry = &page[index % PAGE_SLOTS];
        (entry.generation == slot.generation).then_some(entry)
    }

    #[inline]
    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        let index = slot.index as usize;
        let page = self.pages.get_mut(index / PAGE_SLOTS)?;
        let entry = &mut page[index % PAGE_SLOTS];
        (entry.generation == slot.generation).then_some(entry)
    }
}

impl<T> Entry<T> {
    fn vacant() -> Self {
        Self {
            generation: 0,
            state: State::Vacant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    const SLOT: Slot = Slot {
        shard: ShardId::new(1),
        index: 700,
        generation: 3,
    };

    #[test]
    fn only_its_own_generation_finds_a_holder_and_none_once_it_is_retired() {
        let mut slots = Slots::default();
        assert_eq!(slots.at(SLOT), None);
        slots.hold(SLOT, "first");
        assert_eq!(slots.at(SLOT), Some(&"first"));
        let stale = Slot {
            generation: 2,
            ..SLOT
        };
        assert_eq!(slots.at(stale), None);
        assert_eq!(slots.retire(stale), None);
        assert_eq!(slots.retire(SLOT), Some(&mut "first"));
        assert_eq!(slots.retire(SLOT), None);
        assert_eq!(slots.at_mut(SLOT), None);
        assert_eq!(slots.told_of(SLOT), Some(&mut "first"));
        slots.vacate(SLOT);
        slots.hold(
            Slot {
                generation: 4,
                ..SLOT
            },
            "second",
        );
        assert_eq!(slots.at(SLOT), None);
    }

    #[test]
    #[should_panic(expected = "used again before it was reported free")]
    fn a_slot_that_nobody_reported_free_is_not_used_again() {
        let mut slots = Slots::default();
        slots.hold(SLOT, 1);
        slots.retire(SLOT);
        slots.hold(
            Slot {
                generation: 4,
                ..SLOT
            },
            2,
        );
    }
}
