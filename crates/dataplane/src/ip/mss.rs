//! The MSS of TCP connections that are being opened, lowered to what fits (RFC 4459 §3.2).

use packet::header::Ipv4;
use packet::{Chunk, Frame, checksum};

/// Octets of IPv4 and TCP headers without options.
const HEADERS: u16 = 40;
const TCP_HEADER: usize = 20;
/// Offsets in the TCP header.
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 0x02;
/// Option kinds (RFC 9293 §3.1).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;

/// Whether a packet may open a TCP connection.
#[inline(always)]
pub(crate) fn may_open_tcp(header: &Ipv4, packet: &[u8]) -> bool {
    header.protocol == Ipv4::TCP
        && header.flags_fragment.get() & Ipv4::OFFSET == 0
        && packet
            .get(header.header_len() + FLAGS)
            .is_none_or(|flags| flags & SYN != 0)
}

/// Lowers the MSS option of a SYN to `mtu` less headers. The packet is checked IPv4.
#[inline]
pub(crate) fn clamp<C: Chunk>(frame: &mut Frame<C>, mtu: u16) {
    let Some(header) = frame.peek::<Ipv4>() else {
        return;
    };
    if header.protocol != Ipv4::TCP || header.flags_fragment.get() & Ipv4::OFFSET != 0 {
        return;
    }
    let header_len = header.header_len();
    if let Some(tcp) = frame.bytes_mut().get_mut(header_len..)
        && tcp.len() >= TCP_HEADER
        && tcp[FLAGS] & SYN != 0
    {
        clamp_options(tcp, mtu.saturating_sub(HEADERS));
    }
}

fn clamp_options(tcp: &mut [u8], limit: u16) {
    let end = (usize::from(tcp[DATA_OFFSET] >> 4) * 4).min(tcp.len());
    let mut at = TCP_HEADER;
    // Each round moves on by at least one octet.
    while at + usize::from(MSS_LEN) <= end {
        match [tcp[at], tcp[at + 1]] {
            [END, _] => return,
            [NO_OPERATION, _] => at += 1,
            [MSS, MSS_LEN] => return lower(tcp, at + 2, limit),
            [_, 0 | 1] => return,
            [_, len] => at += usize::from(len),
        }
    }
}

fn lower(tcp: &mut [u8], at: usize, limit: u16) {
    let value = u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    if value <= limit {
        return;
    }
    tcp[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    let field = u16::from_be_bytes([tcp[CHECKSUM], tcp[CHECKSUM + 1]]);
    // An option at an odd offset straddles two words of the sum: swapped, it is one again.
    let word = |value: u16| {
        if at.is_multiple_of(2) {
            value
        } else {
            value.swap_bytes()
        }
    };
    let field = checksum::update(field, word(value), word(limit));
    tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&field.to_be_bytes());
}
