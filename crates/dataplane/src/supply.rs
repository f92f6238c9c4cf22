//! Pages for slots, made by the slow path before a worker needs them.
//!
//! Whoever writes a piece of memory first waits for a page fault every 4 KiB, and in a virtual
//! machine perhaps for the host besides: the pages of a few dozen new sessions took a worker 110 µs
//! at best and 4.8 ms where the host had to find memory. So a change that is the first to need a
//! page takes it along, vacant and written once, and the worker only puts it in its place.
//!
//! ```text
//!   slow path   change ──► is its page there? ──no──► make it ─┐
//!                               │ yes                          ▼
//!                               └──────────────────────► change, page ──► ring ──► worker
//! ```
//!
//! A worker that is given none makes the page itself: that is slower, and no less right.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use crypto::esp::{Backend, KeyPage, Suite};

use crate::change::{self, Change, InstallInbound, ToWorker};
use crate::id::{InboundSa, PathId, SessionSlot, Slot};
use crate::shard::inbound::Inbound;
use crate::shard::path::Path;
use crate::shard::session::Session;
use crate::shard::tunnels::{self, TunnelPage, tunnel_slot};
use crate::shard::{key_slot, slots};
use crate::shared::{PathTally, SaTally, SessionTally, pages};

/// What lies in the ring to a worker.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: ToWorker,
    pub(crate) supply: Option<Box<Supply>>,
}

/// Pages around a slot.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) slot: Slot,
    pub(crate) slots: Option<SlotPages>,
    pub(crate) opening: Option<KeyPage>,
    pub(crate) sealing: Option<KeyPage>,
}

/// Slots and their counters, which come in pages of the same size; or tunnels.
#[derive(Debug)]
pub(crate) enum SlotPages {
    Paths(slots::Page<Path>, pages::Page<PathTally>),
    Inbound(slots::Page<Inbound>, pages::Page<SaTally>),
    Sessions(slots::Page<Session>, pages::Page<SessionTally>),
    Tunnels(TunnelPage),
}

/// Which pages there are, for the slow path: shards move between workers, and take theirs along.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// In what form the workers keep keys.
    backend: OnceLock<Backend>,
    made: Mutex<HashSet<Place>>,
}

/// One page of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Paths(usize),
    Inbound(usize),
    Sessions(usize),
    Tunnels(usize),
    Opening(u32),
    Sealing(u32),
}

impl Stock {
    /// All workers use one back end.
    pub(crate) fn keys_are_of(&self, backend: Backend) {
        self.backend.get_or_init(|| backend);
    }

    /// What a change needs and nobody has made yet.
    pub(crate) fn supply(&self, change: &Change) -> Option<Box<Supply>> {
        let supply = match change {
            Change::OpenPath(change::Path {
                id: PathId(slot), ..
            }) => self.slots(*slot, Place::Paths(slot.page()), || {
                SlotPages::Paths(slots::vacant_page(), pages::vacant_page())
            }),
            Change::OpenSession(change::Session {
                id: SessionSlot(slot),
                ..
            }) => self.slots(*slot, Place::Sessions(slot.page()), || {
                SlotPages::Sessions(slots::vacant_page(), pages::vacant_page())
            }),
            Change::OpenTunnel {
                listener, tunnel, ..
            } => {
                let slot = tunnel_slot(*listener, *tunnel)?;
                self.slots(slot, Place::Tunnels(slot.page()), || {
                    SlotPages::Tunnels(tunnels::vacant_page())
                })
            }
            Change::InstallInbound(InstallInbound {
                sa: InboundSa(slot),
                suite,
                ..
            }) => Supply {
                opening: self.keys(*slot, *suite, Place::Opening),
                ..self.slots(*slot, Place::Inbound(slot.page()), || {
                    SlotPages::Inbound(slots::vacant_page(), pages::vacant_page())
                })
            },
            Change::InstallOutbound(install) => Supply {
                slot: install.path.0,
                slots: None,
                opening: None,
                sealing: self.keys(install.path.0, install.suite, Place::Sealing),
            },
            Change::MovePath { .. }
            | Change::ClosePath(_)
            | Change::RetireInbound(_)
            | Change::ActivateOutbound { .. }
            | Change::RetireOutbound { .. }
            | Change::CloseTunnel { .. }
            | Change::OpenNetwork(_)
            | Change::SetPolicers { .. }
            | Change::ResizeNetwork { .. }
            | Change::CloseSession(_)
            | Change::GiveShard { .. } => return None,
        };
        let is_empty =
            supply.slots.is_none() && supply.opening.is_none() && supply.sealing.is_none();
        (!is_empty).then(|| Box::new(supply))
    }

    fn slots(&self, slot: Slot, place: Place, make: impl FnOnce() -> SlotPages) -> Supply {
        Supply {
            slot,
            slots: self.is_new(place).then(make),
            opening: None,
            sealing: None,
        }
    }

    fn keys(&self, slot: Slot, suite: Suite, place: fn(u32) -> Place) -> Option<KeyPage> {
        let backend = *self.backend.get()?;
        let number = KeyPage::number(key_slot(slot), suite, backend);
        let is_new = self.is_new(place(number));
        is_new.then(|| KeyPage::vacant(suite, backend))
    }

    fn is_new(&self, place: Place) -> bool {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(place)
    }
}
