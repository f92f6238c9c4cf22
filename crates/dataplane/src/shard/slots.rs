//! Arrays of slots with generations, in pages that grow without copying.

use crypto::cpu::{self, Address};

use super::ledger::Marks;
use super::pages::{Leaving, Pages};
use crate::id::{PAGE_SLOTS, ShardId, Slot};

/// What the slots of one kind hold in all shards of a worker. Those of a shard that is elsewhere are
/// vacant.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    pub(super) pages: Pages<Page<T>>,
    pub(super) marks: Marks,
}

/// Some neighbouring slots.
pub(crate) type Page<T> = Box<[Entry<T>; PAGE_SLOTS]>;

/// A page without holders, its memory written once so that it is there: made where it stays, since it
/// is too large for the stack.
pub(crate) fn vacant_page<T>() -> Page<T> {
    let vacant: Box<[_]> = (0..PAGE_SLOTS).map(|_| Entry(Place::Vacant)).collect();
    let Ok(page) = vacant.try_into() else {
        unreachable!("as many as a page has")
    };
    page
}

/// It begins a cache line, with what every look-up compares in front: an `Option` would keep whether
/// there is a holder wherever in it there is a bit to spare.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Entry<T>(Place<T>);

#[derive(Debug)]
#[repr(u8)]
enum Place<T> {
    Vacant,
    Held {
        /// The generation of the holder, with [`RETIRED`] once it is closed, though the slow path has
        /// not been told yet: no look-up finds it.
        tag: u16,
        /// Whether there is a mark that it has counted.
        is_marked: bool,
        holder: T,
    },
}

/// No generation has this bit.
const RETIRED: u16 = 1 << 8;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            pages: Pages::default(),
            marks: Marks::default(),
        }
    }
}

impl<T> Slots<T> {
    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at(&self, slot: Slot) -> Option<&T> {
        match &self.entry(slot)?.0 {
            Place::Held { tag, holder, .. } if *tag == u16::from(slot.generation()) => Some(holder),
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// The holder of a slot, if it is still this one.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held { tag, holder, .. } if *tag == u16::from(slot.generation()) => Some(holder),
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// The same for one who counts in it, which will be published.
    #[inline]
    pub(crate) fn at_to_count(&mut self, slot: Slot) -> Option<&mut T> {
        let page = self.pages.get_mut(slot.page())?;
        match &mut page[slot.place()].0 {
            Place::Held {
                tag,
                is_marked,
                holder,
            } if *tag == u16::from(slot.generation()) => {
                if !std::mem::replace(is_marked, true) {
                    self.marks.set(slot);
                }
                Some(holder)
            }
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// Brings those cache lines of a slot near that will soon be looked up, and says where they lie.
    #[inline(always)]
    pub(crate) fn prefetch(&self, slot: Slot, lines: &[usize]) -> Address {
        let Some(entry) = self.entry(slot) else {
            return Address::default();
        };
        for line in lines {
            cpu::prefetch_line(entry, *line);
        }
        Address::of(entry)
    }

    /// Where a slot lies.
    #[cfg(test)]
    pub(crate) fn memory_of(&self, slot: Slot) -> Option<std::ops::Range<usize>> {
        let start = std::ptr::from_ref(self.entry(slot)?).addr();
        Some(start..start + size_of::<Entry<T>>())
    }

    #[inline(always)]
    fn entry(&self, slot: Slot) -> Option<&Entry<T>> {
        let page = self.pages.get(slot.page())?;
        Some(&page[slot.place()])
    }

    /// Gives a vacant slot to a holder.
    ///
    /// # Panics
    /// If the slot is not vacant: the slow path uses it again only after it was told.
    pub(crate) fn hold(&mut self, slot: Slot, holder: T) {
        let page = self.page_of(slot).get_or_insert_with(vacant_page);
        let Entry(place) = &mut page[slot.place()];
        assert!(
            matches!(place, Place::Vacant),
            "{slot:?} is used again before it was reported free"
        );
        *place = Place::Held {
            tag: slot.generation().into(),
            is_marked: false,
            holder,
        };
    }

    /// Puts a vacant page in the place of one that is not there yet.
    pub(crate) fn supply(&mut self, slot: Slot, vacant: Page<T>) {
        self.page_of(slot).get_or_insert(vacant);
    }

    /// Puts in the pages of a shard.
    pub(super) fn put(&mut self, shard: ShardId, pages: Leaving<Page<T>>) {
        self.pages.put(shard, pages);
        self.reach();
    }

    /// Where the page of a slot belongs.
    fn page_of(&mut self, slot: Slot) -> &mut Option<Page<T>> {
        self.pages.place(slot.page());
        self.reach();
        self.pages.place(slot.page())
    }

    /// There are marks for all pages.
    fn reach(&mut self) {
        self.marks.reach(self.pages.places());
    }

    /// Asks for a slot whose mark was found.
    pub(super) fn expect(&self, slot: Slot) {
        if let Some(entry) = self.entry(slot) {
            cpu::prefetch(entry);
        }
    }

    /// Whoever has the slot, retired or not.
    pub(super) fn whoever(&self, slot: Slot) -> Option<&T> {
        match &self.entry(slot)?.0 {
            Place::Held { holder, .. } => Some(holder),
            Place::Vacant => None,
        }
    }

    /// Whoever has the slot, retired or not, and has no mark any more.
    pub(super) fn unmarked(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held {
                is_marked, holder, ..
            } => {
                *is_marked = false;
                Some(holder)
            }
            Place::Vacant => None,
        }
    }

    /// From here on no look-up finds the holder. `None` if it was not there.
    pub(crate) fn retire(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held { tag, holder, .. } if *tag == u16::from(slot.generation()) => {
                *tag |= RETIRED;
                Some(holder)
            }
            Place::Held { .. } | Place::Vacant => None,
        }
    }

    /// The holder of a slot, retired or not: for telling of it.
    pub(crate) fn told_of(&mut self, slot: Slot) -> Option<&mut T> {
        match self.place_mut(slot)? {
            Place::Held { tag, holder, .. } if *tag & !RETIRED == u16::from(slot.generation()) => {
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
        let page = self.pages.get_mut(slot.page())?;
        Some(&mut page[slot.place()].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    const SLOT: Slot = Slot::new(ShardId::new(1), 700, 3);

    #[test]
    fn only_its_own_generation_finds_a_holder_and_none_once_it_is_retired() {
        let mut slots = Slots::default();
        assert_eq!(slots.at(SLOT), None);
        slots.hold(SLOT, "first");
        assert_eq!(slots.at(SLOT), Some(&"first"));
        let stale = SLOT.with_generation(2);
        assert_eq!(slots.at(stale), None);
        assert_eq!(slots.retire(stale), None);
        assert_eq!(slots.retire(SLOT), Some(&mut "first"));
        assert_eq!(slots.retire(SLOT), None);
        assert_eq!(slots.at_mut(SLOT), None);
        assert_eq!(slots.told_of(SLOT), Some(&mut "first"));
        slots.vacate(SLOT);
        slots.hold(SLOT.with_generation(4), "second");
        assert_eq!(slots.at(SLOT), None);
    }

    #[test]
    fn a_page_that_is_supplied_is_used_and_never_takes_the_place_of_another() {
        let mut slots = Slots::default();
        let page = vacant_page();
        let place = std::ptr::from_ref(&page[SLOT.place()]);
        slots.supply(SLOT, page);
        assert_eq!(slots.at(SLOT), None);
        slots.hold(SLOT, 1);
        let holder = std::ptr::from_ref(slots.at(SLOT).unwrap());
        assert_eq!(holder.addr() / 64, place.addr() / 64);
        slots.supply(SLOT, vacant_page());
        assert_eq!(slots.at(SLOT), Some(&1));
    }

    #[test]
    fn a_shard_leaves_with_all_its_slots_and_no_other() {
        let (mut from, mut to) = (Slots::default(), Slots::default());
        let other = SLOT.with_shard(ShardId::new(2));
        let slots = [SLOT, SLOT.with_index(3), other, other.with_index(0)];
        for slot in slots {
            from.hold(slot, slot.index());
        }
        to.pages.put(SLOT.shard(), from.pages.take(SLOT.shard()));
        let held = |by: &Slots<u32>| slots.map(|slot| by.at(slot).copied());
        assert_eq!(held(&to), [Some(700), Some(3), None, None]);
        assert_eq!(held(&from), [None, None, Some(700), Some(0)]);
    }

    #[test]
    #[should_panic(expected = "used again before it was reported free")]
    fn a_slot_that_nobody_reported_free_is_not_used_again() {
        let mut slots = Slots::default();
        slots.hold(SLOT, 1);
        slots.retire(SLOT);
        slots.hold(SLOT.with_generation(4), 2);
    }
}
