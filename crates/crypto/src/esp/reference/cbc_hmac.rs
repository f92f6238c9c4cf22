//! CBC with an HMAC behind it in ESP: AES (RFC 3602) or triple DES (RFC 2451) with HMAC-SHA1-96
//! (RFC 2404) or HMAC-SHA2 (RFC 4868).

use aes::cipher::BlockCipherEncrypt;
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc};
use des::TdesEde3;
use hmac::KeyInit;
use hmac::block_api::HmacCore;
use hmac::digest::block_api::{Buffer, EagerHash, FixedOutputCore, UpdateCore};
use hmac::digest::common::Output;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::cipher::{self, Algorithm};
use crate::ct_eq;
use crate::esp::{EspJob, HEADER_LEN, Integrity, Keymat, Suite, Verdict};

/// The longest ICV: HMAC-SHA2-512-256.
const ICV_LEN_MAX: usize = 32;

/// An inbound key.
pub(super) struct CbcOpen {
    mac: Mac,
    cipher: Decryption,
}

enum Decryption {
    Aes128(Aes128Dec),
    Aes192(Aes192Dec),
    Aes256(Aes256Dec),
    // Boxed: its 384 octets would make every slot larger for the sake of the rarest suite.
    TripleDes(Box<TdesEde3>),
}

impl CbcOpen {
    pub(super) fn new(algorithm: Algorithm, integrity: Integrity, keymat: &Keymat) -> Self {
        let key = keymat.encryption_key();
        let cipher = match algorithm {
            Algorithm::Aes128Cbc => Decryption::Aes128(expand(key)),
            Algorithm::Aes192Cbc => Decryption::Aes192(expand(key)),
            Algorithm::Aes256Cbc => Decryption::Aes256(expand(key)),
            Algorithm::TripleDesCbc => Decryption::TripleDes(Box::new(expand(key))),
        };
        Self {
            mac: Mac::new(integrity, keymat.integrity_key()),
            cipher,
        }
    }

    pub(super) fn open(&self, suite: Suite, job: &mut EspJob<'_>) -> Verdict {
        let (authenticated, icv) = job.packet.split_at_mut(job.packet.len() - suite.icv_len());
        let expected = self.mac.icv(authenticated, job.esn_high);
        // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
        if !ct_eq(&expected[..icv.len()], icv) {
            return Verdict::BadIcv;
        }
        let (iv, body) = authenticated[HEADER_LEN..].split_at_mut(suite.iv_len());
        match &self.cipher {
            Decryption::Aes128(key) => cipher::decrypt(key, iv, body),
            Decryption::Aes192(key) => cipher::decrypt(key, iv, body),
            Decryption::Aes256(key) => cipher::decrypt(key, iv, body),
            Decryption::TripleDes(key) => cipher::decrypt(&**key, iv, body),
        }
        Verdict::Ok
    }
}

/// An outbound key.
pub(super) struct CbcSeal {
    mac: Mac,
    cipher: Encryption,
    iv_key: Aes128Enc,
}

enum Encryption {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
    TripleDes(Box<TdesEde3>),
}

impl CbcSeal {
    pub(super) fn new(
        algorithm: Algorithm,
        integrity: Integrity,
        keymat: &Keymat,
        iv_key: &[u8; 16],
    ) -> Self {
        let key = keymat.encryption_key();
        let cipher = match algorithm {
            Algorithm::Aes128Cbc => Encryption::Aes128(expand(key)),
            Algorithm::Aes192Cbc => Encryption::Aes192(expand(key)),
            Algorithm::Aes256Cbc => Encryption::Aes256(expand(key)),
            Algorithm::TripleDesCbc => Encryption::TripleDes(Box::new(expand(key))),
        };
        Self {
            mac: Mac::new(integrity, keymat.integrity_key()),
            cipher,
            iv_key: expand(iv_key),
        }
    }

    pub(super) fn seal(&self, suite: Suite, job: &mut EspJob<'_>) -> Verdict {
        let unpredictable = self.iv(job.counter());
        let (authenticated, icv) = job.packet.split_at_mut(job.packet.len() - suite.icv_len());
        let (iv, body) = authenticated[HEADER_LEN..].split_at_mut(suite.iv_len());
        iv.copy_from_slice(&unpredictable[..iv.len()]);
        match &self.cipher {
            Encryption::Aes128(key) => cipher::encrypt(key, iv, body),
            Encryption::Aes192(key) => cipher::encrypt(key, iv, body),
            Encryption::Aes256(key) => cipher::encrypt(key, iv, body),
            Encryption::TripleDes(key) => cipher::encrypt(&**key, iv, body),
        }
        let expected = self.mac.icv(authenticated, job.esn_high);
        icv.copy_from_slice(&expected[..icv.len()]);
        Verdict::Ok
    }

    /// RFC 3602 §3: the IV must be unpredictable, so the counter itself would not do. NIST
    /// SP 800-38A appendix C encrypts it; 3DES takes the first half.
    fn iv(&self, counter: u64) -> [u8; 16] {
        let mut block = u128::from(counter).to_be_bytes().into();
        self.iv_key.encrypt_block(&mut block);
        block.into()
    }
}

fn expand<C: KeyInit>(key: &[u8]) -> C {
    C::new_from_slice(key).expect("Keymat has the length of a suite that exists")
}

/// HMAC after the key has been hashed in: the inner and the outer state, from which every packet
/// starts.
enum Mac {
    Sha1(HmacCore<Sha1>),
    Sha256(HmacCore<Sha256>),
    Sha384(HmacCore<Sha384>),
    Sha512(HmacCore<Sha512>),
}

impl Mac {
    fn new(integrity: Integrity, key: &[u8]) -> Self {
        match integrity {
            Integrity::HmacSha1_96 => Self::Sha1(expand(key)),
            Integrity::HmacSha256_128 => Self::Sha256(expand(key)),
            Integrity::HmacSha384_192 => Self::Sha384(expand(key)),
            Integrity::HmacSha512_256 => Self::Sha512(expand(key)),
        }
    }

    /// The ICV, at the front, over the packet and the part of the sequence number that does not
    /// travel.
    fn icv(&self, authenticated: &[u8], esn_high: Option<u32>) -> [u8; ICV_LEN_MAX] {
        // RFC 4303 §2.2.1: it is appended after the ESP trailer.
        let high = esn_high.map(u32::to_be_bytes);
        let high = high.as_ref().map_or(&[][..], |high| &high[..]);
        match self {
            Self::Sha1(state) => finish(state, authenticated, high),
            Self::Sha256(state) => finish(state, authenticated, high),
            Self::Sha384(state) => finish(state, authenticated, high),
            Self::Sha512(state) => finish(state, authenticated, high),
        }
    }
}

fn finish<D: EagerHash>(state: &HmacCore<D>, first: &[u8], second: &[u8]) -> [u8; ICV_LEN_MAX] {
    let mut state = state.clone();
    let mut buffer = Buffer::<HmacCore<D>>::default();
    buffer.digest_blocks(first, |blocks| state.update_blocks(blocks));
    buffer.digest_blocks(second, |blocks| state.update_blocks(blocks));
    let mut output = Output::<HmacCore<D>>::default();
    state.finalize_fixed_core(&mut buffer, &mut output);

    let mut icv = [0; ICV_LEN_MAX];
    let len = output.len().min(ICV_LEN_MAX);
    icv[..len].copy_from_slice(&output[..len]);
    icv
}
