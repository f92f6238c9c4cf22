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

/// It begins a cache line, with what every look-up compares in front: an `Option` would keep whether
/// there is a holder wherever in it there is a bit to spare.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<T>(Place<T>);

#[derive(Debug)]
#[repr(u8)]
enum Place<T> {
    Vacant,
    Held {
        /// The generation of the holder, with [`RETIRED`] once it is closed, though the slow path has
        /// not been told yet: no look-up finds it.
        tag: u16,
        holder: T,
    },
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
        let Entry(place) = &self.pages.get(index / PAGE_SLOTS)?[index % PAGE_SLOTS];
        match place {
            Place::Held { tag, holder } if *tag == u16::from(slot.generation) => Some(holder),
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held { tag, holder } if *tag == u16::from(slot.generation) => Some(holder),
            Place::Held { .. } | Place::Vacant => None,
        }
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
        let Entry(place) = &mut self.pages[page][slot.index as usize % PAGE_SLOTS];
        assert!(
            matches!(place, Place::Vacant),
            "{slot:?} is used again before it was reported free"
        );
        *place = Place::Held {
            tag: slot.generation.into(),
            holder,
        };
    }

    fn grow_to(&mut self, pages: usize) {
        let mut all = std::mem::take(&mut self.pages).into_vec();
        all.resize_with(pages, || {
            let vacant: Vec<_> = (0..PAGE_SLOTS).map(|_| Entry(Place::Vacant)).collect();
            vacant
                .try_into()
                .unwrap_or_else(|_| unreachable!("as many as a page has"))
        });
        self.pages = all.into_boxed_slice();
    }

    /// From here on no look-up finds the holder. `None` if it was not there.
    pub(crate) fn retire(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held { tag, holder } if *tag == u16::from(slot.generation) => {
                *tag |= RETIRED;
                Some(holder)
            }
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// The holder of a slot, retired or not: for telling of it.
    pub(crate) fn told_of(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held { tag, holder } if *tag & !RETIRED == u16::from(slot.generation) => {
                Some(holder)
            }
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// The slow path knows that the slot is free.
    pub(crate) fn vacate(&mut self, slot: Slot) {
        if self.told_of(slot).is_some()
            && let Some(place) = self.place_mut(slot)
        {
            *place = Place::Vacant;
        }
    }

    #[inline]
    fn place_mut(&mut self, slot: Slot) -> Option<&mut Place<T>> {
        let index = slot.index as usize;
        let page = self.pages.get_mut(index / PAGE_SLOTS)?;
        Some(&mut page[index % PAGE_SLOTS].0)
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
