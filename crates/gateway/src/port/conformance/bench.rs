//! A port on a bench, its far end, and what all benches have in common.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use dataplane::change::{Adjacency, AdjacencyId, Kind, Listener, SharedChange};
use dataplane::memory::{FarEnd, MemoryChunk, MemoryPort, chunk};
use dataplane::port::{Burst, Meta, Packet, Pool, Port, SendError};
use dataplane::wire::Interface;
use dataplane::{Limits, Shared};
use packet::{Chunk, Endpoint, Frame};

use super::{BURST, PATIENCE};
use crate::clock;

pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(super) const MTU: usize = 1500;
/// Octets of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
const HEADROOM: usize = 256;
const HOP: AdjacencyId = AdjacencyId(1);
const CAPACITY: usize = 256;

/// How a back end differs, and may.
pub(super) struct Traits {
    /// The kernel writes and checks IP and UDP.
    pub(super) kernel_makes_udp: bool,
    /// Chunks there are.
    pub(super) chunks: usize,
}

/// A port, its chunks, and the far end of its cable.
pub(super) trait Bench: Sized {
    type Chunk: Chunk;
    const TRAITS: Traits;

    /// `None`, with a word about it, when the process may not.
    fn new() -> Option<Self>;
    fn parts(&mut self) -> (&mut dyn Port<Chunk = Self::Chunk>, &mut Spare<Self::Chunk>);
    /// Puts an IPv4 packet on the far end.
    fn put(&mut self, packet: &[u8]);
    /// The next IPv4 packet that came to the far end.
    fn take(&mut self) -> Option<Vec<u8>>;
    /// Closes everything; all chunks.
    fn close(self) -> Vec<Self::Chunk>;

    /// The next packet that the port receives.
    fn next(&mut self) -> Option<Packet<Self::Chunk>> {
        self.next_within(PATIENCE)
    }

    fn next_within(&mut self, patience: Duration) -> Option<Packet<Self::Chunk>> {
        let end = clock::now() + patience;
        loop {
            let (port, spare) = self.parts();
            if spare.arrived.is_empty() {
                let mut burst = Burst::with_capacity(BURST);
                port.receive(&mut spare.chunks, &mut burst, BURST);
                port.flush(&mut spare.chunks);
                if let Some(interface) = port.interface() {
                    let refused = |frame: Frame<_>, _| spare.chunks.put(frame.into_chunk());
                    burst.read_all(&interface, &spare.shared, refused);
                }
                spare.arrived.extend(burst.packets());
            }
            if !spare.arrived.is_empty() {
                return Some(spare.arrived.remove(0));
            }
            if clock::now() > end {
                return None;
            }
            std::thread::yield_now();
        }
    }

    fn give_back(&mut self, packet: Packet<Self::Chunk>) {
        self.parts().1.chunks.put(packet.frame.into_chunk());
    }

    /// Queues a frame for the peer.
    fn queue(&mut self, kind: Kind, port_number: u16, window: &[u8]) -> Result<(), SendError> {
        let (port, spare) = self.parts();
        let chunk = spare.chunks.take().expect("there are chunks enough");
        let mut frame = Frame::new(chunk, 0, 0).unwrap();
        frame.fill(HEADROOM, window).unwrap();
        let packet = Packet {
            frame,
            meta: meta(kind, port_number),
        };
        port.send(packet).map_err(|(packet, why)| {
            spare.chunks.put(packet.frame.into_chunk());
            why
        })
    }

    /// The same, and pushes it out.
    fn send(&mut self, kind: Kind, port_number: u16, window: &[u8]) -> Result<(), SendError> {
        self.queue(kind, port_number, window)?;
        let (port, spare) = self.parts();
        port.flush(&mut spare.chunks);
        Ok(())
    }

    /// So many packets from the far end.
    fn taken(&mut self, count: usize) -> Vec<Vec<u8>> {
        let end = clock::now() + PATIENCE;
        let mut packets = Vec::new();
        while packets.len() < count {
            packets.extend(self.take());
            let (port, spare) = self.parts();
            port.flush(&mut spare.chunks);
            assert!(clock::now() < end, "{} of {count} left", packets.len());
        }
        packets
    }

    fn until_all_have_left(&mut self) {
        let end = clock::now() + PATIENCE;
        loop {
            let (port, spare) = self.parts();
            port.flush(&mut spare.chunks);
            if port.in_flight() == 0 {
                return;
            }
            assert!(clock::now() < end, "{} have not left", port.in_flight());
            self.drain();
        }
    }

    /// Forgets what came to the far end.
    fn drain(&mut self) {
        std::thread::yield_now();
        while self.take().is_some() {}
    }

    fn hide_chunks(&mut self) -> Vec<Self::Chunk> {
        std::mem::take(&mut self.parts().1.chunks.0)
    }

    fn restore_chunks(&mut self, chunks: Vec<Self::Chunk>) {
        self.parts().1.chunks.0.extend(chunks);
    }

    /// Chunks are conserved.
    fn all_chunks_are_back(mut self) {
        let (_, spare) = self.parts();
        for packet in std::mem::take(&mut spare.arrived) {
            spare.chunks.put(packet.frame.into_chunk());
        }
        assert_eq!(self.close().len(), Self::TRAITS.chunks);
    }
}

/// What is not in the port.
pub(super) struct Spare<C> {
    pub(super) chunks: Chunks<C>,
    arrived: Vec<Packet<C>>,
    shared: Arc<Shared>,
}

impl<C> Spare<C> {
    pub(super) fn new(chunks: Vec<C>, shared: Arc<Shared>) -> Self {
        Self {
            chunks: Chunks(chunks),
            arrived: Vec::new(),
            shared,
        }
    }
}

pub(super) struct Chunks<C>(pub(super) Vec<C>);

impl<C> Pool<C> for Chunks<C> {
    fn take(&mut self) -> Option<C> {
        self.0.pop()
    }

    fn put(&mut self, chunk: C) {
        self.0.push(chunk);
    }
}

/// Towards the peer.
pub(super) fn meta(kind: Kind, port: u16) -> Meta {
    Meta {
        kind,
        local: Endpoint::new(NEAR.into(), port),
        remote: Endpoint::new(FAR.into(), port),
        next_hop: Some(HOP),
        ..Meta::ip(0)
    }
}

/// Tables in which the near address is an endpoint and the far one a neighbour.
pub(super) fn tables(near: [u8; 6], far: [u8; 6]) -> Arc<Shared> {
    let shared = Shared::new(Limits::default(), clock::now());
    shared.apply(SharedChange::SetListener(Listener {
        index: 0,
        address: IpAddr::V4(NEAR),
        ipsec_required: false,
        data_checksum: false,
        vrf: 0,
    }));
    let (port, mtu, is_resolved) = (0, MTU as u16, true);
    let rewrite = Some([far, near]);
    let adjacency = Adjacency {
        port,
        mtu,
        rewrite,
        is_resolved,
    };
    shared.apply(SharedChange::SetAdjacency(HOP, adjacency));
    shared
}

pub(super) fn interface(mac: [u8; 6]) -> Interface {
    Interface {
        port: 0,
        vrf: 0,
        mtu: MTU as u16,
        mac,
    }
}

/// The port in memory.
pub(super) struct InMemory {
    port: MemoryPort,
    far: FarEnd,
    spare: Spare<MemoryChunk>,
}

const MACS: [[u8; 6]; 2] = [[2; 6], [4; 6]];

impl Bench for InMemory {
    type Chunk = MemoryChunk;
    const TRAITS: Traits = Traits {
        kernel_makes_udp: false,
        chunks: 1024,
    };

    fn new() -> Option<Self> {
        let shared = tables(MACS[0], MACS[1]);
        let (port, far) = MemoryPort::new(Arc::clone(&shared), interface(MACS[0]), CAPACITY);
        let chunks = (0..Self::TRAITS.chunks).map(|_| chunk(2048)).collect();
        Some(Self {
            port,
            far,
            spare: Spare::new(chunks, shared),
        })
    }

    fn parts(&mut self) -> (&mut dyn Port<Chunk = MemoryChunk>, &mut Spare<MemoryChunk>) {
        (&mut self.port, &mut self.spare)
    }

    fn put(&mut self, packet: &[u8]) {
        let frame = [&MACS[0][..], &MACS[1], &[8, 0], packet].concat();
        assert!(self.far.send(&frame), "the cable is not full");
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.far.receive().map(|frame| frame[ETHERNET..].to_vec())
    }

    fn close(mut self) -> Vec<MemoryChunk> {
        self.port.flush(&mut self.spare.chunks);
        self.spare.chunks.0
    }
}
