//! Where workers with too many free chunks leave some for those with too few.

use std::fmt;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::port::Pool;

/// Chunks in a parcel of free chunks.
pub(crate) const DEPOT_PARCEL: usize = 64;

/// Parcels of [`DEPOT_PARCEL`] free chunks, open to all workers.
pub(crate) struct Depot<C> {
    full: Arc<ArrayQueue<Vec<C>>>,
    /// Emptied parcels, so that none is allocated twice.
    empty: Arc<ArrayQueue<Vec<C>>>,
}

impl<C> Depot<C> {
    pub(crate) fn new(parcels: usize) -> Self {
        Self {
            full: Arc::new(ArrayQueue::new(parcels)),
            empty: Arc::new(ArrayQueue::new(parcels)),
        }
    }

    /// Leaves a parcel's worth of `free`, if there is room.
    fn leave(&self, free: &mut Vec<C>) {
        let parcel = self.empty.pop();
        let mut parcel = parcel.unwrap_or_else(|| Vec::with_capacity(DEPOT_PARCEL));
        parcel.extend(free.drain(free.len() - DEPOT_PARCEL..));
        if let Err(mut parcel) = self.full.push(parcel) {
            free.append(&mut parcel);
        }
    }

    /// Adds a parcel to `free`, if there is one.
    fn fetch(&self, free: &mut Vec<C>) -> bool {
        let Some(mut parcel) = self.full.pop() else {
            return false;
        };
        free.append(&mut parcel);
        // A parcel that finds no room is simply freed.
        let _ = self.empty.push(parcel);
        true
    }
}

impl<C> Clone for Depot<C> {
    fn clone(&self) -> Self {
        Self {
            full: Arc::clone(&self.full),
            empty: Arc::clone(&self.empty),
        }
    }
}

impl<C> fmt::Debug for Depot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Depot({}/{})", self.full.len(), self.full.capacity())
    }
}

/// The free chunks of one worker.
#[derive(Debug)]
pub(crate) struct FreeChunks<C> {
    free: Vec<C>,
    depot: Depot<C>,
    /// As many as the worker likes to keep.
    target: usize,
}

impl<C> FreeChunks<C> {
    pub(crate) fn new(free: Vec<C>, depot: Depot<C>, target: usize) -> Self {
        Self {
            free,
            depot,
            target,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.free.len()
    }

    /// Leaves what is too much, fetches what is too little: one parcel a turn is as much as a turn
    /// receives.
    pub(crate) fn balance(&mut self) {
        if self.free.len() >= self.target + DEPOT_PARCEL {
            self.depot.leave(&mut self.free);
        } else if self.free.len() < self.target / 2 {
            self.depot.fetch(&mut self.free);
        }
    }

    /// All free chunks, those in the depot included.
    pub(crate) fn into_all(mut self) -> Vec<C> {
        while self.depot.fetch(&mut self.free) {}
        self.free
    }
}

impl<C> Pool<C> for FreeChunks<C> {
    fn take(&mut self) -> Option<C> {
        self.free.pop()
    }

    fn put(&mut self, chunk: C) {
        self.free.push(chunk);
    }

    fn take_some(&mut self, count: usize, chunks: &mut Vec<C>) {
        let rest = self.free.len().saturating_sub(count);
        chunks.extend(self.free.drain(rest..));
    }

    fn put_all(&mut self, chunks: &mut Vec<C>) {
        self.free.append(chunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_flow_from_who_has_too_many_to_who_has_too_few() {
        let depot = Depot::new(2);
        let mut rich = FreeChunks::new((0..400).collect(), depot.clone(), 100);
        let mut poor = FreeChunks::new(vec![], depot, 100);
        for _ in 0..10 {
            rich.balance();
            poor.balance();
        }
        assert_eq!((rich.len(), poor.len()), (208, 64));
        assert_eq!(rich.into_all().len() + poor.into_all().len(), 400);
    }

    #[test]
    fn a_full_depot_takes_nothing() {
        let mut rich = FreeChunks::new((0..400).collect(), Depot::new(1), 0);
        for _ in 0..10 {
            rich.balance();
        }
        assert_eq!(rich.len(), 400 - DEPOT_PARCEL);
        assert_eq!(rich.into_all().len(), 400);
    }
}
