//! What an inner packet is on the wire: PPP, L2TP, UDP, ESP, UDP again behind a NAT, IP, Ethernet.

use crypto::esp::Suite;
use packet::header::{Esp, Ethernet, Ipv4, Udp};

/// RFC 2661 §3.1 with Length, without Ns, Nr and Offset: what Adit sends.
pub const L2TP: usize = 8;
/// RFC 1661 §2 and RFC 1662 §3.1 without compression: FF 03 and two octets of protocol.
pub const PPP: usize = 4;
/// IEEE 802.3: preamble 8, header 14, FCS 4, gap 12.
pub const ETHERNET: usize = 8 + size_of::<Ethernet>() + 4 + 12;
/// IEEE 802.3: the shortest payload of a frame.
const PAYLOAD_MIN: usize = 46;
/// RFC 4303 §2.4, §2.6: pad length and next header.
const TRAILER: usize = 2;

/// What is around an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// ESP in transport mode; nothing for plain L2TP.
    pub suite: Option<Suite>,
    /// UDP around ESP (RFC 3948).
    pub is_natt: bool,
    /// Octets of the L2TP header.
    pub l2tp: usize,
    /// Octets of the PPP header.
    pub ppp: usize,
}

impl Wrapping {
    /// As Adit sends it.
    #[must_use]
    pub fn new(suite: Option<Suite>, is_natt: bool) -> Self {
        Self {
            suite,
            is_natt,
            l2tp: L2TP,
            ppp: PPP,
        }
    }

    /// Octets of the outer IP packet.
    #[must_use]
    pub fn outer(self, inner: usize) -> usize {
        let message = Udp::LEN + self.l2tp + self.ppp + inner;
        let Some(suite) = self.suite else {
            return Ipv4::LEN + message;
        };
        let padded = (message + TRAILER).next_multiple_of(suite.block_len());
        let around = size_of::<Esp>() + suite.iv_len() + suite.icv_len();
        let natt = if self.is_natt { Udp::LEN } else { 0 };
        Ipv4::LEN + natt + around + padded
    }

    /// Octets of time that the packet takes on an Ethernet.
    #[must_use]
    pub fn on_ethernet(self, inner: usize) -> usize {
        on_ethernet(self.outer(inner))
    }

    /// The largest inner packet that fits a path without fragments.
    #[must_use]
    pub fn largest_inner(self, path_mtu: usize) -> usize {
        (0..=path_mtu)
            .rev()
            .find(|inner| self.outer(*inner) <= path_mtu)
            .unwrap_or(0)
    }
}

/// Octets of time that an IP packet takes on an Ethernet.
#[must_use]
pub fn on_ethernet(ip: usize) -> usize {
    ETHERNET + ip.max(PAYLOAD_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L2TP and PPP octets of the columns below.
    const HEADERS: [(usize, usize); 5] = [(6, 1), (6, 2), (8, 2), (8, 4), (12, 4)];

    fn wrapping(suite: &str, is_natt: bool, (l2tp, ppp): (usize, usize)) -> Wrapping {
        Wrapping {
            suite: Some(suite.parse().unwrap()),
            is_natt,
            l2tp,
            ppp,
        }
    }

    /// The table of the largest inner packet at a path MTU of 1500 as the field calculated it,
    /// before there was this code.
    #[test]
    fn the_largest_inner_packets_are_those_of_the_field() {
        let table = [
            ("aes128-sha1", false, [1423, 1422, 1420, 1418, 1414]),
            ("aes128-sha1", true, [1407, 1406, 1404, 1402, 1398]),
            ("aes256-sha256", false, [1423, 1422, 1420, 1418, 1414]),
            ("aes256-sha256", true, [1407, 1406, 1404, 1402, 1398]),
            ("aes256-sha512", false, [1407, 1406, 1404, 1402, 1398]),
            ("aes256-sha512", true, [1391, 1390, 1388, 1386, 1382]),
            ("3des-sha1", false, [1431, 1430, 1428, 1426, 1422]),
            ("3des-sha1", true, [1423, 1422, 1420, 1418, 1414]),
            ("aes128gcm16", false, [1431, 1430, 1428, 1426, 1422]),
            ("aes128gcm16", true, [1423, 1422, 1420, 1418, 1414]),
        ];
        for (suite, is_natt, wanted) in table {
            let found =
                HEADERS.map(|headers| wrapping(suite, is_natt, headers).largest_inner(1500));
            assert_eq!(found, wanted, "{suite} {is_natt}");
        }
    }

    #[test]
    fn smaller_paths_carry_what_the_field_says() {
        let natt = |suite| wrapping(suite, true, (8, 4));
        assert_eq!(natt("aes128-sha1").largest_inner(1492), 1402);
        assert_eq!(natt("aes128-sha1").largest_inner(1280), 1194);
        assert_eq!(natt("aes128-sha256").largest_inner(1280), 1178);
    }

    #[test]
    fn outer_packets_are_as_long_as_in_the_field() {
        let natt = |suite, inner| wrapping(suite, true, (8, 4)).outer(inner);
        let sha1 = [40, 64, 512, 1400].map(|inner| natt("aes128-sha1", inner));
        assert_eq!(sha1, [128, 160, 608, 1488]);
        assert_eq!(
            [64, 1400].map(|inner| natt("aes128gcm16", inner)),
            [148, 1484]
        );
    }

    #[test]
    fn a_plain_packet_has_four_headers_and_a_short_frame_is_filled_up() {
        let plain = Wrapping::new(None, false);
        assert_eq!(plain.outer(64), 64 + 4 + 8 + 8 + 20);
        assert_eq!(on_ethernet(1500), 1538);
        assert_eq!(on_ethernet(28), 84, "64 octets, preamble and gap");
    }
}
