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
