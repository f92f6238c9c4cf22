//! Counters of slots: written by the owner of the shard, read by anybody.
//!
//! They lie outside the shard, in pages that come into being with their first slot and stay, so
//! that a reader needs no part in the shard's moves between workers.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crypto::cpu;

use crate::counters::{Counter, TrafficCounter};
use crate::id::{PAGE_SLOTS, SHARDS, Slot};

/// What a slot counts.
pub(crate) trait Tallied: Default {
    /// Starts anew.
    fn reset(&self);
}

/// The counters of all slots of one kind.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    /// By [`Slot::page`].
    pages: Box<[OnceLock<Page<T>>]>,
}

/// The counters of some neighbouring slots.
pub(crate) type Page<T> = Arc<[Cell<T>; PAGE_SLOTS]>;

/// The counters of one slot, and whose they are. It begins a cache line, with what every packet in the
/// rooms counts in front.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Cell<T> {
    /// 0: nobody's yet.
    holder: Counter,
    counters: T,
}

impl<T> Cell<T> {
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        cpu::prefetch(&self.holder);
    }

    /// The counters, if they are of this slot's holder.
    #[inline]
    pub(crate) fn of(&self, slot: Slot) -> Option<&T> {
        (self.holder.value() == holder(slot)).then_some(&self.counters)
    }
}

impl<T: Tallied> Pages<T> {
    pub(crate) fn new(slots_per_shard: u32) -> Self {
        let pages_per_shard = (slots_per_shard as usize).div_ceil(PAGE_SLOTS);
        Self {
            pages: (0..SHARDS * pages_per_shard)
                .map(|_| OnceLock::new())
                .collect(),
        }
    }

    /// The counters of a slot that has a new holder; `None` beyond the limit.
    pub(crate) fn open(&self, slot: Slot) -> Option<Tally<T>> {
        let page = self.pages.get(slot.page())?;
        let page = page.get_or_init(vacant_page);
        let tally = Tally {
            page: Arc::clone(page),
            index: slot.place() as u8,
        };
        tally.cell().holder.set(0);
        tally.reset();
        tally.cell().holder.set(holder(slot));
        Some(tally)
    }

    /// Puts a page in the place of one that is not there yet.
    pub(crate) fn supply(&self, slot: Slot, page: Page<T>) {
        if let Some(place) = self.pages.get(slot.page()) {
            // One that is there already stays.
            let _ = place.set(page);
        }
    }

    /// Brings the counters near that every packet in the rooms changes.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot) {
        if let Some(cell) = self.cell(slot) {
            cell.prefetch();
        }
    }

    /// Where the counters of a slot lie.
    #[cfg(test)]
    pub(crate) fn memory_of(&self, slot: Slot) -> Option<std::ops::Range<usize>> {
        let start = std::ptr::from_ref(self.cell(slot)?).addr();
        Some(start..start + size_of::<Cell<T>>())
    }

    /// Reads the counters of a slot, if this is its last holder.
    pub(crate) fn read<R>(&self, slot: Slot, read: impl FnOnce(&T) -> R) -> Option<R> {
        self.cell(slot)?.of(slot).map(read)
    }

    #[inline(always)]
    fn cell(&self, slot: Slot) -> Option<&Cell<T>> {
        let page = self.pages.get(slot.page())?.get()?;
        Some(&page[slot.place()])
    }
}

/// Made where it stays: it is too large for the stack.
pub(crate) fn vacant_page<T: Tallied>() -> Page<T> {
    let cells: Box<[Cell<T>]> = (0..PAGE_SLOTS).map(|_| Cell::default()).collect();
    let cells: Result<Box<[Cell<T>; PAGE_SLOTS]>, _> = cells.try_into();
    let Ok(cells) = cells else {
        unreachable!("as many as a page has")
    };
    Arc::from(cells)
}

fn holder(slot: Slot) -> u64 {
    1 << 32 | u64::from(slot.bits())
}

/// The counters of one slot, in the hands of their writer.
#[derive(Debug)]
pub(crate) struct Tally<T> {
    page: Page<T>,
    index: u8,
}

const _: () = assert!(PAGE_SLOTS <= 1 << u8::BITS);

impl<T> Tally<T> {
    /// They lie among these.
    pub(crate) fn page(&self) -> Page<T> {
        Arc::clone(&self.page)
    }

    pub(crate) fn prefetch(&self) {
        self.cell().prefetch();
    }

    #[inline]
    fn cell(&self) -> &Cell<T> {
        &self.page[usize::from(self.index)]
    }
}

impl<T> Deref for Tally<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.cell().counters
    }
}

/// What is counted of a session.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SessionTally {
    pub(crate) up: TrafficCounter,
    pub(crate) down: TrafficCounter,
    pub(crate) last_up: Stamp,
    pub(crate) last_down: Stamp,
    pub(crate) discarded: TrafficCounter,
}

/// One line of counters a packet, whichever way it goes.
const _: () = assert!(std::mem::offset_of!(Cell<SessionTally>, counters.discarded) <= 64);
const _: () = assert!(size_of::<Cell<PathTally>>() == 64);
const _: () = assert!(size_of::<Cell<SaTally>>() == 64);

impl Tallied for SessionTally {
    fn reset(&self) {
        for traffic in [&self.up, &self.down, &self.discarded] {
            traffic.reset();
        }
        self.last_up.clear();
        self.last_down.clear();
    }
}

/// What is counted of a path.
#[derive(Debug, Default)]
pub(crate) struct PathTally {
    pub(crate) sent: TrafficCounter,
    pub(crate) sequence: Counter,
    pub(crate) last_authentic: Stamp,
    pub(crate) last_sent: Stamp,
}

impl Tallied for PathTally {
    fn reset(&self) {
        self.sent.reset();
        self.sequence.set(0);
        self.last_authentic.clear();
        self.last_sent.clear();
    }
}

/// What is counted of an inbound SA.
#[derive(Debug, Default)]
pub(crate) struct SaTally {
    pub(crate) received: TrafficCounter,
    pub(crate) sequence: Counter,
    pub(crate) replayed: Counter,
    pub(crate) forged: Counter,
}

impl Tallied for SaTally {
    fn reset(&self) {
        self.received.reset();
        for counter in [&self.sequence, &self.replayed, &self.forged] {
            counter.set(0);
        }
    }
}

/// Milliseconds since the epoch of the tables, or never.
#[derive(Debug, Default)]
pub(crate) struct Stamp(Counter);

impl Stamp {
    #[inline]
    pub(crate) fn set(&self, ms: u64) {
        self.0.set(ms + 1);
    }

    pub(crate) fn clear(&self) {
        self.0.set(0);
    }

    pub(crate) fn ms(&self) -> Option<u64> {
        self.0.value().checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    const SLOT: Slot = Slot::new(ShardId::new(3), 300, 7);

    #[test]
    fn a_reader_sees_only_the_holder_it_asks_for() {
        let pages = Pages::<SessionTally>::new(512);
        assert!(pages.read(SLOT, |t| t.up.value()).is_none());
        let tally = pages.open(SLOT).unwrap();
        tally.up.add(100);
        assert_eq!(pages.read(SLOT, |t| t.up.value().bytes), Some(100));
        let next = SLOT.with_generation(8);
        assert!(pages.read(next, |t| t.up.value()).is_none());
        let _tally = pages.open(next).unwrap();
        assert_eq!(pages.read(next, |t| t.up.value().bytes), Some(0));
        assert!(pages.read(SLOT, |t| t.up.value()).is_none());
    }

    #[test]
    fn slots_beyond_the_limit_have_no_counters() {
        let pages = Pages::<PathTally>::new(512);
        assert!(pages.open(SLOT.with_index(511)).is_some());
        assert!(pages.open(SLOT.with_index(512)).is_none());
    }
}
