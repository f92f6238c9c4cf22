//! How large an inner packet may be: what path MTU, encapsulation and suite leave of the outer one.

use std::net::IpAddr;

use crypto::esp::Suite;
use dataplane::change::Encapsulation;

/// L2TP header of a data message with its Length field (RFC 2661 §3.1).
pub const L2TP_HEADER: u16 = 8;
/// The same with Ns and Nr.
pub const L2TP_HEADER_SEQUENCED: u16 = 12;
/// Address, control and two octets of protocol (RFC 1662 §3.1).
pub const PPP_HEADER: u16 = 4;

/// The least that IPv4 lets a host take (RFC 791 §3.1); no MRU is computed below it.
pub const LEAST: u16 = 576;

const UDP_HEADER: u16 = 8;
/// SPI and sequence number (RFC 4303 §2).
const ESP_HEADER: u16 = 8;
/// Pad length and next header (RFC 4303 §2).
const ESP_TRAILER: u16 = 2;

/// How packets of a path travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// Largest outer packet, octets.
    pub path_mtu: u16,
    /// An outer address, for the length of its header.
    pub remote: IpAddr,
    /// Plain, raw or in UDP.
    pub encapsulation: Encapsulation,
    /// The ESP suite, where there is one.
    pub suite: Option<Suite>,
}

impl Carriage {
    /// The largest inner IP packet that needs no outer fragments.
    pub fn largest_inner(&self, l2tp_header: u16, ppp_header: u16) -> u16 {
        let ip_header = if self.remote.is_ipv4() { 20 } else { 40 };
        let outer_udp = match self.encapsulation {
            Encapsulation::Plain | Encapsulation::Esp => 0,
            Encapsulation::EspInUdp => UDP_HEADER,
        };
        let room = self.path_mtu.saturating_sub(ip_header + outer_udp);
        let room = match self.suite {
            Some(suite) => inside_esp(room, suite),
            None => room,
        };
        room.saturating_sub(UDP_HEADER + l2tp_header + ppp_header)
    }

    /// The MRU to ask for, `most` or less. The peer may use the longest headers.
    pub fn mru(&self, most: u16) -> u16 {
        self.largest_inner(L2TP_HEADER, PPP_HEADER)
            .clamp(LEAST, most.max(LEAST))
    }
}

/// What ESP in transport mode leaves of `room` octets behind the IP header.
fn inside_esp(room: u16, suite: Suite) -> u16 {
    let around = ESP_HEADER + suite.iv_len() as u16 + suite.icv_len() as u16;
    let block = suite.block_len() as u16;
    // RFC 4303 §2.4: payload, padding and trailer together are whole blocks.
    let blocks = room.saturating_sub(around) / block * block;
    blocks.saturating_sub(ESP_TRAILER)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Columns of the table: L2TP and PPP header.
    const HEADERS: [(u16, u16); 5] = [(6, 1), (6, 2), (8, 2), (8, 4), (12, 4)];

    fn largest(path_mtu: u16, encapsulation: Encapsulation, suite: &str) -> Vec<u16> {
        let carriage = Carriage {
            path_mtu,
            remote: Ipv4Addr::LOCALHOST.into(),
            encapsulation,
            suite: suite.parse().ok(),
        };
        HEADERS
            .map(|(l2tp, ppp)| carriage.largest_inner(l2tp, ppp))
            .to_vec()
    }

    /// Double encapsulation in numbers: the largest inner packet at a path MTU of 1500, with outer IPv4.
    #[test]
    fn the_suite_decides_what_fits() {
        use Encapsulation::{Esp, EspInUdp};
        #[rustfmt::skip]
        let rows: [(&str, Encapsulation, [u16; 5]); 12] = [
            ("aes128-sha1",   Esp,      [1423, 1422, 1420, 1418, 1414]),
            ("aes256-sha1",   EspInUdp, [1407, 1406, 1404, 1402, 1398]),
            ("aes128-sha256", Esp,      [1423, 1422, 1420, 1418, 1414]),
            ("aes256-sha256", EspInUdp, [1407, 1406, 1404, 1402, 1398]),
            ("aes128-sha512", Esp,      [1407, 1406, 1404, 1402, 1398]),
            ("aes128-sha512", EspInUdp, [1391, 1390, 1388, 1386, 1382]),
            ("3des-sha1",     Esp,      [1431, 1430, 1428, 1426, 1422]),
            ("3des-sha1",     EspInUdp, [1423, 1422, 1420, 1418, 1414]),
            ("aes128gcm16",   Esp,      [1431, 1430, 1428, 1426, 1422]),
            ("aes128gcm16",   EspInUdp, [1423, 1422, 1420, 1418, 1414]),
            ("aes256gcm16",   Esp,      [1431, 1430, 1428, 1426, 1422]),
            ("aes256gcm16",   EspInUdp, [1423, 1422, 1420, 1418, 1414]),
        ];
        for (suite, encapsulation, expected) in rows {
            assert_eq!(largest(1500, encapsulation, suite), expected, "{suite}");
        }
        assert_eq!(largest(1492, EspInUdp, "aes128-sha1")[3], 1402);
        assert_eq!(largest(1280, EspInUdp, "aes128-sha1")[3], 1194);
        assert_eq!(largest(1280, EspInUdp, "aes128-sha256")[3], 1178);
    }

    #[test]
    fn plain_l2tp_and_the_bounds_of_an_mru() {
        let mut carriage = Carriage {
            path_mtu: 1500,
            remote: Ipv4Addr::LOCALHOST.into(),
            encapsulation: Encapsulation::Plain,
            suite: None,
        };
        assert_eq!(carriage.mru(1500), 1460);
        assert_eq!(carriage.mru(1400), 1400);
        carriage.path_mtu = 100;
        assert_eq!(carriage.mru(1400), LEAST);
    }
}
