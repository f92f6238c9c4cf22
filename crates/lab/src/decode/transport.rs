//! What IP carries: UDP and what its ports say, TCP, ICMP, ESP, and IP again.

use std::net::{IpAddr, SocketAddr};

use packet::checksum;
use packet::header::{Icmp, Ipv4, Udp};
use zerocopy::FromBytes;

use super::ip::{IP_IN_IP, IPV6_IN_IP};
use super::layer::{Layer, Packet, named};
use super::{Decoder, LAYERS_MAX, Path, names};

/// RFC 4303 §2.6: a packet that says nothing and hides how much is said.
const NO_NEXT_HEADER: u8 = 59;
/// RFC 3948 §2.3.
const KEEPALIVE: &[u8] = &[0xff];
/// RFC 3948 §2.2: where ESP has its SPI, which is never zero.
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// Ports, numbers, offset, flags, window, checksum, urgent pointer (RFC 9293 §3.1).
const TCP_LEN: usize = 20;

impl Decoder {
    pub(super) fn payload(&mut self, protocol: u8, path: Path, octets: &[u8], packet: &mut Packet) {
        if packet.layers.len() > LAYERS_MAX {
            return packet.malformed("more layers than anybody needs");
        }
        match protocol {
            Ipv4::UDP => self.udp(path, octets, packet),
            Ipv4::ESP => self.esp(path, octets, packet),
            Ipv4::TCP => tcp(octets, packet),
            Ipv4::ICMP => icmp(octets, packet),
            IP_IN_IP | IPV6_IN_IP => self.ip(octets, packet),
            NO_NEXT_HEADER => packet.layers.push(Layer::new("dummy")),
            other => {
                let name = named(names::ip_protocol(other), format!("protocol {other}"));
                packet
                    .layers
                    .push(Layer::new(name).with("octets", octets.len()));
            }
        }
    }

    fn udp(&mut self, path: Path, octets: &[u8], packet: &mut Packet) {
        let Ok((header, _)) = Udp::ref_from_prefix(octets) else {
            return packet.malformed("shorter than a UDP header");
        };
        let Some(datagram) = octets.get(..usize::from(header.length.get())) else {
            return packet.malformed("UDP length past the end");
        };
        let Some(payload) = datagram.get(Udp::LEN..) else {
            return packet.malformed("UDP length below that of its header");
        };
        let ports = [header.source.get(), header.destination.get()];
        let layer = Layer::new("UDP")
            .with("source port", ports[0])
            .with("destination port", ports[1])
            .with("checksum", udp_checksum(path, header, datagram));
        packet.layers.push(layer);
        let ends = [
            SocketAddr::new(path.source, ports[0]),
            SocketAddr::new(path.destination, ports[1]),
        ];
        if ports.contains(&Udp::IKE) {
            self.isakmp(ends, payload, packet);
        } else if ports.contains(&Udp::NAT_T) {
            self.nat_traversal(path, ends, payload, packet);
        } else if ports.contains(&Udp::L2TP) {
            self.l2tp(payload, packet);
        } else {
            packet
                .layers
                .push(Layer::new("payload").with("octets", payload.len()));
        }
    }

    /// Port 4500 (RFC 3948 §2).
    fn nat_traversal(
        &mut self,
        path: Path,
        ends: [SocketAddr; 2],
        octets: &[u8],
        packet: &mut Packet,
    ) {
        match octets.strip_prefix(&NON_ESP_MARKER) {
            Some(message) => {
                packet.layers.push(Layer::new("non-ESP marker"));
                self.isakmp(ends, message, packet);
            }
            None if octets == KEEPALIVE => packet.layers.push(Layer::new("NAT keepalive")),
            None => self.esp(path, octets, packet),
        }
    }
}

/// Inside ESP a wrong one is no fault: a NAT changed the addresses under it (RFC 3948 §3.1.2).
fn udp_checksum(path: Path, header: &Udp, datagram: &[u8]) -> &'static str {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (path.source, path.destination) else {
        return "not looked at";
    };
    if header.checksum.get() == 0 {
        return "none";
    }
    let pseudo = checksum::pseudo_header(source, destination, Ipv4::UDP, header.length.get());
    match checksum::add(&[pseudo, checksum::sum(datagram)]) {
        0xffff => "good",
        _ => "wrong",
    }
}

fn tcp(octets: &[u8], packet: &mut Packet) {
    let Some(header) = octets.first_chunk::<TCP_LEN>() else {
        return packet.malformed("shorter than a TCP header");
    };
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let Some(payload) = octets.get(usize::from(header[12] >> 4) * 4..) else {
        return packet.malformed("TCP header past the end");
    };
    let layer = Layer::new("TCP")
        .with("source port", port(0))
        .with("destination port", port(2))
        .with("sequence", word(4))
        .with("flags", tcp_flags(header[13]))
        .with("octets", payload.len());
    packet.layers.push(layer);
}

fn tcp_flags(bits: u8) -> String {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn icmp(octets: &[u8], packet: &mut Packet) {
    let Ok((header, rest)) = Icmp::ref_from_prefix(octets) else {
        return packet.malformed("shorter than an ICMP header");
    };
    let mut layer = Layer::new("ICMP")
        .with("type", named(names::icmp_type(header.kind), header.kind))
        .with("code", header.code);
    if names::is_icmp_echo(header.kind) {
        layer.set("identifier", header.rest[0].get());
        layer.set("sequence", header.rest[1].get());
    }
    if checksum::checksum(octets) != 0 {
        layer.set("checksum wrong", true);
    }
    packet.layers.push(layer.with("octets", rest.len()));
}
