//! One worker: a turn of the line, from the rings and ports back to the ports and rings.
//!
//! ```text
//!   shards, changes, injects ─┐                         ┌─► ports
//!   parcels ──────────────────┴─► lobby ─┐              ├─► parcels
//!                                 ▲      ├─► batch ─► lines ─► punts
//!   ports ─► link::sort ──────────┼──────┘        │     └─► the free chunks
//!                                 └──── moves ────┘
//! ```
//!
//! Whole frames are sorted by [`crate::express`], and are in the lines only if they leave its lane.
//!
//! A full burst tells of more to come: it is received and sorted, and walked in the next turn, so
//! that what it looks up is fetched meanwhile (see [`crate::ahead`]). Any other is walked at once.

mod hand_over;
mod hold;
mod inject;
mod leave;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::{Duration, Instant};

use crypto::cpu;
use crypto::esp::Backend;
use hdrhistogram::Histogram;

use crate::ahead::{self, Ahead};
use crate::batch::{BATCH_FRAMES, Batch, Lobby, Traveller};
use crate::change::{Change, Event, ToWorker};
use crate::counters::WorkerCounters;
use crate::depot::FreeChunks;
use crate::discard::Discard;
use crate::id::{SHARDS, ShardId, WorkerId};
use crate::mesh::{Parcel, WorkerEnd};
use crate::port::{Pool, Port};
use crate::shared::Shared;
use crate::stages::Stage;
use crate::supply::Delivery;
use crate::tables::Tables;
use crate::{downstream, express, link, upstream};
use hold::Held;

/// Changes and injects taken in a turn.
const CHANGES: usize = 64;
/// The same while a full burst waits: a session's worth of them would be felt by each of its frames. At
/// tens of thousands of turns a second these are many still.
const CHANGES_BESIDE_FRAMES: usize = 4;
/// How soon to try again what a full ring had no room for.
const AGAIN: Duration = Duration::from_millis(1);
/// Busy turns after which the quantiles of the burst time are published.
const PUBLISH_TURNS: u64 = 4096;

/// Cycles beyond which a burst is counted as this long: about 20 s. A histogram that grows would
/// allocate in the line.
const LONGEST_BURST: u64 = 1 << 36;

/// What an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who does the cryptography.
    pub backend: Backend,
    /// The port by which tunnel frames leave when no route names one.
    pub tunnel_port: u8,
    /// ICMP errors and answers a second.
    pub icmp_per_second: u32,
    /// Messages of strangers a second, in all, at this worker.
    pub strangers_per_second: u32,
    /// Messages of one strange address a second.
    pub stranger_per_second: u32,
    /// A secret, by which source addresses are sorted into buckets.
    pub salt: u64,
    /// Most of this worker's cycles that 3DES may take, percent; 100 sets no ceiling.
    pub compat_max_share: u8,
    /// Free chunks to keep; more go to the depot, fewer are fetched from it.
    pub chunks: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: Backend::auto(),
            tunnel_port: 0,
            icmp_per_second: 1000,
            strangers_per_second: 1000,
            stranger_per_second: 20,
            salt: 0,
            compat_max_share: 100,
            chunks: 4096,
        }
    }
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Frames, changes and shards handled.
    pub work: usize,
    /// When to run at the latest, even if nothing arrives.
    pub next: Option<Instant>,
}

/// What a port has given.
struct Bursts<C> {
    /// The full burst of the turn before.
    waiting: Batch<C>,
    /// The burst of this turn.
    fresh: Batch<C>,
}

impl<C> Bursts<C> {
    fn new() -> Self {
        Self {
            waiting: Batch::new(),
            fresh: Batch::new(),
        }
    }
}

/// A worker.
pub struct Worker<P: Port> {
    tables: Tables,
    ports: Vec<P>,
    free: FreeChunks<P::Chunk>,
    end: WorkerEnd<P::Chunk>,
    /// The batch that walks.
    batch: Batch<P::Chunk>,
    /// What each port has given.
    bursts: Vec<Bursts<P::Chunk>>,
    lobby: Lobby<P::Chunk>,
    /// What is being handed over to each neighbour.
    parcels: Vec<Option<Parcel<P::Chunk>>>,
    /// Frames of shards that have been given to us and are not here yet.
    limbo: Vec<Traveller<P::Chunk>>,
    held: Held<P::Chunk>,
    /// Shards that arrived, and nobody has been told.
    arrived: Vec<ShardId>,
    applied: u64,
    now: Option<Instant>,
    first_cycle: u64,
    burst_cycles: Histogram<u64>,
}

impl<P: Port> Worker<P> {
    /// A worker with its ports, its rings and its share of the free chunks. It starts with the
    /// shards that `shared` says it owns.
    pub fn new(
        shared: Arc<Shared>,
        ports: Vec<P>,
        chunks: Vec<P::Chunk>,
        end: WorkerEnd<P::Chunk>,
        settings: Settings,
    ) -> Self {
        let mut tables = Tables::new(end.id, shared, &settings);
        end.stock.keys_are_of(settings.backend);
        tables.interfaces = ports.iter().map(Port::interface).collect();
        Self {
            tables,
            free: FreeChunks::new(chunks, end.depot.clone(), settings.chunks),
            batch: Batch::new(),
            bursts: ports.iter().map(|_| Bursts::new()).collect(),
            ports,
            lobby: Lobby::with_capacity(2 * BATCH_FRAMES),
            parcels: end.neighbours.iter().map(|_| None).collect(),
            limbo: Vec::new(),
            held: Held::new(),
            arrived: Vec::with_capacity(SHARDS),
            applied: 0,
            now: None,
            first_cycle: cpu::cycles(),
            burst_cycles: Histogram::new_with_max(LONGEST_BURST, 2).expect("bounds are in order"),
            end,
        }
    }

    /// Which worker.
    pub fn id(&self) -> WorkerId {
        self.end.id
    }

    /// Whether one busy turn of 64 is timed stage by stage; it is, if nobody says otherwise.
    pub fn time_stages(&mut self, is_timed: bool) {
        self.tables.watch.is_allowed = is_timed;
    }

    /// One step: shards, changes and injects, hand-overs, receive, walk, send, tell.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let start = cpu::cycles();
        self.begin(now);
        let mut work = self.adopt_shards();
        work += self.drain_changes();
        work += self.accept_parcels();
        work += self.release_held(now);
        work += self.receive();
        self.walk();
        self.hand_over();
        self.flush();
        self.tell();
        self.tables.shards.publish(work > 0, self.tables.now_ms);
        self.free.balance();
        self.finish(work, start);
        Turn {
            work,
            next: self.next(now),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.now = Some(now);
        self.tables.shared.turns.begin(usize::from(self.end.id.0));
        let busy_turns = self.counters().busy_turns.value();
        self.tables.watch.start(busy_turns);
        let now_ms = self.tables.shared.ms(now);
        self.tables.refresh(now_ms);
    }

    fn drain_changes(&mut self) -> usize {
        let is_waited_for = self.bursts.iter().any(|burst| burst.waiting.len() > 0);
        let most = match is_waited_for {
            true => CHANGES_BESIDE_FRAMES,
            false => CHANGES,
        };
        let mut count = 0;
        while count < most {
            let Some(Delivery { message, supply }) = self.end.changes.receive() else {
                break;
            };
            if let Some(supply) = supply {
                self.tables.take_supply(*supply);
            }
            match message {
                ToWorker::Change(Change::GiveShard { shard, to }) => self.give(shard, to),
                ToWorker::Change(change) => self.tables.apply(change),
                ToWorker::Inject(inject) => self.inject(&inject),
            }
            count += 1;
        }
        if count > 0 {
            self.applied += count as u64;
            self.counters().applied.store(self.applied, Release);
        }
        count
    }

    /// A burst from each port, sorted. Says how many frames there are to walk.
    fn receive(&mut self) -> usize {
        (0..self.ports.len())
            .map(|port| self.bursts[port].waiting.len() + self.receive_from(port))
            .sum()
    }

    fn receive_from(&mut self, port: usize) -> usize {
        let Bursts {
            waiting,
            fresh: batch,
        } = &mut self.bursts[port];
        self.tables.watch.lap(Stage::Receive, || 1);
        self.ports[port].receive(&mut self.free, &mut batch.burst, BATCH_FRAMES);
        if waiting.len() == 0 {
            express::approach_heads(batch);
        }
        self.tables.watch.resume(Stage::Sort, batch.len());
        let count = batch.len();
        let guests = batch.burst.packets.iter();
        let octets: usize = guests.map(|packet| packet.frame.len()).sum();
        batch.sort(|t| link::sort(t, &self.tables));
        let octets = octets + express::sort(batch, port as u8, &self.tables);
        self.tables.counters().received.add_all(count, octets);
        self.tables.watch.pause();
        batch.len()
    }

    /// Both lines, until nobody waits any more: a frame moves at most four times, so this ends.
    fn walk(&mut self) {
        self.walk_lobby();
        for port in 0..self.ports.len() {
            self.walk_bursts(port);
        }
        self.walk_lobby();
    }

    /// The burst that waited walks while the next one's lines are fetched.
    fn walk_bursts(&mut self, port: usize) {
        let Bursts { waiting, fresh } = &mut self.bursts[port];
        let is_followed = fresh.len() == BATCH_FRAMES;
        std::mem::swap(&mut self.batch, waiting);
        let mut ahead = Ahead::new(is_followed.then_some((&mut *fresh, &self.ports[port])));
        if self.batch.len() > 0 {
            upstream(&mut self.batch, &mut self.tables, &mut ahead);
            downstream(&mut self.batch, &mut self.tables, &mut ahead);
        }
        ahead.finish(&mut self.tables);
        if is_followed {
            std::mem::swap(waiting, fresh);
            self.settle();
        } else if fresh.len() > 0 {
            ahead::approach_all(fresh, &self.tables);
            self.settle();
            std::mem::swap(&mut self.batch, &mut self.bursts[port].fresh);
            self.walk_alone();
        } else {
            self.settle();
        }
    }

    fn walk_lobby(&mut self) {
        while !self.lobby.is_empty() {
            let count = self.lobby.len().min(BATCH_FRAMES);
            for traveller in self.lobby.drain(..count) {
                self.batch.seat(traveller);
            }
            ahead::approach_all(&mut self.batch, &self.tables);
            self.walk_alone();
        }
    }

    /// Nobody comes after this batch.
    fn walk_alone(&mut self) {
        let mut ahead = Ahead::<P>::new(None);
        upstream(&mut self.batch, &mut self.tables, &mut ahead);
        downstream(&mut self.batch, &mut self.tables, &mut ahead);
        self.settle();
    }

    /// Those who came to the end of the line are sent, the others take their exits.
    fn settle(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.tables.watch.lap(Stage::Send, || batch.len());
        for (frame, ticket) in batch.take_away() {
            self.hand_whole(frame, ticket);
        }
        self.send_out(&mut batch);
        batch.empty(|packet, note| match note.exit {
            None => self.transmit(packet, note.session),
            Some(exit) => self.leave(Traveller::leaving(packet, note), exit),
        });
        self.tables.watch.pause();
        self.batch = batch;
    }

    /// Those who came to the end of the lane leave by their ports.
    fn send_out(&mut self, batch: &mut Batch<P::Chunk>) {
        let (mut count, mut octets) = (0, 0);
        batch.drain_lane(
            |frame, port, len| match self.ports[port].send_whole(frame) {
                Ok(()) => (count, octets) = (count + 1, octets + len),
                Err(frame) => {
                    self.tables.counters().discard(Discard::SendFull);
                    self.free.put(frame.into_chunk());
                }
            },
        );
        let counters = self.tables.counters();
        counters.sent.add_all(count, octets);
        counters.express.add(count as u64);
    }

    fn flush(&mut self) {
        for port in &mut self.ports {
            port.flush(&mut self.free);
        }
    }

    /// What has to be told is told, as far as the slow path has room.
    fn tell(&mut self) {
        let (events, id) = (&self.end.events, self.end.id);
        while let Some(shard) = self.arrived.first() {
            if events.send(Event::ShardArrived(*shard, id)).is_err() {
                return;
            }
            self.arrived.remove(0);
        }
        let now_ms = self.tables.now_ms;
        self.tables.shards.tell(now_ms, |event| events.send(event));
    }

    fn finish(&mut self, work: usize, start: u64) {
        let end = cpu::cycles();
        let counters = self.tables.shared.worker(self.end.id);
        self.tables.watch.stop(counters);
        counters.turns.add(1);
        counters.cycles.set(end.wrapping_sub(self.first_cycle));
        counters.chunks.set(self.chunks() as u64);
        if work > 0 {
            let cycles = end.wrapping_sub(start);
            counters.busy_turns.add(1);
            counters.busy_cycles.add(cycles);
            self.burst_cycles.saturating_record(cycles);
            self.publish_burst_cycles();
        }
        self.tables.shared.turns.end(usize::from(self.end.id.0));
    }

    /// Now and then others may see how long bursts take.
    fn publish_burst_cycles(&self) {
        let counters = self.counters();
        if counters.busy_turns.value() % PUBLISH_TURNS == 1 {
            let quantile = |q| self.burst_cycles.value_at_quantile(q);
            counters.burst_cycles_p50.set(quantile(0.5));
            counters.burst_cycles_p99.set(quantile(0.99));
            counters.burst_cycles_max.set(self.burst_cycles.max());
        }
    }

    fn next(&self, now: Instant) -> Option<Instant> {
        // Frames that a kernel has not taken leave by another flush only, and without a free chunk
        // nothing can arrive: no descriptor ever tells of either.
        let is_behind = !self.tables.shards.untold.is_empty()
            || !self.arrived.is_empty()
            || self.parcels.iter().flatten().any(|parcel| parcel.len() > 0)
            || self.ports.iter().any(|port| port.in_flight() > 0)
            || self.free.len() == 0;
        let again = is_behind.then(|| now + AGAIN);
        again.into_iter().chain(self.held.next()).min()
    }

    fn counters(&self) -> &WorkerCounters {
        self.tables.counters()
    }

    /// Before sleeping: arms the bell and looks at every ring once more. `false`: there is work, do
    /// not sleep. The caller looks at the ports' descriptors itself, in poll(2).
    pub fn may_park(&mut self) -> bool {
        self.end.bell.arm();
        let parcels = |n: &crate::mesh::Neighbour<P::Chunk>| n.parcels_in.is_empty();
        let is_idle = self.bursts.iter().all(|bursts| bursts.waiting.len() == 0)
            && self.tables.shards.is_published()
            && self.end.changes.is_empty()
            && self.end.shards.is_empty()
            && self.end.neighbours.iter().all(parcels);
        if !is_idle {
            self.end.bell.disarm();
        }
        is_idle
    }

    /// Awake again.
    pub fn unpark(&mut self) {
        self.end.bell.disarm();
    }

    /// The shards that are at home here.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        ShardId::all().filter(|shard| self.tables.shards.has(*shard))
    }

    /// The ports.
    pub fn ports_mut(&mut self) -> &mut [P] {
        &mut self.ports
    }

    /// Chunks this worker holds: free, waiting or held back, but not those in its ports.
    pub fn chunks(&self) -> usize {
        let parcels = self.parcels.iter().flatten();
        let parcels: usize = parcels.map(|parcel| parcel.len()).sum();
        let waiting: usize = self.bursts.iter().map(|bursts| bursts.waiting.len()).sum();
        let lobby = self.lobby.len() + self.limbo.len() + self.held.len();
        self.free.len() + waiting + lobby + parcels
    }

    #[cfg(test)]
    pub(crate) fn take_shard(&mut self, id: ShardId) -> Option<crate::shard::moving::Shard> {
        self.tables.take_shard(id)
    }

    #[cfg(test)]
    pub(crate) fn take_chunks(&mut self) -> Vec<P::Chunk> {
        std::iter::from_fn(|| self.free.take()).collect()
    }

    #[cfg(test)]
    pub(crate) fn return_chunks(&mut self, chunks: Vec<P::Chunk>) {
        chunks.into_iter().for_each(|chunk| self.free.put(chunk));
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> &crate::shard::KeyRings {
        &self.tables.keys
    }

    #[cfg(test)]
    pub(crate) fn state(&mut self) -> &mut crate::shard::Shards {
        &mut self.tables.shards
    }

    /// How long turns with something to do took, in cycles.
    pub fn burst_cycles(&self) -> &Histogram<u64> {
        &self.burst_cycles
    }

    /// The frames that were in a line when a turn ended early, the one in the room first, and those
    /// that had just been received: what a panic leaves.
    pub fn frames_at_hand(&self) -> Vec<Vec<u8>> {
        let waiting = self.bursts.iter().flat_map(|b| [&b.waiting, &b.fresh]);
        let batches = std::iter::once(&self.batch).chain(waiting);
        let frames = batches.flat_map(Batch::at_hand);
        frames.map(|frame| frame.bytes().to_vec()).collect()
    }

    /// Gives everything back that holds packet memory, for an orderly end: the ports, and the
    /// chunks of this worker, of parcels on their way to it, and of the depot.
    pub fn dismantle(mut self) -> (Vec<P>, Vec<P::Chunk>) {
        for neighbour in &self.end.neighbours {
            while let Some(parcel) = neighbour.parcels_in.receive() {
                self.parcels.push(Some(parcel));
            }
        }
        let held = self.held.drain().chain(self.lobby.drain(..));
        let waiting = held.chain(self.limbo.drain(..));
        let waiting = waiting.map(|traveller| traveller.packet.frame);
        let bursts = self.bursts.iter_mut().map(|bursts| &mut bursts.waiting);
        let parcels = self.parcels.iter_mut().flatten();
        let batches = bursts.chain(parcels.map(|parcel| &mut **parcel));
        for frame in waiting.chain(batches.flat_map(|batch| batch.burst.drain())) {
            self.free.put(frame.into_chunk());
        }
        for port in &mut self.ports {
            port.flush(&mut self.free);
        }
        (self.ports, self.free.into_all())
    }
}

impl<P: Port> fmt::Debug for Worker<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.end.id)
            .field("ports", &self.ports.len())
            .field("chunks", &self.chunks())
            .finish_non_exhaustive()
    }
}
