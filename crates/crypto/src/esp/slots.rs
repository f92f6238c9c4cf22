//! Where keys lie: fixed-size pages of cache-line-aligned slots, in compartments. A page never moves
//! once it is there, so growing copies no key and leaves none behind; a compartment is given away as
//! the list of its pages.

use std::fmt;

use zeroize::ZeroizeOnDrop;

use super::KeySlot;
use crate::cpu;

/// Slots in a page.
const PAGE_SLOTS: usize = 64;

/// Pages of a compartment that lie side by side.
const PAGES_ABREAST: usize = 4;

/// Compartments, a shard's keys in each.
const COMPARTMENTS: usize = 64;

/// 2^18 slots to a compartment (the slot bits of an SPI).
const SLOTS_MAX: usize = COMPARTMENTS << 18;

/// A key on cache lines of its own. One that leaves is erased by its own drop.
#[repr(align(64))]
pub(super) struct Slot<K: ZeroizeOnDrop>(Option<K>);

/// All slots that hold keys of one kind. A page without keys takes no memory.
pub(super) struct Slots<K: ZeroizeOnDrop> {
    /// By [`page_number`]: the first pages of each compartment, then the second ones of each, so that the
    /// way to all keys that are in use lies in a few cache lines.
    pages: Vec<Option<Page<K>>>,
}

/// The pages of one compartment.
pub(super) struct Pages<K: ZeroizeOnDrop>(Vec<Option<Page<K>>>);

/// Some neighbouring slots.
pub(super) type Page<K> = Box<[Slot<K>; PAGE_SLOTS]>;

/// A page that holds no keys, its memory written once so that it is there.
pub(super) fn vacant_page<K: ZeroizeOnDrop>() -> Page<K> {
    let vacant: Box<[_]> = (0..PAGE_SLOTS).map(|_| Slot(None)).collect();
    let Ok(page) = vacant.try_into() else {
        unreachable!("as many as a page has")
    };
    page
}

/// Which of all pages of one kind a slot is in.
#[inline(always)]
pub(super) fn page_number(slot: KeySlot) -> u32 {
    slot.0 / PAGE_SLOTS as u32
}

/// Where in its page it is.
#[inline(always)]
fn place(slot: KeySlot) -> usize {
    slot.0 as usize % PAGE_SLOTS
}

/// Pages of each compartment for which there is room from the start: nobody who installs a key shall have
/// to wait for memory.
const ROOM: usize = 16;

impl<K: ZeroizeOnDrop> Default for Slots<K> {
    fn default() -> Self {
        Self {
            pages: Vec::with_capacity(ROOM * COMPARTMENTS),
        }
    }
}

impl<K: ZeroizeOnDrop> Default for Pages<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: ZeroizeOnDrop> Slots<K> {
    pub(super) fn install(&mut self, slot: KeySlot, key: K) {
        assert!(
            (slot.0 as usize) < SLOTS_MAX,
            "slot {} is beyond the {SLOTS_MAX} there are",
            slot.0
        );
        let page = self.page_mut(slot).get_or_insert_with(vacant_page);
        page[place(slot)].0 = Some(key);
    }

    /// Puts a vacant page in the place of one that is not there yet.
    pub(super) fn supply(&mut self, slot: KeySlot, vacant: Page<K>) {
        self.page_mut(slot).get_or_insert(vacant);
    }

    fn page_mut(&mut self, slot: KeySlot) -> &mut Option<Page<K>> {
        let page = page_number(slot) as usize;
        self.reach(page);
        &mut self.pages[page]
    }

    fn reach(&mut self, page: usize) {
        if self.pages.len() <= page {
            let len = (page + 1).next_multiple_of(PAGES_ABREAST * COMPARTMENTS);
            self.pages.resize_with(len, || None);
        }
    }

    pub(super) fn remove(&mut self, slot: KeySlot) {
        if let Some(Some(page)) = self.pages.get_mut(page_number(slot) as usize) {
            page[place(slot)].0 = None;
        }
    }

    /// Empties a compartment.
    pub(super) fn take(&mut self, compartment: u8) -> Pages<K> {
        Pages(self.of(compartment).map(Option::take).collect())
    }

    /// Fills a compartment; keys that were there are erased.
    pub(super) fn put(&mut self, compartment: u8, Pages(pages): Pages<K>) {
        if let Some(last) = pages.len().checked_sub(1) {
            self.reach(last * COMPARTMENTS);
        }
        let pages = pages.into_iter().chain(std::iter::repeat_with(|| None));
        for (place, page) in self.of(compartment).zip(pages) {
            *place = page;
        }
    }

    /// The pages of a compartment.
    fn of(&mut self, compartment: u8) -> impl Iterator<Item = &mut Option<Page<K>>> {
        let pages = self.pages.chunks_exact_mut(PAGES_ABREAST);
        let its = pages.skip(compartment.into()).step_by(COMPARTMENTS);
        its.flatten()
    }

    #[inline(always)]
    pub(super) fn key(&self, slot: KeySlot) -> Option<&K> {
        self.slot(slot)?.0.as_ref()
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, slot: KeySlot) {
        if let Some(slot) = self.slot(slot) {
            cpu::prefetch(slot);
        }
    }

    /// Where a slot lies.
    pub(super) fn memory_of(&self, slot: KeySlot) -> Option<std::ops::Range<usize>> {
        let start = std::ptr::from_ref(self.slot(slot)?).addr();
        Some(start..start + size_of::<Slot<K>>())
    }

    #[inline(always)]
    fn slot(&self, slot: KeySlot) -> Option<&Slot<K>> {
        let page = self.pages.get(page_number(slot) as usize)?.as_ref()?;
        Some(&page[place(slot)])
    }
}

impl<K: ZeroizeOnDrop> fmt::Debug for Slots<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.pages.iter().flatten().flat_map(|page| page.iter());
        let keys = slots.filter(|slot| slot.0.is_some()).count();
        write!(f, "Slots({keys} keys)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn install(slots: &mut Slots<Secret>, slot: u32) {
        slots.install(KeySlot(slot), Secret::new("key"));
    }

    #[test]
    fn a_key_stays_where_it_is_while_others_come_and_go() {
        let mut slots = Slots::default();
        install(&mut slots, 70);
        let place = std::ptr::from_ref(slots.slot(KeySlot(70)).unwrap());
        for slot in (0..100_000)
            .step_by(PAGE_SLOTS / 2 + 1)
            .filter(|&slot| slot != 70)
        {
            install(&mut slots, slot);
            slots.remove(KeySlot(slot));
        }
        assert_eq!(place, std::ptr::from_ref(slots.slot(KeySlot(70)).unwrap()));
        assert!(place.is_aligned() && align_of::<Slot<Secret>>() == 64);
        assert_eq!(format!("{slots:?}"), "Slots(1 keys)");
    }

    #[test]
    fn a_page_without_keys_takes_no_memory() {
        let mut slots = Slots::default();
        install(&mut slots, (10 << 14) + 70);
        let pages: Vec<_> = slots.of(0).map(|page| page.is_some()).collect();
        let (none, one) = ([false; 10 * PAGES_ABREAST], [false, true, false, false]);
        assert_eq!(pages, [none.as_slice(), &one].concat());
        assert!((1..COMPARTMENTS).all(|other| slots.of(other as u8).all(|page| page.is_none())));
        assert!(slots.key(KeySlot(5)).is_none());
    }

    #[test]
    fn a_page_that_is_supplied_is_used_and_never_takes_the_place_of_another() {
        let mut slots = Slots::<Secret>::default();
        let page = vacant_page();
        let place = std::ptr::from_ref(&page[place(KeySlot(3))]);
        slots.supply(KeySlot(3), page);
        install(&mut slots, 3);
        assert_eq!(place, std::ptr::from_ref(slots.slot(KeySlot(3)).unwrap()));
        slots.supply(KeySlot(3), vacant_page());
        assert!(slots.key(KeySlot(3)).is_some());
        let of = |slot: usize| page_number(KeySlot(slot as u32));
        assert_eq!(of(3), of(PAGE_SLOTS - 1));
        assert_ne!(of(3), of(PAGE_SLOTS));
    }

    #[test]
    fn a_compartment_leaves_with_its_keys_and_theirs_only() {
        let (mut from, mut to) = (Slots::default(), Slots::default());
        // Two of compartment 3, in its first and in its fifth page, and one of compartment 4.
        let numbers = [3 << 8 | 7, 1 << 14 | 3 << 8 | 250, 4 << 8 | 7];
        for slot in numbers {
            install(&mut from, slot);
        }
        to.put(3, from.take(3));
        let has = |slots: &Slots<Secret>| numbers.map(|n| slots.key(KeySlot(n)).is_some());
        assert_eq!(
            (has(&from), has(&to)),
            ([false, false, true], [true, true, false])
        );
    }

    #[test]
    fn the_last_slot_of_a_shard_can_be_used() {
        let mut slots = Slots::default();
        install(&mut slots, SLOTS_MAX as u32 - 1);
        assert!(slots.key(KeySlot(SLOTS_MAX as u32 - 1)).is_some());
    }

    #[test]
    #[should_panic(expected = "is beyond the")]
    fn the_slot_after_the_last_is_a_programmers_error() {
        install(&mut Slots::default(), SLOTS_MAX as u32);
    }
}
