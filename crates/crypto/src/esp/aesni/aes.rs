//! AES (FIPS 197): key schedules, the rounds, and the IVs that are made with it.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::width::{Block, Narrow, Width};

/// Round keys of AES-256, the most there are.
const ROUND_KEYS_MAX: usize = 15;

/// The round keys of one direction; fewer than 15 for the shorter keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Schedule(pub(super) [Block; ROUND_KEYS_MAX]);

/// The key of nobody, for lanes without a packet.
pub(super) static NO_KEY: Schedule = Schedule([[0; 16]; ROUND_KEYS_MAX]);

/// Round keys for a key of so many octets.
pub(super) const fn round_keys(key_len: usize) -> usize {
    key_len / 4 + 7
}

impl Schedule {
    /// For encryption (FIPS 197 §5.2), from a key of 16, 24 or 32 octets.
    pub(super) fn encryption(_: Narrow, key: &[u8]) -> Self {
        // SAFETY: a `Narrow` proves that the processor has AES-NI.
        Self(unsafe { expand(key) })
    }

    /// For the equivalent inverse cipher (FIPS 197 §5.3.5).
    pub(super) fn decryption(narrow: Narrow, key: &[u8]) -> Self {
        let forth = Self::encryption(narrow, key);
        // SAFETY: as above.
        Self(unsafe { inverse(&forth.0, round_keys(key.len()) - 1) })
    }
}

#[target_feature(enable = "aes,sse2")]
fn expand(key: &[u8]) -> [Block; ROUND_KEYS_MAX] {
    let mut keys = [Block::default(); ROUND_KEYS_MAX];
    let (words, _) = keys.as_flattened_mut().as_chunks_mut::<4>();
    let (given, _) = key.as_chunks::<4>();
    words[..given.len()].copy_from_slice(given);
    let mut round_constant = 1_u8;
    for i in given.len()..4 * round_keys(key.len()) {
        let mut word = u32::from_le_bytes(words[i - 1]);
        if i % given.len() == 0 {
            word = substitute(word).rotate_right(8) ^ u32::from(round_constant);
            round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x1b);
        } else if given.len() > 6 && i % given.len() == 4 {
            word = substitute(word);
        }
        words[i] = (u32::from_le_bytes(words[i - given.len()]) ^ word).to_le_bytes();
    }
    keys
}

/// The S-box on each octet of a word.
#[target_feature(enable = "aes,sse2")]
fn substitute(word: u32) -> u32 {
    let second = _mm_slli_si128::<4>(_mm_cvtsi32_si128(word.cast_signed()));
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(second)).cast_unsigned()
}

#[target_feature(enable = "aes,sse2")]
fn inverse(forth: &[Block; ROUND_KEYS_MAX], last: usize) -> [Block; ROUND_KEYS_MAX] {
    let mut back = [Block::default(); ROUND_KEYS_MAX];
    back[0] = forth[last];
    back[last] = forth[0];
    for i in 1..last {
        // SAFETY: a block has 16 bytes.
        unsafe {
            let key = _mm_aesimc_si128(_mm_loadu_si128(forth[last - i].as_ptr().cast()));
            _mm_storeu_si128(back[i].as_mut_ptr().cast(), key);
        }
    }
    back
}

/// Encrypts N vectors of blocks; R is the number of round keys.
#[inline(always)]
pub(super) fn encrypt<W: Width, const R: usize, const N: usize>(
    width: W,
    Schedule(keys): &Schedule,
    mut state: [W::Vector; N],
) -> [W::Vector; N] {
    let [first, keys @ ..] = keys;
    let first = width.broadcast(first);
    for state in &mut state {
        *state = width.xor(*state, first);
    }
    macro_rules! rounds {
        ($($round:literal)*) => {$(
            let key = width.broadcast(&keys[$round]);
            for state in &mut state {
                *state = width.encrypt(*state, key);
            }
        )*};
    }
    rounds!(0 1 2 3 4 5 6 7 8);
    if R > 11 {
        rounds!(9 10);
    }
    if R > 13 {
        rounds!(11 12);
    }
    let last = width.broadcast(&keys[R - 2]);
    for state in &mut state {
        *state = width.encrypt_last(*state, last);
    }
    state
}

/// Decrypts N vectors of blocks.
#[inline(always)]
pub(super) fn decrypt<W: Width, const R: usize, const N: usize>(
    width: W,
    Schedule(keys): &Schedule,
    mut state: [W::Vector; N],
) -> [W::Vector; N] {
    let [first, keys @ ..] = keys;
    let first = width.broadcast(first);
    for state in &mut state {
        *state = width.xor(*state, first);
    }
    for key in &keys[..R - 2] {
        let key = width.broadcast(key);
        for state in &mut state {
            *state = width.decrypt(*state, key);
        }
    }
    let last = width.broadcast(&keys[R - 2]);
    for state in &mut state {
        *state = width.decrypt_last(*state, last);
    }
    state
}

/// RFC 3602 §3: an IV must be unpredictable, so the packet counter itself would not do. NIST
/// SP 800-38A appendix C encrypts it; 3DES takes the first half.
#[inline]
pub(in crate::esp) fn iv(_: Narrow, iv_key: &Block, counter: u64) -> Block {
    // SAFETY: a `Narrow` proves that the processor has AES-NI and AVX.
    unsafe { encrypt_counter(iv_key, &u128::from(counter).to_be_bytes()) }
}

/// AES-128 that makes each round key when it is due, which spares every slot three cache lines.
#[target_feature(enable = "aes,avx")]
fn encrypt_counter(key: &Block, counter: &Block) -> Block {
    // The last word, rotated, in all columns: ShiftRows then changes nothing, and AESENCLAST
    // is the S-box and the round constant of FIPS 197 §5.2.
    let rotated = _mm_set1_epi32(0x0c0f_0e0d);
    // SAFETY: a block has 16 bytes.
    let (mut key, counter) = unsafe {
        (
            _mm_loadu_si128(key.as_ptr().cast()),
            _mm_loadu_si128(counter.as_ptr().cast()),
        )
    };
    let mut state = _mm_xor_si128(counter, key);
    for (i, constant) in [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36]
        .into_iter()
        .enumerate()
    {
        let word = _mm_aesenclast_si128(_mm_shuffle_epi8(key, rotated), _mm_set1_epi32(constant));
        key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
        key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
        key = _mm_xor_si128(key, word);
        state = match i {
            9 => _mm_aesenclast_si128(state, key),
            _ => _mm_aesenc_si128(state, key),
        };
    }
    let mut iv = Block::default();
    // SAFETY: as above.
    unsafe { _mm_storeu_si128(iv.as_mut_ptr().cast(), state) };
    iv
}
