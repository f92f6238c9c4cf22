//! What goes out: an IP packet around every message, sealed burst by burst.

use std::net::SocketAddrV4;

use packet::header::{Ipv4, Udp};

use super::{ClientId, Door, Fleet, Outside};
use crate::sa::{HEADER, PairId, Unsealed};
use crate::wire::{self, Checksum};

/// What HMAC-SHA2-256 lacks where 96 bits of it are sent for 128.
const ICV_CUT: usize = 4;
/// Buffers that are kept for the next burst.
const SPARE_MAX: usize = 256;

/// An IP packet on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The whole packet.
    pub packet: Vec<u8>,
    /// Where its ESP header is, and under which pair it is sealed.
    esp: Option<(usize, PairId)>,
    /// Octets that are left of it once it is sealed.
    len: usize,
}

/// Who sends a packet.
#[derive(Clone, Copy)]
struct Sender {
    outside: Outside,
    l2tp_port: u16,
    /// Octets of the ICV that are not sent.
    cut: usize,
}

impl Outgoing {
    /// A packet that needs no sealing any more.
    #[must_use]
    pub fn finished(packet: Vec<u8>) -> Self {
        let len = packet.len();
        Self {
            packet,
            esp: None,
            len,
        }
    }
}

impl Fleet {
    /// Puts a packet of a subscriber into the queue: `fill` appends it. `false` if the client is not
    /// up, or its SA has no sequence number left.
    pub fn load(&mut self, id: ClientId, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let member = &mut self.members[id.0 as usize];
        let Some(header) = member.header.take() else {
            return false;
        };
        let is_loaded = self.enclose(id, Checksum::None, |packet| {
            packet.extend_from_slice(&header);
            fill(packet);
        });
        self.members[id.0 as usize].header = Some(header);
        is_loaded
    }

    /// Seals what waits; all of it may then be sent.
    pub fn outbox(&mut self) -> &[Outgoing] {
        let mut unsealed: Vec<Unsealed<'_>> = self
            .queue
            .iter_mut()
            .filter_map(|outgoing| {
                let (start, pair) = outgoing.esp.take()?;
                Some(Unsealed {
                    packet: &mut outgoing.packet,
                    start,
                    pair,
                })
            })
            .collect();
        if !unsealed.is_empty() {
            self.sas.seal(&mut unsealed);
            for outgoing in &mut self.queue {
                outgoing.packet.truncate(outgoing.len);
            }
        }
        &self.queue
    }

    /// Forgets the first `count` packets of the outbox: they have been sent.
    pub fn sent(&mut self, count: usize) {
        for outgoing in self.queue.drain(..count) {
            self.wire.up_packets += 1;
            self.wire.up_octets += outgoing.packet.len() as u64;
            if self.spare.len() < SPARE_MAX {
                self.spare.push(outgoing.packet);
            }
        }
    }

    pub(super) fn send_udp(&mut self, id: ClientId, door: Door, payload: &[u8]) {
        self.send_from(self.members[id.0 as usize].outside, door, payload);
    }

    /// Sends a datagram through a door.
    pub(super) fn send_from(&mut self, outside: Outside, door: Door, payload: &[u8]) {
        let (from, to) = match door {
            Door::Ike => (outside.ike, Udp::IKE),
            Door::NatT => (outside.natt, Udp::NAT_T),
            Door::L2tp => (outside.l2tp, Udp::L2TP),
        };
        let from = SocketAddrV4::new(outside.address, from);
        let to = SocketAddrV4::new(self.server, to);
        let packet = wire::udp(from, to, payload, Checksum::Full);
        self.queue.push(Outgoing {
            len: packet.len(),
            packet,
            esp: None,
        });
    }

    /// Puts an L2TP message, which `fill` appends, into what the client travels in.
    pub(super) fn enclose(
        &mut self,
        id: ClientId,
        sum: Checksum,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.clear();
        let member = &self.members[id.0 as usize];
        let (outside, current) = (member.outside, member.current);
        let sender = Sender {
            outside,
            l2tp_port: member.client.l2tp_port(),
            cut: if member.client.cuts_icv() { ICV_CUT } else { 0 },
        };
        let esp = if member.client.is_plain() {
            packet.resize(Ipv4::LEN + Udp::LEN, 0);
            fill(&mut packet);
            let from = SocketAddrV4::new(outside.address, outside.l2tp);
            wire::finish_udp(
                &mut packet,
                from,
                SocketAddrV4::new(self.server, Udp::L2TP),
                sum,
            );
            None
        } else {
            let Some((pair, start)) =
                current.and_then(|pair| Some((pair, self.wrap(pair, sender, &mut packet, fill)?)))
            else {
                return false;
            };
            Some((start, pair))
        };
        let cut = esp.map_or(0, |_| sender.cut);
        let len = packet.len() - cut;
        self.queue.push(Outgoing { packet, esp, len });
        true
    }

    /// Writes everything of an ESP packet but what sealing writes; where the ESP header is.
    fn wrap(
        &mut self,
        pair: PairId,
        sender: Sender,
        packet: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let envelope = self.sas.envelope(pair)?;
        let is_encapsulated = self.sas.is_encapsulated(pair);
        let outer = if is_encapsulated { Udp::LEN } else { 0 };
        let start = Ipv4::LEN + outer;
        let inner = start + HEADER + envelope.suite.iv_len();
        packet.resize(inner + Udp::LEN, 0);
        fill(packet);
        wire::write_udp(&mut packet[inner..], sender.l2tp_port, Udp::L2TP);
        let (block, icv) = (envelope.suite.block_len(), envelope.suite.icv_len());
        wire::pad_esp(packet, inner, block, icv);
        wire::write_esp(&mut packet[start..], envelope.spi, envelope.sequence);
        // The headers around it are those of what will be sent; it is sealed as a whole.
        let (outside, whole) = (sender.outside, packet.len());
        packet.truncate(whole - sender.cut);
        if is_encapsulated {
            let from = SocketAddrV4::new(outside.address, outside.natt);
            let to = SocketAddrV4::new(self.server, Udp::NAT_T);
            wire::finish_udp(packet, from, to, Checksum::None);
        } else {
            wire::finish_ip(packet, outside.address, self.server, Ipv4::ESP);
        }
        packet.resize(whole, 0);
        Some(start)
    }
}
