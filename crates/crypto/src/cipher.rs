//! CBC for IKE messages (RFC 2409 appendix B), and the block loop that ESP uses too.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt};
use des::TdesEde3;

/// A block cipher in CBC mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// AES with a 128-bit key.
    Aes128Cbc,
    /// AES with a 192-bit key.
    Aes192Cbc,
    /// AES with a 256-bit key.
    Aes256Cbc,
    /// Three-key triple DES.
    TripleDesCbc,
}

impl Algorithm {
    /// Length of the key in bytes.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Cbc => 16,
            Self::Aes192Cbc | Self::TripleDesCbc => 24,
            Self::Aes256Cbc => 32,
        }
    }

    /// Length of a block, and so of the IV, in bytes.
    #[must_use]
    pub fn block_len(self) -> usize {
        match self {
            Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => 16,
            Self::TripleDesCbc => 8,
        }
    }
}

/// A key, expanded for both directions and zeroised on drop.
pub struct Cbc(Schedule);

enum Schedule {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
    TripleDes(Box<TdesEde3>),
}

impl Cbc {
    /// Expands a key; `None` if it has the wrong length.
    #[must_use]
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Aes128Cbc => Schedule::Aes128(expand(key)?),
            Algorithm::Aes192Cbc => Schedule::Aes192(expand(key)?),
            Algorithm::Aes256Cbc => Schedule::Aes256(expand(key)?),
            Algorithm::TripleDesCbc => Schedule::TripleDes(expand(key)?),
        }))
    }

    /// Encrypts whole blocks in place; the caller has padded, and the IV is one block.
    pub fn encrypt(&self, iv: &[u8], data: &mut [u8]) {
        match &self.0 {
            Schedule::Aes128(cipher) => encrypt(&**cipher, iv, data),
            Schedule::Aes192(cipher) => encrypt(&**cipher, iv, data),
            Schedule::Aes256(cipher) => encrypt(&**cipher, iv, data),
            Schedule::TripleDes(cipher) => encrypt(&**cipher, iv, data),
        }
    }

    /// Decrypts whole blocks in place; the caller has checked the length, and the IV is one block.
    pub fn decrypt(&self, iv: &[u8], data: &mut [u8]) {
        match &self.0 {
            Schedule::Aes128(cipher) => decrypt(&**cipher, iv, data),
            Schedule::Aes192(cipher) => decrypt(&**cipher, iv, data),
            Schedule::Aes256(cipher) => decrypt(&**cipher, iv, data),
            Schedule::TripleDes(cipher) => decrypt(&**cipher, iv, data),
        }
    }
}

impl std::fmt::Debug for Cbc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cbc(…)")
    }
}

fn expand<C: KeyInit>(key: &[u8]) -> Option<Box<C>> {
    C::new_from_slice(key).ok().map(Box::new)
}

/// CBC over whole blocks in place; an incomplete last block stays as it is.
pub(crate) fn encrypt<C: BlockCipherEncrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) {
    let mut mode = cbc::Encryptor::inner_iv_slice_init(cipher, iv).expect("the IV is one block");
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    debug_assert!(rest.is_empty(), "CBC takes whole blocks");
    mode.encrypt_blocks(blocks);
}

/// The inverse of [`encrypt`].
pub(crate) fn decrypt<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) {
    let mut mode = cbc::Decryptor::inner_iv_slice_init(cipher, iv).expect("the IV is one block");
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    debug_assert!(rest.is_empty(), "CBC takes whole blocks");
    mode.decrypt_blocks(blocks);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [Algorithm; 4] = [
        Algorithm::Aes128Cbc,
        Algorithm::Aes192Cbc,
        Algorithm::Aes256Cbc,
        Algorithm::TripleDesCbc,
    ];

    #[test]
    fn only_keys_of_the_right_length_are_taken() {
        for algorithm in ALGORITHMS {
            for len in 0..=40 {
                let cipher = Cbc::new(algorithm, &vec![0; len]);
                assert_eq!(
                    cipher.is_some(),
                    len == algorithm.key_len(),
                    "{algorithm:?}, {len}"
                );
            }
        }
    }

    #[test]
    fn what_was_encrypted_in_one_go_decrypts_block_by_block() {
        for algorithm in ALGORITHMS {
            let block_len = algorithm.block_len();
            let key: Vec<u8> = (1..).take(algorithm.key_len()).collect();
            let cipher = Cbc::new(algorithm, &key).unwrap();
            let clear: Vec<u8> = (0..=255).take(8 * block_len).collect();
            let mut iv = vec![9; block_len];
            let mut data = clear.clone();
            cipher.encrypt(&iv, &mut data);
            for (block, clear) in data.chunks_mut(block_len).zip(clear.chunks(block_len)) {
                let next_iv = block.to_vec();
                cipher.decrypt(&iv, block);
                assert_eq!(block, clear, "{algorithm:?}");
                iv = next_iv;
            }
        }
    }
}
