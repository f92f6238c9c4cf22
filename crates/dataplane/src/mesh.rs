//! All rings of a gateway, made in one call.
//!
//! ```text
//!              ┌── changes, numbered ──►┐                     ┌── parcels, shards ──►┐
//!   slow path ─┤                        ├─ worker 0 ──────────┤                      ├─ worker 1
//!              └◄─ events, 3 × punts ───┘                     └◄─ parcels, shards ───┘
//!                                                └── depot: parcels of free chunks ──┘
//! ```

use std::sync::Arc;

use packet::Chunk;

use crate::batch::Batch;
use crate::change::{Class, Event, Punt, ToWorker};
use crate::depot::Depot;
use crate::id::{SHARDS, WorkerId};
use crate::ring::{Bell, Receiver, Sender, ring};
use crate::shard::moving::Shard;
use crate::supply::{Delivery, Stock};

/// How many each ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Changes and injects on their way to a worker.
    pub changes: usize,
    /// Events on their way to the slow path.
    pub events: usize,
    /// Punts on their way to the slow path, in each of the three classes.
    pub punts: [usize; 3],
    /// Parcels on their way from one worker to another.
    pub parcels: usize,
    /// Parcels of free chunks in the depot.
    pub depot: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            changes: 4096,
            events: 4096,
            punts: [4096, 2048, 512],
            parcels: 64,
            depot: 256,
        }
    }
}

/// A worker's ends of the rings.
#[derive(Debug)]
pub struct WorkerEnd<C> {
    /// Whose ends.
    pub id: WorkerId,
    /// Wakes this worker.
    pub bell: Arc<Bell>,
    pub(crate) changes: Receiver<Delivery>,
    pub(crate) stock: Arc<Stock>,
    pub(crate) events: Sender<Event>,
    pub(crate) punts: [Sender<Punt>; 3],
    pub(crate) neighbours: Vec<Neighbour<C>>,
    pub(crate) shards: Receiver<Shard>,
    pub(crate) depot: Depot<C>,
}

/// What one worker has of another (or, unused, of itself).
#[derive(Debug)]
pub(crate) struct Neighbour<C> {
    pub(crate) parcels_out: Sender<Parcel<C>>,
    pub(crate) parcels_in: Receiver<Parcel<C>>,
    /// Emptied parcels on their way back to who filled them.
    pub(crate) empties_out: Sender<Parcel<C>>,
    pub(crate) empties_in: Receiver<Parcel<C>>,
    pub(crate) shards: Sender<Shard>,
}

/// Frames that are handed over together: a batch that is walked where it arrives.
pub(crate) type Parcel<C> = Box<Batch<C>>;

/// The slow path's ends of the rings of all workers.
#[derive(Debug)]
pub struct SlowEnd {
    /// Wakes the slow path.
    pub bell: Arc<Bell>,
    /// One for each worker.
    pub workers: Vec<WorkerLink>,
}

/// The slow path's ends of one worker's rings.
#[derive(Debug)]
pub struct WorkerLink {
    changes: Sender<Delivery>,
    stock: Arc<Stock>,
    sent: u64,
    /// What the worker tells.
    pub events: Receiver<Event>,
    punts: [Receiver<Punt>; 3],
}

impl WorkerLink {
    /// Sends, and says the number after which [`crate::WorkerCounters::applied`] shows that it has
    /// been applied. A full ring gives the message back: hold back new work and try again.
    pub fn send(&mut self, message: ToWorker) -> Result<u64, ToWorker> {
        // Only this end fills the ring: what has room here is not refused below.
        if self.changes.room() == 0 {
            return Err(message);
        }
        let supply = match &message {
            ToWorker::Change(change) => self.stock.supply(change),
            ToWorker::Inject(_) => None,
        };
        let delivery = Delivery { message, supply };
        self.changes.send(delivery).map_err(|back| back.message)?;
        self.sent += 1;
        Ok(self.sent)
    }

    /// How many messages have been sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many more would fit just now.
    pub fn room(&self) -> usize {
        self.changes.room()
    }

    /// The punts of one class.
    pub fn punts(&self, class: Class) -> &Receiver<Punt> {
        &self.punts[class as usize]
    }
}

/// Makes the rings of a gateway of `workers` workers.
pub fn mesh<C: Chunk>(workers: u8, sizes: Sizes) -> (Vec<WorkerEnd<C>>, SlowEnd) {
    let slow = Arc::new(Bell::default());
    let bells: Vec<_> = (0..workers).map(|_| Arc::new(Bell::default())).collect();
    let depot = Depot::new(sizes.depot);
    let stock = Arc::new(Stock::default());
    let mut neighbours = neighbourhood(&bells, sizes.parcels);
    let (mut ends, mut links) = (Vec::new(), Vec::new());
    for (id, bell) in bells.iter().enumerate() {
        let (changes_out, changes) = ring(sizes.changes, bell);
        let (events, events_in) = ring(sizes.events, &slow);
        let [first, second, third] = sizes.punts.map(|size| ring(size, &slow));
        let (shards_in, neighbours) = std::mem::take(&mut neighbours[id]);
        ends.push(WorkerEnd {
            id: WorkerId(id as u8),
            bell: Arc::clone(bell),
            changes,
            stock: Arc::clone(&stock),
            events,
            punts: [first.0, second.0, third.0],
            neighbours,
            shards: shards_in.expect("made for each worker"),
            depot: depot.clone(),
        });
        links.push(WorkerLink {
            changes: changes_out,
            stock: Arc::clone(&stock),
            sent: 0,
            events: events_in,
            punts: [first.1, second.1, third.1],
        });
    }
    let slow = SlowEnd {
        bell: slow,
        workers: links,
    };
    (ends, slow)
}

/// For each worker the ring by which shards come to it, and its neighbours.
type Home<C> = (Option<Receiver<Shard>>, Vec<Neighbour<C>>);

/// The rings between each worker and every other; those to itself stay unused.
fn neighbourhood<C: Chunk>(bells: &[Arc<Bell>], parcels: usize) -> Vec<Home<C>> {
    // The ring of parcels from one to another, and that of empty ones back.
    let rings = |from: &Arc<Bell>, to: &Arc<Bell>| (ring(parcels, to), ring(parcels, from));
    let mut ends: Vec<Vec<_>> = bells
        .iter()
        .map(|from| bells.iter().map(|to| Some(rings(from, to))).collect())
        .collect();
    // At most all shards are on their way to one worker, so these rings are never full.
    let shards: Vec<_> = bells.iter().map(|bell| ring(SHARDS, bell)).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = shards.into_iter().unzip();
    let mut outgoing: Vec<Vec<_>> = bells.iter().map(|_| Vec::new()).collect();
    let mut incoming: Vec<Vec<_>> = bells.iter().map(|_| Vec::new()).collect();
    for (from, ends) in ends.iter_mut().enumerate() {
        for (to, end) in ends.iter_mut().enumerate() {
            let (full, empty) = end.take().expect("taken once");
            outgoing[from].push((full.0, empty.1));
            incoming[to].push((full.1, empty.0));
        }
    }
    let neighbours = outgoing.into_iter().zip(incoming).map(|(out, back)| {
        let others = out.into_iter().zip(back).zip(&senders);
        others
            .map(
                |(((parcels_out, empties_in), (parcels_in, empties_out)), shards)| Neighbour {
                    parcels_out,
                    parcels_in,
                    empties_out,
                    empties_in,
                    shards: shards.clone(),
                },
            )
            .collect()
    });
    receivers.into_iter().map(Some).zip(neighbours).collect()
}
