//! The bytes around a subscriber's packet, written and read.
//!
//! ```text
//!   plain    IP UDP │ L2TP PPP packet
//!   ESP      IP     │ ESP IV UDP L2TP PPP packet padding trailer ICV
//!   NAT-T    IP UDP │ ESP IV UDP L2TP PPP packet padding trailer ICV
//! ```
//!
//! Whole IP packets are written, so that one socket can send for clients of any address and port,
//! and so that no checksum is left to a device that may not be there.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use packet::checksum;
use packet::header::{Esp, Ipv4, L2tp, Udp};
use zerocopy::{FromBytes, IntoBytes};

/// RFC 3948 §2.2: tells IKE from ESP on the port of NAT traversal.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// RFC 3948 §2.3: keeps the mapping of a NAT alive.
pub const NAT_KEEPALIVE: [u8; 1] = [0xff];
/// RFC 1661 §2, in full: address, control, protocol.
const PPP_IP: [u8; 4] = [0xff, 0x03, 0x00, 0x21];

/// Where an IP header says what it carries.
pub const PROTOCOL: usize = 9;

/// Whether a UDP datagram carries a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Right.
    Full,
    /// Right, of a payload that is zero behind its first octets.
    ZeroBehind(usize),
    /// Zero: IPv4 allows it, and ESP in UDP wants it (RFC 3948 §2.1).
    None,
}

/// One UDP datagram as a whole IP packet.
#[must_use]
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8], sum: Checksum) -> Vec<u8> {
    let mut packet = Vec::with_capacity(Ipv4::LEN + Udp::LEN + payload.len());
    packet.resize(Ipv4::LEN + Udp::LEN, 0);
    packet.extend_from_slice(payload);
    finish_udp(&mut packet, from, to, sum);
    packet
}

/// Writes IP and UDP header into the room left for them at the beginning.
pub fn finish_udp(packet: &mut [u8], from: SocketAddrV4, to: SocketAddrV4, sum: Checksum) {
    let len = (packet.len() - Ipv4::LEN) as u16;
    write_udp(&mut packet[Ipv4::LEN..], from.port(), to.port());
    let summed = match sum {
        Checksum::Full => packet.len(),
        Checksum::ZeroBehind(octets) => Ipv4::LEN + Udp::LEN + octets,
        Checksum::None => 0,
    };
    if summed > 0 {
        let pseudo = checksum::pseudo_header(*from.ip(), *to.ip(), Ipv4::UDP, len);
        let body = checksum::sum(&packet[Ipv4::LEN..summed]);
        // RFC 768: a checksum that comes out as zero is sent as all ones.
        let field = match !checksum::add(&[pseudo, body]) {
            0 => 0xffff,
            field => field,
        };
        packet[Ipv4::LEN + 6..Ipv4::LEN + 8].copy_from_slice(&field.to_be_bytes());
    }
    finish_ip(packet, *from.ip(), *to.ip(), Ipv4::UDP);
}

/// Writes the IP header into the room left for it at the beginning.
pub fn finish_ip(packet: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, protocol: u8) {
    let payload = (packet.len() - Ipv4::LEN) as u16;
    let header = Ipv4::new(from, to, protocol, payload);
    packet[..Ipv4::LEN].copy_from_slice(header.as_bytes());
}

/// Writes a UDP header without checksum in front of what it is about.
pub fn write_udp(datagram: &mut [u8], source: u16, destination: u16) {
    let header = Udp {
        source: source.into(),
        destination: destination.into(),
        length: (datagram.len() as u16).into(),
        checksum: 0.into(),
    };
    datagram[..Udp::LEN].copy_from_slice(header.as_bytes());
}

/// Writes the ESP header.
pub fn write_esp(packet: &mut [u8], spi: u32, sequence: u32) {
    let header = Esp {
        spi: spi.into(),
        sequence: sequence.into(),
    };
    packet[..size_of::<Esp>()].copy_from_slice(header.as_bytes());
}

/// The header of a data message. RFC 2661 §3.1 leaves Length to the sender's liking, and most
/// stock clients leave it out.
#[must_use]
pub fn l2tp_header(tunnel: u16, session: u16) -> [u8; size_of::<L2tp>()] {
    let header = L2tp {
        flags: 2.into(),
        tunnel: tunnel.into(),
        session: session.into(),
    };
    zerocopy::transmute!(header)
}

/// What stands before every packet of a session: L2TP and PPP header.
#[must_use]
pub fn session_header(tunnel: u16, session: u16, is_short: ShortPpp) -> Vec<u8> {
    let skip = if is_short.acfc { 2 } else { 0 };
    let mut ppp = PPP_IP[skip..].to_vec();
    if is_short.pfc {
        ppp.remove(ppp.len() - 2);
    }
    [&l2tp_header(tunnel, session)[..], &ppp].concat()
}

/// Which octets of the PPP header may be left out (RFC 1661 §6.5, §6.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortPpp {
    /// Protocol-Field-Compression.
    pub pfc: bool,
    /// Address-and-Control-Field-Compression.
    pub acfc: bool,
}

/// The IP packet in a PPP frame, if that is what it carries.
#[must_use]
pub fn ip_in_ppp(frame: &[u8]) -> Option<&[u8]> {
    let frame = frame.strip_prefix(&PPP_IP[..2]).unwrap_or(frame);
    match frame {
        [0x21, packet @ ..] | [0x00, 0x21, packet @ ..] => Some(packet),
        _ => None,
    }
}

/// Appends padding, pad length and next header so that what begins at `from` fills whole blocks
/// (RFC 4303 §2.4: the padding counts up from 1), and room for the ICV.
pub fn pad_esp(packet: &mut Vec<u8>, from: usize, block: usize, icv: usize) {
    let len = packet.len() - from + 2;
    let padding = len.next_multiple_of(block) - len;
    packet.extend(1..=padding as u8);
    packet.extend([padding as u8, Ipv4::UDP]);
    packet.resize(packet.len() + icv, 0);
}

/// What an opened ESP packet holds: the datagram behind the UDP header between the L2TP ports.
/// `plain` begins behind the IV and ends before the ICV.
#[must_use]
pub fn l2tp_in_esp(plain: &[u8]) -> Option<Range<usize>> {
    let [.., padding, Ipv4::UDP] = plain else {
        return None;
    };
    let end = plain.len().checked_sub(2 + usize::from(*padding))?;
    let is_counting = plain[end..plain.len() - 2]
        .iter()
        .zip(1u8..)
        .all(|(octet, number)| *octet == number);
    let (header, _) = Udp::read_from_prefix(plain.get(..end)?).ok()?;
    let length = usize::from(header.length.get());
    // RFC 3193 §2: the server's end keeps its port.
    let is_l2tp = header.source.get() == Udp::L2TP && length <= end && length >= Udp::LEN;
    (is_counting && is_l2tp).then_some(Udp::LEN..length)
}

/// An IP packet as it was received: its addresses and where its payload lies.
#[must_use]
pub fn ip_payload(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, Range<usize>)> {
    let (header, _) = Ipv4::read_from_prefix(packet).ok()?;
    let (start, end) = (header.header_len(), usize::from(header.total_length.get()));
    let is_sound = start >= Ipv4::LEN && start <= end && end <= packet.len();
    is_sound.then(|| (header.source(), header.destination(), start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 1, 1), 1701);
    const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 2), 4500);

    #[test]
    fn a_datagram_has_right_checksums() {
        let packet = udp(A, B, b"abc", Checksum::Full);
        assert_eq!(checksum::checksum(&packet[..20]), 0);
        let pseudo = checksum::pseudo_header(*A.ip(), *B.ip(), 17, 11);
        let whole = checksum::add(&[pseudo, checksum::sum(&packet[20..])]);
        assert_eq!(!whole, 0);
        assert_eq!(ip_payload(&packet).unwrap().2, 20..31);
    }

    #[test]
    fn a_datagram_without_checksum_has_zero_there() {
        assert_eq!(udp(A, B, b"abc", Checksum::None)[26..28], [0, 0]);
    }

    /// (acfc, pfc, what stands before the packet behind the L2TP header)
    #[test]
    fn ppp_headers_are_as_short_as_agreed_and_all_are_read() {
        let cases: [(bool, bool, &[u8]); 4] = [
            (false, false, &[0xff, 3, 0, 0x21]),
            (false, true, &[0xff, 3, 0x21]),
            (true, false, &[0, 0x21]),
            (true, true, &[0x21]),
        ];
        for (acfc, pfc, expected) in cases {
            let header = session_header(7, 9, ShortPpp { pfc, acfc });
            assert_eq!(header[..6], [0, 2, 0, 7, 0, 9]);
            assert_eq!(header[6..], *expected);
            let frame = [expected, b"packet"].concat();
            assert_eq!(ip_in_ppp(&frame), Some(&b"packet"[..]));
        }
        assert_eq!(ip_in_ppp(&[0xff, 3, 0xc0, 0x21, 1]), None);
        assert_eq!(ip_in_ppp(&[]), None);
    }

    #[test]
    fn what_was_padded_is_found_again() {
        for block in [4, 8, 16] {
            for payload in 0..40 {
                let mut plain = vec![0; Udp::LEN + payload];
                write_udp(&mut plain, 1701, 1701);
                pad_esp(&mut plain, 0, block, 12);
                plain.truncate(plain.len() - 12);
                assert!(plain.len().is_multiple_of(block));
                assert_eq!(l2tp_in_esp(&plain), Some(8..8 + payload));
            }
        }
    }

    #[test]
    fn esp_that_holds_something_else_is_refused() {
        let mut plain = vec![0; 12];
        write_udp(&mut plain, 1701, 1701);
        pad_esp(&mut plain, 0, 16, 0);
        let wrong = |at: usize, octet: u8| {
            let mut plain = plain.clone();
            plain[at] = octet;
            l2tp_in_esp(&plain)
        };
        assert_eq!(wrong(15, 6), None, "TCP");
        assert_eq!(wrong(14, 250), None, "padding longer than the packet");
        assert_eq!(wrong(13, 7), None, "padding that does not count");
        assert_eq!(wrong(0, 0), None, "another port");
        assert_eq!(wrong(5, 13), None, "a length past the end");
        assert_eq!(wrong(5, 7), None, "a length short of the header");
        assert_eq!(l2tp_in_esp(&[]), None);
    }

    /// Octets of every sort that anybody may send us.
    const MUTATIONS: usize = 1_000_000;

    #[test]
    fn a_million_broken_packets_are_read_without_panic() {
        let mut dice = crypto::Random::from_seed([6; 32]);
        let mut good = vec![0; 48];
        write_udp(&mut good, 1701, 1701);
        pad_esp(&mut good, 0, 16, 0);
        for _ in 0..MUTATIONS {
            let mut bytes = good.clone();
            let at = dice.below(bytes.len() as u32) as usize;
            bytes[at] = dice.u16() as u8;
            bytes.truncate(dice.below(2 * good.len() as u32) as usize);
            if let Some(range) = l2tp_in_esp(&bytes) {
                let frame = &bytes[range];
                assert!(ip_in_ppp(frame).is_none_or(|packet| packet.len() < frame.len()));
            }
            assert!(ip_payload(&bytes).is_none_or(|(_, _, range)| range.end <= bytes.len()));
        }
    }
}
