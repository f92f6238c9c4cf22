//! Where workers with too many free chunks leave some for those with too few.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

/// Chunks in a parcel of free chunks.
pub(crate) const DEPOT_PARCEL: usize = 64;

/// Parcels of [`DEPOT_PARCEL`] free chunks, open to all workers.
#[derive(Debug)]
pub(crate) struct Depot<C> {
    full: Arc<ArrayQueue<Vec<C>>>,
}
