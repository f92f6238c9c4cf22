//! One worker: a turn of the line.

use std::sync::Arc;
use std::time::Instant;

use crypto::esp::Backend;
use hdrhistogram::Histogram;

use crate::id::WorkerId;
use crate::mesh::WorkerEnd;
use crate::port::Port;
use crate::shared::Shared;

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
    /// Free chunks to keep; more go to the depot, fewer are fetched from it.
    pub chunks: usize,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Frames, changes and shards handled.
    pub work: usize,
    /// When to run at the latest, even if nothing arrives.
    pub next: Option<Instant>,
}

/// A worker.
#[derive(Debug)]
pub struct Worker<P: Port> {
    ports: Vec<P>,
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
        let _ = (shared, chunks, end, settings);
        Self { ports }
    }

    /// Which worker.
    pub fn id(&self) -> WorkerId {
        todo!()
    }

    /// One step: changes and injects, hand-overs, receive, walk, send.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let _ = now;
        todo!()
    }

    /// Before sleeping: arms the bell and looks at every ring once more. `false`: there is work, do
    /// not sleep. The caller looks at the ports' descriptors itself, in poll(2).
    pub fn may_park(&mut self) -> bool {
        todo!()
    }

    /// Awake again.
    pub fn unpark(&mut self) {
        todo!()
    }

    /// The ports.
    pub fn ports_mut(&mut self) -> &mut [P] {
        &mut self.ports
    }

    /// Chunks this worker holds: free, waiting or held back, but not those in its ports.
    pub fn chunks(&self) -> usize {
        todo!()
    }

    /// How long turns with something to do took, in cycles.
    pub fn burst_cycles(&self) -> &Histogram<u64> {
        todo!()
    }

    /// Gives everything back that holds packet memory, for an orderly end.
    pub fn dismantle(self) -> (Vec<P>, Vec<P::Chunk>) {
        todo!()
    }
}
