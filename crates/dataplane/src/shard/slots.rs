//! Arrays of slots with generations, in pages that grow without copying.

use crypto::cpu;

use crate::id::Slot;

/// Slots that come into being together.
const PAGE_SLOTS: usize = 256;

/// What the slots of one kind in one shard hold.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    pages: Box<[Box<Page<T>>]>,
}

type Page<T> = [Entry<T>; PAGE_SLOTS];

/// It begins a cache line, with what every look-up compares in front.
#[derive(Debug)]
#[repr(C, align(64))]
struct Entry<T> {
    /// The generation of the holder, with [`RETIRED`] once it is closed, though the slow path has not
    /// been told yet: no look-up finds it.
    tag: u16,
    holder: Option<T>,
}

/// No generation has this bit.
const RETIRED: u16 = 1 << 8;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            pages: Box::default(),
        }
    }
}

impl<T> Slots<T> {
    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at(&self, slot: Slot) -> Option<&T> {
        let index = slot.index as usize;
        let entry = &self.pages.get(index / PAGE_SLOTS)?[index % PAGE_SLOTS];
        let holder = entry.holder.as_ref();
        holder.filter(|_| entry.tag == u16::from(slot.generation))
    }

    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let index = slot.index as usize;
        let entry = &mut self.pages.get_mut(index / PAGE_SLOTS)?[index % PAGE_SLOTS];
        let holder = entry.holder.as_mut();
        holder.filter(|_| entry.tag == u16::from(slot.generation))
    }

    /// Brings the first cache lines of a slot near that will soon be looked up.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot, lines: usize) {
        let index = slot.index as usize;
        if let Some(page) = self.pages.get(index / PAGE_SLOTS) {
            cpu::prefetch_lines(&page[index % PAGE_SLOTS], lines);
        }
    }

    /// Gives a vacant slot to a holder.
    ///
    /// # Panics
    /// If the slot is not vacant: the slow path uses it again only after it was told.
    pub(crate) fn hold(&mut self, slot: Slot, holder: T) {
        assert!(slot.index < Slot::LIMIT, "a slot index has 18 bits");
        let page = slot.index as usize / PAGE_SLOTS;
        if self.pages.len() <= page {
            self.grow_to(page + 1);
        }
        let entry = &mut self.pages[page][slot.index as usize % PAGE_SLOTS];
        assert!(
            entry.holder.is_none(),
            "{slot:?} is used again before it was reported free"
        );
        *entry = Entry {
            tag: slot.generation.into(),
            holder: Some(holder),
        };
    }

    fn grow_to(&mut self, pages: usize) {
        let mut all = std::mem::take(&mut self.pages).into_vec();
        all.resize_with(pages, || {
            let vacant: Vec<_> = (0..PAGE_SLOTS).map(|_| Entry::vacant()).collect();
            vacant
                .try_into()
                .unwrap_or_else(|_| unreachable!("as many as a page has"))
        });
        self.pages = all.into_boxed_slice();
    }

    /// From here on no look-up finds the holder. `None` if it was not there.
    pub(crate) fn retire(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entry_mut(slot)?;
        let was_retired = entry.tag & RETIRED != 0;
        entry.tag |= RETIRED;
        entry.holder.as_mut().filter(|_| !was_retired)
    }

    /// The holder of a slot, retired or not: for telling of it.
    pub(crate) fn told_of(&mut self, slot: Slot) -> Option<&mut T> {
        self.entry_mut(slot)?.holder.as_mut()
    }

    /// The slow path knows that the slot is free.
    pub(crate) fn vacate(&mut self, slot: Slot) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.holder = None;
        }
    }

    /// The entry of a slot, retired or not, if it is still this one's.
    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        let index = slot.index as usize;
        let entry = &mut self.pages.get_mut(index / PAGE_SLOTS)?[index % PAGE_SLOTS];
        (entry.tag & !RETIRED == u16::from(slot.generation)).then_some(entry)
    }
}

impl<T> Entry<T> {
    fn vacant() -> Self {
        Self {
            tag: 0,
            holder: None,
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
