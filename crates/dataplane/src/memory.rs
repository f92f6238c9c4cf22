//! A port in memory: rings of whole Ethernet frames, for simulation, tests and benchmarks.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use packet::{Chunk, Frame};

use crate::port::{Burst, Packet, Pool, Port, SendError};
use crate::shared::Shared;
use crate::wire::{self, Interface};

/// Where a received frame starts in its chunk.
const HEADROOM: usize = 256;

/// Where frames without a known next hop go.
const BROADCAST: [u8; 6] = [0xff; 6];

/// The packet memory of this port.
pub type MemoryChunk = Box<[u8]>;

/// A chunk of packet memory.
pub fn chunk(len: usize) -> MemoryChunk {
    vec![0; len].into()
}

/// The port.
#[derive(Debug)]
pub struct MemoryPort<C = MemoryChunk> {
    shared: Arc<Shared>,
    interface: Interface,
    arriving: Arc<ArrayQueue<Vec<u8>>>,
    leaving: Arc<ArrayQueue<Vec<u8>>>,
    /// Chunks of frames that were sent, until the pool is at hand.
    spent: Vec<C>,
    /// Whether it reads every frame itself, as a port that is no Ethernet interface does.
    is_canonical: bool,
}

/// The far end of the cable.
#[derive(Clone, Debug)]
pub struct FarEnd {
    arriving: Arc<ArrayQueue<Vec<u8>>>,
    leaving: Arc<ArrayQueue<Vec<u8>>>,
}

impl<C> MemoryPort<C> {
    /// The same port, which gives and takes canonical frames only.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.is_canonical = true;
        self
    }

    /// A port and what it is plugged to; each direction holds `capacity` frames.
    pub fn new(shared: Arc<Shared>, interface: Interface, capacity: usize) -> (Self, FarEnd) {
        let arriving = Arc::new(ArrayQueue::new(capacity));
        let leaving = Arc::new(ArrayQueue::new(capacity));
        let far = FarEnd {
            arriving: Arc::clone(&arriving),
            leaving: Arc::clone(&leaving),
        };
        let port = Self {
            shared,
            interface,
            arriving,
            leaving,
            spent: Vec::new(),
            is_canonical: false,
        };
        (port, far)
    }

    /// Whether a frame waits to be received.
    pub fn is_ready(&self) -> bool {
        !self.arriving.is_empty()
    }

    /// The chunks that are still inside.
    pub fn into_chunks(self) -> Vec<C> {
        self.spent
    }

    fn rewrite(&self, packet: &Packet<C>) -> [[u8; 6]; 2] {
        let hop = packet
            .meta
            .next_hop
            .and_then(|id| self.shared.adjacency(id));
        hop.and_then(|hop| hop.rewrite)
            .unwrap_or([BROADCAST, self.interface.mac])
    }
}

impl FarEnd {
    /// Sends an Ethernet frame to the port; a full cable gives it back.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), Vec<u8>> {
        self.arriving.push(frame)
    }

    /// Whether a frame waits to be received.
    pub fn is_ready(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// The next Ethernet frame that the port sent.
    pub fn receive(&self) -> Option<Vec<u8>> {
        self.leaving.pop()
    }
}

impl<C: Chunk> Port for MemoryPort<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Burst<C>, max: usize) -> usize {
        let before = burst.len();
        for _ in 0..max {
            let Some(chunk) = pool.take() else {
                break;
            };
            let mut frame = Frame::new(chunk, 0, 0).expect("an empty window fits any chunk");
            let Some(bytes) = self.arriving.pop() else {
                pool.put(frame.into_chunk());
                break;
            };
            if frame.fill(HEADROOM, &bytes).is_none() {
                pool.put(frame.into_chunk());
                continue;
            }
            burst.push_whole(frame);
        }
        if self.is_canonical {
            // What is not for the line the worker shall count, as that of an interface.
            let mut refused = Vec::new();
            burst.read_all(&self.interface, &self.shared, |frame, _| {
                refused.push(frame)
            });
            refused
                .into_iter()
                .for_each(|frame| burst.push_whole(frame));
        }
        burst.len() - before
    }

    fn send(&mut self, mut packet: Packet<C>) -> Result<(), (Packet<C>, SendError)> {
        if self.leaving.is_full() {
            return Err((packet, SendError::Full));
        }
        let rewrite = self.rewrite(&packet);
        if let Err(why) = wire::write(&mut packet, &self.interface, rewrite) {
            return Err((packet, why));
        }
        // Only this port fills the queue, so the room seen above is still there.
        let _ = self.leaving.push(packet.frame.bytes().to_vec());
        self.spent.push(packet.frame.into_chunk());
        Ok(())
    }

    fn interface(&self) -> Option<Interface> {
        (!self.is_canonical).then_some(self.interface)
    }

    fn send_whole(&mut self, frame: Frame<C>) -> Result<(), Frame<C>> {
        if self.leaving.is_full() {
            return Err(frame);
        }
        let _ = self.leaving.push(frame.bytes().to_vec());
        self.spent.push(frame.into_chunk());
        Ok(())
    }

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        self.spent.drain(..).for_each(|chunk| pool.put(chunk));
    }

    fn in_flight(&self) -> usize {
        self.spent.len()
    }
}
