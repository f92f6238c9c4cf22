//! IKE responder cookies that tell a known exchange from a stranger without state.
//!
//! A cookie of ours is 32 bits of MAC over the peer's address and the slot, and the slot itself
//! (generation 8 · slot 18 · shard 6). The worker that receives an ISAKMP message needs nothing
//! but the key to know whether the sender has been answered before.

use std::fmt;
use std::net::IpAddr;

use crypto::hash::Hash;

use crate::id::Slot;

/// The key under which our cookies are made.
#[derive(Clone)]
pub struct CookieKey([u8; 32]);

impl CookieKey {
    /// A key of random octets.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The cookie for an exchange with `peer` that `slot` holds.
    pub fn cookie(&self, slot: Slot, peer: IpAddr) -> [u8; 8] {
        let word = slot.word().to_be_bytes();
        let mut cookie = [0; 8];
        cookie[..4].copy_from_slice(&self.mac(word, peer));
        cookie[4..].copy_from_slice(&word);
        cookie
    }

    /// The slot in a cookie that we gave to `peer`.
    pub fn slot(&self, cookie: [u8; 8], peer: IpAddr) -> Option<Slot> {
        let [mac @ .., a, b, c, d] = cookie;
        let word = [a, b, c, d];
        crypto::ct_eq(&mac, &self.mac(word, peer))
            .then(|| Slot::from_word(u32::from_be_bytes(word)))
    }

    fn mac(&self, word: [u8; 4], peer: IpAddr) -> [u8; 4] {
        let peer = match peer {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let digest = Hash::Sha256.hmac(&self.0, &[&peer, &word]);
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    #[test]
    fn a_cookie_is_known_again_from_its_peer_and_from_nobody_else() {
        let key = CookieKey::new([7; 32]);
        let slot = Slot::new(ShardId::new(9), 77, 3);
        let [peer, other] = ["192.0.2.7", "192.0.2.8"].map(|ip| ip.parse().unwrap());
        let cookie = key.cookie(slot, peer);
        assert_eq!(key.slot(cookie, peer), Some(slot));
        assert_eq!(key.slot(cookie, other), None);
        assert_eq!(CookieKey::new([8; 32]).slot(cookie, peer), None);
        for octet in 0..8 {
            let mut forged = cookie;
            forged[octet] ^= 1;
            assert_eq!(key.slot(forged, peer), None);
        }
    }
}
