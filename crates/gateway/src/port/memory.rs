//! A port whose cable ends in this process: what the worker sends wakes the load at the far end.

use std::sync::Arc;

use dataplane::memory::MemoryPort;
use dataplane::port::{Burst, Packet, Pool, Port, SendError};
use dataplane::ring::Bell;
use dataplane::wire::Interface;
use packet::Frame;

/// The port.
pub(crate) struct Memory<C> {
    port: MemoryPort<C>,
    /// Wakes whoever is at the far end.
    far_bell: Arc<Bell>,
}

impl<C> Memory<C> {
    pub(crate) fn new(port: MemoryPort<C>, far_bell: Arc<Bell>) -> Self {
        Self { port, far_bell }
    }

    /// Whether a frame waits to be received: there is no descriptor that would say so.
    pub(crate) fn is_ready(&self) -> bool {
        self.port.is_ready()
    }

    pub(super) fn into_chunks(self) -> Vec<C> {
        self.port.into_chunks()
    }
}

impl<C: packet::Chunk> Port for Memory<C> {
    type Chunk = C;

    fn receive(&mut self, pool: &mut dyn Pool<C>, burst: &mut Burst<C>, max: usize) -> usize {
        self.port.receive(pool, burst, max)
    }

    fn interface(&self) -> Option<Interface> {
        self.port.interface()
    }

    fn send_whole(&mut self, frame: Frame<C>) -> Result<(), Frame<C>> {
        self.port.send_whole(frame)
    }

    fn send(&mut self, packet: Packet<C>) -> Result<(), (Packet<C>, SendError)> {
        self.port.send(packet)
    }

    fn flush(&mut self, pool: &mut dyn Pool<C>) {
        if self.port.in_flight() > 0 {
            self.port.flush(pool);
            self.far_bell.ring();
        }
    }

    fn in_flight(&self) -> usize {
        self.port.in_flight()
    }
}
