//! What comes in: whose it is, and what to make of it.

use std::net::SocketAddrV4;
use std::time::Instant;

use ike::Spi;
use packet::header::{Ipv4, Udp};

use super::{ClientId, Door, Fleet, Owner};
use crate::discard::Discard;
use crate::sa::{EspFault, Opened, Sealed};
use crate::wire::{self, NAT_KEEPALIVE, NON_ESP_MARKER};

/// What came in.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// Where it was sent; port 0 is raw ESP.
    pub to: SocketAddrV4,
    /// What is behind the UDP header, or the ESP packet.
    pub bytes: &'a mut [u8],
}

impl Arrival<'_> {
    /// Octets of the headers that the kernel has taken off.
    fn outer_len(&self) -> usize {
        match self.to.port() {
            0 => Ipv4::LEN,
            _ => Ipv4::LEN + Udp::LEN,
        }
    }
}

impl Fleet {
    /// Takes a burst. Packets for subscribers go to `sink`.
    pub fn receive(
        &mut self,
        now: Instant,
        arrivals: &mut [Arrival<'_>],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let mut sealed = Vec::with_capacity(arrivals.len());
        let mut places = Vec::with_capacity(arrivals.len());
        for arrival in arrivals.iter_mut() {
            self.wire.down_packets += 1;
            self.wire.down_octets += (arrival.outer_len() + arrival.bytes.len()) as u64;
            if self.is_esp(arrival) {
                places.push(arrival.to);
                sealed.push(Sealed {
                    packet: &mut *arrival.bytes,
                    result: Err(EspFault::Truncated),
                });
            } else {
                self.receive_clear(now, arrival, sink);
            }
        }
        if !sealed.is_empty() {
            self.sas.open(&mut sealed);
        }
        for (sealed, to) in sealed.iter().zip(places) {
            match sealed.result {
                Ok(opened) => self.receive_opened(now, opened, to, sealed.packet, sink),
                Err(fault) => self.discards.count(fault.into()),
            }
        }
    }

    fn is_esp(&self, arrival: &Arrival<'_>) -> bool {
        arrival.to.port() == 0
            || matches!(
                self.doors.get(&arrival.to),
                Some(Owner::Client(_, Door::NatT))
            ) && !arrival.bytes.starts_with(&NON_ESP_MARKER)
                && *arrival.bytes != NAT_KEEPALIVE
    }

    /// IKE, and L2TP that nobody sealed.
    fn receive_clear(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        if *arrival.from.ip() != self.server {
            return self.discards.count(Discard::Stranger);
        }
        let bytes = &*arrival.bytes;
        let (id, door) = match self.doors.get(&arrival.to).copied() {
            Some(Owner::Client(id, door)) => (id, door),
            Some(Owner::Lac(id)) => return self.receive_at_lac(now, id, bytes, sink),
            None => return self.discards.count(Discard::NobodyThere),
        };
        match door {
            Door::Ike => self.touch(now, id, |client, turn| {
                client.handle_ike(false, bytes, turn)
            }),
            Door::NatT if *bytes == NAT_KEEPALIVE => {}
            Door::NatT => self.touch(now, id, |client, turn| {
                client.handle_ike(true, &bytes[NON_ESP_MARKER.len()..], turn);
            }),
            Door::L2tp => self.receive_l2tp(now, id, bytes, sink),
        }
    }

    fn receive_opened(
        &mut self,
        now: Instant,
        opened: Opened,
        to: SocketAddrV4,
        packet: &[u8],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let id = ClientId(opened.owner);
        let outside = self.members[opened.owner as usize].outside;
        // An SA belongs to one endpoint: what comes to another was sent astray.
        if outside.address != *to.ip() || (to.port() != 0 && to.port() != outside.natt) {
            return self.discards.count(Discard::Astray);
        }
        if self.members[opened.owner as usize].client.cuts_icv() {
            // Such a client takes the last 96 bits for all of the ICV.
            return self.discards.count(EspFault::NotAuthentic.into());
        }
        let plain = &packet[opened.head..packet.len() - opened.tail];
        let Some(range) = wire::l2tp_in_esp(plain) else {
            return self.discards.count(Discard::NotL2tp);
        };
        self.confirm(now, id, opened.spi);
        self.receive_l2tp(now, id, &plain[range], sink);
    }

    /// The peer uses a pair on which we do not send yet: then it has it.
    fn confirm(&mut self, now: Instant, id: ClientId, spi: Spi) {
        let member = &self.members[id.0 as usize];
        let newest = member.pairs.last().copied();
        if newest.is_some_and(|pair| pair.spi == spi && member.current != Some(pair.id)) {
            self.use_pair(id, spi);
            self.touch(now, id, |client, turn| client.saw_pair(spi, turn));
        }
    }

    pub(super) fn receive_l2tp(
        &mut self,
        now: Instant,
        id: ClientId,
        message: &[u8],
        sink: &mut dyn FnMut(ClientId, &[u8]),
    ) {
        let client = &mut self.members[id.0 as usize].client;
        match client.find_packet(now, message) {
            Some(range) => sink(id, &message[range]),
            None => self.touch(now, id, |client, turn| client.handle_l2tp(message, turn)),
        }
    }
}
