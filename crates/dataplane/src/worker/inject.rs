//! What the slow path sends enters the line here.

use packet::{Endpoint, Frame};

use super::Worker;
use crate::batch::{Room, Source, Traveller};
use crate::change::{Entry, Inject, Kind};
use crate::discard::Discard;
use crate::link;
use crate::port::{Meta, Packet, Pool, Port};

/// Where an injected frame starts in its chunk.
const HEADROOM: usize = 256;

impl<P: Port> Worker<P> {
    pub(super) fn inject(&mut self, inject: &Inject) {
        self.counters().injected.add(1);
        let Some(frame) = self.frame_of(&inject.bytes) else {
            return;
        };
        let meta = self.meta_of(inject.entry);
        let mut t = Traveller::new(Packet { frame, meta }, Source::Own);
        match inject.entry {
            Entry::Transmit { remote, .. } => {
                t.packet.meta.next_hop = self.tables.shared.next_hop(remote);
                self.place(t, Room::Transmit.anywhere());
            }
            Entry::Tunnel {
                path,
                local_port,
                peer_port,
            } => {
                t.note.ports = [local_port, peer_port];
                self.place(t, Room::Seal.stop(path.0));
            }
            Entry::Session(session) => self.place(t, Room::Encap.stop(session.0)),
            Entry::Link { .. } => {
                t.note.source = Source::Network;
                match link::sort(&mut t.as_guest(), &self.tables) {
                    Ok(stop) => self.place(t, stop),
                    Err(exit) => self.leave(t, exit),
                }
            }
            Entry::Route { .. } => self.place(t, Room::Route.anywhere()),
        }
    }

    /// Copies what the slow path sends into a chunk.
    fn frame_of(&mut self, bytes: &[u8]) -> Option<Frame<P::Chunk>> {
        let Some(chunk) = self.free.take() else {
            self.counters().discard(Discard::NoChunk);
            return None;
        };
        let mut frame = Frame::new(chunk, 0, 0).expect("an empty window fits any chunk");
        if frame.fill(HEADROOM, bytes).is_none() {
            self.counters().discard(Discard::SendTooLong);
            self.free.put(frame.into_chunk());
            return None;
        }
        Some(frame)
    }

    fn meta_of(&self, entry: Entry) -> Meta {
        let (kind, local, remote, vrf) = match entry {
            Entry::Transmit {
                kind,
                local,
                remote,
                ..
            }
            | Entry::Link {
                kind,
                local,
                remote,
            } => (kind, local, remote, 0),
            Entry::Tunnel { .. } => (Kind::Esp, Endpoint::default(), Endpoint::default(), 0),
            Entry::Session(_) => (Kind::Ip, Endpoint::default(), Endpoint::default(), 0),
            Entry::Route { vrf } => (Kind::Ip, Endpoint::default(), Endpoint::default(), vrf),
        };
        Meta {
            kind,
            local,
            remote,
            port: self.tables.tunnel_port,
            vrf,
            next_hop: None,
            dscp_ecn: 0,
            bad_checksum: false,
            checksum: false,
            moves: 0,
        }
    }
}
