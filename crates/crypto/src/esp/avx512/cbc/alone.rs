//! One packet alone: no lanes, and the hash is that of the SHA extensions.

use core::arch::x86_64::*;

use super::BODY;
use super::decryption::decrypt;
use crate::esp::avx512::aes::unroll_rounds;
use crate::esp::avx512::vector::{load, load_block, store_block};
use crate::esp::avx512::{INNER, Key, hmac};
use crate::esp::sha_ni::{Chunk, Hashing};
use crate::esp::{EspJob, HEADER_LEN, Verdict};

/// By how many chunks a packet's encryption is ahead of its hash, if it is alone.
const CHUNKS_AHEAD: usize = 1;

/// Verifies a packet, and decrypts it if it is authentic.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2,sha")]
pub(super) fn open<const R: usize, const WORDS: usize>(
    key: &Key,
    job: &mut EspJob<'_>,
    icv_len: usize,
) -> Verdict {
    let authenticated = job.packet.len() - icv_len;
    let (authenticated, icv) = job.packet.split_at_mut(authenticated);
    let (chunks, rest) = authenticated.as_chunks();
    let mut hashing = Hashing::<1, WORDS>::new(&[key.hash(INNER)]);
    for chunk in chunks {
        hashing.add([chunk]);
    }
    let digest = hmac::finish(hashing, key, chunks.len(), rest, job.esn_high);
    let verdict = hmac::conclude::<false>(icv, load(&digest));
    // RFC 4303 §3.4.4.1: integrity is checked before anything is decrypted.
    if verdict == Verdict::Ok {
        decrypt::<R>(key, &mut authenticated[HEADER_LEN..]);
    }
    verdict
}

/// Encrypts a packet and signs it. Encryption runs two chunks ahead of the hash, neither waits for the
/// other, and the processor does both at a time.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512dq,vaes,bmi2,sha")]
pub(super) fn seal<const R: usize, const WORDS: usize>(
    key: &Key,
    job: &mut EspJob<'_>,
    icv_len: usize,
) -> Verdict {
    let authenticated = job.packet.len() - icv_len;
    let (authenticated, icv) = job.packet.split_at_mut(authenticated);
    let mut chain = Chain::<R>::new(key, &authenticated[HEADER_LEN..]);
    let mut hashing = Hashing::<1, WORDS>::new(&[key.hash(INNER)]);
    let chunks = authenticated.len() / size_of::<Chunk>();
    let mut sealed = BODY;
    for chunk in 0..chunks + CHUNKS_AHEAD {
        let end = authenticated
            .len()
            .min(BODY + (chunk + 1) * size_of::<Chunk>());
        chain.encrypt(&mut authenticated[sealed..end]);
        sealed = end;
        if let Some(chunk) = chunk.checked_sub(CHUNKS_AHEAD) {
            hashing.add([&authenticated.as_chunks().0[chunk]]);
        }
    }
    let (_, rest) = authenticated.as_chunks::<{ size_of::<Chunk>() }>();
    let digest = hmac::finish(hashing, key, chunks, rest, job.esn_high);
    hmac::conclude::<true>(icv, load(&digest))
}

/// CBC of one packet that is being encrypted.
struct Chain<const R: usize> {
    keys: [__m128i; R],
    state: __m128i,
}

impl<const R: usize> Chain<R> {
    #[inline]
    #[target_feature(enable = "avx512vl")]
    fn new(key: &Key, iv: &[u8]) -> Self {
        let mut keys = [_mm_setzero_si128(); R];
        for (round, key) in keys.iter_mut().zip(&key.rounds) {
            *round = load_block(key);
        }
        let state = iv
            .first_chunk()
            .map_or_else(|| _mm_setzero_si128(), |iv| load_block(iv));
        Self { keys, state }
    }

    #[inline]
    #[target_feature(enable = "avx512vl,aes")]
    fn encrypt(&mut self, octets: &mut [u8]) {
        for block in octets.as_chunks_mut().0 {
            let clear = _mm_xor_si128(load_block(block), self.keys[0]);
            self.state = _mm_xor_si128(self.state, clear);
            unroll_rounds!(R, ROUND, {
                self.state = _mm_aesenc_si128(self.state, self.keys[ROUND]);
            });
            self.state = _mm_aesenclast_si128(self.state, self.keys[R - 1]);
            store_block(block, self.state);
        }
    }
}
