//! What has to be told to the slow path, kept in the slot it is about until it is told.

use std::collections::VecDeque;

use crate::id::{InboundSa, PathId, SessionSlot, ShardId};

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

impl Subject {
    fn shard(self) -> ShardId {
        match self {
            Self::Path(PathId(slot))
            | Self::Inbound(InboundSa(slot))
            | Self::Session(SessionSlot(slot)) => slot.shard(),
        }
    }
}

/// The slots of a worker that have something to tell, each once, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Untold(VecDeque<Subject>);

impl Untold {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&self) -> Option<Subject> {
        self.0.front().copied()
    }

    pub(super) fn done(&mut self) {
        self.0.pop_front();
    }

    /// Those of a shard that leaves.
    pub(super) fn take(&mut self, shard: ShardId) -> Vec<Subject> {
        let (leave, stay): (VecDeque<_>, _) = self.0.drain(..).partition(|s| s.shard() == shard);
        self.0 = stay;
        leave.into()
    }

    /// Those of a shard that came.
    pub(super) fn put(&mut self, subjects: Vec<Subject>) {
        self.0.extend(subjects);
    }
}

impl News {
    /// Notes something to tell.
    pub(crate) fn note(&mut self, item: Item, subject: Subject, untold: &mut Untold) {
        if self.0 == 0 {
            untold.0.push_back(subject);
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
