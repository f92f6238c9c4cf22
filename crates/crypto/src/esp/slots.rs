//! Where keys lie: fixed-size pages of cache-line-aligned slots. A page never moves once it is
//! there, so growing copies no key and leaves none behind.

use std::fmt;

use zeroize::ZeroizeOnDrop;

use super::KeySlot;
use crate::cpu;

/// Slots in a page.
const PAGE_SLOTS: usize = 64;

/// 2^18 peers to a shard (the slot bits of an SPI), with a key each way, twice over for rekeys.
const SLOTS_MAX: usize = 1 << 20;

/// A key on cache lines of its own. One that leaves is erased by its own drop.
#[repr(align(64))]
struct Slot<K: ZeroizeOnDrop>(Option<K>);

/// All slots of a shard that hold keys of one kind. A page without keys takes no memory.
pub(super) struct Slots<K: ZeroizeOnDrop> {
    pages: Vec<Box<[Slot<K>]>>,
}

impl<K: ZeroizeOnDrop> Default for Slots<K> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<K: ZeroizeOnDrop> Slots<K> {
    pub(super) fn install(&mut self, slot: KeySlot, key: K) {
        let slot = slot.0 as usize;
        assert!(
            slot < SLOTS_MAX,
            "slot {slot} is beyond the {SLOTS_MAX} of a shard"
        );
        let page = slot / PAGE_SLOTS;
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, Box::default);
        }
        let page = &mut self.pages[page];
        if page.is_empty() {
            *page = (0..PAGE_SLOTS).map(|_| Slot(None)).collect();
        }
        page[slot % PAGE_SLOTS].0 = Some(key);
    }

    pub(super) fn remove(&mut self, slot: KeySlot) {
        let slot = slot.0 as usize;
        if let Some(slot) = self
            .pages
            .get_mut(slot / PAGE_SLOTS)
            .and_then(|page| page.get_mut(slot % PAGE_SLOTS))
        {
            slot.0 = None;
        }
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

    #[inline(always)]
    fn slot(&self, slot: KeySlot) -> Option<&Slot<K>> {
        let slot = slot.0 as usize;
        self.pages.get(slot / PAGE_SLOTS)?.get(slot % PAGE_SLOTS)
    }
}

impl<K: ZeroizeOnDrop> fmt::Debug for Slots<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self
            .pages
            .iter()
            .flatten()
            .filter(|slot| slot.0.is_some())
            .count();
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
        install(&mut slots, 10 * PAGE_SLOTS as u32);
        let lens: Vec<_> = slots.pages.iter().map(|page| page.len()).collect();
        assert_eq!(lens, [[0; 10].as_slice(), &[PAGE_SLOTS]].concat());
        assert!(slots.key(KeySlot(5)).is_none());
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
