//! A port whose network card is a pair of descriptor rings over one packet memory.
//!
//! It does what the AF_XDP port does for every frame, without the kernel: gives it as it came, takes
//! it as it leaves, keeps the fill and completion rings in balance with the worker's free chunks.
//! Received frames wait where the generator left them; sent ones stay until they have been looked
//! at.

use std::sync::Arc;

use af_xdp::Chunk;
use dataplane::Shared;
use dataplane::port::{Burst, Packet, Pool, Port, SendError};
use dataplane::wire::{self, Interface};
use packet::Frame;

/// A frame in a ring.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) chunk: Chunk,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Descriptor {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.chunk.as_ref()[self.offset as usize..][..self.len as usize]
    }
}

/// Frames that wait for the worker. As in AF_XDP, taking the next one is a step of an index.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    ring: std::vec::IntoIter<Descriptor>,
    /// Those that came since the ring was filled.
    later: Vec<Descriptor>,
}

impl Arriving {
    pub(crate) fn push(&mut self, frame: Descriptor) {
        self.later.push(frame);
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len() + self.later.len()
    }

    /// Fills the ring again once it is empty. Says how many frames it holds.
    #[inline]
    fn ready(&mut self) -> usize {
        if self.ring.len() == 0 {
            self.ring = std::mem::take(&mut self.later).into_iter();
        }
        self.ring.len()
    }
}

impl Extend<Descriptor> for Arriving {
    fn extend<T: IntoIterator<Item = Descriptor>>(&mut self, frames: T) {
        self.later.extend(frames);
    }
}

/// Frames that were sent. As in AF_XDP, a descriptor is a few words that come from registers: a
/// chunk and its window in one value would first be put together in memory.
#[derive(Debug)]
pub(crate) struct Leaving {
    chunks: Vec<Chunk>,
    windows: Vec<[u32; 2]>,
}

impl Leaving {
    fn with_capacity(frames: usize) -> Self {
        Self {
            chunks: Vec::with_capacity(frames),
            windows: Vec::with_capacity(frames),
        }
    }

    #[inline]
    fn push(&mut self, chunk: Chunk, offset: usize, len: usize) {
        self.chunks.push(chunk);
        self.windows.push([offset as u32, len as u32]);
    }

    pub(crate) fn len(&self) -> usize {
        self.windows.len()
    }

    /// All of them, in the order in which they were sent.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Descriptor> {
        let sent = self.chunks.drain(..).zip(self.windows.drain(..));
        sent.map(|(chunk, [offset, len])| Descriptor { chunk, offset, len })
    }
}

/// The port.
#[derive(Debug)]
pub(crate) struct RingPort {
    shared: Arc<Shared>,
    interface: Interface,
    /// Frames that come together, at most.
    pub(crate) burst: usize,
    /// The receive ring.
    pub(crate) arriving: Arriving,
    /// The transmit ring: what was sent.
    pub(crate) leaving: Leaving,
    /// The fill ring: as many chunks as were received since the last flush.
    filled: Vec<Chunk>,
}

impl RingPort {
    pub(crate) fn new(shared: Arc<Shared>, interface: Interface, frames: usize) -> Self {
        Self {
            shared,
            interface,
            burst: usize::MAX,
            arriving: Arriving::default(),
            leaving: Leaving::with_capacity(frames),
            filled: Vec::with_capacity(frames),
        }
    }
}

impl Port for RingPort {
    type Chunk = Chunk;

    #[inline]
    fn receive(
        &mut self,
        pool: &mut dyn Pool<Chunk>,
        burst: &mut Burst<Chunk>,
        max: usize,
    ) -> usize {
        let count = max.min(self.burst).min(self.arriving.ready());
        for Descriptor { chunk, offset, len } in self.arriving.ring.by_ref().take(count) {
            let frame = Frame::new(chunk, offset as usize, len as usize);
            burst.push_whole(frame.expect("the generator keeps to the chunk"));
        }
        pool.take_some(count, &mut self.filled);
        count
    }

    #[inline]
    fn expect(&self, nth: usize) {
        if let Some(next) = self.arriving.ring.as_slice().get(nth) {
            wire::approach_head(next.chunk.as_ref(), next.offset as usize);
        }
    }

    #[inline]
    fn send(&mut self, mut packet: Packet<Chunk>) -> Result<(), (Packet<Chunk>, SendError)> {
        let hop = packet
            .meta
            .next_hop
            .and_then(|id| self.shared.adjacency(id));
        let Some(rewrite) = hop.and_then(|hop| hop.rewrite) else {
            return Err((packet, SendError::Unresolved));
        };
        if let Err(why) = wire::write(&mut packet, &self.interface, rewrite) {
            return Err((packet, why));
        }
        let (offset, len) = (packet.frame.headroom(), packet.frame.len());
        self.leaving.push(packet.frame.into_chunk(), offset, len);
        Ok(())
    }

    fn interface(&self) -> Option<Interface> {
        Some(self.interface)
    }

    #[inline]
    fn send_whole(&mut self, frame: Frame<Chunk>) -> Result<(), Frame<Chunk>> {
        let (offset, len) = (frame.headroom(), frame.len());
        self.leaving.push(frame.into_chunk(), offset, len);
        Ok(())
    }

    #[inline]
    fn flush(&mut self, pool: &mut dyn Pool<Chunk>) {
        pool.put_all(&mut self.filled);
    }

    fn in_flight(&self) -> usize {
        self.filled.len()
    }
}
