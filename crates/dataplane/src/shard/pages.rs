//! The way to the pages of all shards of a worker.

use crate::id::{SHARDS, ShardId};

/// Pages by [`Slot::page`](crate::id::Slot::page): the first of each shard, then the second of each.
/// Those of a shard that is elsewhere are missing.
#[derive(Debug)]
pub(crate) struct Pages<P>(Vec<Option<P>>);

/// The pages of one shard, while it is on its way to another worker.
#[derive(Debug)]
pub(crate) struct Leaving<P>(Vec<Option<P>>);

/// Pages of each shard for which there is room from the start, so that changes seldom need memory.
pub(super) const ROOM: usize = 16;

impl<P> Default for Pages<P> {
    fn default() -> Self {
        Self(Vec::with_capacity(ROOM * SHARDS))
    }
}

impl<P> Pages<P> {
    #[inline(always)]
    pub(crate) fn get(&self, page: usize) -> Option<&P> {
        self.0.get(page)?.as_ref()
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, page: usize) -> Option<&mut P> {
        self.0.get_mut(page)?.as_mut()
    }

    /// For how many pages there is a place.
    pub(crate) fn places(&self) -> usize {
        self.0.len()
    }

    /// Where a page belongs.
    pub(crate) fn place(&mut self, page: usize) -> &mut Option<P> {
        if self.0.len() <= page {
            self.0
                .resize_with((page + 1).next_multiple_of(SHARDS), || None);
        }
        &mut self.0[page]
    }

    /// All pages of a shard, in order.
    pub(crate) fn of_mut(&mut self, shard: ShardId) -> impl Iterator<Item = &mut Option<P>> {
        self.0.iter_mut().skip(shard.index()).step_by(SHARDS)
    }

    /// Takes out those of a shard.
    pub(crate) fn take(&mut self, shard: ShardId) -> Leaving<P> {
        Leaving(self.of_mut(shard).map(Option::take).collect())
    }

    /// Puts in those of a shard.
    pub(crate) fn put(&mut self, shard: ShardId, Leaving(pages): Leaving<P>) {
        if let Some(last) = pages.len().checked_sub(1) {
            self.place(last * SHARDS);
        }
        for (place, page) in self.of_mut(shard).zip(pages) {
            *place = page;
        }
    }
}
