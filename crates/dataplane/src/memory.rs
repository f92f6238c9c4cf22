//! A port in memory: whole Ethernet frames, for a load in the same process, simulation and tests.

mod way;

use std::sync::Arc;

use packet::{Chunk, Frame};

use crate::port::{Burst, Packet, Pool, Port, SendError};
use crate::shared::Shared;
use crate::wire::{self, Interface};
use way::{Emptying, Filling, way};
pub use way::{Frames, Watch};

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
    arriving: Emptying,
    leaving: Filling,
    /// Chunks of frames that were sent, until the pool is at hand.
    spent: Vec<C>,
    /// Whether it reads every frame itself, as a port that is no Ethernet interface does.
    is_canonical: bool,
}

/// The far end of the cable.
#[derive(Debug)]
pub struct FarEnd {
    arriving: Filling,
    leaving: Emptying,
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
        let [(to_port, arriving), (leaving, from_port)] = [way(capacity), way(capacity)];
        let far = FarEnd {
            arriving: to_port,
            leaving: from_port,
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
        self.arriving.is_ready()
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
    /// Puts an Ethernet frame, of which this is the beginning and the rest, into the cable; `false` if
    /// that is full. It may arrive no sooner than [`Self::flush`].
    #[must_use]
    pub fn push(&mut self, parts: [&[u8]; 2]) -> bool {
        self.arriving.push(parts)
    }

    /// Lets everything arrive that was put in.
    pub fn flush(&mut self) {
        self.arriving.flush();
    }

    /// Sends an Ethernet frame at once; `false` if the cable is full.
    #[must_use]
    pub fn send(&mut self, frame: &[u8]) -> bool {
        let has_room = self.push([frame, &[]]);
        self.flush();
        has_room
    }

    /// Whether a frame waits to be received.
    pub fn is_ready(&self) -> bool {
        self.leaving.is_ready()
    }

    /// To be told of it elsewhere.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.leaving.watch()
    }

    /// The next Ethernet frame that the port sent.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.leaving.frame(<[u8]>::to_vec)
    }

    /// Takes the next burst of frames, to work on where they lie; how many they were.
    pub fn receive_burst(&mut self, take: impl FnOnce(&mut Frames)) -> Option<usize> {
        self.leaving.burst(take)
    }
}

impl<C: Chunk> Port for MemoryPort<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Burst<C>, max: usize) -> usize {
        let before = burst.len();
        while burst.len() - before < max && self.is_ready() {
            let Some(chunk) = pool.take() else {
                break;
            };
            let mut frame = Frame::new(chunk, 0, 0).expect("an empty window fits any chunk");
            match self.arriving.frame(|bytes| frame.fill(HEADROOM, bytes)) {
                Some(Some(())) => burst.push_whole(frame),
                // Longer than a chunk: no link would have brought it.
                Some(None) | None => pool.put(frame.into_chunk()),
            }
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
        let Packet { frame, meta } = packet;
        self.send_whole(frame)
            .map_err(|frame| (Packet { frame, meta }, SendError::Full))
    }

    fn interface(&self) -> Option<Interface> {
        (!self.is_canonical).then_some(self.interface)
    }

    fn send_whole(&mut self, frame: Frame<C>) -> Result<(), Frame<C>> {
        if !self.leaving.push([frame.bytes(), &[]]) {
            return Err(frame);
        }
        self.spent.push(frame.into_chunk());
        Ok(())
    }

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        self.leaving.flush();
        pool.put_all(&mut self.spent);
    }

    fn in_flight(&self) -> usize {
        self.spent.len()
    }
}
