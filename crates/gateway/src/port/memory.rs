//! A port whose cable ends in this process: what the worker sends wakes the load at the far end.

use std::sync::Arc;

use dataplane::Shared;
use dataplane::port::{Burst, Packet, Pool, Port, SendError};
use dataplane::ring::Bell;
use dataplane::wire::{self, Interface};
use packet::{Chunk, Frame};

use super::HEADROOM;
use crate::memory::{Emptying, Filling};

/// Where frames without a known next hop go.
const BROADCAST: [u8; 6] = [0xff; 6];

/// The worker's end of a cable.
pub(crate) struct Plug {
    /// What comes from the load.
    pub(crate) arriving: Emptying,
    /// What goes there.
    pub(crate) leaving: Filling,
    /// Wakes it.
    pub(crate) bell: Arc<Bell>,
}

/// The port.
pub(crate) struct Memory<C> {
    shared: Arc<Shared>,
    interface: Interface,
    plug: Plug,
    /// Chunks of frames that were sent, until the pool is at hand.
    spent: Vec<C>,
}

impl<C> Memory<C> {
    pub(crate) fn new(shared: Arc<Shared>, interface: Interface, plug: Plug) -> Self {
        Self {
            shared,
            interface,
            plug,
            spent: Vec::new(),
        }
    }

    /// Whether a frame waits to be received: there is no descriptor that would say so.
    pub(crate) fn is_ready(&self) -> bool {
        self.plug.arriving.is_ready()
    }

    pub(super) fn into_chunks(self) -> Vec<C> {
        self.spent
    }

    fn rewrite(&self, packet: &Packet<C>) -> [[u8; 6]; 2] {
        let hop = packet.meta.next_hop;
        hop.and_then(|id| self.shared.adjacency(id)?.rewrite)
            .unwrap_or([BROADCAST, self.interface.mac])
    }
}

impl<C: Chunk> Port for Memory<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Burst<C>, max: usize) -> usize {
        let before = burst.len();
        while burst.len() - before < max && self.is_ready() {
            let Some(chunk) = pool.take() else { break };
            let mut frame = Frame::new(chunk, 0, 0).expect("an empty window fits any chunk");
            let bytes = self.plug.arriving.frame().unwrap_or_default();
            match frame.fill(HEADROOM, bytes) {
                Some(()) => burst.push_whole(frame),
                // Longer than a chunk: no link would have brought it.
                None => pool.put(frame.into_chunk()),
            }
        }
        burst.len() - before
    }

    fn interface(&self) -> Option<Interface> {
        Some(self.interface)
    }

    fn send_whole(&mut self, frame: Frame<C>) -> Result<(), Frame<C>> {
        if !self.plug.leaving.push([frame.bytes(), &[]]) {
            return Err(frame);
        }
        self.spent.push(frame.into_chunk());
        Ok(())
    }

    fn send(&mut self, mut packet: Packet<C>) -> Result<(), (Packet<C>, SendError)> {
        if self.plug.leaving.is_full() {
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

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        if !self.spent.is_empty() {
            pool.put_all(&mut self.spent);
            self.plug.leaving.flush();
            self.plug.bell.ring();
        }
    }

    fn in_flight(&self) -> usize {
        self.spent.len()
    }
}
