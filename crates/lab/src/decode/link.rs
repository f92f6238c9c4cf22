//! What a capture's packets begin with: Ethernet with its tags, Linux cooked, or IP itself.

use std::fmt::Write;

use packet::header::{Ethernet, Vlan};
use pcap_parser::Linktype;
use zerocopy::FromBytes;

use super::Decoder;
use super::layer::{Fault, Layer, Packet};

/// Raw IP as BSD and OpenBSD number it.
const RAW_BSD: Linktype = Linktype(12);
const RAW_OPENBSD: Linktype = Linktype(14);
/// PPP without framing.
const PPP: Linktype = Linktype(9);
/// 802.1Q tags on one frame that are gone through.
const TAGS_MAX: usize = 4;
const ARP: u16 = 0x0806;

impl Decoder {
    pub(super) fn link(&mut self, link: Linktype, octets: &[u8], packet: &mut Packet) {
        match link {
            Linktype::ETHERNET => self.ethernet(octets, packet),
            // Packet type, ARPHRD, length of the address, address, ethertype.
            Linktype::LINUX_SLL => self.cooked(octets, 14, 16, packet),
            // Ethertype, reserved, interface, ARPHRD, packet type, length of the address, address.
            Linktype::LINUX_SLL2 => self.cooked(octets, 0, 20, packet),
            Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | RAW_BSD | RAW_OPENBSD => {
                self.ip(octets, packet);
            }
            // A family in the byte order of the machine that captured, which IP's version tells too.
            Linktype::NULL | Linktype::LOOP => match octets.split_at_checked(4) {
                Some((_, rest)) => self.ip(rest, packet),
                None => packet.malformed("no address family"),
            },
            PPP => self.ppp(octets, packet),
            Linktype(other) => packet
                .layers
                .push(Layer::new("link type").with("number", other)),
        }
    }

    fn ethernet(&mut self, octets: &[u8], packet: &mut Packet) {
        let Ok((header, mut rest)) = Ethernet::ref_from_prefix(octets) else {
            return packet.malformed("shorter than an Ethernet header");
        };
        let mut ethertype = header.ethertype.get();
        let mut layer = Layer::new("Ethernet")
            .with("source", mac(&header.source))
            .with("destination", mac(&header.destination));
        for _ in 0..TAGS_MAX {
            if !matches!(ethertype, Ethernet::VLAN | Ethernet::SERVICE_VLAN) {
                break;
            }
            let Ok((tag, behind)) = Vlan::ref_from_prefix(rest) else {
                return packet.malformed("shorter than a VLAN tag");
            };
            layer.set("VLAN", tag.tag.get() & 0x0fff);
            (ethertype, rest) = (tag.ethertype.get(), behind);
        }
        packet.layers.push(layer);
        self.ethertype(ethertype, rest, packet);
    }

    fn cooked(&mut self, octets: &[u8], ethertype_at: usize, len: usize, packet: &mut Packet) {
        let Some((header, rest)) = octets.split_at_checked(len) else {
            return packet.malformed("shorter than a Linux cooked header");
        };
        let ethertype = u16::from_be_bytes([header[ethertype_at], header[ethertype_at + 1]]);
        packet.layers.push(Layer::new("Linux cooked"));
        self.ethertype(ethertype, rest, packet);
    }

    fn ethertype(&mut self, ethertype: u16, octets: &[u8], packet: &mut Packet) {
        match ethertype {
            Ethernet::IPV4 | Ethernet::IPV6 => self.ip(octets, packet),
            ARP => packet.layers.push(Layer::new("ARP")),
            other => {
                let layer = Layer::new("ethertype").with("number", format!("{other:#06x}"));
                packet.layers.push(layer);
            }
        }
    }
}

impl Packet {
    /// Notes that a parser refuses the packet.
    pub(super) fn malformed(&mut self, why: impl ToString) {
        self.faults.push(Fault::Malformed(why.to_string()));
    }
}

fn mac(address: &[u8; 6]) -> String {
    let mut text = String::with_capacity(17);
    for (index, octet) in address.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{octet:02x}");
    }
    text
}
