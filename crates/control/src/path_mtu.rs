//! What routers say about the way to a peer (RFC 1191, RFC 4301 §8.2).
//!
//! Outer packets are sent with DF, so a router that cannot pass one on says so by ICMP, and quotes
//! its first octets. Whoever knows a peer's address could say that, so it is believed only if the
//! quoted packet is one that we can have sent to a living peer: addresses, and SPI or ports. It is
//! never believed below [`LEAST`], and for ten minutes only. Meanwhile the peer's sessions take
//! smaller packets: longer ones are answered or cut to pieces inside the tunnel, where the sender
//! can do something about it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use dataplane::change::{Change, Encapsulation};
use dataplane::id::PathId;
use packet::checksum;
use packet::header::Ipv4;

use crate::counters::Counter;
use crate::mtu::Carriage;
use crate::network::network_mtu;
use crate::peer::Peer;
use crate::timers::Timer;
use crate::tunnel::TunnelKey;
use crate::{Control, log};

/// Messages that are looked at in a second: each is compared with every peer at an address. One
/// about an address where nobody is costs nothing and does not count.
pub(crate) const LOOKS_PER_SECOND: u32 = 200;

/// RFC 1191 §7: likely sizes, for routers that do not tell theirs.
const PLATEAUS: [u16; 8] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508];

/// Below this nothing is believed: whatever is around it, an inner packet of 576 octets fits, which
/// everybody takes (RFC 791 §3.1).
const LEAST: u16 = 692;

const ICMP_LEN: usize = 8;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;

/// A packet of ours was too long for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooBig {
    /// The largest that fits.
    mtu: u16,
    local: IpAddr,
    remote: IpAddr,
    inside: Inside,
}

/// What the quoted packet carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// The SPI.
    Esp(u32),
    /// Source and destination port.
    Udp([u16; 2]),
}

impl TooBig {
    /// Reads an ICMP message from its IP header on; `None` if it is none of these, or broken.
    fn parse(packet: &[u8]) -> Option<Self> {
        let outer = Ip::parse(packet).filter(|ip| ip.protocol == Ipv4::ICMP)?;
        let (head, quoted) = outer.payload.split_at_checked(ICMP_LEN)?;
        let is_it = head[..2] == [UNREACHABLE, FRAGMENTATION_NEEDED];
        if !is_it || checksum::checksum(outer.payload) != 0 {
            return None;
        }
        let ours = Ip::parse(quoted)?;
        let [a, b, c, d] = *ours.payload.first_chunk()?;
        let inside = match ours.protocol {
            Ipv4::ESP => Inside::Esp(u32::from_be_bytes([a, b, c, d])),
            Ipv4::UDP => Inside::Udp([[a, b], [c, d]].map(u16::from_be_bytes)),
            _ => return None,
        };
        let told = u16::from_be_bytes([head[6], head[7]]);
        let plateau = || PLATEAUS.into_iter().find(|size| *size < ours.len);
        Some(Self {
            // RFC 1191 §5: an old router leaves the field zero.
            mtu: if told > 0 { told } else { plateau()? },
            local: ours.source,
            remote: ours.destination,
            inside,
        })
    }

    /// Whether the quoted packet can have been one to this peer.
    fn is_about(&self, peer: &Peer) -> bool {
        let ends = [peer.local, peer.remote];
        if ends.map(|end| end.address()) != [self.local, self.remote] {
            return false;
        }
        match (self.inside, peer.encapsulation) {
            (Inside::Esp(spi), Encapsulation::Esp) => peer.sends_on(spi),
            (Inside::Udp(ports), Encapsulation::EspInUdp | Encapsulation::Plain) => {
                ends.map(|end| end.port()) == ports
            }
            (Inside::Esp(_) | Inside::Udp(_), _) => false,
        }
    }
}

/// What of an IPv4 packet matters; it may be cut off behind.
struct Ip<'p> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// By its own account.
    len: u16,
    payload: &'p [u8],
}

impl<'p> Ip<'p> {
    fn parse(packet: &'p [u8]) -> Option<Self> {
        let header = packet.first_chunk::<{ Ipv4::LEN }>()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let address = |at: usize| {
            let octets = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            IpAddr::from(Ipv4Addr::from(octets))
        };
        (header[0] >> 4 == 4 && header_len >= Ipv4::LEN).then_some(())?;
        Some(Self {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            len: u16::from_be_bytes([header[2], header[3]]),
            payload: packet.get(header_len..)?,
        })
    }
}

impl Control {
    /// The host has received an ICMP message.
    pub(crate) fn on_icmp(&mut self, now: Instant, packet: &[u8]) {
        let Some(news) = TooBig::parse(packet) else {
            return;
        };
        if self.peers.at(news.remote).next().is_none() {
            return self.counters.add(Counter::PathMtuStranger);
        }
        if !self.looks.take(now) {
            return self.counters.add(Counter::PathMtuLimit);
        }
        let found = self
            .peers
            .at(news.remote)
            .find(|(_, peer)| news.is_about(peer));
        let Some(path) = found.map(|(path, _)| path) else {
            return self.counters.add(Counter::PathMtuStranger);
        };
        self.learn(now, path, news.mtu.max(LEAST));
    }

    fn learn(&mut self, now: Instant, path: PathId, mtu: u16) {
        let before = self.carriage(path);
        if before.is_none_or(|carriage| carriage.path_mtu <= mtu) {
            return;
        }
        if let Some(peer) = self.peers.slots.get_mut(path.0) {
            peer.learnt_mtu = Some(mtu);
            log::path_mtu(&self.log, peer.correlation, peer.remote, mtu);
        }
        self.counters.add(Counter::PathMtuLearnt);
        // RFC 1191 §6.3, RFC 4301 §8.2.2: the way may have become wider in the meantime.
        let until = now + self.settings.path_mtu_age;
        let deadline = (until, "what is known of the path's MTU grows old");
        self.timers.set(Timer::PathMtu(path), Some(deadline));
        self.resize(path, before);
    }

    /// What was learnt is forgotten; if it is still so, a router will say it again.
    pub(crate) fn path_mtu_timeout(&mut self, path: PathId) {
        let before = self.carriage(path);
        if let Some(peer) = self.peers.slots.get_mut(path.0) {
            peer.learnt_mtu = None;
        }
        self.resize(path, before);
    }

    /// How packets to a peer travel by now.
    pub(crate) fn carriage(&self, path: PathId) -> Option<Carriage> {
        let peer = self.peers.slots.get(path.0)?;
        Some(peer.carriage(self.settings.path_mtu))
    }

    /// The sessions of a peer take packets of another size, if how they travel has changed: another
    /// path MTU, another encapsulation, a suite with more around the packet.
    pub(crate) fn resize(&mut self, path: PathId, before: Option<Carriage>) {
        let Some(peer) = self.peers.slots.get(path.0) else {
            return;
        };
        if before == Some(peer.carriage(self.settings.path_mtu)) {
            return;
        }
        let tunnels = peer.tunnels.keys().map(|id| TunnelKey { path, id: *id });
        let tunnels = tunnels.filter_map(|key| self.tunnels.by_key.get(&key));
        for &session in tunnels.flat_map(|tunnel| tunnel.sessions.values()) {
            let Some(subscriber) = self.subscribers.get(session.0) else {
                continue;
            };
            if !subscriber.attached.is_empty() {
                let mtu = network_mtu(&self.settings, subscriber, peer);
                let change = Change::ResizeNetwork { session, mtu };
                self.outbox.change(session.0.shard(), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A router (198.51.100.254) to 192.0.2.1: what that sent to 198.51.100.7 was too long.
    fn message(mtu: u16, len: u16, protocol: u8, start: [u8; 8]) -> Vec<u8> {
        let ip = |protocol, len: u16, ends: [[u8; 4]; 2]| {
            let [high, low] = len.to_be_bytes();
            let head = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            [&head[..], &ends.concat()].concat()
        };
        let quoted = ip(protocol, len, [[192, 0, 2, 1], [198, 51, 100, 7]]);
        let [high, low] = mtu.to_be_bytes();
        let mut icmp = [&[3, 4, 0, 0, 0, 0, high, low][..], &quoted, &start].concat();
        let sum = checksum::checksum(&icmp).to_be_bytes();
        icmp[2..4].copy_from_slice(&sum);
        let outer = ip(
            1,
            20 + icmp.len() as u16,
            [[198, 51, 100, 254], [192, 0, 2, 1]],
        );
        [outer, icmp].concat()
    }

    #[test]
    fn it_says_how_much_fits_and_whose_packet_it_was() {
        let esp = message(1400, 1500, 50, [1, 2, 3, 4, 0, 0, 0, 9]);
        let expected = TooBig {
            mtu: 1400,
            local: Ipv4Addr::new(192, 0, 2, 1).into(),
            remote: Ipv4Addr::new(198, 51, 100, 7).into(),
            inside: Inside::Esp(0x0102_0304),
        };
        assert_eq!(TooBig::parse(&esp), Some(expected));
        let udp = message(0, 1500, 17, [0x11, 0x94, 0xc3, 0x50, 5, 0xc8, 0, 0]);
        let inside = Inside::Udp([4500, 50000]);
        // 1492 is the plateau below 1500.
        let expected = TooBig {
            mtu: 1492,
            inside,
            ..expected
        };
        assert_eq!(TooBig::parse(&udp), Some(expected));
    }

    #[test]
    fn what_is_broken_or_about_something_else_says_nothing() {
        let good = message(1400, 1500, 50, [1; 8]);
        for len in 0..good.len() - 4 {
            assert_eq!(TooBig::parse(&good[..len]), None, "{len} octets");
        }
        for at in [20, 21, 22, 27, 50] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(TooBig::parse(&bad), None, "octet {at}");
        }
        assert_eq!(TooBig::parse(&message(1400, 1500, 6, [1; 8])), None);
    }
}
