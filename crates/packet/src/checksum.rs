//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::Ipv4Addr;

/// The folded one's-complement sum over `bytes`, not complemented; an odd last octet is padded with
/// a zero behind it.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // RFC 1071 §2 (B), (C): the sum is the same in any byte order, and two words at once.
    let mut words = bytes.chunks_exact(4);
    let mut total: u64 = words
        .by_ref()
        .map(|w| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]])))
        .sum();
    let mut last = [0; 4];
    let rest = words.remainder();
    if !rest.is_empty() {
        last[..rest.len()].copy_from_slice(rest);
        total += u64::from(u32::from_ne_bytes(last));
    }
    fold(total)
}

/// The checksum field for `bytes` in which that field is zero, or 0 if `bytes` hold a right one.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// Adds partial sums of pieces that each begin at an even offset.
#[inline]
pub fn add(sums: &[u16]) -> u16 {
    fold16(sums.iter().map(|sum| u64::from(*sum)).sum())
}

/// The sum of the pseudo-header of RFC 768: what a sender that leaves the rest to its hardware
/// writes into the checksum field.
pub fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: u16) -> u16 {
    add(&[
        sum(&source.octets()),
        sum(&destination.octets()),
        u16::from(protocol),
        len,
    ])
}

/// RFC 1624 §3, equation 3: the field after a 16-bit word under it went from `old` to `new`.
#[inline]
pub fn update(field: u16, old: u16, new: u16) -> u16 {
    !add(&[!field, !old, new])
}

/// A sum of words in the byte order of this machine, folded, in the order of the network.
#[inline]
pub(crate) fn fold(total: u64) -> u16 {
    // The sum of both halves, with the carry of one in the other, is the upper half.
    let total = (total.wrapping_add(total.rotate_left(32)) >> 32) as u32;
    let total = (total.wrapping_add(total.rotate_left(16)) >> 16) as u16;
    u16::from_be(total)
}

/// Folds a sum of 32 bits or a little more.
#[inline]
fn fold16(total: u64) -> u16 {
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §3 works this example.
    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(
            sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0xddf2
        );
    }

    /// RFC 1624 §4: the example on which equation 2 gives the wrong zero.
    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    /// The IPv4 header that Wikipedia's "Internet checksum" works through.
    #[test]
    fn a_right_header_sums_to_all_ones() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(checksum(&header), 0);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 4..64), new: u16) {
            let before = checksum(&bytes);
            let old = u16::from_be_bytes([bytes[2], bytes[3]]);
            bytes[2..4].copy_from_slice(&new.to_be_bytes());
            let (after, updated) = (checksum(&bytes), update(before, old, new));
            // RFC 1624 §3: the two zeros of one's complement are the same number.
            prop_assert!(after == updated || (after ^ updated) == 0xffff);
        }
    }
}
