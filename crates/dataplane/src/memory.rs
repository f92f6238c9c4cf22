//! A port in memory: rings of whole Ethernet frames, for simulation, tests and benchmarks.

use std::sync::Arc;

use crate::port::{Packet, Pool, Port, SendError};
use crate::shared::Shared;
use crate::wire::Interface;

/// The port.
#[derive(Debug)]
pub struct MemoryPort {}

/// The far end of the cable.
#[derive(Debug)]
pub struct FarEnd {}

impl MemoryPort {
    /// A port and what it is plugged to; each direction holds `capacity` frames.
    pub fn new(shared: Arc<Shared>, interface: Interface, capacity: usize) -> (Self, FarEnd) {
        let _ = (shared, interface, capacity);
        todo!()
    }
}

impl FarEnd {
    /// Sends an Ethernet frame to the port; a full cable gives it back.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), Vec<u8>> {
        Err(frame)
    }

    /// The next Ethernet frame that the port sent.
    pub fn receive(&self) -> Option<Vec<u8>> {
        None
    }
}

impl Port for MemoryPort {
    type Chunk = Box<[u8]>;

    fn receive(
        &mut self,
        _pool: &mut dyn Pool<Box<[u8]>>,
        _burst: &mut Vec<Packet<Box<[u8]>>>,
        _max: usize,
    ) -> usize {
        0
    }

    fn send(&mut self, packet: Packet<Box<[u8]>>) -> Result<(), (Packet<Box<[u8]>>, SendError)> {
        Err((packet, SendError::Full))
    }

    fn flush(&mut self, _pool: &mut dyn Pool<Box<[u8]>>) {}

    fn in_flight(&self) -> usize {
        0
    }
}
