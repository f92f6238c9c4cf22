//! CHAP with MD5 (RFC 1994).

use crate::hash::Hash;

/// The value that answers a challenge.
#[must_use]
pub fn response(id: u8, secret: &[u8], challenge: &[u8]) -> [u8; 16] {
    // RFC 1994 §4.1: the hash runs over the identifier, then the secret, then the challenge.
    let digest = Hash::Md5.digest(&[&[id], secret, challenge]);
    let mut value = [0; 16];
    value.copy_from_slice(&digest);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::hex;

    /// RFC 1994 has no example; this one is Python's
    /// `md5(b"\x23" + b"secret" + bytes(range(16)))`.
    #[test]
    fn the_response_is_md5_over_identifier_secret_and_challenge() {
        let challenge: Vec<u8> = (0..16).collect();
        let expected = hex("8c4d9cf2901c146842dbf156ab3995f8");
        assert_eq!(response(0x23, b"secret", &challenge)[..], expected);
        assert_ne!(response(0x24, b"secret", &challenge)[..], expected);
    }
}
