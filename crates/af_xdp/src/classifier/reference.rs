//! [`classify`]: the meaning of the program in Rust, for tests and for back ends without eBPF.

use std::net::Ipv4Addr;

use super::{Class, Description};

const ETHERTYPE_IPV4: u16 = 0x0800;
/// IEEE 802.1Q
const ETHERTYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad
const ETHERTYPE_QINQ: u16 = 0x88a8;

const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ESP: u8 = 50;

/// What `frame` is under `description`.
pub fn classify(frame: &[u8], description: &Description) -> Class {
    ipv4(frame, description.vlan_depth)
        .and_then(|packet| Some((packet, destination(packet)?)))
        .map_or(Class::Foreign, |(packet, destination)| {
            to(packet, destination, description)
        })
}

/// The IPv4 packet behind the Ethernet header and at most `vlan_depth` tags.
fn ipv4(frame: &[u8], vlan_depth: u8) -> Option<&[u8]> {
    let mut rest = frame.get(12..)?;
    let mut ethertype = u16_at(rest, 0)?;
    for _ in 0..vlan_depth {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        rest = rest.get(4..)?;
        ethertype = u16_at(rest, 0)?;
    }
    (ethertype == ETHERTYPE_IPV4).then_some(&rest[2..])
}

/// RFC 791 §3.1: at least 20 octets, version 4.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (packet[0] >> 4 == 4).then_some(octets.into())
}

fn to(packet: &[u8], destination: Ipv4Addr, description: &Description) -> Class {
    let mut endpoints = description
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.address == destination)
        .peekable();
    if endpoints.peek().is_none() {
        let is_pool = description
            .pools
            .iter()
            .any(|pool| pool.contains(destination));
        return if is_pool { Class::Pool } else { Class::Foreign };
    }
    // RFC 791 §3.1: more fragments, or an offset.
    if u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0 {
        return Class::Fragment;
    }
    let header_len = usize::from(packet[0] & 15) * 4;
    if header_len < 20 {
        return Class::Host;
    }
    match packet[9] {
        PROTOCOL_ESP if endpoints.any(|endpoint| endpoint.esp) => Class::Esp,
        PROTOCOL_UDP => packet
            .get(header_len..header_len + 8)
            .and_then(|udp| u16_at(udp, 2))
            .filter(|port| endpoints.any(|endpoint| endpoint.udp_ports.contains(port)))
            .map_or(Class::Host, |_| Class::Udp),
        _ => Class::Host,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let octets = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}
