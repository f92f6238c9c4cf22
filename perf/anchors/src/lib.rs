//! Other people's cryptography, to measure ours beside: ESP packets sealed and opened in place.
//!
//! Nothing of the product needs this crate. It is outside the workspace, behind the feature
//! `anchors` of `perf`, because its dependencies take minutes to build.
//!
//! ```text
//!   │ SPI SEQ │ IV │ payload padding len next │ ICV │      one packet, from first octet to last
//! ```
//!
//! | module | whose | what |
//! |---|---|---|
//! | `aead` | ring, AWS-LC | AES-GCM |
//! | `evp` | OpenSSL as the system has it | AES-GCM, AES-CBC and 3DES-CBC with HMAC |
//! | `multi_buffer` | Intel's ipsec-mb as the system has it, or not | the same |

mod aead;
mod evp;
mod multi_buffer;

/// What a suite consists of.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The cipher.
    pub cipher: Cipher,
    /// Its key.
    pub key: Vec<u8>,
    /// The salt of GCM (RFC 4106 §4).
    pub salt: Vec<u8>,
    /// The hash of the HMAC, unless the cipher authenticates.
    pub hash: Option<Hash>,
    /// The key of the HMAC.
    pub hash_key: Vec<u8>,
    /// Octets of the ICV.
    pub icv_len: usize,
}

/// The ciphers; the key says how many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-GCM with a 16-octet ICV.
    AesGcm,
    /// AES-CBC.
    AesCbc,
    /// Triple DES in CBC mode.
    TripleDesCbc,
}

/// The hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// HMAC-SHA1-96.
    Sha1,
    /// HMAC-SHA2-256-128.
    Sha256,
}

/// Somebody's implementation of a suite, with one key.
pub trait Anchor {
    /// Whose.
    fn name(&self) -> &'static str;

    /// Encrypts and signs each packet; the IV is in its place.
    fn seal(&mut self, packets: &mut [&mut [u8]]);

    /// Verifies and decrypts each packet; says how many were authentic.
    fn open(&mut self, packets: &mut [&mut [u8]]) -> usize;
}

/// Everybody who has this suite.
#[must_use]
pub fn anchors(suite: &Suite) -> Vec<Box<dyn Anchor>> {
    let all = [
        aead::ring(suite),
        aead::aws_lc(suite),
        evp::openssl(suite),
        multi_buffer::ipsec_mb(suite),
    ];
    all.into_iter().flatten().collect()
}

/// SPI and sequence number: what GCM authenticates beside the ciphertext.
const HEADER: usize = 8;
/// The IV that a GCM packet carries.
const GCM_IV: usize = 8;
/// The ICV of GCM.
const GCM_ICV: usize = 16;

/// Header, nonce, ciphertext and ICV of a GCM packet.
type GcmParts<'p> = ([u8; HEADER], [u8; 12], &'p mut [u8]);

/// Takes a GCM packet apart; the last part is ciphertext and ICV.
fn gcm_parts<'p>(packet: &'p mut [u8], salt: &[u8]) -> GcmParts<'p> {
    let (mut header, mut nonce) = ([0; HEADER], [0; 12]);
    header.copy_from_slice(&packet[..HEADER]);
    nonce[..4].copy_from_slice(salt);
    nonce[4..].copy_from_slice(&packet[HEADER..HEADER + GCM_IV]);
    (header, nonce, &mut packet[HEADER + GCM_IV..])
}
