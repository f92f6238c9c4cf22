//! OpenSSL: the cipher through EVP with a context that is kept and gets a new IV for each packet;
//! the HMAC from two hash states that are kept, which is the fastest way that OpenSSL offers.

use foreign_types::ForeignTypeRef;
use openssl::cipher::{self, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
use openssl::sha;

use crate::{Anchor, Cipher, GCM_ICV, HEADER, Hash, Suite, gcm_parts};

pub(crate) fn openssl(suite: &Suite) -> Option<Box<dyn Anchor>> {
    match suite.cipher {
        Cipher::AesGcm => Some(Box::new(Gcm::new(suite).ok()?)),
        Cipher::AesCbc | Cipher::TripleDesCbc => Some(Box::new(Cbc::new(suite).ok()?)),
    }
}

const NAME: &str = "openssl";

struct Gcm {
    seal: CipherCtx,
    open: CipherCtx,
    salt: Vec<u8>,
}

impl Gcm {
    fn new(suite: &Suite) -> Result<Self, ErrorStack> {
        let cipher = match suite.key.len() {
            16 => cipher::Cipher::aes_128_gcm(),
            24 => cipher::Cipher::aes_192_gcm(),
            _ => cipher::Cipher::aes_256_gcm(),
        };
        let [seal, open] = contexts(cipher, &suite.key)?;
        Ok(Self {
            seal,
            open,
            salt: suite.salt.clone(),
        })
    }

    fn seal_one(&mut self, packet: &mut [u8]) -> Result<(), ErrorStack> {
        let (aad, nonce, body) = gcm_parts(packet, &self.salt);
        let (text, icv) = body.split_at_mut(body.len() - GCM_ICV);
        let context = &mut self.seal;
        context.encrypt_init(None, None, Some(&nonce))?;
        context.cipher_update(&aad, None)?;
        context.cipher_update_inplace(text, text.len())?;
        context.cipher_final(&mut [])?;
        context.tag(icv)
    }

    fn open_one(&mut self, packet: &mut [u8]) -> Result<(), ErrorStack> {
        let (aad, nonce, body) = gcm_parts(packet, &self.salt);
        let (text, icv) = body.split_at_mut(body.len() - GCM_ICV);
        let context = &mut self.open;
        context.decrypt_init(None, None, Some(&nonce))?;
        context.cipher_update(&aad, None)?;
        context.cipher_update_inplace(text, text.len())?;
        context.set_tag(icv)?;
        context.cipher_final(&mut [])?;
        Ok(())
    }
}

impl Anchor for Gcm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn seal(&mut self, packets: &mut [&mut [u8]]) {
        for packet in packets {
            let _ = self.seal_one(packet);
        }
    }

    fn open(&mut self, packets: &mut [&mut [u8]]) -> usize {
        let opened = packets.iter_mut().map(|packet| self.open_one(packet));
        opened.filter(Result::is_ok).count()
    }
}

struct Cbc {
    seal: CipherCtx,
    open: CipherCtx,
    iv_len: usize,
    icv_len: usize,
    hmac: Hmac,
}

impl Cbc {
    fn new(suite: &Suite) -> Result<Self, ErrorStack> {
        let (cipher, iv_len) = match (suite.cipher, suite.key.len()) {
            (Cipher::TripleDesCbc, _) => (cipher::Cipher::des_ede3_cbc(), 8),
            (_, 16) => (cipher::Cipher::aes_128_cbc(), 16),
            (_, 24) => (cipher::Cipher::aes_192_cbc(), 16),
            _ => (cipher::Cipher::aes_256_cbc(), 16),
        };
        let [mut seal, mut open] = contexts(cipher, &suite.key)?;
        seal.set_padding(false);
        open.set_padding(false);
        let hash = suite.hash.unwrap_or(Hash::Sha1);
        Ok(Self {
            seal,
            open,
            iv_len,
            icv_len: suite.icv_len,
            hmac: Hmac::new(hash, &suite.hash_key),
        })
    }

    fn seal_one(&mut self, packet: &mut [u8]) -> Result<(), ErrorStack> {
        let (signed, icv) = packet.split_at_mut(packet.len() - self.icv_len);
        let (front, text) = signed.split_at_mut(HEADER + self.iv_len);
        let context = &mut self.seal;
        context.encrypt_init(None, None, Some(&front[HEADER..]))?;
        update_in_place(context, text)?;
        icv.copy_from_slice(&self.hmac.of(signed)[..icv.len()]);
        Ok(())
    }

    fn open_one(&mut self, packet: &mut [u8]) -> Result<bool, ErrorStack> {
        let (signed, icv) = packet.split_at_mut(packet.len() - self.icv_len);
        if !openssl::memcmp::eq(&self.hmac.of(signed)[..icv.len()], icv) {
            return Ok(false);
        }
        let (front, text) = signed.split_at_mut(HEADER + self.iv_len);
        let context = &mut self.open;
        context.decrypt_init(None, None, Some(&front[HEADER..]))?;
        update_in_place(context, text)?;
        Ok(true)
    }
}

impl Anchor for Cbc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn seal(&mut self, packets: &mut [&mut [u8]]) {
        for packet in packets {
            let _ = self.seal_one(packet);
        }
    }

    fn open(&mut self, packets: &mut [&mut [u8]]) -> usize {
        let opened = packets.iter_mut().map(|packet| self.open_one(packet));
        opened.filter(|opened| matches!(opened, Ok(true))).count()
    }
}

/// Whole blocks of a cipher without padding. The safe function wants room for one block more than
/// it writes, which a packet does not have.
#[allow(unsafe_code)]
fn update_in_place(context: &mut CipherCtx, text: &mut [u8]) -> Result<(), ErrorStack> {
    let mut written = 0;
    let len = text.len() as std::ffi::c_int;
    let first = text.as_mut_ptr();
    // SAFETY: the context is initialised and ours alone; `text` is valid for `len` octets to read
    // and to write. EVP_CipherUpdate(3) allows input and output to be the same, and without
    // padding writes at most the whole blocks it was given.
    let done =
        unsafe { openssl_sys::EVP_CipherUpdate(context.as_ptr(), first, &mut written, first, len) };
    if done == 1 && written == len {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// One context to encrypt with and one to decrypt with.
fn contexts(cipher: &CipherRef, key: &[u8]) -> Result<[CipherCtx; 2], ErrorStack> {
    let mut seal = CipherCtx::new()?;
    seal.encrypt_init(Some(cipher), Some(key), None)?;
    let mut open = CipherCtx::new()?;
    open.decrypt_init(Some(cipher), Some(key), None)?;
    Ok([seal, open])
}

/// Hash states after the inner and the outer pad (RFC 2104 §4).
enum Hmac {
    Sha1([sha::Sha1; 2]),
    Sha256([sha::Sha256; 2]),
}

impl Hmac {
    fn new(hash: Hash, key: &[u8]) -> Self {
        let pads = [0x36, 0x5c].map(|pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            block
        });
        match hash {
            Hash::Sha1 => Self::Sha1(pads.map(|pad| {
                let mut state = sha::Sha1::new();
                state.update(&pad);
                state
            })),
            Hash::Sha256 => Self::Sha256(pads.map(|pad| {
                let mut state = sha::Sha256::new();
                state.update(&pad);
                state
            })),
        }
    }

    fn of(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        match self {
            Self::Sha1([inner, outer]) => {
                let (mut inner, mut outer) = (inner.clone(), outer.clone());
                inner.update(message);
                outer.update(&inner.finish());
                mac[..20].copy_from_slice(&outer.finish());
            }
            Self::Sha256([inner, outer]) => {
                let (mut inner, mut outer) = (inner.clone(), outer.clone());
                inner.update(message);
                outer.update(&inner.finish());
                mac.copy_from_slice(&outer.finish());
            }
        }
        mac
    }
}
