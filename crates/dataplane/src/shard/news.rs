//! What has to be told to the slow path, kept in the slot it is about until it is told.

use std::collections::VecDeque;

use crate::id::{InboundSa, PathId, SessionSlot};

/// What there is to tell of a slot, a bit each, told in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Item {
    First = 1,
    Moved = 2,
    Soft = 4,
    Hard = 8,
    Retired = 16,
}

impl Item {
    pub(crate) const ALL: [Self; 5] = [
        Self::First,
        Self::Moved,
        Self::Soft,
        Self::Hard,
        Self::Retired,
    ];
}

/// The bits of one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News(u8);

/// What news is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Path(PathId),
    Inbound(InboundSa),
    Session(SessionSlot),
}

/// The slots of a shard that have something to tell, each once, in the order in which they came.
pub(crate) type Untold = VecDeque<Subject>;

impl News {
    /// Notes something to tell.
    pub(crate) fn note(&mut self, item: Item, subject: Subject, untold: &mut Untold) {
        if self.0 == 0 {
            untold.push_back(subject);
        }
        self.0 |= item as u8;
    }

    /// The next thing to tell.
    pub(crate) fn next(self) -> Option<Item> {
        Item::ALL.into_iter().find(|item| self.0 & *item as u8 != 0)
    }

    /// It was told.
    pub(crate) fn told(&mut self, item: Item) {
        self.0 &= !(item as u8);
    }
}
