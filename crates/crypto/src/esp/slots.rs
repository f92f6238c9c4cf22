//! Where keys lie: fixed-size pages of cache-line-aligned slots. A page never moves once it is
//! there, so growing copies no key and leaves none behind.

use std::fmt;

use super::cbc_hmac::{CbcOpen, CbcSeal};
use super::gcm::Gcm;
use super::{Direction, EspJob, KeySlot, Keymat, Suite, Verdict};
use crate::cpu;

/// Slots in a page.
const PAGE_SLOTS: usize = 64;

/// 2^18 peers to a shard (the slot bits of an SPI), with a key each way, twice over for rekeys.
const SLOTS_MAX: usize = 1 << 20;

/// Ten cache lines hold the largest key, AES-256-CBC with HMAC-SHA2-512 for sealing.
const SLOT_LEN_MAX: usize = 640;

const _: () = assert!(size_of::<Slot>() <= SLOT_LEN_MAX && size_of::<Slot>().is_multiple_of(64));

#[derive(Default)]
#[repr(align(64))]
struct Slot(Option<Key>);

/// All slots of a shard. A page without keys takes no memory.
#[derive(Default)]
pub(super) struct Slots {
    pages: Vec<Box<[Slot]>>,
}

impl Slots {
    pub(super) fn install(&mut self, slot: KeySlot, key: Key) {
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
            *page = (0..PAGE_SLOTS).map(|_| Slot::default()).collect();
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

    #[inline]
    pub(super) fn key(&self, slot: KeySlot) -> Option<&Key> {
        self.slot(slot)?.0.as_ref()
    }

    #[inline]
    pub(super) fn prefetch(&self, slot: KeySlot) {
        if let Some(slot) = self.slot(slot) {
            cpu::prefetch(slot);
        }
    }

    #[inline]
    fn slot(&self, slot: KeySlot) -> Option<&Slot> {
        let slot = slot.0 as usize;
        self.pages.get(slot / PAGE_SLOTS)?.get(slot % PAGE_SLOTS)
    }
}

impl fmt::Debug for Slots {
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

/// A key as it is used: expanded, for one suite and one direction.
pub(super) struct Key {
    suite: Suite,
    direction: Direction,
    schedule: Schedule,
}

enum Schedule {
    Gcm(Gcm),
    CbcOpen(CbcOpen),
    CbcSeal(CbcSeal),
}

impl Key {
    pub(super) fn new(direction: Direction, keymat: &Keymat, iv_key: &[u8; 16]) -> Self {
        let schedule = match (keymat.suite().cbc_and_hmac(), direction) {
            (None, _) => Schedule::Gcm(Gcm::new(keymat)),
            (Some((algorithm, integrity)), Direction::Open) => {
                Schedule::CbcOpen(CbcOpen::new(algorithm, integrity, keymat))
            }
            (Some((algorithm, integrity)), Direction::Seal) => {
                Schedule::CbcSeal(CbcSeal::new(algorithm, integrity, keymat, iv_key))
            }
        };
        Self {
            suite: keymat.suite(),
            direction,
            schedule,
        }
    }

    #[inline]
    pub(super) fn serves(&self, suite: Suite, direction: Direction) -> bool {
        self.suite == suite && self.direction == direction
    }

    #[inline]
    pub(super) fn open(&self, job: &mut EspJob<'_>) -> Verdict {
        match &self.schedule {
            Schedule::Gcm(key) => key.open(job),
            Schedule::CbcOpen(key) => key.open(self.suite, job),
            Schedule::CbcSeal(_) => Verdict::BadIcv,
        }
    }

    #[inline]
    pub(super) fn seal(&self, job: &mut EspJob<'_>) -> Verdict {
        match &self.schedule {
            Schedule::Gcm(key) => key.seal(job),
            Schedule::CbcSeal(key) => key.seal(self.suite, job),
            Schedule::CbcOpen(_) => Verdict::BadIcv,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(slots: &mut Slots, slot: u32) {
        let keymat = Keymat::new(Suite::AesGcm16 { key_bits: 128 }, &[1; 20]).unwrap();
        slots.install(KeySlot(slot), Key::new(Direction::Open, &keymat, &[0; 16]));
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
        assert!(place.is_aligned() && align_of::<Slot>() == 64);
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
