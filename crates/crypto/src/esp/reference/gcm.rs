//! AES-GCM with a 16-octet ICV in ESP (RFC 4106).

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use zeroize::Zeroizing;

use crate::esp::{EspJob, HEADER_LEN, Keymat, Verdict};

const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;

/// A key for either direction: counter mode needs the encrypting half of AES alone.
pub(super) struct Gcm {
    cipher: Cipher,
    salt: Zeroizing<[u8; 4]>,
}

enum Cipher {
    Aes128(AesGcm<Aes128Enc, U12>),
    Aes192(AesGcm<Aes192Enc, U12>),
    Aes256(AesGcm<Aes256Enc, U12>),
}

type Nonce = Array<u8, U12>;
type Icv = Array<u8, U16>;

impl Gcm {
    pub(super) fn new(keymat: &Keymat) -> Self {
        let key = keymat.encryption_key();
        let mut salt = Zeroizing::new([0; 4]);
        salt.copy_from_slice(keymat.salt());
        let cipher = match key.len() {
            16 => Cipher::Aes128(expand(key)),
            24 => Cipher::Aes192(expand(key)),
            _ => Cipher::Aes256(expand(key)),
        };
        Self { cipher, salt }
    }

    #[inline]
    pub(super) fn open(&self, job: &mut EspJob<'_>) -> Verdict {
        match &self.cipher {
            Cipher::Aes128(cipher) => open(cipher, &self.salt, job),
            Cipher::Aes192(cipher) => open(cipher, &self.salt, job),
            Cipher::Aes256(cipher) => open(cipher, &self.salt, job),
        }
    }

    #[inline]
    pub(super) fn seal(&self, job: &mut EspJob<'_>) -> Verdict {
        match &self.cipher {
            Cipher::Aes128(cipher) => seal(cipher, &self.salt, job),
            Cipher::Aes192(cipher) => seal(cipher, &self.salt, job),
            Cipher::Aes256(cipher) => seal(cipher, &self.salt, job),
        }
    }
}

fn expand<C: KeyInit>(key: &[u8]) -> C {
    C::new_from_slice(key).expect("Keymat has the length of a suite that exists")
}

fn open<C>(cipher: &C, salt: &[u8; 4], job: &mut EspJob<'_>) -> Verdict
where
    C: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let (associated, associated_len) = associated_data(job);
    let (iv, body, icv) = split(job.packet);
    let nonce = nonce(salt, iv);
    let icv: Icv = (*icv).into();
    match cipher.decrypt_inout_detached(&nonce, &associated[..associated_len], body.into(), &icv) {
        Ok(()) => Verdict::Ok,
        Err(_) => Verdict::BadIcv,
    }
}

fn seal<C>(cipher: &C, salt: &[u8; 4], job: &mut EspJob<'_>) -> Verdict
where
    C: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let (associated, associated_len) = associated_data(job);
    let counter = job.counter();
    let (iv, body, icv) = split(job.packet);
    // RFC 4106 §3.1: an IV must not repeat under a key, which a counter makes sure of.
    *iv = counter.to_be_bytes();
    let nonce = nonce(salt, iv);
    match cipher.encrypt_inout_detached(&nonce, &associated[..associated_len], body.into()) {
        Ok(tag) => {
            *icv = tag.into();
            Verdict::Ok
        }
        // Only beyond 2^36 octets.
        Err(_) => Verdict::BadLength,
    }
}

/// RFC 4106 §5: SPI and sequence number, the latter in full if it is extended.
#[inline]
fn associated_data(job: &EspJob<'_>) -> ([u8; 12], usize) {
    let mut associated = [0; 12];
    associated[..4].copy_from_slice(&job.packet[..4]);
    let sequence = &job.packet[4..HEADER_LEN];
    match job.esn_high {
        None => {
            associated[4..8].copy_from_slice(sequence);
            (associated, 8)
        }
        Some(high) => {
            associated[4..8].copy_from_slice(&high.to_be_bytes());
            associated[8..].copy_from_slice(sequence);
            (associated, 12)
        }
    }
}

/// RFC 4106 §4: four octets of salt, then the IV.
#[inline]
fn nonce(salt: &[u8; 4], iv: &[u8; IV_LEN]) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..4].copy_from_slice(salt);
    nonce[4..].copy_from_slice(iv);
    nonce
}

/// IV, what is encrypted, and ICV of a packet whose length was checked.
#[inline]
fn split(packet: &mut [u8]) -> (&mut [u8; IV_LEN], &mut [u8], &mut [u8; ICV_LEN]) {
    const CHECKED: &str = "a packet of this suite has header, IV, body and ICV";
    let (iv, rest) = packet[HEADER_LEN..].split_first_chunk_mut().expect(CHECKED);
    let (body, icv) = rest.split_last_chunk_mut().expect(CHECKED);
    (iv, body, icv)
}
