//! One AF_XDP queue of an interface.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use af_xdp::{Chunk, Socket};
use dataplane::Shared;
use dataplane::port::{Burst, Packet, Pool, Port, SendError};
use dataplane::wire::{self, Interface};
use packet::Frame;

use super::losses::{Loss, Losses};

/// The port.
pub(crate) struct Xdp {
    socket: Socket,
    interface: Interface,
    shared: Arc<Shared>,
    /// Chunks on their way from the pool or back.
    spare: Vec<Chunk>,
}

impl Xdp {
    pub(crate) fn new(socket: Socket, interface: Interface, shared: Arc<Shared>) -> Self {
        Self {
            socket,
            interface,
            shared,
            spare: Vec::new(),
        }
    }

    /// Whether the driver works on packet memory itself.
    pub(crate) fn is_zero_copy(&self) -> bool {
        self.socket.is_zero_copy()
    }

    /// What a parked worker waits for.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    /// What was lost here so far.
    pub(super) fn losses(&self, losses: &mut Losses) {
        let Ok(counted) = self.socket.statistics() else {
            return;
        };
        // In copy mode a frame that finds no chunk is counted twice.
        let doubled = if self.is_zero_copy() {
            0
        } else {
            counted.fill_empty
        };
        let bad = counted.invalid_receive + counted.invalid_transmit + counted.refused;
        losses.add(Loss::XdpReceiveFull, counted.ring_full);
        losses.add(Loss::XdpFillEmpty, counted.fill_empty);
        losses.add(Loss::XdpDropped, counted.dropped.saturating_sub(doubled));
        losses.add(Loss::XdpBadDescriptor, bad);
    }

    pub(super) fn into_chunks(self) -> Vec<Chunk> {
        let mut chunks = self.socket.into_chunks();
        chunks.extend(self.spare);
        chunks
    }

    /// The MAC addresses of the next hop and of the interface.
    fn rewrite(&self, packet: &Packet<Chunk>) -> Option<[[u8; 6]; 2]> {
        let next_hop = packet.meta.next_hop?;
        self.shared
            .adjacency(next_hop)
            .and_then(|adjacency| adjacency.rewrite)
    }
}

impl Port for Xdp {
    type Chunk = Chunk;

    fn receive(
        &mut self,
        pool: &mut dyn Pool<Chunk>,
        burst: &mut Burst<Chunk>,
        max: usize,
    ) -> usize {
        let Self { socket, spare, .. } = self;
        let count = socket.receive(max, |chunk, offset, len| {
            match Frame::new(chunk, offset, len) {
                Some(frame) => burst.push_whole(frame),
                None => debug_assert!(false, "the socket checks its descriptors"),
            }
        });
        pool.take_some(socket.fill_room(), spare);
        socket.fill(|| spare.pop());
        count
    }

    fn expect(&self, nth: usize) {
        if let Some(octets) = self.socket.waiting(nth) {
            wire::approach_head(octets, 0);
        }
    }

    fn send(&mut self, mut packet: Packet<Chunk>) -> Result<(), (Packet<Chunk>, SendError)> {
        let Some(rewrite) = self.rewrite(&packet) else {
            return Err((packet, SendError::Unresolved));
        };
        if let Err(why) = wire::write(&mut packet, &self.interface, rewrite) {
            return Err((packet, why));
        }
        let Packet { frame, meta } = packet;
        let (offset, len) = (frame.headroom(), frame.len());
        self.socket
            .transmit(frame.into_chunk(), offset, len)
            .map_err(|chunk| {
                let frame = Frame::new(chunk, offset, len).expect("the window it had before");
                (Packet { frame, meta }, SendError::Full)
            })
    }

    fn interface(&self) -> Option<Interface> {
        Some(self.interface)
    }

    fn send_whole(&mut self, frame: Frame<Chunk>) -> Result<(), Frame<Chunk>> {
        let (offset, len) = (frame.headroom(), frame.len());
        self.socket
            .transmit(frame.into_chunk(), offset, len)
            .map_err(|chunk| Frame::new(chunk, offset, len).expect("the window it had before"))
    }

    fn flush(&mut self, pool: &mut dyn Pool<Chunk>) {
        // An error of the kick is an interface that went down: frames stay queued, and a full
        // queue is a named discard.
        let _ = self.socket.kick();
        self.socket.complete(|chunk| self.spare.push(chunk));
        pool.put_all(&mut self.spare);
    }

    fn in_flight(&self) -> usize {
        self.socket.in_transmit()
    }
}
