//! The fixed headers of the fast path, as the RFCs draw them: network order, no padding.

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum;

/// Ethernet II, without the tags of 802.1Q.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// What follows: [`Ethernet::IPV4`], [`Ethernet::VLAN`] ….
    pub ethertype: U16,
}

impl Ethernet {
    /// Ethertype of IPv4.
    pub const IPV4: u16 = 0x0800;
    /// Ethertype of IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// Ethertype of an 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// Ethertype of an 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// One 802.1Q tag: what follows the ethertype [`Ethernet::VLAN`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Vlan {
    /// Priority (3 bits), drop eligible (1), VLAN id (12).
    pub tag: U16,
    /// What follows the tag.
    pub ethertype: U16,
}

/// IPv4 without options (RFC 791 §3.1).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 32-bit words (4).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2).
    pub dscp_ecn: u8,
    /// Octets of header and payload.
    pub total_length: U16,
    /// What fragments of one packet have in common.
    pub identification: U16,
    /// Reserved, DF, MF and the fragment offset in units of 8 octets.
    pub flags_fragment: U16,
    /// Hops left.
    pub ttl: u8,
    /// What follows: [`Ipv4::UDP`], [`Ipv4::ESP`] ….
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Octets of a header without options.
    pub const LEN: usize = size_of::<Self>();
    /// Protocol number of ICMP.
    pub const ICMP: u8 = 1;
    /// Protocol number of TCP.
    pub const TCP: u8 = 6;
    /// Protocol number of UDP.
    pub const UDP: u8 = 17;
    /// Protocol number of ESP.
    pub const ESP: u8 = 50;
    /// The "don't fragment" flag in `flags_fragment`.
    pub const DF: u16 = 0x4000;
    /// The "more fragments" flag in `flags_fragment`.
    pub const MF: u16 = 0x2000;
    /// The fragment offset in `flags_fragment`, in units of 8 octets.
    pub const OFFSET: u16 = 0x1fff;

    /// A header without options for `payload` octets of `protocol`, its checksum right.
    #[inline]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: u16) -> Self {
        let mut header = Self::bare(source, destination, protocol, payload);
        header.renew_checksum();
        header
    }

    /// The same before its checksum is computed.
    #[inline(always)]
    pub fn bare(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: u16) -> Self {
        Self {
            version_ihl: 0x45,
            dscp_ecn: 0,
            total_length: (Self::LEN as u16 + payload).into(),
            identification: 0.into(),
            flags_fragment: Self::DF.into(),
            ttl: 64,
            protocol,
            checksum: 0.into(),
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    /// Octets of the header with its options; less than [`Ipv4::LEN`] in a malformed one.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Whether this is a fragment: not the first, or not the last.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & (Self::MF | Self::OFFSET) != 0
    }

    /// The source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.source.into()
    }

    /// The destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.destination.into()
    }

    /// Whether the checksum is right; of a header without options.
    #[inline(always)]
    pub fn is_right(&self) -> bool {
        // In one's complement, what is a multiple of 2^16 - 1 is zero; all octets zero is the
        // other zero, which no right header sums to. The product of 2^16 - 1 and `ALL` is -1, so that
        // of a multiple is minus how many: 1 to `ALL`, and none of what is no multiple.
        const ALL: u64 = u64::MAX / 0xffff;
        !self.total().wrapping_mul(ALL) < ALL
    }

    /// Computes the checksum anew; right only for a header without options.
    #[inline(always)]
    pub fn renew_checksum(&mut self) {
        self.checksum = 0.into();
        self.checksum = (!checksum::fold(self.total())).into();
    }

    /// The sum of all octets as words of 64 bits, carries added, in the byte order of this machine.
    #[inline(always)]
    fn total(&self) -> u64 {
        let octets: [u8; Self::LEN] = zerocopy::transmute!(*self);
        let (words, rest) = octets.as_chunks();
        let last = rest.first_chunk().expect("half of what a word has");
        let add = |sum: u64, word: u64| {
            let (sum, carry) = sum.overflowing_add(word);
            sum + u64::from(carry)
        };
        let words = words.iter().map(|word| u64::from_ne_bytes(*word));
        add(words.fold(0, add), u32::from_ne_bytes(*last).into())
    }

    /// RFC 1812 §5.3.1: one hop less, the checksum kept right.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        self.ttl -= 1;
        // RFC 1624 §3, equation 3: the word gets less by 0x0100, so the checksum gets more by that, and
        // 0xffff is 0. In one's complement any byte order will do, so it is this machine's.
        let checksum = u16::from_ne_bytes(self.checksum.to_bytes());
        let more = u32::from(checksum) + u32::from(0x0100_u16.to_be());
        let carry = u32::from(more >= 0xffff);
        self.checksum = U16::from_bytes(((more + carry) as u16).to_ne_bytes());
    }
}

/// UDP (RFC 768).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Octets of header and payload.
    pub length: U16,
    /// Checksum over pseudo-header, header and payload; 0 if the sender made none.
    pub checksum: U16,
}

impl Udp {
    /// Octets of the header.
    pub const LEN: usize = size_of::<Self>();
    /// ISAKMP.
    pub const IKE: u16 = 500;
    /// ISAKMP and ESP behind a NAT (RFC 3948).
    pub const NAT_T: u16 = 4500;
    /// L2TP (RFC 2661 §8.1).
    pub const L2TP: u16 = 1701;
}

/// ESP (RFC 4303 §2), the part in front of the IV.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Esp {
    /// The security parameters index, chosen by the receiver.
    pub spi: U32,
    /// The low half of the sequence number.
    pub sequence: U32,
}

/// The six octets that every L2TPv2 data message without options has (RFC 2661 §3.1).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct L2tp {
    /// T, L, S, O and P bits and the version: see the constants.
    pub flags: U16,
    /// The receiver's id of the control connection.
    pub tunnel: U16,
    /// The receiver's id of the session.
    pub session: U16,
}

impl L2tp {
    /// T: a control message.
    pub const CONTROL: u16 = 0x8000;
    /// L: a Length field follows the flags.
    pub const LENGTH: u16 = 0x4000;
    /// S: Ns and Nr follow the session id.
    pub const SEQUENCE: u16 = 0x0800;
    /// O: an Offset Size field follows.
    pub const OFFSET: u16 = 0x0200;
    /// P: priority, of data messages only.
    pub const PRIORITY: u16 = 0x0100;
    /// The version field.
    pub const VERSION: u16 = 0x000f;
}

/// ICMP (RFC 792), the part that all messages have, and the four octets whose meaning varies.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Code within the type.
    pub code: u8,
    /// Checksum of the whole message.
    pub checksum: U16,
    /// Identifier and sequence of an echo; unused and next-hop MTU of "fragmentation needed".
    pub rest: [U16; 2],
}

const _: () = assert!(size_of::<Ethernet>() == 14);
const _: () = assert!(size_of::<Vlan>() == 4);
const _: () = assert!(size_of::<Ipv4>() == 20);
const _: () = assert!(size_of::<Udp>() == 8);
const _: () = assert!(size_of::<Esp>() == 8);
const _: () = assert!(size_of::<L2tp>() == 6);
const _: () = assert!(size_of::<Icmp>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_ipv4_header_has_a_right_checksum_and_keeps_it_hop_by_hop() {
        let [source, destination] = [Ipv4Addr::new(10, 64, 0, 1), Ipv4Addr::new(192, 0, 2, 255)];
        let mut header = Ipv4::new(source, destination, Ipv4::UDP, 1000);
        for ttl in (0..64).rev() {
            assert_eq!(checksum::checksum(header.as_bytes()), 0);
            header.decrement_ttl();
            assert_eq!(header.ttl, ttl);
        }
    }

    proptest! {
        #[test]
        fn a_checksum_is_right_if_the_plain_way_says_so(
            mut octets: [u8; Ipv4::LEN],
            word in 0..Ipv4::LEN / 2,
            edge in prop::option::of(prop::sample::select(vec![0, 0xff])),
        ) {
            if let Some(edge) = edge {
                octets = [edge; Ipv4::LEN];
            }
            let says = |octets: [u8; Ipv4::LEN]| {
                let header: Ipv4 = zerocopy::transmute!(octets);
                assert_eq!(header.is_right(), checksum::checksum(&octets) == 0, "{octets:x?}");
                header.is_right()
            };
            says(octets);
            octets[2 * word..][..2].fill(0);
            let missing = checksum::checksum(&octets);
            octets[2 * word..][..2].copy_from_slice(&missing.to_be_bytes());
            prop_assert_eq!(says(octets), octets != [0; Ipv4::LEN]);
        }
    }
}
