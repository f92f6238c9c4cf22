//! Which path a plain tunnel belongs to, by listener and our tunnel id.

use crypto::cpu;

use super::pages::Pages;
use crate::id::{PAGE_SLOTS, PathId, SessionSlot, ShardId, Slot};

/// Listeners that can have plain tunnels.
const LISTENERS_MAX: u16 = 256;

/// Pages of tunnels that a listener can have in a shard.
const PAGES: usize = (1 << 10) / PAGE_SLOTS;

/// A quarter of the tunnels of one listener in one shard.
pub(crate) type TunnelPage = Box<[Tunnel; PAGE_SLOTS]>;

/// A tunnel; so aligned that it never lies in two cache lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
pub(crate) struct Tunnel {
    /// Which path it belongs to.
    pub(crate) path: Option<PathId>,
    /// The session of the path, if it has but one: its lines are asked for before the path is there.
    pub(crate) only: Option<SessionSlot>,
}

const _: () = assert!(size_of::<Tunnel>() == 16);

/// A page without tunnels.
pub(crate) fn vacant_page() -> TunnelPage {
    Box::new([Tunnel::default(); PAGE_SLOTS])
}

/// Where a plain tunnel is looked up: (listener, our tunnel id) as a slot, whose shard is in the low bits of
/// the id.
#[inline]
pub(crate) fn tunnel_slot(listener: u16, tunnel: u16) -> Option<Slot> {
    let word = u32::from(listener) << 16 | u32::from(tunnel);
    (listener < LISTENERS_MAX).then(|| Slot::from_word(word))
}

/// The tunnels of all shards of a worker.
#[derive(Debug, Default)]
pub(crate) struct Tunnels {
    pub(super) pages: Pages<TunnelPage>,
}

impl Tunnels {
    /// The tunnel that is looked up in a [`tunnel_slot`].
    #[inline(always)]
    pub(crate) fn at(&self, slot: Slot) -> Option<&Tunnel> {
        let page = self.pages.get(slot.page())?;
        Some(&page[slot.place()])
    }

    /// Asks for the line in which it is.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot) {
        if let Some(tunnel) = self.at(slot) {
            cpu::prefetch(tunnel);
        }
    }

    /// Where that line is.
    #[cfg(test)]
    pub(crate) fn memory_of(&self, slot: Slot) -> Option<std::ops::Range<usize>> {
        let start = std::ptr::from_ref(self.at(slot)?).addr();
        Some(start..start + size_of::<Tunnel>())
    }

    pub(super) fn set(&mut self, slot: Slot, tunnel: Tunnel) {
        let page = self.pages.place(slot.page());
        page.get_or_insert_with(vacant_page)[slot.place()] = tunnel;
    }

    /// The sessions of a path have changed: tells the tunnels of it that have this id, at whichever
    /// listener.
    pub(super) fn expect(&mut self, path: PathId, id: u16, only: Option<SessionSlot>) {
        let slot = Slot::new(ShardId::of(id.into()), u32::from(id) >> 6, 0);
        let pages = self.pages.of_mut(slot.shard());
        let first = slot.index() as usize / PAGE_SLOTS;
        for page in pages.skip(first).step_by(PAGES).flatten() {
            let tunnel = &mut page[slot.place()];
            if tunnel.path == Some(path) {
                tunnel.only = only;
            }
        }
    }

    /// Puts a vacant page of tunnels in the place of one that is not there yet.
    pub(crate) fn supply(&mut self, slot: Slot, vacant: TunnelPage) {
        let page = self.pages.place(slot.page());
        page.get_or_insert(vacant);
    }
}
