//! Hiding of AVP values, RFC 2661 §4.3.
//!
//! The value, preceded by its length, is cut into blocks of 16 octets; each is combined with a hash that only the holders of
//! the tunnel secret can make:
//!
//! ```text
//! b1 = MD5(AV + S + RV)   c(1) = p1 xor b1
//! bi = MD5(S + c(i-1))    c(i) = pi xor bi
//! ```

use crypto::Secret;
use crypto::hash::Hash;

/// The length of the original value, which goes first.
pub(crate) const LENGTH_OCTETS: usize = 2;
const BLOCK_OCTETS: usize = 16;

/// Hides a value. No padding: lengths are visible, as §4.3 allows.
pub(crate) fn hide(attribute: u16, secret: &Secret, vector: &[u8], value: &[u8]) -> Vec<u8> {
    let mut hidden = Vec::with_capacity(LENGTH_OCTETS + value.len());
    hidden.extend_from_slice(&(value.len() as u16).to_be_bytes());
    hidden.extend_from_slice(value);
    let mut pad = first_pad(attribute, secret, vector);
    for block in hidden.chunks_mut(BLOCK_OCTETS) {
        combine(block, &pad);
        pad = next_pad(secret, block);
    }
    hidden
}

/// The original value; `None` if the length inside goes past the end.
pub(crate) fn reveal(
    attribute: u16,
    secret: &Secret,
    vector: &[u8],
    hidden: &[u8],
) -> Option<Vec<u8>> {
    let mut clear = hidden.to_vec();
    let mut pad = first_pad(attribute, secret, vector);
    for (block, cipher) in clear
        .chunks_mut(BLOCK_OCTETS)
        .zip(hidden.chunks(BLOCK_OCTETS))
    {
        combine(block, &pad);
        pad = next_pad(secret, cipher);
    }
    let (length, value) = clear.split_first_chunk::<LENGTH_OCTETS>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    value.get(..length).map(<[u8]>::to_vec)
}

fn first_pad(attribute: u16, secret: &Secret, vector: &[u8]) -> [u8; BLOCK_OCTETS] {
    md5(&[&attribute.to_be_bytes(), secret.expose(), vector])
}

fn next_pad(secret: &Secret, cipher: &[u8]) -> [u8; BLOCK_OCTETS] {
    md5(&[secret.expose(), cipher])
}

fn md5(parts: &[&[u8]]) -> [u8; BLOCK_OCTETS] {
    let mut pad = [0; BLOCK_OCTETS];
    pad.copy_from_slice(&Hash::Md5.digest(parts));
    pad
}

fn combine(block: &mut [u8], pad: &[u8; BLOCK_OCTETS]) {
    for (octet, pad) in block.iter_mut().zip(pad) {
        *octet ^= pad;
    }
}
