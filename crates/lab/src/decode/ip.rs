//! IPv4 and IPv6, outside and inside, and the fragments of IPv4 put together.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

use packet::checksum;
use packet::header::Ipv4;
use zerocopy::FromBytes;

use super::layer::{Layer, Packet, named};
use super::{Decoder, Path, names};

/// Packets of which some fragments are there and others not.
const PENDING_MAX: usize = 1024;
/// Octets kept of one of them: twice what it can have, for those that overlap.
const PENDING_OCTETS_MAX: usize = 2 * 65_535;
/// IPv6: version, class, label, length, next header, hop limit, addresses (RFC 8200 §3).
const IPV6_LEN: usize = 40;

pub(super) const IP_IN_IP: u8 = 4;
pub(super) const IPV6_IN_IP: u8 = 41;

impl Decoder {
    /// A packet whose version says what it is.
    pub(super) fn ip(&mut self, octets: &[u8], packet: &mut Packet) {
        match octets.first().map(|first| first >> 4) {
            Some(4) => self.ipv4(octets, packet),
            Some(6) => self.ipv6(octets, packet),
            Some(version) => packet.malformed(format!("IP version {version}")),
            None => packet.malformed("no IP header"),
        }
    }

    fn ipv4(&mut self, octets: &[u8], packet: &mut Packet) {
        let Ok((header, _)) = Ipv4::ref_from_prefix(octets) else {
            return packet.malformed("shorter than an IPv4 header");
        };
        // What segmentation offload hands over has no length yet.
        let total = match usize::from(header.total_length.get()) {
            0 => octets.len(),
            total => total,
        };
        let (Some(head), Some(payload)) = (
            octets
                .get(..header.header_len())
                .filter(|head| head.len() >= Ipv4::LEN),
            octets.get(header.header_len()..total),
        ) else {
            return packet.malformed("IPv4 length past the end");
        };
        let path = Path {
            source: header.source().into(),
            destination: header.destination().into(),
        };
        let mut layer = ip_layer("IPv4", path, header.protocol).with("ttl", header.ttl);
        if checksum::checksum(head) != 0 {
            layer.set("checksum wrong", true);
        }
        if !header.is_fragment() {
            packet.layers.push(layer);
            return self.payload(header.protocol, path, payload, packet);
        }
        let whole = self.fragments.add(Fragment::of(header, path), payload);
        layer.set("fragment at", Fragment::of(header, path).offset);
        match whole {
            Some(whole) => {
                layer.set("reassembled octets", whole.len());
                packet.layers.push(layer);
                self.payload(header.protocol, path, &whole, packet);
            }
            None => packet.layers.push(layer.with("not the last", true)),
        }
    }

    fn ipv6(&mut self, octets: &[u8], packet: &mut Packet) {
        let Some((header, rest)) = octets.split_first_chunk::<IPV6_LEN>() else {
            return packet.malformed("shorter than an IPv6 header");
        };
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let Some(payload) = rest.get(..len) else {
            return packet.malformed("IPv6 length past the end");
        };
        let address = |at: usize| {
            let mut address = [0; 16];
            address.copy_from_slice(&header[at..at + 16]);
            IpAddr::from(Ipv6Addr::from(address))
        };
        let path = Path {
            source: address(8),
            destination: address(24),
        };
        let layer = ip_layer("IPv6", path, header[6]).with("hop limit", header[7]);
        packet.layers.push(layer);
        self.payload(header[6], path, payload, packet);
    }
}

fn ip_layer(name: &'static str, path: Path, protocol: u8) -> Layer {
    Layer::new(name)
        .showing("source", path.source)
        .showing("destination", path.destination)
        .with("protocol", named(names::ip_protocol(protocol), protocol))
}

/// Where one fragment belongs.
#[derive(Clone, Copy)]
struct Fragment {
    packet: PacketId,
    offset: usize,
    is_last: bool,
}

/// What fragments of one packet have in common (RFC 791 §2.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PacketId(IpAddr, IpAddr, u8, u16);

impl Fragment {
    fn of(header: &Ipv4, path: Path) -> Self {
        let flags = header.flags_fragment.get();
        let identification = header.identification.get();
        Self {
            packet: PacketId(
                path.source,
                path.destination,
                header.protocol,
                identification,
            ),
            offset: usize::from(flags & Ipv4::OFFSET) * 8,
            is_last: flags & Ipv4::MF == 0,
        }
    }
}

/// The packets that are not whole yet, the oldest first.
#[derive(Default)]
pub(super) struct Fragments {
    pending: BTreeMap<PacketId, Pending>,
    order: VecDeque<PacketId>,
}

#[derive(Default)]
struct Pending {
    pieces: BTreeMap<usize, Vec<u8>>,
    octets: usize,
    len: Option<usize>,
}

impl Fragments {
    /// Takes a fragment; gives the packet when none is missing.
    fn add(&mut self, fragment: Fragment, octets: &[u8]) -> Option<Vec<u8>> {
        let pending = self.pending.entry(fragment.packet).or_insert_with(|| {
            self.order.push_back(fragment.packet);
            Pending::default()
        });
        pending.add(fragment, octets);
        let whole = pending.whole();
        if whole.is_some() || pending.octets > PENDING_OCTETS_MAX {
            self.pending.remove(&fragment.packet);
            self.order.retain(|packet| *packet != fragment.packet);
        }
        if self.order.len() > PENDING_MAX {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.pending.remove(&oldest));
        }
        whole
    }
}

impl Pending {
    fn add(&mut self, fragment: Fragment, octets: &[u8]) {
        self.octets += octets.len();
        if fragment.is_last {
            self.len = Some(fragment.offset + octets.len());
        }
        self.pieces
            .entry(fragment.offset)
            .or_insert_with(|| octets.to_vec());
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let len = self.len?;
        let mut whole = Vec::with_capacity(len);
        for (&offset, piece) in &self.pieces {
            // Where fragments overlap the earlier octets count.
            let fresh = piece.get(whole.len().checked_sub(offset)?..).unwrap_or(&[]);
            whole.extend_from_slice(fresh);
        }
        whole.truncate(len);
        (whole.len() == len).then_some(whole)
    }
}
