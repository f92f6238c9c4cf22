//! Both ends of the traffic on one thread, where the gateway is in this process too.

use std::net::SocketAddrV4;
use std::time::Instant;

use packet::header::Udp;
use zerocopy::FromBytes;

use super::far_end::FarEnd;
use super::load::Load;
use crate::driver::Traffic;
use crate::fleet::{ClientId, Fleet};
use crate::memory::Network;
use crate::traffic::{udp_payload, write};
use crate::wire;

/// A far end on the network side of a gateway in memory.
pub(super) struct NearEnd {
    pub(super) end: FarEnd,
    pub(super) network: Network,
    pub(super) place: SocketAddrV4,
    /// Packets that the network did not take: they were not sent.
    pub(super) refused: u64,
}

impl NearEnd {
    /// Takes what has come, and sends what is due.
    fn serve(&mut self, now: Instant) {
        let (end, place) = (&mut self.end, self.place);
        self.network.receive(&mut |packet| {
            if let Some((from, payload)) = read(packet, place) {
                end.handle_datagram(now, from, payload);
            }
        });
        let (network, refused) = (&mut self.network, &mut self.refused);
        let mut packet = Vec::new();
        self.end.load(now, |to, mark, size| {
            packet.clear();
            write(&mut packet, place, to, mark, size);
            *refused += u64::from(!network.send(&packet));
        });
        self.network.flush();
    }
}

/// Who sent a datagram to this place, and what.
pub(super) fn read(packet: &[u8], place: SocketAddrV4) -> Option<(SocketAddrV4, &[u8])> {
    let (source, destination, range) = wire::ip_payload(packet)?;
    let (header, _) = Udp::read_from_prefix(packet.get(range)?).ok()?;
    let is_here = destination == *place.ip() && header.destination.get() == place.port();
    let from = SocketAddrV4::new(source, header.source.get());
    udp_payload(packet, from)
        .filter(|_| is_here)
        .map(|payload| (from, payload))
}

/// Both ends as one.
pub(super) struct Both<'a> {
    pub(super) load: &'a mut Load,
    pub(super) near: &'a mut NearEnd,
}

impl Traffic for Both<'_> {
    fn handle_packet(&mut self, now: Instant, to: ClientId, packet: &[u8]) {
        self.load.handle_packet(now, to, packet);
    }

    fn load(&mut self, now: Instant, fleet: &mut Fleet) {
        self.load.load(now, fleet);
        self.near.serve(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let near = self.near.end.poll_timeout(crate::clock::now());
        self.load.poll_timeout().into_iter().chain(near).min()
    }
}
